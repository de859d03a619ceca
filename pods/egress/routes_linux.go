package egress

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"syscall"
)

// widest is the prefix length from which on a route tells of a neighbourhood. What
// leads a 128th of all addresses or more to a device is a way out, as 0.0.0.0/1 and
// 2000::/3 are to a tunnel.
const widest = 8

// routes are the networks that are one hop away and the addresses that are taken
// for this machine's own, whether or not one of its addresses shows them: the prefix
// of a router's advertisement, the peer of a line, a network behind a bridge.
func routes() ([]netip.Prefix, error) {
	raw, err := syscall.NetlinkRIB(syscall.RTM_GETROUTE, syscall.AF_UNSPEC)
	if err != nil {
		return nil, fmt.Errorf("read the routes: %w", err)
	}
	messages, err := syscall.ParseNetlinkMessage(raw)
	if err != nil {
		return nil, fmt.Errorf("read the routes: %w", err)
	}
	var all []netip.Prefix
	for _, m := range messages {
		if m.Header.Type != syscall.RTM_NEWROUTE {
			continue
		}
		if p, ok := near(m); ok {
			all = append(all, p)
		}
	}
	return all, nil
}

// Attributes of a route that package syscall does not name (linux/rtnetlink.h).
const (
	rtaVia       = 18 // a gateway of the other family
	rtaNextHopID = 30
)

// near returns where a route leads when no gateway is in between.
func near(m syscall.NetlinkMessage) (netip.Prefix, bool) {
	if len(m.Data) < syscall.SizeofRtMsg {
		return netip.Prefix{}, false
	}
	family, bits, kind := m.Data[0], int(m.Data[1]), m.Data[7]
	if bits < widest || kind != syscall.RTN_LOCAL && kind != syscall.RTN_UNICAST {
		return netip.Prefix{}, false
	}
	attributes, err := syscall.ParseNetlinkRouteAttr(&m)
	if err != nil {
		return netip.Prefix{}, false
	}
	var to netip.Addr
	var device, byID, gateway bool
	for _, a := range attributes {
		switch a.Attr.Type & 0x3fff { // without its flags
		case syscall.RTA_DST:
			to, _ = netip.AddrFromSlice(a.Value)
		case syscall.RTA_GATEWAY, rtaVia:
			gateway = true
		case syscall.RTA_OIF:
			device = true
		case syscall.RTA_MULTIPATH:
			device = true
			gateway = gateway || !anyDirect(a.Value)
		case rtaNextHopID:
			byID = true
		}
	}
	known := family == syscall.AF_INET && to.Is4() || family == syscall.AF_INET6 && to.Is6()
	// A kernel that shows the number of a hop alone has such routes from a routing
	// daemon, which learns of ways that lead further.
	if !known || gateway && kind != syscall.RTN_LOCAL || byID && !device {
		return netip.Prefix{}, false
	}
	p, err := to.Unmap().Prefix(bits)
	return p, err == nil
}

// anyDirect reports whether one of a route's several hops is the target itself.
func anyDirect(hops []byte) bool {
	for len(hops) >= syscall.SizeofRtNexthop {
		n := int(binary.NativeEndian.Uint16(hops))
		if n < syscall.SizeofRtNexthop || n > len(hops) {
			return false
		}
		if !leadsOn(hops[syscall.SizeofRtNexthop:n]) {
			return true
		}
		hops = hops[min(len(hops), (n+3)&^3):]
	}
	return false
}

// leadsOn looks for a gateway among the attributes of a hop.
func leadsOn(attributes []byte) bool {
	for len(attributes) >= syscall.SizeofRtAttr {
		n, kind := int(binary.NativeEndian.Uint16(attributes)), binary.NativeEndian.Uint16(attributes[2:])&0x3fff
		if n < syscall.SizeofRtAttr || n > len(attributes) {
			return false
		}
		if kind == syscall.RTA_GATEWAY || kind == rtaVia {
			return true
		}
		attributes = attributes[min(len(attributes), (n+3)&^3):]
	}
	return false
}
