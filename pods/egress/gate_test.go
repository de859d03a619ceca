package egress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// outside is a network that exists only here.
type outside struct {
	mu     sync.Mutex
	names  map[string][]string // addresses; nil: exists without
	asked  []string
	dialed []string
	refuse map[string]error // by address
	conns  []net.Conn       // the far ends
}

func (o *outside) LookupNetIP(_ context.Context, network, host string) ([]netip.Addr, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.asked = append(o.asked, host)
	all, ok := o.names[strings.TrimSuffix(host, ".")]
	if !ok || network != "ip" {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	var addrs []netip.Addr
	for _, a := range all {
		addrs = append(addrs, netip.MustParseAddr(a))
	}
	return addrs, nil
}

func (o *outside) note(name string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.asked = append(o.asked, name)
}

func (o *outside) LookupTXT(_ context.Context, name string) ([]string, error) {
	o.note("TXT " + name)
	return []string{"v=spf1 -all"}, nil
}

func (o *outside) LookupMX(_ context.Context, name string) ([]*net.MX, error) {
	o.note("MX " + name)
	return []*net.MX{{Host: "mx.example.com.", Pref: 10}}, nil
}

func (o *outside) LookupSRV(_ context.Context, service, proto, name string) (string, []*net.SRV, error) {
	o.note("SRV " + service + proto + name)
	return name, []*net.SRV{{Target: "s.example.com.", Port: 5, Priority: 1, Weight: 2}}, nil
}

func (o *outside) dial(_ context.Context, network, address string) (net.Conn, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.dialed = append(o.dialed, network+" "+address)
	if err := o.refuse[address]; err != nil {
		return nil, err
	}
	near, far := net.Pipe()
	o.conns = append(o.conns, far)
	return near, nil
}

func (o *outside) took() (asked, dialed []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	asked, dialed = o.asked, o.dialed
	o.asked, o.dialed = nil, nil
	return asked, dialed
}

func testGate(o *outside, p Policy) *Gate {
	return NewGate(Config{Resolver: o, Dial: o.dial, Own: func() ([]netip.Prefix, error) { return []netip.Prefix{netip.MustParsePrefix("9.9.9.7/24")}, nil }}, p)
}

var internet = Policy{Layers: []Layer{{Who: WhoRegion, Mode: ModeInternet}}}

func world() *outside {
	return &outside{names: map[string][]string{
		"api.example.com": {"93.184.216.34"}, "two.example.com": {"2606:2800:220::1", "93.184.216.34", "93.184.216.35"}, "six.example.com": {"2606:2800:220::1"},
		"inner.example.com": {"10.0.0.7"}, "mixed.example.com": {"10.0.0.7", "93.184.216.34"}, "meta.example.com": {"169.254.169.254"}, "self.example.com": {"9.9.9.7"},
		"mapped.example.com": {"::ffff:127.0.0.1"}, "127.0.0.1.nip.example.com": {"127.0.0.1"}, "empty.example.com": nil,
	}}
}

// A name gets an address, and the address leads to the name and nowhere else.
func TestNameToConnection(t *testing.T) {
	t.Parallel()
	o := world()
	g := testGate(o, internet)
	for name, want := range map[string]string{
		"api.example.com": "tcp 93.184.216.34:443", "API.Example.COM.": "tcp 93.184.216.34:443", "two.example.com": "tcp 93.184.216.34:443", "six.example.com": "tcp [2606:2800:220::1]:443", "mixed.example.com": "tcp 93.184.216.34:443",
	} {
		a := g.Ask(t.Context(), name, KindA)
		if a.Code != CodeOK || !fakes.Contains(a.Addr) {
			t.Fatalf("%s: %+v", name, a)
		}
		if again := g.Ask(t.Context(), name, KindA); again.Addr != a.Addr {
			t.Errorf("%s had %v and now %v", name, a.Addr, again.Addr)
		}
		if six := g.Ask(t.Context(), name, KindAAAA); six.Code != CodeOK || six.Addr.IsValid() {
			t.Errorf("%s has an address of IPv6: %+v", name, six)
		}
		o.took()
		conn, id, err := g.Dial(t.Context(), "tcp", netip.AddrPortFrom(a.Addr, 443))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		conn.Close()
		if _, dialed := o.took(); !slices.Equal(dialed, []string{want}) {
			t.Errorf("%s: dialled %v, want %s", name, dialed, want)
		}
		g.Moved(id, 3, 4)
		g.Closed(id)
		g.Closed(id)
		g.Moved(id, 3, 4) // it is over
		reverse := slices.Clone(strings.Split(a.Addr.String(), "."))
		slices.Reverse(reverse)
		if got := g.Ask(t.Context(), strings.Join(reverse, ".")+".in-addr.arpa", KindPTR); got.Host != strings.ToLower(strings.TrimSuffix(name, ".")) {
			t.Errorf("%s backwards is %+v", name, got)
		}
	}
	for _, e := range g.Ledger() {
		if e.Open != 0 || e.Sent != int64(3*e.Connections) || e.Received != int64(4*e.Connections) || e.Connections == 0 || e.Refused != 0 || e.Port != 443 {
			t.Errorf("%+v", e)
		}
	}
}

// What may not be reached is not dialled, and the pod's people read why.
func TestRefusals(t *testing.T) {
	t.Parallel()
	o := world()
	g := testGate(o, internet)
	for name, want := range map[string]string{
		"inner.example.com": "private network", "meta.example.com": "link-local", "self.example.com": "belongs to this server", "mapped.example.com": "this machine", "127.0.0.1.nip.example.com": "this machine",
	} {
		a := g.Ask(t.Context(), name, KindA)
		_, _, err := g.Dial(t.Context(), "tcp", netip.AddrPortFrom(a.Addr, 80))
		if r, ok := errors.AsType[*Refusal](err); !ok || !strings.Contains(r.Reason, want) || r.Target != name+" port 80" {
			t.Errorf("%s: %v", name, err)
		}
		if !slices.ContainsFunc(g.Refusals(), func(l Line) bool { return l.Text == err.Error() && l.Count == 1 }) {
			t.Errorf("nobody reads %v", err)
		}
	}
	for _, raw := range []string{"10.0.0.1:80", "127.0.0.1:80", "169.254.169.254:80", "9.9.9.7:22", "9.9.9.99:22", "198.18.77.7:80", "198.18.0.1:80", "0.0.0.0:80", "224.0.0.1:80", "8.8.8.8:25", "8.8.8.8:0", "[::1]:80", "[::ffff:10.0.0.1]:80"} {
		for _, network := range []string{"tcp", "udp"} {
			if err := g.Check(network, netip.MustParseAddrPort(raw)); err == nil {
				t.Errorf("%s %s may be reached", network, raw)
			}
			if _, _, err := g.Dial(t.Context(), network, netip.MustParseAddrPort(raw)); err == nil {
				t.Errorf("%s %s is reached", network, raw)
			}
		}
	}
	if _, dialed := o.took(); len(dialed) != 0 {
		t.Errorf("dialled %v", dialed)
	}
	if conn, _, err := g.Dial(t.Context(), "udp", netip.MustParseAddrPort("8.8.8.8:53")); err != nil {
		t.Error(err)
	} else {
		conn.Close()
	}
}

// Nothing is asked outside for what the policy does not allow, and nothing but
// addresses where it allows names only: a question carries what it asks for.
func TestQuestionsStayInside(t *testing.T) {
	t.Parallel()
	o := world()
	p := Policy{Layers: []Layer{{Who: WhoRegion, Mode: ModeInternet}, {Who: WhoTeam, Mode: ModeNames, Names: rules(t, "api.example.com:443")}}}
	g := testGate(o, p)
	for _, name := range []string{"secret.attacker.example", "b.api.example.com", "localhost", "x.localhost", "1.2.3.4", "0x7f.1", "a..b", "a\x00b.example.com", strings.Repeat("a", 64) + ".example.com", ""} {
		for _, kind := range []Kind{KindA, KindAAAA, KindTXT, KindMX, KindSRV, KindPTR, 65, 255, 0} {
			if a := g.Ask(t.Context(), name, kind); a.Code != CodeNotFound && a.Code != CodeFormat || a.Addr.IsValid() {
				t.Errorf("%q %d: %+v", name, kind, a)
			}
		}
	}
	for _, kind := range []Kind{KindTXT, KindMX, KindSRV, 65, 255} {
		if a := g.Ask(t.Context(), "api.example.com", kind); a.Code != CodeOK || a.Texts != nil || a.Mails != nil || a.Found != nil {
			t.Errorf("%d: %+v", kind, a)
		}
	}
	for _, name := range []string{"4.3.2.1.in-addr.arpa", "1.0.0.127.in-addr.arpa", "b.a.9.8.ip6.arpa", "in-addr.arpa", "x.18.198.in-addr.arpa"} {
		if a := g.Ask(t.Context(), name, KindPTR); a.Code != CodeNotFound {
			t.Errorf("%s: %+v", name, a)
		}
	}
	if asked, _ := o.took(); len(asked) != 0 {
		t.Errorf("asked %q", asked)
	}
	if a := g.Ask(t.Context(), "api.example.com", KindA); a.Code != CodeOK || !a.Addr.IsValid() {
		t.Errorf("%+v", a)
	}
	if asked, _ := o.took(); !slices.Equal(asked, []string{"api.example.com."}) {
		t.Errorf("asked %q", asked)
	}
	open := testGate(o, internet)
	for kind, ok := range map[Kind]func(Answer) bool{
		KindTXT: func(a Answer) bool { return slices.Equal(a.Texts, []string{"v=spf1 -all"}) },
		KindMX:  func(a Answer) bool { return slices.Equal(a.Mails, []Service{{Host: "mx.example.com.", Priority: 10}}) },
		KindSRV: func(a Answer) bool {
			return slices.Equal(a.Found, []Service{{Host: "s.example.com.", Port: 5, Priority: 1, Weight: 2}})
		},
	} {
		if a := open.Ask(t.Context(), "api.example.com", kind); !ok(a) {
			t.Errorf("%d: %+v", kind, a)
		}
	}
	if a := open.Ask(t.Context(), "absent.example.com", KindA); a.Code != CodeNotFound {
		t.Errorf("%+v", a)
	}
	if a := open.Ask(t.Context(), "empty.example.com", KindA); a.Code != CodeOK {
		t.Errorf("%+v", a)
	}
}

// A resolver that changes its mind after the question is judged again by what it
// says then.
func TestRebinding(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := world()
		g := testGate(o, internet)
		a := g.Ask(t.Context(), "api.example.com", KindA)
		o.names["api.example.com"] = []string{"127.0.0.1"}
		time.Sleep(fresh)
		if _, _, err := g.Dial(t.Context(), "tcp", netip.AddrPortFrom(a.Addr, 80)); err == nil || !strings.Contains(err.Error(), "this machine") {
			t.Errorf("%v", err)
		}
		if _, dialed := o.took(); len(dialed) != 0 {
			t.Errorf("dialled %v", dialed)
		}
	})
}

// One address that does not answer leaves the others.
func TestOtherAddresses(t *testing.T) {
	t.Parallel()
	o := world()
	o.refuse = map[string]error{"93.184.216.34:80": errors.New("connection refused")}
	g := testGate(o, internet)
	a := g.Ask(t.Context(), "two.example.com", KindA)
	conn, id, err := g.Dial(t.Context(), "tcp", netip.AddrPortFrom(a.Addr, 80))
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	g.Closed(id)
	if _, dialed := o.took(); !slices.Equal(dialed, []string{"tcp 93.184.216.34:80", "tcp 93.184.216.35:80"}) {
		t.Errorf("dialled %v", dialed)
	}
	b := g.Ask(t.Context(), "api.example.com", KindA)
	if _, _, err := g.Dial(t.Context(), "tcp", netip.AddrPortFrom(b.Addr, 80)); err == nil || err.Error() != "connection refused" {
		t.Errorf("%v", err)
	}
	i := slices.IndexFunc(g.Ledger(), func(e Entry) bool { return e.Target == "api.example.com" && e.Port == 80 })
	if e := g.Ledger()[i]; e.Failed != 1 || e.Refused != 0 || e.Reason != "connection refused" || len(g.Refusals()) != 0 {
		t.Errorf("%+v", e)
	}
}

// A policy counts for the next question and connection, and says which of the
// open ones it does not allow any more.
func TestPolicyChanges(t *testing.T) {
	t.Parallel()
	o := world()
	g := testGate(o, internet)
	a := g.Ask(t.Context(), "api.example.com", KindA)
	to := netip.AddrPortFrom(a.Addr, 443)
	conn, id, err := g.Dial(t.Context(), "tcp", to)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	changed := g.Changed()
	g.SetPolicy(Policy{Layers: []Layer{{Who: WhoTeam, Mode: ModeNames, Names: rules(t, "api.example.com")}}})
	select {
	case <-changed:
	default:
		t.Error("nobody is told")
	}
	if g.Stale() {
		t.Error("an allowed connection is stale")
	}
	g.SetPolicy(Policy{Layers: []Layer{{Who: WhoTeam, Mode: ModeNone}}})
	if _, _, err := g.Dial(t.Context(), "tcp", to); err == nil || !g.Stale() {
		t.Errorf("%v, stale %v", err, g.Stale())
	}
	if a := g.Ask(t.Context(), "api.example.com", KindA); a.Code != CodeNotFound {
		t.Errorf("%+v", a)
	}
	g.Closed(id)
	if g.Stale() {
		t.Error("a closed connection is stale")
	}
}

// A pod has so many connections, so many new ones a second and so many
// questions, and nobody else's share.
func TestCaps(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := world()
		g := testGate(o, internet)
		to := netip.MustParseAddrPort("8.8.8.8:443")
		var ids []ConnID
		for range MaxOpen {
			conn, id, err := g.Dial(t.Context(), "tcp", to)
			if err != nil {
				t.Fatal(err)
			}
			conn.Close()
			ids = append(ids, id)
		}
		if _, _, err := g.Dial(t.Context(), "tcp", to); err == nil || !strings.Contains(err.Error(), "connections open, which is all") {
			t.Errorf("%v", err)
		}
		g.Closed(ids[0])
		if _, _, err := g.Dial(t.Context(), "tcp", to); err == nil || !strings.Contains(err.Error(), "new connections a second") {
			t.Errorf("%v", err)
		}
		time.Sleep(time.Second)
		if conn, _, err := g.Dial(t.Context(), "tcp", to); err != nil {
			t.Error(err)
		} else {
			conn.Close()
		}
		g.CloseAll()
		if len(g.open) != 0 || g.pending != 0 {
			t.Errorf("%d open, %d pending", len(g.open), g.pending)
		}
		refused := 0
		for i := range askBurst + 20 {
			if a := g.Ask(t.Context(), fmt.Sprintf("n%d.example.com", i), KindA); a.Code == CodeRefused {
				refused++
			}
		}
		if refused != 20 {
			t.Errorf("%d questions were refused", refused)
		}
	})
}

// However many names and targets a pod makes up, memory is bounded, what is in
// use stays, and an address is not given to another name soon.
func TestFloods(t *testing.T) {
	t.Parallel()
	n := newNames()
	now := time.Now()
	kept := n.give("kept.example.com", now)
	n.use("kept.example.com", 1)
	seen := map[netip.Addr]string{}
	for i := range 20_000 {
		name := fmt.Sprintf("n%d.example.com", i)
		a := n.give(name, now.Add(time.Duration(i)))
		if other := seen[a]; other != "" || a == kept || !fakes.Contains(a) || a.Less(firstName) {
			t.Fatalf("%s has %v, which was %q", name, a, other)
		}
		seen[a] = name
	}
	if len(n.byName) > maxNames || len(n.byAddr) != len(n.byName) || n.of(kept, now) != "kept.example.com" {
		t.Errorf("%d names, %d addresses, kept %q", len(n.byName), len(n.byAddr), n.of(kept, now))
	}
	n.next = netip.MustParseAddr("198.19.255.0")
	for i := range 1000 { // once around
		if a := n.give(fmt.Sprintf("m%d.example.com", i), now.Add(time.Hour+time.Duration(i))); a == kept || !fakes.Contains(a) || a.Less(firstName) || a == netip.MustParseAddr("198.19.255.255") {
			t.Fatalf("%v", a)
		}
	}
	l := newLedger()
	l.open("tcp", target{name: "kept.example.com", port: 1}, now)
	for i := range 10 * maxEntries {
		l.refuse("tcp", target{name: fmt.Sprintf("n%d.example.com", i), port: 1}, &Refusal{Target: fmt.Sprint(i), Reason: "no"}, now.Add(time.Duration(i)*time.Second))
	}
	entries := l.entries()
	if len(entries) != maxEntries || entries[len(entries)-1].Target != "kept.example.com" || len(l.lines()) != maxLines {
		t.Errorf("%d entries, the last %+v, %d lines", len(entries), entries[len(entries)-1], len(l.lines()))
	}
	// What was carried counts once and also when its entry is forgotten.
	for i := range 2 * maxEntries {
		l.moved(l.open("tcp", target{name: fmt.Sprintf("m%d.example.com", i), port: 1}, now), 3, 4, now)
	}
	if sent, received := l.take(); sent != 6*maxEntries || received != 8*maxEntries || len(l.entries()) != maxEntries {
		t.Errorf("%d sent, %d received", sent, received)
	}
	if sent, received := l.take(); sent != 0 || received != 0 {
		t.Errorf("%d sent, %d received again", sent, received)
	}
}

func TestEveryNameInUse(t *testing.T) {
	t.Parallel()
	n := newNames()
	for i := range maxNames {
		name := fmt.Sprintf("n%d.example.com", i)
		n.give(name, time.Now())
		n.use(name, 1)
	}
	if a := n.give("more.example.com", time.Now()); a.IsValid() {
		t.Errorf("%v", a)
	}
	n.use("n7.example.com", -1)
	if a := n.give("more.example.com", time.Now()); !a.IsValid() {
		t.Error("none is free")
	}
}

func TestLinesRepeat(t *testing.T) {
	t.Parallel()
	l := newLedger()
	now := time.Now()
	say := func(text string, after time.Duration) {
		l.refuse("tcp", target{name: text, port: 1}, &Refusal{Target: text, Reason: "no"}, now.Add(after))
	}
	say("a", 0)
	say("b", time.Second)
	say("a", 2*time.Second)
	say("a", 2*time.Second+sameLine)
	got := l.lines()
	if len(got) != 3 || got[1].Count != 2 || !strings.Contains(got[1].Text, "reach a: no") || got[2].Count != 1 || got[0].Count != 1 {
		t.Errorf("%+v", got)
	}
}

func FuzzAsk(f *testing.F) {
	f.Add("api.example.com", uint16(1))
	f.Add("1.0.18.198.in-addr.arpa", uint16(12))
	f.Fuzz(func(t *testing.T, name string, kind uint16) {
		o := &outside{}
		g := testGate(o, Policy{Layers: []Layer{{Who: WhoTeam, Mode: ModeNames, Names: []Rule{{name: "*.example.com"}}}}})
		g.Ask(t.Context(), name, Kind(kind))
		for _, asked := range o.asked {
			if !strings.HasSuffix(asked, ".example.com.") {
				t.Errorf("%q asks %q", name, asked)
			}
		}
	})
}

// What the kernel keeps of a connection outside is bounded, and so is that of all together.
func TestBuffersOutside(t *testing.T) {
	t.Parallel()
	sum := 0
	for open := range MaxOpen {
		sum += outsideBuffer(open)
	}
	if all := 2 * 2 * sum; all > 60<<20 { // both directions, each of which counts twice
		t.Errorf("all connections of a pod may hold %d bytes", all)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	o := world()
	cfg := testGate(o, internet).cfg
	cfg.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, ln.Addr().String())
	}
	g := NewGate(cfg, internet)
	const open = 20
	for i := range open + 1 {
		conn, _, err := g.Dial(t.Context(), "tcp", netip.MustParseAddrPort("8.8.8.8:443"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if i != 0 && i != open {
			continue
		}
		raw, err := conn.(syscall.Conn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		err = raw.Control(func(fd uintptr) {
			for _, option := range []int{syscall.SO_RCVBUF, syscall.SO_SNDBUF} {
				if got, err := syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, option); err != nil || got > 2*outsideBuffer(i) {
					t.Errorf("connection %d may hold %d bytes, %v, want at most twice %d", i, got, err, outsideBuffer(i))
				}
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// A limit that is met is told in words of the gate's own, and under the name that the pod
// has asked for.
func TestLimitsAreTold(t *testing.T) {
	t.Parallel()
	g := testGate(world(), internet)
	g.Full("tcp", netip.MustParseAddrPort("8.8.8.8:443"), HalfOpen)
	g.Full("udp", netip.MustParseAddrPort("8.8.4.4:443"), Flows)
	g.Full("tcp", netip.MustParseAddrPort("8.8.8.8:443"), "whatever a pod would like to be read")
	g.Full("tcp", netip.AddrPort{}, HalfOpen)
	var said []string
	for _, l := range g.Refusals() {
		said = append(said, l.Text)
	}
	if all := strings.Join(said, "\n"); len(said) != 2 || !strings.Contains(all, "8.8.8.8 port 443") || !strings.Contains(all, "as many connections at the same time as it may") || !strings.Contains(all, "as many addresses") {
		t.Errorf("%s", all)
	}
}
