package egress

import (
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const ownFresh = 10 * time.Second // this machine's addresses are looked at so often

// machine keeps what this machine's addresses were some seconds ago, for all
// gates. It is safe for concurrent use.
type machine struct {
	read  func() ([]netip.Prefix, error)
	now   func() time.Time
	leads *leads

	mu    sync.Mutex
	own   []netip.Prefix
	known bool // own was read at least once
	at    time.Time
}

// all returns the addresses: those of its interfaces and routes, each with its
// network, and those that names lead to. Where there is an error nothing can be
// judged.
func (m *machine) all() ([]netip.Prefix, error) {
	named, err := m.leads.prefixes()
	if err != nil {
		return nil, err
	}
	own, err := m.prefixes()
	return append(named, own...), err
}

// prefixes returns what the kernel says. When it cannot be read the last that is
// known holds; before that there is an error.
func (m *machine) prefixes() ([]netip.Prefix, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	if m.known && now.Sub(m.at) <= ownFresh && !now.Before(m.at) {
		return m.own, nil
	}
	own, err := m.read()
	if err == nil {
		m.own, m.known, m.at = own, true, now
	} else if !m.known {
		return nil, err
	}
	return m.own, nil
}

// Shared returns the Config with its defaults, so that gates which are made of
// it look at this machine's addresses together.
func (c Config) Shared() Config {
	if c.Resolver == nil {
		c.Resolver = net.DefaultResolver
	}
	if c.Dial == nil {
		c.Dial = Connect
	}
	if c.Own == nil {
		c.Own = ownPrefixes
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.machine == nil {
		c.machine = &machine{read: c.Own, now: c.Now, leads: newLeads(c.Leads, c.Resolver)}
	}
	return c
}

// ownPrefixes asks the kernel for its addresses and for its routes.
func ownPrefixes() ([]netip.Prefix, error) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	all, err := routes()
	if err != nil {
		return nil, err
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok {
			ip, _ := netip.AddrFromSlice(n.IP)
			bits, _ := n.Mask.Size()
			if ip = ip.Unmap(); bits > ip.BitLen() {
				bits -= 96
			}
			all = append(all, netip.PrefixFrom(ip, bits).Masked())
		}
	}
	slices.SortFunc(all, netip.Prefix.Compare) // most routes say what an address has said
	return slices.Compact(all), nil
}
