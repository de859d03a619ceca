package egress

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Connect connects to an address that was judged, "192.0.2.1:443", and gives up when ctx
// ends. network is "tcp" or "udp". Only for TCP the errors and what the connection can do
// are those of [net.Dialer] without its costs: that has another goroutine watch ctx, and
// waits for that one's end also when the other side answered at once.
func Connect(ctx context.Context, network, address string) (net.Conn, error) {
	to, err := netip.ParseAddrPort(address)
	if network != "tcp" || err != nil || to.Addr().Zone() != "" {
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	c, err := connectTCP(ctx, to)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Addr: net.TCPAddrFromAddrPort(to), Err: err}
	}
	return c, nil
}

func connectTCP(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, overdue(err)
	}
	family, peer := socketAddress(to)
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	// An interrupted one goes on, as do those that take longer.
	if err := unix.Connect(fd, peer); err != nil && !errors.Is(err, unix.EINPROGRESS) && !errors.Is(err, unix.EINTR) {
		unix.Close(fd)
		return nil, os.NewSyscallError("connect", err)
	}
	err = prompt(fd)
	c := NewStream(fd)
	if err == nil {
		err = c.connected(ctx)
	}
	if err == nil && c.toItself() {
		err = os.NewSyscallError("connect", unix.ECONNREFUSED)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func socketAddress(to netip.AddrPort) (family int, a unix.Sockaddr) {
	if to.Addr().Is4() {
		return unix.AF_INET, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	}
	return unix.AF_INET6, &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()}
}

// keepAlive is in seconds, as [net.Dialer] has it.
const keepAlive = 15

// prompt has what is written sent at once, and finds out that the other side is gone.
func prompt(fd int) error {
	return os.NewSyscallError("setsockopt", errors.Join(
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1),
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, keepAlive),
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, keepAlive),
	))
}

// overdue is the error of a context as those who dial know it.
func overdue(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return os.ErrDeadlineExceeded
	}
	return err
}

// Stream is a TCP connection by its descriptor alone. A [net.TCPConn] asks and tells the
// kernel more than a dozen things before it can be used.
type Stream struct{ *os.File }

// NewStream makes a stream of a descriptor that does not block, which is the stream's from
// then on.
func NewStream(fd int) Stream { return Stream{os.NewFile(uintptr(fd), "connection")} }

// connected waits until the connection is made.
func (s Stream) connected(ctx context.Context) error {
	raw, err := s.SyscallConn()
	if err != nil {
		return err
	}
	var (
		fault   error
		unwatch = func() bool { return true } // only one that has to be waited for needs somebody who looks at ctx
		watched bool
	)
	waited := raw.Write(func(fd uintptr) bool {
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
		if n, err := unix.Poll(poll, 0); err != nil || n == 0 {
			if !watched {
				watched = true
				unwatch = context.AfterFunc(ctx, func() { _ = s.SetWriteDeadline(time.Unix(1, 0)) }) // a closed one is waited for no more
			}
			return false
		}
		code, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		if fault = os.NewSyscallError("getsockopt", err); err == nil && code != 0 {
			fault = os.NewSyscallError("connect", syscall.Errno(code))
		}
		return true
	})
	if !unwatch() { // so that none is returned with a deadline
		return overdue(ctx.Err())
	}
	return errors.Join(waited, fault)
}

// toItself reports what happens to who connects to a port of this machine that the kernel
// has just chosen for the connection itself.
func (s Stream) toItself() bool {
	local, remote := s.names()
	return local.IsValid() && local == remote
}

func (s Stream) names() (local, remote netip.AddrPort) {
	_ = s.control(func(fd int) error { // a closed one has none
		here, err := unix.Getsockname(fd)
		there, err2 := unix.Getpeername(fd)
		if err == nil && err2 == nil {
			local, remote = addrPort(here), addrPort(there)
		}
		return nil
	})
	return local, remote
}

func addrPort(a unix.Sockaddr) netip.AddrPort {
	switch a := a.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr), uint16(a.Port))
	}
	return netip.AddrPort{}
}

// LocalAddr implements [net.Conn].
func (s Stream) LocalAddr() net.Addr { local, _ := s.names(); return net.TCPAddrFromAddrPort(local) }

// RemoteAddr implements [net.Conn].
func (s Stream) RemoteAddr() net.Addr { _, remote := s.names(); return net.TCPAddrFromAddrPort(remote) }

// CloseWrite tells the other side that no more comes.
func (s Stream) CloseWrite() error {
	return s.control(func(fd int) error { return os.NewSyscallError("shutdown", unix.Shutdown(fd, unix.SHUT_WR)) })
}

// SetReadBuffer sets how much the kernel keeps of what comes, in bytes.
func (s Stream) SetReadBuffer(bytes int) error { return s.setBuffer(unix.SO_RCVBUF, bytes) }

// SetWriteBuffer sets how much the kernel keeps of what goes, in bytes.
func (s Stream) SetWriteBuffer(bytes int) error { return s.setBuffer(unix.SO_SNDBUF, bytes) }

func (s Stream) setBuffer(option, bytes int) error {
	return s.control(func(fd int) error {
		return os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, bytes))
	})
}

func (s Stream) control(do func(fd int) error) error {
	raw, err := s.SyscallConn()
	if err != nil {
		return err
	}
	var fault error
	return errors.Join(raw.Control(func(fd uintptr) { fault = do(int(fd)) }), fault)
}
