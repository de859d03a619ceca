package ui_test

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
)

const password = "a long and plain sentence"

var here = netip.MustParseAddr("198.51.100.7")

// site is a running set of pages over a store of its own.
type site struct {
	*httptest.Server
	t       *testing.T
	db      *store.DB
	account *account.Service
	ui      *ui.Server
	pods    *pods.Service
	history *history.Recorder
	fake    *podstest.Fake
	clock   *clock
	log     *strings.Builder

	// client asks for consent at /oauth/authorize; tests may change it.
	consent oauth.Consent

	// preview serves made-up pages under /preview/NAME.
	preview map[string]func(http.ResponseWriter, *http.Request) error

	mu        sync.Mutex
	decisions []url.Values // what the consent form sent
}

// clock stands still until a test moves it.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

type syncWriter struct {
	mu *sync.Mutex
	w  io.Writer
}

func (s syncWriter) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(p)
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, db: storetest.New(t), clock: &clock{at: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}, log: new(strings.Builder)}
	router := httprouter.New()
	s.Server = httptest.NewServer(router)
	t.Cleanup(s.Close)
	log := slog.New(slog.NewTextHandler(syncWriter{new(sync.Mutex), s.log}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s.account = account.New(account.Config{DB: s.db, Log: log, Now: s.clock.now})
	s.pods, s.fake = podstest.NewServiceFake(t, s.db)
	s.fake.SetAgent(s.agent)
	s.history = history.New(history.Config{DB: s.db, Now: s.clock.now, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}})
	server, err := ui.New(ui.Config{
		Issuer: s.issuer(), Account: s.account, Pods: s.pods, History: s.history, Log: log, Now: s.clock.now,
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.ui = server
	stack := &web.Stack{Log: log, Now: s.clock.now}
	for _, r := range server.Routes() {
		router.Handler(r.Method, r.Path, stack.Handle(r.Handler, r.Errors))
	}
	router.NotFound = stack.Handle(fails(http.StatusNotFound), server.WriteError)
	router.MethodNotAllowed = stack.Handle(fails(http.StatusMethodNotAllowed), server.WriteError)
	router.Handler("GET", "/oauth/authorize", stack.Handle(s.authorize, server.WriteError))
	router.Handler("POST", "/oauth/authorize", stack.Handle(s.decide, server.WriteError))
	router.Handler("GET", "/preview/:name", stack.Handle(func(w http.ResponseWriter, r *http.Request) error {
		return s.preview[strings.TrimPrefix(r.URL.Path, "/preview/")](w, r)
	}, server.WriteError))
	router.Handler("GET", "/broken", stack.Handle(func(http.ResponseWriter, *http.Request) error { panic("a secret cause") }, server.WriteError))
	s.consent = oauth.Consent{
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
func (s *site) issuer() string {
	_, port, err := net.SplitHostPort(s.Listener.Addr().String())
	if err != nil {
		s.t.Fatal(err)
	}
	return "http://localhost:" + port
}

// pageOrigin is where browsers find the pages.
func (s *site) pageOrigin() string { return web.NewPageHost(s.issuer()).Address() }

// agent answers for the agents of pods: an app that has run for a day and uses
// 12 MB.
func (s *site) agent(ctx context.Context, _ string, l net.Listener) error {
	state := fmt.Sprintf(`{"app":"running","command":"serve","port":8080,"started":%q}`, s.clock.now().Add(-26*time.Hour).Format(time.RFC3339))
	mux := http.NewServeMux()
	answer := func(body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, body)
		}
	}
	mux.HandleFunc("GET /v1/state", answer(state))
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
func (s *site) authorize(w http.ResponseWriter, r *http.Request) error {
	_, user, ok := s.ui.Current(r)
	if !ok {
		return s.ui.SignIn(w, r)
	}
	c := s.consent
	c.User = user
	var err error
	if c.Teams, err = s.account.TeamsOf(user.ID); err != nil {
		return err
	}
	return s.ui.Consent(w, r, c)
}

func (s *site) decide(w http.ResponseWriter, r *http.Request) error {
	if err := web.SameOrigin(r, s.pageOrigin()); err != nil {
		return err
	}
	if err := r.ParseForm(); err != nil {
		return err
	}
	s.mu.Lock()
	s.decisions = append(s.decisions, r.PostForm)
	s.mu.Unlock()
	http.Redirect(w, r, "/assets/none?back-at-the-client", http.StatusSeeOther)
	return nil
}

func (s *site) addUser(email string, admin bool, teams ...string) store.User {
	s.t.Helper()
	for _, slug := range teams {
		if _, err := s.db.TeamBySlug(slug); err != nil {
			if _, err := s.account.AddTeam(context.Background(), slug, ""); err != nil {
				s.t.Fatal(err)
			}
		}
	}
	u, err := s.account.AddUser(context.Background(), account.AddUser{Email: email, Password: password, Admin: admin, Teams: teams})
	if err != nil {
		s.t.Fatal(err)
	}
	return u
}

// connect gives the user a connection to the team.
func (s *site) connect(u store.User, slug, clientName, host string, scopes ...store.Scope) store.Grant {
	s.t.Helper()
	team, err := s.db.TeamBySlug(slug)
	if err != nil {
		s.t.Fatal(err)
	}
	return s.connectClient(store.ClientID(store.NewID()), u, team, clientName, host, scopes...)
}

// connectClient is connect for a client with that identifier.
func (s *site) connectClient(id store.ClientID, u store.User, team store.Team, clientName, host string, scopes ...store.Scope) store.Grant {
	s.t.Helper()
	now := s.clock.now()
	client := store.Client{ID: id, Name: clientName, RedirectURIs: []string{"https://" + host + "/callback"}, Created: now, Expires: now.Add(store.ClientUnusedTTL)}
	if err := s.db.CreateClient(client); err != nil {
		s.t.Fatal(err)
	}
	w := storetest.World{Now: now, User: u, Team: team, Client: client}
	r := w.Code(s.t, s.db, scopes...)
	r.ClientName, r.RedirectHost = clientName, host
	g, err := s.db.RedeemCode(r, now)
	if err != nil {
		s.t.Fatal(err)
	}
	return g.Grant
}

// browser is a small form-driving browser: it keeps cookies, follows redirects
// and sends what a browser would of its own accord with a form.
type browser struct {
	site   *site
	client *http.Client
	header http.Header
}

func (s *site) browser() *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	transport := webtest.Transport()
	s.t.Cleanup(transport.CloseIdleConnections)
	return &browser{site: s, client: &http.Client{Jar: jar, Transport: transport}, header: http.Header{}}
}

// answer is a response whose body is read and parsed.
type answer struct {
	*http.Response
	body string
	doc  *html.Node
}

func (b *browser) do(method, path string, form url.Values, header http.Header) answer {
	t := b.site.t
	t.Helper()
	req, err := http.NewRequest(method, b.site.pageOrigin()+path, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	for key, values := range b.header {
		req.Header[key] = values
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for key, values := range header {
		req.Header[key] = values
	}
	resp, err := b.client.Do(req)
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
	return answer{resp, string(body), doc}
}

func (b *browser) get(path string) answer { return b.do(http.MethodGet, path, nil, nil) }

// post sends a form the way Chromium does from a page under no-referrer.
func (b *browser) post(path string, form url.Values) answer {
	return b.do(http.MethodPost, path, form, http.Header{"Origin": {"null"}, "Sec-Fetch-Site": {"same-origin"}})
}

func (b *browser) signIn(email string) answer {
	return b.post("/sign-in", url.Values{"email": {email}, "password": {password}})
}

// secret is the session cookie's value, or "".
func (b *browser) cookie(name string) string {
	u, err := url.Parse(b.site.pageOrigin())
	if err != nil {
		b.site.t.Fatal(err)
	}
	for _, c := range b.client.Jar.Cookies(u) {
		if c.Name == name {
			return c.Value
		}
	}
	return ""
}

// all returns the elements of that name.
func (a answer) all(name string) []*html.Node {
	var found []*html.Node
	for n := range a.doc.Descendants() {
		if n.Type == html.ElementNode && n.Data == name {
			found = append(found, n)
		}
	}
	return found
}

func attr(n *html.Node, key string) string {
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}

func hasAttr(n *html.Node, key string) bool {
	return slices.ContainsFunc(n.Attr, func(a html.Attribute) bool { return a.Key == key })
}

// text is the text of a node with single spaces.
func text(n *html.Node) string {
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			b.WriteString(d.Data + " ")
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

func (a answer) h1() string {
	if list := a.all("h1"); len(list) == 1 {
		return text(list[0])
	}
	return ""
}

func (a answer) title() string {
	if list := a.all("title"); len(list) == 1 {
		return text(list[0])
	}
	return ""
}

// serve calls one route of a server directly, at the origin that the header names.
func serve(t *testing.T, server *ui.Server, method, path string, form url.Values, header http.Header, cookies ...*http.Cookie) *httptest.ResponseRecorder {
	t.Helper()
	for _, route := range server.Routes() {
		if route.Method != method || route.Path != path {
			continue
		}
		r := httptest.NewRequest(method, path, strings.NewReader(form.Encode()))
		for name, values := range header {
			r.Header[name] = values
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		_, r.Host, _ = strings.Cut(header.Get("Origin"), "://")
		for _, c := range cookies {
			r.AddCookie(c)
		}
		w := httptest.NewRecorder()
		if err := route.Handler(w, r); err != nil {
			t.Fatal(err)
		}
		return w
	}
	t.Fatalf("no route %s %s", method, path)
	return nil
}
