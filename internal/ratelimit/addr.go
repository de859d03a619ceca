package ratelimit

import "net/netip"

// AddrKey is the key of an address: IPv4 by address, also in IPv6 form, and
// IPv6 by /64, because one machine has a whole /64 to itself.
func AddrKey(a netip.Addr) string {
	if a = a.Unmap(); a.Is6() {
		return network(a, 64)
	}
	return a.String()
}

// Networks returns the keys of the networks that an address lies in, the
// narrowest, which is AddrKey, first. Of IPv6 these are /64, /48, which is what one
// site has, and /32, which is what one provider has; of IPv4 the address and /24.
func Networks(a netip.Addr) []string {
	if a = a.Unmap(); a.Is6() {
		return []string{AddrKey(a), network(a, 48), network(a, 32)}
	}
	return []string{AddrKey(a), network(a, 24)}
}

// network is the prefix of that length; of the zero Addr what it prints.
func network(a netip.Addr, bits int) string {
	p, err := a.WithZone("").Prefix(bits)
	if err != nil || !p.IsValid() {
		return a.String()
	}
	return p.String()
}
