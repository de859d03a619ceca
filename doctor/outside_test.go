package doctor

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unicode"

	"podgate/internal/webtest"
)

// Documents of clients are fetched side by side, and what fails is a warning
// that names each host once.
func TestClientDocuments(t *testing.T) {
	t.Parallel()
	authority := webtest.NewAuthority(t)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/good" {
			http.NotFound(w, r)
		}
	}))
	srv.TLS = tlsConfig(authority.Sign("pods.example.com", t0.Add(-time.Hour), t0.Add(time.Hour)))
	srv.Config.ErrorLog = quiet
	srv.StartTLS()
	t.Cleanup(srv.Close)
	for text, c := range map[string]struct {
		documents []string
		level     Level
	}{
		"not asked for":                      {nil, Skipped},
		"2 can be reached":                   {[]string{"https://pods.example.com/good", "https://pods.example.com/good"}, OK},
		"pods.example.com (404 Not Found) →": {[]string{"https://pods.example.com/good", "https://pods.example.com/a", "https://pods.example.com/b"}, Warning},
		"absent.example.com, other.example.com (the name does not exist); pods.example.com:1 (the connection is refused) →": {
			[]string{"https://absent.example.com/", "https://pods.example.com:1/", "https://other.example.com/"}, Warning,
		},
	} {
		o := Options{
			Target: Target{Host: "pods.example.com"}, Documents: c.documents, Roots: authority.Roots, Now: func() time.Time { return t0 },
			Lookup: (&world{addrs: addrs("203.0.113.7")}).lookup,
			Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
				if address != "203.0.113.7:443" {
					return nil, syscall.ECONNREFUSED
				}
				return (&net.Dialer{}).DialContext(ctx, network, srv.Listener.Addr().String())
			},
		}
		p := newProbe(o)
		wants(t, text, checkDocuments(t.Context(), p), c.level, text)
		p.client.CloseIdleConnections()
	}
}

func TestPodNames(t *testing.T) {
	t.Parallel()
	server := addrs("203.0.113.7")
	for name, c := range map[string]struct {
		domain, typed string
		found         []netip.Addr
		level         Level
		text          string
	}{
		"not known":        {"", "pods.example.com", nil, Skipped, "not known"},
		"wildcard":         {"apps.example.com", "pods.example.com", server, OK, "*.apps.example.com is 203.0.113.7"},
		"no wildcard":      {"apps.example.com", "pods.example.com", nil, Warning, "wildcard DNS record *.apps.example.com"},
		"elsewhere":        {"apps.example.com", "pods.example.com", addrs("203.0.113.9"), Warning, "203.0.113.9"},
		"localhost":        {"localhost", "localhost:8080", nil, OK, "this machine"},
		"localhost abroad": {"localhost", "pods.example.com", nil, Warning, "Set pods.domain"},
	} {
		target, err := ParseTarget(c.typed)
		if err != nil {
			t.Fatal(err)
		}
		p := newProbe(Options{Target: target, PodsDomain: c.domain, Lookup: func(_ context.Context, host string) ([]netip.Addr, error) {
			if !strings.HasSuffix(host, "."+c.domain) {
				t.Errorf("%s: %s was looked up", name, host)
			}
			return c.found, nil
		}})
		p.addrs = server
		wants(t, name, checkPodNames(t.Context(), p), c.level, c.text)
	}
}

// What depends on what is broken is not looked at, and a context that has
// ended ends it all.
func TestSkipped(t *testing.T) {
	t.Parallel()
	target, err := ParseTarget("pods.example.com")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{addrs: addrs("203.0.113.7")}
	o := Options{Target: target, Dial: w.dial, Lookup: w.lookup, Now: func() time.Time { return t0 }}
	r := Run(t.Context(), o)
	if r.OK || r.Count(Fault) != 1 || r.Count(Warning) != 0 || r.Findings[2].Check != "connection" || r.Findings[2].Level != Fault || len(w.asked) != 1 {
		t.Errorf("%+v, asked %v", r, w.asked)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r := Run(ctx, o); r.Count(Skipped) != len(r.Findings) {
		t.Errorf("%+v", r)
	}
}

// Every check that another builds on is there, before it.
func TestNeedsComeFirst(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, c := range checks() {
		for _, need := range c.needs {
			if !seen[need] {
				t.Errorf("%s needs %s, which is not before it", c.name, need)
			}
		}
		if seen[c.name] || len(c.name) > 20 {
			t.Errorf("the name %q is there twice or is too long", c.name)
		}
		seen[c.name] = true
	}
	if len(seen) < 30 {
		t.Errorf("only %d checks", len(seen))
	}
}

const wantText = `https://pods.example.com/api/mcp

  ok       name        pods.example.com is 203.0.113.7
  warning  slash       a text that is long enough to go on in a second line, where it begins
                       below its first word
  fault    challenge   gone
                       → Put it back, with words enough to fill a line and some more, so that
                         this goes on here.
  skipped  streaming   too much was asked
                       → Wait.

  not looked at: first GET, forwarding

1 ok, 1 warning, 1 fault. Mend the first fault and run this again: others may come from it.
`

func TestWrite(t *testing.T) {
	t.Parallel()
	r := Report{URL: "https://pods.example.com/api/mcp", Findings: []Finding{
		{"name", OK, "pods.example.com is 203.0.113.7", ""},
		{"slash", Warning, "a text that is long enough to go on in a second line, where it begins below its first word", ""},
		{"challenge", Fault, "gone", "Put it back, with words enough to fill a line and some more, so that this goes on here."},
		{"first GET", Skipped, "needs «challenge»", ""}, {"streaming", Skipped, "too much was asked", "Wait."}, {"forwarding", Skipped, "needs", ""},
	}}
	var b strings.Builder
	if err := r.Write(&b); err != nil || b.String() != wantText {
		t.Errorf("%v\n%s", err, b.String())
	}
	for want, r := range map[string]Report{
		"1 ok, 0 warnings, 0 faults. Clients can connect.":    {Findings: r.Findings[:1]},
		"1 ok, 1 warning, 0 faults. Clients can connect; the": {Findings: r.Findings[:2]},
	} {
		if got := r.summary(); !strings.HasPrefix(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
	raw, err := json.Marshal(r.Findings[0])
	if err != nil || string(raw) != `{"check":"name","level":"ok","text":"pods.example.com is 203.0.113.7"}` {
		t.Errorf("%s, %v", raw, err)
	}
}

// What a server says reaches the terminal as text only.
func TestHostileServer(t *testing.T) {
	t.Parallel()
	var sent atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Server", "evil\x9b31m\u202e"+strings.Repeat("x", 5000))
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusTeapot)
		for range 10_000 { // more than is read
			n, err := w.Write(make([]byte, 4096))
			if sent.Add(int64(n)); err != nil {
				return
			}
		}
	}))
	t.Cleanup(srv.Close)
	target, err := ParseTarget(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	r := Run(t.Context(), Options{Target: target, Now: time.Now})
	if r.OK || r.Count(Fault) != 1 {
		t.Errorf("%+v", r)
	}
	if sent.Load() > 20<<20 { // of 40; the buffers in between hold a few
		t.Errorf("%d bytes were taken", sent.Load())
	}
	for _, f := range r.Findings {
		if strings.ContainsFunc(f.Text, func(r rune) bool { return !unicode.IsPrint(r) }) || len(f.Text) > 4*maxText {
			t.Errorf("%s: %q", f.Check, f.Text)
		}
	}
}
