package mcp

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/jsonschema-go/jsonschema"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"podgate/internal/authz"
	"podgate/internal/text"
	"podgate/pods"
)

type execInput struct {
	Name    string `json:"name" jsonschema:"the pod's name"`
	Command string `json:"command" jsonschema:"run with /bin/sh -c, as the user pod"`
	Timeout int    `json:"timeout,omitempty" jsonschema:"seconds until the command and all it started are killed: 60 when left out, at most 280; in the background none when left out, at most a day"`
	Workdir string `json:"workdir,omitempty" jsonschema:"folder to run in; the app folder /home/pod/app when left out"`
	Stdin   string `json:"stdin,omitempty" jsonschema:"what the command reads from its standard input, at most 1 MiB; nothing when left out"`

	Background bool `json:"background,omitempty" jsonschema:"true to be answered at once with a job, which goes on and is looked at with get_job; for what takes minutes or longer"`
}

type execOutput struct {
	ExitCode   *int    `json:"exit_code,omitempty" jsonschema:"128 plus the signal's number when killed by one"`
	Signal     string  `json:"signal,omitempty"`
	Limit      string  `json:"limit,omitempty" jsonschema:"the limit of the pod for which it, or something else in the pod, was killed meanwhile"`
	Stdout     string  `json:"stdout"`
	Stderr     string  `json:"stderr"`
	CutStdout  int64   `json:"cut_stdout,omitempty" jsonschema:"bytes missing from the start of stdout"`
	CutStderr  int64   `json:"cut_stderr,omitempty" jsonschema:"bytes missing from the start of stderr"`
	LostStdout int64   `json:"lost_stdout,omitempty" jsonschema:"bytes missing from the end of stdout, which was too long to be read whole"`
	LostStderr int64   `json:"lost_stderr,omitempty" jsonschema:"bytes missing from the end of stderr, which was too long to be read whole"`
	TimedOut   bool    `json:"timed_out,omitempty" jsonschema:"true when it was killed because its time was up; then the call counts as failed"`
	Seconds    float64 `json:"seconds" jsonschema:"how long it ran"`

	Job *jobOutput `json:"job,omitempty" jsonschema:"what runs in the background; nothing else is told of it here"`
}

func (e *endpoint) addExecTool(s *sdk.Server) {
	longest := float64(pods.MaxExecTimeout / time.Second)
	add(e, s, tool{
		name: "exec_command", title: "Run a command", action: authz.Exec, hints: changes(true, false), open: true, task: true,
		description: fmt.Sprintf("Runs a shell command in a running pod and answers with exit code, stdout and stderr. There is no terminal: what the command is to read goes into stdin, and it cannot be answered later. At the timeout (at most %.0f s) the command and all it started are killed: let the app run servers, and run what takes longer with background set to true. Of long output the end is kept.", longest),
		refine: func(s *jsonschema.Schema) {
			podName(s)
			between(s, "timeout", 1, float64(pods.MaxJobTimeout/time.Second))
			notEmpty(s, "command")
		},
	}, e.exec)
}

func (e *endpoint) exec(ctx context.Context, r request, in execInput) (answer[execOutput], error) {
	req := pods.ExecRequest{
		Command: in.Command, Dir: in.Workdir, Timeout: time.Duration(in.Timeout) * time.Second, Stdin: []byte(in.Stdin), MaxOutput: 4 * maxOutput,
	}
	if in.Background {
		return e.startJob(ctx, r, in.Name, req)
	}
	res, err := e.cfg.Pods.Exec(ctx, r.actor, in.Name, req, r.progress)
	if err != nil && !errors.Is(err, pods.ErrTimedOut) {
		return answer[execOutput]{}, err
	}
	out := cutExec(res)
	if err != nil {
		out.TimedOut = true
		return answer[execOutput]{text: text.Valid(err.Error()) + "\n\n" + out.text(), data: out, failed: err}, nil
	}
	return answer[execOutput]{text: out.text(), data: out}, nil
}

// cutExec keeps the end of both streams, within maxOutput characters together.
func cutExec(res pods.ExecResult) execOutput {
	stdout, stderr := endOf(res.Stdout, res.DroppedStdout), endOf(res.Stderr, res.DroppedStderr)
	forOut, forErr := share(stdout.text, stderr.text, maxOutput-framing)
	stdout.shorten(forOut)
	stderr.shorten(forErr)
	return execOutput{
		ExitCode: &res.Code, Signal: res.Signal, Limit: text.Valid(res.Limit), Seconds: res.Duration.Seconds(),
		Stdout: text.Valid(stdout.text), CutStdout: stdout.cut, LostStdout: res.LostStdout,
		Stderr: text.Valid(stderr.text), CutStderr: stderr.cut, LostStderr: res.LostStderr,
	}
}

// ending is the end of a stream of output.
type ending struct {
	text string // as it came, so that cut counts the stream's own bytes
	cut  int64  // bytes before text
}

// endOf takes what was kept of a stream. If something was dropped before it, it
// may begin within a character, of which the rest is cut too.
func endOf(kept []byte, dropped int64) ending {
	text := kept
	for i := 0; dropped > 0 && i < utf8.UTFMax-1 && len(text) > 0 && !utf8.RuneStart(text[0]); i++ {
		text = text[1:]
	}
	return ending{string(text), dropped + int64(len(kept)-len(text))}
}

// shorten keeps the last n characters.
func (e *ending) shorten(n int) {
	end, _ := text.End(e.text, n)
	e.cut += int64(len(e.text) - len(end))
	e.text = end
}

func (o execOutput) text() string {
	ended := fmt.Sprintf("exit code %d", *o.ExitCode)
	if o.Signal != "" {
		ended += " (" + o.Signal + ")"
	}
	if o.Limit != "" {
		ended += ", killed for a limit of the pod: " + o.Limit + ","
	}
	return fmt.Sprintf("%s after %.1f s\n%s", ended, o.Seconds, o.streams())
}

func (o execOutput) streams() string {
	var b strings.Builder
	stream(&b, "stdout", o.Stdout, o.CutStdout, o.LostStdout)
	stream(&b, "stderr", o.Stderr, o.CutStderr, o.LostStderr)
	if b.Len() == 0 {
		return "(no output)\n"
	}
	return b.String()
}

func stream(b *strings.Builder, name, text string, cut, lost int64) {
	if text == "" && cut == 0 && lost == 0 {
		return
	}
	fmt.Fprintf(b, "--- %s\n", name)
	if cut > 0 {
		fmt.Fprintf(b, "(%d bytes before this were cut; to have all of it, send the output to a file and use read_file)\n", cut)
	}
	b.WriteString(text)
	if !strings.HasSuffix(text, "\n") {
		b.WriteByte('\n')
	}
	if lost > 0 {
		fmt.Fprintf(b, "(%d bytes after this were lost: of one stream at most %s are read)\n", lost, size(pods.MaxStream))
	}
}
