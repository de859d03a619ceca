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
)

// tour fetches every page there is, with the template that it shows.
func tour(t *testing.T) (*site, map[string]answer) {
	t.Helper()
	s := newSite(t)
	pages := map[string]answer{}
	first := s.browser()
	token, err := s.account.SetupLink(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	pages["setup closed"] = first.get("/setup")
	pages["setup"] = first.get("/setup?token=" + token)
	u := s.addUser("ada@example.com", true, "red", "blue")
	s.addUser("nobody@example.com", false)
	g := s.connect(u, "red", hostileName, "claude.ai", authz.Scopes()...)
	pages["sign_in"] = s.browser().get("/sign-in")
	pages["sign_in fault"] = s.browser().post("/sign-in", url.Values{"email": {"ada@example.com"}, "password": {"wrong"}})
	b := s.browser()
	pages["home"] = b.signIn("ada@example.com")
	pages["account"] = b.get("/account")
	pages["activity nothing"] = b.get("/activity")
	s.seedAttempts(u, "red")
	pages["activity"] = b.get("/activity")
	pages["activity all"] = b.get("/activity?all=1")
	pages["audit"] = b.get("/audit")
	pages["audit all"] = b.get("/audit?all=1")
	s.consent.ClientName = hostileName
	pages["consent"] = b.get("/oauth/authorize")
	pages["limits"] = b.get("/connection/" + string(g.ID) + "/limits")
	pages["confirm"] = b.get(revokePath(g))
	pages["confirm everywhere"] = b.get("/account/log-out-everywhere")
	pages["limits fault"] = b.post("/connection/"+string(g.ID)+"/limits", url.Values{"prefix": {hostileName}, "max_pods": {hostileName}})
	s.consent.Fault, s.consent.LimitFault, s.consent.Limits = "That is no number.", "max_pods", authz.LimitFields{ReadOnly: true, Prefix: hostileName, MaxPods: hostileName}
	s.consent.Scopes[1].New, s.consent.Filled = true, g.Team
	pages["consent fault"] = b.get("/oauth/authorize")
	team, err := s.db.TeamBySlug("red")
	if err != nil {
		t.Fatal(err)
	}
	preview(s, u, team)
	pages["home pods"] = b.get("/preview/pods")
	pages["authorize_error"] = b.get("/preview/authorize-error-return")
	pages["error"] = b.get("/nowhere")
	pages["error 500"] = b.get("/broken")
	pages["error 405"] = b.post("/account", nil)
	pages["everywhere"] = b.post("/account/log-out-everywhere", nil)
	n := s.browser()
	pages["home no team"] = n.signIn("nobody@example.com")
	pages["no_team"] = n.get("/oauth/authorize")
	return s, pages
}

func TestEveryPage(t *testing.T) {
	t.Parallel()
	s, pages := tour(t)
	for _, name := range s.ui.PageNames() {
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
			if strings.Contains(p.body, "<script>") || strings.Contains(p.body, "\u202e") {
				t.Error("hostile text reached the page as it was")
			}
		})
		titles[p.title()] = true
	}
	if len(titles) < 11 {
		t.Errorf("only %d different titles: %v", len(titles), titles)
	}
}

func checkHeaders(t *testing.T, name string, p answer) {
	t.Helper()
	flow := slices.Contains([]string{"consent", "consent fault", "no_team", "authorize_error"}, name)
	csp := "default-src 'none'; style-src 'self'; img-src 'self'; frame-ancestors 'none'; base-uri 'none'"
	if !flow {
		csp += "; script-src 'self'; form-action 'self'"
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

func checkMarkup(t *testing.T, p answer) {
	t.Helper()
	if p.h1() == "" || p.title() == "" || !strings.HasSuffix(p.title(), "· podgate") {
		t.Errorf("headed %q, titled %q; want one of each", p.h1(), p.title())
	}
	for _, name := range []string{"main", "header", "footer"} {
		if n := len(p.all(name)); n != 1 {
			t.Errorf("%d <%s>, want 1", n, name)
		}
	}
	if lang := attr(p.all("html")[0], "lang"); lang != "en" {
		t.Errorf("lang=%q", lang)
	}
	ids := map[string]bool{}
	for n := range p.doc.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		if id := attr(n, "id"); id != "" && ids[id] {
			t.Errorf("the id %q is there twice", id)
		} else {
			ids[id] = true
		}
		for _, a := range n.Attr {
			if a.Key == "style" || strings.HasPrefix(a.Key, "on") {
				t.Errorf("<%s %s=%q>: inline, which the policy forbids", n.Data, a.Key, a.Val)
			}
			if (a.Key == "src" || n.Data == "link" && a.Key == "href") && !strings.HasPrefix(a.Val, "/assets/") {
				t.Errorf("<%s %s=%q> loads from elsewhere", n.Data, a.Key, a.Val)
			}
		}
		if (n.Data == "script" || n.Data == "style") && n.FirstChild != nil {
			t.Errorf("inline <%s>", n.Data)
		}
		if n.Data == "img" && !hasAttr(n, "alt") {
			t.Error("<img> without alt")
		}
	}
	for n := range p.doc.Descendants() {
		for _, key := range []string{"aria-labelledby", "aria-describedby", "for"} {
			for id := range strings.FieldsSeq(attr(n, key)) {
				if !ids[id] {
					t.Errorf("<%s %s=%q> points nowhere", n.Data, key, id)
				}
			}
		}
	}
}

// checkForms: every form is a POST to a path of ours, and everything one can
// operate has a name.
func checkForms(t *testing.T, p answer) {
	t.Helper()
	labels := map[string]bool{}
	for _, l := range p.all("label") {
		labels[attr(l, "for")] = true
	}
	for _, f := range p.all("form") {
		if attr(f, "method") != "post" || !strings.HasPrefix(attr(f, "action"), "/") {
			t.Errorf("<form method=%q action=%q>", attr(f, "method"), attr(f, "action"))
		}
	}
	for _, in := range p.all("input") {
		inLabel := false
		for up := in.Parent; up != nil; up = up.Parent {
			inLabel = inLabel || up.Data == "label" && text(up) != ""
		}
		if attr(in, "type") != "hidden" && !inLabel && !labels[attr(in, "id")] {
			t.Errorf("input %q has no label", attr(in, "name"))
		}
		if attr(in, "type") == "password" && attr(in, "value") != "" {
			t.Errorf("the password %q is sent back", attr(in, "name"))
		}
	}
	for _, b := range append(p.all("button"), p.all("a")...) {
		if text(b) == "" && attr(b, "aria-label") == "" {
			t.Errorf("<%s> without a name", b.Data)
		}
	}
}

func TestAssets(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.browser()
	page := b.get("/sign-in")
	seen := 0
	for _, path := range regexp.MustCompile(`/assets/[a-z0-9.]+`).FindAllString(page.body, -1) {
		a := b.get(path)
		if a.StatusCode != http.StatusOK || !strings.Contains(a.Header.Get("Cache-Control"), "immutable") || a.Header.Get("X-Content-Type-Options") != "nosniff" || len(a.body) == 0 {
			t.Errorf("%s: %d %v", path, a.StatusCode, a.Header)
		}
		want := map[string]string{"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}
		if got := a.Header.Get("Content-Type"); got != want[path[strings.LastIndexByte(path, '.')+1:]] {
			t.Errorf("%s is %s", path, got)
		}
		seen++
	}
	if seen < 3 {
		t.Errorf("the page names %d assets", seen)
	}
	for _, path := range []string{"/assets/style.css", "/assets/..%2fdoc.go", "/assets/", "/assets/style.0000000000.css"} {
		if a := b.get(path); a.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %d", path, a.StatusCode)
		}
	}
}

// A person sees who describes an app, and is warned when that is another site
// than the one that receives the code.
func TestConsentShowsTheDocument(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.addUser("ada@example.com", true, "red")
	b := s.browser()
	b.signIn("ada@example.com")
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
		s.consent.RedirectHost, s.consent.DocumentHost, s.consent.Loopback = c.redirect, c.document, c.loopback
		a := b.get("/oauth/authorize")
		main := text(a.all("main")[0])
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
		if !strings.HasPrefix(a.h1(), c.redirect) {
			t.Errorf("the heading is %q", a.h1())
		}
	}
	s.consent.DocumentHost, s.consent.DocumentCopied = "claude.ai", "The app's document could not be fetched (no <b>network</b>); a copy was used."
	if main := text(b.get("/oauth/authorize").all("main")[0]); !strings.Contains(main, s.consent.DocumentCopied) {
		t.Errorf("that a copy was used is missing in:\n%s", main)
	}
}

func TestConsentPage(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.addUser("ada@example.com", true, "red", "blue")
	s.addUser("one@example.com", true, "red")
	b := s.browser()
	b.signIn("ada@example.com")
	s.consent.Loopback, s.consent.Fault, s.consent.RedirectHost = true, "Choose a team.", "127.0.0.1:3117"
	s.consent.Scopes[2].Checked = false
	a := b.get("/oauth/authorize")

	// The order in which things are said is part of the contract.
	last := -1
	for _, part := range []string{"127.0.0.1:3117", "calls itself", "a program on this computer", "Choose a team.", "For which team", "What may it do", "Run commands inside pods", "Limit this connection", "30 days", "Approve", "Deny"} {
		at := strings.LastIndex(text(a.all("main")[0]), part)
		if at <= last {
			t.Errorf("%q is missing or out of order in:\n%s", part, text(a.all("main")[0]))
		}
		last = at
	}
	if !strings.Contains(a.h1(), "127.0.0.1:3117") {
		t.Errorf("the host is not the heading: %q", a.h1())
	}
	s.consent.RefreshTTL = 90 * 24 * time.Hour
	if renewed := text(b.get("/oauth/authorize").all("main")[0]); !strings.Contains(renewed, "ends after 90 days without") || strings.Contains(renewed, "30 days") {
		t.Errorf("access that is renewed is not said to be:\n%s", renewed)
	}
	if len(a.all("script")) != 0 {
		t.Error("a script that the policy of this page forbids")
	}
	var classes []string
	for _, button := range a.all("button") {
		if attr(button, "name") == "decision" {
			classes = append(classes, attr(button, "value")+"/"+attr(button, "class"))
		}
	}
	if !slices.Equal(classes, []string{"approve/", "deny/"}) {
		t.Errorf("the two decisions have not the same weight: %q", classes)
	}
	teams, scopes := map[string]bool{}, map[string]bool{}
	for _, in := range a.all("input") {
		switch attr(in, "name") {
		case "team":
			teams[attr(in, "value")] = hasAttr(in, "checked")
		case "scope":
			scopes[attr(in, "value")] = hasAttr(in, "checked")
		case "request":
			if attr(in, "value") != "handle-of-the-request" {
				t.Errorf("the handle became %q", attr(in, "value"))
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

	one := s.browser()
	one.signIn("one@example.com")
	for _, in := range one.get("/oauth/authorize").all("input") {
		if attr(in, "name") == "team" && !hasAttr(in, "checked") {
			t.Error("the only team is not chosen")
		}
	}
}

func TestRevoke(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	ada, eve := s.addUser("ada@example.com", true, "red"), s.addUser("eve@example.com", false, "red")
	g := s.connect(ada, "red", "Claude", "claude.ai", authz.ScopeRead, authz.ScopeExec)
	other := s.connect(eve, "red", "Codex", "127.0.0.1:1", authz.ScopeRead)
	b := s.browser()
	home := b.signIn("ada@example.com")
	if !strings.Contains(text(home.all("main")[0]), "access until 31 March 2026") {
		t.Error("the home page does not say how long access lasts")
	}
	if !strings.Contains(text(home.all("main")[0]), "may see pods, run commands") || strings.Contains(home.body, string(other.ID)) {
		t.Error("the home page shows the wrong connections")
	}
	if a := b.get(revokePath(other)); a.StatusCode != http.StatusNotFound || strings.Contains(a.body, "Codex") {
		t.Errorf("asked about somebody else's connection: %d %s", a.StatusCode, a.h1())
	}
	if a := b.post(revokePath(other), nil); strings.Contains(a.body, "is revoked") {
		t.Error("podgate claims to have revoked somebody else's connection")
	}
	if list, err := s.account.Connections(eve.ID); err != nil || len(list) != 1 {
		t.Errorf("somebody else's connection: %v, %v", list, err)
	}
	a := b.get(revokePath(g))
	if list, err := s.account.Connections(ada.ID); err != nil || len(list) != 1 || !strings.Contains(text(a.all("main")[0]), "claude.ai, which calls itself “Claude”, works with the pods of red.") {
		t.Errorf("asked once: %v, %v\n%s", list, err, a.body)
	}
	a = b.post(revokePath(g), nil)
	if !strings.Contains(a.body, "is revoked") || strings.Contains(a.body, string(g.ID)) {
		t.Error("the connection is still shown")
	}
	if list, err := s.account.Connections(ada.ID); err != nil || len(list) != 0 {
		t.Errorf("afterwards: %v, %v", list, err)
	}
	if a := b.post(revokePath(g), nil); a.h1() != "Home" || strings.Contains(a.body, "is revoked") {
		t.Errorf("a second time: %s\n%s", a.h1(), a.body)
	}
	if a := s.browser().post(revokePath(other), nil); a.h1() != "Sign in" {
		t.Errorf("a stranger: %q", a.h1())
	}
}

// What a form did is said beside what was pressed, and once.
func TestNoticesStandBesideTheirSection(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	u := s.addUser("ada@example.com", true, "red")
	s.createPod(u, "red", "blog", "static")
	g := s.connect(u, "red", "Claude", "claude.ai", authz.ScopeRead)
	b := s.browser()
	b.signIn("ada@example.com")
	place := func(a answer) string {
		for _, n := range a.all("p") {
			if attr(n, "class") == "notice" {
				return attr(n.Parent, "id")
			}
		}
		return "none"
	}
	for name, c := range map[string]struct {
		answer
		want string
	}{
		"limits":   {b.post(limitsPath(g), url.Values{"scope": {"pods:read"}, "prefix": {"web-"}}), "connections"},
		"revoked":  {b.post(revokePath(g), nil), "connections"},
		"again":    {b.get("/"), "none"},
		"password": {b.post("/account/password", url.Values{"old": {password}, "password": {"another long password"}, "again": {"another long password"}}), "change-password"},
	} {
		if got := place(c.answer); got != c.want {
			t.Errorf("%s: the notice stands in %q, want %q", name, got, c.want)
		}
	}
	// With nothing left there is no list to stand beside.
	empty := s.browser()
	u = s.addUser("eve@example.com", false, "blue")
	g = s.connect(u, "blue", "Claude", "claude.ai", authz.ScopeRead)
	empty.signIn("eve@example.com")
	if a := empty.post(revokePath(g), nil); place(a) != "main" || !strings.Contains(a.body, "is revoked") {
		t.Errorf("the last one: in %q\n%s", place(a), a.body)
	}
	// Whoever goes elsewhere meanwhile is told there.
	g = s.connect(u, "blue", "Claude", "claude.ai", authz.ScopeRead)
	jar, _ := url.Parse(s.pageOrigin())
	empty.client.Jar.SetCookies(jar, []*http.Cookie{{Name: "podgate-notice", Value: "revoked.0", Path: "/"}})
	if a := empty.get(revokePath(g)); place(a) != "main" {
		t.Errorf("on another page: in %q", place(a))
	}
}

func TestAccountPage(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	ada, eve := s.addUser("ada@example.com", true, "red"), s.addUser("eve@example.com", false)
	b, second, foreign := s.browser(), s.browser(), s.browser()
	b.signIn("ada@example.com")
	second.header.Set("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
	second.signIn("ada@example.com")
	foreign.signIn("eve@example.com")
	s.connect(ada, "red", "Claude", "claude.ai", authz.ScopeRead)
	a := b.get("/account")
	if !strings.Contains(a.body, "Firefox on Linux") || !strings.Contains(a.body, "this browser") || !strings.Contains(a.body, "Ends 3 sessions") {
		t.Error("the sessions are not shown")
	}
	// Somebody else's session stays.
	theirs, err := s.account.Sessions(eve.ID)
	if err != nil {
		t.Fatal(err)
	}
	b.post("/account/end-session", url.Values{"session": {theirs[0].Hash.String()}})
	if a := foreign.get("/account"); a.h1() != "Account" {
		t.Error("ended somebody else's session")
	}
	if a := b.post("/account/end-session", url.Values{"session": {"nonsense"}}); a.StatusCode != http.StatusBadRequest {
		t.Errorf("a session that is none: %d", a.StatusCode)
	}
	a = b.post("/account/end-session", url.Values{"session": {store.HashSecret(second.cookie("podgate")).String()}})
	if !strings.Contains(a.body, "The session is ended.") || second.get("/account").h1() != "Sign in" {
		t.Error("the other session lives")
	}

	change := func(old, new, again string) answer {
		return b.post("/account/password", url.Values{"old": {old}, "password": {new}, "again": {again}})
	}
	for name, c := range map[string]struct {
		answer
		status int
		words  string
	}{
		"differ": {change(password, "another long password", "another long passwort"), 422, "differ"},
		"wrong":  {change("wrong password", "another long password", "another long password"), 403, "not your present password"},
		"short":  {change(password, "short", "short"), 422, "too short"},
	} {
		if c.StatusCode != c.status || !strings.Contains(c.body, c.words) {
			t.Errorf("%s: %d, want %d with %q", name, c.StatusCode, c.status, c.words)
		}
	}
	if a := change(password, "another long password", "another long password"); !strings.Contains(a.body, "Your password is changed, and 1 other session was ended.") {
		t.Errorf("the change: %d", a.StatusCode)
	}
	if a := b.get("/account"); a.h1() != "Account" {
		t.Error("one's own session ended with the change")
	}

	a = b.get("/account/log-out-everywhere")
	if main := text(a.all("main")[0]); !strings.Contains(main, "This ends 1 session, this one included, and 1 connection.") || b.get("/account").h1() != "Account" {
		t.Errorf("asked once: %s", main)
	}
	a = b.post("/account/log-out-everywhere", nil)
	if !strings.Contains(a.body, "1 session and 1 connection ended") || len(a.all("nav")) != 0 {
		t.Errorf("log out everywhere: %s", text(a.all("main")[0]))
	}
	if b.cookie("podgate") != "" || b.get("/account").h1() != "Sign in" {
		t.Error("still signed in")
	}
}

func TestErrorPages(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.browser()
	a := b.get("/broken")
	if a.StatusCode != http.StatusInternalServerError || strings.Contains(a.body, "secret cause") || strings.Contains(a.body, "goroutine") {
		t.Errorf("a panic: %d\n%s", a.StatusCode, a.body)
	}
	if id := a.Header.Get("X-Request-Id"); id == "" || !strings.Contains(a.body, id) {
		t.Error("the page does not name the request, so the log cannot be searched for it")
	}
	if a := b.get("/no/such/page"); a.StatusCode != http.StatusNotFound || a.h1() != "Nothing here" {
		t.Errorf("an unknown page: %d %q", a.StatusCode, a.h1())
	}
	if a := b.do(http.MethodDelete, "/account", nil, nil); a.StatusCode != http.StatusMethodNotAllowed || a.Header.Get("Allow") == "" {
		t.Errorf("DELETE: %d, Allow %q", a.StatusCode, a.Header.Get("Allow"))
	}
}

func TestAuthorizeErrorEscapes(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	preview(s, store.User{}, store.Team{})
	s.preview["evil"] = func(w http.ResponseWriter, r *http.Request) error {
		return s.ui.AuthorizeError(w, r, oauth.AuthorizeError{Status: 400, Title: "<i>T</i>", Message: "<script>m</script>", Return: "javascript:alert(1)", ReturnHost: "<b>h</b>"})
	}
	a := s.browser().get("/preview/evil")
	if a.StatusCode != 400 || strings.Contains(a.body, "<i>") || strings.Contains(a.body, "<script>") || strings.Contains(a.body, "javascript:") || strings.Contains(a.body, "<b>") {
		t.Errorf("%d:\n%s", a.StatusCode, a.body)
	}
	a = s.browser().get("/preview/authorize-error-return")
	links := a.all("a")
	if i := slices.IndexFunc(links, func(n *html.Node) bool { return text(n) == "Return to claude.ai" }); i < 0 || attr(links[i], "href") != "https://claude.ai/api/mcp/auth_callback?error=invalid_request" {
		t.Errorf("no way back to the client:\n%s", a.body)
	}
}
