package egress

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// What a pod's code tries to get out by, at the gate. Nothing here reaches a
// network: the resolver and the dialer are the test's, and what may not be dialled
// would be seen there.
func TestAttacksAtTheGate(t *testing.T) {
	t.Parallel()
	for name, attack := range map[string]func(*testing.T){
		"names that are read differently elsewhere":      attackOddNames,
		"localhost under every name":                     attackLocalhost,
		"every form of an address that is not public":    attackAddressForms,
		"raw addresses where only names are allowed":     attackRawAddresses,
		"a resolver of the pod's choice":                 attackOtherResolvers,
		"a resolver that changes its mind":               attackRebinding,
		"a private address behind a public one":          attackSecondAddress,
		"an address that is remembered":                  attackOldAddress,
		"data in the names below a wildcard":             attackWildcard,
		"every port":                                     attackEveryPort,
		"more names than there are addresses for":        attackFakeRange,
		"another name's server by the Host in a request": attackHost,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			attack(t)
		})
	}
}

func attackOddNames(t *testing.T) {
	o := world()
	g := testGate(o, Policy{Layers: []Layer{{Who: WhoTeam, Mode: ModeNames, Names: rules(t, "api.example.com", "*.example.org")}}})
	for _, name := range []string{
		"a\x00b.example.org", "a b.example.org", "a/b.example.org", "a@b.example.org", "ä.example.org", "a\\.b.example.org", "a..example.org", ".example.org", "a\n.example.org",
		"api.example.com\x00.attacker.example", "attacker.example\x00.api.example.com", "\x00api.example.com", "api.example.com..", ".api.example.com", "api.example.com.attacker.example",
		"api.example.com ", "api.example.com/", "api.example.com:443", "api.example.com#", "api%2eexample.com", "аpi.example.com", "api。example。com", "xapi.example.com", "example.com",
		strings.Repeat("a.", 127) + "api.example.com", strings.Repeat("a", 64) + ".api.example.com", `api\.example.com`, "api.example.com\n", "*.example.com", "[api.example.com]",
	} {
		if a := g.Ask(t.Context(), name, KindA); a.Addr.IsValid() {
			t.Errorf("%q is answered: %+v", name, a)
		}
	}
	if asked, _ := o.took(); len(asked) != 0 {
		t.Errorf("asked %q", asked)
	}
	for _, name := range []string{"API.example.COM", "api.example.com.", "aPi.ExAmPlE.cOm."} {
		if a := g.Ask(t.Context(), name, KindA); !a.Addr.IsValid() {
			t.Errorf("%q is the same name: %+v", name, a)
		}
	}
}

// reachedBy asks for each name and connects to what it leads to.
func reachedBy(t *testing.T, g *Gate, name string) error {
	t.Helper()
	a := g.Ask(t.Context(), name, KindA)
	if !a.Addr.IsValid() {
		return fmt.Errorf("%s: no address, code %d", name, a.Code)
	}
	conn, id, err := g.Dial(t.Context(), "tcp", netip.AddrPortFrom(a.Addr, 80))
	if err == nil {
		conn.Close()
		g.Closed(id)
	}
	return err
}

func nothingDialled(t *testing.T, o *outside) {
	t.Helper()
	if _, dialed := o.took(); len(dialed) != 0 {
		t.Errorf("dialled %v", dialed)
	}
}

func attackLocalhost(t *testing.T) {
	o := world()
	for _, name := range []string{"localhost", "app.localhost", "127.0.0.1", "127.1", "0x7f.1", "0177.0.0.1", "2130706433"} {
		o.names[name] = []string{"93.184.216.34"} // even if a resolver says so
	}
	loopback := []string{"127.0.0.1.nip.example.com", "localtest.example.com", "www.example.com", "a-127-0-0-1.example.com", "six.example.net"}
	for i, name := range loopback {
		o.names[name] = [][]string{{"127.0.0.1"}, {"127.9.9.9"}, {"0.0.0.0"}, {"::ffff:127.0.0.1"}, {"::1"}}[i]
	}
	g := testGate(o, internet)
	for _, name := range append(loopback, "localhost", "LOCALHOST.", "app.localhost", "127.0.0.1", "127.1", "0x7f.1", "0177.0.0.1", "2130706433") {
		if err := reachedBy(t, g, name); err == nil {
			t.Errorf("%s is reached", name)
		}
	}
	nothingDialled(t, o)
}

func attackAddressForms(t *testing.T) {
	o := world()
	g := testGate(o, internet)
	for i, form := range []string{
		"169.254.169.254", "::ffff:169.254.169.254", "::169.254.169.254", "64:ff9b::a9fe:a9fe", "64:ff9b:1::a9fe:a9fe", "2002:a9fe:a9fe::1", "2001:0:a9fe:a9fe::1", "fd00:ec2::254", "100.100.100.200",
		"10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.0.1", "100.64.0.1", "fe80::1", "fe80::1%eth0", "ff02::1", "224.0.0.251", "255.255.255.255", "240.0.0.1", "0.0.0.0", "::", "198.18.0.1", "198.19.255.254", "9.9.9.7", "::ffff:9.9.9.200",
	} {
		name := fmt.Sprintf("n%d.example.com", i)
		o.mu.Lock()
		o.names[name] = []string{form}
		o.mu.Unlock()
		if _, ok := errors.AsType[*Refusal](reachedBy(t, g, name)); !ok {
			t.Errorf("a name that leads to %s is not refused", form)
		}
		to := netip.AddrPortFrom(netip.MustParseAddr(form), 80)
		if err := g.Check("udp", to); err == nil {
			t.Errorf("datagrams to %s are let through", form)
		}
		if _, _, err := g.Dial(t.Context(), "tcp", to); err == nil {
			t.Errorf("%s is reached", form)
		}
	}
	nothingDialled(t, o)
}

func attackRawAddresses(t *testing.T) {
	o := world()
	g := testGate(o, Policy{Layers: []Layer{{Who: WhoTeam, Mode: ModeNames, Names: rules(t, "*.example.com")}}})
	for _, raw := range []string{"93.184.216.34:443", "8.8.8.8:443", "[2606:2800:220::1]:443"} {
		if _, _, err := g.Dial(t.Context(), "tcp", netip.MustParseAddrPort(raw)); err == nil {
			t.Errorf("%s is reached", raw)
		}
	}
	nothingDialled(t, o)
}

func attackOtherResolvers(t *testing.T) {
	o := world()
	g := testGate(o, Policy{Layers: []Layer{{Who: WhoTeam, Mode: ModeNames, Names: rules(t, "*.example.com")}}})
	for _, raw := range []string{"8.8.8.8:53", "1.1.1.1:853", "9.9.9.9:443"} {
		if g.Check("udp", netip.MustParseAddrPort(raw)) == nil {
			t.Errorf("%s can be asked", raw)
		}
	}
	for _, name := range []string{"dns.google", "cloudflare-dns.com"} {
		if err := reachedBy(t, g, name); err == nil {
			t.Errorf("%s can be asked", name)
		}
	}
	nothingDialled(t, o)
}

func attackRebinding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := world()
		g := testGate(o, internet)
		for _, then := range []string{"127.0.0.1", "169.254.169.254", "::1", "9.9.9.7"} {
			o.names["api.example.com"] = []string{"93.184.216.34"}
			a := g.Ask(t.Context(), "api.example.com", KindA)
			o.names["api.example.com"] = []string{then}
			time.Sleep(fresh)
			if _, _, err := g.Dial(t.Context(), "tcp", netip.AddrPortFrom(a.Addr, 80)); err == nil {
				t.Errorf("%s is reached", then)
			}
			time.Sleep(fresh)
		}
		nothingDialled(t, o)
	})
}

func attackSecondAddress(t *testing.T) {
	o := world()
	o.names["api.example.com"] = []string{"93.184.216.34", "10.0.0.7", "127.0.0.1", "::1"}
	o.refuse = map[string]error{"93.184.216.34:80": errors.New("connection refused")}
	if err := reachedBy(t, testGate(o, internet), "api.example.com"); err == nil {
		t.Error("it is reached")
	}
	if _, dialed := o.took(); !slices.Equal(dialed, []string{"tcp 93.184.216.34:80"}) {
		t.Errorf("dialled %v", dialed)
	}
}

// Addresses of names are a pod's own: those of another pod, and guessed ones,
// lead nowhere.
func attackOldAddress(t *testing.T) {
	o := world()
	theirs := testGate(o, internet).Ask(t.Context(), "api.example.com", KindA).Addr
	g := testGate(o, internet)
	for a := firstName; a != firstName.Next().Next(); a = a.Next() {
		if _, _, err := g.Dial(t.Context(), "tcp", netip.AddrPortFrom(a, 80)); err == nil {
			t.Errorf("%v of another pod (%v) is reached", a, theirs)
		}
	}
	nothingDialled(t, o)
}

// Who answers for a wildcard learns the names below it. So many can be made up
// at once and then ten a minute, of at most 253 characters; what is listed by
// name, or was asked before, goes on.
func attackWildcard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &outside{}
		g := testGate(o, Policy{Layers: []Layer{{Who: WhoTeam, Mode: ModeNames, Names: rules(t, "*.example.net", "listed.example.net")}}})
		for i := range 10_000 {
			g.Ask(t.Context(), fmt.Sprintf("%x.example.net", i), []Kind{KindA, KindAAAA}[i%2])
		}
		if asked, _ := o.took(); len(asked) != anyBurst {
			t.Errorf("%d names went out", len(asked))
		}
		if lines := g.Refusals(); len(lines) == 0 || !strings.Contains(lines[len(lines)-1].Text, "list those that it needs") {
			t.Errorf("%+v", lines)
		}
		time.Sleep(time.Minute)
		for i := range 10_000 {
			g.Ask(t.Context(), fmt.Sprintf("%x.later.example.net", i), KindA)
		}
		if asked, _ := o.took(); len(asked) != int(time.Minute/anyEach) {
			t.Errorf("%d names went out in the next minute", len(asked))
		}
		time.Sleep(time.Second)
		g.Ask(t.Context(), "listed.example.net", KindA)
		g.Ask(t.Context(), "0.example.net", KindA)
		if asked, _ := o.took(); !slices.Equal(asked, []string{"listed.example.net.", "0.example.net."}) {
			t.Errorf("asked %q", asked)
		}
	})
}

func attackEveryPort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := world()
		g := testGate(o, internet)
		to := netip.MustParseAddr("8.8.8.8")
		for port := range 1 << 16 {
			_ = g.Check("udp", netip.AddrPortFrom(to, uint16(port))) // its answer is the ledger's
			if conn, _, err := g.Dial(t.Context(), "tcp", netip.AddrPortFrom(to, uint16(port))); err == nil {
				conn.Close()
			}
			if port%newPerSec == 0 {
				time.Sleep(time.Second)
			}
		}
		_, dialed := o.took()
		if len(dialed) > MaxOpen || len(g.Ledger()) > maxEntries || len(g.Refusals()) > maxLines {
			t.Errorf("%d were dialled, the ledger has %d, the log %d", len(dialed), len(g.Ledger()), len(g.Refusals()))
		}
		for _, port := range []string{":25", ":465", ":587"} {
			if slices.Contains(dialed, "tcp 8.8.8.8"+port) {
				t.Errorf("%s was dialled", port)
			}
		}
	})
}

func attackFakeRange(t *testing.T) {
	n := newNames()
	now := time.Now()
	kept := n.give("kept.example.com", now)
	n.use("kept.example.com", 1)
	for i := range 1<<17 + 1000 { // more than 198.18.0.0/15 has
		a := n.give(fmt.Sprintf("n%d.example.com", i), now.Add(time.Duration(i)))
		if a == kept || !fakes.Contains(a) || a.Less(firstName) {
			t.Fatalf("the name %d has %v", i, a)
		}
	}
	if len(n.byName) > maxNames || n.of(kept, now) != "kept.example.com" {
		t.Errorf("%d names, %q", len(n.byName), n.of(kept, now))
	}
}

// The policy is about who is connected to, by the name that was asked for. A Host
// or SNI of another name gets to that same server.
func attackHost(t *testing.T) {
	o := world()
	g := testGate(o, Policy{Layers: []Layer{{Who: WhoTeam, Mode: ModeNames, Names: rules(t, "api.example.com")}}})
	a := g.Ask(t.Context(), "api.example.com", KindA)
	conn, _, err := g.Dial(t.Context(), "tcp", netip.AddrPortFrom(a.Addr, 80))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	heard := make(chan string, 1)
	go func() {
		b := make([]byte, 100)
		n, _ := o.conns[0].Read(b)
		heard <- string(b[:n])
	}()
	const request = "GET / HTTP/1.1\r\nHost: inner.example.com\r\n\r\n"
	if _, err := conn.Write([]byte(request)); err != nil || <-heard != request {
		t.Error(err)
	}
	if _, dialed := o.took(); !slices.Equal(dialed, []string{"tcp 93.184.216.34:80"}) {
		t.Errorf("dialled %v", dialed)
	}
}
