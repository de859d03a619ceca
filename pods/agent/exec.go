package agent

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"podgate/pods/wire"
)

const (
	maxExecs = 64
	// pipeGrace is how long output is awaited after the shell has ended, when
	// something that it left in the background still holds the pipe.
	pipeGrace = 150 * time.Millisecond
	lateGrace = 20 * time.Millisecond
	chunkSize = 32 << 10
)

// serveExec is POST /v1/exec.
func (a *agent) serveExec(w http.ResponseWriter, r *http.Request) error {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxExecBody))
	if err != nil {
		return err
	}
	req, err := parseExec(body)
	if err != nil {
		return err
	}
	select {
	case a.execs <- struct{}{}:
		defer func() { <-a.execs }()
	default:
		return faultf(wire.FaultBusy, "%d commands run already; wait until one ends", maxExecs)
	}
	dir, err := a.folders.dir(req.Dir)
	if err != nil {
		return err
	}
	limit := time.Duration(req.TimeoutMillis) * time.Millisecond
	ctx, cancel := context.WithTimeout(r.Context(), limit)
	defer cancel()
	out := newEventStream(w, cancel)
	x := &execution{
		agent: a, out: out, limit: req.MaxOutput,
		cmd: command{path: a.cfg.Shell, shell: true, argv: []string{"sh", "-c", req.Command}, dir: dir.real(), env: a.commandEnv(req.Env)},
	}
	exit, err := x.run(ctx, req.Stdin)
	if err != nil && !out.started() {
		return err
	}
	if err != nil {
		out.send(wire.Event{Fault: asFault(err)})
		return nil
	}
	out.send(wire.Event{Exit: exit})
	return nil
}

// commandEnv is what a command sees: the base, what the app sees, and what the
// request adds.
func (a *agent) commandEnv(extra map[string]string) []string {
	env := newEnviron(a.cfg.Environ)
	if spec := a.app.lastSpec(); spec != nil {
		a.addAppEnv(env, a.appDir(), *spec)
	}
	env.setAll(extra)
	return env.list()
}

// execution is one command while it runs.
type execution struct {
	agent *agent
	cmd   command
	out   *eventStream
	limit int // bytes kept of each stream

	readers sync.WaitGroup
}

// run starts the command and returns when its shell has ended and its output
// is sent. When ctx ends first, nothing of what it started is left on return;
// otherwise what it left in the background lives on, until everything in the
// pod ends. A command that ended that way is an error.
func (x *execution) run(ctx context.Context, stdin []byte) (*wire.Exit, error) {
	began := time.Now()
	p, pipes, err := x.agent.startPiped(x.cmd, stdin, false)
	if err != nil {
		return nil, faultf(wire.FaultFailed, "the command cannot be started: %v", err)
	}
	stdout := x.follow("stdout", pipes.out)
	stderr := x.follow("stderr", pipes.err)
	timedOut, ended := false, false
	select {
	case <-p.done:
		ended = p.mustEnd()
	case <-ctx.Done():
		// Else the caller is gone, who hears nothing, or the pod ends.
		timedOut = errors.Is(ctx.Err(), context.DeadlineExceeded)
		ended = !timedOut
		if err := p.killTree(); err != nil {
			x.agent.log.Printf("command: %v", err)
		}
	}
	pipes.stopInput()
	x.settle(pipes)
	if ended {
		return nil, errEnded
	}
	exit := &wire.Exit{
		TimedOut:      timedOut,
		DroppedStdout: stdout.dropped, DroppedStderr: stderr.dropped,
		Millis: time.Since(began).Milliseconds(),
	}
	exit.Code, exit.Signal = exitCode(p.status)
	return exit, nil
}

const endedWithAll = "the app was stopped, restarted or reloaded meanwhile, which ends everything that runs in the pod"

var errEnded = faultf(wire.FaultEnded, endedWithAll)

// settle waits for the readers. A pipe that a background process keeps open is
// drained elsewhere from then on: closing it would kill that process at its
// next line.
func (x *execution) settle(pipes *execPipes) {
	at := time.Now().Add(pipeGrace)
	pipes.out.SetReadDeadline(at)
	pipes.err.SetReadDeadline(at)
	x.readers.Wait()
}

// sink is how far one stream of output has come.
type sink struct {
	kept    int
	dropped int64
}

// follow sends what comes from f until its end or its deadline. The sink may
// be read once the readers are done.
func (x *execution) follow(stream string, f *os.File) *sink {
	s := &sink{}
	x.readers.Go(func() {
		x.agent.drains.readUntilDeadline(f, func(b []byte) {
			keep := min(len(b), x.limit-s.kept)
			if keep > 0 {
				x.out.send(wire.Event{Stream: stream, Data: b[:keep]})
			}
			s.kept += keep
			s.dropped += int64(len(b) - keep)
		})
	})
	return s
}

// readUntilDeadline hands what comes from f to put, until its end or its deadline.
// A reader that comes late, on a busy machine, looks once more: what the pipe holds
// by then was printed in time.
func (d *drains) readUntilDeadline(f *os.File, put func([]byte)) {
	buf := make([]byte, chunkSize)
	late := false
	for {
		n, err := f.Read(buf)
		if n > 0 {
			put(buf[:n])
		}
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded) && !late:
			late = true
			f.SetReadDeadline(time.Now().Add(lateGrace))
		case errors.Is(err, os.ErrDeadlineExceeded):
			d.add(f)
			return
		case err != nil:
			f.Close()
			return
		}
	}
}

// execPipes are our ends of a command's descriptors.
type execPipes struct {
	out, err *os.File // err is nil when both streams are one
	in       *os.File // nil when there is no input
}

func (p *execPipes) stopInput() {
	if p.in != nil {
		p.in.Close()
	}
}

// startPiped starts c with stdin to read. Its two streams come through a pipe
// each, or merged through one.
func (a *agent) startPiped(c command, stdin []byte, merged bool) (*proc, *execPipes, error) {
	var pipes execPipes
	var ends []*os.File // the child's
	defer func() {
		for _, f := range ends {
			f.Close()
		}
	}()
	fail := func(err error) (*proc, *execPipes, error) {
		for _, f := range []*os.File{pipes.out, pipes.err, pipes.in} {
			if f != nil {
				f.Close()
			}
		}
		return nil, nil, err
	}
	in, mine, err := inputFor(stdin)
	if err != nil {
		return fail(err)
	}
	pipes.in = mine
	ends = append(ends, in)
	outputs := []**os.File{&pipes.out, &pipes.err}
	if merged {
		outputs = outputs[:1]
	}
	for _, to := range outputs {
		r, w, err := os.Pipe()
		if err != nil {
			return fail(err)
		}
		*to = r
		ends = append(ends, w)
	}
	c.files = [3]*os.File{ends[0], ends[1], ends[len(ends)-1]}
	p, err := a.procs.start(c)
	if err != nil {
		return fail(err)
	}
	if mine != nil {
		// Ends when all is written, when nobody reads any more (EPIPE; the
		// Go runtime raises no signal for it beyond descriptors 1 and 2), or
		// when stopInput closes the file.
		go func() {
			mine.Write(stdin)
			mine.Close()
		}()
	}
	return p, &pipes, nil
}

func inputFor(stdin []byte) (theirs, ours *os.File, err error) {
	if len(stdin) > 0 {
		return os.Pipe()
	}
	theirs, err = os.Open(os.DevNull)
	return theirs, nil, err
}

// drains reads and drops what background processes write to pipes whose
// command is over. It holds a bounded number: past it the oldest is closed.
type drains struct {
	mu    sync.Mutex
	files []*os.File
}

const maxDrains = 128

func (d *drains) add(f *os.File) {
	d.mu.Lock()
	if len(d.files) >= maxDrains {
		d.files[0].Close()
		d.files = d.files[1:]
	}
	d.files = append(d.files, f)
	d.mu.Unlock()
	f.SetReadDeadline(time.Time{})
	go func() {
		io.Copy(io.Discard, struct{ io.Reader }{f})
		d.remove(f)
	}()
}

func (d *drains) remove(f *os.File) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f.Close()
	for i, g := range d.files {
		if f == g {
			d.files = append(d.files[:i:i], d.files[i+1:]...)
			return
		}
	}
}

func (d *drains) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, f := range d.files {
		f.Close()
	}
	d.files = nil
}
