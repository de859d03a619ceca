//go:build linux && (amd64 || arm64)

package sandbox

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"podgate/pods"
	"podgate/pods/egress"
	"podgate/store"
)

// elsewhere is an internet that is one process: every public address that is
// dialled is one server of this test, which says what it was called.
type elsewhere struct {
	tcp, udp string
}

func (elsewhere) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	switch host {
	case "api.example.com.", "other.example.com.":
		return []netip.Addr{netip.MustParseAddr("93.184.216.34")}, nil
	case "inner.example.com.":
		return []netip.Addr{netip.MustParseAddr("10.0.0.7")}, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

func (elsewhere) LookupTXT(context.Context, string) ([]string, error) { return []string{"text"}, nil }
func (elsewhere) LookupMX(context.Context, string) ([]*net.MX, error) { return nil, nil }
func (elsewhere) LookupSRV(context.Context, string, string, string) (string, []*net.SRV, error) {
	return "", nil, nil
}

func (e elsewhere) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if !strings.HasPrefix(address, "93.184.216.34:") && !strings.HasPrefix(address, "8.8.8.8:") {
		return nil, errors.New("nobody is there")
	}
	to := e.tcp
	if network == "udp" {
		to = e.udp
	}
	return (&net.Dialer{}).DialContext(ctx, network, to)
}

// newElsewhere answers each line with itself, over TCP and UDP.
func newElsewhere(t testing.TB) elsewhere {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	t.Cleanup(func() { l.Close(); p.Close(); all.Wait() })
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { defer c.Close(); _, _ = io.Copy(c, c) })
		}
	})
	all.Go(func() {
		b := make([]byte, 64<<10)
		for {
			n, from, err := p.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = p.WriteTo(b[:n], from)
		}
	})
	return elsewhere{l.Addr().String(), p.LocalAddr().String()}
}

var openToAll = egress.Policy{Layers: []egress.Layer{{Who: egress.WhoRegion, Mode: egress.ModeInternet}}}

func gateTo(e elsewhere, p egress.Policy) *egress.Gate {
	return egress.NewGate(egress.Config{Resolver: e, Dial: e.dial, Own: func() ([]netip.Prefix, error) { return nil, nil }}, p)
}

func startWith(t testing.TB, r *Runtime, id store.PodID, g *egress.Gate) {
	t.Helper()
	if err := r.Start(t.Context(), pods.Spec{ID: id, Name: strings.ToLower(string(id)), Limits: limits, Gate: g}, quiet); err != nil {
		t.Fatal(err)
	}
}

const perlTCP = `perl -MIO::Socket::INET -e '$s = IO::Socket::INET->new(PeerAddr => $ARGV[0], Timeout => 5) or die "no: $!\n"; print $s "hello\n"; $s->flush; print scalar <$s>;' `

func TestPodNetwork(t *testing.T) {
	t.Parallel()
	r := open(t, Config{})
	g := gateTo(newElsewhere(t), openToAll)
	startWith(t, r, "a", g)
	if got := command(t, r, "a", "cat /etc/resolv.conf; cat /proc/net/dev"); !strings.Contains(got.stdout, "198.18.0.1") || !strings.Contains(got.stdout, deviceName) {
		t.Fatalf("%+v", got)
	}
	for _, to := range []string{"api.example.com:443", "8.8.8.8:53"} {
		if got := command(t, r, "a", perlTCP+to); got.stdout != "hello\n" {
			t.Fatalf("%s: %+v", to, got)
		}
	}
	for to, want := range map[string]string{"inner.example.com:80": "refused", "10.0.0.7:80": "refused", "169.254.169.254:80": "refused", "8.8.8.8:25": "refused", "absent.example.com:80": "no:"} {
		if got := command(t, r, "a", perlTCP+to); got.code == 0 || !strings.Contains(got.stderr, want) {
			t.Errorf("%s: %+v", to, got)
		}
	}
	i := slices.IndexFunc(g.Ledger(), func(e egress.Entry) bool { return e.Target == "api.example.com" && e.Port == 443 })
	eventually(t, "the ledger knows", func() bool {
		e := g.Ledger()[i]
		return e.Connections == 1
	})
	if lines := g.Refusals(); !slices.ContainsFunc(lines, func(l egress.Line) bool { return strings.Contains(l.Text, "inner.example.com port 80") }) {
		t.Errorf("%+v", lines)
	}
}
