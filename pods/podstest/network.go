package podstest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"podgate/internal/packagetest"
	"podgate/pods"
	"podgate/pods/egress"
	"podgate/pods/wire"
	"podgate/store"
)

// world is an internet that is one server of the test. It has a few names, of which one
// leads to a private address. Nothing leaves this machine.
type world struct {
	net.Resolver
	server string
}

func newWorld(t *testing.T) egress.Config {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "hello from %s", r.Host)
	}))
	t.Cleanup(srv.Close)
	w := &world{server: srv.Listener.Addr().String()}
	return egress.Config{Resolver: w, Dial: w.dial, Own: func() ([]netip.Prefix, error) { return nil, nil }}
}

func (w *world) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	switch strings.TrimSuffix(host, ".") {
	case "api.example.com", "other.example.com":
		return []netip.Addr{netip.MustParseAddr("93.184.216.34")}, nil
	case "inner.example.com":
		return []netip.Addr{netip.MustParseAddr("10.0.0.7")}, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

func (w *world) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if !strings.HasPrefix(address, "93.184.216.34:") && !strings.HasPrefix(address, "8.8.8.8:") {
		return nil, errors.New("nobody is there")
	}
	return new(net.Dialer).DialContext(ctx, network, w.server)
}

// fetch is a command that fetches a page and prints it, or why it cannot.
const fetch = `perl -MIO::Socket::INET -e '$s = IO::Socket::INET->new(PeerAddr => $ARGV[0], Timeout => 15) or die "no: $@ $!\n"; print $s "GET / HTTP/1.0\r\nHost: $ARGV[0]\r\n\r\n"; $s->flush; local $/; print <$s>;' `

// testNetwork looks at the way out as an app sees it, and at what is told of it.
func testNetwork(t *testing.T, s Subject) {
	b := newBench(t, s.Open(t), func(c *pods.Config) {
		c.Egress = newWorld(t)
		c.Regions[0].Network = egress.Policy{Layers: []egress.Layer{{Who: egress.WhoRegion, Mode: egress.ModeInternet}}}
	})
	b.create("shop", "static", nil)
	pod := func() pods.Pod {
		t.Helper()
		p, err := b.Get(t.Context(), b.actor, "shop")
		must(t, "look", err)
		return p
	}
	if s.NoNetwork {
		if p := pod(); p.Network != string(egress.ModeNone) || len(p.Refused) != 1 || !strings.Contains(p.Refused[0], "no network on this server") {
			t.Errorf("a pod without a way out says %q, %q", p.Network, p.Refused)
		}
		return
	}
	packagetest.Need(t, "perl")
	reaches := func(to string) {
		t.Helper()
		if got := b.prints("shop", fetch+to); !strings.HasSuffix(got, "hello from "+to) {
			t.Errorf("%s: %q", to, got)
		}
	}
	refused := func(to, want string) {
		t.Helper()
		out := b.run("shop", fetch+to)
		if words := string(out.Stderr); out.Code == 0 || !strings.Contains(words, want) || strings.Contains(words, "timed out") {
			t.Errorf("%s: %q, want %q", to, words, want)
		}
	}
	set := func(mode egress.Mode, names ...string) {
		t.Helper()
		must(t, "set the network", b.SetNetwork(b.actor, "shop", store.Network{Mode: string(mode), Names: names}))
		if p := pod(); p.Network != string(mode) {
			t.Errorf("the pod says %q and has %q", p.Network, mode)
		}
	}
	const noName, noWay = "Bad hostname", "Connection refused"

	reaches("api.example.com:80")
	reaches("8.8.8.8:443")
	refused("absent.example.com:80", noName)
	for _, to := range []string{"inner.example.com:80", "10.0.0.7:80", "169.254.169.254:80", "8.8.8.8:25"} {
		refused(to, noWay)
	}
	set(egress.ModeNames, "api.example.com")
	reaches("api.example.com:80")
	refused("other.example.com:80", noName)
	refused("8.8.8.8:443", noWay)
	set(egress.ModeNone)
	refused("api.example.com:80", noName)
	refused("8.8.8.8:443", noWay)

	lines, err := b.Logs(t.Context(), b.actor, "shop", pods.LogQuery{Source: "network"})
	must(t, "logs", err)
	for _, want := range []string{"inner.example.com port 80", "10.0.0.7 port 80", "169.254.169.254 port 80", "8.8.8.8 port 25", "other.example.com: the pod", "api.example.com: the pod"} {
		if !slices.ContainsFunc(lines, func(l wire.LogLine) bool { return strings.Contains(l.Text, "the pod may not reach "+want) }) {
			t.Errorf("of %s says nothing in %+v", want, lines)
		}
	}
	if p := pod(); len(p.Refused) == 0 {
		t.Error("the pod says nothing of what was refused")
	}
	entry := func(target string, port uint16) (found egress.Entry) {
		t.Helper()
		n, err := b.Network(b.actor, "shop")
		must(t, "the ledger", err)
		for _, e := range n.Ledger {
			if e.Target == target && e.Port == port && e.Network == "tcp" {
				found = e
			}
		}
		return found
	}
	b.until("the ledger has all of it", func() bool {
		e := entry("api.example.com", 80)
		return e.Connections == 2 && e.Open == 0 && e.Sent > 0 && e.Received > e.Sent && !e.First.IsZero() && !e.Last.Before(e.First)
	})
	if e := entry("inner.example.com", 80); e.Refused == 0 || e.Connections != 0 || e.Reason == "" {
		t.Errorf("the ledger has of what was refused %+v", e)
	}
}
