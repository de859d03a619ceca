package config

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
)

// fakeMachine is one at 203.0.113.7, whose resolver knows these names.
func fakeMachine(names map[string]string) *Machine {
	return &Machine{
		Lookup: func(_ context.Context, host string) ([]netip.Addr, error) {
			if address, ok := names[host]; ok {
				return []netip.Addr{netip.MustParseAddr(address)}, nil
			}
			return nil, errors.New("no such host")
		},
		Addresses: func() ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("203.0.113.7")}, nil
		},
		MayListen: func(int) bool { return true },
	}
}

var goodNames = map[string]string{"pods.example.com.": "203.0.113.7", "any-pod.pods.example.com.": "203.0.113.7"}

// The usual mistakes, each with what to do; and no word where there is none.
func TestAdvice(t *testing.T) {
	t.Parallel()
	const public = "public_url = \"https://pods.example.com\"\n"
	for name, c := range map[string]struct {
		text    string
		names   map[string]string
		no      bool     // this user may not listen below 1024
		want    []string // parts of the notes, in their order
		nothing bool
	}{
		"all is well":          {text: public, names: goodNames, nothing: true},
		"only this machine":    {text: "", nothing: true},
		"proxy, said so":       {text: public + "[tls]\nmode = \"off\"", names: goodNames, nothing: true},
		"proxy, not said":      {text: public + "trusted_proxies = [\"127.0.0.1\"]", names: goodNames, want: []string{"a proxy in front has to answer"}},
		"a port of nobody":     {text: "public_url = \"https://pods.example.com:8443\"", names: goodNames, want: []string{"nobody answers https://pods.example.com:8443"}},
		"forwarded port":       {text: public + "[tls]\nmode = \"auto\"\nlisten = \":8443\"", names: goodNames, want: []string{"leads to port 443, and podgate listens for https on :8443"}},
		"no permission":        {text: public, names: goodNames, no: true, want: []string{"port 443 (tls.listen). Run «setcap", "AmbientCapabilities=CAP_NET_BIND_SERVICE"}},
		"no address":           {text: public, names: map[string]string{"any-pod.pods.example.com.": "203.0.113.7"}, want: []string{"pods.example.com has no address"}},
		"address of elsewhere": {text: public, names: map[string]string{"pods.example.com.": "198.51.100.1", "any-pod.pods.example.com.": "198.51.100.1"}, want: []string{"leads to 198.51.100.1, which is no address of this machine"}},
		"no wildcard":          {text: public, names: map[string]string{"pods.example.com.": "203.0.113.7"}, want: []string{"make a DNS record for *.pods.example.com"}},
		"wildcard elsewhere":   {text: public, names: map[string]string{"pods.example.com.": "203.0.113.7", "any-pod.pods.example.com.": "198.51.100.1"}, want: []string{"look at the DNS record for *.pods.example.com"}},
		"a name of the house":  {text: "public_url = \"https://box.lan\"", names: map[string]string{"box.lan.": "203.0.113.7", "any-pod.box.lan.": "203.0.113.7"}, want: []string{"no public authority gives out certificates for box.lan"}},
		"its own authority":    {text: "public_url = \"https://box.lan\"\n[tls]\nca = \"https://ca.lan/dir\"", names: map[string]string{"box.lan.": "203.0.113.7", "any-pod.box.lan.": "203.0.113.7"}, nothing: true},
		"pods on localhost":    {text: public + "[pods]\ndomain = \"localhost\"", names: goodNames, want: []string{"on this machine only"}},
	} {
		s, err := loadText(t, c.text)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		m := fakeMachine(c.names)
		m.MayListen = func(port int) bool { return !c.no || port >= 1024 }
		notes := s.Advise(t.Context(), m)
		if c.nothing && len(notes) > 0 {
			t.Errorf("%s: %q", name, notes)
		}
		rest := strings.Join(notes, "\n")
		for _, part := range c.want {
			_, after, ok := strings.Cut(rest, part)
			if !ok {
				t.Errorf("%s: %q lacks %q", name, notes, part)
			}
			rest = after
		}
	}
}

// Access tokens that last for some minutes only are worth a note, not a fault.
func TestShortAccessTokens(t *testing.T) {
	t.Parallel()
	for ttl, warned := range map[string]bool{"": false, "1m": true, "9m59s": true, "10m": false, "1h": false} {
		env := Environ{}
		if ttl != "" {
			env = Environ{"PODGATE_OAUTH_ACCESS_TOKEN_TTL=" + ttl}
		}
		s, err := Load("", env, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(s.Warnings, "\n"); strings.Contains(got, "oauth.access_token_ttl is "+ttl+": with less than 10m") != warned || !warned && got != "" {
			t.Errorf("%q: %s", ttl, got)
		}
	}
}

func TestBindCapability(t *testing.T) {
	t.Parallel()
	for status, want := range map[string]bool{
		"Name:\tx\nCapEff:\t0000000000000400\nCapBnd:\t0": true,
		"CapEff:\t0000000000000000\n":                     false,
		"CapEff:\tffffffffffffffff":                       true,
		"CapBnd:\t0000000000000400\n":                     false,
		"":                                                false,
	} {
		if got := hasBindCapability(status); got != want {
			t.Errorf("%q: %v", status, got)
		}
	}
	if !mayListen(8443) || !mayListen(0) {
		t.Error("an ordinary port is not for everybody")
	}
}

// Who answers https, and where pods have their names, when the configuration
// does not say.
func TestResolve(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][2]string{
		``:                                     {"off", "localhost"},
		`public_url = "http://localhost:8080"`: {"off", "localhost"},
		`public_url = "https://pods.example.com"`:                                             {"auto", "pods.example.com"},
		"public_url = \"https://pods.example.com\"\nlisten = \":8080\"":                       {"off", "pods.example.com"},
		"public_url = \"https://pods.example.com\"\ntrusted_proxies = [\"10.0.0.1\"]":         {"off", "pods.example.com"},
		`public_url = "https://pods.example.com:8443"`:                                        {"off", "pods.example.com"},
		"public_url = \"https://pods.example.com:8443\"\n[tls]\nlisten = \":8443\"":           {"auto", "pods.example.com"},
		`public_url = "https://192.168.1.5"`:                                                  {"off", "localhost"},
		`public_url = "https://localhost"`:                                                    {"off", "localhost"},
		"public_url = \"https://pods.example.com\"\n[pods]\ndomain = \"apps.example.com\"":    {"auto", "apps.example.com"},
		"public_url = \"https://pods.example.com\"\n[tls]\nmode = \"off\"":                    {"off", "pods.example.com"},
		"public_url = \"https://pods.example.com\"\nlisten = \":1\"\n[tls]\nmode = \"off\"\n": {"off", "pods.example.com"},
	} {
		s, err := loadText(t, text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := [2]string{s.TLS.Mode, s.Pods.Domain}; got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}

func TestTLSFaults(t *testing.T) {
	t.Parallel()
	const public = "public_url = \"https://pods.example.com\"\n"
	for text, want := range map[string]string{
		"[tls]\nmode = \"on\"":   `write "auto" or "files" or "off"`,
		"[tls]\nmode = \"auto\"": "needs a public_url that begins with https://",
		"public_url = \"https://192.168.1.5\"\n[tls]\nmode = \"auto\"":            "192.168.1.5 is none",
		public + "listen = \":8080\"\n[tls]\nmode = \"auto\"":                     "would answer unencrypted on the network",
		public + "[tls]\nmode = \"files\"":                                        "write the certificate's file",
		public + "[tls]\nmode = \"files\"\ncert_files = [\"/a\"]\nkey_files = []": "one key for each certificate",
		public + "[tls]\nlisten = \"443\"":                                        "is not an address with a port",
		public + "[tls]\nhttp_listen = \"pods:80\"":                               "is not an address of this machine",
		public + "[tls]\nca = \"http://ca.example.com\"":                          "is not the https address",
		public + "[tls]\nca_root_file = \"root.pem\"":                             "is not an absolute path",
		public + "[tls]\neab_key_id = \"x\"":                                      "belong together",
		public + "[tls]\ndns_script = \"/a\"\ncloudflare_token_file = \"/b\"":     "choose who changes the DNS records",
		public + "[tls]\ndns_resolvers = [\"9.9.9.9\"]":                           `write for example "9.9.9.9:53"`,
		public + "[tls]\nemail = \"ada\"":                                         "is not an e-mail address",
		public + "[tls]\npod_certificates = -1":                                   "write at least 0",
		"public_url = \"http://pods.example.com\"":                                "in clear over the network",
	} {
		_, err := loadText(t, text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}
