//go:build linux && (amd64 || arm64)

package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"podgate/internal/handover"
	"podgate/pods"
	"podgate/store"
)

// doorHere has so many sockets of the test's own network.
func doorHere(t *testing.T, n int) *appDoor {
	t.Helper()
	d := &appDoor{}
	for range n {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		must(t, err)
		d.free = append(d.free, os.NewFile(uintptr(fd), "socket"))
	}
	t.Cleanup(d.close)
	return d
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// listens serves each connection by serve, in turn, and returns its port.
func listens(t *testing.T, serve func(*net.TCPConn)) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serve(c.(*net.TCPConn))
			c.Close()
		}
	}()
	return l.Addr().(*net.TCPAddr).Port
}

func TestAppSocketsAreUsedAgain(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	port := listens(t, func(c *net.TCPConn) {
		_, _ = io.WriteString(c, "hello, and more that nobody reads")
		_, err := io.Copy(io.Discard, c)
		ended <- err
	})
	d := doorHere(t, 1)
	for n := range 20 {
		c, err := d.connect(t.Context(), port)
		must(t, err)
		if _, err := d.connect(t.Context(), port); !errors.Is(err, errNoSocket) {
			t.Fatalf("a second one: %v", err)
		}
		p := make([]byte, 5)
		if _, err := io.ReadFull(c, p); err != nil || string(p) != "hello" {
			t.Fatalf("the connection %d says %q, %v", n, p, err)
		}
		if n%2 == 0 { // all was read, so this is the end and no reset
			if _, err := io.ReadFull(c, make([]byte, 28)); err != nil {
				t.Fatal(err)
			}
		}
		must(t, c.Close())
		if err := <-ended; (err == nil) != (n%2 == 0) {
			t.Errorf("the connection %d ended with %v", n, err)
		}
		for _, err := range []error{c.Close(), c.SetDeadline(time.Time{}), c.(*appConn).CloseWrite()} {
			if !errors.Is(err, net.ErrClosed) {
				t.Errorf("on a closed one: %v", err)
			}
		}
		if _, err := c.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("write to a closed one: %v", err)
		}
	}
}

// A connection rests as long as its app neither says anything nor ends it.
func TestQuietAppConnections(t *testing.T) {
	t.Parallel()
	next := make(chan string)
	port := listens(t, func(c *net.TCPConn) { _, _ = io.WriteString(c, <-next) })
	d := doorHere(t, 1)
	for _, words := range []string{"x", ""} { // and then its end
		c, err := d.connect(t.Context(), port)
		must(t, err)
		quiet := c.(interface{ Quiet() bool }).Quiet
		if !quiet() {
			t.Error("a new one does not rest")
		}
		next <- words
		for quiet() {
			time.Sleep(time.Millisecond) // until the kernel has brought it
		}
		if got, err := io.ReadAll(c); err != nil || string(got) != words || quiet() {
			t.Errorf("%q, %v, rests: %v", got, err, quiet())
		}
		must(t, c.Close())
		if quiet() {
			t.Error("a closed one rests")
		}
	}
}

// A call that Close ends does not meet the next connection over its socket.
func TestAppConnectionsStayApart(t *testing.T) {
	t.Parallel()
	release := make(chan bool)
	port := listens(t, func(c *net.TCPConn) { <-release })
	d := doorHere(t, 1)
	c, err := d.connect(t.Context(), port)
	must(t, err)
	must(t, c.(*appConn).enter()) // a call that is about to read
	must(t, c.Close())
	if len(d.free) != 0 {
		t.Fatal("the socket is back while a call is under way")
	}
	c.(*appConn).leave()
	release <- true
	for range 200 {
		c, err := d.connect(t.Context(), port)
		must(t, err)
		read := make(chan error)
		go func() {
			_, err := c.Read(make([]byte, 1))
			read <- err
		}()
		must(t, c.Close())
		if err := <-read; !errors.Is(err, net.ErrClosed) && err != io.EOF {
			t.Fatalf("the read ended with %v", err)
		}
		release <- true
		d.mu.Lock()
		free, open := len(d.free), len(d.open)
		d.mu.Unlock()
		if free != 1 || open != 0 {
			t.Fatalf("%d sockets are back, %d are open", free, open)
		}
	}
}

func TestAppConnectionFails(t *testing.T) {
	t.Parallel()
	d := doorHere(t, 1)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	if c, err := d.connect(t.Context(), port); !errors.Is(err, unix.ECONNREFUSED) || c != nil {
		t.Errorf("to nobody: %v, %v", c, err)
	}
	// One that accepts nothing, and whose queue is full.
	full, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(full)
	must(t, errors.Join(unix.Bind(full, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), unix.Listen(full, 0)))
	name, err := unix.Getsockname(full)
	must(t, err)
	port = name.(*unix.SockaddrInet4).Port
	for range 4 {
		filler, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		must(t, err)
		defer unix.Close(filler)
		_ = unix.Connect(filler, name) // the last of them wait, too
	}
	if c, err := d.connect(t.Context(), port); !errors.Is(err, os.ErrDeadlineExceeded) || c != nil {
		t.Errorf("to one that does not accept: %v, %v", c, err)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if c, err := d.connect(over, port); !errors.Is(err, context.Canceled) || c != nil {
		t.Errorf("for nobody: %v, %v", c, err)
	}
	// The socket is as good as new.
	port = listens(t, func(c *net.TCPConn) { _, _ = io.WriteString(c, "hello") })
	c, err := d.connect(t.Context(), port)
	must(t, err)
	if got, err := io.ReadAll(c); string(got) != "hello" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	d.close()
	if err := c.Close(); !errors.Is(err, net.ErrClosed) || len(d.free)+len(d.open) != 0 {
		t.Errorf("when all is closed: %v, %d sockets, %d are open", err, len(d.free), len(d.open))
	}
	var none *appDoor
	if _, err := none.connect(t.Context(), port); !errors.Is(err, errNoSocket) {
		t.Error(err)
	}
}

// appHere serves one word on a port of the pod.
const appHere = `perl -MIO::Socket::INET -e '$l = IO::Socket::INET->new(LocalAddr => "127.0.0.1:8080", Listen => 100, ReuseAddr => 1) or die; while ($c = $l->accept) { print $c "hello\n"; $c->flush; push @kept, $c }'`

// No process of a pod has a socket with which the server reaches its apps.
func TestAppSocketsAreNobodyElses(t *testing.T) {
	t.Parallel()
	r := open(t, Config{})
	start(t, r, "a", limits)
	job(t, r, "a", appHere)
	in := r.running("a")
	ours := map[string]bool{}
	for _, f := range in.door.free {
		var st unix.Stat_t
		raw, err := f.SyscallConn()
		must(t, err)
		must(t, raw.Control(func(fd uintptr) { err = unix.Fstat(int(fd), &st) }))
		must(t, err)
		ours[fmt.Sprintf("socket:[%d]", st.Ino)] = true
	}
	if len(ours) != appSockets {
		t.Fatalf("the server has %d sockets", len(ours))
	}
	seen := 0
	pids := []int{in.process.Pid}
	for _, p := range r.processes().below(in.process.Pid) {
		pids = append(pids, p.pid)
	}
	for _, pid := range pids {
		fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
		if err != nil {
			t.Skipf("descriptors of a pod cannot be seen by an ordinary user: %v", err)
		}
		for _, fd := range fds {
			link, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", pid, fd.Name()))
			if seen++; ours[link] {
				t.Errorf("the process %d has %s", pid, link)
			}
		}
	}
	if seen == 0 {
		t.Error("no descriptor of the pod was seen")
	}
}

// A connection to an app ends with the pod, and none is had any more.
func TestAppConnectionsEndWithThePod(t *testing.T) {
	t.Parallel()
	r := open(t, Config{})
	start(t, r, "a", limits)
	job(t, r, "a", appHere)
	c := reaches(t, r, "a")
	must(t, c.SetReadDeadline(time.Now().Add(time.Minute)))
	must(t, r.Stop(t.Context(), "a"))
	if n, err := c.Read(make([]byte, 1)); n != 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after the end of the pod: %d bytes, %v", n, err)
	}
	if _, err := r.Connect(t.Context(), "a", 8080); !errors.Is(err, pods.ErrNotRunning) {
		t.Error(err)
	}
}

// reaches connects to the app of a pod once it listens, and returns the connection.
func reaches(t *testing.T, r *Runtime, id store.PodID) (c net.Conn) {
	t.Helper()
	eventually(t, "the app answers", func() bool {
		var err error
		c, err = r.Connect(t.Context(), id, 8080)
		return err == nil
	})
	t.Cleanup(func() { c.Close() })
	p := make([]byte, 6)
	if _, err := io.ReadFull(c, p); err != nil || string(p) != "hello\n" {
		t.Fatalf("%q, %v", p, err)
	}
	return c
}

// The sockets go over to the next program.
func TestAppSocketsAreHandedOver(t *testing.T) {
	t.Parallel()
	baton := newBaton(t)
	r := open(t, Config{Next: func() *handover.Baton { return baton }})
	start(t, r, "a", limits)
	job(t, r, "a", appHere)
	reaches(t, r, "a")
	next := passOn(t, r, baton, func(*handedRuntime) {})
	reaches(t, next, "a")
	d := next.running("a").door
	d.mu.Lock()
	defer d.mu.Unlock()
	if n := len(d.free) + len(d.open); n != appSockets {
		t.Errorf("%d sockets are left", n)
	}
}

// They are no more than a part of what this process may have open.
func TestAppSocketsAreBounded(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pods int
		may  uint64
		want bool
	}{{0, 1024, true}, {3, 1024, true}, {4, 1024, false}, {0, 255, false}, {200, 1 << 20, true}, {256, 1 << 20, false}, {0, unix.RLIM_INFINITY, true}} {
		if got := roomForApps(c.pods, c.may); got != c.want {
			t.Errorf("beside %d pods, of %d files: %t", c.pods, c.may, got)
		}
	}
}
