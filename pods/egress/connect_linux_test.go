package egress

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// listen returns a server that sends back what it reads once all has come.
func listen(t *testing.T, network, address string) net.Listener {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Skipf("skipped: %v", err) // a machine without IPv6
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				all, _ := io.ReadAll(c)
				_, _ = c.Write(all)
			}()
		}
	}()
	return l
}

func TestConnect(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"127.0.0.1:0", "[::1]:0"} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			l := listen(t, "tcp", at)
			c, err := Connect(t.Context(), "tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if c.RemoteAddr().String() != l.Addr().String() || c.LocalAddr().String() == l.Addr().String() {
				t.Errorf("from %v to %v", c.LocalAddr(), c.RemoteAddr())
			}
			s, ok := c.(Stream)
			if !ok {
				t.Fatalf("%T", c)
			}
			if _, err := s.Write([]byte("hello")); err != nil {
				t.Fatal(err)
			}
			if err := s.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(s); string(got) != "hello" || err != nil {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

// What the kernel is told of a connection is what net.Dialer tells it.
func TestConnectOptions(t *testing.T) {
	t.Parallel()
	l := listen(t, "tcp", "127.0.0.1:0")
	options := func(c net.Conn, err error) (all [4]int) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		raw, err := c.(syscall.Conn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		err = raw.Control(func(fd uintptr) {
			for i, o := range [][2]int{{unix.IPPROTO_TCP, unix.TCP_NODELAY}, {unix.SOL_SOCKET, unix.SO_KEEPALIVE}, {unix.IPPROTO_TCP, unix.TCP_KEEPIDLE}, {unix.IPPROTO_TCP, unix.TCP_KEEPINTVL}} {
				all[i], _ = unix.GetsockoptInt(int(fd), o[0], o[1])
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	want := options((&net.Dialer{}).DialContext(t.Context(), "tcp", l.Addr().String()))
	if got := options(Connect(t.Context(), "tcp", l.Addr().String())); got != want || got[0] == 0 {
		t.Errorf("%v and not %v", got, want)
	}
}

func TestConnectFails(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := l.Addr().String()
	l.Close()
	silent := fullListener(t)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		ctx  func() (context.Context, context.CancelFunc)
		to   string
		want error
	}{
		"nobody listens": {func() (context.Context, context.CancelFunc) { return t.Context(), func() {} }, nobody, syscall.ECONNREFUSED},
		"over before":    {func() (context.Context, context.CancelFunc) { return ended, func() {} }, silent, context.Canceled},
		"no answer": {func() (context.Context, context.CancelFunc) {
			return context.WithTimeout(t.Context(), 50*time.Millisecond)
		}, silent, os.ErrDeadlineExceeded},
		"over meanwhile": {func() (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(50*time.Millisecond, cancel)
			return ctx, cancel
		}, silent, context.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := c.ctx()
			defer cancel()
			conn, err := Connect(ctx, "tcp", c.to)
			if conn != nil || !errors.Is(err, c.want) {
				t.Errorf("%v, %v", conn, err)
			}
			if op, ok := errors.AsType[*net.OpError](err); !ok || op.Addr.String() != c.to {
				t.Errorf("%#v", err)
			}
		})
	}
}

// fullListener is one that answers no more: its queue is full, and nobody takes from it.
func fullListener(t *testing.T) string {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	at, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	to := addrPort(at).String()
	for range 2 {
		c, err := net.DialTimeout("tcp", to, 200*time.Millisecond)
		if err != nil {
			return to // full already
		}
		t.Cleanup(func() { c.Close() })
	}
	return to
}

// A connection that has met itself is none: somebody else is meant.
func TestConnectToItself(t *testing.T) {
	t.Parallel()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	s := NewStream(fd)
	defer s.Close()
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	at, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Connect(fd, at); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		t.Fatal(err)
	}
	if err := s.connected(t.Context()); err != nil || !s.toItself() {
		t.Errorf("it is not seen: %v", err)
	}
}

// Streams bound what the kernel keeps, as the gate asks.
func TestStreamBuffers(t *testing.T) {
	t.Parallel()
	c, err := Connect(t.Context(), "tcp", listen(t, "tcp", "127.0.0.1:0").Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	bound(c, MaxOpen)
	_ = c.(Stream).control(func(fd int) error {
		for _, option := range []int{unix.SO_RCVBUF, unix.SO_SNDBUF} {
			if n, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, option); err != nil || n != 2*outsideLeast {
				t.Errorf("%d: %d, %v", option, n, err)
			}
		}
		return nil
	})
}
