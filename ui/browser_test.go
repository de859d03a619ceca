package ui_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"podgate/internal/authz"
	"podgate/internal/errorpage"
	"podgate/internal/webtest"
	"podgate/oauth"
	"podgate/pods"
	"podgate/store"
)

// chrome is one tab of a headless Chromium.
type chrome struct {
	t    *testing.T
	ctx  context.Context
	base string
}

// newTab opens a tab with cookies of its own.
func newTab(t *testing.T, browser context.Context, base string) *chrome {
	t.Helper()
	ctx, cancel := chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	return &chrome{t: t, ctx: ctx, base: base}
}

func (c *chrome) do(steps ...chromedp.Action[chromedp.Void]) {
	c.t.Helper()
	if err := chromedp.Do(c.ctx, steps...); err != nil {
		c.t.Fatalf("browser: %v", err)
	}
}

func (c *chrome) open(path string) {
	c.t.Helper()
	c.do(chromedp.Navigate(c.base+path), chromedp.WaitVisible(chromedp.CSS("main")))
	c.settle()
}

// settle ends the time in which buttons do not react yet. Polling would need the
// page's script, which some tests switch off.
func (c *chrome) settle() {
	c.t.Helper()
	c.do(chromedp.Evaluate[chromedp.Void](`document.getAnimations().forEach(a => a.finish())`))
}

// submit presses a button and waits until another page is there.
func (c *chrome) submit(button string) {
	c.t.Helper()
	c.settle()
	resp, err := chromedp.RunResponse(c.ctx, chromedp.Click(chromedp.CSS(button)))
	if err != nil {
		c.t.Fatalf("press %s: %v", button, err)
	}
	c.t.Logf("pressed %s: %d %s", button, resp.Status, resp.URL)
}

func (c *chrome) fill(fields map[string]string) {
	c.t.Helper()
	for id, value := range fields {
		c.do(chromedp.SetValue(chromedp.CSS("#"+id), value))
	}
}

// ask runs an action that returns something, such as an Evaluate.
func ask[T any](c *chrome, a chromedp.Action[T]) T {
	c.t.Helper()
	v, err := chromedp.Run(c.ctx, a)
	if err != nil {
		c.t.Fatalf("browser: %v", err)
	}
	return v
}

func (c *chrome) text(selector string) string {
	c.t.Helper()
	return ask(c, chromedp.Evaluate[string](fmt.Sprintf(`document.querySelector(%q)?.innerText ?? ""`, selector)))
}

func (c *chrome) wantH1(want string) {
	c.t.Helper()
	if got := c.text("h1"); !strings.Contains(got, want) {
		c.t.Fatalf("the page is headed %q, want %q:\n%s", got, want, c.text("body"))
	}
}

// wantInView fails unless the element is within the window, as the page opened.
func (c *chrome) wantInView(selector string) {
	c.t.Helper()
	const where = `(() => { const e = document.querySelector(%q); if (!e) return "absent"; const r = e.getBoundingClientRect(); return r.top >= 0 && r.bottom <= innerHeight ? "" : r.top + " to " + r.bottom + " of " + innerHeight; })()`
	if at := ask(c, chromedp.Evaluate[string](fmt.Sprintf(where, selector))); at != "" {
		c.t.Errorf("%s is out of sight: %s", selector, at)
	}
}

// look sets width and colour scheme.
func (c *chrome) look(width int, scheme string) {
	c.t.Helper()
	c.do(chromedp.EmulateViewport(int64(width), 800))
	media := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"},
	}}
	if _, err := chromedp.Call(c.ctx, emulation.SetEmulatedMedia, media); err != nil {
		c.t.Fatalf("browser: %v", err)
	}
}

// inspect checks that nothing is wider than the window at the narrowest and
// the widest size. When PODGATE_SCREENSHOTS names a folder, it keeps a picture
// of each, light and dark.
func (c *chrome) inspect(name string) {
	c.t.Helper()
	folder, schemes := os.Getenv("PODGATE_SCREENSHOTS"), []string{"light"}
	if folder != "" {
		schemes = append(schemes, "dark")
	}
	for _, width := range []int{320, 1280} {
		for _, scheme := range schemes {
			c.look(width, scheme)
			if over := ask(c, chromedp.Evaluate[[]string](overflowing)); len(over) > 0 {
				c.t.Errorf("%s at %d px: wider than the window: %s", name, width, strings.Join(over, ", "))
			}
			if folder != "" {
				c.picture(filepath.Join(folder, fmt.Sprintf("%s-%d-%s.png", name, width, scheme)))
			}
		}
	}
	c.look(1280, "light")
}

// overflowing lists the elements that reach beyond the window.
const overflowing = `(() => {
	const wide = document.documentElement.clientWidth, list = [];
	if (document.documentElement.scrollWidth > wide) list.push("document");
	for (const e of document.querySelectorAll("body *")) {
		if (e.classList.contains("skip") || !e.checkVisibility()) continue;
		const r = e.getBoundingClientRect();
		if (r.width > 0 && (r.right > wide + 1 || r.left < -1)) list.push(e.tagName + "." + e.className);
	}
	return list;
})()`

func (c *chrome) picture(path string) {
	c.t.Helper()
	png := ask(c, chromedp.FullScreenshot(100))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		c.t.Fatal(err)
	}
	if err := os.WriteFile(path, png, 0o644); err != nil {
		c.t.Fatal(err)
	}
}

// TestBrowser looks at the pages in a real browser, because cookies, redirects,
// Origin, Content-Security-Policy and layout are the browser's own.
func TestBrowser(t *testing.T) {
	t.Parallel()
	browser := webtest.StartChromium(t)
	for name, test := range map[string]func(*testing.T, *site, *chrome){
		"walk": walk, "limits": limitsWalk, "hostile page": hostile, "other pages": otherPages, "without script": withoutScript, "keyboard": keyboard,
		"enter decides nothing": enterDecidesNothing, "decision in sight": decisionInSight, "decision settles": decisionSettles,
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			test(t, s, newTab(t, browser, s.pageOrigin()))
		})
	}
}

// A person sets the server up, signs out and in, approves a client, looks at
// the result and revokes it.
func walk(t *testing.T, s *site, c *chrome) {

	token, err := s.account.SetupLink(c.ctx)
	if err != nil {
		t.Fatal(err)
	}
	c.open("/setup?token=" + token)
	c.wantH1("Welcome")
	if address := ask(c, chromedp.Location()); strings.Contains(address, token) {
		t.Errorf("the setup token is still in the address bar: %s", address)
	}
	c.inspect("setup")
	c.fill(map[string]string{"name": "Ada Lovelace", "email": "ada@example.com", "password": "ada@example.com", "team": "Analytical engines"})
	c.submit("form.fields button")
	c.wantH1("Welcome")
	c.inspect("setup-fault")
	c.fill(map[string]string{"password": password})
	c.submit("form.fields button")
	c.wantH1("Home")
	c.inspect("home-empty")

	c.submit("nav button")
	c.wantH1("Sign in")
	c.inspect("sign-in")
	c.fill(map[string]string{"email": "ada@example.com", "password": "not the password"})
	c.submit("form.fields button")
	c.inspect("sign-in-fault")

	c.open("/oauth/authorize?client_id=x&state=a%26b")
	c.wantH1("Sign in")
	c.inspect("sign-in-connecting")
	c.fill(map[string]string{"email": "ada@example.com", "password": password})
	c.submit("form.fields button")
	c.wantH1("claude.ai")
	if address := ask(c, chromedp.Location()); !strings.HasSuffix(address, "/oauth/authorize?client_id=x&state=a%26b") {
		t.Errorf("came back to another request: %s", address)
	}
	c.inspect("consent")
	c.submit(`button[value="approve"]`)
	s.mu.Lock()
	if len(s.decisions) != 1 || s.decisions[0].Get("decision") != "approve" || len(s.decisions[0]["scope"]) != 3 || s.decisions[0].Get("team") == "" {
		t.Errorf("the decision that arrived: %v", s.decisions)
	}
	s.mu.Unlock()

	u, err := s.db.UserByEmail("ada@example.com")
	if err != nil {
		t.Fatal(err)
	}
	s.connect(u, "analytical-engines", "Claude", "claude.ai", authz.Scopes()...)
	s.clock.advance(3 * time.Hour)
	s.connect(u, "analytical-engines", "Codex", "127.0.0.1:43112", authz.ScopeRead)
	s.createPod(u, "analytical-engines", "difference-engine", "static")
	s.createPod(u, "analytical-engines", "punch-cards", "static")
	if _, err := s.pods.Stop(c.ctx, s.actor(u, "analytical-engines"), "punch-cards", nil); err != nil {
		t.Fatal(err)
	}
	c.open("/")
	c.inspect("home")
	c.submit(".danger")
	c.wantH1("Revoke this connection?")
	c.inspect("revoke")
	c.submit(".danger")
	c.wantH1("Home")
	c.wantInView(".notice")
	if list, err := s.account.Connections(u.ID); err != nil || len(list) != 1 {
		t.Errorf("after Revoke there are %d connections, want 1 (%v)", len(list), err)
	}
	c.inspect("home-revoked")

	s.seedAttempts(u, "analytical-engines")
	c.open("/activity")
	c.inspect("activity")
	c.open("/activity?all=1")
	c.do(chromedp.Evaluate[chromedp.Void](`document.querySelectorAll("details").forEach(d => d.open = true)`))
	c.inspect("activity-all")
	c.open("/audit?all=1")
	c.inspect("audit-all")

	c.open("/account")
	c.inspect("account")
	c.submit(`a[href="/account/log-out-everywhere"]`)
	c.wantH1("Log out everywhere?")
	c.inspect("everywhere-asked")
	c.submit(".danger")
	c.wantH1("Signed out everywhere")
	c.inspect("everywhere")
	c.open("/account")
	c.wantH1("Sign in")
}

// A person limits a connection at consent, without script, and later on its own
// page, and is told what is wrong on the way.
func limitsWalk(t *testing.T, s *site, c *chrome) {
	u := s.addUser("ada@example.com", false, "compilers", "navy")
	g := s.connect(u, "compilers", "Claude", "claude.ai", authz.ScopeRead, authz.ScopeExec)
	if _, err := chromedp.Call(c.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}); err != nil {
		t.Fatal(err)
	}
	c.signIn("ada@example.com")
	s.consent.Filled, s.consent.Scopes[1].New = g.Team, true
	c.open("/oauth/authorize")
	c.do(chromedp.Click(chromedp.CSS("details summary")))
	c.inspect("consent-step-up")
	c.do(chromedp.Click(chromedp.CSS(`input[name="team"]`)), chromedp.Click(chromedp.CSS(`input[name="read_only"]`)))
	c.fill(map[string]string{"prefix": "web-", "max_pods": "3"})
	c.submit(`button[value="approve"]`)
	s.mu.Lock()
	d := s.decisions[0]
	s.mu.Unlock()
	if d.Get("read_only") == "" || d.Get("prefix") != "web-" || d.Get("max_pods") != "3" || d.Get("filled") != string(g.Team) {
		t.Errorf("the decision that arrived: %v", d)
	}
	s.consent.Limits = authz.LimitFields{ReadOnly: true, Prefix: "-web", MaxPods: "3"}
	s.consent.Fault, s.consent.LimitFault = "No pod's name can begin like that. Use letters from a to z, digits and hyphens, with a letter or digit first, such as web-.", "prefix"
	c.open("/oauth/authorize")
	c.inspect("consent-limits-fault")

	c.open("/")
	c.submit(".actions a")
	c.wantH1("Limit a connection")
	c.inspect("limits")
	c.fill(map[string]string{"prefix": "web-", "max_pods": "many"})
	c.submit(`form.fields button`)
	c.wantH1("Limit a connection")
	c.inspect("limits-fault")
	c.fill(map[string]string{"max_pods": "3"})
	c.do(chromedp.Click(chromedp.CSS(`input[value="pods:exec"]`)))
	c.submit(`form.fields button`)
	c.wantH1("Home")
	c.inspect("home-limited")
	got, err := s.account.Connection(u.ID, g.ID)
	if err != nil || got.Limits != (store.Limits{Prefix: "web-", MaxPods: 3}) || len(got.Scopes) != 1 {
		t.Errorf("kept as %+v, %v", got, err)
	}
}

// The pages that the walk does not come by.
func otherPages(t *testing.T, s *site, c *chrome) {
	c.open("/setup")
	c.inspect("setup-closed")
	u := s.addUser("grace@example.com", false, "compilers", "navy")
	s.addUser("nobody@example.com", false)
	c.open("/nowhere/at/all")
	c.wantH1("Nothing here")
	c.inspect("error-404")
	c.open("/broken")
	c.inspect("error-500")

	c.signIn("grace@example.com")
	s.consent.RedirectHost, s.consent.Loopback = "127.0.0.1:51733", true
	s.consent.ClientName = hostileName
	s.consent.Fault = "Choose the team that this connection is for."
	c.open("/oauth/authorize")
	c.inspect("consent-loopback")
	s.consent.RedirectHost, s.consent.Loopback, s.consent.Fault = "claude.ai", false, ""
	s.consent.DocumentHost = strings.Repeat("claude.ai.", 12) + "evil.example"
	c.open("/oauth/authorize")
	c.inspect("consent-document")

	team, err := s.db.TeamBySlug("compilers")
	if err != nil {
		t.Fatal(err)
	}
	s.connect(u, "compilers", hostileName, strings.Repeat("long-host-name.", 12)+"example", authz.Scopes()...)
	preview(s, u, team)
	for _, name := range []string{"pods", "fault", "authorize-error", "authorize-error-return", "error-elsewhere"} {
		c.open("/preview/" + name)
		c.inspect("preview-" + name)
	}
	c.open("/preview/pods")
	for _, id := range []string{"claude", "cursor"} {
		c.do(chromedp.Click(chromedp.CSS("#guide-" + id + " summary")))
		c.inspect("guide-" + id)
	}

	c.submit("nav button")
	c.signIn("nobody@example.com")
	c.inspect("home-no-team")
	c.open("/oauth/authorize")
	c.wantH1("no team")
	c.inspect("no-team")
}

func (c *chrome) signIn(email string) {
	c.t.Helper()
	c.open("/sign-in")
	c.fill(map[string]string{"email": email, "password": password})
	c.submit("form.fields button")
	c.wantH1("Home")
}

const hostileName = "<script>alert(1)</script> \u202egnp.exe \"'&amp; 𝕬 very long name that goes on and on without an end"

// preview adds pages with made-up content to the site.
func preview(s *site, u store.User, team store.Team) {
	now := s.clock.now()
	list := []pods.Pod{
		{Name: "blog", Status: "running", Preset: "static", URL: "http://blog.localhost:8080", Created: now.Add(-70 * 24 * time.Hour), Started: now.Add(-26 * time.Hour), Usage: pods.Usage{Memory: 12 << 20}, Limits: pods.Limits{Memory: 256 << 20}},
		{Name: "shop-api", Status: "stopped", Preset: "nodejs", URL: "http://shop-api.localhost:8080", Created: now.Add(-5 * 24 * time.Hour), Limits: pods.Limits{Memory: 512 << 20}},
		{Name: "a-name-of-sixty-three-characters-is-the-longest-a-pod-can-havex", Status: "failed", Preset: "python", URL: "http://a-name-of-sixty-three-characters-is-the-longest-a-pod-can-havex.localhost:8080", Reason: "The app ended 10 times in a row; the last time with «ModuleNotFoundError: No module named 'flask'».", Created: now.Add(-time.Hour), Limits: pods.Limits{Memory: 2 << 30}},
		{Name: "wiki", Status: "running", Preset: "nodejs", URL: "http://wiki.localhost:8080", Reason: "The last reload failed and what ran before goes on: npm ci: lock file out of date.", Created: now.Add(-time.Hour), Started: now.Add(-time.Hour), Usage: pods.Usage{Memory: 80 << 20}, Limits: pods.Limits{Memory: 256 << 20}},
		{Name: "new", Status: "creating", Preset: "command", Created: now},
	}
	s.preview = map[string]func(http.ResponseWriter, *http.Request) error{
		"pods": func(w http.ResponseWriter, r *http.Request) error {
			return s.ui.HomeWith(w, r, u, store.Membership{Team: team, Role: store.RoleMember}, list, "")
		},
		"fault": func(w http.ResponseWriter, r *http.Request) error {
			return s.ui.HomeWith(w, r, u, store.Membership{Team: team, Role: store.RoleMember}, nil, "Pods cannot be listed: The kernel does not let unprivileged users make namespaces. Set kernel.unprivileged_userns_clone=1.")
		},
		"error-elsewhere": func(w http.ResponseWriter, r *http.Request) error {
			errorpage.Page{Status: 421, Title: "Not this address", Text: "This server does not answer under that name. It is at https://pods.example.com. If the name is meant to lead here, set public_url or pods.domain in podgate's configuration."}.Write(w, r)
			return nil
		},
		"authorize-error": func(w http.ResponseWriter, r *http.Request) error {
			return s.ui.AuthorizeError(w, r, oauth.AuthorizeError{Status: 400, Title: "Missing required OAuth parameters", Message: "The request lacks client_id and redirect_uri. Remove the connector in your assistant and add it again."})
		},
		"authorize-error-return": func(w http.ResponseWriter, r *http.Request) error {
			return s.ui.AuthorizeError(w, r, oauth.AuthorizeError{Status: 400, Title: "code_challenge_method must be S256", Message: "The client asked for «plain». Update it, or ask its maker to use S256.", Return: "https://claude.ai/api/mcp/auth_callback?error=invalid_request", ReturnHost: "claude.ai"})
		},
	}
}

// Everything works without script: the same walk, in short.
func withoutScript(t *testing.T, s *site, c *chrome) {
	u := s.addUser("ada@example.com", false, "red")
	s.connect(u, "red", "Claude", "claude.ai", authz.ScopeRead)
	if _, err := chromedp.Call(c.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}); err != nil {
		t.Fatal(err)
	}
	c.signIn("ada@example.com")
	if n := ask(c, chromedp.Evaluate[int](`[...document.querySelectorAll("button.copy")].filter(b => b.checkVisibility()).length`)); n != 0 {
		t.Errorf("%d copy buttons that do nothing are shown", n)
	}
	c.do(chromedp.Click(chromedp.CSS("#guide-codex summary")))
	if !strings.Contains(c.text("#guide-codex"), "codex mcp add podgate --url "+s.issuer()+"/api/mcp") {
		t.Errorf("the steps do not open: %s", c.text("#guide-codex"))
	}
	s.seedAttempts(u, "red")
	c.open("/activity")
	c.do(chromedp.Click(chromedp.CSS(".attempt:nth-child(2) summary")))
	if !strings.Contains(c.text(".attempt:nth-child(2) .steps"), "Authorization refused") {
		t.Errorf("the steps of an attempt do not open: %s", c.text("main"))
	}
	c.open("/")
	for range 2 * 2 { // two connections; each is asked about once
		c.submit(".danger")
	}
	if list, err := s.account.Connections(u.ID); err != nil || len(list) != 0 {
		t.Errorf("Revoke left %d connections (%v)", len(list), err)
	}
	c.open("/oauth/authorize")
	c.submit(`button[value="deny"]`)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.decisions) != 1 || s.decisions[0].Get("decision") != "deny" {
		t.Errorf("the decision that arrived: %v", s.decisions)
	}
}

// With the keyboard alone one gets everywhere, in reading order, and sees
// where one is.
func keyboard(t *testing.T, s *site, c *chrome) {
	u := s.addUser("ada@example.com", false, "red")
	s.connect(u, "red", "Claude", "claude.ai", authz.ScopeRead)
	c.signIn("ada@example.com")
	c.open("/")
	type stop struct {
		Name  string
		Ring  bool
		Inner float64
		Top   float64
	}
	const where = `(() => {
		const e = document.activeElement, s = getComputedStyle(e), r = e.getBoundingClientRect();
		return {Name: e.getAttribute("aria-label") || e.innerText || e.id, Ring: s.outlineStyle !== "none" && parseFloat(s.outlineWidth) >= 2,
			Inner: r.left, Top: r.top + scrollY};
	})()`
	var names []string
	for range 14 {
		c.do(chromedp.KeyEvent("\t"))
		at := ask(c, chromedp.Evaluate[stop](where))
		if !at.Ring {
			t.Errorf("nothing shows that %q has the focus", at.Name)
		}
		if len(names) == 0 && at.Inner < 0 {
			t.Errorf("%q has the focus out of sight", at.Name)
		}
		names = append(names, strings.TrimSpace(at.Name))
	}
	want := []string{"Skip to the content", "podgate", "Home", "Activity", "Account", "Sign out", "Activity of claude.ai, team red", "Change limits of claude.ai, team red", "Revoke claude.ai, team red", "Copy", "Claude Code"}
	if len(names) < len(want) || !slices.Equal(names[:len(want)], want) {
		t.Errorf("the way of the Tab key: %q, want %q first", names, want)
	}
	// The copy button copies, or selects where the browser forbids it.
	c.do(chromedp.Click(chromedp.CSS(`button[data-copy="endpoint"]`)), chromedp.WaitReady(chromedp.CSS("main")))
	said := ask(c, chromedp.Poll[string](`(() => { const s = document.querySelector('button[data-copy="endpoint"]').innerText; return s === "Copy" ? false : s; })()`))
	if said != "Copied" && said != "Selected" {
		t.Errorf("the copy button says %q", said)
	}
}
