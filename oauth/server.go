package oauth

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/singleflight"

	"podgate/history"
	"podgate/internal/authz"
	"podgate/internal/ratelimit"
	"podgate/internal/web"
	"podgate/internal/webfetch"
	"podgate/store"
)

const (
	defaultAccessTTL = 30 * 24 * time.Hour
	defaultCodeTTL   = 10 * time.Minute
	// requestTTL is how long a person may look at the consent page.
	requestTTL = 30 * time.Minute
)

// Config is what a Server is made of.
type Config struct {
	Issuer          string   // the public URL: scheme and host, no trailing slash
	Aliases         []string // further origins at which this is the same server: other names of loopback
	DB              *store.DB
	Pages           Pages
	Sessions        Sessions
	AccessTTL       time.Duration     // of access tokens; 0: 30 days
	RefreshTTL      time.Duration     // of refresh tokens since their last use; 0: there are none
	CodeTTL         time.Duration     // of authorization codes; 0: 10 minutes
	Registration    string            // "open" (also when empty), "known" or "off"
	ClientDocuments bool              // clients may identify themselves by the URL of a metadata document
	RedirectSchemes []string          // private-use schemes that redirect URIs may have
	TrustedProxies  []netip.Prefix    // whose X-Forwarded-For counts for rate limits
	Docs            string            // service_documentation; may be empty
	History         *history.Recorder // of the timeline and the audit list; nil: none
	Log             *slog.Logger
	Now             func() time.Time

	fetch *webfetch.Fetcher // for tests alone; nil: one that asks the public internet
}

// Server is the authorization server. It is safe for concurrent use.
type Server struct {
	*identity  // the public one
	audience   audience
	pageHost   web.PageHost
	db         *store.DB
	pages      Pages
	sessions   Sessions
	accessTTL  time.Duration
	refreshTTL time.Duration // 0: no refresh tokens
	codeTTL    time.Duration
	open       bool // clients may register themselves
	schemes    []string
	proxies    []netip.Prefix
	history    *history.Recorder
	log        *slog.Logger
	now        func() time.Time

	limits      limits
	documents   *documents
	recent      *memory[store.Hash, store.ClientID] // who registered what in the last minutes
	registering singleflight.Group                  // registrations under way, by the same key
}

// limits keep one peer from wearing the server out. They are far above what
// real clients do.
type limits struct {
	register  registrationLimit
	visit     *ratelimit.Limiter // requests for and from the consent page, by address
	authorize *ratelimit.Limiter // consent pages, by browser session
	fail      *ratelimit.Limiter // failed token requests, by address; success is free
}

func newLimits() limits {
	return limits{
		register: newRegistrationLimit(),
		// A visit costs a look into the store and no more, so the total only
		// bounds the memory of those that wait.
		visit:     ratelimit.New(120, time.Second, 5000, time.Millisecond),
		authorize: ratelimit.New(30, 5*time.Second, 300, 20*time.Millisecond),
		fail:      ratelimit.New(60, 2*time.Second, 600, 10*time.Millisecond),
	}
}

// New checks the configuration and returns a Server. The error names every
// fault at once.
func New(c Config) (*Server, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	s := &Server{
		audience: newAudience(append([]string{c.Issuer}, c.Aliases...)...), pageHost: web.NewPageHost(c.Issuer), db: c.DB, pages: c.Pages, sessions: c.Sessions,
		accessTTL: orDefault(c.AccessTTL, defaultAccessTTL), refreshTTL: c.RefreshTTL, codeTTL: orDefault(c.CodeTTL, defaultCodeTTL),
		open: c.Registration == "" || c.Registration == "open", schemes: lowered(c.RedirectSchemes), proxies: c.TrustedProxies,
		history: c.History, log: c.Log, now: c.Now, limits: newLimits(), recent: newMemory[store.Hash, store.ClientID](recentTTL, maxRecents),
	}
	s.documents = newDocuments(c, hostOf(c.Issuer))
	s.identity = s.audience[0]
	for _, id := range s.audience {
		id.resourceMetadata = encodeMetadata(describeResource(id, c.Docs))
		id.serverMetadata = encodeMetadata(s.describeServer(id.issuer, c.Docs))
		id.challenges = newChallenges(id.issuer)
	}
	return s, nil
}

func (c Config) check() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf("oauth: "+format, args...)) }
	for _, issuer := range append([]string{c.Issuer}, c.Aliases...) {
		if !isOrigin(issuer) {
			fault("issuer %q is not a bare origin such as https://pods.example.com", issuer)
		}
	}
	if c.DB == nil || c.Pages == nil || c.Sessions == nil || c.Log == nil || c.Now == nil {
		fault("DB, Pages, Sessions, Log and Now are all needed")
	}
	if c.AccessTTL < 0 || c.RefreshTTL < 0 || c.CodeTTL < 0 {
		fault("lifetimes cannot be negative")
	}
	if !slices.Contains([]string{"", "open", "known", "off"}, c.Registration) {
		fault("registration is %q; write open, known or off", c.Registration)
	}
	for _, scheme := range c.RedirectSchemes {
		if err := CheckRedirectScheme(scheme); err != nil {
			fault("redirect scheme: %w", err)
		}
	}
	return errors.Join(faults...)
}

// addrKey is the limiter key of the address that a request came from.
func (s *Server) addrKey(r *http.Request) string {
	return ratelimit.AddrKey(web.ClientAddr(r, s.proxies))
}

// limitVisits refuses an address that comes to the consent page too often.
func (s *Server) limitVisits(r *http.Request) error {
	if wait, ok := s.limits.visit.Allow(s.addrKey(r), s.now()); !ok {
		return tooMany(wait, "authorization requests from this address")
	}
	return nil
}

func orDefault(d, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return d
}

func lowered(list []string) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = strings.ToLower(s)
	}
	return out
}

// Resource returns the identifier of the protected resource, which is the URL
// that people give their assistants.
func (s *Server) Resource() string { return s.resource }

// endpoint is one route with its aliases.
type endpoint struct {
	paths  []string
	get    web.Handler // nil: no GET
	post   web.Handler // nil: no POST
	errors web.ErrorWriter
	head   bool // HEAD is answered like GET
	cors   bool
}

func (s *Server) endpoints() []endpoint {
	return []endpoint{
		{paths: wellKnown("oauth-protected-resource"), get: s.discovered("resource document", s.serveResourceMetadata), errors: writeError, head: true, cors: true},
		{paths: wellKnown("oauth-authorization-server"), get: s.discovered(serverDocumentName, s.serveServerMetadata), errors: writeError, head: true, cors: true},
		{paths: []string{"/api/oauth/register", "/register"}, post: s.traced(history.StepRegister, s.handleRegister), errors: writeError, cors: true},
		{paths: []string{"/oauth/authorize", "/authorize"}, get: navigationsOnly(s.atPages(s.traced(history.StepAuthorize, s.showingRefusals(s.serveAuthorize)))), post: s.showingRefusals(s.handleDecision), errors: s.writePageError},
		{paths: []string{"/api/oauth/token", "/token"}, post: s.traced(history.StepCode, s.handleToken), errors: writeError, cors: true},
		{paths: []string{"/api/oauth/revoke"}, post: s.failuresLimited(s.handleRevoke), errors: writeError, cors: true},
	}
}

// wellKnown returns the root and the path form of a discovery document:
// clients of different ages read one or the other.
func wellKnown(name string) []string {
	return []string{"/.well-known/" + name, "/.well-known/" + name + resourcePath}
}

// Routes returns every route of this package for every method, so that a wrong
// method is answered in the form of its route, with Allow.
func (s *Server) Routes() []web.Route {
	var routes []web.Route
	for _, e := range s.endpoints() {
		for _, path := range e.paths {
			for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
				routes = append(routes, web.Route{Method: method, Path: path, Handler: e.handler(method), Errors: e.errors, CORS: e.cors})
			}
		}
	}
	return routes
}

func (e endpoint) handler(method string) web.Handler {
	switch {
	case method == http.MethodGet && e.get != nil, method == http.MethodHead && e.head:
		return e.get
	case method == http.MethodPost && e.post != nil:
		return e.post
	case method == http.MethodOptions:
		return func(w http.ResponseWriter, _ *http.Request) error {
			w.Header().Set("Allow", e.allow())
			w.WriteHeader(http.StatusNoContent)
			return nil
		}
	}
	refusal := web.Fault(http.StatusMethodNotAllowed, codeMethodNotAllowed, "Use "+e.allow()+" here.", nil).With("Allow", e.allow())
	return func(http.ResponseWriter, *http.Request) error { return refusal }
}

func (e endpoint) allow() string {
	var methods []string
	if e.get != nil {
		methods = append(methods, "GET")
	}
	if e.head {
		methods = append(methods, "HEAD")
	}
	if e.post != nil {
		methods = append(methods, "POST")
	}
	return strings.Join(append(methods, "OPTIONS"), ", ")
}

// defaultScopes is what a client is told to ask for.
func defaultScopes() string { return joinScopes(authz.Scopes()) }
