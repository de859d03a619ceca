package oauth

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/julienschmidt/httprouter"

	"podgate/internal/authz"
	"podgate/internal/web"
	"podgate/store"
	"podgate/store/storetest"
)

const (
	testIssuer = "https://pods.example.com"
	// The pair of RFC 7636 appendix B.
	testVerifier  = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
	testChallenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
	testRedirect  = "http://localhost:4711/callback"
)

// fixture is a server over a fresh store in which alice owns red, and alice and
// bob are in blue. Carol is in no team.
type fixture struct {
	*Server
	testing.TB
	handler http.Handler
	pages   *fakePages
	clock   *fakeClock
	reached *counter // requests that got past Bearer
}

type fakeClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *fakeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *fakeClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

type counter struct {
	mu sync.Mutex
	n  int
}

func (c *counter) add() { c.mu.Lock(); c.n++; c.mu.Unlock() }

func (c *counter) get() int { c.mu.Lock(); defer c.mu.Unlock(); return c.n }

func newFixture(t testing.TB, change ...func(*Config)) *fixture {
	t.Helper()
	return newFixtureOn(t, storetest.New(t), change...)
}

// newFixtureOn is newFixture over a store of the caller's.
func newFixtureOn(t testing.TB, db *store.DB, change ...func(*Config)) *fixture {
	t.Helper()
	f := &fixture{TB: t, clock: &fakeClock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}, reached: &counter{}}
	f.pages = &fakePages{}
	c := Config{
		Issuer: testIssuer, DB: db, Pages: f.pages, Log: slog.New(slog.DiscardHandler), Now: f.clock.Now,
		Docs: "https://docs.example.com/podgate", RefreshTTL: 90 * 24 * time.Hour, ClientDocuments: true, fetch: offline(),
	}
	c.Sessions = &fakeSessions{db: c.DB, now: c.Now}
	for _, f := range change {
		f(&c)
	}
	f.populate(c.DB)
	var err error
	if f.Server, err = New(c); err != nil {
		t.Fatal(err)
	}
	f.handler = f.mount(http.HandlerFunc(f.standIn))
	return f
}

func (f *fixture) populate(db *store.DB) {
	now := f.clock.Now()
	for _, name := range []string{"alice", "bob", "carol"} {
		f.must(db.CreateUser(store.User{ID: store.UserID(name), Email: name + "@example.com", Created: now}))
		f.must(db.CreateSession(store.Session{Hash: store.HashSecret(name), User: store.UserID(name), Created: now, LastUsed: now, Expires: now.Add(store.SessionTTL)}))
	}
	member := func(team, user string, role store.Role) store.Member {
		return store.Member{Team: store.TeamID(team), User: store.UserID(user), Role: role, Created: now}
	}
	f.must(db.CreateTeam(store.Team{ID: "red", Slug: "red", Name: "Red", Created: now}, member("red", "alice", store.RoleOwner)))
	f.must(db.CreateTeam(store.Team{ID: "blue", Slug: "blue", Name: "Blue", Created: now}, member("blue", "alice", store.RoleMember), member("blue", "bob", store.RoleMember)))
}

// mount puts the routes on a router as package main does, with resource behind
// Bearer.
func (f *fixture) mount(resource http.Handler) http.Handler {
	stack := &web.Stack{Log: f.log, Now: f.now}
	router := httprouter.New()
	for _, route := range f.Routes() {
		h := stack.Handle(route.Handler, route.Errors)
		if route.CORS {
			h = web.CORS("GET, POST", h)
		}
		router.Handler(route.Method, route.Path, h)
	}
	for _, method := range []string{"GET", "HEAD", "POST", "DELETE", "OPTIONS"} {
		router.Handler(method, "/api/mcp", web.CORS("GET, HEAD, POST, DELETE", f.Bearer(resource)))
	}
	return router
}

// standIn is a resource that says who reached it.
func (f *fixture) standIn(w http.ResponseWriter, r *http.Request) {
	f.reached.add()
	a := authz.FromContext(r.Context())
	_, _ = fmt.Fprintf(w, "user %s team %s role %s scopes %s\n", a.User, a.Team.ID, a.Role, joinScopes(a.Scopes))
	if a.Limits != (store.Limits{}) {
		_, _ = fmt.Fprintf(w, "limits %v\n", authz.LimitWords(a.Limits))
	}
}

func (f *fixture) must(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

// fakePages writes what it is told as lines of text.
type fakePages struct {
	mu   sync.Mutex
	last Consent
}

func (p *fakePages) SignIn(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Location", "/signin?next="+url.QueryEscape(r.URL.RequestURI()))
	w.WriteHeader(http.StatusSeeOther)
	return nil
}

func (p *fakePages) Consent(w http.ResponseWriter, _ *http.Request, c Consent) error {
	p.mu.Lock()
	p.last = c
	p.mu.Unlock()
	w.Header().Set("Content-Type", "text/plain")
	described := ""
	if c.DocumentHost != "" {
		described = "described by: " + c.DocumentHost + "\n"
	}
	_, _ = fmt.Fprintf(w, "CONSENT %s\nuser: %s\nclient: %q\nhost: %s loopback: %v\n%slasts: %v\n", c.Handle, c.User.Email, c.ClientName, c.RedirectHost, c.Loopback, described, max(c.AccessTTL, c.RefreshTTL))
	if c.DocumentCopied != "" {
		_, _ = fmt.Fprintf(w, "copied: %s\n", c.DocumentCopied)
	}
	for _, m := range c.Teams {
		_, _ = fmt.Fprintf(w, "team: %s %s\n", m.Team.ID, m.Role)
	}
	for _, s := range c.Scopes {
		_, _ = fmt.Fprintf(w, "scope: %s %v %s\n", s.Scope, s.Checked, s.Text)
		if s.New {
			_, _ = fmt.Fprintln(w, "  new")
		}
		if s.Unasked {
			_, _ = fmt.Fprintln(w, "  has already")
		}
	}
	for _, h := range c.Withheld {
		_, _ = fmt.Fprintf(w, "withheld: %s, because %s\n", h.Text, h.Why)
	}
	for _, l := range c.TeamLimits {
		_, _ = fmt.Fprintf(w, "team limits: %s\n", l)
	}
	if e := c.Earlier; e.Count > 0 {
		_, _ = fmt.Fprintf(w, "replace: %v, %d since %s\n", e.Replace, e.Count, e.Since.Format(time.RFC3339))
	}
	if c.Filled != "" {
		_, _ = fmt.Fprintf(w, "connected: %s\n", c.Filled)
	}
	if c.Limits != (authz.LimitFields{}) {
		_, _ = fmt.Fprintf(w, "limits: read-only %v, prefix %q, pods %q\n", c.Limits.ReadOnly, c.Limits.Prefix, c.Limits.MaxPods)
	}
	if c.Fault != "" {
		_, _ = fmt.Fprintf(w, "fault: %s\nchosen: %q\n", c.Fault, c.Team)
	}
	if c.LimitFault != "" {
		_, _ = fmt.Fprintf(w, "wrong: %s\n", c.LimitFault)
	}
	return nil
}

func (p *fakePages) AuthorizeError(w http.ResponseWriter, _ *http.Request, e AuthorizeError) error {
	w.Header().Set("Content-Type", "text/plain")
	w.WriteHeader(e.Status)
	_, _ = fmt.Fprintf(w, "%s\n%s\n", e.Title, e.Message)
	if e.Return != "" {
		_, _ = fmt.Fprintf(w, "Return to %s: %s\n", e.ReturnHost, e.Return)
	}
	return nil
}

// fakeSessions takes the cookie «session» for the secret of a stored session.
type fakeSessions struct {
	db  *store.DB
	now func() time.Time
}

func (s *fakeSessions) Current(r *http.Request) (store.Session, store.User, bool) {
	c, err := r.Cookie("session")
	if err != nil {
		return store.Session{}, store.User{}, false
	}
	session, user, err := s.db.Session(store.HashSecret(c.Value), s.now())
	return session, user, err == nil
}

// answer is a response that was read to its end.
type answer struct {
	status int
	header http.Header
	body   string
}

// send serves one request. headers are «Name: value» lines.
func (f *fixture) send(method, target, body string, headers ...string) answer {
	f.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Host = "wrong.example" // nothing may depend on it
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if r.Header.Add(name, value); name == "Host" {
			r.Host = value
		}
	}
	w := httptest.NewRecorder()
	f.handler.ServeHTTP(w, r)
	raw, err := io.ReadAll(w.Result().Body)
	f.must(err)
	return answer{w.Code, w.Result().Header, string(raw)}
}

// values makes url.Values of «name=value» strings.
func values(pairs ...string) url.Values {
	v := url.Values{}
	for _, p := range pairs {
		name, value, _ := strings.Cut(p, "=")
		v.Add(name, value)
	}
	return v
}

// with returns a copy of v in which each pair replaces its name; «name» alone
// removes it.
func with(v url.Values, pairs ...string) url.Values {
	c := url.Values{}
	for name, list := range v {
		c[name] = list
	}
	for _, p := range pairs {
		name, value, found := strings.Cut(p, "=")
		if c.Del(name); found {
			c.Set(name, value)
		}
	}
	return c
}

func (f *fixture) register(redirects ...string) store.ClientID {
	f.Helper()
	if len(redirects) == 0 {
		redirects = []string{testRedirect}
	}
	c := store.Client{
		ID: store.ClientID(store.NewID()), Name: "Test Assistant", RedirectURIs: redirects, GrantTypes: grantTypeNames(true),
		Created: f.now(), Expires: f.now().Add(store.ClientUnusedTTL),
	}
	f.must(f.db.CreateClient(c))
	return c.ID
}

func request(client store.ClientID) url.Values {
	return values("response_type=code", "client_id="+string(client), "redirect_uri="+testRedirect, "code_challenge="+testChallenge,
		"code_challenge_method=S256", "state=xyz", "resource="+testIssuer+resourcePath)
}

func (f *fixture) authorize(q url.Values, user string) answer {
	f.Helper()
	return f.send("GET", "/oauth/authorize?"+q.Encode(), "", "Cookie: session="+user)
}

var handlePattern = regexp.MustCompile(`CONSENT (\S+)`)

// handle returns the request handle of a consent page.
func (f *fixture) handle(a answer) string {
	f.Helper()
	m := handlePattern.FindStringSubmatch(a.body)
	if m == nil {
		f.Fatalf("no consent page: %d %s", a.status, a.body)
	}
	return m[1]
}

func (f *fixture) decide(v url.Values, user string, headers ...string) answer {
	f.Helper()
	if len(headers) == 0 {
		headers = []string{"Origin: " + testIssuer}
	}
	return f.send("POST", "/oauth/authorize", v.Encode(), append(headers, "Cookie: session="+user, "Content-Type: application/x-www-form-urlencoded")...)
}

func approval(handle, team string) url.Values {
	return values("request="+handle, "filled="+team, "team="+team, "scope=pods:read", "scope=pods:exec", "decision=approve")
}

// code takes user through consent for client and team.
func (f *fixture) code(client store.ClientID, user, team string) string {
	f.Helper()
	a := f.decide(approval(f.handle(f.authorize(request(client), user)), team), user)
	return f.location(a).Get("code")
}

// location returns the query that a redirect carries.
func (f *fixture) location(a answer) url.Values {
	f.Helper()
	u, err := url.Parse(a.header.Get("Location"))
	if err != nil || a.status != http.StatusSeeOther {
		f.Fatalf("not a redirect: %d %s %v", a.status, a.body, err)
	}
	return u.Query()
}

func exchange(client store.ClientID, code string) url.Values {
	return values("grant_type=authorization_code", "client_id="+string(client), "code="+code, "redirect_uri="+testRedirect, "code_verifier="+testVerifier)
}

func (f *fixture) post(path string, v url.Values, headers ...string) answer {
	f.Helper()
	return f.send("POST", path, v.Encode(), append(headers, "Content-Type: application/x-www-form-urlencoded")...)
}

var tokenPattern = regexp.MustCompile(`pgat_[a-z2-7]{26}[A-Za-z0-9_-]{43}`)

var refreshPattern = regexp.MustCompile(`pgrt_[a-z2-7]{26}[A-Za-z0-9_-]{65}`)

// credential is an access token as the store knows it.
func credential(token string) store.Credential {
	c, _ := accessToken(token)
	return c
}

// connect makes a whole connection and returns its access token.
func (f *fixture) connect(client store.ClientID, user, team string) string {
	f.Helper()
	access, _ := f.connectBoth(client, user, team)
	return access
}

// connectBoth is connect, and returns the refresh token too; empty without one.
func (f *fixture) connectBoth(client store.ClientID, user, team string) (access, refresh string) {
	f.Helper()
	return f.tokens(f.post("/api/oauth/token", exchange(client, f.code(client, user, team))))
}

// tokens returns what the token endpoint gave.
func (f *fixture) tokens(a answer) (access, refresh string) {
	f.Helper()
	if a.status != http.StatusOK {
		f.Fatalf("no token: %d %s", a.status, a.body)
	}
	return tokenPattern.FindString(a.body), refreshPattern.FindString(a.body)
}

// refreshing is a refresh request (RFC 6749 section 6).
func refreshing(client store.ClientID, token string) url.Values {
	return values("grant_type=refresh_token", "client_id="+string(client), "refresh_token="+token)
}

func (f *fixture) refresh(client store.ClientID, token string, pairs ...string) answer {
	f.Helper()
	return f.post("/api/oauth/token", with(refreshing(client, token), pairs...))
}

// call uses a token at the resource.
func (f *fixture) call(token string) answer {
	f.Helper()
	return f.send("POST", "/api/mcp", "{}", "Authorization: Bearer "+token)
}

func trusting(proxy string) func(*Config) {
	return func(c *Config) { c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix(proxy)} }
}
