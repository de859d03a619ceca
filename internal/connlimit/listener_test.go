package connlimit

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// accepted dials from an address and returns what the listener handed out; nil
// when it closed the connection instead.
func accepted(t *testing.T, l *pipes, conns <-chan net.Conn, from string) net.Conn {
	t.Helper()
	ours := l.dial(from)
	closed := make(chan error, 1)
	go func() { _, err := ours.Read(make([]byte, 1)); closed <- err }()
	select {
	case c := <-conns:
		return c
	case err := <-closed:
		if err != io.EOF {
			t.Error(err)
		}
		return nil
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	pipes := newPipes()
	bounds := &Bounds{All: 6, Each: 2, Shared: func(a netip.Addr) bool { return a == netip.MustParseAddr("127.0.0.1") }}
	l, conns := bounds.Listener(pipes), make(chan net.Conn)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns <- c
		}
	}()
	defer func() { _ = l.Close(); <-done }()
	var open []net.Conn
	for i, c := range []struct {
		from string
		ok   bool
	}{
		{"198.51.100.1:1", true}, {"198.51.100.1:2", true}, {"198.51.100.1:3", false}, {"[::ffff:198.51.100.1]:4", false},
		{"[2001:db8::1]:1", true}, {"[2001:db8::2]:1", true}, {"[2001:db8::3%eth0]:1", false}, // one /64
		{"[2001:db8:0:1::1]:1", true}, {"127.0.0.1:1", true}, // all are taken now
		{"198.51.100.2:1", false}, {"127.0.0.1:2", false},
	} {
		conn := accepted(t, pipes, conns, c.from)
		if (conn != nil) != c.ok {
			t.Errorf("%d, %s: accepted %v", i, c.from, conn != nil)
		}
		if conn != nil {
			open = append(open, conn)
		}
	}
	for range 2 { // net/http closes some twice
		if err := open[0].Close(); err != nil {
			t.Error(err)
		}
	}
	if accepted(t, pipes, conns, "198.51.100.1:5") == nil || accepted(t, pipes, conns, "198.51.100.1:6") != nil {
		t.Error("the place of a connection that was closed is not another's, once")
	}
}

// Many connections of a shared address leave room for others up to the whole.
func TestSharedAddresses(t *testing.T) {
	t.Parallel()
	bounds := &Bounds{All: 10, Each: 1, Shared: func(a netip.Addr) bool { return a.IsLoopback() }}
	for i := range 10 {
		if key := bounds.key(address("[::1]:1")); !bounds.enter(key) {
			t.Errorf("%d is refused", i)
		}
	}
	if bounds.enter(bounds.key(address("[::1]:1"))) {
		t.Error("more than all")
	}
}

// broken is a listener whose system has no room.
type broken struct {
	net.Listener
	err error
}

func (b broken) Accept() (net.Conn, error) { return nil, b.err }

// Running out of descriptors is said in words, once a minute, however often
// net/http tries.
func TestNoDescriptorsIsSaidInWords(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		bounds := &Bounds{Log: slog.New(slog.NewTextHandler(&log, nil))}
		full := &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
		for _, err := range []error{full, full, net.ErrClosed} {
			if _, got := bounds.Listener(broken{err: err}).Accept(); got != err {
				t.Error(got)
			}
		}
		if n := strings.Count(log.String(), "raise the limit"); n != 1 {
			t.Errorf("said %d times:\n%s", n, &log)
		}
		time.Sleep(tellEvery)
		_, _ = bounds.Listener(broken{err: full}).Accept()
		if n := strings.Count(log.String(), "raise the limit"); n != 2 {
			t.Errorf("a minute later it is said %d times", n)
		}
	})
}
