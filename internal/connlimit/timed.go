package connlimit

import (
	"errors"
	"net"
	"time"
)

// Timed returns c with a time for its writes: one fails when the other side
// takes nothing of 16 KiB for as long as stall.
func Timed(c net.Conn, stall time.Duration) net.Conn { return timed{c, stall} }

type timed struct {
	net.Conn
	stall time.Duration
}

// Write implements net.Conn.
func (c timed) Write(p []byte) (int, error) {
	return inPieces(p, func(part []byte) (int, error) {
		if err := c.SetWriteDeadline(time.Now().Add(c.stall)); err != nil {
			return 0, err
		}
		return c.Conn.Write(part)
	})
}

// inPieces has write take p part by part, so that each can have its own time.
func inPieces(p []byte, write func([]byte) (int, error)) (int, error) {
	for sent := 0; ; {
		n, err := write(p[sent:min(sent+piece, len(p))])
		if sent += n; err != nil || sent >= len(p) {
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
