package connlimit

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

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
	Log    *slog.Logger // hears when the system has no room for more; nil: nobody

	mu    sync.Mutex
	conns count
	heads count // large ones
	told  time.Time
}

// Open returns how many connections there are.
func (b *Bounds) Open() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.conns.all
}

// count is of something in all and by address.
type count struct {
	all  int
	each map[string]int
}

func (c *count) add(key string, n int) {
	if c.each == nil {
		c.each = map[string]int{}
	}
	c.all += n
	if c.each[key] += n; c.each[key] == 0 {
		delete(c.each, key)
	}
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
			l.bounds.tell(err)
			return nil, err
		}
		if key := l.bounds.key(c.RemoteAddr()); l.bounds.enter(key) {
			return &conn{timed: timed{c, stallTime}, bounds: l.bounds, key: key}, nil
		}
		_ = c.Close() // whoever it was hears of it either way
	}
}

// Take returns a connection that was accepted elsewhere with the bounds; false when it is
// one too many, and then it is left alone.
func (b *Bounds) Take(c net.Conn) (net.Conn, bool) {
	key := b.key(c.RemoteAddr())
	if !b.enter(key) {
		return nil, false
	}
	taken := &conn{timed: timed{c, stallTime}, bounds: b, key: key}
	taken.headIs(true)
	return taken, true
}

// tellEvery is how often the log hears of the same trouble.
const tellEvery = time.Minute

// tell says in words that no connection can be accepted for want of
// descriptors; net/http tries again by itself.
func (b *Bounds) tell(err error) {
	if b.Log == nil || !errors.Is(err, syscall.EMFILE) && !errors.Is(err, syscall.ENFILE) {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if now := time.Now(); now.Sub(b.told) >= tellEvery {
		b.told = now
		b.Log.Error("no more connections can be accepted: podgate, or the whole system, has as many files open as it may; raise the limit (LimitNOFILE in systemd, ulimit -n in a shell) and start podgate again", "error", err)
	}
}

// key is under which an address is counted; "" for one that is not.
func (b *Bounds) key(a net.Addr) string {
	if a == nil { // of a connection that ended before anybody asked
		return ""
	}
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
	if b.conns.all >= b.All || key != "" && b.conns.each[key] >= b.Each {
		return false
	}
	b.conns.add(key, 1)
	return true
}

func (b *Bounds) leave(key string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.conns.add(key, -1)
}

// conn is a connection that is counted. Under https its writes are those of TLS,
// so handshakes have their time as well.
type conn struct {
	timed
	bounds *Bounds
	key    string
	head   head
	left   sync.Once
}

// Close implements net.Conn.
func (c *conn) Close() error {
	defer c.left.Do(func() {
		c.headIs(true)
		c.bounds.leave(c.key)
	})
	return c.Conn.Close()
}
