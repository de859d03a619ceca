package connlimit

import (
	"net"
	"net/netip"
	"sync"

	"podgate/internal/ratelimit"
)

// Bounds is how many connections there may be. One is shared by all listeners
// of a server.
type Bounds struct {
	All  int // in all
	Each int // of one address, or of one /64 of IPv6
	// Shared reports whether an address stands for many visitors, so that Each
	// does not hold for it.
	Shared func(netip.Addr) bool

	mu   sync.Mutex
	all  int
	each map[string]int
}

// Listener returns ln with the bounds: connections beyond them are closed when
// they come. Each write to a connection has its time.
func (b *Bounds) Listener(ln net.Listener) net.Listener { return &listener{ln, b} }

type listener struct {
	net.Listener
	bounds *Bounds
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if key := l.bounds.key(c.RemoteAddr()); l.bounds.enter(key) {
			return &conn{timed{c, stallTime}, sync.OnceFunc(func() { l.bounds.leave(key) })}, nil
		}
		_ = c.Close() // whoever it was hears of it either way
	}
}

// key is under which an address is counted; "" for one that is not.
func (b *Bounds) key(a net.Addr) string {
	peer, err := netip.ParseAddrPort(a.String())
	if err != nil || b.Shared != nil && b.Shared(peer.Addr().Unmap()) {
		return ""
	}
	return ratelimit.AddrKey(peer.Addr())
}

// enter counts a connection; false when there are too many.
func (b *Bounds) enter(key string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.all >= b.All || key != "" && b.each[key] >= b.Each {
		return false
	}
	if b.each == nil {
		b.each = map[string]int{}
	}
	b.all++
	b.each[key]++
	return true
}

func (b *Bounds) leave(key string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.all--
	if b.each[key]--; b.each[key] == 0 {
		delete(b.each, key)
	}
}

// conn is a connection that is counted. Under https its writes are those of TLS,
// so handshakes have their time as well.
type conn struct {
	timed
	left func()
}

// Close implements net.Conn.
func (c *conn) Close() error {
	defer c.left()
	return c.Conn.Close()
}
