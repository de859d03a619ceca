package egress

import (
	"net/netip"
	"slices"
	"sync"
	"time"
)

// The addresses inside a pod: 198.18.0.0/15 is set apart for tests between
// networks (RFC 2544) and never on the internet, so nothing that a pod could
// want lies there.
var (
	fakes     = netip.MustParsePrefix("198.18.0.0/15")
	firstName = netip.MustParseAddr("198.18.1.0")

	ResolverAddr = netip.MustParseAddr("198.18.0.1") // answers questions for names
	PodAddr      = netip.PrefixFrom(netip.MustParseAddr("198.18.0.2"), fakes.Bits())
)

const maxNames = 4096 // that one pod has asked for and could still use

// names gives each name an address of its own, and finds it again. When there
// are too many, the one goes that was used longest ago and has no connection.
// Addresses are given in turn, so that one comes back only after more than a
// hundred thousand others: an app that remembers an address must not find
// another name behind it.
type names struct {
	mu     sync.Mutex
	byName map[string]*nameEntry
	byAddr map[netip.Addr]*nameEntry
	next   netip.Addr
}

type nameEntry struct {
	name  string
	addr  netip.Addr
	used  time.Time
	open  int          // connections
	leads []netip.Addr // as asked outside at the time below
	asked time.Time
}

func newNames() *names {
	return &names{byName: map[string]*nameEntry{}, byAddr: map[netip.Addr]*nameEntry{}, next: firstName}
}

// give returns the address that stands for name; not valid when every one of
// maxNames has a connection.
func (n *names) give(name string, now time.Time) netip.Addr {
	n.mu.Lock()
	defer n.mu.Unlock()
	if e := n.byName[name]; e != nil {
		e.used = now
		return e.addr
	}
	if len(n.byName) >= maxNames && !n.forget() {
		return netip.Addr{}
	}
	for n.byAddr[n.next] != nil || !fakes.Contains(n.next.Next()) {
		if n.next = n.next.Next(); !fakes.Contains(n.next.Next()) { // the last is the broadcast address
			n.next = firstName
		}
	}
	e := &nameEntry{name: name, addr: n.next, used: now}
	n.byName[name], n.byAddr[e.addr] = e, e
	n.next = n.next.Next()
	return e.addr
}

// forget drops the tenth part that was used longest ago, so that a flood of
// names does not look at all of them for each.
func (n *names) forget() bool {
	var idle []*nameEntry
	for _, e := range n.byName {
		if e.open == 0 {
			idle = append(idle, e)
		}
	}
	slices.SortFunc(idle, func(a, b *nameEntry) int { return a.used.Compare(b.used) })
	for _, e := range idle[:min(len(idle), maxNames/10)] {
		delete(n.byName, e.name)
		delete(n.byAddr, e.addr)
	}
	return len(idle) > 0
}

// of returns the name that an address stands for, or nothing.
func (n *names) of(a netip.Addr, now time.Time) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if e := n.byAddr[a]; e != nil {
		e.used = now
		return e.name
	}
	return ""
}

// use counts connections to a name.
func (n *names) use(name string, more int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if e := n.byName[name]; e != nil {
		e.open += more
	}
}

// learn keeps where a name leads, if it has an address here.
func (n *names) learn(name string, leads []netip.Addr, now time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if e := n.byName[name]; e != nil {
		e.leads, e.asked = leads, now
	}
}

// known is where a name leads as learnt a moment ago, or nil.
func (n *names) known(name string, now time.Time) []netip.Addr {
	n.mu.Lock()
	defer n.mu.Unlock()
	if e := n.byName[name]; e != nil && e.asked.Add(fresh).After(now) && !e.asked.After(now) {
		return e.leads
	}
	return nil
}
