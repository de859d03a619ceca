package certs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"podgate/internal/acmetest"
)

// The two ways of validation without DNS, each alone, and both, with an
// authority that cannot reach one of them.
func TestIssue(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*Auto)
		ports  func(*acmetest.Options)
	}{
		"HTTP-01":                   {change: func(a *Auto) { a.onlyHTTP = true }},
		"TLS-ALPN-01":               {change: func(a *Auto) { a.HTTPPort = 0 }},
		"port 443 is not reachable": {ports: func(o *acmetest.Options) { o.TLSPort = 0 }},
		"port 80 is not reachable":  {ports: func(o *acmetest.Options) { o.HTTPPort = 0 }},
		"nonces are lost":           {ports: func(o *acmetest.Options) { o.BadNonces = 40 }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			options := acmetest.Options{HTTPPort: portOf(s.HTTP), TLSPort: portOf(s.TLS)}
			if c.ports != nil {
				c.ports(&options)
			}
			ca := acmetest.Start(t, options)
			auto := s.auto(ca)
			if c.change != nil {
				c.change(auto)
			}
			s.open(s.config(auto))
			leaf := s.eventually(s.Host, ca.Roots)
			if len(leaf.DNSNames) != 1 || leaf.DNSNames[0] != s.Host {
				t.Errorf("it is for %v", leaf.DNSNames)
			}
			if own := s.own(); !own.Expires.Equal(leaf.NotAfter) || own.Problem != "" || !s.Status().Ready(time.Now()) {
				t.Errorf("status %+v", s.Status())
			}
			if !s.Log.has("the certificate has come") || s.PubliclyTrusted() {
				t.Errorf("trusted %v\n%s", s.PubliclyTrusted(), s.Log)
			}
		})
	}
}

// A restart serves what is kept, at once, also while the authority is away,
// and asks for nothing.
func TestRestartUsesWhatIsKept(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	ca := acmetest.Start(t, acmetest.Options{HTTPPort: portOf(s.HTTP), TLSPort: portOf(s.TLS)})
	s.open(s.config(s.auto(ca)))
	first := s.eventually(s.Host, ca.Roots)
	s.shut()
	ca.Down()
	s.open(s.config(s.auto(ca)))
	if second := s.eventually(s.Host, ca.Roots); !second.Equal(first) {
		t.Error("it is another certificate")
	}
	if ca.Orders() != 1 {
		t.Errorf("%d certificates were asked for", ca.Orders())
	}
}

// A server that was killed left an account half written and a lock. The next one
// gets its certificate all the same, and soon.
func TestAfterAKill(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	ca := acmetest.Start(t, acmetest.Options{HTTPPort: portOf(s.HTTP), TLSPort: portOf(s.TLS)})
	auto := s.auto(ca)
	auto.Email = ""
	s.open(s.config(auto))
	s.eventually(s.Host, ca.Roots)
	s.shut()
	keys, err := filepath.Glob(filepath.Join(s.dir, "acme", "*", "users", "*", "*.key"))
	if err != nil || len(keys) != 1 {
		t.Fatalf("%v, %v", keys, err)
	}
	for _, name := range []string{keys[0], filepath.Join(s.dir, "certificates")} {
		if err := os.RemoveAll(name); err != nil {
			t.Fatal(err)
		}
	}
	lock := fmt.Sprintf(`{"created":%[1]q,"updated":%[1]q}`, time.Now().Add(time.Hour).Format(time.RFC3339))
	if err := os.MkdirAll(filepath.Join(s.dir, "locks"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.dir, "locks", "issue_cert_"+s.Host+".lock"), []byte(lock), 0o600); err != nil {
		t.Fatal(err)
	}
	s.open(s.config(auto))
	s.eventually(s.Host, ca.Roots)
}

// A server that was killed while it wrote a renewed certificate left a key that
// is another's, for its own name and for a pod's.
func TestMixedPairIsReplaced(t *testing.T) {
	t.Parallel()
	s, ca := withPods(t, acmetest.Options{}, nil)
	s.setPod("shop", true)
	shop := "shop." + s.Domain
	s.eventually(shop, ca.Roots)
	s.shut()
	_, other := acmetest.SelfSigned(t, time.Now(), time.Now().Add(time.Hour), "other.test")
	for _, name := range []string{s.Host, shop} {
		keys, err := filepath.Glob(filepath.Join(s.dir, "certificates", "*", name, "*.key"))
		if err != nil || len(keys) != 1 {
			t.Fatalf("%v, %v", keys, err)
		}
		if err := os.WriteFile(keys[0], other, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.open(s.config(s.auto(ca)))
	s.eventually(s.Host, ca.Roots)
	s.eventually(shop, ca.Roots)
	if ca.Orders() != 4 {
		t.Errorf("%d certificates were asked for", ca.Orders())
	}
}

// What is kept is for the server's own eyes.
func TestKeysArePrivate(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.dir = filepath.Join(s.dir, "certificates")
	ca := acmetest.Start(t, acmetest.Options{HTTPPort: portOf(s.HTTP), TLSPort: portOf(s.TLS)})
	s.open(s.config(s.auto(ca)))
	s.eventually(s.Host, ca.Roots)
	keys := 0
	err := filepath.WalkDir(s.dir, func(name string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
		if strings.HasSuffix(name, ".key") {
			keys++
		}
		return nil
	})
	if err != nil || keys != 2 { // of the certificate and of the account
		t.Errorf("%d keys, %v", keys, err)
	}
	if s.Log.has("PRIVATE KEY") {
		t.Error("a key is in the log")
	}
}

// While the authority is away opening does not wait, handshakes fail at once,
// and the status says why. When it is back the next start gets a certificate.
func TestAuthorityDownAtStart(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	ca := acmetest.Start(t, acmetest.Options{HTTPPort: portOf(s.HTTP), TLSPort: portOf(s.TLS)})
	ca.Down()
	s.open(s.config(s.auto(ca)))
	if _, err := s.dial(s.Host, ca.Roots); err == nil {
		t.Error("a handshake without a certificate")
	}
	s.until("the failure", func() bool { return s.own().Problem != "" })
	if own := s.own(); own.Problem != "the certificate authority could not be reached" || !own.Expires.IsZero() || own.At.IsZero() || s.Status().Ready(time.Now()) {
		t.Errorf("status %+v", s.Status())
	}
	s.until("the back-off", func() bool { return s.Log.has("retrying_in=1m0s") })
	s.shut()
	ca.Up()
	s.open(s.config(s.auto(ca)))
	s.eventually(s.Host, ca.Roots)
	if own := s.own(); own.Problem != "" {
		t.Errorf("status %+v", own)
	}
}
