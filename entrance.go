package main

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"
)

// entrance is a listener that is opened and closed without a connection being lost: who
// comes while it is closed waits in the system's queue, for this program or the next.
type entrance struct {
	net.Listener
	open   <-chan struct{} // nobody is accepted before
	shut   chan struct{}   // closed: nobody more is
	parked chan struct{}   // closed when all that was accepted before is known to the server
	closed chan struct{}

	shutting, parking, closing sync.Once
}

func newEntrance(ln net.Listener, open <-chan struct{}) *entrance {
	return &entrance{Listener: ln, open: open, shut: make(chan struct{}), parked: make(chan struct{}), closed: make(chan struct{})}
}

// Accept implements net.Listener.
func (e *entrance) Accept() (net.Conn, error) {
	select {
	case <-e.open:
	case <-e.closed:
		return nil, net.ErrClosed
	}
	conn, err := e.Listener.Accept()
	if err == nil {
		return conn, nil
	}
	select {
	case <-e.shut:
		e.parking.Do(func() { close(e.parked) })
		<-e.closed
		return nil, net.ErrClosed
	default:
		return nil, err
	}
}

// Shut ends the accepting, and leaves the listener open.
func (e *entrance) Shut() error {
	e.shutting.Do(func() { close(e.shut) })
	return e.Listener.(interface{ SetDeadline(time.Time) error }).SetDeadline(time.Unix(1, 0))
}

// Close implements net.Listener.
func (e *entrance) Close() error {
	e.closing.Do(func() { close(e.closed) })
	return e.Listener.Close()
}

// silentTime is how long a connection may have said nothing to be one that nothing is
// expected of, such as those that browsers open ahead.
const silentTime = 300 * time.Millisecond

// connections are those on which a request is awaited or answered.
type connections struct {
	mu   sync.Mutex
	busy map[net.Conn]time.Time // since when it says nothing; zero: it has said something
}

// state is for http.Server.
func (c *connections) state(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.busy == nil {
		c.busy = map[net.Conn]time.Time{}
	}
	switch state {
	case http.StateNew:
		c.busy[conn] = time.Now()
	case http.StateActive:
		c.busy[conn] = time.Time{}
	default:
		delete(c.busy, conn)
	}
}

func (c *connections) quiet() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, silent := range c.busy {
		if silent.IsZero() || time.Since(silent) < silentTime {
			return false
		}
	}
	return true
}

// enter returns the entrance for a listener: it opens when the server serves for good. A
// program that takes over may give back until then, and what it has answered must not be
// undone.
func (srv *server) enter(ln net.Listener) net.Listener {
	open := srv.started
	if srv.takeover == nil {
		open = make(chan struct{})
		close(open)
	}
	e := newEntrance(ln, open)
	srv.upgrades.entrances = append(srv.upgrades.entrances, e)
	return e
}

// shut accepts nobody any more and waits until ctx ends for those to be answered who were
// accepted before. http.Server.Shutdown alone would hang up on a request that it has just
// read.
func (srv *server) shut(ctx context.Context) {
	for _, e := range srv.upgrades.entrances {
		if err := e.Shut(); err != nil {
			srv.log.Warn("a listener does not rest", "address", e.Addr(), "error", err)
		}
	}
	for _, e := range srv.upgrades.entrances {
		select {
		case <-e.parked:
		case <-ctx.Done():
			return
		}
	}
	for _, s := range srv.upgrades.servers {
		s.SetKeepAlivesEnabled(false)
	}
	for !srv.upgrades.connections.quiet() && ctx.Err() == nil {
		time.Sleep(2 * time.Millisecond)
	}
}
