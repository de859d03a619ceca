package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"podgate/pods/wire"
)

// Config says which names there are and where their certificates come from.
type Config struct {
	// Host is podgate's own name, in lower case.
	Host string
	// PodsDomain is where pods have their names, NAME.PodsDomain; empty: pods
	// have none that a certificate is for.
	PodsDomain string
	// Pod reports whether there is a pod of that name, the label in front of
	// PodsDomain. Needed unless PodsDomain is empty.
	Pod func(name string) (bool, error)

	// Files are certificates that somebody else keeps; Auto is how to get them
	// from an authority. Exactly one of the two is given.
	Files []Pair
	Auto  *Auto

	Log *slog.Logger
	Now func() time.Time
	// CheckEvery is the pause between looks at what is due: files that have
	// changed, certificates to renew. 0: ten seconds for files, ten minutes for
	// renewal, which is certmagic's own.
	CheckEvery time.Duration
	// PublicRoots are who the world trusts; nil: the system's list.
	PublicRoots *x509.CertPool
}

// Manager chooses the certificate of every handshake and keeps them all fresh.
// It is safe for concurrent use.
type Manager struct {
	cfg     Config
	log     *slog.Logger
	source  source
	trusted atomic.Bool
	state   state
	stop    context.CancelFunc
	group   sync.WaitGroup
}

// source is where certificates come from: files or an authority.
type source interface {
	// certificate answers a handshake for Host (pod empty) or for a pod's name.
	certificate(hello *tls.ClientHelloInfo, pod string) (*tls.Certificate, error)
	// challenge answers a handshake of an authority that validates a name.
	challenge(hello *tls.ClientHelloInfo) (*tls.Certificate, error)
	// serveChallenge answers an authority's HTTP request, or reports false.
	serveChallenge(w http.ResponseWriter, r *http.Request, host string) bool
	// leaves returns the certificates of podgate's own names by name; a name
	// without one has nil.
	leaves() map[string]*x509.Certificate
	// run keeps them fresh until ctx ends.
	run(ctx context.Context)
	close()
}

// Open prepares the certificates: files are read, an authority is asked in the
// background. It never waits for the network.
func Open(cfg Config) (*Manager, error) {
	m := &Manager{cfg: cfg, log: cfg.Log, state: state{problems: map[string]problem{}}}
	ctx, stop := context.WithCancel(context.Background())
	m.stop = stop
	var err error
	if cfg.Auto != nil {
		m.source, err = openAuthority(ctx, m)
	} else {
		m.source, err = openFiles(m)
	}
	if err != nil {
		stop()
		return nil, err
	}
	m.group.Go(func() { m.source.run(ctx) })
	return m, nil
}

// Close ends all background work and waits for it.
func (m *Manager) Close() {
	m.stop()
	m.source.close()
	m.group.Wait()
}

// TLSConfig returns the configuration of a server for HTTPS: TLS 1.2 and later,
// HTTP/2, and a handshake for names that are ours only.
func (m *Manager) TLSConfig() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"h2", "http/1.1", challengeProtocol},
		GetCertificate: m.certificate,
	}
}

// challengeProtocol is what an authority speaks that validates a name by a
// handshake (RFC 8737 section 4).
const challengeProtocol = "acme-tls/1"

// errNotOurs refuses a handshake. It does not name the name, which a stranger
// chose.
var errNotOurs = errors.New("there is no certificate for a name that is not ours")

// certificate chooses by the name that the client asks for. Names that can be
// none of ours end here, before anything is looked up.
func (m *Manager) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name := strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
	if len(hello.SupportedProtos) == 1 && hello.SupportedProtos[0] == challengeProtocol {
		return m.source.challenge(hello)
	}
	if name == m.cfg.Host || name == "" && isAddress(m.cfg.Host) {
		return m.source.certificate(hello, "")
	}
	pod, below := strings.CutSuffix(name, "."+m.cfg.PodsDomain)
	if !below || m.cfg.PodsDomain == "" || !wire.Label(pod) {
		return nil, errNotOurs
	}
	return m.source.certificate(hello, pod)
}

// ours reports whether a name may have a certificate here, as far as its form
// says.
func (m *Manager) ours(name string) bool {
	pod, below := strings.CutSuffix(name, "."+m.cfg.PodsDomain)
	return name == m.cfg.Host || below && m.cfg.PodsDomain != "" && wire.Label(pod)
}

// Challenges returns a handler for the port of plain HTTP that answers an
// authority's requests (RFC 8555 section 8.3) and leaves all others to next.
func (m *Manager) Challenges(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, _ := strings.Cut(strings.ToLower(r.Host), ":")
		if strings.HasPrefix(r.URL.Path, "/.well-known/acme-challenge/") && m.ours(host) && m.source.serveChallenge(w, r, host) {
			return
		}
		next.ServeHTTP(w, r)
	})
}

// PubliclyTrusted reports whether the certificate of Host is one that browsers
// everywhere accept. It is false for a private authority and for a self-signed
// certificate, whose visitors must keep the possibility to go on without.
func (m *Manager) PubliclyTrusted() bool { return m.trusted.Load() }

// judge finds out whether the world trusts a chain for Host.
func (m *Manager) judge(chain *tls.Certificate) {
	ok := false
	if chain != nil && chain.Leaf != nil {
		between := x509.NewCertPool()
		for _, raw := range chain.Certificate[1:] {
			if c, err := x509.ParseCertificate(raw); err == nil {
				between.AddCert(c)
			}
		}
		_, err := chain.Leaf.Verify(x509.VerifyOptions{
			DNSName: m.cfg.Host, Roots: m.cfg.PublicRoots, Intermediates: between, CurrentTime: m.cfg.Now(),
		})
		ok = err == nil
	}
	m.trusted.Store(ok)
}
