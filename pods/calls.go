package pods

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"podgate/internal/authz"
	"podgate/internal/text"
	"podgate/pods/wire"
	"podgate/store"
)

const (
	defaultExecTimeout = time.Minute
	execGrace          = 10 * time.Second // for the agent to kill what a command started and say so
	defaultMaxOutput   = 100_000          // bytes a stream
	maxMaxOutput       = 1 << 20
	maxCommand         = 100 << 10 // bytes; the kernel takes 128 KiB in one argument
	maxStdin           = 1 << 20
	maxPath            = 4096
	maxGrep            = 200
	defaultLines       = 100
)

// Limits of calls, for those who describe them.
const (
	MaxExecTimeout = wire.MaxExecTimeout
	MaxLogLines    = wire.MaxLines
	MaxFileSize    = wire.MaxFile // bytes
	MaxStream      = 16 << 20     // bytes that are read of one stream of a command's output
)

// call finds a pod for an actor and runs do with its agent's client. A pod that
// should run and does not is brought back first.
func (s *Service) call(ctx context.Context, a authz.Actor, action authz.Action, name string, do func(store.Pod, *live) error) error {
	rec, err := s.find(a, action, name)
	if err != nil {
		return err
	}
	if _, err := s.runtime(rec.Region); err != nil {
		return err
	}
	if rec.Want != store.WantRunning {
		return errStopped
	}
	l := s.of(rec)
	err = do(rec, l)
	if errors.Is(err, ErrNotRunning) {
		if err := s.revive(ctx, rec); err != nil {
			return err
		}
		err = do(rec, l)
	}
	return s.fromAgent(ctx, rec, err)
}

// faultWords maps the codes of the protocol; all others are bad input or a
// failure that Message explains.
var faultWords = map[string]error{
	wire.FaultPath:         ErrPath,
	wire.FaultNotFound:     ErrNoFile,
	wire.FaultTooLarge:     ErrTooLarge,
	wire.FaultNotListening: ErrNotAnswering,
	wire.FaultNotRunning:   ErrNotAnswering,
	wire.FaultBusy:         ErrBusy,
	wire.FaultEnded:        ErrInterrupted,
	wire.FaultChanged:      ErrInterrupted,
	wire.FaultStale:        ErrStale,
}

// fromAgent words an error of the agent's client.
func (s *Service) fromAgent(ctx context.Context, rec store.Pod, err error) error {
	var worded *fault
	var f *wire.Fault
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &worded):
		return worded
	case errors.As(err, &f):
		word := faultWords[f.Code]
		if word == nil {
			word = ErrBadInput
		}
		return &fault{word: word, text: text.Line(f.Message, maxReason), cause: err}
	case errors.Is(err, ErrNotRunning):
		return &fault{word: ErrNotRunning, text: "it ended a moment ago; look at get_pod, then use manage_pod with action start", cause: err}
	}
	s.cfg.Log.Warn("agent call failed", "pod", rec.ID, "error", err)
	return &fault{word: ErrNotAnswering, text: "its agent failed; try again, and if that does not help use manage_pod with action stop, then start", cause: err}
}

// ExecRequest is one command.
type ExecRequest struct {
	Command   string
	Dir       string        // default: the app folder
	Timeout   time.Duration // 0: 60 s; at most wire.MaxExecTimeout
	Stdin     []byte
	MaxOutput int // bytes kept of the end of each stream; 0: 100,000
}

// ExecResult is how it ended. With ErrTimedOut it holds what was printed.
type ExecResult struct {
	Code                         int
	Signal                       string
	Stdout, Stderr               []byte
	DroppedStdout, DroppedStderr int64 // bytes that came before what was kept
	LostStdout, LostStderr       int64 // bytes that came after it, of a stream longer than MaxStream
	Duration                     time.Duration
	Limit                        string // of the pod, for which something was killed while it ran; empty: none
}

// Exec runs a command in a running pod. When ctx ends or the time is up,
// everything the command started is killed. A restart or reload of the pod
// meanwhile ends it too, with ErrInterrupted.
func (s *Service) Exec(ctx context.Context, a authz.Actor, name string, r ExecRequest, p Progress) (ExecResult, error) {
	if err := a.Allow(authz.Exec, a.Team.ID); err != nil {
		return ExecResult{}, err
	}
	req, err := r.request()
	if err != nil {
		return ExecResult{}, err
	}
	limit := time.Duration(req.TimeoutMillis) * time.Millisecond
	var out ExecResult
	err = s.call(ctx, a, authz.Exec, name, func(rec store.Pod, l *live) error {
		ctx, cancel := context.WithTimeout(ctx, limit+execGrace)
		defer cancel()
		req.Env = rec.Env
		began := s.cfg.Now()
		var err error
		out, err = l.client.exec(ctx, req, r.kept(), p)
		if errors.Is(err, errExecTime) || errors.Is(ctx.Err(), context.DeadlineExceeded) {
			if out.Signal == "" { // the agent did not say; it kills when the connection breaks
				out.Code, out.Signal, out.Duration = 128+9, "SIGKILL", limit
			}
			return &fault{word: ErrTimedOut, text: fmt.Sprintf("it ran for %s and was killed with all it started; give a longer timeout (at most %d s), or run it in the background", limit, wire.MaxExecTimeout/time.Second), cause: err}
		}
		if out.Code == codeKilled {
			out.Limit = s.killedFor(ctx, rec, began)
		}
		return err
	})
	return out, err
}

// codeKilled is the exit code of what was killed, and of a shell whose command was.
const codeKilled = 128 + 9

// toldWithin is how long a runtime may take to hear of a limit that was kept.
const toldWithin = time.Second

// killedFor is the limit for which something in a pod was killed since a time; empty
// when it was for none.
func (s *Service) killedFor(ctx context.Context, rec store.Pod, since time.Time) string {
	for end := time.Now().Add(toldWithin); ; {
		kills := s.seen(ctx, rec).Kills
		if n := len(kills); n > 0 && !kills[n-1].At.Before(since) {
			return text.Line(kills[n-1].Reason, maxReason)
		}
		if time.Now().After(end) || ctx.Err() != nil {
			return ""
		}
		sleep(ctx, toldWithin/10)
	}
}

// kept is how many bytes of each stream the caller wants.
func (r ExecRequest) kept() int {
	if r.MaxOutput == 0 {
		return defaultMaxOutput
	}
	return r.MaxOutput
}

// request checks a request and puts it into the form of the protocol.
func (r ExecRequest) request() (wire.ExecRequest, error) {
	if r.Timeout == 0 {
		r.Timeout = defaultExecTimeout
	}
	if err := r.check(time.Millisecond, wire.MaxExecTimeout); err != nil {
		return wire.ExecRequest{}, err
	}
	return wire.ExecRequest{Command: r.Command, Dir: r.Dir, Stdin: r.Stdin, TimeoutMillis: millis(r.Timeout), MaxOutput: MaxStream}, nil
}

// check refuses what cannot be run. The timeout must be between shortest and
// longest.
func (r ExecRequest) check(shortest, longest time.Duration) error {
	switch {
	case strings.TrimSpace(r.Command) == "":
		return refuse(ErrBadInput, "the command is empty")
	case len(r.Command) > maxCommand:
		return refuse(ErrBadInput, "the command has %d bytes, at most %d are allowed; write it to a file with write_file and run that", len(r.Command), maxCommand)
	case !isText(r.Command):
		return refuse(ErrBadInput, "the command is not text (NUL or invalid UTF-8)")
	case r.Timeout < shortest || r.Timeout > longest:
		return refuse(ErrBadInput, "the timeout must be between 1 and %d s, in the background %d s", wire.MaxExecTimeout/time.Second, wire.MaxJobTimeout/time.Second)
	case len(r.Stdin) > maxStdin:
		return refuse(ErrBadInput, "the input has %d bytes, at most %d are allowed; write it to a file with write_file", len(r.Stdin), maxStdin)
	case r.MaxOutput < 0 || r.MaxOutput > maxMaxOutput:
		return refuse(ErrBadInput, "at most %d bytes of output can be kept", maxMaxOutput)
	case r.Dir != "":
		return checkPath(r.Dir)
	}
	return nil
}

func isText(s string) bool { return utf8.ValidString(s) && !strings.ContainsRune(s, 0) }

// checkPath refuses what is no path at all. Which paths are allowed is decided
// in the pod, where they are resolved.
func checkPath(path string) error {
	switch {
	case path == "":
		return refuse(ErrPath, "the path is empty; give one under /home/pod or /tmp, or one relative to the app folder")
	case len(path) > maxPath:
		return refuse(ErrPath, "the path has %d bytes, at most %d are allowed", len(path), maxPath)
	case !isText(path):
		return refuse(ErrPath, "the path is not text (NUL or invalid UTF-8)")
	}
	return nil
}

// WriteFile writes content to path. mode 0 means 0644, or what the file has.
func (s *Service) WriteFile(ctx context.Context, a authz.Actor, name, path string, content []byte, mode uint32) (wire.FileInfo, error) {
	if err := a.Allow(authz.WriteFiles, a.Team.ID); err != nil {
		return wire.FileInfo{}, err
	}
	if err := checkPath(path); err != nil {
		return wire.FileInfo{}, err
	}
	switch {
	case len(content) > wire.MaxFile:
		return wire.FileInfo{}, refuse(ErrTooLarge, "the content has %d bytes, at most %d are allowed; write it in parts, or have a command in the pod fetch it", len(content), wire.MaxFile)
	}
	return s.Upload(ctx, a, name, path, mode, int64(len(content)), bytes.NewReader(content))
}

func checkMode(mode uint32) error {
	if mode > 0o777 {
		return refuse(ErrBadInput, "the mode must be permission bits from 0001 to 0777, such as 0755")
	}
	return nil
}

// written counts what tools wrote since the agent last measured the disk,
// which it does only now and then.
type written struct {
	measured int64 // what the agent said last
	since    int64
	at       time.Time // of the first write since
}

// remeasured is how long a measurement can be old.
const remeasured = 15 * time.Second

// room refuses a write that would take the pod's home over its plan, or fill the
// disk that homes are on, and counts
// its size among what is to come otherwise. It returns how much there is room
// for, with this write.
func (s *Service) room(ctx context.Context, rec store.Pod, l *live, size int64) (int64, error) {
	plan := s.planOf(rec)
	usage, err := l.client.usage(ctx)
	if err != nil {
		return 0, err
	}
	left := s.seen(ctx, rec).Usage.DiskLeft
	if left > 0 && size > left {
		return 0, refuse(ErrTooLarge, "the disk of the server has room for %d MiB more and the file has %d bytes; whoever runs the server has to make room, or delete files in pods", left>>20, size)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := s.cfg.Now()
	if usage.Disk != l.wrote.measured || now.Sub(l.wrote.at) > remeasured {
		l.wrote = written{measured: usage.Disk, at: now}
	}
	used := usage.Disk + l.wrote.since + l.coming
	if size > plan.Limits.Disk-used {
		return 0, refuse(ErrOverPlan, "the pod uses %d MiB of the %d MiB of plan %s and the file has %d bytes; delete files first", used>>20, plan.Limits.Disk>>20, plan.Name, size)
	}
	l.coming += size
	room := plan.Limits.Disk - used
	if left > 0 {
		room = min(room, left)
	}
	return room, nil
}

// FileContent is a part of a file.
type FileContent struct {
	Info    wire.FileInfo
	Offset  int64
	Content []byte
	More    bool // the file goes on after Content
}

// ReadFile reads at most limit bytes (0: wire.MaxRead) from offset.
func (s *Service) ReadFile(ctx context.Context, a authz.Actor, name, path string, offset, limit int64) (FileContent, error) {
	if err := a.Allow(authz.ReadFiles, a.Team.ID); err != nil {
		return FileContent{}, err
	}
	if err := checkPath(path); err != nil {
		return FileContent{}, err
	}
	if limit == 0 {
		limit = wire.MaxRead
	}
	if offset < 0 || limit < 0 || limit > wire.MaxRead {
		return FileContent{}, refuse(ErrBadInput, "offset must not be negative and limit at most %d", wire.MaxRead)
	}
	var part FileContent
	err := s.call(ctx, a, authz.ReadFiles, name, func(_ store.Pod, l *live) (err error) {
		part, err = l.client.read(ctx, path, offset, limit)
		return err
	})
	part.Info.Name = path
	return part, err
}

// LogQuery selects log lines.
type LogQuery struct {
	Lines  int // 0: 100; at most wire.MaxLines
	Since  time.Time
	Before time.Time // only those before it; zero: all
	Grep   string
	Source string // app, worker, cron, agent, install, network; empty: all
	Stream string // stdout or stderr; empty: both, and what was refused
}

// Logs returns the newest lines that match, oldest first. Of a pod that does not
// run they are what was kept.
func (s *Service) Logs(ctx context.Context, a authz.Actor, name string, q LogQuery) ([]wire.LogLine, error) {
	if err := a.Allow(authz.ReadLogs, a.Team.ID); err != nil {
		return nil, err
	}
	query, err := q.query()
	if err != nil {
		return nil, err
	}
	var lines []wire.LogLine
	err = s.call(ctx, a, authz.ReadLogs, name, func(_ store.Pod, l *live) (err error) {
		if q.Source != networkSource {
			if lines, err = l.client.logs(ctx, query); err != nil || q.Source != "" {
				return err
			}
		}
		lines = s.withNetwork(l, q, lines)
		return nil
	})
	if errors.Is(err, ErrNotRunning) {
		return s.storedLogs(ctx, a, name, q, query)
	}
	return lines, err
}

// storedLogs is Logs of a pod that does not run.
func (s *Service) storedLogs(ctx context.Context, a authz.Actor, name string, q LogQuery, query url.Values) ([]wire.LogLine, error) {
	rec, err := s.find(a, authz.ReadLogs, name)
	if err != nil {
		return nil, err
	}
	runtime, err := s.runtime(rec.Region)
	if err != nil {
		return nil, err
	}
	var lines []wire.LogLine
	if q.Source != networkSource {
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		if lines, err = runtime.Logs(ctx, rec.ID, query); err != nil {
			return nil, fmt.Errorf("pods: logs of a pod that does not run: %w", err)
		}
	}
	lines = cleanLines(lines)
	if q.Source == "" || q.Source == networkSource {
		lines = s.withNetwork(s.of(rec), q, lines)
	}
	return lines, nil
}

// query checks a query and puts it into the form of the protocol.
func (q LogQuery) query() (url.Values, error) {
	if q.Lines == 0 {
		q.Lines = defaultLines
	}
	switch {
	case q.Lines < 0 || q.Lines > wire.MaxLines:
		return nil, refuse(ErrBadInput, "lines must be from 1 to %d", wire.MaxLines)
	case len(q.Grep) > maxGrep || !isText(q.Grep):
		return nil, refuse(ErrBadInput, "grep must be text of at most %d bytes", maxGrep)
	case !slices.Contains([]string{"", "app", "worker", "cron", "agent", "install", networkSource}, q.Source):
		return nil, refuse(ErrBadInput, "source must be app, worker, cron, agent, install or network, or left out for all")
	case !slices.Contains([]string{"", "stdout", "stderr"}, q.Stream):
		return nil, refuse(ErrBadInput, "stream must be stdout or stderr, or left out for both")
	}
	query := url.Values{"lines": {strconv.Itoa(q.Lines)}}
	for name, t := range map[string]time.Time{"since": q.Since, "before": q.Before} {
		if !t.IsZero() {
			query.Set(name, t.UTC().Format(time.RFC3339Nano))
		}
	}
	if q.Grep != "" {
		query.Set("grep", q.Grep)
	}
	for name, value := range map[string]string{"source": q.Source, "stream": q.Stream} {
		if value != "" {
			query.Set(name, value)
		}
	}
	return query, nil
}
