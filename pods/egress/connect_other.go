//go:build !linux

package egress

import (
	"context"
	"net"
)

// Connect connects to an address that was judged, "192.0.2.1:443", and gives up when ctx
// ends. network is "tcp" or "udp".
func Connect(ctx context.Context, network, address string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, network, address)
}
