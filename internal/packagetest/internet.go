package packagetest

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"podgate/pods/egress"
)

// Internet is a world for pods in which there are the given hosts and nothing else. They
// answer HTTP on any port. Nothing leaves this machine.
func Internet(t testing.TB, hosts map[string]http.Handler) egress.Config {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h := hosts[r.Host]; h != nil {
			h.ServeHTTP(w, r)
			return
		}
		http.NotFound(w, r)
	}))
	t.Cleanup(srv.Close)
	return egress.Config{
		Resolver: &names{hosts: hosts},
		Own:      func() ([]netip.Prefix, error) { return nil, nil },
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, srv.Listener.Addr().String())
		},
	}
}

// names is a resolver of the hosts of an Internet.
type names struct {
	net.Resolver
	hosts map[string]http.Handler
}

// LookupNetIP gives each host the same public address, which nobody dials.
func (n *names) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	if n.hosts[strings.TrimSuffix(host, ".")] != nil {
		return []netip.Addr{netip.MustParseAddr("93.184.216.34")}, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}
