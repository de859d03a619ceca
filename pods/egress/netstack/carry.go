package netstack

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"

	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"

	"podgate/pods/egress"
)

// carried is what one connection has carried and not yet told its gate.
type carried struct {
	id             egress.ConnID
	sent, received atomic.Int64
}

func (s *server) begin(id egress.ConnID) *carried {
	c := &carried{id: id}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.moved[c] = struct{}{}
	return c
}

func (s *server) end(c *carried) {
	s.mu.Lock()
	delete(s.moved, c)
	s.mu.Unlock()
	s.tell(c)
}

func (s *server) tell(c *carried) {
	if sent, received := c.sent.Swap(0), c.received.Swap(0); sent+received > 0 {
		s.gate.Moved(c.id, sent, received)
	}
}

// account tells the gate what all connections have carried.
func (s *server) account() {
	s.mu.Lock()
	all := make([]*carried, 0, len(s.moved))
	for c := range s.moved {
		all = append(all, c)
	}
	s.mu.Unlock()
	for _, c := range all {
		s.tell(c)
	}
}

// A stream that waits holds little. One that fills what it holds gets as much as
// several packets carry: a turn costs more than its bytes.
const (
	fewBytes  = 4 << 10
	manyBytes = 256 << 10
)

var (
	few  = bufferPool(fewBytes)
	many = bufferPool(manyBytes)
	one  = bufferPool(64 << 10) // a datagram
)

func bufferPool(size int) *sync.Pool {
	return &sync.Pool{New: func() any { b := make([]byte, size); return &b }}
}

// halfCloser is a stream of which one direction can end.
type halfCloser interface {
	net.Conn
	CloseWrite() error
}

// splice carries a stream in both directions. When one side says that no more
// comes, the other is told so and goes on in its own direction; when one
// fails, both are over.
func (s *server) splice(id egress.ConnID, in *gonet.TCPConn, out net.Conn) {
	c := s.begin(id)
	defer s.end(c)
	defer in.Close()
	defer context.AfterFunc(s.ctx, func() { in.Close(); out.Close() })()
	var both sync.WaitGroup
	both.Go(func() { s.oneWay(out, in, &c.sent, in, out) })
	s.oneWay(in, out, &c.received, in, out)
	both.Wait()
}

func (s *server) oneWay(to, from net.Conn, count *atomic.Int64, all ...net.Conn) {
	if s.stream(to, from, count) == nil {
		if w, ok := to.(halfCloser); ok && w.CloseWrite() == nil {
			return
		}
	}
	for _, c := range all {
		c.Close()
	}
}

// pay waits until the pod may move n bytes more.
func (s *server) pay(n int) error {
	if s.rate == nil {
		return nil
	}
	return s.rate.WaitN(s.ctx, n)
}

// stream copies until from ends.
func (s *server) stream(to io.Writer, from io.Reader, count *atomic.Int64) error {
	pool := few
	b := pool.Get().(*[]byte)
	defer func() { pool.Put(b) }()
	for {
		n, err := from.Read(*b)
		if n > 0 {
			if err := s.pay(n); err != nil {
				return err
			}
			if _, err := to.Write((*b)[:n]); err != nil {
				return err
			}
			count.Add(int64(n))
		}
		if fit := poolFor(n, len(*b)); fit != pool {
			pool.Put(b)
			pool = fit
			b = pool.Get().(*[]byte)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// poolFor is where the buffer for the next read comes from, after one of n bytes
// into a buffer of size.
func poolFor(n, size int) *sync.Pool {
	if n == size || n > fewBytes {
		return many
	}
	return few
}

// datagrams copies until from fails, or nothing listens where to leads. That one could
// not be sent is no end: the network may lose datagrams.
func (s *server) datagrams(to io.Writer, from io.Reader, count *atomic.Int64, alive func()) error {
	b := one.Get().(*[]byte)
	defer one.Put(b)
	for {
		n, err := from.Read(*b)
		if err != nil {
			return err
		}
		if err := s.pay(n); err != nil {
			return err
		}
		if _, err := to.Write((*b)[:n]); err == nil {
			count.Add(int64(n))
		} else if !errors.Is(err, syscall.EMSGSIZE) && !errors.Is(err, syscall.ENOBUFS) && !errors.Is(err, syscall.EAGAIN) {
			return err
		}
		alive()
	}
}
