package mcp

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/jsonschema-go/jsonschema"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"podgate/internal/authz"
	"podgate/pods"
)

type execInput struct {
	Name    string `json:"name" jsonschema:"the pod's name"`
	Command string `json:"command" jsonschema:"run with /bin/sh -c, as the user pod"`
	Timeout int    `json:"timeout,omitempty" jsonschema:"seconds until the command and all it started are killed; 60 when left out"`
	Workdir string `json:"workdir,omitempty" jsonschema:"folder to run in; the app folder /home/pod/app when left out"`
}

type execOutput struct {
	ExitCode  int     `json:"exit_code" jsonschema:"128 plus the signal's number when killed by one"`
	Signal    string  `json:"signal,omitempty"`
	Stdout    string  `json:"stdout"`
	Stderr    string  `json:"stderr"`
	CutStdout int64   `json:"cut_stdout,omitempty" jsonschema:"how much is missing from the start of stdout, in characters"`
	CutStderr int64   `json:"cut_stderr,omitempty" jsonschema:"how much is missing from the start of stderr, in characters"`
	Seconds   float64 `json:"seconds" jsonschema:"how long it ran"`
}

func (e *endpoint) addExecTool(s *sdk.Server) {
	longest := float64(pods.MaxExecTimeout / time.Second)
	add(e, s, tool{
		name: "exec_command", title: "Run a command", action: authz.Exec, hints: changes(true, false),
		description: fmt.Sprintf("Runs a shell command in a running pod and answers with exit code, stdout and stderr. It ends with the timeout (at most %.0f s); start servers and long jobs through the app or in the background, not here. Of long output the end is kept.", longest),
		refine: func(s *jsonschema.Schema) {
			podName(s)
			between(s, "timeout", 1, longest)
			shortest := 1
			s.Properties["command"].MinLength = &shortest
		},
	}, e.exec)
}

func (e *endpoint) exec(ctx context.Context, r request, in execInput) (answer[execOutput], error) {
	res, err := e.cfg.Pods.Exec(ctx, r.actor, in.Name, pods.ExecRequest{
		Command: in.Command, Dir: in.Workdir, Timeout: time.Duration(in.Timeout) * time.Second, MaxOutput: 4 * maxOutput,
	}, r.progress)
	if err != nil && !errors.Is(err, pods.ErrTimedOut) {
		return answer[execOutput]{}, err
	}
	out := cutExec(res)
	if err != nil {
		return answer[execOutput]{}, &toolError{validText(err.Error()) + "\n\nIt printed:\n" + out.streams()}
	}
	return answer[execOutput]{text: out.text(), data: out}, nil
}

// cutExec keeps the end of both streams, within maxOutput together. The pod's
// agent keeps the start of a stream that is longer still, so what it dropped
// counts as cut too.
func cutExec(res pods.ExecResult) execOutput {
	stdout, stderr := validText(string(res.Stdout)), validText(string(res.Stderr))
	forOut, forErr := share(stdout, stderr, maxOutput-framing)
	out := execOutput{ExitCode: res.Code, Signal: res.Signal, Seconds: res.Duration.Seconds()}
	var cutOut, cutErr int
	out.Stdout, cutOut = keepEnd(stdout, forOut)
	out.Stderr, cutErr = keepEnd(stderr, forErr)
	out.CutStdout, out.CutStderr = int64(cutOut)+res.DroppedStdout, int64(cutErr)+res.DroppedStderr
	return out
}

func (o execOutput) text() string {
	ended := fmt.Sprintf("exit code %d", o.ExitCode)
	if o.Signal != "" {
		ended += " (" + o.Signal + ")"
	}
	return fmt.Sprintf("%s after %.1f s\n%s", ended, o.Seconds, o.streams())
}

func (o execOutput) streams() string {
	var b strings.Builder
	stream(&b, "stdout", o.Stdout, o.CutStdout)
	stream(&b, "stderr", o.Stderr, o.CutStderr)
	if b.Len() == 0 {
		return "(no output)\n"
	}
	return b.String()
}

func stream(b *strings.Builder, name, text string, cut int64) {
	if text == "" && cut == 0 {
		return
	}
	fmt.Fprintf(b, "--- %s", name)
	if cut > 0 {
		fmt.Fprintf(b, " (%d characters before this were cut; send long output to a file)", cut)
	}
	fmt.Fprintf(b, "\n%s", text)
	if !strings.HasSuffix(text, "\n") {
		b.WriteByte('\n')
	}
}
