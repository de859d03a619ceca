//go:build linux && (amd64 || arm64)

package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"podgate/internal/handover"
	"podgate/pods"
	"podgate/store"
)

// This file connects the server to apps without the agent in between. A socket belongs to
// the network namespace in which it was made, so stage 1 makes some in the pod's before
// anything of the pod runs, and hands them over. No process of the pod has ever had them:
// what an app does is on the other side of the connection, as with any server. They are
// used again and again, since no more can be had later.

const (
	// appSockets is how many a pod has. Where more connections to its apps are open, the
	// further ones go through the agent. They are fewer than one message can carry.
	appSockets = 64

	// appSocketShare is the part of the files which this process may have open that they
	// may be in all, one of so many, and appSocketsMost how many at most: they go over to
	// the next program together with all else.
	appSocketShare = 4
	appSocketsMost = 16384

	// appConnectTime is how long a connection may take. Within a machine it is there at
	// once, or the app has no room for more and the kernel tries again after a second.
	appConnectTime = 50 * time.Millisecond
)

// sendAppSockets hands new ones over. It is no error when there are none.
func sendAppSockets(to *os.File) {
	fds := make([]int, 0, appSockets)
	defer func() {
		for _, fd := range fds {
			unix.Close(fd)
		}
	}()
	for range appSockets {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
		if err != nil {
			return
		}
		fds = append(fds, fd)
	}
	_ = unix.Sendmsg(int(to.Fd()), []byte{0}, unix.UnixRights(fds...), nil, 0)
}

// receiveAppSockets takes what stage 1 has sent.
func receiveAppSockets(from *os.File) (list []*os.File) {
	if from == nil {
		return nil
	}
	oob := make([]byte, unix.CmsgSpace(4*appSockets))
	_, n, _, _, err := unix.Recvmsg(int(from.Fd()), make([]byte, 1), oob, unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return nil
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(messages) != 1 {
		return nil
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return nil
	}
	for _, fd := range fds {
		list = append(list, os.NewFile(uintptr(fd), "app socket"))
	}
	return list
}

// appDoor has the sockets of a pod. nil has none.
type appDoor struct {
	mu     sync.Mutex
	free   []*os.File
	open   map[*appConn]bool // what has the others
	closed bool
}

var errNoSocket = errors.New("no socket to the pod's network is free")

// connect opens a connection to a port of the pod's own 127.0.0.1. An error says nothing
// of the app: another way may be open.
func (d *appDoor) connect(ctx context.Context, port int) (net.Conn, error) {
	f := d.take()
	if f == nil {
		return nil, errNoSocket
	}
	c := &appConn{door: d, file: f, to: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(port))}
	if err := errors.Join(ctx.Err(), c.connect()); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	d.mu.Lock()
	if d.open == nil {
		d.open = map[*appConn]bool{}
	}
	d.open[c] = true
	ended := d.closed
	d.mu.Unlock()
	if ended {
		return nil, errors.Join(pods.ErrNotRunning, c.Close())
	}
	return c, nil
}

func (d *appDoor) take() *os.File {
	if d == nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.free) == 0 {
		return nil
	}
	f := d.free[0] // the one whose app had most time to take what was sent last
	d.free = d.free[1:]
	return f
}

// put takes back the socket of a connection that nobody uses any more.
func (d *appDoor) put(c *appConn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.open, c)
	if d.closed {
		_ = c.file.Close() // nothing is to be written
		return
	}
	d.free = append(d.free, c.file)
}

// close ends all connections and lets go of the sockets.
func (d *appDoor) close() {
	if d == nil {
		return
	}
	d.mu.Lock()
	d.closed = true
	closeAll(d.free)
	d.free = nil
	open := slices.Collect(maps.Keys(d.open))
	d.mu.Unlock()
	for _, c := range open {
		_ = c.Close() // it may be just now
	}
}

// handOver has the next program keep the sockets, but for those of connections that go
// over themselves.
func (d *appDoor) handOver(next *handover.Baton) (numbers []int, err error) {
	if d == nil {
		return nil, nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	files := slices.Clone(d.free)
	for c := range d.open {
		if !c.taken.Load() {
			files = append(files, c.file)
		}
	}
	for _, f := range files {
		n, err := next.Keep(f)
		if err != nil {
			return numbers, err
		}
		numbers = append(numbers, n)
	}
	return numbers, nil
}

// adoptAppDoor is of a pod that the program before has handed over, with as many sockets as
// there are.
func adoptAppDoor(before *handover.Baton, numbers []int) (*appDoor, error) {
	d := &appDoor{}
	for _, n := range numbers {
		f, err := before.File(n, "app socket")
		if err != nil {
			return d, err
		}
		d.free = append(d.free, f)
	}
	return d, nil
}

// appConn is a connection to an app.
type appConn struct {
	door *appDoor
	file *os.File
	to   netip.AddrPort

	taken atomic.Bool // somebody has its descriptor, so it is used no more when this ends

	mu     sync.Mutex
	users  int // calls under way
	closed bool
}

// connect waits until the app's side has accepted.
func (c *appConn) connect() error {
	err := c.control(func(fd int) error {
		err := c.begin(fd)
		if err == unix.EINPROGRESS {
			err = connected(fd)
		}
		return err
	})
	if err != nil {
		return err
	}
	return c.reopen()
}

// reopen has Go's poller watch the socket anew: what it remembers of earlier connections,
// such as an error, would else meet this one.
func (c *appConn) reopen() error {
	fd := -1
	err := c.control(func(old int) (err error) { fd, err = unix.FcntlInt(uintptr(old), unix.F_DUPFD_CLOEXEC, 0); return err })
	if err != nil {
		return err
	}
	_ = c.file.Close() // there is another descriptor
	c.file = os.NewFile(uintptr(fd), c.file.Name())
	return nil
}

// begin has the kernel connect a socket, whatever it was connected to before.
// unix.EINPROGRESS: it goes on.
func (c *appConn) begin(fd int) error {
	if err := disconnect(fd); err != nil {
		return err
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return err
	}
	return unix.Connect(fd, &unix.SockaddrInet4{Addr: c.to.Addr().As4(), Port: int(c.to.Port())})
}

// connected waits for the end of that.
func connected(fd int) error {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, int(appConnectTime.Milliseconds()))
	switch {
	case err != nil:
		return err
	case n == 0:
		return os.ErrDeadlineExceeded
	}
	code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && code != 0 {
		err = syscall.Errno(code)
	}
	return err
}

// disconnect makes a socket as good as new: connect(2) with an address of no family.
func disconnect(fd int) error {
	var none unix.RawSockaddr
	if _, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&none)), unsafe.Sizeof(none)); errno != 0 {
		return fmt.Errorf("disconnect: %w", errno)
	}
	return nil
}

func (c *appConn) enter() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	c.users++
	return nil
}

// leave gives the socket back when it is closed and this was the last call.
func (c *appConn) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.users--
	if c.closed && c.users == 0 {
		c.door.put(c)
	}
}

// Read implements net.Conn.
func (c *appConn) Read(p []byte) (int, error) {
	if err := c.enter(); err != nil {
		return 0, err
	}
	defer c.leave()
	n, err := c.file.Read(p)
	return n, c.tell(err)
}

// Write implements net.Conn.
func (c *appConn) Write(p []byte) (int, error) {
	if err := c.enter(); err != nil {
		return 0, err
	}
	defer c.leave()
	n, err := c.file.Write(p)
	return n, c.tell(err)
}

// Quiet reports whether the connection rests: nothing has come that nobody has read, not
// even its end.
func (c *appConn) Quiet() bool {
	if c.enter() != nil {
		return false
	}
	defer c.leave()
	nothing := false
	err := c.control(func(fd int) error {
		_, _, err := unix.Recvfrom(fd, make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
		nothing = err == unix.EAGAIN
		return nil
	})
	return err == nil && nothing
}

// tell is what a call says that ended because of Close.
func (c *appConn) tell(err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	return err
}

// Close implements net.Conn. As with any connection, what the app sends that nobody reads
// resets it, and else it hears that this side has ended.
func (c *appConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	c.closed = true
	_ = c.control(func(fd int) error {
		if unread, err := unix.IoctlGetInt(fd, unix.SIOCINQ); err == nil && unread > 0 {
			return disconnect(fd)
		}
		return unix.Shutdown(fd, unix.SHUT_RDWR)
	}) // one that is not connected any more has ended
	_ = c.file.SetDeadline(time.Unix(1, 0)) // ends calls
	if c.users == 0 {
		c.door.put(c)
	}
	return nil
}

// CloseWrite ends our half.
func (c *appConn) CloseWrite() error {
	if err := c.enter(); err != nil {
		return err
	}
	defer c.leave()
	return c.control(func(fd int) error { return unix.Shutdown(fd, unix.SHUT_WR) })
}

func (c *appConn) control(do func(fd int) error) error {
	raw, err := c.file.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	return errors.Join(raw.Control(func(fd uintptr) { failed = do(int(fd)) }), failed)
}

// SyscallConn implements syscall.Conn, for who hands the connection over.
func (c *appConn) SyscallConn() (syscall.RawConn, error) {
	c.taken.Store(true)
	return c.file.SyscallConn()
}

// LocalAddr implements net.Conn.
func (c *appConn) LocalAddr() net.Addr { return &net.TCPAddr{} }

// RemoteAddr implements net.Conn.
func (c *appConn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.to) }

// SetDeadline implements net.Conn.
func (c *appConn) SetDeadline(t time.Time) error { return c.deadline(c.file.SetDeadline, t) }

// SetReadDeadline implements net.Conn.
func (c *appConn) SetReadDeadline(t time.Time) error { return c.deadline(c.file.SetReadDeadline, t) }

// SetWriteDeadline implements net.Conn.
func (c *appConn) SetWriteDeadline(t time.Time) error { return c.deadline(c.file.SetWriteDeadline, t) }

func (c *appConn) deadline(set func(time.Time) error, t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	return set(t)
}

// Connect implements pods.Connector.
func (r *Runtime) Connect(ctx context.Context, id store.PodID, port int) (net.Conn, error) {
	in := r.running(id)
	if in == nil {
		return nil, pods.ErrNotRunning
	}
	in.mu.Lock()
	d := in.door
	in.mu.Unlock()
	return d.connect(ctx, port)
}

// setDoor keeps d until the pod ends, which may have happened.
func (in *instance) setDoor(d *appDoor) {
	in.mu.Lock()
	gone := in.gone
	in.door = d
	in.mu.Unlock()
	if gone {
		d.close()
	}
}

// wantsDoor reports whether this process may have the sockets of one more pod open.
func (r *Runtime) wantsDoor() bool {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return roomForApps(len(r.pods)-1, limit.Cur) // one of them is the new one
}

// roomForApps decides it for one beside other pods, of so many files.
func roomForApps(others int, files uint64) bool {
	return uint64(others+1)*appSockets <= min(files/appSocketShare, appSocketsMost)
}
