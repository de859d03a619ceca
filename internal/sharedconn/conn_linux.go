package sharedconn

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Conn is a connection. No call waits in the kernel, whatever others do to the socket, and
// each ends at its deadline. Make one with New.
type Conn struct {
	*net.TCPConn
	raw     syscall.RawConn
	reading direction
	writing direction
}

// direction is one call at a time. Its function is made once, as each making would be an
// allocation.
type direction struct {
	mu  sync.Mutex
	p   []byte
	n   int
	err error
	try func(fd uintptr) bool // false: it would have waited
}

// New takes over a connected TCP socket. Any other is refused. The caller closes f in
// either case.
func New(f *os.File) (*Conn, error) {
	if err := connected(int(f.Fd())); err != nil {
		return nil, err
	}
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return nil, errors.Join(errKind, c.Close())
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	s := &Conn{TCPConn: tcp, raw: raw}
	s.reading.try = func(fd uintptr) bool {
		return s.reading.done(unix.Recvfrom(int(fd), s.reading.p, unix.MSG_DONTWAIT))
	}
	s.writing.try = func(fd uintptr) bool {
		n, err := unix.SendmsgN(int(fd), s.writing.p, nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		return s.writing.done(n, nil, err)
	}
	return s, nil
}

var errKind = errors.New("the socket is no connected TCP socket")

// connected says whether fd is a connected TCP socket.
func connected(fd int) error {
	for option, want := range map[int][]int{
		unix.SO_DOMAIN: {unix.AF_INET, unix.AF_INET6}, unix.SO_PROTOCOL: {unix.IPPROTO_TCP}, unix.SO_TYPE: {unix.SOCK_STREAM},
	} {
		got, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, option)
		if err != nil || got != want[0] && got != want[len(want)-1] {
			return errKind
		}
	}
	if _, err := unix.Getpeername(fd); err != nil {
		return fmt.Errorf("%w: %w", errKind, err)
	}
	return nil
}

func (d *direction) done(n int, _ unix.Sockaddr, err error) bool {
	if err == unix.EAGAIN {
		return false
	}
	d.n, d.err = n, err
	return err != unix.EINTR
}

// Read implements net.Conn.
func (c *Conn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, err := c.reading.call("read", p, c.raw.Read)
	if n == 0 && err == nil {
		err = io.EOF
	}
	return n, err
}

// Write implements net.Conn.
func (c *Conn) Write(p []byte) (sent int, err error) {
	for sent < len(p) {
		n, err := c.writing.call("write", p[sent:], c.raw.Write)
		if sent += n; err != nil {
			return sent, err
		}
	}
	return sent, nil
}

func (d *direction) call(name string, p []byte, wait func(func(uintptr) bool) error) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.p, d.n, d.err = p, 0, nil
	err := wait(d.try)
	n := max(0, d.n)
	if err == nil && d.err != nil {
		err = &net.OpError{Op: name, Net: "tcp", Err: os.NewSyscallError(name, d.err)}
	}
	d.p = nil
	return n, err
}

// ReadFrom and WriteTo keep net's own from moving bytes within the kernel, where they
// would wait as the socket says.

// ReadFrom implements io.ReaderFrom.
func (c *Conn) ReadFrom(r io.Reader) (int64, error) { return io.Copy(struct{ io.Writer }{c}, r) }

// WriteTo implements io.WriterTo.
func (c *Conn) WriteTo(w io.Writer) (int64, error) { return io.Copy(w, struct{ io.Reader }{c}) }

// closings are the calls of close that go on. A socket that is told to linger has its last
// close wait for the other side, whatever was asked for before it.
var closings = make(chan struct{}, 64)

// Close implements net.Conn. What the other side has not taken yet is still sent to it.
func (c *Conn) Close() error {
	_ = c.SetLinger(-1) // fails when it is closed
	select {
	case closings <- struct{}{}:
		defer func() { <-closings }()
	default:
		c.reset()
	}
	return c.TCPConn.Close()
}

// reset ends the connection at once, so that there is nothing to linger for (connect(2),
// with an address of no family).
func (c *Conn) reset() {
	var none unix.RawSockaddr
	_ = c.raw.Control(func(fd uintptr) {
		_, _, _ = unix.RawSyscall(unix.SYS_CONNECT, fd, uintptr(unsafe.Pointer(&none)), unsafe.Sizeof(none))
	})
}
