package ratelimit

import "net/netip"

// AddrKey is the key of an address: IPv4 by address, also in IPv6 form, and
// IPv6 by /64, because one machine has a whole /64 to itself.
func AddrKey(a netip.Addr) string {
	a = a.Unmap().WithZone("")
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			return p.String()
		}
	}
	return a.String()
}
