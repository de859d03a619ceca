package control

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"podgate/store"
)

func TestAllowPeer(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		uid, own uint32
		ok       bool
	}{{0, 0, true}, {0, 1000, true}, {1000, 1000, true}, {1001, 1000, false}, {1000, 0, false}, {65534, 1000, false}} {
		if err := allowPeer(c.uid, c.own); (err == nil) != c.ok {
			t.Errorf("user %d at the socket of user %d: %v", c.uid, c.own, err)
		}
	}
}

// The kernel's word is asked for: a connection without one is refused.
func TestCheckPeerNeedsAUnixSocket(t *testing.T) {
	t.Parallel()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	if err := checkPeer(a); err == nil {
		t.Error("a pipe passes for a unix socket")
	}
}

// Another user who gets as far as the socket is hung up on. An abstract socket
// stands in for one whose modes are wrong: it has none.
func TestOtherUsersAreHungUpOn(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can connect as another user")
	}
	name := "@podgate-" + store.NewID()
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: name, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	own := &ownListener{ln, slog.New(slog.DiscardHandler)}
	served := make(chan error, 1)
	go func() {
		conn, err := own.Accept() // passes the stranger over
		if err == nil {
			_, err = io.WriteString(conn, "x")
			err = errors.Join(err, conn.Close())
		}
		served <- err
	}()
	if n, err := connectAs(65534, name); n != 0 || err != nil {
		t.Errorf("the stranger read %d bytes, %v", n, err)
	}
	if n, err := connectAs(0, name); n != 1 || err != nil {
		t.Errorf("the owner read %d bytes, %v", n, err)
	}
	if err := errors.Join(own.Close(), <-served); err != nil {
		t.Error(err)
	}
}

// connectAs connects to an abstract socket as a user and reads one byte.
func connectAs(uid int, name string) (n int, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		// The thread takes the user id for itself alone and, never unlocked,
		// ends with the goroutine.
		runtime.LockOSThread()
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)); errno != 0 {
			err = errno
			return
		}
		var fd int
		if fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return
		}
		defer unix.Close(fd)
		if err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10}); err != nil {
			return
		}
		if err = unix.Connect(fd, &unix.SockaddrUnix{Name: name}); err == nil {
			n, err = unix.Read(fd, make([]byte, 1))
		}
	}()
	<-done
	return n, err
}
