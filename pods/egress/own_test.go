package egress

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestOwnPrefixes(t *testing.T) {
	t.Parallel()
	own, err := ownPrefixes()
	if err != nil || !slices.ContainsFunc(own, func(p netip.Prefix) bool {
		return p.Contains(netip.MustParseAddr("127.0.0.1")) || p.Contains(netip.IPv6Loopback())
	}) {
		t.Errorf("%v, %v", own, err)
	}
}

// A server that cannot read its own addresses, one that is out of descriptors for
// instance, lets nothing out. Once they were read the last that are known hold, for
// every gate.
func TestOwnAddressesUnknown(t *testing.T) {
	t.Parallel()
	o := world()
	now, failing, reads := time.Unix(1e9, 0), error(syscall.EMFILE), 0
	cfg := Config{Resolver: o, Dial: o.dial, Now: func() time.Time { return now }, Own: func() ([]netip.Prefix, error) {
		reads++
		return []netip.Prefix{netip.MustParsePrefix("9.9.9.7/24")}, failing
	}}.Shared()
	first, second := NewGate(cfg, internet), NewGate(cfg, internet)
	dial := func(g *Gate, to string) error {
		conn, _, err := g.Dial(t.Context(), "tcp", netip.MustParseAddrPort(to))
		if err == nil {
			conn.Close()
		}
		return err
	}
	refused := func(step string, g *Gate, to, want string) {
		t.Helper()
		var r *Refusal
		if err := dial(g, to); !errors.As(err, &r) || !strings.Contains(r.Reason, want) {
			t.Errorf("%s: %s: %v, want %q", step, to, err, want)
		}
	}
	refused("never read", first, "8.8.8.8:443", "could not find out which addresses are its own (too many open files)")
	refused("never read", first, "9.9.9.9:443", "could not find out")
	failing = nil
	if err := dial(first, "8.8.8.8:443"); err != nil {
		t.Errorf("once they are known: %v", err)
	}
	failing, now = syscall.EMFILE, now.Add(time.Hour)
	refused("read an hour ago", first, "9.9.9.9:443", "belongs to this server")
	refused("read by the other gate", second, "9.9.9.9:443", "belongs to this server")
	if err := dial(second, "8.8.8.8:443"); err != nil {
		t.Errorf("the last that are known hold: %v", err)
	}
	failing, reads = nil, 0
	for range 20 {
		dial(second, "8.8.8.8:443")
	}
	if reads != 1 {
		t.Errorf("read %d times within a moment", reads)
	}
}
