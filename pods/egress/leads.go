package egress

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	leadsFresh = 5 * time.Minute  // what names lead to is asked so often
	leadsRetry = 15 * time.Second // after a question that had no answer
	leadsWait  = 5 * time.Second  // for one answer
	leadsTries = 4                // without an answer, until what is known has to do
	maxLeads   = 32               // addresses of one name and family
)

// leads are the names that lead to this machine, with their addresses. Behind
// the address translation of most clouds no interface has the public one.
type leads struct {
	names    []string
	resolver Resolver
	asked    chan struct{} // closed when each name had an answer, or too many tries had none

	mu    sync.Mutex
	addrs map[string][]netip.Prefix // by network and name
}

func newLeads(names []string, r Resolver) *leads {
	l := &leads{resolver: r, asked: make(chan struct{}), addrs: map[string][]netip.Prefix{}}
	for _, name := range names {
		if a, err := netip.ParseAddr(name); err == nil {
			l.addrs[name] = single([]netip.Addr{a})
		} else {
			l.names = append(l.names, name)
		}
	}
	if len(l.names) == 0 {
		close(l.asked)
	}
	return l
}

func single(addrs []netip.Addr) (all []netip.Prefix) {
	for _, a := range addrs[:min(len(addrs), maxLeads)] {
		a = a.Unmap().WithZone("")
		all = append(all, netip.PrefixFrom(a, a.BitLen()))
	}
	return all
}

// follow asks for the names again and again until ctx ends.
func (l *leads) follow(ctx context.Context) {
	if len(l.names) == 0 {
		return
	}
	once := sync.OnceFunc(func() { close(l.asked) })
	for tries := 1; ctx.Err() == nil; tries++ {
		wait, all := leadsFresh, l.ask(ctx)
		if !all {
			wait = leadsRetry
		}
		if all || tries >= leadsTries {
			once()
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// ask asks for all names once. What is not answered keeps the addresses that it
// had; a name that does not exist has none. Each family is asked for by itself: of one
// question for both a resolver gives the half that was answered, as if it were all.
func (l *leads) ask(ctx context.Context) (all bool) {
	all = true
	for _, name := range l.names {
		for _, network := range []string{"ip4", "ip6"} {
			ctx, cancel := context.WithTimeout(ctx, leadsWait)
			addrs, err := l.resolver.LookupNetIP(ctx, network, name+".")
			cancel()
			if dns, ok := errors.AsType[*net.DNSError](err); err != nil && (!ok || !dns.IsNotFound) {
				all = false
				continue
			}
			l.mu.Lock()
			l.addrs[network+" "+name] = single(addrs)
			l.mu.Unlock()
		}
	}
	return all
}

// wait returns when what is known of the names counts, or ctx ends.
func (l *leads) wait(ctx context.Context) {
	select {
	case <-l.asked:
	case <-ctx.Done():
	}
}

// prefixes returns the addresses, or an error as long as nobody has asked.
func (l *leads) prefixes() ([]netip.Prefix, error) {
	select {
	case <-l.asked:
	default:
		return nil, errors.New("the names that lead here are still being asked for")
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []netip.Prefix
	for _, addrs := range l.addrs {
		all = append(all, addrs...)
	}
	return all, nil
}

// Follow keeps up with what the names in Leads lead to, until ctx ends. With such
// names nothing is let out before each had an answer, or about a minute has passed. The Config must be
// a shared one.
func (c Config) Follow(ctx context.Context) { c.machine.leads.follow(ctx) }
