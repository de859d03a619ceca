package connlimit

import (
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"sync"
)

// A request's head is kept in memory while it comes, before anybody can refuse
// it. Most are small; of those that are not, so many may be on their way at
// once, in all and of one address.
const (
	smallHead      = 64 << 10 // bytes
	largeHeads     = 32
	largeHeadsEach = 4
)

var errLargeHeads = errors.New("connlimit: too many large requests at once")

// head counts the bytes of a connection between the end of one request and the
// time at which net/http has read the head of the next.
type head struct {
	mu      sync.Mutex
	through bool
	bytes   int
	large   bool // it is one of the large ones
}

// Read implements net.Conn.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.head.mu.Lock()
	defer c.head.mu.Unlock()
	if c.head.through {
		return n, err
	}
	if c.head.bytes += n; c.head.bytes > smallHead && !c.head.large {
		if !c.bounds.enterHead(c.key) {
			return 0, errLargeHeads
		}
		c.head.large = true
	}
	return n, err
}

// headIs says whether the head of the connection's next request is through.
func (c *conn) headIs(through bool) {
	c.head.mu.Lock()
	defer c.head.mu.Unlock()
	if c.head.large {
		c.bounds.leaveHead(c.key)
	}
	c.head.through, c.head.bytes, c.head.large = through, 0, false
}

// ConnState is for http.Server, which by it tells the heads of requests from
// what follows them. Over HTTP/2 only a head that comes while no other stream is
// open is told apart; it may still be no larger than MaxHeaderBytes, and one
// connection reads one head at a time.
func (b *Bounds) ConnState(nc net.Conn, state http.ConnState) {
	if secure, ok := nc.(*tls.Conn); ok {
		nc = secure.NetConn()
	}
	if c, ok := nc.(*conn); ok {
		c.headIs(state != http.StateNew && state != http.StateIdle)
	}
}

func (b *Bounds) enterHead(key string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.heads.all >= largeHeads || key != "" && b.heads.each[key] >= largeHeadsEach {
		return false
	}
	b.heads.add(key, 1)
	return true
}

func (b *Bounds) leaveHead(key string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.heads.add(key, -1)
}
