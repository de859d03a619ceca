package page

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"podgate/account"
	"podgate/history"
	"podgate/internal/web"
	"podgate/store"
)

// Config is what a Shell needs. Issuer and Account are required.
type Config struct {
	Issuer  string // scheme://host[:port], as in the metadata documents
	Account *account.Service
	History *history.Recorder // of the timeline and the audit list; nil: none
	Log     *slog.Logger
	Now     func() time.Time
	// TrustedProxies may say in X-Forwarded-For where a request came from.
	TrustedProxies []netip.Prefix
}

// Shell is what all pages share.
type Shell struct {
	Issuer   string
	Host     string // of the issuer, as people read it
	Secure   bool   // the issuer is https
	Local    bool   // the issuer is this computer
	PageHost web.PageHost
	Account  *account.Service
	History  *history.Recorder
	Log      *slog.Logger
	Now      func() time.Time
	// CountFailed returns how many pods of a person failed, without waiting for
	// anybody; nil: nobody knows.
	CountFailed func(context.Context, store.UserID) int

	trusted []netip.Prefix
	assets  *assets
	notices map[string]Notice
	own     *Area
}

// New returns a shell, or an error when the issuer is not an http or https
// origin.
func New(cfg Config) (*Shell, error) {
	u, err := url.Parse(cfg.Issuer)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || cfg.Issuer != u.Scheme+"://"+u.Host {
		return nil, fmt.Errorf("ui: issuer %q is not a bare http or https origin", cfg.Issuer)
	}
	s := &Shell{
		Issuer: cfg.Issuer, Host: u.Host, Secure: u.Scheme == "https", Local: IsLocal(u.Hostname()), PageHost: web.NewPageHost(cfg.Issuer),
		Account: cfg.Account, History: cfg.History, Log: cfg.Log, Now: cfg.Now, trusted: cfg.TrustedProxies, notices: map[string]Notice{},
	}
	if s.Log == nil {
		s.Log = slog.New(slog.DiscardHandler)
	}
	if s.Now == nil {
		s.Now = time.Now
	}
	if s.assets, err = loadAssets(); err != nil {
		return nil, err
	}
	s.own, err = s.NewArea(files, nil)
	return s, err
}

// IsLocal reports whether only programs on this computer can reach the host.
func IsLocal(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// Routes are the routes of what all pages need.
func (s *Shell) Routes() []web.Route {
	return []web.Route{
		// Error pages want them under any name.
		{Method: http.MethodGet, Path: "/assets/:name", Handler: s.serveAsset, Errors: s.WriteError},
		{Method: http.MethodGet, Path: "/manifest.webmanifest", Handler: s.serveManifest, Errors: s.WriteError},
	}
}

// Get is the route of a page.
func (s *Shell) Get(path string, h web.Handler) web.Route {
	return web.Route{Method: http.MethodGet, Path: path, Handler: h, Errors: s.WriteError, Page: true}
}

// Post is the route of a form, which counts only from our own pages.
func (s *Shell) Post(path string, h web.Handler) web.Route {
	return web.Route{Method: http.MethodPost, Path: path, Handler: s.Form(h), Errors: s.WriteError, Page: true}
}

// maxForm bounds the body of a form. The largest of the usual ones is a sign-in:
// a long next, a long password, all of it percent-encoded.
const maxForm = 32 << 10

// Form refuses what does not come from our own pages before anything else is
// looked at, and parses the fields.
func (s *Shell) Form(h web.Handler) web.Handler { return s.FormUpTo(maxForm, h) }

// FormUpTo is Form for a form whose body has at most so many bytes.
func (s *Shell) FormUpTo(size int64, h web.Handler) web.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := s.PageHost.SameOrigin(r); err != nil {
			return err
		}
		r.Body = http.MaxBytesReader(w, r.Body, size)
		if err := r.ParseForm(); err != nil {
			return BadForm(err)
		}
		return h(w, r)
	}
}

// Record puts what a person did into the audit list. failed is why it was
// refused; nil: it was done.
func (s *Shell) Record(r *http.Request, p Person, action store.AuditAction, object string, failed error) {
	s.Audit(r, p, store.AuditEntry{Action: action, Object: object, Outcome: OutcomeOf(failed)})
}

// Audit is Record for an entry that says more; the person is filled in.
func (s *Shell) Audit(r *http.Request, p Person, e store.AuditEntry) {
	e.Actor, e.ActorName = p.User.ID, p.User.Email
	s.History.Audit(s.History.Visitor(r), e)
}
