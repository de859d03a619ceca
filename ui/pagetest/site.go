// Package pagetest has what tests of pages need: a running set of them over a store
// of its own, a small browser that fills in forms, and tabs of a real one.
package pagetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/julienschmidt/httprouter"
	"golang.org/x/net/html"

	"podgate/account"
	"podgate/history"
	"podgate/internal/authz"
	"podgate/internal/web"
	"podgate/internal/webtest"
	"podgate/oauth"
	"podgate/pods"
	"podgate/pods/podstest"
	"podgate/store"
	"podgate/store/storetest"
	"podgate/ui"
	"podgate/ui/page"
)

// Password is everybody's.
const Password = "a long and plain sentence"

// passwordHash is what the account service keeps of Password. To hash it anew for each
// account would be most of the work that tests of pages do.
const passwordHash = "$argon2id$v=19$m=32768,t=2,p=1$c2FsdCBvZiBldmVyeW9uZQ$acJcpLkZAcu0g4R88UrpPKIk8qEFSysHH8P8kp5uYb4"

// Here is an address from which somebody comes.
var Here = netip.MustParseAddr("198.51.100.7")

// Site is a running set of pages over a store of its own.
type Site struct {
	*httptest.Server
	T       testing.TB
	DB      *store.DB
	Account *account.Service
	UI      *ui.Server
	Pods    *pods.Service
	History *history.Recorder
	Fake    *podstest.Fake
	Clock   *Clock
	Log     *strings.Builder

	// client asks for consent at /oauth/authorize; tests may change it.
	Consent oauth.Consent

	// preview serves made-up pages under /preview/NAME.
	Preview map[string]func(http.ResponseWriter, *http.Request) error

	Mu        sync.Mutex
	Decisions []url.Values // what the consent form sent
}

// Clock stands still until a test moves it.
type Clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

type syncWriter struct {
	mu *sync.Mutex
	w  io.Writer
}

func (w syncWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.w.Write(p)
}

// New returns a set of pages in which nothing is yet. change may give it what it
// would not have otherwise.
func New(t testing.TB, change ...func(*ui.Config)) *Site {
	t.Helper()
	s := &Site{T: t, DB: storetest.New(t), Clock: &Clock{at: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}, Log: new(strings.Builder)}
	router := httprouter.New()
	s.Server = httptest.NewServer(router)
	t.Cleanup(s.Close)
	log := slog.New(slog.NewTextHandler(syncWriter{new(sync.Mutex), s.Log}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s.Account = account.New(account.Config{DB: s.DB, Log: log, Now: s.Clock.Now})
	s.Pods, s.Fake = podstest.NewServiceFake(t, s.DB)
	s.Fake.SetAgent(s.Agent)
	s.History = history.New(history.Config{DB: s.DB, Now: s.Clock.Now, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}})
	cfg := ui.Config{Pods: s.Pods, Config: page.Config{
		Issuer: s.Issuer(), Account: s.Account, History: s.History, Log: log, Now: s.Clock.Now,
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")},
	}}
	for _, c := range change {
		c(&cfg)
	}
	server, err := ui.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.UI = server
	stack := &web.Stack{Log: log, Now: s.Clock.Now}
	for _, r := range server.Routes() {
		router.Handler(r.Method, r.Path, stack.Handle(r.Handler, r.Errors))
	}
	router.NotFound = stack.Handle(func(http.ResponseWriter, *http.Request) error { return page.Absent() }, server.WriteError)
	router.MethodNotAllowed = stack.Handle(fails(http.StatusMethodNotAllowed), server.WriteError)
	router.Handler("GET", "/oauth/authorize", stack.Handle(s.Authorize, server.WriteError))
	router.Handler("POST", "/oauth/authorize", stack.Handle(s.Decide, server.WriteError))
	router.Handler("GET", "/preview/:name", stack.Handle(func(w http.ResponseWriter, r *http.Request) error {
		return s.Preview[strings.TrimPrefix(r.URL.Path, "/preview/")](w, r)
	}, server.WriteError))
	router.Handler("GET", "/broken", stack.Handle(func(http.ResponseWriter, *http.Request) error { panic("a secret cause") }, server.WriteError))
	s.Consent = oauth.Consent{
		Handle: "handle-of-the-request", ClientName: "Claude", RedirectHost: "claude.ai", AccessTTL: 30 * 24 * time.Hour,
		Scopes: []oauth.ConsentScope{
			{Scope: authz.ScopeRead, Text: "See pods, read their files and logs", Checked: true},
			{Scope: authz.ScopeWrite, Text: "Create, change and delete pods and their files", Checked: true},
			{Scope: authz.ScopeExec, Text: "Run commands inside pods", Checked: true},
		},
	}
	return s
}

// fails is what the router that the pages stand on does with other paths and
// methods.
func fails(status int) web.Handler {
	return func(http.ResponseWriter, *http.Request) error { return web.Fault(status, "x", "In words.", nil) }
}

// issuer is the origin by name, which clients are given.
func (s *Site) Issuer() string {
	_, port, err := net.SplitHostPort(s.Listener.Addr().String())
	if err != nil {
		s.T.Fatal(err)
	}
	return "http://localhost:" + port
}

// pageOrigin is where browsers find the pages.
func (s *Site) PageOrigin() string { return web.NewPageHost(s.Issuer()).Address() }

// Agent answers for the agents of pods: an app that has run for a day and uses
// 12 MB.
func (s *Site) Agent(ctx context.Context, _ string, l net.Listener) error {
	return agentSaying(ctx, l, fmt.Sprintf(`{"app":"running","command":"serve","port":8080,"started":%q}`, s.Clock.Now().Add(-26*time.Hour).Format(time.RFC3339)))
}

// AgentSaying is an agent whose app is in that state of package wire.
func AgentSaying(state string) podstest.AgentFunc {
	return func(ctx context.Context, _ string, l net.Listener) error { return agentSaying(ctx, l, state) }
}

func agentSaying(ctx context.Context, l net.Listener, state string) error {
	mux := http.NewServeMux()
	answer := func(body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, body)
		}
	}
	mux.HandleFunc("GET /v1/state", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("follow") == "" {
			answer(state)(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/x-ndjson")
		_, _ = io.WriteString(w, `{"state":`+state+"}\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	mux.HandleFunc("GET /v1/usage", answer(`{"memory":12582912}`))
	mux.HandleFunc("POST /v1/app", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-ndjson")
		_, _ = io.WriteString(w, `{"state":`+state+"}\n")
	})
	srv := &http.Server{Handler: mux}
	defer context.AfterFunc(ctx, func() { _ = srv.Close() })()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// authorize stands in for the authorization endpoint: sign in, then consent.
func (s *Site) Authorize(w http.ResponseWriter, r *http.Request) error {
	_, user, ok := s.UI.Current(r)
	if !ok {
		return s.UI.SignIn(w, r)
	}
	c := s.Consent
	c.User = user
	var err error
	if c.Teams, err = s.Account.TeamsOf(user.ID); err != nil {
		return err
	}
	return s.UI.Consent(w, r, c)
}

func (s *Site) Decide(w http.ResponseWriter, r *http.Request) error {
	if err := web.SameOrigin(r, s.PageOrigin()); err != nil {
		return err
	}
	if err := r.ParseForm(); err != nil {
		return err
	}
	s.Mu.Lock()
	s.Decisions = append(s.Decisions, r.PostForm)
	s.Mu.Unlock()
	http.Redirect(w, r, "/assets/none?back-at-the-client", http.StatusSeeOther)
	return nil
}

// AddUser adds a person, who becomes a member of those teams, and the teams that are
// not there yet.
func (s *Site) AddUser(email string, admin bool, teams ...string) store.User {
	s.T.Helper()
	name, _, _ := strings.Cut(email, "@")
	u := store.User{ID: store.UserID(store.NewID()), Email: email, Name: name, Password: passwordHash, Admin: admin, Created: s.Clock.Now()}
	var memberships []store.Member
	for _, slug := range teams {
		team, err := s.DB.TeamBySlug(slug)
		if err != nil {
			if team, err = s.Account.AddTeam(context.Background(), slug, ""); err != nil {
				s.T.Fatal(err)
			}
		}
		memberships = append(memberships, store.Member{Team: team.ID, User: u.ID, Role: store.RoleMember, Created: u.Created})
	}
	if err := s.DB.CreateUser(u, memberships...); err != nil {
		s.T.Fatal(err)
	}
	u.Password = ""
	return u
}

// Session begins a session of somebody, as if they had just proved who they are, and
// returns its secret. To check the password again and again would take more time than
// the pages that are looked at.
func (s *Site) Session(email string) (secret string) {
	s.T.Helper()
	u, err := s.DB.UserByEmail(email)
	if err != nil {
		s.T.Fatal(err)
	}
	secret, now := "pgs_"+store.NewID(), s.Clock.Now()
	if err := s.DB.CreateSession(store.Session{Hash: store.HashSecret(secret), User: u.ID, Created: now, LastUsed: now, Expires: now.Add(store.SessionTTL)}); err != nil {
		s.T.Fatal(err)
	}
	return secret
}

// connect gives the user a connection to the team.
func (s *Site) Connect(u store.User, slug, clientName, host string, scopes ...store.Scope) store.Grant {
	s.T.Helper()
	team, err := s.DB.TeamBySlug(slug)
	if err != nil {
		s.T.Fatal(err)
	}
	return s.ConnectClient(store.ClientID(store.NewID()), u, team, clientName, host, scopes...)
}

// connectClient is connect for a client with that identifier.
func (s *Site) ConnectClient(id store.ClientID, u store.User, team store.Team, clientName, host string, scopes ...store.Scope) store.Grant {
	s.T.Helper()
	now := s.Clock.Now()
	client := store.Client{ID: id, Name: clientName, RedirectURIs: []string{"https://" + host + "/callback"}, Created: now, Expires: now.Add(store.ClientUnusedTTL)}
	if err := s.DB.CreateClient(client); err != nil {
		s.T.Fatal(err)
	}
	w := storetest.World{Now: now, User: u, Team: team, Client: client}
	r := w.Code(s.T, s.DB, scopes...)
	r.ClientName, r.RedirectHost = clientName, host
	g, err := s.DB.RedeemCode(r, now)
	if err != nil {
		s.T.Fatal(err)
	}
	return g.Grant
}

// Browser is a small form-driving browser: it keeps cookies, follows redirects
// and sends what a browser would of its own accord with a form.
type Browser struct {
	site   *Site
	Client *http.Client
	Header http.Header
}

func (s *Site) Browser() *Browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.T.Fatal(err)
	}
	transport := webtest.Transport()
	s.T.Cleanup(transport.CloseIdleConnections)
	return &Browser{site: s, Client: &http.Client{Jar: jar, Transport: transport}, Header: http.Header{}}
}

// Answer is a response whose body is read and parsed.
type Answer struct {
	*http.Response
	HTML string
	Doc  *html.Node
}

func (b *Browser) Do(method, path string, form url.Values, header http.Header) Answer {
	t := b.site.T
	t.Helper()
	req, err := http.NewRequest(method, b.site.PageOrigin()+path, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	for key, values := range b.Header {
		req.Header[key] = values
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for key, values := range header {
		req.Header[key] = values
	}
	return b.Read(req)
}

// Read sends a request and reads the answer.
func (b *Browser) Read(req *http.Request) Answer {
	t := b.site.T
	t.Helper()
	resp, err := b.Client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := html.Parse(strings.NewReader(string(body)))
	if err != nil {
		t.Fatal(err)
	}
	return Answer{resp, string(body), doc}
}

func (b *Browser) Get(path string) Answer { return b.Do(http.MethodGet, path, nil, nil) }

// post sends a form the way Chromium does from a page under no-referrer.
func (b *Browser) Post(path string, form url.Values) Answer {
	return b.Do(http.MethodPost, path, form, http.Header{"Origin": {"null"}, "Sec-Fetch-Site": {"same-origin"}})
}

// SignIn fills in the form of /sign-in and returns what comes after it.
func (b *Browser) SignIn(email string) Answer {
	return b.Post("/sign-in", url.Values{"email": {email}, "password": {Password}})
}

// Enter gives the browser a session of somebody, without the form, and returns it.
func (b *Browser) Enter(email string) *Browser {
	b.site.T.Helper()
	b.Client.Jar.SetCookies(b.origin(), []*http.Cookie{{Name: page.SessionCookie, Value: b.site.Session(email), Path: "/"}})
	return b
}

func (b *Browser) origin() *url.URL {
	u, err := url.Parse(b.site.PageOrigin())
	if err != nil {
		b.site.T.Fatal(err)
	}
	return u
}

// secret is the session cookie's value, or "".
func (b *Browser) Cookie(name string) string {
	for _, c := range b.Client.Jar.Cookies(b.origin()) {
		if c.Name == name {
			return c.Value
		}
	}
	return ""
}

// all returns the elements of that name.
func (a Answer) All(name string) []*html.Node {
	var found []*html.Node
	for n := range a.Doc.Descendants() {
		if n.Type == html.ElementNode && n.Data == name {
			found = append(found, n)
		}
	}
	return found
}

func Attr(n *html.Node, key string) string {
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}

func HasAttr(n *html.Node, key string) bool {
	return slices.ContainsFunc(n.Attr, func(a html.Attribute) bool { return a.Key == key })
}

// text is the text of a node with single spaces.
func Text(n *html.Node) string {
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			b.WriteString(d.Data + " ")
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

func (a Answer) H1() string {
	if list := a.All("h1"); len(list) == 1 {
		return Text(list[0])
	}
	return ""
}

func (a Answer) Title() string {
	if list := a.All("title"); len(list) == 1 {
		return Text(list[0])
	}
	return ""
}

// actor is the user in that team.
func (s *Site) Actor(u store.User, slug string) authz.Actor {
	s.T.Helper()
	list, err := s.Account.TeamsOf(u.ID)
	if err != nil {
		s.T.Fatal(err)
	}
	for _, m := range list {
		if m.Team.Slug == slug {
			return authz.Person(u.ID, m)
		}
	}
	s.T.Fatalf("%s is not in %s", u.Email, slug)
	return authz.Actor{}
}

func (s *Site) CreatePod(u store.User, slug, name, preset string) {
	s.T.Helper()
	if _, err := s.Pods.Create(s.T.Context(), s.Actor(u, slug), pods.CreateRequest{Name: name, Preset: preset}, nil); err != nil {
		s.T.Fatal(err)
	}
}

// Text is the text of the whole page with single spaces.
func (a Answer) Text() string { return Text(a.Doc) }
