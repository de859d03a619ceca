package ui_test

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"podgate/internal/authz"
	"podgate/oauth"
	"podgate/store"
	"podgate/ui/pagetest"
)

// tour fetches every page there is, with the template that it shows.
func tour(t *testing.T) (*pagetest.Site, map[string]pagetest.Answer) {
	t.Helper()
	s := pagetest.New(t)
	pages := map[string]pagetest.Answer{}
	first := s.Browser()
	token, err := s.Account.SetupLink(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	pages["setup closed"] = first.Get("/setup")
	pages["setup"] = first.Get("/setup?token=" + token)
	u := s.AddUser("ada@example.com", true, "red", "blue")
	s.AddUser("nobody@example.com", false)
	g := s.Connect(u, "red", hostileName, "claude.ai", authz.Scopes()...)
	pages["sign_in"] = s.Browser().Get("/sign-in")
	pages["sign_in fault"] = s.Browser().Post("/sign-in", url.Values{"email": {"ada@example.com"}, "password": {"wrong"}})
	b := s.Browser()
	pages["home"] = b.Enter("ada@example.com").Get("/")
	pages["account"] = b.Get("/account")
	pages["prove"] = b.Get("/account/prove?next=" + url.QueryEscape(hostileName))
	withPasskey(s, b, "\u202e<script>phone</script>")
	pages["passkeys"] = b.Get("/account/passkeys")
	pages["account passkey"] = b.Get("/account")
	pages["activity nothing"] = b.Get("/activity")
	seedAttempts(s, u, "red")
	pages["activity"] = b.Get("/activity")
	pages["activity all"] = b.Get("/activity?all=1")
	pages["audit"] = b.Get("/audit")
	pages["audit all"] = b.Get("/audit?all=1")
	s.Consent.ClientName = hostileName
	pages["consent"] = b.Get("/oauth/authorize")
	pages["connections"] = b.Get("/connections")
	pages["connections nothing found"] = b.Get("/connections?q=" + url.QueryEscape(hostileName))
	pages["connection"] = b.Get("/connection/" + string(g.ID))
	pages["limits"] = b.Get("/connection/" + string(g.ID) + "/limits")
	pages["confirm"] = b.Get(revokePath(g))
	pages["confirm everywhere"] = b.Get("/account/log-out-everywhere")
	pages["limits fault"] = b.Post("/connection/"+string(g.ID)+"/limits", url.Values{"prefix": {hostileName}, "max_pods": {hostileName}})
	s.Consent.Fault, s.Consent.LimitFault, s.Consent.Limits = "That is no number.", "max_pods", authz.LimitFields{ReadOnly: true, Prefix: hostileName, MaxPods: hostileName}
	s.Consent.Scopes[1].New, s.Consent.Filled = true, g.Team
	pages["consent fault"] = b.Get("/oauth/authorize")
	preview(s)
	pages["authorize_error"] = b.Get("/preview/authorize-error-return")
	pages["error"] = b.Get("/nowhere")
	pages["error 500"] = b.Get("/broken")
	pages["error 405"] = b.Post("/account", nil)
	pages["everywhere"] = b.Post("/account/log-out-everywhere", nil)
	n := s.Browser()
	pages["home no team"] = n.Enter("nobody@example.com").Get("/")
	pages["connections none"] = n.Get("/connections")
	pages["no_team"] = n.Get("/oauth/authorize")
	return s, pages
}

func TestEveryPage(t *testing.T) {
	t.Parallel()
	s, pages := tour(t)
	for _, name := range s.UI.PageNames() {
		if _, ok := pages[name]; !ok {
			t.Errorf("no test fetches the page %s", name)
		}
	}
	titles := map[string]bool{}
	for name, p := range pages {
		t.Run(name, func(t *testing.T) {
			checkHeaders(t, name, p)
			checkMarkup(t, p)
			checkForms(t, p)
			if strings.Contains(p.HTML, "<script>") || strings.Contains(p.HTML, "\u202e") {
				t.Error("hostile text reached the page as it was")
			}
		})
		titles[p.Title()] = true
	}
	if len(titles) < 11 {
		t.Errorf("only %d different titles: %v", len(titles), titles)
	}
}

func checkHeaders(t *testing.T, name string, p pagetest.Answer) {
	t.Helper()
	flow := slices.Contains([]string{"consent", "consent fault", "no_team", "authorize_error"}, name)
	csp := "default-src 'none'; style-src 'self'; img-src 'self'; frame-ancestors 'none'; base-uri 'none'"
	if !flow {
		csp += "; script-src 'self'; connect-src 'self'; form-action 'self'; manifest-src 'self'"
	}
	for key, want := range map[string]string{
		"Content-Security-Policy": csp, "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff",
		"Cache-Control": "no-store", "Content-Type": "text/html; charset=utf-8",
	} {
		if got := p.Header.Values(key); len(got) != 1 || got[0] != want {
			t.Errorf("%s: %q, want %q", key, got, want)
		}
	}
	if !strings.Contains(p.Header.Get("Permissions-Policy"), "camera=()") {
		t.Error("no Permissions-Policy")
	}
	// A client may wait for its popup: the pages on its way keep the opener.
	opener := p.Header.Get("Cross-Origin-Opener-Policy")
	if wayPage := flow || strings.HasPrefix(name, "sign_in"); wayPage && opener != "" {
		t.Errorf("Cross-Origin-Opener-Policy %q cuts a client's popup off", opener)
	}
	if slices.Contains([]string{"home", "account", "limits", "setup"}, name) && opener != "same-origin" {
		t.Errorf("Cross-Origin-Opener-Policy: %q", opener)
	}
	for key := range p.Header {
		if strings.HasPrefix(key, "Access-Control-") {
			t.Errorf("a page with a session sends %s", key)
		}
	}
}

func checkMarkup(t *testing.T, p pagetest.Answer) {
	t.Helper()
	if p.H1() == "" || p.Title() == "" || !strings.HasSuffix(p.Title(), "· podgate") {
		t.Errorf("headed %q, titled %q; want one of each", p.H1(), p.Title())
	}
	for _, name := range []string{"main", "header", "footer"} {
		if n := len(p.All(name)); n != 1 {
			t.Errorf("%d <%s>, want 1", n, name)
		}
	}
	if lang := pagetest.Attr(p.All("html")[0], "lang"); lang != "en" {
		t.Errorf("lang=%q", lang)
	}
	ids := map[string]bool{}
	for n := range p.Doc.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		if id := pagetest.Attr(n, "id"); id != "" && ids[id] {
			t.Errorf("the id %q is there twice", id)
		} else {
			ids[id] = true
		}
		for _, a := range n.Attr {
			if a.Key == "style" || strings.HasPrefix(a.Key, "on") {
				t.Errorf("<%s %s=%q>: inline, which the policy forbids", n.Data, a.Key, a.Val)
			}
			if (a.Key == "src" || n.Data == "link" && a.Key == "href") && !strings.HasPrefix(a.Val, "/assets/") && a.Val != "/manifest.webmanifest" {
				t.Errorf("<%s %s=%q> loads from elsewhere", n.Data, a.Key, a.Val)
			}
		}
		if (n.Data == "script" || n.Data == "style") && n.FirstChild != nil {
			t.Errorf("inline <%s>", n.Data)
		}
		if n.Data == "img" && !pagetest.HasAttr(n, "alt") {
			t.Error("<img> without alt")
		}
	}
	for n := range p.Doc.Descendants() {
		for _, key := range []string{"aria-labelledby", "aria-describedby", "for"} {
			for id := range strings.FieldsSeq(pagetest.Attr(n, key)) {
				if !ids[id] {
					t.Errorf("<%s %s=%q> points nowhere", n.Data, key, id)
				}
			}
		}
	}
}

// checkForms: every form is a POST to a path of ours, or looks for something, and
// everything one can operate has a name.
func checkForms(t *testing.T, p pagetest.Answer) {
	t.Helper()
	labels := map[string]bool{}
	for _, l := range p.All("label") {
		labels[pagetest.Attr(l, "for")] = true
	}
	for _, f := range p.All("form") {
		searches := pagetest.Attr(f, "method") == "get" && pagetest.Attr(f, "role") == "search"
		if pagetest.Attr(f, "method") != "post" && !searches || !strings.HasPrefix(pagetest.Attr(f, "action"), "/") {
			t.Errorf("<form method=%q action=%q>", pagetest.Attr(f, "method"), pagetest.Attr(f, "action"))
		}
	}
	for _, in := range append(p.All("input"), p.All("select")...) {
		inLabel := false
		for up := in.Parent; up != nil; up = up.Parent {
			inLabel = inLabel || up.Data == "label" && pagetest.Text(up) != ""
		}
		if pagetest.Attr(in, "type") != "hidden" && !inLabel && !labels[pagetest.Attr(in, "id")] {
			t.Errorf("input %q has no label", pagetest.Attr(in, "name"))
		}
		if pagetest.Attr(in, "type") == "password" && pagetest.Attr(in, "value") != "" {
			t.Errorf("the password %q is sent back", pagetest.Attr(in, "name"))
		}
	}
	for _, b := range append(p.All("button"), p.All("a")...) {
		if pagetest.Text(b) == "" && pagetest.Attr(b, "aria-label") == "" {
			t.Errorf("<%s> without a name", b.Data)
		}
	}
}

func TestAssets(t *testing.T) {
	t.Parallel()
	s := pagetest.New(t)
	b := s.Browser()
	page := b.Get("/sign-in")
	seen := 0
	for _, path := range regexp.MustCompile(`/assets/[a-z0-9.-]+`).FindAllString(page.HTML, -1) {
		a := b.Get(path)
		if a.StatusCode != http.StatusOK || !strings.Contains(a.Header.Get("Cache-Control"), "immutable") || a.Header.Get("X-Content-Type-Options") != "nosniff" || len(a.HTML) == 0 {
			t.Errorf("%s: %d %v", path, a.StatusCode, a.Header)
		}
		want := map[string]string{"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml", "png": "image/png"}
		if got := a.Header.Get("Content-Type"); got != want[path[strings.LastIndexByte(path, '.')+1:]] {
			t.Errorf("%s is %s", path, got)
		}
		seen++
	}
	if seen < 3 {
		t.Errorf("the page names %d assets", seen)
	}
	for _, path := range []string{"/assets/style.css", "/assets/..%2fdoc.go", "/assets/", "/assets/style.0000000000.css"} {
		if a := b.Get(path); a.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %d", path, a.StatusCode)
		}
	}
}

// A person sees who describes an app, and is warned when that is another site
// than the one that receives the code.
func TestConsentShowsTheDocument(t *testing.T) {
	t.Parallel()
	s := pagetest.New(t)
	s.AddUser("ada@example.com", true, "red")
	b := s.Browser()
	b.Enter("ada@example.com")
	const warning, local = "These are two different sites.", "Any program can say so."
	for _, c := range []struct {
		redirect, document string
		loopback           bool
		want, not          []string
	}{
		{"claude.ai", "claude.ai", false, []string{"described by claude.ai", "two addresses are certain"}, []string{warning, local, "calls itself"}},
		{"www.cursor.com:8443", "cursor.com", false, []string{"described by cursor.com"}, []string{warning}},
		{"claude.ai", "evil.example", false, []string{"described by evil.example", warning}, []string{local}},
		{"evilclaude.ai", "claude.ai", false, []string{"described by claude.ai", warning}, nil},
		{"claude.ai.evil.example", "claude.ai", false, []string{warning}, nil},
		{"localhost", "claude.ai", true, []string{"described by claude.ai", local, "a program on this computer"}, []string{warning, "certain"}},
		{"claude.ai", "", false, []string{"calls itself"}, []string{warning, local, "described"}},
	} {
		s.Consent.RedirectHost, s.Consent.DocumentHost, s.Consent.Loopback = c.redirect, c.document, c.loopback
		a := b.Get("/oauth/authorize")
		main := pagetest.Text(a.All("main")[0])
		for _, want := range c.want {
			if !strings.Contains(main, want) {
				t.Errorf("%s described by %s: %q is missing in:\n%s", c.redirect, c.document, want, main)
			}
		}
		for _, not := range c.not {
			if strings.Contains(main, not) {
				t.Errorf("%s described by %s: %q should not be in:\n%s", c.redirect, c.document, not, main)
			}
		}
		if !strings.HasPrefix(a.H1(), c.redirect) {
			t.Errorf("the heading is %q", a.H1())
		}
	}
	s.Consent.DocumentHost, s.Consent.DocumentCopied = "claude.ai", "The app's document could not be fetched (no <b>network</b>); a copy was used."
	if main := pagetest.Text(b.Get("/oauth/authorize").All("main")[0]); !strings.Contains(main, s.Consent.DocumentCopied) {
		t.Errorf("that a copy was used is missing in:\n%s", main)
	}
}

func TestConsentPage(t *testing.T) {
	t.Parallel()
	s := pagetest.New(t)
	s.AddUser("ada@example.com", true, "red", "blue")
	s.AddUser("one@example.com", true, "red")
	b := s.Browser()
	b.Enter("ada@example.com")
	s.Consent.Loopback, s.Consent.Fault, s.Consent.RedirectHost = true, "Choose a team.", "127.0.0.1:3117"
	s.Consent.Scopes[2].Checked = false
	a := b.Get("/oauth/authorize")

	// The order in which things are said is part of the contract.
	last := -1
	for _, part := range []string{"127.0.0.1:3117", "calls itself", "a program on this computer", "Choose a team.", "For which team", "What may it do", "Run commands inside pods", "Limit this connection", "30 days", "Approve", "Deny"} {
		at := strings.LastIndex(pagetest.Text(a.All("main")[0]), part)
		if at <= last {
			t.Errorf("%q is missing or out of order in:\n%s", part, pagetest.Text(a.All("main")[0]))
		}
		last = at
	}
	if !strings.Contains(a.H1(), "127.0.0.1:3117") {
		t.Errorf("the host is not the heading: %q", a.H1())
	}
	s.Consent.RefreshTTL = 90 * 24 * time.Hour
	if renewed := pagetest.Text(b.Get("/oauth/authorize").All("main")[0]); !strings.Contains(renewed, "ends after 90 days without") || strings.Contains(renewed, "30 days") {
		t.Errorf("access that is renewed is not said to be:\n%s", renewed)
	}
	if len(a.All("script")) != 0 {
		t.Error("a script that the policy of this page forbids")
	}
	var classes []string
	for _, button := range a.All("button") {
		if pagetest.Attr(button, "name") == "decision" {
			classes = append(classes, pagetest.Attr(button, "value")+"/"+pagetest.Attr(button, "class"))
		}
	}
	if !slices.Equal(classes, []string{"approve/", "deny/"}) {
		t.Errorf("the two decisions have not the same weight: %q", classes)
	}
	teams, scopes := map[string]bool{}, map[string]bool{}
	for _, in := range a.All("input") {
		switch pagetest.Attr(in, "name") {
		case "team":
			teams[pagetest.Attr(in, "value")] = pagetest.HasAttr(in, "checked")
		case "scope":
			scopes[pagetest.Attr(in, "value")] = pagetest.HasAttr(in, "checked")
		case "request":
			if pagetest.Attr(in, "value") != "handle-of-the-request" {
				t.Errorf("the handle became %q", pagetest.Attr(in, "value"))
			}
		}
	}
	if len(teams) != 2 {
		t.Errorf("teams: %v", teams)
	}
	for id, checked := range teams {
		if checked {
			t.Errorf("team %s is chosen already, of several", id)
		}
	}
	if len(scopes) != 3 || !scopes["pods:read"] || !scopes["pods:write"] || scopes["pods:exec"] {
		t.Errorf("scopes: %v", scopes)
	}

	one := s.Browser()
	one.Enter("one@example.com")
	for _, in := range one.Get("/oauth/authorize").All("input") {
		if pagetest.Attr(in, "name") == "team" && !pagetest.HasAttr(in, "checked") {
			t.Error("the only team is not chosen")
		}
	}
}

func TestRevoke(t *testing.T) {
	t.Parallel()
	s := pagetest.New(t)
	ada, eve := s.AddUser("ada@example.com", false, "red"), s.AddUser("eve@example.com", false, "red")
	g := s.Connect(ada, "red", "Claude", "claude.ai", authz.ScopeRead, authz.ScopeExec)
	other := s.Connect(eve, "red", "Codex", "127.0.0.1:1", authz.ScopeRead)
	b := s.Browser()
	b.Enter("ada@example.com")
	home := b.Get("/connections")
	if !strings.Contains(pagetest.Text(home.All("main")[0]), "until 31 March 2026") {
		t.Error("the list does not say how long access lasts")
	}
	if !strings.Contains(pagetest.Text(home.All("main")[0]), "may see pods, run commands") || strings.Contains(home.HTML, string(other.ID)) {
		t.Error("the list shows the wrong connections")
	}
	if a := b.Get(revokePath(other)); a.StatusCode != http.StatusNotFound || strings.Contains(a.HTML, "Codex") {
		t.Errorf("asked about somebody else's connection: %d %s", a.StatusCode, a.H1())
	}
	if a := b.Post(revokePath(other), nil); strings.Contains(a.HTML, "is revoked") {
		t.Error("podgate claims to have revoked somebody else's connection")
	}
	if list, err := s.Account.Connections(eve.ID); err != nil || len(list) != 1 {
		t.Errorf("somebody else's connection: %v, %v", list, err)
	}
	a := b.Get(revokePath(g))
	if list, err := s.Account.Connections(ada.ID); err != nil || len(list) != 1 || !strings.Contains(pagetest.Text(a.All("main")[0]), "claude.ai, which calls itself “Claude”, works with the pods of red.") {
		t.Errorf("asked once: %v, %v\n%s", list, err, a.HTML)
	}
	a = b.Post(revokePath(g), nil)
	if !strings.Contains(a.HTML, "is revoked") || strings.Contains(a.HTML, string(g.ID)) {
		t.Error("the connection is still shown")
	}
	if list, err := s.Account.Connections(ada.ID); err != nil || len(list) != 0 {
		t.Errorf("afterwards: %v, %v", list, err)
	}
	if a := b.Post(revokePath(g), nil); a.H1() != "Connections" || strings.Contains(a.HTML, "is revoked") {
		t.Errorf("a second time: %s\n%s", a.H1(), a.HTML)
	}
	if a := s.Browser().Post(revokePath(other), nil); a.H1() != "Sign in" {
		t.Errorf("a stranger: %q", a.H1())
	}
}

// What a form did is said beside what was pressed, and once.
func TestNoticesStandBesideTheirSection(t *testing.T) {
	t.Parallel()
	s := pagetest.New(t)
	u := s.AddUser("ada@example.com", true, "red")
	s.CreatePod(u, "red", "blog", "static")
	g := s.Connect(u, "red", "Claude", "claude.ai", authz.ScopeRead)
	b := s.Browser()
	b.Enter("ada@example.com")
	place := func(a pagetest.Answer) string {
		for _, n := range a.All("p") {
			if pagetest.Attr(n, "class") == "notice" {
				return pagetest.Attr(n.Parent, "id")
			}
		}
		return "none"
	}
	for name, c := range map[string]struct {
		pagetest.Answer
		want string
	}{
		"limits":   {b.Post(limitsPath(g), url.Values{"scope": {"pods:read"}, "prefix": {"web-"}}), "main"},
		"revoked":  {b.Post(revokePath(g), nil), "main"},
		"again":    {b.Get("/"), "none"},
		"password": {b.Post("/account/password", url.Values{"old": {password}, "password": {"another long password"}, "again": {"another long password"}}), "change-password"},
	} {
		if got := place(c.Answer); got != c.want {
			t.Errorf("%s: the notice stands in %q, want %q", name, got, c.want)
		}
	}
	empty := s.Browser()
	u = s.AddUser("eve@example.com", false, "blue")
	empty.Enter("eve@example.com")
	// Whoever goes elsewhere meanwhile is told there.
	g = s.Connect(u, "blue", "Claude", "claude.ai", authz.ScopeRead)
	jar, _ := url.Parse(s.PageOrigin())
	empty.Client.Jar.SetCookies(jar, []*http.Cookie{{Name: "podgate-notice", Value: "revoked.0", Path: "/"}})
	if a := empty.Get(revokePath(g)); place(a) != "main" {
		t.Errorf("on another page: in %q", place(a))
	}
}

func TestAccountPage(t *testing.T) {
	t.Parallel()
	s := pagetest.New(t)
	ada, eve := s.AddUser("ada@example.com", true, "red"), s.AddUser("eve@example.com", false)
	b, second, foreign := s.Browser(), s.Browser(), s.Browser()
	b.Enter("ada@example.com")
	second.Header.Set("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
	second.SignIn("ada@example.com")
	foreign.Enter("eve@example.com")
	s.Connect(ada, "red", "Claude", "claude.ai", authz.ScopeRead)
	a := b.Get("/account")
	if !strings.Contains(a.HTML, "Firefox on Linux") || !strings.Contains(a.HTML, "this browser") || !strings.Contains(a.HTML, "Ends 3 sessions") {
		t.Error("the sessions are not shown")
	}
	// Somebody else's session stays.
	theirs, err := s.Account.Sessions(eve.ID)
	if err != nil {
		t.Fatal(err)
	}
	b.Post("/account/end-session", url.Values{"session": {theirs[0].Hash.String()}})
	if a := foreign.Get("/account"); a.H1() != "Account" {
		t.Error("ended somebody else's session")
	}
	if a := b.Post("/account/end-session", url.Values{"session": {"nonsense"}}); a.StatusCode != http.StatusBadRequest {
		t.Errorf("a session that is none: %d", a.StatusCode)
	}
	a = b.Post("/account/end-session", url.Values{"session": {store.HashSecret(second.Cookie("podgate")).String()}})
	if !strings.Contains(a.HTML, "The session is ended.") || second.Get("/account").H1() != "Sign in" {
		t.Error("the other session lives")
	}

	change := func(old, new, again string) pagetest.Answer {
		return b.Post("/account/password", url.Values{"old": {old}, "password": {new}, "again": {again}})
	}
	for name, c := range map[string]struct {
		pagetest.Answer
		status int
		words  string
	}{
		"differ": {change(password, "another long password", "another long passwort"), 422, "differ"},
		"wrong":  {change("wrong password", "another long password", "another long password"), 403, "not your present password"},
		"short":  {change(password, "short", "short"), 422, "too short"},
	} {
		if c.StatusCode != c.status || !strings.Contains(c.HTML, c.words) {
			t.Errorf("%s: %d, want %d with %q", name, c.StatusCode, c.status, c.words)
		}
	}
	if a := change(password, "another long password", "another long password"); !strings.Contains(a.HTML, "Your password is changed, and 1 other session was ended.") {
		t.Errorf("the change: %d", a.StatusCode)
	}
	if a := b.Get("/account"); a.H1() != "Account" {
		t.Error("one's own session ended with the change")
	}

	a = b.Get("/account/log-out-everywhere")
	if main := pagetest.Text(a.All("main")[0]); !strings.Contains(main, "This ends 1 session, this one included, and 1 connection.") || b.Get("/account").H1() != "Account" {
		t.Errorf("asked once: %s", main)
	}
	a = b.Post("/account/log-out-everywhere", nil)
	if !strings.Contains(a.HTML, "1 session and 1 connection ended") || len(a.All("nav")) != 0 {
		t.Errorf("log out everywhere: %s", pagetest.Text(a.All("main")[0]))
	}
	if b.Cookie("podgate") != "" || b.Get("/account").H1() != "Sign in" {
		t.Error("still signed in")
	}
}

func TestErrorPages(t *testing.T) {
	t.Parallel()
	s := pagetest.New(t)
	b := s.Browser()
	a := b.Get("/broken")
	if a.StatusCode != http.StatusInternalServerError || strings.Contains(a.HTML, "secret cause") || strings.Contains(a.HTML, "goroutine") {
		t.Errorf("a panic: %d\n%s", a.StatusCode, a.HTML)
	}
	if id := a.Header.Get("X-Request-Id"); id == "" || !strings.Contains(a.HTML, id) {
		t.Error("the page does not name the request, so the log cannot be searched for it")
	}
	if a := b.Get("/no/such/page"); a.StatusCode != http.StatusNotFound || a.H1() != "Nothing here" {
		t.Errorf("an unknown page: %d %q", a.StatusCode, a.H1())
	}
	if a := b.Do(http.MethodDelete, "/account", nil, nil); a.StatusCode != http.StatusMethodNotAllowed || a.Header.Get("Allow") == "" {
		t.Errorf("DELETE: %d, Allow %q", a.StatusCode, a.Header.Get("Allow"))
	}
}

func TestAuthorizeErrorEscapes(t *testing.T) {
	t.Parallel()
	s := pagetest.New(t)
	preview(s)
	s.Preview["evil"] = func(w http.ResponseWriter, r *http.Request) error {
		return s.UI.AuthorizeError(w, r, oauth.AuthorizeError{Status: 400, Title: "<i>T</i>", Message: "<script>m</script>", Return: "javascript:alert(1)", ReturnHost: "<b>h</b>"})
	}
	a := s.Browser().Get("/preview/evil")
	if a.StatusCode != 400 || strings.Contains(a.HTML, "<i>") || strings.Contains(a.HTML, "<script>") || strings.Contains(a.HTML, "javascript:") || strings.Contains(a.HTML, "<b>") {
		t.Errorf("%d:\n%s", a.StatusCode, a.HTML)
	}
	a = s.Browser().Get("/preview/authorize-error-return")
	links := a.All("a")
	if i := slices.IndexFunc(links, func(n *html.Node) bool { return pagetest.Text(n) == "Return to claude.ai" }); i < 0 || pagetest.Attr(links[i], "href") != "https://claude.ai/api/mcp/auth_callback?error=invalid_request" {
		t.Errorf("no way back to the client:\n%s", a.HTML)
	}
}
