package podstest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"

	"podgate/internal/authz"
	"podgate/pods"
	"podgate/pods/wire"
	"podgate/store"
)

// shell is an open terminal and what it has shown.
type shell struct {
	*pods.Terminal
	b *bench

	mu   sync.Mutex
	text []byte
	err  error // why it ended
}

func (b *bench) shell(ctx context.Context, a authz.Actor, pod string) *shell {
	b.t.Helper()
	t, err := b.Terminal(ctx, a, pod, wire.Size{Columns: 90, Rows: 30})
	if err != nil {
		b.t.Fatalf("terminal: %v", err)
	}
	s := &shell{Terminal: t, b: b}
	go func() {
		buf := make([]byte, 1000)
		for {
			n, err := t.Read(buf)
			s.mu.Lock()
			s.text, s.err = append(s.text, buf[:n]...), err
			s.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	b.t.Cleanup(func() { _ = t.Close() })
	return s
}

// does types a line and waits for what it shows.
func (s *shell) does(line, shows string) {
	s.b.t.Helper()
	if _, err := io.WriteString(s, line+"\r"); err != nil {
		s.b.t.Fatal(err)
	}
	s.b.until(fmt.Sprintf("%q shows %q", line, shows), func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		at := bytes.Index(s.text, []byte(shows))
		if at < 0 {
			return false
		}
		s.text = s.text[at+len(shows):]
		return true
	})
}

// why waits for the end.
func (s *shell) why() (err error) {
	s.b.t.Helper()
	s.b.until("the terminal ends", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		err = s.err
		return err != nil
	})
	if got := s.Err(); !errors.Is(got, err) {
		s.b.t.Errorf("Err is %v, and Read said %v", got, err)
	}
	return err
}

func testTerminal(t *testing.T, r pods.Runtime) {
	b := newBench(t, r)
	b.create("shop", "static", map[string]string{"GREETING": "moin"})
	s := b.shell(t.Context(), b.actor, "shop")
	s.does("tty >/dev/null && : </dev/tty && echo is$((1))", "is1")
	s.does("stty size", "30 90")
	s.does("echo $GREETING.$PODGATE_NAME.$TERM", "moin.shop.xterm-256color")
	must(t, "resize", s.Resize(wire.Size{Columns: 100, Rows: 40}))
	s.does("stty size", "40 100")
	s.does("sleep 987654 & echo on$((2))", "on2")
	s.does("echo $((3)); exit 5", "3")
	if err := s.why(); !errors.Is(err, io.EOF) { // a shell may warn of jobs
		t.Errorf("ended with %v", err)
	}
	if code, signal := s.Exit(); code != 5 || signal != "" {
		t.Errorf("exit %d %s", code, signal)
	}
	if out := b.run("shop", "pgrep -f '[s]leep 987654'"); len(out.Stdout) > 0 {
		t.Errorf("left in the background: %s", out.Stdout)
	}

	reason := errors.New("signed out")
	ctx, cancel := context.WithCancelCause(t.Context())
	s = b.shell(ctx, b.actor, "shop")
	s.does("echo up$((1))", "up1")
	cancel(reason)
	if err := s.why(); !errors.Is(err, reason) {
		t.Errorf("its caller's end: ended with %v", err)
	}
	if _, err := s.Write([]byte("x")); !errors.Is(err, reason) {
		t.Errorf("what has ended takes keys: %v", err)
	}

	s = b.shell(t.Context(), b.actor, "shop")
	s.does("echo up$((1))", "up1")
	if _, err := b.Restart(t.Context(), b.actor, "shop", nil); err != nil {
		t.Fatal(err)
	}
	if err := s.why(); !errors.Is(err, pods.ErrInterrupted) {
		t.Errorf("restart: ended with %v", err)
	}

	s = b.shell(t.Context(), b.actor, "shop")
	if _, err := b.Stop(t.Context(), b.actor, "shop", nil); err != nil {
		t.Fatal(err)
	}
	if err := s.why(); !errors.Is(err, pods.ErrInterrupted) {
		t.Errorf("stop: ended with %v", err)
	}
	if _, err := b.Terminal(t.Context(), b.actor, "shop", wire.Size{Columns: 80, Rows: 24}); !errors.Is(err, pods.ErrNotRunning) {
		t.Errorf("a terminal of a stopped pod: %v", err)
	}
}

// Who may have a terminal, how many, and for how long after they may not any more.
func testTerminals(t *testing.T, r pods.Runtime) {
	b := newBench(t, r)
	b.create("shop", "static", nil)
	size := wire.Size{Columns: 80, Rows: 24}
	viewer := b.actor
	viewer.Role = store.RoleViewer
	var denied *authz.Denied
	if _, err := b.Terminal(t.Context(), viewer, "shop", size); !errors.As(err, &denied) {
		t.Errorf("a viewer: %v", err)
	}
	if _, err := b.Terminal(t.Context(), b.actor, "nobody", size); !errors.Is(err, pods.ErrNotFound) {
		t.Errorf("an absent pod: %v", err)
	}
	if _, err := b.Terminal(t.Context(), b.actor, "shop", wire.Size{Columns: 80}); !errors.Is(err, pods.ErrBadInput) {
		t.Errorf("no rows: %v", err)
	}
	var open []*shell
	for range wire.MaxTerminals {
		open = append(open, b.shell(t.Context(), b.actor, "shop"))
	}
	if _, err := b.Terminal(t.Context(), b.actor, "shop", size); !errors.Is(err, pods.ErrBusy) {
		t.Errorf("one more than a pod has: %v", err)
	}
	must(t, "close", open[0].Close())
	b.until("there is room again", func() bool {
		again, err := b.Terminal(t.Context(), b.actor, "shop", size)
		if err != nil {
			return false
		}
		return again.Close() == nil
	})
	must(t, "add an owner", b.db.CreateUser(store.User{ID: "other owner", Email: "other.owner@example.com"}, store.Member{Team: b.actor.Team.ID, User: "other owner", Role: store.RoleOwner}))
	must(t, "make a viewer", b.db.PutMember(store.Member{Team: b.actor.Team.ID, User: b.actor.User, Role: store.RoleViewer}))
	for _, s := range open[1:] {
		if err := s.why(); !errors.As(err, &denied) {
			t.Errorf("a viewer's terminal ended with %v", err)
		}
	}
}
