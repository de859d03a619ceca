package podstest

import (
	"context"
	"net"
	"sync"

	"podgate/pods"
)

// listener is a net.Listener in memory. Shutting it ends its connections too,
// as the death of a pod does.
type listener struct {
	queue chan net.Conn
	gone  chan struct{}
	once  sync.Once

	mu    sync.Mutex
	conns map[net.Conn]bool
}

func newListener() *listener {
	return &listener{queue: make(chan net.Conn), gone: make(chan struct{}), conns: map[net.Conn]bool{}}
}

func (l *listener) dial(ctx context.Context) (net.Conn, error) {
	near, far := net.Pipe()
	tracked := &conn{near, l}
	l.mu.Lock()
	l.conns[tracked] = true
	l.mu.Unlock()
	select {
	case l.queue <- far:
		return tracked, nil
	case <-l.gone:
		_ = tracked.Close()
		return nil, pods.ErrNotRunning
	case <-ctx.Done():
		_ = tracked.Close()
		return nil, ctx.Err()
	}
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.queue:
		return c, nil
	case <-l.gone:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener: no new connections.
func (l *listener) Close() error {
	l.once.Do(func() { close(l.gone) })
	return nil
}

// Addr implements net.Listener.
func (l *listener) Addr() net.Addr { return &net.UnixAddr{Name: "fake", Net: "unix"} }

// shut closes the listener and every connection.
func (l *listener) shut() {
	_ = l.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		_ = c.(*conn).Conn.Close()
	}
	clear(l.conns)
}

// conn leaves its listener's list when it is closed.
type conn struct {
	net.Conn
	l *listener
}

func (c *conn) Close() error {
	c.l.mu.Lock()
	delete(c.l.conns, c)
	c.l.mu.Unlock()
	return c.Conn.Close()
}
