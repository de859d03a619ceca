//go:build linux && (amd64 || arm64)

package sandbox

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"podgate/pods"
)

// This file is the transport: a control socket pair per pod over which the
// server sends one end of a fresh stream for every Dial.

// dialTimeout bounds how long a Dial waits for an agent that does not take its
// streams.
const dialTimeout = 5 * time.Second

// control is the server's end.
type control struct {
	conn *net.UnixConn
	turn chan struct{} // holds one value while somebody sends
}

// newControl makes a pair: the server's end, and the descriptor for stage 2,
// which the caller closes.
func newControl() (*control, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("control socket: %w", err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "control")
	conn, err := unixConn(fds[0])
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return &control{conn: conn, turn: make(chan struct{}, 1)}, theirs, nil
}

// unixConn takes over fd.
func unixConn(fd int) (*net.UnixConn, error) {
	f := os.NewFile(uintptr(fd), "socket")
	defer f.Close()
	conn, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("socket of a pod: %w", err)
	}
	u, ok := conn.(*net.UnixConn)
	if !ok {
		conn.Close()
		return nil, errors.New("socket of a pod is not a unix socket")
	}
	return u, nil
}

// dial opens a stream to the other side. ErrNotRunning when it is gone.
func (c *control) dial(ctx context.Context) (net.Conn, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("stream to a pod: %w", err)
	}
	defer unix.Close(fds[1])
	conn, err := unixConn(fds[0])
	if err != nil {
		return nil, err
	}
	if err := c.send(ctx, fds[1]); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

func (c *control) send(ctx context.Context, fd int) error {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := c.conn.SetWriteDeadline(time.Time{}); err != nil {
		return fmt.Errorf("%w: %w", pods.ErrNotRunning, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = c.conn.SetWriteDeadline(time.Unix(1, 0)) })
	defer stop()
	_, _, err := c.conn.WriteMsgUnix([]byte{0}, unix.UnixRights(fd), nil)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, unix.EPIPE), errors.Is(err, unix.ECONNRESET), errors.Is(err, unix.ENOTCONN), errors.Is(err, net.ErrClosed):
		return fmt.Errorf("%w: %w", pods.ErrNotRunning, err)
	}
	return fmt.Errorf("stream to a pod: %w", err)
}

// Close ends the lifeline.
func (c *control) Close() error { return c.conn.Close() }

// listener is the pod's end: it accepts the streams that come through the
// control socket. It calls lost once when the server's end is closed.
type listener struct {
	conn  *net.UnixConn
	lost  func()
	once  sync.Once
	bytes [1]byte
	oob   []byte
}

// newListener takes over control.
func newListener(control *os.File, lost func()) (*listener, error) {
	fd, err := unix.FcntlInt(control.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	control.Close()
	conn, err := unixConn(fd)
	if err != nil {
		return nil, err
	}
	return &listener{conn: conn, lost: lost, oob: make([]byte, unix.CmsgSpace(4))}, nil
}

// Accept is called by one goroutine at a time, as net/http does.
func (l *listener) Accept() (net.Conn, error) {
	for {
		n, oobn, _, _, err := l.conn.ReadMsgUnix(l.bytes[:], l.oob)
		if err != nil || n == 0 {
			l.once.Do(l.lost)
			return nil, net.ErrClosed
		}
		if conn := received(l.oob[:oobn]); conn != nil {
			return conn, nil
		}
	}
}

// received is the stream in a control message, or nil when there is none.
func received(oob []byte) net.Conn {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil || len(messages) != 1 {
		return nil
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil
	}
	conn, err := unixConn(fds[0])
	if err != nil {
		return nil
	}
	return conn
}

func (l *listener) Close() error { return l.conn.Close() }

func (l *listener) Addr() net.Addr { return &net.UnixAddr{Name: "pod", Net: "unix"} }
