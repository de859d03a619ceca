// Package acmetest is a certificate authority for tests: Pebble, the small
// test server of Let's Encrypt's makers, in this process and on loopback, with
// the name server that it asks. It issues, refuses, forgets nonces, goes away
// and comes back as a test wants.
package acmetest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
)

// Options say how an authority behaves.
type Options struct {
	HTTPPort  int           // where it looks for HTTP-01; 0: where nobody answers
	TLSPort   int           // where it looks for TLS-ALPN-01; 0: where nobody answers
	Validity  time.Duration // of certificates; 0: 90 days
	BadNonces int           // percent of good nonces that are refused all the same
	Blocked   []string      // names that are never issued
	Away      bool          // it is down at first: see Up
	Delay     time.Duration // before each answer
	// AccountKey is the external account binding that is asked for: a key in
	// base64url without padding, under the id «kid».
	AccountKey string
}

// CA is a running authority.
type CA struct {
	URL      string         // its directory
	RootFile string         // PEM: who vouches for the directory's own certificate
	Roots    *x509.CertPool // who vouches for what it issues
	DNS      *DNS

	t        testing.TB
	handler  http.Handler
	identity tls.Certificate
	addr     string
	server   *http.Server
	orders   atomic.Int64
	requests atomic.Int64
}

// nowhere is a port on which nothing listens in tests: discard (RFC 863).
const nowhere = 9

// environment guards the variables that Pebble reads while it is made.
var environment sync.Mutex

// Start runs an authority until the end of the test.
func Start(t testing.TB, o Options) *CA {
	t.Helper()
	c := &CA{t: t, DNS: startDNS(t), addr: "127.0.0.1:0"}
	c.handler = c.counting(o.Delay, c.pebble(o))
	c.identity, c.RootFile = endpointCertificate(t)
	c.Up()
	if o.Away {
		c.Down()
	}
	t.Cleanup(c.Down)
	return c
}

func (c *CA) pebble(o Options) http.Handler {
	environment.Lock()
	defer environment.Unlock()
	set := func(name, value string) {
		if err := os.Setenv(name, value); err != nil {
			c.t.Fatal(err)
		}
	}
	set("PEBBLE_VA_NOSLEEP", "1")
	set("PEBBLE_WFE_NONCEREJECT", strconv.Itoa(o.BadNonces))
	set("PEBBLE_AUTHZREUSE", "0")
	if o.Validity == 0 {
		o.Validity = 90 * 24 * time.Hour
	}
	quiet, memory := log.New(io.Discard, "", 0), db.NewMemoryStore()
	for _, name := range o.Blocked {
		if err := memory.AddBlockedDomain(name); err != nil {
			c.t.Fatal(err)
		}
	}
	if o.AccountKey != "" {
		if err := memory.AddExternalAccountKeyByID("kid", o.AccountKey); err != nil {
			c.t.Fatal(err)
		}
	}
	authority := ca.New(quiet, memory, "", "ecdsa", 0, 1, map[string]ca.Profile{"default": {ValidityPeriod: uint64(o.Validity.Seconds())}})
	c.Roots = x509.NewCertPool()
	c.Roots.AppendCertsFromPEM(authority.GetRootCert(0).PEM())
	judge := va.New(quiet, port(o.HTTPPort), port(o.TLSPort), false, c.DNS.Addr, memory)
	front := wfe.New(quiet, memory, judge, authority, []string{"pebble.test"}, false, o.AccountKey != "", 0, 0)
	return front.Handler()
}

func port(n int) int {
	if n == 0 {
		return nowhere
	}
	return n
}

// counting counts what is asked of the authority, and takes its time.
func (c *CA) counting(delay time.Duration, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(delay) // a slow authority, not a wait for something
		c.requests.Add(1)
		if strings.HasSuffix(r.URL.Path, "/order-plz") {
			c.orders.Add(1)
		}
		next.ServeHTTP(w, r)
	})
}

// Orders is how many certificates were asked for.
func (c *CA) Orders() int { return int(c.orders.Load()) }

// Requests is how many requests of any kind came.
func (c *CA) Requests() int { return int(c.requests.Load()) }

// Up makes an authority that is down answer again, at the same address.
func (c *CA) Up() {
	c.t.Helper()
	ln, err := net.Listen("tcp", c.addr)
	if err != nil {
		c.t.Fatal(err)
	}
	c.addr = ln.Addr().String()
	c.URL = "https://" + c.addr + wfe.DirectoryPath
	c.server = &http.Server{
		Handler: c.handler, TLSConfig: &tls.Config{Certificates: []tls.Certificate{c.identity}}, ErrorLog: log.New(io.Discard, "", 0),
	}
	go func(s *http.Server) { _ = s.ServeTLS(ln, "", "") }(c.server) // ends by Down
}

// Down makes the authority unreachable. What it has issued it remembers.
func (c *CA) Down() { _ = c.server.Close() } // the connections go either way

// endpointCertificate makes the certificate of the directory and the file that
// vouches for it.
func endpointCertificate(t testing.TB) (tls.Certificate, string) {
	t.Helper()
	certificate, key := SelfSigned(t, time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour), "localhost", "127.0.0.1")
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "root.pem")
	if err := os.WriteFile(file, certificate, 0o600); err != nil {
		t.Fatal(err)
	}
	return pair, file
}

// SelfSigned returns a certificate for the names and addresses and its key, in
// PEM. It vouches for itself.
func SelfSigned(t testing.TB, from, to time.Time, names ...string) (certificate, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: names[0]}, NotBefore: from, NotAfter: to,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true, IsCA: true,
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})
}
