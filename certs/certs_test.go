package certs

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mholt/acmez/v3/acme"

	"podgate/internal/acmetest"
)

// A challenge is answered under the name that is being validated and with its
// own token only, on both ports.
func TestChallengesAreOurs(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	ca := acmetest.Start(t, acmetest.Options{HTTPPort: portOf(s.HTTP), TLSPort: portOf(s.TLS)})
	s.open(s.config(s.auto(ca)))
	s.eventually(s.Host, ca.Roots)
	for _, host := range []string{s.Host, "shop." + s.Domain, "evil.example", "127.0.0.1"} {
		if code, body := s.get(host, "/.well-known/acme-challenge/abcdefghijklmnop"); code != 200 || body != "hello "+host {
			t.Errorf("%s: %d %s", host, code, body) // what any other path gets
		}
	}
	if _, err := s.source.challenge(&tls.ClientHelloInfo{ServerName: s.Host}); !errors.Is(err, errNotOurs) {
		t.Errorf("a handshake for a challenge that is over: %v", err)
	}
}

// What strangers read says what kind of failure it was, never its text.
func TestWords(t *testing.T) {
	t.Parallel()
	const secret = "10.0.0.7 /var/lib token"
	refused := func(kind string) error {
		return fmt.Errorf("%s: %w", secret, acme.Problem{Type: acme.ProblemTypeNamespace + kind, Detail: secret})
	}
	seen := map[string]bool{}
	for _, err := range []error{
		refused("rateLimited"), refused("dns"), refused("connection"), refused("unauthorized"), refused("caa"),
		refused("rejectedIdentifier"), refused("externalAccountRequired"), refused("serverInternal"),
		fmt.Errorf("%s: %w", secret, errTooMany), &net.OpError{Op: "dial", Err: errors.New(secret)}, errors.New(secret),
	} {
		w := words(err)
		if w == "" || strings.Contains(w, "10.0.0.7") || strings.Contains(w, "token") || seen[w] {
			t.Errorf("%v: %q", err, w)
		}
		seen[w] = true
	}
	if words(context.DeadlineExceeded) != words(&net.OpError{Op: "dial", Err: errors.New(secret)}) {
		t.Error("a time limit is not told as what it is")
	}
}

// A bad configuration is an error at once, and leaves nothing running.
func TestOpenFails(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	ca := acmetest.Start(t, acmetest.Options{})
	empty := t.TempDir() + "/empty"
	if err := os.WriteFile(empty, []byte("no PEM"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Auto){
		"no root":       func(a *Auto) { a.Roots = "/absent" },
		"root is none":  func(a *Auto) { a.Roots = empty },
		"folder is not": func(a *Auto) { a.Dir = empty },
	} {
		auto := s.auto(ca)
		change(auto)
		if _, err := Open(s.config(auto)); err == nil {
			t.Errorf("%s: it opens", name)
		}
	}
	if ca.Requests() != 0 {
		t.Error("the authority was asked")
	}
}

// handshake makes a whole handshake on a connection of its own, without
// resumption, and returns how long it took.
func handshake(b *testing.B, address string, client *tls.Config) time.Duration {
	start := time.Now()
	conn, err := tls.Dial("tcp", address, client)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	return time.Since(start)
}

// BenchmarkHandshake compares a warm certificate, of podgate's own name and of
// a pod, with net/http and a certificate that never changes.
func BenchmarkHandshake(b *testing.B) {
	s := newSite(b)
	ca := acmetest.Start(b, acmetest.Options{HTTPPort: portOf(s.HTTP), TLSPort: portOf(s.TLS)})
	s.setPod("shop", true)
	cfg := s.config(s.auto(ca))
	cfg.Log = slog.New(slog.DiscardHandler)
	s.open(cfg)
	s.eventually(s.Host, ca.Roots)
	s.eventually("shop."+s.Domain, ca.Roots)
	own := *s.source.(*authority).newest(s.Host)
	plain := httptest.NewUnstartedServer(http.NotFoundHandler())
	plain.TLS = &tls.Config{Certificates: []tls.Certificate{own}}
	plain.EnableHTTP2 = true
	plain.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	plain.StartTLS()
	defer plain.Close()
	client := func(name string) *tls.Config {
		return &tls.Config{ServerName: name, RootCAs: ca.Roots, NextProtos: []string{"h2"}}
	}
	// In turns, so that what else the machine does meets both alike.
	for name, host := range map[string]string{"own name": s.Host, "pod": "shop." + s.Domain} {
		b.Run(name, func(b *testing.B) {
			var ours, theirs []time.Duration
			for b.Loop() {
				theirs = append(theirs, handshake(b, plain.Listener.Addr().String(), client(s.Host)))
				ours = append(ours, handshake(b, s.TLS.Addr().String(), client(host)))
			}
			slices.Sort(ours)
			slices.Sort(theirs)
			median := len(ours) / 2
			b.ReportMetric(float64(ours[median])/float64(theirs[median]), "times-net/http")
			b.ReportMetric(float64(ours[median].Microseconds()), "µs/handshake")
		})
	}
}

// BenchmarkChoose is the part of a handshake that is ours.
func BenchmarkChoose(b *testing.B) {
	s := newSite(b)
	ca := acmetest.Start(b, acmetest.Options{HTTPPort: portOf(s.HTTP), TLSPort: portOf(s.TLS)})
	s.setPod("shop", true)
	cfg := s.config(s.auto(ca))
	cfg.Log = slog.New(slog.DiscardHandler)
	s.open(cfg)
	s.eventually(s.Host, ca.Roots)
	s.eventually("shop."+s.Domain, ca.Roots)
	here, there := net.Pipe()
	defer here.Close()
	defer there.Close()
	for name, c := range map[string]struct {
		host string
		ok   bool
	}{"own name": {s.Host, true}, "pod": {"shop." + s.Domain, true}, "no pod": {"absent." + s.Domain, false}, "stranger": {"example.com", false}} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := s.certificate(&tls.ClientHelloInfo{ServerName: c.host, Conn: here}); (err == nil) != c.ok {
					b.Fatal(err)
				}
			}
		})
	}
}
