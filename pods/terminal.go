package pods

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"podgate/internal/authz"
	"podgate/internal/text"
	"podgate/pods/wire"
	"podgate/store"
)

const (
	// TerminalIdle is how long a terminal lives at which nothing is typed and
	// nothing shown.
	TerminalIdle = 30 * time.Minute
	// typeTimeout is how long an agent may take to take what is typed, which it
	// does whether a program reads it or not.
	typeTimeout = 30 * time.Second

	maxUserTerminals = 8   // open at a time for one person
	maxTerminals     = 200 // in all
)

// errTerminalIdle ends a terminal that nobody uses.
var errTerminalIdle = refuse(ErrIdle, "nothing was typed and nothing shown for %d minutes", TerminalIdle/time.Minute)

// Terminal is a shell in a pod, on a terminal. Read and Write are each for one
// goroutine at a time; all else may be called at any time.
type Terminal struct {
	conn   net.Conn
	ctx    context.Context // ends with the terminal, because of why
	cancel context.CancelCauseFunc
	over   chan struct{} // closed when nothing of it is left here
	last   atomic.Int64  // when a byte passed, in nanoseconds

	buf, rest []byte // of a frame, and what of it is still to be read
	exit      wire.Exit

	mu    sync.Mutex // one frame is written at a time
	frame []byte
}

// Terminal opens a terminal of that size in a running pod, in the app folder, for
// somebody who may run commands there. It ends, with all that was started at it,
// with ctx, when the pod ends or everything in it does, when the actor may no longer
// run commands there, after TerminalIdle without a byte, and with Close.
// ErrBusy: too many are open.
func (s *Service) Terminal(ctx context.Context, a authz.Actor, name string, size wire.Size) (*Terminal, error) {
	if err := a.Allow(authz.Exec, a.Team.ID); err != nil {
		return nil, err
	}
	if !size.Valid() {
		return nil, refuse(ErrBadInput, "a terminal has 1 to %d columns and rows", wire.MaxSide)
	}
	var t *Terminal
	err := s.call(ctx, a, authz.Exec, name, func(rec store.Pod, _ *live) (err error) {
		t, err = s.openTerminal(ctx, a, rec, size)
		return err
	})
	return t, err
}

func (s *Service) openTerminal(ctx context.Context, a authz.Actor, rec store.Pod, size wire.Size) (_ *Terminal, err error) {
	if !s.beginWork() {
		return nil, refuse(ErrUnavailable, "the server is stopping; try again in a minute")
	}
	leave, err := s.terminals.enter(a.User)
	defer func() {
		if err != nil {
			leave()
			s.work.Done()
		}
	}()
	if err != nil {
		return nil, err
	}
	conn, err := s.dialTerminal(ctx, rec, size)
	if err != nil {
		return nil, err
	}
	t := &Terminal{conn: conn, over: make(chan struct{}), buf: make([]byte, wire.MaxFrame)}
	t.ctx, t.cancel = context.WithCancelCause(ctx)
	t.used()
	go func() {
		defer s.work.Done()
		defer close(t.over)
		defer leave()
		s.keepTerminal(t, a, rec)
	}()
	return t, nil
}

func (s *Service) dialTerminal(ctx context.Context, rec store.Pod, size wire.Size) (net.Conn, error) {
	body, err := json.Marshal(wire.TerminalRequest{Size: size, Env: rec.Env})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := s.dial(ctx, rec.Region, rec.ID)
	if err != nil {
		return nil, err
	}
	return upgrade(ctx, conn, http.MethodPost+" "+wire.PathTerminal, body, wire.UpgradeTerminal)
}

// keepTerminal returns when a terminal has ended, and ends it when its time has
// come.
func (s *Service) keepTerminal(t *Terminal, a authz.Actor, rec store.Pod) {
	defer context.AfterFunc(s.ctx, func() { t.cancel(errFollowed) })()
	look := func() {
		if err := s.mayStill(a, authz.Exec, rec); err != nil {
			t.cancel(err)
		}
	}
	defer s.cfg.DB.OnLossOf(a.User, look)()
	look() // for what was taken before that
	tick := time.NewTicker(recheck)
	defer tick.Stop()
	for t.ctx.Err() == nil {
		select {
		case <-t.ctx.Done():
		case <-tick.C:
			look()
			if t.idle() >= TerminalIdle {
				t.cancel(errTerminalIdle)
			}
		}
	}
	_ = t.conn.Close() // the agent kills what was started there
}

func (t *Terminal) used() { t.last.Store(time.Now().UnixNano()) }

func (t *Terminal) idle() time.Duration { return time.Since(time.Unix(0, t.last.Load())) }

// Read reads what the terminal shows. It returns io.EOF when the shell has ended by
// itself, which Exit then tells of, and otherwise why the terminal has ended.
func (t *Terminal) Read(p []byte) (int, error) {
	for len(t.rest) == 0 {
		kind, content, err := wire.ReadFrame(t.conn, t.buf)
		if err != nil {
			t.cancel(errFollowed)
			return 0, t.Err()
		}
		t.used()
		switch kind {
		case wire.FrameData:
			t.rest = content
		case wire.FrameEnd:
			t.cancel(t.readEnd(content))
			return 0, t.Err()
		default:
			t.cancel(errHostileTerminal)
			return 0, t.Err()
		}
	}
	n := copy(p, t.rest)
	t.rest = t.rest[n:]
	return n, nil
}

// errHostileTerminal is for a person.
var errHostileTerminal = refuse(ErrNotAnswering, "the pod said what podgate does not understand; stop and start it")

// readEnd is why a terminal ended, by its last frame: io.EOF for the end of its
// shell.
func (t *Terminal) readEnd(content []byte) error {
	var e wire.Event
	switch err := json.Unmarshal(content, &e); {
	case err == nil && e.Fault != nil:
		return &fault{word: ErrInterrupted, text: text.Line(e.Fault.Message, maxReason)}
	case err == nil && e.Exit != nil:
		t.exit = wire.Exit{Code: e.Exit.Code, Signal: text.Line(e.Exit.Signal, 20)}
		return io.EOF
	}
	return errHostileTerminal
}

// Write types into the terminal.
func (t *Terminal) Write(p []byte) (n int, err error) {
	for n < len(p) {
		part := p[n:min(len(p), n+wire.MaxFrame)]
		if err := t.send(wire.FrameData, part); err != nil {
			return n, err
		}
		n += len(part)
	}
	t.used()
	return n, nil
}

// Resize makes the terminal as large as the window in which it is shown.
func (t *Terminal) Resize(size wire.Size) error {
	if !size.Valid() {
		return refuse(ErrBadInput, "a terminal has 1 to %d columns and rows", wire.MaxSide)
	}
	content, err := json.Marshal(size)
	if err != nil {
		return err
	}
	return t.send(wire.FrameSize, content)
}

func (t *Terminal) send(kind byte, content []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.frame = wire.AppendFrame(t.frame[:0], kind, content)
	if err := t.conn.SetWriteDeadline(time.Now().Add(typeTimeout)); err == nil {
		if _, err = t.conn.Write(t.frame); err == nil {
			return nil
		}
	}
	// What is still to be read says more, such as how the shell ended.
	if t.ctx.Err() != nil {
		return t.Err()
	}
	return errFollowed
}

// Exit is how the shell ended, once Read has returned io.EOF.
func (t *Terminal) Exit() (code int, signal string) { return t.exit.Code, t.exit.Signal }

// Err is why the terminal has ended; nil while it has not. io.EOF: its shell ended.
func (t *Terminal) Err() error { return context.Cause(t.ctx) }

// Done is closed when the terminal has ended.
func (t *Terminal) Done() <-chan struct{} { return t.ctx.Done() }

// Close ends the terminal.
func (t *Terminal) Close() error {
	t.cancel(net.ErrClosed)
	<-t.over
	return nil
}

// terminals counts those that are open.
type terminals struct {
	mu   sync.Mutex
	all  int
	each map[store.UserID]int
}

// enter counts one more, or says why there are enough. leave is for both.
func (c *terminals) enter(user store.UserID) (leave func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.each[user] >= maxUserTerminals:
		return func() {}, refuse(ErrBusy, "you have %d terminals open already; close one first", maxUserTerminals)
	case c.all >= maxTerminals:
		return func() {}, refuse(ErrBusy, "%d terminals are open on this server, which is as many as it has; try again later", maxTerminals)
	}
	if c.each == nil {
		c.each = map[store.UserID]int{}
	}
	c.each[user]++
	c.all++
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.all--
		if c.each[user]--; c.each[user] == 0 {
			delete(c.each, user)
		}
	}, nil
}

var _ io.ReadWriteCloser = (*Terminal)(nil)
