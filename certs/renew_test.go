package certs

import (
	"strings"
	"testing"
	"time"

	"podgate/internal/acmetest"
)

// A certificate is renewed before it ends. While the authority is away the one
// that is there serves on, and the status says what is wrong.
func TestRenewal(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	ca := acmetest.Start(t, acmetest.Options{HTTPPort: portOf(s.HTTP), TLSPort: portOf(s.TLS), Validity: 18 * time.Second})
	auto := s.auto(ca)
	auto.noARI = true
	cfg := s.config(auto)
	cfg.CheckEvery = 200 * time.Millisecond
	s.open(cfg)
	first := s.eventually(s.Host, ca.Roots)
	s.until("a renewal", func() bool {
		leaf, err := s.dial(s.Host, ca.Roots)
		if err != nil && time.Now().Before(first.NotAfter) {
			t.Fatalf("a gap between two certificates: %v", err)
		}
		return err == nil && !leaf.Equal(first)
	})
	if !time.Now().Before(first.NotAfter) {
		t.Error("it was renewed only after its end")
	}
	ca.Down()
	s.until("the failure", func() bool { return s.own().Problem != "" })
	if _, err := s.dial(s.Host, ca.Roots); err != nil {
		t.Errorf("while the authority is away: %v", err)
	}
	if own := s.own(); own.Problem != "the certificate authority could not be reached" || !s.Status().Ready(time.Now()) {
		t.Errorf("status %+v", s.Status())
	}
	// certmagic runs one job a name at a time in the whole process, which a real
	// restart would end.
	s.until("the end of the try", func() bool { return s.Log.has("job failed") })
	s.shut()
	ca.Up()
	orders := ca.Orders()
	s.open(cfg)
	s.until("the renewal", func() bool { return ca.Orders() > orders && s.own().Problem == "" })
}

// The authority asks for an account that it knows, and is shown it.
func TestExternalAccount(t *testing.T) {
	t.Parallel()
	const key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
	s := newSite(t)
	ca := acmetest.Start(t, acmetest.Options{HTTPPort: portOf(s.HTTP), TLSPort: portOf(s.TLS), AccountKey: key})
	auto := s.auto(ca)
	s.open(s.config(auto))
	s.until("the refusal", func() bool { return strings.Contains(s.own().Problem, "tls.eab_key_id") })
	s.shut()
	auto.AccountID, auto.AccountKey = "kid", key
	s.open(s.config(auto))
	s.eventually(s.Host, ca.Roots)
	if s.Log.has(key) {
		t.Error("the account's key is in the log")
	}
}

// An authority whose own address nobody vouches for is not talked to.
func TestAuthorityNeedsItsRoot(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	ca := acmetest.Start(t, acmetest.Options{HTTPPort: portOf(s.HTTP), TLSPort: portOf(s.TLS)})
	auto := s.auto(ca)
	auto.Roots = ""
	s.open(s.config(auto))
	s.until("the failure", func() bool { return s.own().Problem != "" })
	if ca.Requests() != 0 {
		t.Errorf("%d requests", ca.Requests())
	}
}

// A name that the authority does not issue for.
func TestRejectedName(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	ca := acmetest.Start(t, acmetest.Options{HTTPPort: portOf(s.HTTP), TLSPort: portOf(s.TLS), Blocked: []string{s.Host}})
	s.open(s.config(s.auto(ca)))
	s.until("the refusal", func() bool { return s.own().Problem == "the certificate authority issues nothing for this name" })
}

// Nobody answers where the authority looks: the words say what to look at, and
// not where anything is.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	ca := acmetest.Start(t, acmetest.Options{})
	s.open(s.config(s.auto(ca)))
	s.until("the refusal", func() bool { return strings.Contains(s.own().Problem, "firewall") })
	if strings.Contains(s.own().Problem, "127.0.0.1") {
		t.Error(s.own().Problem)
	}
}
