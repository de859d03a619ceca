package egress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Bounds of one pod.
const (
	MaxOpen     = 512              // connections at once, TCP and UDP together
	newPerSec   = 100              // new connections a second, after a burst
	newBurst    = MaxOpen          // so many at once
	askPerSec   = 50               // questions for names a second, after a burst
	askBurst    = 500              // an install asks for many at once
	dialTimeout = 20 * time.Second // for all addresses of a name
	oneDial     = 8 * time.Second  // for one of several
	fresh       = 5 * time.Second  // an answer to the pod's question serves the connection that follows it
	askTimeout  = 10 * time.Second // a question outside

	// Names that the policy allows by "*.example.net" alone: what they are called
	// is up to the pod, and whoever answers for them reads it.
	anyBurst = 100
	anyEach  = 6 * time.Second // for one more after the burst
)

// Resolver is the part of [net.Resolver] that is needed.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
	LookupTXT(ctx context.Context, name string) ([]string, error)
	LookupMX(ctx context.Context, name string) ([]*net.MX, error)
	LookupSRV(ctx context.Context, service, proto, name string) (string, []*net.SRV, error)
}

// Config is what gates need of the world outside. The zero Config is the real
// one.
type Config struct {
	Resolver Resolver
	// Dial connects to an address that was judged. network is "tcp" or "udp".
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Own returns this machine's addresses, each with its network.
	Own func() ([]netip.Prefix, error)
	// Leads are names and addresses that lead to this machine though it may not know
	// the address as its own: see [Config.Follow].
	Leads []string
	Now   func() time.Time

	machine *machine // of [Config.Shared]
}

// Gate is one pod's way out. It is safe for concurrent use. Make one with
// [NewGate].
type Gate struct {
	cfg   Config
	names *names
	log   *ledger
	news  *rate.Limiter
	asks  *rate.Limiter
	made  *rate.Limiter // for names of the pod's own choice

	mu      sync.Mutex
	policy  Policy
	changed chan struct{} // closed when policy changes, and made anew
	open    map[ConnID]*opened
	pending int // connections being made
	last    ConnID
	chosen  map[string]bool // of those names: asked already
}

// ConnID names a connection that a gate has made, as long as it is open.
type ConnID uint64

type opened struct {
	target  target
	network string
	addr    netip.Addr // what was dialled
	entry   *Entry
}

// NewGate returns a gate with this policy.
func NewGate(cfg Config, p Policy) *Gate {
	return &Gate{
		cfg: cfg.Shared(), names: newNames(), log: newLedger(), policy: p, changed: make(chan struct{}), open: map[ConnID]*opened{},
		news: rate.NewLimiter(newPerSec, newBurst), asks: rate.NewLimiter(askPerSec, askBurst),
		made: rate.NewLimiter(rate.Every(anyEach), anyBurst), chosen: map[string]bool{},
	}
}

// SetPolicy changes the policy for what is asked from now on. Who keeps
// connections open looks at [Gate.Stale] then.
func (g *Gate) SetPolicy(p Policy) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.policy = p
	close(g.changed)
	g.changed = make(chan struct{})
}

// Policy returns the policy that holds.
func (g *Gate) Policy() Policy {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.policy
}

// Changed is closed when the policy changes.
func (g *Gate) Changed() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.changed
}

// Stale reports whether a connection is open that the policy does not allow any
// more.
func (g *Gate) Stale() bool {
	own, err := g.cfg.machine.all()
	g.mu.Lock()
	defer g.mu.Unlock()
	if err != nil {
		return len(g.open) > 0
	}
	for _, o := range g.open {
		if g.policy.allows(o.target) != nil || g.policy.reaches(o.target, o.addr, own) != nil {
			return true
		}
	}
	return false
}

// Check judges by policy alone and at once whether the pod may send to an
// address that it uses, one of its own names' or another.
func (g *Gate) Check(network string, to netip.AddrPort) error {
	t, err := g.target(to)
	if err == nil {
		p := g.Policy()
		err = p.allows(t)
	}
	if err == nil && t.name == "" {
		err = g.judge(t, t.addr)
	}
	return g.refused(network, t, err)
}

// target finds the name that an address stands for.
func (g *Gate) target(to netip.AddrPort) (target, error) {
	t := target{addr: to.Addr().Unmap(), port: to.Port()}
	if to.Port() == 0 || !to.IsValid() {
		return t, &Refusal{Target: to.String(), Reason: "it has no port"}
	}
	if !fakes.Contains(t.addr) {
		return t, nil
	}
	if t.name = g.names.of(t.addr, g.cfg.Now()); t.name == "" {
		return t, &Refusal{Target: t.String(), Reason: "this address stands for no name that the pod has asked for lately; ask for the name again"}
	}
	return t, nil
}

// judge is the last look at an address before it is dialled.
func (g *Gate) judge(t target, a netip.Addr) error {
	own, err := g.cfg.machine.all()
	if err != nil {
		return &Refusal{Target: t.String(), Reason: fmt.Sprintf("the server could not find out which addresses are its own (%v) and lets nothing out before it knows; try again, and tell the administrator when that does not help", err)}
	}
	p := g.Policy()
	if err := p.reaches(t, a, own); err != nil {
		return &Refusal{Target: t.String(), Reason: err.Error()}
	}
	return nil
}

// refused notes a refusal and passes it on.
func (g *Gate) refused(network string, t target, err error) error {
	if r, ok := errors.AsType[*Refusal](err); ok {
		g.log.refuse(network, t, r, g.cfg.Now())
	}
	return err
}

// Dial connects the pod to where an address that it uses leads: through the
// name that it stands for, or to itself. network is "tcp" or "udp". The caller
// says with [Gate.Closed] when the connection is over. The error is a *Refusal
// when the pod may not, and anything else when the other side cannot be
// reached.
func (g *Gate) Dial(ctx context.Context, network string, to netip.AddrPort) (net.Conn, ConnID, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	g.cfg.machine.leads.wait(ctx)
	if err := g.Check(network, to); err != nil {
		return nil, 0, err
	}
	t, err := g.target(to)
	if err == nil {
		err = g.begin(t)
	}
	if err != nil {
		return nil, 0, g.refused(network, t, err)
	}
	defer g.begun()
	addrs, err := g.addresses(ctx, t)
	if err != nil {
		g.log.fail(network, t, err, g.cfg.Now())
		return nil, 0, err
	}
	conn, addr, err := g.dialOne(ctx, network, t, addrs)
	if err != nil {
		if _, ok := errors.AsType[*Refusal](err); !ok {
			g.log.fail(network, t, err, g.cfg.Now())
		}
		return nil, 0, g.refused(network, t, err)
	}
	return conn, g.opened(conn, network, t, addr), nil
}

// A Limit is one of those that a pod's network meets before its gate is asked.
type Limit string

// The limits, and what each means to who is refused for it.
const (
	HalfOpen  Limit = "half-open"
	Flows     Limit = "flows"
	Questions Limit = "questions"
)

var limits = map[Limit]string{
	HalfOpen:  "it is making as many connections at the same time as it may; those to hosts that do not answer take the longest",
	Flows:     "it sends datagrams to and from as many addresses as it may; one that is silent for a minute makes room",
	Questions: "it asks for as many names at the same time as it may; ask again",
}

// Full notes that the pod was refused for a limit, when it wanted to go to an address.
func (g *Gate) Full(network string, to netip.AddrPort, l Limit) {
	t := target{addr: to.Addr().Unmap(), port: to.Port()}
	if found, err := g.target(to); err == nil {
		t = found
	}
	if reason := limits[l]; reason != "" && to.IsValid() {
		_ = g.refused(network, t, &Refusal{Target: t.String(), Reason: reason})
	}
}

// What the kernel may keep of a connection outside, in bytes for each direction; it counts
// twice of that. It is this machine's memory and not the pod's, and a program in the pod
// decides how much is kept by not reading. So a few have room to be fast, and all that one
// pod may have together some 60 MiB.
const (
	outsideMost  = 512 << 10
	outsideLeast = 16 << 10
)

func outsideBuffer(open int) int { return max(outsideLeast, outsideMost/((1+open/8)*(1+open/8))) }

// bound bounds what the kernel keeps of a connection, of which open are there already.
func bound(conn net.Conn, open int) {
	if c, ok := conn.(interface {
		SetReadBuffer(bytes int) error
		SetWriteBuffer(bytes int) error
	}); ok {
		size := outsideBuffer(open)
		_ = errors.Join(c.SetReadBuffer(size), c.SetWriteBuffer(size)) // one that is closed needs no bound
	}
}

// begin takes a place among the pod's connections.
func (g *Gate) begin(t target) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.open)+g.pending >= MaxOpen {
		return &Refusal{Target: t.String(), Reason: fmt.Sprintf("it has %d connections open, which is all that one pod may have; close some", MaxOpen)}
	}
	if !g.news.AllowN(g.cfg.Now(), 1) {
		return &Refusal{Target: t.String(), Reason: fmt.Sprintf("it opens more than %d new connections a second; keep connections open instead", newPerSec)}
	}
	g.pending++
	return nil
}

func (g *Gate) begun() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pending--
}

// addresses are what a target's name leads to now.
func (g *Gate) addresses(ctx context.Context, t target) ([]netip.Addr, error) {
	if t.name == "" {
		return []netip.Addr{t.addr}, nil
	}
	return g.resolve(ctx, t.name)
}

// resolve asks outside, unless the pod has just been answered.
func (g *Gate) resolve(ctx context.Context, name string) ([]netip.Addr, error) {
	now := g.cfg.Now()
	if addrs := g.names.known(name, now); addrs != nil {
		return addrs, nil
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	// With the last dot, so that no search list of this machine is tried.
	addrs, err := g.cfg.Resolver.LookupNetIP(ctx, "ip", name+".")
	if err != nil {
		return nil, err
	}
	g.names.learn(name, addrs, now)
	return addrs, nil
}

// dialOne tries the addresses that the pod may reach, one after the other,
// those of IPv4 first: many servers have no way to the others.
func (g *Gate) dialOne(ctx context.Context, network string, t target, addrs []netip.Addr) (net.Conn, netip.Addr, error) {
	var first error
	for _, want6 := range []bool{false, true} {
		for _, a := range addrs {
			if a = a.Unmap(); a.Is6() != want6 {
				continue
			}
			err := g.judge(t, a)
			if err == nil {
				var conn net.Conn
				if conn, err = g.dialAddr(ctx, network, netip.AddrPortFrom(a, t.port), len(addrs)); err == nil {
					return conn, a, nil
				}
			}
			if first == nil {
				first = err
			}
		}
	}
	if first == nil {
		first = fmt.Errorf("%s has no address", t.host())
	}
	return nil, netip.Addr{}, first
}

func (g *Gate) dialAddr(ctx context.Context, network string, to netip.AddrPort, of int) (net.Conn, error) {
	if of > 1 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, oneDial)
		defer cancel()
	}
	return g.cfg.Dial(ctx, network, to.String())
}

func (g *Gate) opened(conn net.Conn, network string, t target, a netip.Addr) ConnID {
	now := g.cfg.Now()
	entry := g.log.open(network, t, now)
	if t.name != "" {
		g.names.use(t.name, 1)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	bound(conn, len(g.open))
	g.last++
	g.open[g.last] = &opened{target: t, network: network, addr: a, entry: entry}
	return g.last
}

// Moved adds to what a connection has carried since it was last said, in bytes
// from the pod and to it.
func (g *Gate) Moved(id ConnID, sent, received int64) {
	g.mu.Lock()
	o := g.open[id]
	g.mu.Unlock()
	if o != nil {
		g.log.moved(o.entry, sent, received, g.cfg.Now())
	}
}

// Closed says that a connection is over. One that is not known is nothing.
func (g *Gate) Closed(id ConnID) {
	g.mu.Lock()
	o := g.open[id]
	delete(g.open, id)
	g.mu.Unlock()
	if o == nil {
		return
	}
	g.log.closed(o.entry, g.cfg.Now())
	if o.target.name != "" {
		g.names.use(o.target.name, -1)
	}
}

// CloseAll says that all connections are over.
func (g *Gate) CloseAll() {
	g.mu.Lock()
	var all []ConnID
	for id := range g.open {
		all = append(all, id)
	}
	g.mu.Unlock()
	for _, id := range all {
		g.Closed(id)
	}
}

// Ledger returns what the pod has reached and was refused, newest first.
func (g *Gate) Ledger() []Entry { return g.log.entries() }

// TakeCarried returns how many bytes all connections have carried since the last call,
// also those of targets that the ledger has forgotten.
func (g *Gate) TakeCarried() (sent, received int64) { return g.log.take() }

// Refusals returns the last refusals as lines for people, oldest first.
func (g *Gate) Refusals() []Line { return g.log.lines() }
