package webfetch

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
)

// publicAddr stands for a server on the internet. It is never dialled.
var publicAddr = netip.MustParseAddr("8.8.8.8")

// site is an https server on loopback that answers for example.com, whose name
// «resolves» to addrs. dialled records where connections were meant to go.
type site struct {
	*httptest.Server
	mu      sync.Mutex
	addrs   []netip.Addr
	dialled []netip.AddrPort
	asked   []string // names
}

func newSite(t *testing.T, h http.HandlerFunc) *site {
	t.Helper()
	s := &site{Server: httptest.NewUnstartedServer(h), addrs: []netip.Addr{publicAddr}}
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // refused handshakes are part of the tests
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func (s *site) config() Config {
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return Config{Roots: roots, Resolve: s.resolve, Dial: s.dial}
}

func (s *site) resolve(_ context.Context, host string) ([]netip.Addr, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, host)
	return s.addrs, nil
}

func (s *site) dial(ctx context.Context, addr netip.AddrPort) (net.Conn, error) {
	s.mu.Lock()
	s.dialled = append(s.dialled, addr)
	s.mu.Unlock()
	var d net.Dialer
	return d.DialContext(ctx, "tcp", s.Listener.Addr().String())
}

func serveJSON(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, body)
	}
}

func wantKind(t *testing.T, err error, kind Kind) *Error {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Kind != kind {
		t.Fatalf("error %v, want kind %d", err, kind)
	}
	return e
}

func TestFetch(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "example.com" || r.URL.String() != "/client.json?x=1" || r.Header.Get("Accept-Encoding") != "identity" || r.Header.Get("Cookie") != "" {
			t.Errorf("asked %s %s with %v", r.Host, r.URL, r.Header)
		}
		w.Header().Set("Cache-Control", "max-age=60")
		serveJSON(`{"a":1}`)(w, r)
	})
	d, err := New(s.config()).JSON(t.Context(), "https://example.com/client.json?x=1")
	if err != nil || string(d.Body) != `{"a":1}` || d.Header.Get("Cache-Control") != "max-age=60" {
		t.Fatalf("%q %v %v", d.Body, d.Header, err)
	}
	if len(s.dialled) != 1 || s.dialled[0] != netip.AddrPortFrom(publicAddr, 443) || len(s.asked) != 1 {
		t.Errorf("dialled %v after asking for %v", s.dialled, s.asked)
	}
}

// A connection goes to an address that was judged, and to no other: names that
// lead to this machine or its network are never dialled.
func TestOnlyPublicAddressesAreDialled(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ answers, dialled string }{
		{"127.0.0.1", ""},
		{"10.0.0.1 192.168.1.1 ::1 fe80::1", ""},
		{"169.254.169.254", ""},
		{"::ffff:127.0.0.1 64:ff9b::7f00:1 2002:7f00:1::", ""},
		{"0.0.0.0", ""},
		{"127.0.0.1 8.8.8.8 10.0.0.1", "8.8.8.8"},
		{"8.8.8.8 8.8.4.4 1.1.1.1 1.0.0.1 9.9.9.9", "8.8.8.8 8.8.4.4 1.1.1.1 1.0.0.1"},
	} {
		var dialled []string
		f := New(Config{
			Resolve: func(context.Context, string) (addrs []netip.Addr, _ error) {
				for a := range strings.FieldsSeq(c.answers) {
					addrs = append(addrs, netip.MustParseAddr(a))
				}
				return addrs, nil
			},
			Dial: func(_ context.Context, a netip.AddrPort) (net.Conn, error) {
				dialled = append(dialled, a.Addr().String())
				return nil, errors.New("not dialled in tests")
			},
		})
		_, err := f.JSON(t.Context(), "https://example.com/x")
		if got := strings.Join(dialled, " "); got != c.dialled {
			t.Errorf("%s: dialled %q, want %q", c.answers, got, c.dialled)
		}
		kind := Unreachable
		if c.dialled == "" {
			kind = NotPublic
		}
		wantKind(t, err, kind)
	}
}

// A resolver that answers with a public address first and a private one later
// gains nothing: there is no second question.
func TestRebinding(t *testing.T) {
	t.Parallel()
	s := newSite(t, serveJSON("{}"))
	asked := 0
	c := s.config()
	c.Resolve = func(context.Context, string) ([]netip.Addr, error) {
		if asked++; asked > 1 {
			return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
		}
		return []netip.Addr{publicAddr}, nil
	}
	if _, err := New(c).JSON(t.Context(), "https://example.com/x"); err != nil || asked != 1 || s.dialled[0].Addr() != publicAddr {
		t.Errorf("asked %d times, dialled %v, %v", asked, s.dialled, err)
	}
}

// The dialer that production uses judges for itself, whatever led to it.
func TestDialPublicRefusesLoopback(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	conn, err := dialPublic(t.Context(), netip.MustParseAddrPort(ln.Addr().String()))
	if err == nil {
		_ = conn.Close()
		t.Fatal("connected to loopback")
	}
	if !strings.Contains(err.Error(), "not public") {
		t.Errorf("refused for another reason: %v", err)
	}
}

func TestAnswersThatAreNoDocument(t *testing.T) {
	t.Parallel()
	answer := func(status int, headers ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			for _, h := range headers {
				name, value, _ := strings.Cut(h, ": ")
				w.Header().Set(name, value)
			}
			w.WriteHeader(status)
			_, _ = io.WriteString(w, "{}")
		}
	}
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		kind    Kind
	}{
		"not found":      {answer(404), BadStatus},
		"created":        {answer(201), BadStatus},
		"server fault":   {answer(500), BadStatus},
		"redirect":       {answer(302, "Location: https://example.com/other"), BadStatus},
		"a page":         {answer(200, "Content-Type: text/html"), NotJSON},
		"no type":        {answer(200, "Content-Type: "), NotJSON},
		"text that is":   {answer(200, "Content-Type: text/json"), NotJSON},
		"gzip":           {answer(200, "Content-Encoding: gzip"), Encoded},
		"large":          {serveJSON(strings.Repeat(" ", MaxBody+1)), TooLarge},
		"large header":   {answer(200, "X: "+strings.Repeat("x", 2*maxHeader)), Unreachable},
		"just not large": {serveJSON(strings.Repeat(" ", MaxBody)), -1},
		"a kind of JSON": {answer(200, "Content-Type: application/client+json; charset=utf-8"), -1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, c.handler)
			_, err := New(s.config()).JSON(t.Context(), "https://example.com/x")
			if c.kind < 0 {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantKind(t, err, c.kind)
			if len(s.dialled) != 1 {
				t.Errorf("dialled %d times", len(s.dialled))
			}
		})
	}
}

// A server may be slow at any point; the fetch ends all the same.
func TestSlowServers(t *testing.T) {
	t.Parallel()
	for name, h := range map[string]http.HandlerFunc{
		"header": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"body": func(w http.ResponseWriter, r *http.Request) {
			serveJSON("{")(w, r)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, h)
			c := s.config()
			c.Timeout = 200 * time.Millisecond
			_, err := New(c).JSON(t.Context(), "https://example.com/x")
			if !wantKind(t, err, Unreachable).TimedOut {
				t.Errorf("not told as a timeout: %v", err)
			}
		})
	}
}

// The certificate must be one for the name, from a known authority.
func TestCertificates(t *testing.T) {
	t.Parallel()
	s := newSite(t, serveJSON("{}"))
	_, err := New(s.config()).JSON(t.Context(), "https://other.example/x")
	wantKind(t, err, Unreachable)
	c := s.config()
	c.Roots = x509.NewCertPool()
	_, err = New(c).JSON(t.Context(), "https://example.com/x")
	wantKind(t, err, Unreachable)
}

// Addresses that this package does not fetch are refused before a name is
// asked for, and so is the proxy of the environment.
func TestAddressesThatAreNotFetched(t *testing.T) {
	t.Parallel()
	s := newSite(t, serveJSON("{}"))
	for _, url := range []string{"http://example.com/x", "https://example.com:8443/x", "https://example.com:443/x", "https://u@example.com/x", "file:///etc/passwd", "://", "https://[::1/x"} {
		_, err := New(s.config()).JSON(t.Context(), url)
		wantKind(t, err, BadAddress)
	}
	if len(s.asked)+len(s.dialled) > 0 {
		t.Errorf("asked for %v, dialled %v", s.asked, s.dialled)
	}
	transport, ok := New(Config{}).client.Transport.(*http.Transport)
	if !ok || transport.Proxy != nil {
		t.Error("a proxy of the environment would be used")
	}
	if ok && (!transport.DisableCompression || !transport.DisableKeepAlives) {
		t.Error("answers would be decompressed, or connections kept")
	}
}

// No more than AtOnce fetches run side by side; the next waits its turn, and
// not for ever.
func TestFetchesAtOnce(t *testing.T) {
	t.Parallel()
	arrived, release := make(chan struct{}, AtOnce+1), make(chan struct{})
	s := newSite(t, func(w http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-release
		serveJSON("{}")(w, r)
	})
	free := sync.OnceFunc(func() { close(release) })
	t.Cleanup(free) // before the server waits for its requests
	c := s.config()
	c.Timeout = 20 * time.Second
	f := New(c)
	var wg sync.WaitGroup
	for i := range AtOnce {
		wg.Go(func() {
			if _, err := f.JSON(t.Context(), fmt.Sprintf("https://example.com/%d", i)); err != nil {
				t.Error(err)
			}
		})
	}
	for range AtOnce {
		<-arrived
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := f.JSON(ctx, "https://example.com/one-more")
	wantKind(t, err, Busy)
	free()
	wg.Wait()
	if _, err := f.JSON(t.Context(), "https://example.com/later"); err != nil {
		t.Errorf("after the others: %v", err)
	}
}
