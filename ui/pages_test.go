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

	"podgate/account"
	"podgate/internal/authz"
	"podgate/oauth"
	"podgate/store"
	"podgate/ui"
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
	s.connect(u, "red", hostileName, "claude.ai", authz.Scopes()...)
	pages["sign_in"] = s.browser().get("/sign-in")
	pages["sign_in fault"] = s.browser().post("/sign-in", url.Values{"email": {"ada@example.com"}, "password": {"wrong"}})
	b := s.browser()
	pages["home"] = b.signIn("ada@example.com")
	pages["account"] = b.get("/account")
	s.consent.ClientName = hostileName
	pages["consent"] = b.get("/oauth/authorize")
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
	flow := slices.Contains([]string{"consent", "no_team", "authorize_error"}, name)
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
	if slices.Contains([]string{"home", "account", "setup"}, name) && opener != "same-origin" {
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

// What is sent from another site, or without the browser vouching for it, is
// refused before anything happens.
func TestFormsFromElsewhereAreRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	u := s.addUser("ada@example.com", true, "red")
	g := s.connect(u, "red", "Claude", "claude.ai", authz.ScopeRead)
	b := s.browser()
	b.signIn("ada@example.com")
	secret := b.cookie("podgate")
	forms := map[string]url.Values{
		"/sign-in":                    {"email": {"ada@example.com"}, "password": {password}},
		"/sign-out":                   {},
		"/setup":                      {"email": {"eve@example.com"}},
		"/account/password":           {"old": {password}, "password": {"another long password"}, "again": {"another long password"}},
		"/account/end-session":        {"session": {store.HashSecret(secret).String()}},
		"/account/log-out-everywhere": {},
		"/connections/revoke":         {"connection": {string(g.ID)}},
	}
	for _, route := range s.ui.Routes() {
		if _, ok := forms[route.Path]; route.Method == http.MethodPost && !ok {
			t.Errorf("no form for %s", route.Path)
		}
	}
	for path, form := range forms {
		for name, header := range map[string]http.Header{
			"another site":      {"Origin": {"https://evil.example"}, "Sec-Fetch-Site": {"cross-site"}},
			"a pod":             {"Origin": {strings.Replace(s.issuer(), "localhost", "pod.localhost", 1)}, "Sec-Fetch-Site": {"same-site"}},
			"another port":      {"Origin": {"http://localhost:1"}, "Sec-Fetch-Site": {"same-site"}},
			"a sandboxed frame": {"Origin": {"null"}, "Sec-Fetch-Site": {"cross-site"}},
			"nothing said":      {},
			"the wrong scheme":  {"Origin": {strings.Replace(s.issuer(), "http:", "https:", 1)}},
		} {
			if a := b.do(http.MethodPost, path, form, header); a.StatusCode != http.StatusForbidden || a.Header.Get("Set-Cookie") != "" {
				t.Errorf("%s from %s: %d", path, name, a.StatusCode)
			}
		}
	}
	if _, _, err := s.account.Authenticate(secret); err != nil {
		t.Errorf("the session ended: %v", err)
	}
	if list, err := s.account.Connections(u.ID); err != nil || len(list) != 1 {
		t.Errorf("the connection ended: %v, %v", list, err)
	}
}

func TestFormsAreBounded(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a := s.browser().post("/sign-in", url.Values{"email": {strings.Repeat("x", 40<<10)}})
	if a.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("a form of 40 KiB: %d", a.StatusCode)
	}
	if a := s.browser().post("/sign-in?%zz", nil); a.StatusCode != http.StatusBadRequest {
		t.Errorf("a form that does not parse: %d", a.StatusCode)
	}
}

func TestSignInAndOut(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.addUser("ada@example.com", true, "red")
	b := s.browser()
	if a := b.get("/"); a.h1() != "Sign in" {
		t.Errorf("a stranger at / sees %q", a.h1())
	}
	a := b.signIn("ada@example.com")
	if a.StatusCode != http.StatusOK || a.h1() != "Home" {
		t.Fatalf("after signing in: %d %q", a.StatusCode, a.h1())
	}
	if a := b.get("/sign-in?next=/account"); a.h1() != "Account" {
		t.Errorf("signing in while signed in leads to %q", a.h1())
	}
	secret := b.cookie("podgate")
	if a := b.post("/sign-out", nil); a.h1() != "Sign in" || !strings.Contains(a.body, "You are signed out.") {
		t.Errorf("after signing out: %q", a.h1())
	}
	if b.cookie("podgate") != "" {
		t.Error("the cookie is still there")
	}
	if _, _, err := s.account.Authenticate(secret); err == nil {
		t.Error("the session is still there")
	}
	if a := b.get("/sign-in"); strings.Contains(a.body, "You are signed out.") {
		t.Error("the notice is shown twice")
	}
}

// The secret is new at each sign-in, and the one from before is dead: somebody
// who planted it gains nothing (session fixation, login CSRF).
func TestSessionFixation(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.addUser("ada@example.com", true, "red")
	s.addUser("eve@example.com", false, "red")
	eve := s.browser()
	eve.signIn("eve@example.com")
	planted := eve.cookie("podgate")

	victim := s.browser()
	u, _ := url.Parse(s.issuer())
	victim.client.Jar.SetCookies(u, []*http.Cookie{{Name: "podgate", Value: planted, Path: "/"}})
	victim.signIn("ada@example.com")
	if got := victim.cookie("podgate"); got == planted || got == "" {
		t.Error("the planted secret survived the sign-in")
	}
	if a := eve.get("/account"); a.h1() != "Sign in" {
		t.Errorf("who planted the secret sees %q", a.h1())
	}
	made := s.browser()
	made.client.Jar.SetCookies(u, []*http.Cookie{{Name: "podgate", Value: "pgs_made-up-by-somebody", Path: "/"}})
	made.signIn("ada@example.com")
	if made.cookie("podgate") == "pgs_made-up-by-somebody" {
		t.Error("a made-up secret became a session")
	}
}

func TestCookieAttributes(t *testing.T) {
	t.Parallel()
	for issuer, name := range map[string]string{"https://pods.example.com": "__Host-podgate", "http://localhost:8080": "podgate"} {
		s := newSite(t)
		s.addUser("ada@example.com", true)
		server, err := ui.New(ui.Config{Issuer: issuer, Account: s.account, Now: s.clock.now})
		if err != nil {
			t.Fatal(err)
		}
		c := serve(t, server, http.MethodPost, "/sign-in", url.Values{"email": {"ada@example.com"}, "password": {password}}, issuer).Result().Cookies()
		if len(c) != 1 || c[0].Name != name || !c[0].HttpOnly || c[0].SameSite != http.SameSiteLaxMode || c[0].Path != "/" || c[0].Domain != "" ||
			c[0].Secure != strings.HasPrefix(issuer, "https") || c[0].MaxAge != int(store.SessionTTL/time.Second) {
			t.Errorf("%s sets %v", issuer, c)
		}
	}
}

func TestSignInFailuresLookAlike(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.addUser("ada@example.com", true, "red")
	try := func(email string) answer {
		return s.browser().post("/sign-in", url.Values{"email": {email}, "password": {"not the password"}})
	}
	a, b := try("ada@example.com"), try("bob@example.com")
	same := strings.ReplaceAll(b.body, "bob@example.com", "ada@example.com")
	if a.StatusCode != http.StatusForbidden || a.StatusCode != b.StatusCode || a.body != same {
		t.Errorf("an account (%d) and none (%d) are told apart:\n%s\n%s", a.StatusCode, b.StatusCode, a.body, b.body)
	}
	if strings.Contains(a.body, "not the password") {
		t.Error("the password is sent back")
	}
}

func TestSignInLimit(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.addUser("ada@example.com", true, "red")
	attacker, owner := s.browser(), s.browser()
	attacker.header.Set("X-Forwarded-For", "203.0.113.66")
	owner.header.Set("X-Forwarded-For", "198.51.100.3")
	var a answer
	for range 11 {
		a = attacker.post("/sign-in", url.Values{"email": {"ada@example.com"}, "password": {"guess"}})
	}
	if a.StatusCode != http.StatusTooManyRequests || a.Header.Get("Retry-After") != "60" || !strings.Contains(a.body, "Wait 60 seconds") {
		t.Errorf("the eleventh guess: %d, Retry-After %q", a.StatusCode, a.Header.Get("Retry-After"))
	}
	if a := owner.signIn("ada@example.com"); a.h1() != "Home" {
		t.Errorf("the owner is locked out: %d %q", a.StatusCode, a.h1())
	}
}

func TestNextPath(t *testing.T) {
	t.Parallel()
	for _, good := range []string{
		"/", "/account", "/oauth/authorize?client_id=a&redirect_uri=https%3A%2F%2Fclaude.ai%2Fcb&state=%22x%22", "/authorize?x=//evil.example",
		"/a-b_c.d~e?q=https://evil.example/", "/a?b?c",
	} {
		if got := ui.NextPath(good); got != good {
			t.Errorf("%q became %q", good, got)
		}
	}
	for _, bad := range []string{
		"", "x", "account", "//evil.example", "///evil.example", "/\\evil.example", "\\\\evil.example", "/\t/evil.example", "/%09/evil.example",
		"/%0d%0aSet-Cookie:x=y", "/\r\nSet-Cookie: x=y", "/%2f/evil.example", "/%5cevil.example", "https://evil.example", "https:evil.example",
		"javascript:alert(1)", "data:text/html,x", " //evil.example", "/ /evil.example", "/.//evil.example", "/..//evil.example", "/./x", "/x/../..//evil",
		"//evil.example/%2f..", "/x/", "/x//y", "/a#b", "/a?b#c", "/a?b\\c", "/a?b\nc", "/a?b c", "/@evil.example", "/:80", "/ä", "/a?ä", "/\u2028", "http:///evil",
		"/;/evil.example", "/" + strings.Repeat("a", 5000),
	} {
		if got := ui.NextPath(bad); got != "/" {
			t.Errorf("%q leads to %q", bad, got)
		}
	}
}

func FuzzNextPath(f *testing.F) {
	f.Add("/oauth/authorize?client_id=x")
	f.Add("//evil.example")
	base, err := url.Parse("https://pods.example.com/sign-in")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, in string) {
		got := ui.NextPath(in)
		u, err := base.Parse(got)
		if err != nil || u.Host != base.Host || u.Scheme != base.Scheme || u.User != nil || u.Fragment != "" || strings.ContainsAny(got, "\\\r\n\t ") {
			t.Errorf("%q leads to %q", in, got)
		}
		if ui.NextPath(got) != got {
			t.Errorf("%q is not stable", got)
		}
	})
}

// A request that needs a sign-in comes back with the same meaning, whatever
// the client left unencoded.
func TestNextSurvives(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.addUser("ada@example.com", true, "red")
	const query = "client_id=a%20b&state=%2F%2Fevil%22&resource=http://localhost/api/mcp&x={y}|z&u=é"
	b := s.browser()
	a := b.get("/oauth/authorize?" + query)
	if a.h1() != "Sign in" || !strings.Contains(a.body, "what the assistant may do") {
		t.Fatalf("a stranger sees %q", a.h1())
	}
	var next string
	for _, in := range a.all("input") {
		if attr(in, "name") == "next" {
			next = attr(in, "value")
		}
	}
	// A failed try must not lose it.
	a = b.post("/sign-in", url.Values{"email": {"ada@example.com"}, "password": {"wrong"}, "next": {next}})
	if !strings.Contains(a.body, html.EscapeString(next)) {
		t.Error("a failed try loses where to go next")
	}
	a = b.post("/sign-in", url.Values{"email": {"ada@example.com"}, "password": {password}, "next": {next}})
	if a.Request.URL.Path != "/oauth/authorize" {
		t.Fatalf("leads to %s", a.Request.URL)
	}
	want, err := url.ParseQuery(query)
	if err != nil {
		t.Fatal(err)
	}
	if got := a.Request.URL.Query(); got.Encode() != want.Encode() {
		t.Errorf("came back with\n%v, want\n%v", got, want)
	}
}

func TestSetupPage(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	token, err := s.account.SetupLink(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	form := url.Values{"email": {"ada@example.com"}, "name": {"Ada"}, "password": {password}, "team": {"Red"}}
	b := s.browser()
	if a := b.get("/"); a.Request.URL.Path != "/setup" || a.StatusCode != http.StatusNotFound || !strings.Contains(a.body, "podgate setup-link") {
		t.Errorf("a fresh server shows %s %d", a.Request.URL, a.StatusCode)
	}
	if a := b.get("/setup?token=made-up"); len(a.all("input")) != 0 || a.StatusCode != http.StatusNotFound {
		t.Errorf("a made-up link: %d with %d fields", a.StatusCode, len(a.all("input")))
	}
	if a := b.post("/setup", form); a.StatusCode == http.StatusOK {
		t.Error("setup without a link")
	}
	a := b.get("/setup?token=" + token)
	if a.Request.URL.RawQuery != "" || strings.Contains(a.body, token) {
		t.Errorf("the token stays in the address (%s) or in the page", a.Request.URL)
	}
	bad := url.Values{"email": {"ada@example.com"}, "name": {"Ada <b>"}, "password": {"short"}, "team": {"Red"}}
	if a := b.post("/setup", bad); a.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(a.body, "too short") || !strings.Contains(a.body, "Ada &lt;b&gt;") {
		t.Errorf("a short password: %d", a.StatusCode)
	}
	if a := b.post("/setup", form); a.h1() != "Home" || !strings.Contains(a.body, "This server is set up.") {
		t.Fatalf("setup leads to %d %q", a.StatusCode, a.h1())
	}
	if b.cookie("podgate-setup") != "" {
		t.Error("the setup token is still in the browser")
	}
	late := s.browser()
	if a := late.get("/setup?token=" + token); a.StatusCode != http.StatusForbidden || len(a.all("input")) != 0 {
		t.Errorf("the link a second time: %d", a.StatusCode)
	}
	if users, err := s.account.Users(); err != nil || len(users) != 1 || !users[0].Admin {
		t.Errorf("users: %+v, %v", users, err)
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
	for _, part := range []string{"127.0.0.1:3117", "calls itself", "a program on this computer", "Choose a team.", "For which team", "What may it do", "Run commands inside pods", "30 days", "Approve", "Deny"} {
		at := strings.LastIndex(text(a.all("main")[0]), part)
		if at <= last {
			t.Errorf("%q is missing or out of order in:\n%s", part, text(a.all("main")[0]))
		}
		last = at
	}
	if !strings.Contains(a.h1(), "127.0.0.1:3117") {
		t.Errorf("the host is not the heading: %q", a.h1())
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
	if a := b.post("/connections/revoke", url.Values{"connection": {string(other.ID)}}); strings.Contains(a.body, "is revoked") {
		t.Error("podgate claims to have revoked somebody else's connection")
	}
	if list, err := s.account.Connections(eve.ID); err != nil || len(list) != 1 {
		t.Errorf("somebody else's connection: %v, %v", list, err)
	}
	if a := b.post("/connections/revoke", url.Values{"connection": {string(g.ID)}}); !strings.Contains(a.body, "is revoked") || strings.Contains(a.body, string(g.ID)) {
		t.Error("the connection is still shown")
	}
	if list, err := s.account.Connections(ada.ID); err != nil || len(list) != 0 {
		t.Errorf("afterwards: %v, %v", list, err)
	}
	if a := s.browser().post("/connections/revoke", url.Values{"connection": {string(other.ID)}}); a.h1() != "Sign in" {
		t.Errorf("a stranger: %q", a.h1())
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

	a = b.post("/account/log-out-everywhere", nil)
	if !strings.Contains(a.body, "1 session and 1 connection ended") || len(a.all("nav")) != 0 {
		t.Errorf("log out everywhere: %s", text(a.all("main")[0]))
	}
	if b.cookie("podgate") != "" || b.get("/account").h1() != "Sign in" {
		t.Error("still signed in")
	}
}

func TestNoticesSayOnlyWhatWeWrote(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	u, _ := url.Parse(s.issuer())
	for _, value := range []string{"<b>hi</b>.1", "free text.0", "password.-5", "password.99999999999999999999", "signed-out", ".", "password.x"} {
		b := s.browser()
		b.client.Jar.SetCookies(u, []*http.Cookie{{Name: "podgate-notice", Value: url.QueryEscape(value), Path: "/"}})
		if a := b.get("/sign-in"); strings.Contains(a.body, `class="notice"`) {
			t.Errorf("the notice cookie %q shows something", value)
		}
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

func TestReturnURL(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"https://claude.ai/cb?error=access_denied&state=x", "http://127.0.0.1:8080/cb?error=x", "cursor://anysphere.cursor-mcp/oauth/callback?error=x"} {
		if got := ui.ReturnURL(good); string(got) != good {
			t.Errorf("%q became %q", good, got)
		}
	}
	for _, bad := range []string{"", "javascript:alert(1)", "JavaScript:alert(1)", "data:text/html,x", "vbscript:x", "blob:https://x", "/relative", "file:///etc/passwd", "java\nscript:x", "view-source:https://x"} {
		if got := ui.ReturnURL(bad); got != "" {
			t.Errorf("%q may be linked as %q", bad, got)
		}
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

func TestCleanText(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in    string
		limit int
		want  string
	}{
		{"plain", 10, "plain"}, {" a \n\t b ", 10, "a b"}, {"\u202eevil\u2066\u200f", 10, "evil"}, {"a\x00b\x1bc\u200bd\ufeff", 10, "abcd"},
		{strings.Repeat("é", 20), 5, "ééééé…"}, {"a\xffb", 10, "ab"}, {strings.Repeat("\u200b", 10000) + "late", 5, ""}, {"", 5, ""},
	} {
		if got := ui.CleanText(c.in, c.limit); got != c.want {
			t.Errorf("%.20q: %q, want %q", c.in, got, c.want)
		}
	}
}

func TestBrowserName(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0":                                                                  "Firefox on Linux",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0 Safari/537.36 Edg/142.0":                   "Edge on Windows",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/19.0 Mobile/15E148 Safari/604.1": "Safari on iPhone",
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36":                   "Chrome on macOS",
		"Mozilla/5.0 (Linux; Android 15) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Mobile Safari/537.36":                            "Chrome on Android",
		"curl/8.5.0": "curl", "": "Unknown browser", "<b>Something</b>\u202e else": "<b>Something</b> else",
	} {
		if got := ui.BrowserName(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestGuides(t *testing.T) {
	t.Parallel()
	const endpoint = "https://pods.example.com/api/mcp"
	names := map[string]string{}
	for _, g := range ui.Guides(endpoint) {
		var all strings.Builder
		for _, s := range g.Steps {
			all.WriteString(s.Text + "\n" + s.Code + "\n" + string(s.Link) + "\n")
			if s.Link != "" && s.Label == "" {
				t.Errorf("%s has a link without words", g.Name)
			}
		}
		if !strings.Contains(all.String(), endpoint) {
			t.Errorf("%s does not say the address", g.Name)
		}
		names[g.ID] = all.String()
	}
	for id, want := range map[string]string{
		"claude":      "Add custom connector",
		"chatgpt":     "Developer mode",
		"claude-code": "claude mcp add --transport http --scope user podgate " + endpoint,
		"cursor":      "cursor://anysphere.cursor-deeplink/mcp/install?name=podgate&config=eyJ1cmwiOiJodHRwczovL3BvZHMuZXhhbXBsZS5jb20vYXBpL21jcCJ9",
		"vscode":      `code --add-mcp '{"name":"podgate","type":"http","url":"` + endpoint + `"}'`,
		"codex":       "codex mcp add podgate --url " + endpoint,
		"gemini":      "gemini mcp add --scope user --transport http podgate " + endpoint,
	} {
		if !strings.Contains(names[id], want) {
			t.Errorf("%s lacks %q in:\n%s", id, want, names[id])
		}
	}
}

func TestIssuerMustBeAnOrigin(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"", "pods.example.com", "https://", "https://pods.example.com/", "https://pods.example.com/x", "ftp://x", "https://u@x", "https://x?y", "://"} {
		if _, err := ui.New(ui.Config{Issuer: bad, Account: new(account.Service)}); err == nil {
			t.Errorf("issuer %q was taken", bad)
		}
	}
}

// Nothing secret reaches the log, at any level.
func TestLogHoldsNoSecrets(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	token, err := s.account.SetupLink(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b := s.browser()
	b.get("/setup?token=" + token)
	b.post("/setup", url.Values{"email": {"ada@example.com"}, "name": {"Ada"}, "password": {password}, "team": {"Red"}})
	first := b.cookie("podgate")
	b.post("/sign-out", nil)
	b.post("/sign-in", url.Values{"email": {"ada@example.com"}, "password": {"a wrong password"}})
	b.signIn("ada@example.com")
	second := b.cookie("podgate")
	b.get("/account")
	s.Close()
	log := s.log.String()
	if !strings.Contains(log, "path=/sign-in") {
		t.Fatalf("the log is empty: %s", log)
	}
	for _, secret := range []string{token, first, second, password, "a wrong password", first[4:], second[4:]} {
		if secret == "" || strings.Contains(log, secret) {
			t.Errorf("the log holds %q", secret)
		}
	}
}
