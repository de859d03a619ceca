package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"podgate/pods"
	"podgate/remote"
)

// maxStdin is what commands read of standard input at most, in bytes: what a command
// in a pod may be given.
const maxStdin = 1 << 20

type podLine struct {
	Time   time.Time `json:"time"`
	Source string    `json:"source"`
	Stream string    `json:"stream"`
	Text   string    `json:"text"`
}

func (inv *invocation) podLogs() *cobra.Command {
	cmd := &cobra.Command{
		Use: "logs NAME", Short: "show what a pod printed", Example: "podgate pod logs hello --lines 20", ValidArgsFunction: inv.completePods(),
		Long: "With --follow it goes on until it is interrupted. With --json it prints one object a line.",
	}
	f := inv.toolFlags(cmd)
	follow := cmd.Flags().BoolP("follow", "f", false, "go on with what comes")
	lines := cmd.Flags().Int("lines", 100, "begin with the newest `N` lines")
	since := cmd.Flags().String("since", "", "only lines from `TIME` on, such as 2026-03-01T12:00:00Z, or of the last while, such as 10m")
	grep := cmd.Flags().String("grep", "", "only lines that contain `TEXT`")
	source := cmd.Flags().String("source", "", "only lines of `SOURCE`: app, worker, cron, agent, install or network")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		in := map[string]any{"name": args[0], "lines": *lines}
		for key, value := range map[string]string{"since": *since, "grep": *grep, "source": *source} {
			if value != "" {
				in[key] = value
			}
		}
		ctx := cmd.Context()
		return f.with(ctx, args[0], func(t *tools) error {
			if *follow {
				return f.follow(ctx, t, in)
			}
			list, err := logLines(ctx, t, in)
			if err != nil {
				return err
			}
			return f.printLines(list)
		})
	}
	return cmd
}

func logLines(ctx context.Context, t *tools, in map[string]any) ([]podLine, error) {
	r, err := t.Call(ctx, "get_logs", in, nil)
	if err != nil {
		return nil, err
	}
	var answer struct {
		Lines []podLine `json:"lines"`
	}
	if err := json.Unmarshal(r.Data, &answer); err != nil {
		return nil, fmt.Errorf("the server's answer is not understood: %w", err)
	}
	for i := range answer.Lines {
		answer.Lines[i].Time = answer.Lines[i].Time.UTC() // so that equal ones compare as equal
	}
	return answer.Lines, nil
}

func (f *toolFlags) printLines(list []podLine) error {
	for _, l := range list {
		line := fmt.Sprintf("%s %s/%s %s\n", l.Time.UTC().Format("2006-01-02T15:04:05.000Z"), l.Source, l.Stream, l.Text)
		if f.json {
			raw, err := json.Marshal(l)
			if err != nil {
				return err
			}
			line = plainJSON(string(raw)) + "\n"
		}
		if err := output(f.inv.Stdout, line); err != nil {
			return err
		}
	}
	return nil
}

const (
	// followSoon and followLater are how long it waits for more lines: the first
	// while there are some, twice as long each time when there are none.
	followSoon  = 500 * time.Millisecond
	followLater = 4 * time.Second
	// followAgain is how far back each look begins, since lines of several
	// processes need not come in the order of their times.
	followAgain = 2 * time.Second
)

// follow prints lines until ctx ends, which is what it was asked for.
func (f *toolFlags) follow(ctx context.Context, t *tools, in map[string]any) error {
	var shown seenLines
	wait := time.NewTimer(0)
	defer wait.Stop()
	for pause := followSoon; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-wait.C:
		}
		list, err := logLines(ctx, t, in)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		}
		fresh := shown.fresh(list)
		if err := f.printLines(fresh); err != nil {
			return err
		}
		if len(fresh) > 0 {
			pause = followSoon
			in["since"], in["lines"] = shown.newest.Add(-followAgain).UTC().Format(time.RFC3339Nano), pods.MaxLogLines
		}
		wait.Reset(pause)
		pause = min(2*pause, followLater)
	}
}

// seenLines are the lines of the last look that the next may show again.
type seenLines struct {
	lines  map[podLine]int // how often each was shown
	newest time.Time
}

// fresh returns the lines that were not there at the last look.
func (s *seenLines) fresh(list []podLine) []podLine {
	var fresh []podLine
	now := map[podLine]int{}
	for _, l := range list {
		now[l]++
		if now[l] > s.lines[l] {
			fresh = append(fresh, l)
		}
		if l.Time.After(s.newest) {
			s.newest = l.Time
		}
	}
	s.lines = now
	return fresh
}

func (inv *invocation) podExec() *cobra.Command {
	cmd := &cobra.Command{
		Use: "exec NAME COMMAND…", Short: "run a command in a pod", Example: "podgate pod exec hello -- ls -l /home/pod", ValidArgsFunction: inv.completePods(),
		Long: "One word is a line for the shell; several are a command and its arguments. Write -- before flags that are the\n" +
			"command's. It prints what the command prints once that has ended, and ends with its exit code. With --background\n" +
			"the command goes on as a job, which «podgate pod job» shows.",
	}
	f := inv.toolFlags(cmd)
	timeout := cmd.Flags().Int("timeout", 60, "end it after `SECONDS`, at most 280; of a job at most a day")
	workdir := cmd.Flags().String("workdir", "", "run it in the folder `DIR` (default: that of the app)")
	stdin := cmd.Flags().BoolP("stdin", "i", false, "give it what comes from standard input, at most 1 MiB")
	background := cmd.Flags().Bool("background", false, "do not wait for its end")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		in := map[string]any{"name": args[0], "command": commandLine(args[1:])}
		if !*background || cmd.Flags().Changed("timeout") {
			in["timeout"] = *timeout
		}
		if *workdir != "" {
			in["workdir"] = *workdir
		}
		if *background {
			in["background"] = true
		}
		if *stdin {
			given, err := io.ReadAll(io.LimitReader(inv.Stdin, maxStdin+1))
			if err == nil && len(given) > maxStdin {
				err = errors.New("more than 1 MiB came; «podgate pod cp» brings large files")
			}
			if err != nil {
				return fmt.Errorf("read standard input: %w", err)
			}
			in["stdin"] = string(given)
		}
		r, err := f.call(cmd.Context(), "exec_command", in, nil)
		var failed *remote.ToolError
		if errors.As(err, &failed) && len(failed.Data) > 0 { // its time was up: what it printed until then is there
			return errors.Join(f.printRun(failed.Result), err)
		}
		if err != nil {
			return err
		}
		return f.printRun(r)
	}
	return cmd
}

// commandLine is a command for the shell of a pod.
func commandLine(words []string) string {
	if len(words) == 1 {
		return words[0]
	}
	var quoted []string
	for _, w := range words {
		quoted = append(quoted, "'"+strings.ReplaceAll(w, "'", `'\''`)+"'")
	}
	return strings.Join(quoted, " ")
}

// printRun passes on what a command printed, and how it ended.
func (f *toolFlags) printRun(r remote.Result) error {
	var run struct {
		Code       *int            `json:"exit_code"`
		Limit      string          `json:"limit"`
		Stdout     string          `json:"stdout"`
		Stderr     string          `json:"stderr"`
		CutStdout  int64           `json:"cut_stdout"`
		CutStderr  int64           `json:"cut_stderr"`
		LostStdout int64           `json:"lost_stdout"`
		LostStderr int64           `json:"lost_stderr"`
		TimedOut   bool            `json:"timed_out"`
		Job        json.RawMessage `json:"job"`
	}
	if err := json.Unmarshal(r.Data, &run); err != nil {
		return fmt.Errorf("the server's answer is not understood: %w", err)
	}
	switch {
	case f.json:
		if err := f.printData(r.Data); err != nil {
			return err
		}
	case run.Job != nil:
		return f.inv.sayLines(r.Text)
	default:
		if err := errors.Join(output(f.inv.Stdout, run.Stdout), output(f.inv.Stderr, run.Stderr)); err != nil {
			return err
		}
		if missing := run.CutStdout + run.CutStderr + run.LostStdout + run.LostStderr; missing > 0 {
			fmt.Fprintf(f.inv.Stderr, "podgate: %d bytes of its output are missing; send the output to a file and fetch that with «podgate pod cp»\n", missing)
		}
		if run.Limit != "" {
			fmt.Fprintf(f.inv.Stderr, "podgate: killed for a limit of the pod: %s\n", visibleLines(run.Limit))
		}
	}
	if run.Code != nil && *run.Code != 0 && !run.TimedOut {
		return commandError(max(1, *run.Code&0xff))
	}
	return nil
}

func (inv *invocation) podJobs() *cobra.Command {
	return inv.toolCommand(&cobra.Command{
		Use: "jobs NAME", Short: "list the commands that run in a pod's background", Example: "podgate pod jobs hello", ValidArgsFunction: inv.completePods(),
		Long: "Those that ended are kept for a day.",
	}, "list_jobs", named(nil))
}

func (inv *invocation) podJob() *cobra.Command {
	return inv.toolCommand(&cobra.Command{
		Use: "job NAME JOB", Short: "show one job of a pod and what it printed last", Example: "podgate pod job hello 7wq2mz4k", ValidArgsFunction: inv.completePods(),
	}, "get_job", ofJob)
}

func (inv *invocation) podJobStop() *cobra.Command {
	return inv.toolCommand(&cobra.Command{
		Use: "job-stop NAME JOB", Short: "end one job of a pod with all that it started", Example: "podgate pod job-stop hello 7wq2mz4k", ValidArgsFunction: inv.completePods(),
	}, "stop_job", ofJob)
}

func ofJob(args []string) (map[string]any, error) {
	return map[string]any{"name": args[0], "job": args[1]}, nil
}
