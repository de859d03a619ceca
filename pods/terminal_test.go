package pods

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"podgate/internal/authz"
	"podgate/pods/wire"
	"podgate/store"
	"podgate/store/storetest"
)

func pipedTerminal(t *testing.T) (*Terminal, net.Conn) {
	near, far := net.Pipe()
	t.Cleanup(func() { near.Close(); far.Close() })
	term := &Terminal{conn: near, over: make(chan struct{}), buf: make([]byte, wire.MaxFrame)}
	term.ctx, term.cancel = context.WithCancelCause(t.Context())
	return term, far
}

// What an agent sends out of turn ends the terminal, in words that are ours.
func TestTerminalOfAHostileAgent(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		sends []byte
		want  error
	}{
		"hangs up":      {nil, ErrInterrupted},
		"half a frame":  {[]byte{wire.FrameData, 0, 9, 'x'}, ErrInterrupted},
		"too large":     {[]byte{wire.FrameData, 0xff, 0xff, 'x'}, ErrInterrupted},
		"unknown kind":  {wire.AppendFrame(nil, '?', []byte("x")), ErrNotAnswering},
		"no end at all": {wire.AppendFrame(nil, wire.FrameEnd, []byte("{}")), ErrNotAnswering},
		"no JSON":       {wire.AppendFrame(nil, wire.FrameEnd, []byte("}")), ErrNotAnswering},
		"fault":         {wire.AppendFrame(nil, wire.FrameEnd, []byte(`{"fault":{"code":"ended","message":"a\u001b[31m\nb`+strings.Repeat("x", 2000)+`"}}`)), ErrInterrupted},
		"exit":          {wire.AppendFrame(nil, wire.FrameEnd, []byte(`{"exit":{"code":3,"signal":"SIG\u001b[1m"}}`)), io.EOF},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			term, far := pipedTerminal(t)
			go func() { far.Write(c.sends); far.Close() }()
			_, err := io.Copy(io.Discard, struct{ io.Reader }{term})
			if c.want == io.EOF && err == nil {
				err = term.Err()
			}
			if !errors.Is(err, c.want) || strings.ContainsAny(err.Error(), "\x1b\n") || len(err.Error()) > maxReason+100 {
				t.Errorf("%v, want %v", err, c.want)
			}
			if _, signal := term.Exit(); strings.Contains(signal, "\x1b") {
				t.Errorf("signal %q", signal)
			}
		})
	}
}

// The agent hears of keys in pieces that it takes, and of sizes that there are.
func TestTerminalSends(t *testing.T) {
	t.Parallel()
	term, far := pipedTerminal(t)
	go func() {
		term.Resize(wire.Size{Columns: 100, Rows: 40})
		term.Write(make([]byte, wire.MaxFrame+1))
	}()
	buf := make([]byte, wire.MaxFrame)
	for _, want := range []struct {
		kind byte
		size int
	}{{wire.FrameSize, len(`{"columns":100,"rows":40}`)}, {wire.FrameData, wire.MaxFrame}, {wire.FrameData, 1}} {
		kind, content, err := wire.ReadFrame(far, buf)
		if err != nil || kind != want.kind || len(content) != want.size {
			t.Errorf("%c of %d bytes, %v; want %+v", kind, len(content), err, want)
		}
	}
	if err := term.Resize(wire.Size{}); !errors.Is(err, ErrBadInput) {
		t.Errorf("no size: %v", err)
	}
}

// A terminal that nobody uses ends, and one that is used does not.
func TestTerminalIdle(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	w := storetest.Populate(t, db, "ann", time.Now())
	s, err := New(Config{DB: db, Regions: []Region{{Name: "down", Open: noRuntime}}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	rec := store.Pod{ID: "pod", Name: "shop", Team: w.Team.ID, Region: "down", Want: store.WantRunning, Created: time.Now()}
	if rec, err = s.insert(t.Context(), authz.Person(w.User.ID, store.Membership{Team: w.Team, Role: store.RoleOwner}), rec, s.rules.Load().plans[0]); err != nil {
		t.Fatal(err)
	}
	idle, _ := pipedTerminal(t)
	busy, _ := pipedTerminal(t)
	idle.last.Store(time.Now().Add(-TerminalIdle).UnixNano())
	busy.last.Store(time.Now().Add(-TerminalIdle + time.Minute).UnixNano())
	a := authz.Person(w.User.ID, store.Membership{Team: w.Team, Role: store.RoleOwner})
	go s.keepTerminal(busy, a, rec)
	s.keepTerminal(idle, a, rec)
	if idle.Err() != errTerminalIdle || busy.Err() != nil {
		t.Errorf("idle: %v, busy: %v", idle.Err(), busy.Err())
	}
	busy.cancel(nil)
}

func TestTerminalsAreCounted(t *testing.T) {
	t.Parallel()
	var c terminals
	var leave []func()
	enter := func(user store.UserID, want error) {
		t.Helper()
		l, err := c.enter(user)
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", user, err, want)
		}
		leave = append(leave, l)
	}
	for range maxUserTerminals {
		enter("ann", nil)
	}
	enter("ann", ErrBusy)
	for i := range maxTerminals - maxUserTerminals {
		enter(store.UserID(string(rune('b'+i/maxUserTerminals))), nil)
	}
	enter("zoe", ErrBusy)
	for _, l := range leave {
		l()
	}
	if c.all != 0 || len(c.each) != 0 {
		t.Errorf("left over: %d, %v", c.all, c.each)
	}
}
