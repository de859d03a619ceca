package certs

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"podgate/internal/acmetest"
)

// site is a manager with the servers that a program has around it, on free
// ports of loopback. Its names are its own: certmagic keeps what it does to a
// name in one table for the process.
type site struct {
	*Manager
	Host, Domain string
	TLS, HTTP    net.Listener
	Log          *buffer
	Looks        atomic.Int64  // how often the store was asked for a pod
	Patience     time.Duration // of the server with a handshake; 0: without end
	dir          string

	t       testing.TB
	current atomic.Pointer[Manager] // the same, for the servers
	mu      sync.Mutex
	pods    map[string]bool
	now     time.Duration // ahead of the clock
}

var serial atomic.Int64

// newSite listens, so that an authority can be told the ports, and opens
// nothing yet.
func newSite(t testing.TB) *site {
	t.Helper()
	n := serial.Add(1)
	s := &site{t: t, Host: fmt.Sprintf("gate%d.test", n), Domain: fmt.Sprintf("apps%d.test", n), Log: &buffer{}, dir: t.TempDir(), pods: map[string]bool{}}
	s.TLS, s.HTTP = listen(t), listen(t)
	return s
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

func portOf(ln net.Listener) int { return ln.Addr().(*net.TCPAddr).Port }

func (s *site) setPod(name string, there bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pods[name] = there
}

func (s *site) pod(name string) (bool, error) {
	s.Looks.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pods[name], nil
}

// Now is the time by which the manager goes.
func (s *site) Now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Now().Add(s.now)
}

func (s *site) later(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now += d
}

// auto returns how certificates come from ca.
func (s *site) auto(ca *acmetest.CA) *Auto {
	return &Auto{
		Dir: s.dir, CA: ca.URL, Email: "ada@example.com", Roots: ca.RootFile, ListenHost: "127.0.0.1",
		HTTPPort: portOf(s.HTTP), TLSPort: portOf(s.TLS), PodsPerHour: 10, PodsMax: 10,
	}
}

func (s *site) config(auto *Auto) Config {
	return Config{
		Host: s.Host, PodsDomain: s.Domain, Pod: s.pod, Auto: auto, Now: s.Now,
		Log: slog.New(slog.NewTextHandler(s.Log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
}

// open opens the manager, and the servers around it when it is the first.
func (s *site) open(cfg Config) {
	s.t.Helper()
	m, err := Open(cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	if s.Manager = m; s.current.Swap(m) == nil {
		s.serve()
		s.t.Cleanup(s.shut)
	}
}

// shut closes the manager; the servers wait for the next.
func (s *site) shut() {
	if s.Manager != nil {
		s.Manager.Close()
		s.Manager = nil
	}
}

// serve answers on both ports until the end of the test.
func (s *site) serve() {
	page := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "hello "+r.Host) })
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.current.Load().Challenges(page).ServeHTTP(w, r) })
	config := s.current.Load().TLSConfig()
	config.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		return s.current.Load().TLSConfig().GetCertificate(hello)
	}
	for _, run := range []func(*http.Server) error{
		func(h *http.Server) error { return h.Serve(s.HTTP) },
		func(h *http.Server) error { return h.ServeTLS(s.TLS, "", "") },
	} {
		h := &http.Server{ReadHeaderTimeout: s.Patience, Handler: handler, TLSConfig: config.Clone(), ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
		go func() { _ = run(h) }() // ends by Close
		s.t.Cleanup(func() { h.Close() })
	}
}

// dial makes a handshake for a name, trusting roots alone, and returns the
// certificate that was shown.
func (s *site) dial(name string, roots *x509.CertPool) (*x509.Certificate, error) {
	conn, err := tls.Dial("tcp", s.TLS.Addr().String(), &tls.Config{ServerName: name, RootCAs: roots, NextProtos: []string{"h2", "http/1.1"}})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	state := conn.ConnectionState()
	if state.NegotiatedProtocol != "h2" {
		return nil, fmt.Errorf("negotiated %q", state.NegotiatedProtocol)
	}
	return state.PeerCertificates[0], nil
}

// eventually waits for a certificate of the name.
func (s *site) eventually(name string, roots *x509.CertPool) *x509.Certificate {
	s.t.Helper()
	var leaf *x509.Certificate
	s.until("a certificate for "+name, func() bool {
		var err error
		leaf, err = s.dial(name, roots)
		return err == nil
	})
	return leaf
}

func (s *site) until(what string, done func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(40 * time.Second); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("waited in vain for %s\n%s", what, s.Log.important())
		}
	}
}

// get asks the port of plain HTTP.
func (s *site) get(host, path string) (int, string) {
	s.t.Helper()
	req, err := http.NewRequest(http.MethodGet, "http://"+s.HTTP.Addr().String()+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Host = host
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// own returns the status of podgate's own name.
func (s *site) own() NameStatus {
	for _, n := range s.Status().Names {
		if n.Name == s.Host {
			return n
		}
	}
	s.t.Fatal("the status lacks the own name")
	return NameStatus{}
}

// buffer is a log that one side writes while the other reads.
type buffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// important leaves out what a passing test would not be read for.
func (b *buffer) important() string {
	var list []string
	for line := range strings.Lines(b.String()) {
		if !strings.Contains(line, "level=DEBUG") {
			list = append(list, line)
		}
	}
	return strings.Join(list[max(0, len(list)-40):], "")
}

func (b *buffer) has(s string) bool { return strings.Contains(b.String(), s) }
