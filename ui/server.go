package ui

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"podgate/account"
	"podgate/history"
	"podgate/internal/web"
	"podgate/oauth"
	"podgate/pods"
)

// Config is what a Server needs. Issuer and Account are required.
type Config struct {
	Issuer  string // scheme://host[:port], as in the metadata documents
	Account *account.Service
	Pods    *pods.Service     // nil: the home page says that there is none
	History *history.Recorder // of the timeline and the audit list; nil: none
	Log     *slog.Logger
	Now     func() time.Time
	// TrustedProxies may say in X-Forwarded-For where a request came from.
	TrustedProxies []netip.Prefix
}

// Server serves the pages. It is an oauth.Pages and an oauth.Sessions.
type Server struct {
	issuer   string
	host     string // of the issuer, as people read it
	secure   bool   // the issuer is https
	local    bool   // the issuer is this computer
	pageHost web.PageHost
	account  *account.Service
	pods     *pods.Service
	history  *history.Recorder
	log      *slog.Logger
	now      func() time.Time
	trusted  []netip.Prefix
	assets   *assets
	pages    *pages
}

var (
	_ oauth.Pages    = (*Server)(nil)
	_ oauth.Sessions = (*Server)(nil)
)

// New returns a server, or an error when the issuer is not an http or https
// origin.
func New(cfg Config) (*Server, error) {
	u, err := url.Parse(cfg.Issuer)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || cfg.Issuer != u.Scheme+"://"+u.Host {
		return nil, fmt.Errorf("ui: issuer %q is not a bare http or https origin", cfg.Issuer)
	}
	s := &Server{
		issuer: cfg.Issuer, host: u.Host, secure: u.Scheme == "https", local: isLocal(u.Hostname()), pageHost: web.NewPageHost(cfg.Issuer),
		account: cfg.Account, pods: cfg.Pods, history: cfg.History, log: cfg.Log, now: cfg.Now, trusted: cfg.TrustedProxies,
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.assets, err = loadAssets(); err != nil {
		return nil, err
	}
	s.pages, err = parsePages(s.assets)
	return s, err
}

// isLocal reports whether only programs on this computer can reach the host.
func isLocal(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// Routes returns every route of this package.
func (s *Server) Routes() []web.Route {
	page := func(method, path string, h web.Handler) web.Route {
		return web.Route{Method: method, Path: path, Handler: h, Errors: s.WriteError, Page: true}
	}
	return []web.Route{
		page(http.MethodGet, "/", s.serveHome),
		page(http.MethodGet, "/setup", s.serveSetup),
		page(http.MethodPost, "/setup", s.form(s.handleSetup)),
		page(http.MethodGet, "/sign-in", s.serveSignIn),
		page(http.MethodPost, "/sign-in", s.form(s.handleSignIn)),
		page(http.MethodPost, "/sign-out", s.form(s.handleSignOut)),
		page(http.MethodGet, "/account", s.signedIn(s.serveAccount)),
		page(http.MethodPost, "/account/password", s.form(s.signedIn(s.handlePassword))),
		page(http.MethodPost, "/account/end-session", s.form(s.signedIn(s.handleEndSession))),
		page(http.MethodGet, "/account/log-out-everywhere", s.signedIn(s.serveLogOutEverywhere)),
		page(http.MethodPost, "/account/log-out-everywhere", s.form(s.signedIn(s.handleLogOutEverywhere))),
		page(http.MethodGet, "/activity", s.signedIn(s.serveActivity)),
		page(http.MethodGet, "/audit", s.signedIn(s.serveAudit)),
		page(http.MethodGet, "/connection/:id/limits", s.signedIn(s.serveLimits)),
		page(http.MethodPost, "/connection/:id/limits", s.form(s.signedIn(s.handleLimits))),
		page(http.MethodGet, "/connection/:id/revoke", s.signedIn(s.serveRevoke)),
		page(http.MethodPost, "/connection/:id/revoke", s.form(s.signedIn(s.handleRevoke))),
		// Error pages want them under any name.
		{Method: http.MethodGet, Path: "/assets/:name", Handler: s.serveAsset, Errors: s.WriteError},
	}
}

// maxForm bounds the body of a form. The largest is a sign-in: a long next, a
// long password, all of it percent-encoded.
const maxForm = 32 << 10

// form refuses what does not come from our own pages before anything else is
// looked at, and parses the fields.
func (s *Server) form(h web.Handler) web.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := s.pageHost.SameOrigin(r); err != nil {
			return err
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		if err := r.ParseForm(); err != nil {
			return badForm(err)
		}
		return h(w, r)
	}
}
