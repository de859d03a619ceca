package netstack

import (
	"fmt"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/link/fdbased"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// LinkKind is what a descriptor of packets is.
type LinkKind string

// The kinds there are.
const (
	LinkTUN    LinkKind = "tun"    // reads and writes IP packets
	LinkPacket LinkKind = "packet" // a packet socket: Ethernet frames
)

// MTU is how much one packet holds, in bytes. No wire limits it, and most of
// the cost of a byte is that of its packet.
const MTU = 65520

// Link is the end of a pod's network that a descriptor leads to. mac is the
// pod's address on it, for LinkPacket. The descriptor stays the caller's.
func Link(kind LinkKind, fd int, mac []byte) (stack.LinkEndpoint, error) {
	options := fdbased.Options{FDs: []int{fd}, MTU: MTU, RXChecksumOffload: true, ProcessorsPerChannel: 1}
	switch kind {
	case LinkTUN:
		options.IsPacketSocket = []bool{false}
	case LinkPacket:
		if len(mac) != 6 {
			return nil, fmt.Errorf("a packet socket needs the pod's address")
		}
		// What the kernel of the pod sends, it addresses to itself: there is no
		// ARP on this link. So this end has the same address.
		options.EthernetHeader, options.Address = true, tcpip.LinkAddress(mac)
		// Not one of several sockets that share the load, which it would be made.
		options.IsPacketSocket, options.PreConfigured = []bool{true}, true
	default:
		return nil, fmt.Errorf("%q is no kind of link", kind)
	}
	return fdbased.New(&options)
}
