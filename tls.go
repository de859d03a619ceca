package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"podgate/certs"
	"podgate/internal/config"
	"podgate/internal/web"
	"podgate/pods"
)

// listenTLS opens the ports that visitors come to when podgate answers https
// itself.
func (srv *server) listenTLS(ctx context.Context) error {
	c := srv.settings.TLS
	if !c.On() {
		return nil
	}
	for _, l := range []struct {
		addr, what string
		to         *[]net.Listener
	}{{c.Listen, "https", &srv.secure}, {c.HTTPListen, "http", &srv.plain}} {
		if l.addr == "" {
			continue
		}
		listeners, err := srv.listenAt(ctx, l.addr)
		if err != nil {
			return tlsListenWords(err, l.addr, l.what)
		}
		*l.to = listeners
		for _, ln := range listeners {
			srv.onStop(func() error { return ignoreClosed(ln.Close()) })
			srv.log.Info("listening for "+l.what, "address", ln.Addr().String())
		}
	}
	return nil
}

// openCerts begins to keep certificates; it never waits for an authority.
func (srv *server) openCerts(context.Context) error {
	c := srv.settings.TLS
	if !c.On() {
		return nil
	}
	conf := certs.Config{
		Host: srv.issuer.Hostname(), PodsDomain: srv.settings.Pods.CertDomain(), Pod: func(name string) (bool, error) { return pods.Exists(srv.db, name) }, Log: srv.log, Now: time.Now,
	}
	if c.Mode == config.TLSFiles {
		conf.Files = pairs(c)
	} else {
		auto, err := srv.auto()
		if err != nil {
			return err
		}
		conf.Auto = auto
	}
	manager, err := certs.Open(conf)
	if err != nil {
		return err
	}
	srv.certs = manager
	srv.onStop(func() error { manager.Close(); return nil })
	return nil
}

// pairs are the files of tls.mode = "files".
func pairs(c config.TLS) []certs.Pair {
	var list []certs.Pair
	for i, file := range c.CertFiles {
		list = append(list, certs.Pair{Cert: file, Key: c.KeyFiles[i]})
	}
	return list
}

// auto puts together how certificates come from an authority.
func (srv *server) auto() (*certs.Auto, error) {
	c := srv.settings.TLS
	dir, err := filepath.Abs(filepath.Join(srv.settings.DataDir, "certificates"))
	if err != nil {
		return nil, err
	}
	key, err := config.SecretFile(c.EABKeyFile)
	if err != nil {
		return nil, err
	}
	token, err := config.SecretFile(c.CloudflareTokenFile)
	if err != nil {
		return nil, err
	}
	auto := &certs.Auto{
		Dir: dir, CA: c.CA, Email: c.Email, Roots: c.CARootFile, AccountID: c.EABKeyID, AccountKey: key,
		ListenHost: hostOf(c.Listen), TLSPort: portOf(srv.secure[0]),
		PodsPerHour: c.PodCertificatesPerHour, PodsMax: c.PodCertificates,
	}
	if len(srv.plain) > 0 {
		auto.HTTPPort = portOf(srv.plain[0])
	}
	if c.DNSScript != "" || token != "" {
		auto.DNS = &certs.DNS{Script: c.DNSScript, CloudflareToken: token, Resolvers: c.DNSResolvers}
	}
	return auto, nil
}

func hostOf(addr string) string {
	host, _, _ := net.SplitHostPort(addr) // checked with the configuration
	return host
}

// servePlain answers the port of plain HTTP: authorities that validate a name,
// and people who have typed no scheme.
func (srv *server) servePlain() http.Handler {
	stack := &web.Stack{Log: srv.log, Now: time.Now}
	return srv.certs.Challenges(stack.Handle(srv.redirectToHTTPS, writeUnrouted))
}

// redirectToHTTPS sends on what can be sent on without loss. A redirect would
// lose the body and the Authorization header of other requests, and hide that a
// secret has just crossed the network in clear.
func (srv *server) redirectToHTTPS(w http.ResponseWriter, r *http.Request) error {
	target, ok := srv.secureURL(r)
	if !ok {
		return refuseHost(srv.issuer.String())(w, r)
	}
	// A target that is no path (RFC 9112 section 3.2) could make another host of
	// ours: https://HOST and @evil.example.
	if provesName(r) || !strings.HasPrefix(r.URL.RequestURI(), "/") {
		return notFound(w, r)
	}
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		http.Redirect(w, r, target+r.URL.RequestURI(), http.StatusMovedPermanently)
		return nil
	}
	return web.Fault(http.StatusBadRequest, "https_required",
		"This came unencrypted and was not read. Send it to "+target+" instead. If it held a password or a token, take that out of use: others may have seen it.", nil).
		With("Connection", "close")
}

// provesName reports whether an authority asks for the proof that somebody holds
// a name (RFC 8555 section 8.3, and the path of others, CA/Browser Forum
// baseline requirements 3.2.2.4.18).
func provesName(r *http.Request) bool {
	return strings.HasPrefix(r.URL.Path, "/.well-known/acme-challenge/") || strings.HasPrefix(r.URL.Path, "/.well-known/pki-validation/")
}

// withoutProofs keeps such questions from the apps of pods. An app that could
// answer would get a certificate for its name that outlives the pod: whoever has
// the name next could be listened to. All others pass, and are counted.
func withoutProofs(stack *web.Stack, pods func(http.ResponseWriter, *http.Request, string)) func(http.ResponseWriter, *http.Request, string) {
	absent := stack.Handle(notFound, writeUnrouted)
	return func(w http.ResponseWriter, r *http.Request, name string) {
		if provesName(r) {
			absent.ServeHTTP(w, r)
			return
		}
		stack.Pass(w, r, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { pods(w, r, name) }))
	}
}

// secureURL is the origin over https of the Host that a request names, if that
// is ours.
func (srv *server) secureURL(r *http.Request) (string, bool) {
	host, ok := hostName(r.Host)
	if !ok {
		return "", false
	}
	if host == srv.issuer.Hostname() || config.IsLoopback(host) {
		return srv.issuer.String(), true
	}
	name, below := strings.CutSuffix(host, "."+srv.settings.Pods.CertDomain())
	if srv.settings.Pods.CertDomain() == "" || !below || strings.Contains(name, ".") {
		return "", false
	}
	return srv.podURL()(name), true
}

// strictTransport tells browsers to use nothing but https under podgate's own
// name (RFC 6797), as soon as its certificate is one that they accept. Pods'
// apps decide for themselves.
func (srv *server) strictTransport(next http.Handler) http.Handler {
	if srv.certs == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS != nil && srv.certs.PubliclyTrusted() {
			w.Header().Set("Strict-Transport-Security", "max-age=31536000")
		}
		next.ServeHTTP(w, r)
	})
}

// tlsListenWords says what to do when a port of https cannot be had.
func tlsListenWords(err error, addr, what string) error {
	key := map[string]string{"https": "tls.listen", "http": "tls.http_listen"}[what]
	switch {
	case isInUse(err):
		return fmt.Errorf("another program listens on %s already. If it is a proxy in front of podgate, write mode = \"off\" below [tls]; else stop it, or change %s: %w", addr, key, errors.Unwrap(err))
	case isDenied(err):
		return fmt.Errorf("the system does not let this user listen on %s. %s: %w", addr, config.PortAdvice, errors.Unwrap(err))
	}
	return err
}
