package ratelimit_test

import (
	"net/netip"
	"slices"
	"testing"

	"podgate/internal/ratelimit"
)

func TestAddrKey(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1",
		"2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64", "fe80::1%eth0": "fe80::/64",
	} {
		if got := ratelimit.AddrKey(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: %s, want %s", addr, got, want)
		}
	}
}

func TestNetworks(t *testing.T) {
	for addr, want := range map[string][]string{
		"192.0.2.1":            {"192.0.2.1", "192.0.2.0/24"},
		"::ffff:192.0.2.1":     {"192.0.2.1", "192.0.2.0/24"},
		"2001:db8:1:2:3:4:5:6": {"2001:db8:1:2::/64", "2001:db8:1::/48", "2001:db8::/32"},
		"fe80::1%eth0":         {"fe80::/64", "fe80::/48", "fe80::/32"},
	} {
		if got := ratelimit.Networks(netip.MustParseAddr(addr)); !slices.Equal(got, want) || got[0] != ratelimit.AddrKey(netip.MustParseAddr(addr)) {
			t.Errorf("%s: %s, want %s", addr, got, want)
		}
	}
	if got := ratelimit.Networks(netip.Addr{}); got[0] != ratelimit.AddrKey(netip.Addr{}) {
		t.Errorf("no address: %q", got)
	}
}
