package ui_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"podgate/account"
	"podgate/internal/authz"
	"podgate/store"
	"podgate/ui"
	"podgate/ui/page"
	"podgate/ui/pagetest"
)

// What is sent from another site, or without the browser vouching for it, is
// refused before anything happens.
func TestFormsFromElsewhereAreRefused(t *testing.T) {
	t.Parallel()
	s := pagetest.New(t)
	u := s.AddUser("ada@example.com", true, "red")
	g := s.Connect(u, "red", "Claude", "claude.ai", authz.ScopeRead)
	b := s.Browser()
	b.SignIn("ada@example.com")
	secret := b.Cookie("podgate")
	forms := map[string]url.Values{
		"/sign-in":                    {"email": {"ada@example.com"}, "password": {password}},
		"/sign-out":                   {},
		"/setup":                      {"email": {"eve@example.com"}},
		"/account/password":           {"old": {password}, "password": {"another long password"}, "again": {"another long password"}},
		"/account/end-session":        {"session": {store.HashSecret(secret).String()}},
		"/account/log-out-everywhere": {},
		"/connection/:id/revoke":      {},
		"/connection/:id/limits":      {"scope": {"pods:read"}, "read_only": {"yes"}},
	}
	s.CreatePod(u, "red", "blog", "static")
	inPath := strings.NewReplacer(":id", string(g.ID), ":name", "blog", ":slug", "red", ":user", string(u.ID), ":act", "block")
	for _, route := range s.UI.Routes() {
		if route.Method == http.MethodPost && forms[route.Path] == nil {
			forms[route.Path] = url.Values{} // TestRoleMatrix fills these in
		}
	}
	for path, form := range forms {
		for name, header := range map[string]http.Header{
			"another site":      {"Origin": {"https://evil.example"}, "Sec-Fetch-Site": {"cross-site"}},
			"a pod":             {"Origin": {strings.Replace(s.Issuer(), "localhost", "pod.localhost", 1)}, "Sec-Fetch-Site": {"same-site"}},
			"the clients' name": {"Origin": {s.Issuer()}, "Sec-Fetch-Site": {"same-site"}},
			"another port":      {"Origin": {"http://localhost:1"}, "Sec-Fetch-Site": {"same-site"}},
			"a sandboxed frame": {"Origin": {"null"}, "Sec-Fetch-Site": {"cross-site"}},
			"nothing said":      {},
			"the wrong scheme":  {"Origin": {strings.Replace(s.PageOrigin(), "http:", "https:", 1)}},
		} {
			if a := b.Do(http.MethodPost, inPath.Replace(path), form, header); a.StatusCode != http.StatusForbidden || a.Header.Get("Set-Cookie") != "" {
				t.Errorf("%s from %s: %d", path, name, a.StatusCode)
			}
		}
	}
	if _, _, err := s.Account.Authenticate(secret); err != nil {
		t.Errorf("the session ended: %v", err)
	}
	if list, err := s.Account.Connections(u.ID); err != nil || len(list) != 1 || list[0].Limits.ReadOnly {
		t.Errorf("the connection ended or changed: %v, %v", list, err)
	}
}

func TestFormsAreBounded(t *testing.T) {
	t.Parallel()
	s := pagetest.New(t)
	a := s.Browser().Post("/sign-in", url.Values{"email": {strings.Repeat("x", 40<<10)}})
	if a.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("a form of 40 KiB: %d", a.StatusCode)
	}
	if a := s.Browser().Post("/sign-in?%zz", nil); a.StatusCode != http.StatusBadRequest {
		t.Errorf("a form that does not parse: %d", a.StatusCode)
	}
}

func TestSignInAndOut(t *testing.T) {
	t.Parallel()
	s := pagetest.New(t)
	s.AddUser("ada@example.com", true, "red")
	b := s.Browser()
	if a := b.Get("/"); a.H1() != "Sign in" {
		t.Errorf("a stranger at / sees %q", a.H1())
	}
	a := b.SignIn("ada@example.com")
	if a.StatusCode != http.StatusOK || a.H1() != "Pods" {
		t.Fatalf("after signing in: %d %q", a.StatusCode, a.H1())
	}
	if a := b.Get("/sign-in?next=/account"); a.H1() != "Account" {
		t.Errorf("signing in while signed in leads to %q", a.H1())
	}
	secret := b.Cookie("podgate")
	if a := b.Post("/sign-out", nil); a.H1() != "Sign in" || !strings.Contains(a.HTML, "You are signed out.") {
		t.Errorf("after signing out: %q", a.H1())
	}
	if b.Cookie("podgate") != "" {
		t.Error("the cookie is still there")
	}
	if _, _, err := s.Account.Authenticate(secret); err == nil {
		t.Error("the session is still there")
	}
	if a := b.Get("/sign-in"); strings.Contains(a.HTML, "You are signed out.") {
		t.Error("the notice is shown twice")
	}
}

// The secret is new at each sign-in, and the one from before is dead: somebody
// who planted it gains nothing (session fixation, login CSRF).
func TestSessionFixation(t *testing.T) {
	t.Parallel()
	s := pagetest.New(t)
	s.AddUser("ada@example.com", true, "red")
	s.AddUser("eve@example.com", false, "red")
	eve := s.Browser()
	eve.SignIn("eve@example.com")
	planted := eve.Cookie("podgate")

	victim := s.Browser()
	u, _ := url.Parse(s.PageOrigin())
	victim.Client.Jar.SetCookies(u, []*http.Cookie{{Name: "podgate", Value: planted, Path: "/"}})
	victim.SignIn("ada@example.com")
	if got := victim.Cookie("podgate"); got == planted || got == "" {
		t.Error("the planted secret survived the sign-in")
	}
	if a := eve.Get("/account"); a.H1() != "Sign in" {
		t.Errorf("who planted the secret sees %q", a.H1())
	}
	made := s.Browser()
	made.Client.Jar.SetCookies(u, []*http.Cookie{{Name: "podgate", Value: "pgs_made-up-by-somebody", Path: "/"}})
	made.SignIn("ada@example.com")
	if made.Cookie("podgate") == "pgs_made-up-by-somebody" {
		t.Error("a made-up secret became a session")
	}
}

func TestCookieAttributes(t *testing.T) {
	t.Parallel()
	const safari = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.4 Safari/605.1.15"
	for _, c := range []struct {
		issuer, origin, agent, name string
		age                         time.Duration // 0: until the browser is closed
	}{
		{"https://pods.example.com", "https://pods.example.com", "", "__Host-podgate", store.SessionTTL},
		{"https://pods.example.com", "https://pods.example.com", safari, "__Host-podgate", store.SessionTTL},
		{"http://localhost:8080", "http://podgate.localhost:8080", "", "podgate", store.SessionTTL},
		{"http://localhost:8080", "http://localhost:8080", safari, "podgate", 0},
	} {
		s := pagetest.New(t)
		s.AddUser("ada@example.com", true)
		server, err := ui.New(ui.Config{Config: page.Config{Issuer: c.issuer, Account: s.Account, Now: s.Clock.Now}})
		if err != nil {
			t.Fatal(err)
		}
		header := http.Header{"Origin": {c.origin}, "User-Agent": {c.agent}}
		check := func(when string, list []*http.Cookie, ages map[string]time.Duration) {
			t.Helper()
			if len(list) != len(ages) {
				t.Errorf("%+v sets %v at %s", c, list, when)
			}
			for _, x := range list {
				age, ok := ages[x.Name]
				if !ok || !x.HttpOnly || x.SameSite != http.SameSiteLaxMode || x.Path != "/" || x.Domain != "" ||
					x.Secure != strings.HasPrefix(c.issuer, "https") || x.MaxAge != int(age/time.Second) {
					t.Errorf("%+v sets %v at %s", c, x, when)
				}
			}
		}
		session, both := map[string]time.Duration{c.name: c.age}, map[string]time.Duration{c.name: c.age}
		if c.age > 0 { // where no other program sees it
			both[c.name+"-device"] = account.DeviceTTL
		}
		given := serve(t, server, http.MethodPost, "/sign-in", url.Values{"email": {"ada@example.com"}, "password": {password}}, header).Result().Cookies()
		check("the sign-in", given, both)
		check("a visit", serve(t, server, http.MethodGet, "/account", nil, header, given...).Result().Cookies(), session)
	}
}

// A browser that somebody signed in with is known when they sign in again,
// whatever goes on at its address; for them alone, and not by its session.
func TestBrowserIsKnownAgain(t *testing.T) {
	t.Parallel()
	s := pagetest.New(t)
	s.AddUser("ada@example.com", true, "red")
	s.AddUser("eve@example.com", false, "red")
	b, stranger := s.Browser(), s.Browser()
	b.SignIn("ada@example.com")
	b.Post("/sign-out", nil)
	for i := range 61 {
		err := "none"
		if _, _, e := s.Account.SignIn(t.Context(), fmt.Sprintf("%d@example.com", i/10), "a guess", account.Browser{Addr: netip.MustParseAddr("127.0.0.1")}); e != nil {
			err = e.Error()
		}
		if limited := strings.Contains(err, "Too many"); limited != (i == 60) {
			t.Fatalf("guess %d: %s", i, err)
		}
	}
	if a := stranger.SignIn("ada@example.com"); a.StatusCode != http.StatusTooManyRequests {
		t.Errorf("a strange browser: %d", a.StatusCode)
	}
	if a := b.SignIn("eve@example.com"); a.StatusCode != http.StatusTooManyRequests {
		t.Errorf("another account in the browser: %d", a.StatusCode)
	}
	old := b.Cookie("podgate-device")
	if a := b.SignIn("ada@example.com"); a.H1() != "Pods" {
		t.Fatalf("the browser: %d %q", a.StatusCode, a.H1())
	}
	if now := b.Cookie("podgate-device"); now == old || now == "" {
		t.Errorf("after signing in again it holds %q", now)
	}
	const changed = "another long password"
	b.Post("/account/password", url.Values{"old": {password}, "password": {changed}, "again": {changed}})
	b.Post("/sign-out", nil)
	if a := b.Post("/sign-in", url.Values{"email": {"ada@example.com"}, "password": {changed}}); a.H1() != "Pods" {
		t.Errorf("the browser that changed the password: %d %q", a.StatusCode, a.H1())
	}
}

// Where other programs of the computer see cookies none is given, and none taken.
func TestNoDeviceWhereCookiesAreShared(t *testing.T) {
	t.Parallel()
	s := pagetest.New(t)
	u := s.AddUser("ada@example.com", true)
	device, err := s.Account.Device(u.ID)
	if err != nil {
		t.Fatal(err)
	}
	const safari = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.4 Safari/605.1.15"
	for agent, want := range map[string]string{"": device, safari: ""} {
		server, err := ui.New(ui.Config{Config: page.Config{Issuer: "http://localhost:8080", Account: s.Account, Now: s.Clock.Now}})
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest(http.MethodPost, "/sign-in", nil)
		r.Header.Set("User-Agent", agent)
		r.AddCookie(&http.Cookie{Name: "podgate-device", Value: device})
		if got := server.Browser(r).Device; got != want {
			t.Errorf("%q brings %q", agent, got)
		}
	}
}

func TestSignInFailuresLookAlike(t *testing.T) {
	t.Parallel()
	s := pagetest.New(t)
	s.AddUser("ada@example.com", true, "red")
	try := func(email string) pagetest.Answer {
		return s.Browser().Post("/sign-in", url.Values{"email": {email}, "password": {"not the password"}})
	}
	a, b := try("ada@example.com"), try("bob@example.com")
	same := strings.ReplaceAll(b.HTML, "bob@example.com", "ada@example.com")
	same = strings.ReplaceAll(same, asked(t, b, "challenge"), asked(t, a, "challenge")) // each page has its own
	if a.StatusCode != http.StatusForbidden || a.StatusCode != b.StatusCode || a.HTML != same {
		t.Errorf("an account (%d) and none (%d) are told apart:\n%s\n%s", a.StatusCode, b.StatusCode, a.HTML, b.HTML)
	}
	if strings.Contains(a.HTML, "not the password") {
		t.Error("the password is sent back")
	}
}

func TestSignInLimit(t *testing.T) {
	t.Parallel()
	s := pagetest.New(t)
	s.AddUser("ada@example.com", true, "red")
	attacker, owner := s.Browser(), s.Browser()
	attacker.Header.Set("X-Forwarded-For", "203.0.113.66")
	owner.Header.Set("X-Forwarded-For", "198.51.100.3")
	var a pagetest.Answer
	for range 11 {
		a = attacker.Post("/sign-in", url.Values{"email": {"ada@example.com"}, "password": {"guess"}})
	}
	if a.StatusCode != http.StatusTooManyRequests || a.Header.Get("Retry-After") != "60" || !strings.Contains(a.HTML, "Wait 60 seconds") {
		t.Errorf("the eleventh guess: %d, Retry-After %q", a.StatusCode, a.Header.Get("Retry-After"))
	}
	if a := owner.SignIn("ada@example.com"); a.H1() != "Pods" {
		t.Errorf("the owner is locked out: %d %q", a.StatusCode, a.H1())
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
	s := pagetest.New(t)
	s.AddUser("ada@example.com", true, "red")
	const query = "client_id=a%20b&state=%2F%2Fevil%22&resource=http://localhost/api/mcp&x={y}|z&u=é"
	b := s.Browser()
	a := b.Get("/oauth/authorize?" + query)
	if a.H1() != "Sign in" || !strings.Contains(a.HTML, "what the assistant may do") {
		t.Fatalf("a stranger sees %q", a.H1())
	}
	var next string
	for _, in := range a.All("input") {
		if pagetest.Attr(in, "name") == "next" {
			next = pagetest.Attr(in, "value")
		}
	}
	// A failed try must not lose it.
	a = b.Post("/sign-in", url.Values{"email": {"ada@example.com"}, "password": {"wrong"}, "next": {next}})
	if !strings.Contains(a.HTML, html.EscapeString(next)) {
		t.Error("a failed try loses where to go next")
	}
	a = b.Post("/sign-in", url.Values{"email": {"ada@example.com"}, "password": {password}, "next": {next}})
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
	s := pagetest.New(t)
	token, err := s.Account.SetupLink(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	form := url.Values{"email": {"ada@example.com"}, "name": {"Ada"}, "password": {password}, "team": {"Red"}}
	b := s.Browser()
	if a := b.Get("/"); a.Request.URL.Path != "/setup" || a.StatusCode != http.StatusNotFound || !strings.Contains(a.HTML, "podgate setup-link") {
		t.Errorf("a fresh server shows %s %d", a.Request.URL, a.StatusCode)
	}
	if a := b.Get("/setup?token=made-up"); len(a.All("input")) != 0 || a.StatusCode != http.StatusNotFound {
		t.Errorf("a made-up link: %d with %d fields", a.StatusCode, len(a.All("input")))
	}
	if a := b.Post("/setup", form); a.StatusCode == http.StatusOK {
		t.Error("setup without a link")
	}
	a := b.Get("/setup?token=" + token)
	if a.Request.URL.RawQuery != "" || strings.Contains(a.HTML, token) {
		t.Errorf("the token stays in the address (%s) or in the page", a.Request.URL)
	}
	bad := url.Values{"email": {"ada@example.com"}, "name": {"Ada <b>"}, "password": {"short"}, "team": {"Red"}}
	if a := b.Post("/setup", bad); a.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(a.HTML, "too short") || !strings.Contains(a.HTML, "Ada &lt;b&gt;") {
		t.Errorf("a short password: %d", a.StatusCode)
	}
	if a := b.Post("/setup", form); a.H1() != "Pods" || !strings.Contains(a.HTML, "This server is set up.") {
		t.Fatalf("setup leads to %d %q", a.StatusCode, a.H1())
	}
	if b.Cookie("podgate-setup") != "" {
		t.Error("the setup token is still in the browser")
	}
	late := s.Browser()
	if a := late.Get("/setup?token=" + token); a.StatusCode != http.StatusForbidden || len(a.All("input")) != 0 {
		t.Errorf("the link a second time: %d", a.StatusCode)
	}
	if users, err := s.Account.Users(); err != nil || len(users) != 1 || !users[0].Admin {
		t.Errorf("users: %+v, %v", users, err)
	}
}

// Without a form the page says what helps, and offers a sign-in only where
// somebody could use it.
func TestSetupWithoutALink(t *testing.T) {
	t.Parallel()
	s := pagetest.New(t)
	has := func(a pagetest.Answer) (command, signIn bool) {
		for _, n := range a.All("code") {
			command = command || pagetest.Text(n) == "podgate setup-link"
		}
		for _, n := range a.All("a") {
			signIn = signIn || pagetest.Attr(n, "href") == "/sign-in"
		}
		return command, signIn
	}
	check := func(name string, a pagetest.Answer, words string, command, signIn bool) {
		t.Helper()
		gotCommand, gotSignIn := has(a)
		if !strings.Contains(pagetest.Text(a.All("main")[0]), words) || gotCommand != command || gotSignIn != signIn || len(a.All("input")) != 0 {
			t.Errorf("%s: command %v, sign-in %v, want %v, %v and %q in:\n%s", name, gotCommand, gotSignIn, command, signIn, words, pagetest.Text(a.All("main")[0]))
		}
	}
	b := s.Browser()
	check("no link", b.Get("/setup"), "Open the setup link that it printed when it started", true, false)
	check("nobody can sign in", b.Get("/sign-in"), "no administrator yet", true, false)
	check("a wrong link", b.Get("/setup?token=made-up"), "it was used, or a newer one has replaced it", true, false)
	check("a wrong link, sent", b.Post("/setup", url.Values{"email": {"ada@example.com"}}), "it was used, or", true, false)
	token, err := s.Account.SetupLink(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.Clock.Advance(account.SetupTTL)
	check("an old link", b.Get("/setup?token="+token), "more than 30 minutes old", true, false)
	s.AddUser("bob@example.com", false)
	check("a member without an administrator", b.Get("/setup"), "more than 30 minutes old", true, true)
	if a := b.Get("/sign-in"); a.H1() != "Sign in" || !strings.Contains(a.HTML, "podgate setup-link") {
		t.Errorf("a member signs in on %q", a.H1())
	}
	s.AddUser("ada@example.com", true)
	check("set up", b.Get("/setup"), "Sign in, or ask an administrator", false, true)
}

func TestNoticesSayOnlyWhatWeWrote(t *testing.T) {
	t.Parallel()
	s := pagetest.New(t)
	u, _ := url.Parse(s.PageOrigin())
	for _, value := range []string{"<b>hi</b>.1", "free text.0", "password.-5", "password.99999999999999999999", "signed-out", ".", "password.x"} {
		b := s.Browser()
		b.Client.Jar.SetCookies(u, []*http.Cookie{{Name: "podgate-notice", Value: url.QueryEscape(value), Path: "/"}})
		if a := b.Get("/sign-in"); strings.Contains(a.HTML, `class="notice"`) {
			t.Errorf("the notice cookie %q shows something", value)
		}
	}
}

// Nothing secret reaches the log, at any level.
func TestLogHoldsNoSecrets(t *testing.T) {
	t.Parallel()
	s := pagetest.New(t)
	token, err := s.Account.SetupLink(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b := s.Browser()
	b.Get("/setup?token=" + token)
	b.Post("/setup", url.Values{"email": {"ada@example.com"}, "name": {"Ada"}, "password": {password}, "team": {"Red"}})
	first := b.Cookie("podgate")
	b.Post("/sign-out", nil)
	b.Post("/sign-in", url.Values{"email": {"ada@example.com"}, "password": {"a wrong password"}})
	b.SignIn("ada@example.com")
	second := b.Cookie("podgate")
	b.Get("/account")
	s.Close()
	log := s.Log.String()
	if !strings.Contains(log, "path=/sign-in") {
		t.Fatalf("the log is empty: %s", log)
	}
	for _, secret := range []string{token, first, second, password, "a wrong password", first[4:], second[4:]} {
		if secret == "" || strings.Contains(log, secret) {
			t.Errorf("the log holds %q", secret)
		}
	}
}
