package egress

import (
	"errors"
	"net/netip"
	"slices"
	"time"
)

// maxHandedNames is how many names without a connection a gate hands over: those that the
// pod has used last.
const maxHandedNames = 1024

// Handed is what a gate hands over to that of the next program: what the pod, and the
// process that has its connections, go by. The ledger and the limits begin anew.
type Handed struct {
	Next  netip.Addr   `json:"next,omitzero"` // the address that the next name gets
	Names []HandedName `json:"names,omitempty"`
	Last  ConnID       `json:"last,omitempty"`
	Open  []HandedConn `json:"open,omitempty"`
}

// HandedName is a name and the address that stands for it.
type HandedName struct {
	Name string     `json:"name"`
	Addr netip.Addr `json:"addr"`
	Used time.Time  `json:"used"`
}

// HandedConn is a connection that is open.
type HandedConn struct {
	ID      ConnID     `json:"id"`
	Network string     `json:"network"`
	Name    string     `json:"name,omitempty"`
	To      netip.Addr `json:"to"` // as the pod sees it
	Port    uint16     `json:"port"`
	Dialled netip.Addr `json:"dialled"`
}

// HandOver returns what the gate of the next program must know.
func (g *Gate) HandOver() Handed {
	g.mu.Lock()
	h := Handed{Last: g.last}
	for id, o := range g.open {
		h.Open = append(h.Open, HandedConn{id, o.network, o.target.name, o.target.addr, o.target.port, o.addr})
	}
	g.mu.Unlock()
	n := g.names
	n.mu.Lock()
	defer n.mu.Unlock()
	h.Next = n.next
	for _, e := range n.byName {
		h.Names = append(h.Names, HandedName{e.name, e.addr, e.used})
	}
	slices.SortFunc(h.Names, func(a, b HandedName) int { return b.Used.Compare(a.Used) })
	kept := h.Names[:0]
	for i, name := range h.Names {
		if i < maxHandedNames || n.byName[name.Name].open > 0 {
			kept = append(kept, name)
		}
	}
	h.Names = kept
	return h
}

// Resume takes over what an earlier gate handed over. It is for a gate that was not used
// yet. What cannot be is left out, and the error says so.
func (g *Gate) Resume(h Handed) error {
	odd := errors.New("what a pod's gate handed over cannot be")
	if len(h.Names) > maxNames || len(h.Open) > MaxOpen {
		return odd
	}
	var fault error
	n := g.names
	n.mu.Lock()
	if fakes.Contains(h.Next) && !h.Next.Less(firstName) {
		n.next = h.Next
	}
	for _, name := range h.Names {
		if !fakes.Contains(name.Addr) || name.Addr.Less(firstName) || n.byAddr[name.Addr] != nil || n.byName[name.Name] != nil {
			fault = odd
			continue
		}
		e := &nameEntry{name: name.Name, addr: name.Addr, used: name.Used}
		n.byName[e.name], n.byAddr[e.addr] = e, e
	}
	n.mu.Unlock()
	now := g.cfg.Now()
	for _, c := range h.Open {
		t := target{name: c.Name, addr: c.To, port: c.Port}
		g.mu.Lock()
		if g.open[c.ID] != nil || c.ID > h.Last {
			fault = odd
		} else {
			g.open[c.ID] = &opened{target: t, network: c.Network, addr: c.Dialled, entry: g.log.open(c.Network, t, now)}
			if t.name != "" {
				g.names.use(t.name, 1)
			}
		}
		g.mu.Unlock()
	}
	g.mu.Lock()
	g.last = max(g.last, h.Last)
	g.mu.Unlock()
	return fault
}
