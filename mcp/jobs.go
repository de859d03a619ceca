package mcp

import (
	"context"
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

type listJobsInput struct {
	Name string `json:"name" jsonschema:"the pod's name"`
}

type listJobsOutput struct {
	Jobs []jobOutput `json:"jobs" jsonschema:"newest first"`
}

type getJobInput struct {
	Name   string `json:"name" jsonschema:"the pod's name"`
	Job    string `json:"job" jsonschema:"as exec_command, deploy or manage_pod with background, or list_jobs, named it"`
	Offset *int64 `json:"offset,omitempty" jsonschema:"byte of the output to read from, such as next_offset of the last answer; the newest output when left out"`
	Wait   int    `json:"wait,omitempty" jsonschema:"seconds to wait for the end of the job before answering; 0 when left out"`
}

type stopJobInput struct {
	Name string `json:"name" jsonschema:"the pod's name"`
	Job  string `json:"job" jsonschema:"as exec_command, deploy or manage_pod with background, or list_jobs, named it"`
}

type jobOutput struct {
	Job         string    `json:"job"`
	State       string    `json:"state" jsonschema:"running; exited: it ended by itself; stopped: with stop_job; timed_out; interrupted: it ended with the pod, or with a restart or reload"`
	Reason      string    `json:"reason,omitempty" jsonschema:"why it ended when it did not end by itself"`
	ExitCode    *int      `json:"exit_code,omitempty" jsonschema:"once it has ended; 128 plus the signal's number when killed by one"`
	Signal      string    `json:"signal,omitempty"`
	Command     string    `json:"command" jsonschema:"its beginning"`
	Workdir     string    `json:"workdir"`
	Started     time.Time `json:"started"`
	Ended       time.Time `json:"ended,omitzero"`
	OutputBytes int64     `json:"output_bytes" jsonschema:"how much it has printed so far"`
	LostBytes   int64     `json:"lost_bytes,omitempty" jsonschema:"what it printed while the disk was full, which is not kept"`
}

type getJobOutput struct {
	jobOutput
	Output       string `json:"output" jsonschema:"stdout and stderr in one, in the order in which they were written"`
	Offset       int64  `json:"offset" jsonschema:"where in the output of the job this begins"`
	NextOffset   int64  `json:"next_offset" jsonschema:"where to read on"`
	SkippedBytes int64  `json:"skipped_bytes,omitempty" jsonschema:"from the offset that was asked for to this: not kept any more"`
}

// addJobTools adds the tools for commands in the background.
func (e *endpoint) addJobTools(s *sdk.Server) {
	add(e, s, tool{
		name: "list_jobs", title: "List jobs", action: authz.ReadLogs, hints: readOnly, later: true, refine: podName,
		description: fmt.Sprintf("Lists the jobs of a running pod: the commands that exec_command started in the background, whoever did, and the deploy or reload that goes on. Commands that ended are kept for a day, the newest %d.", pods.MaxJobs),
	}, e.listJobs)
	add(e, s, tool{
		name: "get_job", title: "Show a job", action: authz.ReadLogs, hints: readOnly, later: true,
		description: "Shows one job of a pod: its state, its exit code, and what it printed. Set wait to be answered when it has ended. Of long output the first 256 KiB and the newest 512 KiB or more are kept.",
		refine: func(s *jsonschema.Schema) {
			podName(s)
			between(s, "wait", 0, float64(pods.MaxJobWait/time.Second))
			least, offset := 0.0, s.Properties["offset"]
			offset.Type, offset.Types, offset.Minimum = "integer", nil, &least
		},
	}, e.getJob)
	add(e, s, tool{
		name: "stop_job", title: "Stop a job", action: authz.Exec, hints: changes(true, true), later: true, refine: podName,
		description: "Ends a job of a running pod with all that it started: asked first (SIGTERM), then killed. Of a deploy or reload that is ended, what ran before goes on. A job that has ended stays as it is.",
	}, e.stopJob)
}

func (e *endpoint) startJob(ctx context.Context, r request, name string, req pods.ExecRequest) (answer[execOutput], error) {
	j, err := e.cfg.Pods.StartJob(ctx, r.actor, name, req)
	if err != nil {
		return answer[execOutput]{}, err
	}
	out := showJob(j)
	text := fmt.Sprintf("Job %s runs in the background. It goes on when this conversation ends, and ends with the pod. See what it prints and how it ends with get_job; end it with stop_job.\n", out.Job)
	return answer[execOutput]{text: text, data: execOutput{Job: &out}}, nil
}

func (e *endpoint) listJobs(ctx context.Context, r request, in listJobsInput) (answer[listJobsOutput], error) {
	list, err := e.cfg.Pods.Jobs(ctx, r.actor, in.Name)
	if err != nil {
		return answer[listJobsOutput]{}, err
	}
	out := listJobsOutput{Jobs: make([]jobOutput, len(list))}
	var b strings.Builder
	for i, j := range list {
		j.Command = text.Line(j.Command, 200)
		out.Jobs[i] = showJob(j)
		b.WriteString("- " + out.Jobs[i].text())
	}
	if len(list) == 0 {
		b.WriteString("There are no jobs. exec_command with background set to true starts one.\n")
	}
	return answer[listJobsOutput]{text: b.String(), data: out}, nil
}

func (e *endpoint) getJob(ctx context.Context, r request, in getJobInput) (answer[getJobOutput], error) {
	q := pods.JobQuery{Offset: -1, Limit: maxOutput - framing, Wait: time.Duration(in.Wait) * time.Second}
	if in.Offset != nil {
		q.Offset = *in.Offset
	}
	found, err := e.cfg.Pods.Job(ctx, r.actor, in.Name, in.Job, q)
	if err != nil {
		return answer[getJobOutput]{}, err
	}
	out := showOutput(found, q.Offset)
	return answer[getJobOutput]{text: out.text(), data: out}, nil
}

func (e *endpoint) stopJob(ctx context.Context, r request, in stopJobInput) (answer[jobOutput], error) {
	j, err := e.cfg.Pods.StopJob(ctx, r.actor, in.Name, in.Job)
	if err != nil {
		return answer[jobOutput]{}, err
	}
	out := showJob(j)
	return answer[jobOutput]{text: out.text(), data: out}, nil
}

func showJob(j pods.Job) jobOutput {
	out := jobOutput{
		Job: j.ID, State: j.State, Reason: j.Reason, Signal: j.Signal, Command: j.Command, Workdir: j.Dir,
		Started: j.Started, Ended: j.Ended, OutputBytes: j.Output, LostBytes: j.Lost,
	}
	if j.State != pods.JobRunning {
		out.ExitCode = &j.Code
	}
	return out
}

// showOutput shows a part of what a job printed; asked is where it was to begin,
// negative for the newest. Characters are kept whole: the rest of one that began
// before the newest is left out, and one that goes on after the part comes with
// the next.
func showOutput(found pods.JobOutput, asked int64) getJobOutput {
	data, from := found.Data, found.Offset
	for i := 0; asked < 0 && from > 0 && i < utf8.UTFMax-1 && len(data) > 0 && !utf8.RuneStart(data[0]); i++ {
		data, from = data[1:], from+1
	}
	if from+int64(len(data)) < found.Job.Output || found.Job.State == pods.JobRunning {
		data = data[:wholeRunes(data)]
	}
	out := getJobOutput{jobOutput: showJob(found.Job), Output: text.Valid(string(data)), Offset: from, NextOffset: from + int64(len(data))}
	if asked >= 0 {
		out.SkippedBytes = max(0, from-asked)
	}
	return out
}

// wholeRunes is the length of b without the beginning of a character at its end,
// unless that is all there is.
func wholeRunes(b []byte) int {
	for n := len(b) - 1; n > 0 && n >= len(b)-utf8.UTFMax+1; n-- {
		if utf8.RuneStart(b[n]) {
			if utf8.FullRune(b[n:]) {
				break
			}
			return n
		}
	}
	return len(b)
}

func (o jobOutput) text() string {
	state := o.State
	if o.ExitCode != nil {
		state += fmt.Sprintf(" with code %d", *o.ExitCode)
	}
	if o.Signal != "" {
		state += " (" + o.Signal + ")"
	}
	if !o.Ended.IsZero() {
		state += fmt.Sprintf(" after %.1f s", o.Ended.Sub(o.Started).Seconds())
	}
	if o.Reason != "" {
		state += ": " + o.Reason
	}
	lines := fmt.Sprintf("%s, started %s in %s, has printed %d bytes: %s\n  %s\n", o.Job, o.Started.UTC().Format(time.RFC3339), o.Workdir, o.OutputBytes, state, o.Command)
	if o.LostBytes > 0 {
		lines += fmt.Sprintf("  %d bytes that it printed were lost, because the disk was full\n", o.LostBytes)
	}
	return lines
}

func (o getJobOutput) text() string {
	var b strings.Builder
	b.WriteString(o.jobOutput.text())
	switch {
	case o.SkippedBytes > 0:
		fmt.Fprintf(&b, "(the %d bytes before byte %d are not kept any more)\n", o.SkippedBytes, o.Offset)
	case o.Offset > 0:
		fmt.Fprintf(&b, "(%d bytes came before this; to read those that are kept, set offset)\n", o.Offset)
	}
	if o.Output == "" {
		b.WriteString("(no output from there on)\n")
	} else {
		b.WriteString("--- output\n" + o.Output)
		if !strings.HasSuffix(o.Output, "\n") {
			b.WriteByte('\n')
		}
	}
	if o.NextOffset < o.OutputBytes || o.State == pods.JobRunning {
		fmt.Fprintf(&b, "(read on with offset %d)\n", o.NextOffset)
	}
	return b.String()
}
