package egress

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// changing is a resolver whose answers a test sets.
type changing struct {
	outside
	mu    sync.Mutex
	fails bool
	half  string // the network that fails; empty: none
	addrs map[string]string
}

func (c *changing) set(fails bool, addrs map[string]string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fails, c.addrs = fails, addrs
}

func (c *changing) halve(network string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.half = network
}

func (c *changing) LookupNetIP(_ context.Context, network, host string) ([]netip.Addr, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a, ok := c.addrs[host]
	if addr, err := netip.ParseAddr(a); err == nil && addr.Unmap().Is4() != (network == "ip4") && network != "ip" {
		ok = false
	}
	switch {
	case c.fails || c.half == network:
		return nil, &net.DNSError{Err: "server misbehaving", Name: host, IsTemporary: true}
	case !ok:
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return []netip.Addr{netip.MustParseAddr(a)}, nil
}

// Behind address translation the public address is on no interface: what this
// machine's names lead to is refused all the same, by whatever name or as it is, and
// nothing is let out before that is known.
func TestOwnNames(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &changing{}
		r.set(false, map[string]string{"podgate.example.com.": "93.184.216.1", "podgate.pods.example.com.": "::ffff:93.184.216.2", "other.example.net.": "93.184.216.1", "far.example.net.": "93.184.216.9"})
		cfg := Config{
			Resolver: r, Dial: r.dial, Own: func() ([]netip.Prefix, error) { return nil, nil },
			Leads: []string{"podgate.example.com", "pods.example.com", "podgate.pods.example.com", "93.184.216.3", "2a00:1::5"},
		}.Shared()
		g := NewGate(cfg, internet)
		if err := g.Check("tcp", netip.MustParseAddrPort("8.8.8.8:443")); err == nil || !strings.Contains(err.Error(), "could not find out") {
			t.Errorf("before anybody asked: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go cfg.Follow(ctx)
		judged := func(step string, refused bool, targets ...string) {
			t.Helper()
			for _, to := range targets {
				a, err := netip.ParseAddr(to)
				if err != nil {
					a = g.Ask(t.Context(), to, KindA).Addr
				}
				conn, _, err := g.Dial(t.Context(), "tcp", netip.AddrPortFrom(a, 443))
				if err == nil {
					conn.Close()
				}
				if _, is := errors.AsType[*Refusal](err); is != refused {
					t.Errorf("%s: %s: %v, want refused %v", step, to, err, refused)
				}
			}
		}
		judged("at the start", true, "93.184.216.1", "93.184.216.2", "93.184.216.3", "2a00:1::5", "other.example.net")
		judged("at the start", false, "8.8.8.8", "far.example.net")
		if _, dialed := r.took(); !slices.Equal(dialed, []string{"tcp 8.8.8.8:443", "tcp 93.184.216.9:443"}) {
			t.Errorf("dialled %v", dialed)
		}

		// It moves; and what cannot be asked for stays as it was.
		r.set(false, map[string]string{"podgate.example.com.": "93.184.216.4"})
		time.Sleep(leadsFresh)
		synctest.Wait()
		judged("moved", true, "93.184.216.4", "93.184.216.3")
		judged("moved", false, "93.184.216.1", "93.184.216.2")
		r.set(true, nil)
		time.Sleep(leadsFresh)
		synctest.Wait()
		judged("nobody answers", true, "93.184.216.4")
		r.set(false, map[string]string{"podgate.example.com.": "93.184.216.5"})
		time.Sleep(leadsRetry)
		synctest.Wait()
		judged("somebody answers again", true, "93.184.216.5")
		judged("somebody answers again", false, "93.184.216.4")
		r.halve("ip4")
		r.set(false, map[string]string{"podgate.example.com.": "2a00:1::9"})
		time.Sleep(leadsFresh)
		synctest.Wait()
		judged("half an answer", true, "93.184.216.5", "2a00:1::9")
	})
}

// As long as nobody answers nothing is let out; but not for ever, as pods of a server
// whose own name cannot be had here would have no network at all.
func TestOwnNamesUnanswered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &changing{}
		r.set(true, nil)
		cfg := Config{Resolver: r, Dial: r.dial, Own: func() ([]netip.Prefix, error) { return nil, nil }, Leads: []string{"podgate.example.com"}}.Shared()
		g := NewGate(cfg, internet)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go cfg.Follow(ctx)
		target := netip.MustParseAddrPort("8.8.8.8:443")
		time.Sleep((leadsTries-1)*leadsRetry - time.Second)
		synctest.Wait()
		if err := g.Check("tcp", target); err == nil || !strings.Contains(err.Error(), "could not find out") {
			t.Errorf("before the last try: %v", err)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if err := g.Check("tcp", target); err != nil {
			t.Errorf("after it: %v", err)
		}
	})
}
