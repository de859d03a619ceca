package egress

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func rules(t *testing.T, all ...string) (parsed []Rule) {
	t.Helper()
	for _, s := range all {
		r, err := ParseRule(s)
		if err != nil {
			t.Fatal(err)
		}
		parsed = append(parsed, r)
	}
	return parsed
}

func TestParseRule(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"api.example.com": "", "API.Example.com.": "api.example.com", "*.example.net": "", "api.example.com:443": "",
		"_dmarc.example.com": "", "192.168.1.10": "", "192.168.1.10:5432": "", "10.1.0.0/16": "", "10.1.2.3/16": "10.1.0.0/16", "10.1.0.0/16:80": "",
		"2001:db8::1": "", "[2001:db8::1]:443": "", "2001:db8::/32": "", "[2001:db8::/32]:1": "", "[2001:db8::1]": "2001:db8::1", "::ffff:10.0.0.1": "10.0.0.1",
		"localhost": "",
	} {
		if want == "" {
			want = in
		}
		r, err := ParseRule(in)
		if err != nil || r.String() != want {
			t.Errorf("%q: %q, %v, want %q", in, r, err, want)
		}
		if again, err := ParseRule(r.String()); err != nil || again != r {
			t.Errorf("%q is not read back from %q: %v", in, r, err)
		}
	}
	for _, in := range []string{
		"", ".", "*", "*.com", "*.", "a..b", "a.example.com:", "a.example.com:0", "a.example.com:65536", "a.example.com:http", "a b", "a\x00.example.com", "ä.example.com",
		"127.1", "0x7f.1", "1.2.3.256", "1.2.3.4/33", "a/8", "[::1", "[::1]x", "[::1]:0", "fe80::1%eth0", "a.*.example.com", "https://example.com", "user@example.com",
		strings.Repeat("a", 64) + ".example.com", strings.Repeat("a.", 130) + "com",
	} {
		if r, err := ParseRule(in); err == nil || !strings.Contains(err.Error(), "write a name such as") {
			t.Errorf("%q is %v, %v", in, r, err)
		}
	}
}

func FuzzParseRule(f *testing.F) {
	for _, s := range []string{"a.example.com:1", "*.example.com", "[::1]:1", "10.0.0.0/8:1", "[::/0]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseRule(s)
		if err != nil {
			return
		}
		if again, err := ParseRule(r.String()); err != nil || again != r {
			t.Errorf("%q gives %q, which gives %v, %v", s, r, again, err)
		}
	})
}

// Each layer may only take away, whatever the order.
func TestLayers(t *testing.T) {
	t.Parallel()
	internet := Layer{Who: WhoRegion, Mode: ModeInternet}
	names := func(who string, all ...string) Layer {
		return Layer{Who: who, Mode: ModeNames, Names: rules(t, all...)}
	}
	for _, c := range []struct {
		layers []Layer
		target target
		want   string // in the refusal; empty: allowed
	}{
		{nil, target{name: "a.example.com", port: 443}, ""},
		{[]Layer{internet, {Who: WhoTeam}, {Who: WhoPod}}, target{name: "a.example.com", port: 443}, ""},
		{[]Layer{internet, {Who: WhoTeam, Mode: ModeNone}}, target{name: "a.example.com", port: 443}, "the team allows no network; a team owner"},
		{[]Layer{{Who: WhoRegion, Mode: ModeNone}, {Who: WhoTeam, Mode: ModeInternet}}, target{name: "a.example.com", port: 443}, "the region allows no network; the administrator"},
		{[]Layer{internet, names(WhoTeam, "a.example.com")}, target{name: "a.example.com", port: 443}, ""},
		{[]Layer{internet, names(WhoTeam, "a.example.com")}, target{name: "b.example.com", port: 443}, "the team allows only names on its list; a team owner"},
		{[]Layer{names(WhoRegion, "*.example.com"), names(WhoTeam, "a.example.com", "a.example.net")}, target{name: "a.example.net", port: 443}, "the region allows only"},
		{[]Layer{names(WhoRegion, "*.example.com"), names(WhoTeam, "a.example.com", "a.example.net")}, target{name: "a.example.com", port: 443}, ""},
		{[]Layer{names(WhoPod)}, target{name: "a.example.com", port: 443}, "the pod's own setting allows no names"},
		{[]Layer{names(WhoTeam, "a.example.com:443")}, target{name: "a.example.com", port: 80}, "only names on its list"},
		{[]Layer{names(WhoTeam, "a.example.com:443")}, target{name: "a.example.com"}, ""}, // to ask for the name
		{[]Layer{names(WhoTeam, "*.example.com")}, target{name: "example.com", port: 1}, "only names on its list"},
		{[]Layer{names(WhoTeam, "*.example.com")}, target{name: "badexample.com", port: 1}, "only names on its list"},
		{[]Layer{names(WhoTeam, "*.example.com")}, target{name: "a.b.example.com", port: 1}, ""},
		{[]Layer{names(WhoTeam, "8.8.8.0/24:53")}, target{addr: netip.MustParseAddr("8.8.8.8"), port: 53}, ""},
		{[]Layer{names(WhoTeam, "8.8.8.0/24:53")}, target{addr: netip.MustParseAddr("8.8.4.4"), port: 53}, "only names on its list"},
		{[]Layer{{Who: WhoTeam, Mode: "later"}}, target{name: "a.example.com", port: 1}, "allows no network"}, // what is not understood is closed
		{nil, target{name: "mail.example.com", port: 25}, "sending mail"},
		{nil, target{addr: netip.MustParseAddr("8.8.8.8"), port: 465}, "sending mail"},
		{nil, target{name: "mail.example.com", port: 587}, "sending mail"},
	} {
		p := Policy{Layers: c.layers}
		for range 2 {
			err := p.allows(c.target)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%+v to %v: %v, want %q", p.Layers, c.target, err, c.want)
			}
			p.Layers = slices.Clone(p.Layers)
			slices.Reverse(p.Layers)
			if len(c.layers) > 2 || strings.Contains(c.want, "only names") {
				break // the words are those of the first that refuses
			}
		}
	}
	if err := (&Policy{Mail: true}).allows(target{name: "mail.example.com", port: 25}); err != nil {
		t.Error(err)
	}
}

// What is dialled is judged last, by address.
func TestReaches(t *testing.T) {
	t.Parallel()
	own := []netip.Prefix{netip.MustParsePrefix("9.9.9.7/24"), netip.MustParsePrefix("2a00:1::5/64")}
	p := Policy{Local: rules(t, "192.168.1.10:5432", "10.5.0.0/16", "[fd00::7]:6379", "9.9.9.8:80")}
	for _, ok := range []struct {
		addr string
		port uint16
	}{
		{"8.8.8.8", 443}, {"2606:4700::1", 443}, {"192.168.1.10", 5432}, {"::ffff:192.168.1.10", 5432}, {"10.5.6.7", 1}, {"fd00::7", 6379}, {"9.9.9.8", 80}, {"9.9.10.1", 80}, {"203.0.113.80", 443}, {"2001:db8::1", 443},
	} {
		if err := p.reaches(target{port: ok.port}, netip.MustParseAddr(ok.addr), own); err != nil {
			t.Errorf("%v: %v", ok, err)
		}
	}
	for _, bad := range []struct {
		addr string
		port uint16
	}{
		{"192.168.1.10", 5433}, {"192.168.1.11", 5432}, {"::ffff:192.168.1.11", 5432}, {"10.4.0.1", 1}, {"127.0.0.1", 80}, {"::1", 80}, {"0.0.0.0", 80}, {"::", 80}, {"169.254.169.254", 80},
		{"100.64.0.1", 80}, {"fe80::1", 80}, {"fe80::1%eth0", 80}, {"fd00::7%eth0", 6379}, {"fd00::8", 6379}, {"224.0.0.1", 80}, {"ff02::1", 80}, {"64:ff9b::a00:1", 80}, {"2002:a00:1::1", 80},
		{"2001::1", 80}, {"198.18.0.9", 80}, {"255.255.255.255", 80}, {"9.9.9.7", 443}, {"9.9.9.200", 443}, {"9.9.9.8", 81}, {"::ffff:9.9.9.7", 443}, {"2a00:1::9", 443},
	} {
		if err := p.reaches(target{port: bad.port}, netip.MustParseAddr(bad.addr), own); err == nil || !strings.Contains(err.Error(), "allow_local") {
			t.Errorf("%v is reached: %v", bad, err)
		}
	}
}

func TestModeOfAPolicy(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		layers   []Layer
		want     Mode
		forwards bool
	}{
		{nil, ModeInternet, true},
		{[]Layer{{Mode: ModeInternet}, {}}, ModeInternet, true},
		{[]Layer{{Mode: ModeInternet}, {Mode: ModeNames}}, ModeNames, false},
		{[]Layer{{Mode: ModeNone}, {Mode: ModeNames}}, ModeNone, false},
	} {
		p := Policy{Layers: c.layers}
		if p.Mode() != c.want || p.forwards() != c.forwards {
			t.Errorf("%+v: %s, %v", c.layers, p.Mode(), p.forwards())
		}
	}
}

// What opens ports for mail says which, for one name or one address, and reads back.
func TestParseLocal(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"192.168.1.10:5432": "", "10.1.0.0/16": "", "smtp.example.com:587": "", "smtp.example.com:25": "", "smtp.example.com:465": "",
		"smtp.example.com": "a name opens a port for mail", "smtp.example.com:443": "a name opens a port for mail", "*.example.com:587": "each name with its port",
		"smtp.example.com:x": "write a name such as", "": "write a name such as",
	} {
		r, err := ParseLocal(in)
		if want == "" && (err != nil || r.String() != in) || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, %v, want %q", in, r, err, want)
		}
	}
}

// A port for mail is open for the name that was asked for, or for the address that is
// dialled, and for nothing else of either.
func TestMailPorts(t *testing.T) {
	t.Parallel()
	const closed = "the ports for sending mail are closed"
	for _, c := range []struct {
		local []string
		host  string // a name of world, or an address
		port  uint16
		want  string // in the refusal; empty: allowed
	}{
		{nil, "api.example.com", 587, `with allow_local = ["api.example.com:587"]`},
		{nil, "93.184.216.34", 25, `with allow_local = ["93.184.216.34:25"]`},
		{nil, "2606:2800:220::1", 25, `with allow_local = ["[2606:2800:220::1]:25"]`},
		{[]string{"api.example.com:587"}, "api.example.com", 587, ""},
		{[]string{"api.example.com:587"}, "api.example.com", 25, closed},
		{[]string{"api.example.com:587"}, "two.example.com", 587, closed},                             // leads to the same address
		{[]string{"api.example.com:587"}, "93.184.216.34", 587, closed},                               // is that address
		{[]string{"inner.example.com:25"}, "inner.example.com", 25, "10.0.0.7 is not public"},         // the name alone opens nothing private
		{[]string{"meta.example.com:25", "10.0.0.0/8:25"}, "meta.example.com", 25, "169.254.169.254"}, // nor beside something else
		{[]string{"10.0.0.7:25"}, "inner.example.com", 25, ""},                                        // the address is enough
		{[]string{"10.0.0.7:25"}, "10.0.0.7", 25, ""},                                                 //
		{[]string{"10.0.0.7:25"}, "inner.example.com", 465, closed},                                   //
		{[]string{"10.0.0.7"}, "inner.example.com", 465, ""},                                          // all its ports
		{[]string{"10.0.0.7:25"}, "api.example.com", 25, closed},                                      // leads elsewhere
		{[]string{"10.0.0.7:25"}, "mixed.example.com", 25, ""},                                        // and is dialled at 10.0.0.7
		{[]string{"93.184.216.34:25"}, "two.example.com", 25, ""},                                     // but not at its other addresses
		{[]string{"93.184.216.34:25"}, "six.example.com", 25, closed},                                 //
	} {
		p := internet
		for _, s := range c.local {
			r, err := ParseLocal(s)
			if err != nil {
				t.Fatal(err)
			}
			p.Local = append(p.Local, r)
		}
		o := world()
		g := testGate(o, p)
		to, err := netip.ParseAddr(c.host)
		if err != nil {
			to = g.Ask(t.Context(), c.host, KindA).Addr
		}
		conn, _, err := g.Dial(t.Context(), "tcp", netip.AddrPortFrom(to, c.port))
		if err == nil {
			conn.Close()
		}
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v to %s port %d: %v, want %q", c.local, c.host, c.port, err, c.want)
		}
		_, dialed := o.took()
		if len(dialed) > 1 || err != nil && len(dialed) > 0 {
			t.Errorf("%v to %s port %d: dialled %v", c.local, c.host, c.port, dialed)
		}
	}
}
