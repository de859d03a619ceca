//go:build linux && (amd64 || arm64)

package sandbox

import (
	"errors"
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Of what an agent may send along only a connection of its own network is taken, and
// nothing else stays open.
func TestOnlyConnectionsOfThePodAreTaken(t *testing.T) {
	t.Parallel()
	single := func(fd int, err error) ([]int, error) { return []int{fd}, err }
	for name, c := range map[string]struct {
		send  func(t *testing.T) (sent []int, peer int) // peer is the other side of the first; -1: none
		taken bool
	}{
		"a connection": {func(t *testing.T) ([]int, int) {
			fd, peer, err := connection()
			must(t, err)
			return []int{fd}, peer
		}, true},
		"two": {func(t *testing.T) ([]int, int) {
			fd, peer, err := connection()
			must(t, err)
			twice, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
			must(t, err)
			return []int{fd, twice}, peer
		}, false},
		"an unconnected socket": {func(t *testing.T) ([]int, int) {
			list, err := single(unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))
			must(t, err)
			return list, -1
		}, false},
		"a file": {func(t *testing.T) ([]int, int) {
			list, err := single(unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0))
			must(t, err)
			return list, -1
		}, false},
		"a connection of another network": {func(t *testing.T) ([]int, int) {
			fd, peer := connectionApart(t)
			return []int{fd}, peer
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			must(t, err)
			ours, err := unixConn(pair[0])
			must(t, err)
			defer ours.Close()
			sent, peer := c.send(t)
			err = unix.Sendmsg(pair[1], []byte("x"), unix.UnixRights(sent...), nil, 0)
			for _, fd := range append(sent, pair[1]) {
				unix.Close(fd)
			}
			must(t, err)
			s := &stream{UnixConn: ours, in: &instance{process: &os.Process{Pid: os.Getpid()}}}
			n, given, err := s.Receive(make([]byte, 4))
			if n != 1 || (given != nil) != c.taken || (err == nil) != c.taken {
				t.Fatalf("%d bytes, %v, %v", n, given, err)
			}
			if given != nil {
				must(t, given.Close())
			}
			if peer < 0 {
				return
			}
			defer unix.Close(peer)
			must(t, unix.SetsockoptTimeval(peer, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 20}))
			if n, err := unix.Read(peer, make([]byte, 1)); n != 0 || err != nil {
				t.Errorf("what was sent is held open: %d, %v", n, err)
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// connection is one of the network of this thread, and its other side.
func connection() (fd, peer int, err error) {
	listener, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, -1, err
	}
	defer unix.Close(listener)
	err = errors.Join(unix.Bind(listener, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), unix.Listen(listener, 1))
	if err != nil {
		return -1, -1, err
	}
	address, err := unix.Getsockname(listener)
	if err != nil {
		return -1, -1, err
	}
	if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return -1, -1, err
	}
	if err = unix.Connect(fd, address); err == nil {
		peer, _, err = unix.Accept4(listener, unix.SOCK_CLOEXEC)
	}
	return fd, peer, err
}

// connectionApart is connection in a network namespace of its own.
func connectionApart(t *testing.T) (fd, peer int) {
	t.Helper()
	var err, none error
	done := make(chan bool)
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread ends
		if none = unix.Unshare(unix.CLONE_NEWNET); none != nil {
			return
		}
		if err = loopbackUp(); err == nil {
			fd, peer, err = connection()
		}
	}()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("no namespace")
	}
	if none != nil {
		t.Skipf("an ordinary user cannot make a network namespace: %v", none)
	}
	must(t, err)
	return fd, peer
}
