package oauth

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"podgate/internal/webfetch"
)

// internet stands for the hosts that describe clients: one https server on
// loopback that answers for all of them, behind a resolver and a dialer that
// never leave the machine.
type internet struct {
	server *httptest.Server
	roots  *x509.CertPool

	mu    sync.Mutex
	pages map[string]http.HandlerFunc // by host and path
	addrs map[string]string           // of names; one that is missing is public
	down  bool                        // no name resolves
	asked []string                    // URLs without the scheme, in order
}

var errNoNetwork = errors.New("the tests have no network")

func newInternet(t testing.TB) *internet {
	t.Helper()
	n := &internet{pages: map[string]http.HandlerFunc{}, addrs: map[string]string{}, roots: x509.NewCertPool()}
	n.server = httptest.NewUnstartedServer(http.HandlerFunc(n.serve))
	n.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	n.server.TLS = &tls.Config{Certificates: []tls.Certificate{n.certify(t, "claude.ai", "chatgpt.com", "vscode.dev", "cursor.com", "*.example.com", "*.example")}}
	n.server.StartTLS()
	t.Cleanup(n.server.Close)
	return n
}

func (n *internet) certify(t testing.TB, names ...string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: names, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	n.roots.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key}
}

func (n *internet) serve(w http.ResponseWriter, r *http.Request) {
	n.mu.Lock()
	page := r.Host + r.URL.RequestURI()
	n.asked = append(n.asked, page)
	h := n.pages[page]
	n.mu.Unlock()
	if h == nil {
		http.NotFound(w, r)
		return
	}
	h(w, r)
}

// publish puts a document at a URL; headers are «Name: value».
func (n *internet) publish(url, body string, headers ...string) {
	n.handle(url, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for _, h := range headers {
			name, value, _ := strings.Cut(h, ": ")
			w.Header().Set(name, value)
		}
		_, _ = io.WriteString(w, body)
	})
}

// answer makes a URL answer with a status.
func (n *internet) answer(url string, status int) {
	n.handle(url, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "https://other.example.com/")
		w.WriteHeader(status)
	})
}

func (n *internet) handle(url string, h http.HandlerFunc) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.pages[strings.TrimPrefix(url, "https://")] = h
}

func (n *internet) set(down bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.down = down
}

// requests returns how often the URL was asked for.
func (n *internet) requests(url string) (count int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, page := range n.asked {
		if page == strings.TrimPrefix(url, "https://") {
			count++
		}
	}
	return count
}

func (n *internet) resolve(_ context.Context, host string) ([]netip.Addr, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.down {
		return nil, errNoNetwork
	}
	if addr := n.addrs[host]; addr != "" {
		return []netip.Addr{netip.MustParseAddr(addr)}, nil
	}
	return []netip.Addr{netip.MustParseAddr("8.8.8.8")}, nil
}

func (n *internet) dial(ctx context.Context, _ netip.AddrPort) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", n.server.Listener.Addr().String())
}

// online connects a fixture to n.
func online(n *internet) func(*Config) {
	return func(c *Config) {
		c.fetch = webfetch.New(webfetch.Config{Resolve: n.resolve, Dial: n.dial, Roots: n.roots})
	}
}

// offline is what a fixture has without further words: names do not resolve.
func offline() *webfetch.Fetcher {
	return webfetch.New(webfetch.Config{
		Resolve: func(context.Context, string) ([]netip.Addr, error) { return nil, errNoNetwork },
		Dial:    func(context.Context, netip.AddrPort) (net.Conn, error) { return nil, errNoNetwork },
	})
}

const (
	appURL      = "https://app.example.com/oauth/client.json"
	appRedirect = "https://app.example.com/callback"
)

// appDocument describes the client at appURL; members replace or add to it and
// «null» takes one away.
func appDocument(members ...string) string {
	all := map[string]string{
		"client_id": `"` + appURL + `"`, "client_name": `"Example App"`,
		"redirect_uris": `["` + appRedirect + `", "http://localhost/callback"]`,
	}
	names := []string{"client_id", "client_name", "redirect_uris"}
	for _, m := range members {
		name, value, _ := strings.Cut(m, "=")
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
		all[name] = value
	}
	var parts []string
	for _, name := range names {
		if all[name] != "null" {
			parts = append(parts, fmt.Sprintf("%q: %s", name, all[name]))
		}
	}
	return "{" + strings.Join(parts, ", ") + "}"
}
