package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3/acme"
	"go.uber.org/zap"
)

// Auto says how to get certificates from an authority by ACME (RFC 8555).
type Auto struct {
	Dir   string // keeps certificates, keys and the account; made 0700, for this process alone
	CA    string // URL of the authority's directory
	Email string // where the authority writes to; may be empty
	// Roots is a file in PEM of who vouches for a private authority's own
	// address; empty: the system's list.
	Roots string
	// AccountID and AccountKey bind the account to one that the authority has
	// given out (RFC 8555 section 7.3.4); both or neither.
	AccountID, AccountKey string

	// ListenHost, HTTPPort and TLSPort are where this server listens itself. An
	// HTTPPort of 0 leaves HTTP-01 out.
	ListenHost        string
	HTTPPort, TLSPort int

	// DNS sets records for DNS-01, which then is the only way that is used, and
	// gives all pods one wildcard certificate; nil: none.
	DNS *DNS

	// PodsPerHour and PodsMax bound the certificates that are asked for in the
	// names of pods.
	PodsPerHour, PodsMax int

	onlyHTTP bool // leaves TLS-ALPN-01 out, for a test; otherwise certmagic tries both
	// noARI leaves the time of renewal to the certificate alone, for tests with
	// certificates of seconds: Pebble now and then forgets which one is replaced.
	noARI bool
}

// authority gets certificates from an ACME authority.
type authority struct {
	m     *Manager
	auto  *Auto
	cache *certmagic.Cache
	own   *certmagic.Config // Host, and the wildcard when there is one
	pods  *certmagic.Config // pods' names, when they are asked for
	key   string            // of the authority, in the storage
	names []string          // what own manages

	zap     *zap.Logger
	ctx     context.Context // ends with the manager
	waiting chan struct{}   // one for each handshake that waits for the authority

	mu      sync.Mutex
	refused map[string]time.Time // names that are no pod's, until when that is believed
	resting map[string]rest      // pods that the authority refused
	asked   []time.Time          // requests for pods in the last hour
}

// openAuthority begins to keep the certificates of podgate's own names. What
// is in Dir serves at once; the rest comes in the background.
func openAuthority(ctx context.Context, m *Manager) (*authority, error) {
	a := &authority{
		m: m, auto: m.cfg.Auto, zap: bridge(m.log), ctx: ctx, waiting: make(chan struct{}, maxWaiting),
		refused: map[string]time.Time{}, resting: map[string]rest{},
	}
	template, err := a.issuer()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(a.auto.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder for certificates: %w", err)
	}
	// The folder is this process's alone, so whoever left a lock was killed.
	// certmagic would wait for it to grow old.
	if err := os.RemoveAll(filepath.Join(a.auto.Dir, "locks")); err != nil {
		return nil, fmt.Errorf("take away what a killed server left: %w", err)
	}
	a.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert: a.configFor, RenewCheckInterval: m.cfg.CheckEvery, Logger: a.zap,
	})
	a.own = a.config(template, nil)
	a.pods = a.config(template, &certmagic.OnDemandConfig{DecisionFunc: a.decide})
	a.key = a.own.Issuers[0].IssuerKey()
	a.names = []string{m.cfg.Host}
	if a.auto.DNS != nil && m.cfg.PodsDomain != "" {
		a.names = append(a.names, "*."+m.cfg.PodsDomain)
	}
	a.mend(ctx)
	if err := a.own.ManageAsync(ctx, a.names); err != nil {
		a.cache.Stop()
		return nil, fmt.Errorf("begin to keep certificates: %w", err)
	}
	return a, nil
}

// mend takes away certificates whose key is not theirs. A renewal writes the two
// one after the other, and a server that is killed in between leaves a pair that
// certmagic neither serves nor replaces.
func (a *authority) mend(ctx context.Context) {
	folders, err := a.own.Storage.List(ctx, certmagic.StorageKeys.CertsPrefix(a.key), false)
	if err != nil {
		return // there are none yet
	}
	for _, folder := range folders {
		name := path.Base(folder)
		chain, err1 := a.own.Storage.Load(ctx, path.Join(folder, name+".crt"))
		key, err2 := a.own.Storage.Load(ctx, path.Join(folder, name+".key"))
		if err1 != nil || err2 != nil {
			continue // half of a pair counts as none
		}
		if _, err := tls.X509KeyPair(chain, key); err == nil {
			continue
		}
		a.m.log.Warn("a certificate and its key do not belong together; another one is asked for", "name", name)
		if err := a.own.Storage.Delete(ctx, folder); err != nil {
			a.m.log.Error("they could not be removed", "name", name, "error", err)
		}
	}
}

// issuer is the authority, as both configurations use it.
func (a *authority) issuer() (certmagic.ACMEIssuer, error) {
	c := a.auto
	template := certmagic.ACMEIssuer{
		CA: c.CA, Email: c.Email, Agreed: true, Logger: a.zap,
		ListenHost: c.ListenHost, AltHTTPPort: c.HTTPPort, AltTLSALPNPort: c.TLSPort,
		DisableHTTPChallenge: c.HTTPPort == 0, DisableTLSALPNChallenge: c.onlyHTTP,
		// There is one server, and it remembers its challenges.
		DisableDistributedSolvers: true,
		CertObtainTimeout:         obtainTime,
		NewAccountFunc:            c.newAccount,
	}
	if c.AccountID != "" {
		template.ExternalAccount = &acme.EAB{KeyID: c.AccountID, MACKey: c.AccountKey}
	}
	if c.Roots != "" {
		raw, err := os.ReadFile(c.Roots)
		if err != nil {
			return template, fmt.Errorf("read the authority's root: %w", err)
		}
		template.TrustedRoots = x509.NewCertPool()
		if !template.TrustedRoots.AppendCertsFromPEM(raw) {
			return template, fmt.Errorf("%s holds no certificate in PEM", c.Roots)
		}
	}
	if c.DNS != nil {
		template.DNS01Solver = c.DNS.solver(a.zap)
	}
	return template, nil
}

// newAccount is an account as it is about to be registered. Without an address
// certmagic looks for one among its accounts, and takes the folder of one that a
// killed server left half written for its name: no authority accepts that.
func (c *Auto) newAccount(_ context.Context, _ *certmagic.ACMEIssuer, account acme.Account) (acme.Account, error) {
	if c.Email == "" {
		account.Contact = nil
	}
	return account, nil
}

// obtainTime is how long one try to get a certificate may take.
const obtainTime = 90 * time.Second

// config makes a certmagic configuration of its own; onDemand is nil for names
// that are kept whether somebody asks for them or not.
func (a *authority) config(template certmagic.ACMEIssuer, onDemand *certmagic.OnDemandConfig) *certmagic.Config {
	c := certmagic.New(a.cache, certmagic.Config{
		Storage: &certmagic.FileStorage{Path: a.auto.Dir}, Logger: a.zap, OnDemand: onDemand, DisableARI: a.auto.noARI,
		OnEvent: a.event, ShouldEmitFunc: func(event string) bool { return event != "tls_get_certificate" },
		Issuers: []certmagic.Issuer{}, // none yet: an issuer wants to know its configuration
	})
	issuer := certmagic.NewACMEIssuer(c, template)
	c.Issuers = []certmagic.Issuer{issuer}
	if onDemand != nil {
		c.Issuers = []certmagic.Issuer{podIssuer{issuer, a}}
	}
	return c
}

// configFor tells certmagic's upkeep how a certificate is kept: pods' only when
// somebody asks for them.
func (a *authority) configFor(c certmagic.Certificate) (*certmagic.Config, error) {
	if len(c.Names) > 0 && slices.Contains(a.names, c.Names[0]) {
		return a.own, nil
	}
	return a.pods, nil
}

func (a *authority) certificate(hello *tls.ClientHelloInfo, pod string) (*tls.Certificate, error) {
	if pod == "" || len(a.names) > 1 {
		return a.own.GetCertificate(hello)
	}
	return a.podCertificate(hello, pod)
}

// challenge answers only for names that are being validated, so that nobody
// makes the server look for others.
func (a *authority) challenge(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if _, ok := certmagic.GetACMEChallenge(hello.ServerName); !ok {
		return nil, errNotOurs
	}
	return a.own.GetCertificate(hello)
}

func (a *authority) serveChallenge(w http.ResponseWriter, r *http.Request, host string) bool {
	c, ok := certmagic.GetACMEChallenge(host)
	return ok && certmagic.SolveHTTPChallenge(a.zap, w, r, c.Challenge)
}

func (a *authority) leaves() map[string]*x509.Certificate {
	leaves := map[string]*x509.Certificate{}
	for _, name := range a.names {
		leaves[name] = nil
		if c := a.newest(name); c != nil {
			leaves[name] = c.Leaf
		}
	}
	return leaves
}

// newest returns the certificate of a name that lasts longest, or nil.
func (a *authority) newest(name string) *tls.Certificate {
	var best *tls.Certificate
	for _, c := range a.cache.AllMatchingCertificates(name) {
		if best == nil || c.Leaf.NotAfter.After(best.Leaf.NotAfter) {
			best = &c.Certificate
		}
	}
	return best
}

// event hears from certmagic what has come and what has failed.
func (a *authority) event(_ context.Context, event string, data map[string]any) error {
	name, _ := data["identifier"].(string)
	switch event {
	case "cert_obtaining":
		a.m.log.Info("asking the certificate authority", "name", name, "authority", a.auto.CA)
	case "cert_obtained":
		a.m.settle(name)
		a.m.log.Info("the certificate has come", "name", name)
	case "cert_failed":
		err, _ := data["error"].(error)
		if err == nil || errors.Is(err, context.Canceled) {
			return nil // the server stops
		}
		a.m.note(name, err)
		a.m.log.Error("no certificate: "+words(err), "name", name, "error", err)
	case "cached_managed_cert":
		if names, _ := data["sans"].([]string); slices.Contains(names, a.m.cfg.Host) {
			a.m.judge(a.newest(a.m.cfg.Host))
		}
	}
	return nil
}

// upkeepEvery is how often what is left of deleted pods is taken away.
const upkeepEvery = time.Hour

// run takes away what is no longer needed, and looks whether the certificate
// is still one that the world trusts.
func (a *authority) run(ctx context.Context) {
	every := a.m.cfg.CheckEvery
	if every == 0 {
		every = upkeepEvery
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		a.prune(ctx)
		a.m.judge(a.newest(a.m.cfg.Host))
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (a *authority) close() { a.cache.Stop() }
