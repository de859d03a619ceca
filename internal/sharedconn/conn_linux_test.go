package sharedconn

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pair is a connection whose socket the test holds too, as theirs, and its other side.
func pair(t *testing.T) (c *Conn, theirs *os.File, peer *net.TCPConn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	dialled, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer dialled.Close()
	accepted, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { accepted.Close() })
	theirs, err = dialled.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { theirs.Close() })
	if c, err = New(theirs); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c, theirs, accepted.(*net.TCPConn)
}

func TestBytesBothWays(t *testing.T) {
	t.Parallel()
	c, theirs, peer := pair(t)
	theirs.Close()
	large := strings.Repeat("0123456789", 1<<18)
	done := make(chan error, 1)
	go func() {
		_, err := io.Copy(c, strings.NewReader(large))
		done <- errors.Join(err, c.CloseWrite())
	}()
	got, err := io.ReadAll(peer)
	if err = errors.Join(err, <-done); err != nil || string(got) != large {
		t.Fatal(len(got), err)
	}
	go func() {
		_, err := io.Copy(peer, strings.NewReader(large))
		done <- errors.Join(err, peer.Close())
	}()
	got, err = io.ReadAll(c)
	if err = errors.Join(err, <-done); err != nil || string(got) != large {
		t.Fatal(len(got), err)
	}
	if _, err := c.Write([]byte(large)); err == nil {
		_, err = c.Write([]byte(large))
		if err == nil {
			t.Error("written to nobody")
		}
	}
}

// Calls end at their deadline, though another holder has them wait in the kernel.
func TestNoCallWaitsInTheKernel(t *testing.T) {
	t.Parallel()
	c, theirs, peer := pair(t)
	if err := unix.SetNonblock(int(theirs.Fd()), false); err != nil {
		t.Fatal(err)
	}
	for name, call := range map[string]func() error{
		"read":  func() error { _, err := c.Read(make([]byte, 1)); return err },
		"write": func() error { _, err := c.Write(make([]byte, 64<<20)); return err },
		"copy from": func() error {
			_, err := io.Copy(io.Discard, c)
			return err
		},
	} {
		ended := make(chan error, 1)
		if err := c.SetDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		go func() { ended <- call() }()
		select {
		case err := <-ended:
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%s: %v", name, err)
			}
		case <-time.After(20 * time.Second):
			peer.Close() // so that the test can end
			t.Fatalf("%s waits", name)
		}
	}
}

// Closing does not wait for who takes nothing, though another holder told the socket to
// linger.
func TestCloseDoesNotLinger(t *testing.T) {
	t.Parallel()
	full := func() *Conn { // another holder's last word is that it lingers
		c, theirs, _ := pair(t)
		if err := c.SetWriteDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write(make([]byte, 64<<20)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
		if err := unix.SetsockoptLinger(int(theirs.Fd()), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1, Linger: 3600}); err != nil {
			t.Fatal(err)
		}
		theirs.Close()
		return c
	}
	for name, end := range map[string]func(*Conn) error{
		"lingering": (*Conn).Close,
		// What is done when many wait already, whatever the socket is told.
		"one too many": func(c *Conn) error { c.reset(); return c.TCPConn.Close() },
	} {
		c, ended := full(), make(chan error, 1)
		go func() { ended <- end(c) }()
		select {
		case err := <-ended:
			if err != nil {
				t.Error(name, err)
			}
		case <-time.After(20 * time.Second):
			t.Fatal(name, "waits")
		}
	}
}

// Only a connected TCP socket is taken.
func TestOtherFilesAreRefused(t *testing.T) {
	t.Parallel()
	files := map[string]func() (int, error){
		"unconnected": func() (int, error) { return unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0) },
		"udp": func() (int, error) {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
			return fd, errors.Join(err, unix.Connect(fd, &unix.SockaddrInet4{Port: 9, Addr: [4]byte{127, 0, 0, 1}}))
		},
		"unix": func() (int, error) {
			fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			unix.Close(fds[1])
			return fds[0], err
		},
		"file": func() (int, error) { return unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0) },
		"listening": func() (int, error) {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			return fd, errors.Join(err, unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), unix.Listen(fd, 1))
		},
	}
	for name, open := range files {
		fd, err := open()
		if err != nil {
			t.Fatal(name, err)
		}
		f := os.NewFile(uintptr(fd), name)
		if c, err := New(f); !errors.Is(err, errKind) {
			t.Errorf("%s: %v, %v", name, c, err)
		}
		f.Close()
	}
}
