package connlimit

import (
	"errors"
	"net"
	"os"
	"time"
)

// Timed returns c with a time for its writes: one fails when the other side
// takes less than 16 KiB in as long as stall.
func Timed(c net.Conn, stall time.Duration) net.Conn { return timed{c, stall} }

type timed struct {
	net.Conn
	stall time.Duration
}

// Write implements net.Conn.
func (c timed) Write(p []byte) (sent int, err error) {
	for {
		if err := c.SetWriteDeadline(time.Now().Add(c.stall)); err != nil {
			return sent, err
		}
		n, err := c.Conn.Write(p[sent:])
		sent += n
		if err == nil || n < piece || !errors.Is(err, os.ErrDeadlineExceeded) {
			return sent, err
		}
	}
}

// NetConn returns the connection below.
func (c timed) NetConn() net.Conn { return c.Conn }

// CloseWrite ends our half, or says that the connection cannot do that.
func (c timed) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}
