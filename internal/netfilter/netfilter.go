// Package netfilter says which addresses are on the public internet. Whoever
// connects to an address that somebody else chose asks it first, so that this
// machine and the networks around it are not reached on a stranger's behalf.
//
// It judges addresses and knows neither names nor HTTP. Judge the address that
// is dialled: a name can lead elsewhere a moment later.
package netfilter

import (
	"fmt"
	"net/netip"
)

// refused lists what is not the public internet, from the registries of
// RFC 6890: special purpose, multicast, reserved, and the forms of IPv6 that
// carry an IPv4 address along, which would be a way around the IPv4 list.
var refused = []struct {
	prefix netip.Prefix
	what   string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), "this network"},
	{netip.MustParsePrefix("10.0.0.0/8"), "a private network"},
	{netip.MustParsePrefix("100.64.0.0/10"), "a provider's shared network"}, // RFC 6598; home of overlay networks and cloud metadata too
	{netip.MustParsePrefix("127.0.0.0/8"), "this machine"},
	{netip.MustParsePrefix("169.254.0.0/16"), "a link-local network"}, // cloud metadata services
	{netip.MustParsePrefix("172.16.0.0/12"), "a private network"},
	{netip.MustParsePrefix("192.0.0.0/24"), "a protocol assignment"}, // RFC 6890; DS-Lite, NAT64 discovery
	{netip.MustParsePrefix("192.0.2.0/24"), documentation},
	{netip.MustParsePrefix("192.31.196.0/24"), "a service of the network itself"}, // AS112
	{netip.MustParsePrefix("192.52.193.0/24"), "a relay of the network itself"},   // AMT
	{netip.MustParsePrefix("192.88.99.0/24"), "a relay of the network itself"},    // 6to4 anycast
	{netip.MustParsePrefix("192.168.0.0/16"), "a private network"},
	{netip.MustParsePrefix("192.175.48.0/24"), "a service of the network itself"}, // AS112
	{netip.MustParsePrefix("198.18.0.0/15"), "a test network"},
	{netip.MustParsePrefix("198.51.100.0/24"), documentation},
	{netip.MustParsePrefix("203.0.113.0/24"), documentation},
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast"},
	{netip.MustParsePrefix("240.0.0.0/4"), "reserved"}, // with the broadcast address

	{netip.MustParsePrefix("64:ff9b::/96"), "a translation to IPv4"},   // NAT64, RFC 6052
	{netip.MustParsePrefix("64:ff9b:1::/48"), "a translation to IPv4"}, // RFC 8215
	{netip.MustParsePrefix("2001::/23"), "a protocol assignment"},      // Teredo 2001::/32, ORCHID, benchmarking
	{netip.MustParsePrefix("2001:db8::/32"), documentation},
	{netip.MustParsePrefix("2002::/16"), "a tunnel to IPv4"}, // 6to4
	{netip.MustParsePrefix("2620:4f:8000::/48"), "a service of the network itself"},
	{netip.MustParsePrefix("3fff::/20"), documentation}, // RFC 9637
}

// global is the one block of IPv6 from which public addresses are given out
// (RFC 4291 section 2.4). What lies outside it, such as unspecified, loopback,
// unique local, link-local, site-local, multicast and IPv4-compatible
// addresses, is refused without being listed.
var global = netip.MustParsePrefix("2000::/3")

// Public returns nil when a is a unicast address of the public internet, and
// otherwise an error that names the address and says what it is. An
// IPv4-mapped IPv6 address is judged as the IPv4 address that a connection to
// it would reach. An address with a zone is of one link and never public.
func Public(a netip.Addr) error {
	if !a.IsValid() {
		return fmt.Errorf("not an address")
	}
	if a.Zone() != "" {
		return fmt.Errorf("the address %s belongs to one link", a)
	}
	inner := a.Unmap()
	for _, r := range refused {
		if r.prefix.Contains(inner) {
			return fmt.Errorf("the address %s is not public: it is %s", a, r.what)
		}
	}
	if inner.Is6() && !global.Contains(inner) {
		return fmt.Errorf("the address %s is not public: it is %s", a, special6(inner))
	}
	return nil
}

// documentation are the networks of RFC 5737, RFC 3849 and RFC 9637.
const documentation = "a documentation network"

// Documentation reports whether a is of a network that is set apart for
// examples. Such an address is nobody's on the internet and nothing of this
// machine's or of the networks around it, unless somebody has given it to
// something on purpose.
func Documentation(a netip.Addr) bool {
	for _, r := range refused {
		if r.what == documentation && r.prefix.Contains(a.Unmap()) {
			return true
		}
	}
	return false
}

// special6 names the address for the log.
func special6(a netip.Addr) string {
	switch {
	case a.IsUnspecified(), a.IsLoopback():
		return "this machine"
	case a.IsPrivate():
		return "a private network"
	case a.IsLinkLocalUnicast():
		return "a link-local network"
	case a.IsMulticast():
		return "multicast"
	}
	return "outside the addresses in use"
}
