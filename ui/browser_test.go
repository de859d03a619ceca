package ui_test

import (
	"net/http"
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
	"podgate/store"
	"podgate/ui/pagetest"
)

// TestBrowser looks at the pages in a real browser, because cookies, redirects,
// Origin, Content-Security-Policy and layout are the browser's own.
func TestBrowser(t *testing.T) {
	t.Parallel()
	browser := webtest.StartChromium(t)
	for name, test := range map[string]func(*testing.T, *pagetest.Site, *pagetest.Tab){
		"walk": walk, "limits": limitsWalk, "hostile page": hostile, "hostile reader": hostileReader, "framer": framer, "other pages": otherPages, "without script": withoutScript, "keyboard": keyboard, "times": times, "passkeys": passkeyWalk,
		"enter decides nothing": enterDecidesNothing, "decision in sight": decisionInSight, "decision settles": decisionSettles,
	} {
		t.Run(name, func(t *testing.T) {
			s := pagetest.New(t)
			test(t, s, pagetest.NewTab(t, browser, s.PageOrigin()))
		})
	}
}

// A person sets the server up, signs out and in, approves a client, looks at
// the result and revokes it.
func walk(t *testing.T, s *pagetest.Site, c *pagetest.Tab) {

	token, err := s.Account.SetupLink(c.Ctx)
	if err != nil {
		t.Fatal(err)
	}
	c.Open("/setup?token=" + token)
	c.WantH1("Welcome")
	if address := pagetest.Ask(c, chromedp.Location()); strings.Contains(address, token) {
		t.Errorf("the setup token is still in the address bar: %s", address)
	}
	c.Inspect("setup")
	c.Fill(map[string]string{"name": "Ada Lovelace", "email": "ada@example.com", "password": "ada@example.com", "team": "Analytical engines"})
	c.Submit("form.fields button")
	c.WantH1("Welcome")
	c.Inspect("setup-fault")
	c.Fill(map[string]string{"password": password})
	c.Submit("form.fields button")
	c.WantH1("Pods")
	c.Inspect("home-empty")

	c.Submit("nav button")
	c.WantH1("Sign in")
	c.Inspect("sign-in")
	c.Fill(map[string]string{"email": "ada@example.com", "password": "not the password"})
	c.Submit("form.fields button")
	c.Inspect("sign-in-fault")

	c.Open("/oauth/authorize?client_id=x&state=a%26b")
	c.WantH1("Sign in")
	c.Inspect("sign-in-connecting")
	c.Fill(map[string]string{"email": "ada@example.com", "password": password})
	c.Submit("form.fields button")
	c.WantH1("claude.ai")
	if address := pagetest.Ask(c, chromedp.Location()); !strings.HasSuffix(address, "/oauth/authorize?client_id=x&state=a%26b") {
		t.Errorf("came back to another request: %s", address)
	}
	c.Inspect("consent")
	c.Submit(`button[value="approve"]`)
	s.Mu.Lock()
	if len(s.Decisions) != 1 || s.Decisions[0].Get("decision") != "approve" || len(s.Decisions[0]["scope"]) != 3 || s.Decisions[0].Get("team") == "" {
		t.Errorf("the decision that arrived: %v", s.Decisions)
	}
	s.Mu.Unlock()

	u, err := s.DB.UserByEmail("ada@example.com")
	if err != nil {
		t.Fatal(err)
	}
	s.Connect(u, "analytical-engines", "Claude", "claude.ai", authz.Scopes()...)
	s.Clock.Advance(3 * time.Hour)
	s.Connect(u, "analytical-engines", "Codex", "127.0.0.1:43112", authz.ScopeRead)
	s.CreatePod(u, "analytical-engines", "difference-engine", "static")
	s.CreatePod(u, "analytical-engines", "punch-cards", "static")
	if _, err := s.Pods.Stop(c.Ctx, s.Actor(u, "analytical-engines"), "punch-cards", nil); err != nil {
		t.Fatal(err)
	}
	c.Open("/")
	c.Inspect("home")
	c.Open("/connections")
	c.Inspect("connections")
	c.Submit(".danger")
	c.WantH1("Revoke this connection?")
	c.Inspect("revoke")
	c.Submit(".danger")
	c.WantH1("Connections")
	c.WantInView(".notice")
	if list, err := s.Account.Connections(u.ID); err != nil || len(list) != 1 {
		t.Errorf("after Revoke there are %d connections, want 1 (%v)", len(list), err)
	}
	c.Inspect("connections-revoked")

	seedAttempts(s, u, "analytical-engines")
	c.Open("/activity")
	c.Inspect("activity")
	c.Open("/activity?all=1")
	c.Do(chromedp.Evaluate[chromedp.Void](`document.querySelectorAll("details").forEach(d => d.open = true)`))
	c.Inspect("activity-all")
	c.Open("/audit?all=1")
	c.Inspect("audit-all")

	c.Open("/account")
	c.Inspect("account")
	c.Submit(`a[href="/account/log-out-everywhere"]`)
	c.WantH1("Log out everywhere?")
	c.Inspect("everywhere-asked")
	c.Submit(".danger")
	c.WantH1("Signed out everywhere")
	c.Inspect("everywhere")
	c.Open("/account")
	c.WantH1("Sign in")
}

// A person limits a connection at consent, without script, and later on its own
// page, and is told what is wrong on the way.
func limitsWalk(t *testing.T, s *pagetest.Site, c *pagetest.Tab) {
	u := s.AddUser("ada@example.com", false, "compilers", "navy")
	g := s.Connect(u, "compilers", "Claude", "claude.ai", authz.ScopeRead, authz.ScopeExec)
	if _, err := chromedp.Call(c.Ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}); err != nil {
		t.Fatal(err)
	}
	c.SignIn("ada@example.com")
	s.Consent.Filled, s.Consent.Scopes[1].New = g.Team, true
	c.Open("/oauth/authorize")
	c.Do(chromedp.Click(chromedp.CSS("details summary")))
	c.Inspect("consent-step-up")
	c.Do(chromedp.Click(chromedp.CSS(`input[name="team"]`)), chromedp.Click(chromedp.CSS(`input[name="read_only"]`)))
	c.Fill(map[string]string{"prefix": "web-", "max_pods": "3"})
	c.Submit(`button[value="approve"]`)
	s.Mu.Lock()
	d := s.Decisions[0]
	s.Mu.Unlock()
	if d.Get("read_only") == "" || d.Get("prefix") != "web-" || d.Get("max_pods") != "3" || d.Get("filled") != string(g.Team) {
		t.Errorf("the decision that arrived: %v", d)
	}
	s.Consent.Limits = authz.LimitFields{ReadOnly: true, Prefix: "-web", MaxPods: "3"}
	s.Consent.Fault, s.Consent.LimitFault = "No pod's name can begin like that. Use letters from a to z, digits and hyphens, with a letter or digit first, such as web-.", "prefix"
	c.Open("/oauth/authorize")
	c.Inspect("consent-limits-fault")

	c.Open("/connections")
	c.Submit(`a[href$="/limits"]`)
	c.WantH1("Limit a connection")
	c.Inspect("limits")
	c.Fill(map[string]string{"prefix": "web-", "max_pods": "many"})
	c.Submit(`form.fields button`)
	c.WantH1("Limit a connection")
	c.Inspect("limits-fault")
	c.Fill(map[string]string{"max_pods": "3"})
	c.Do(chromedp.Click(chromedp.CSS(`input[value="pods:exec"]`)))
	c.Submit(`form.fields button`)
	c.WantH1("Connections")
	c.Inspect("connections-limited")
	got, err := s.Account.Connection(u.ID, g.ID)
	if err != nil || got.Limits != (store.Limits{Prefix: "web-", MaxPods: 3}) || len(got.Scopes) != 1 {
		t.Errorf("kept as %+v, %v", got, err)
	}
}

// The pages that the walk does not come by.
func otherPages(t *testing.T, s *pagetest.Site, c *pagetest.Tab) {
	c.Open("/setup")
	c.Inspect("setup-closed")
	u := s.AddUser("grace@example.com", false, "compilers", "navy")
	s.AddUser("nobody@example.com", false)
	c.Open("/nowhere/at/all")
	c.WantH1("Nothing here")
	c.Inspect("error-404")
	c.Open("/broken")
	c.Inspect("error-500")

	c.SignIn("grace@example.com")
	s.Consent.RedirectHost, s.Consent.Loopback = "127.0.0.1:51733", true
	s.Consent.ClientName = hostileName
	s.Consent.Fault = "Choose the team that this connection is for."
	c.Open("/oauth/authorize")
	c.Inspect("consent-loopback")
	s.Consent.RedirectHost, s.Consent.Loopback, s.Consent.Fault = "claude.ai", false, ""
	s.Consent.DocumentHost = strings.Repeat("claude.ai.", 12) + "evil.example"
	c.Open("/oauth/authorize")
	c.Inspect("consent-document")

	s.Connect(u, "compilers", hostileName, strings.Repeat("long-host-name.", 12)+"example", authz.Scopes()...)
	preview(s)
	for _, name := range []string{"authorize-error", "authorize-error-return", "error-elsewhere"} {
		c.Open("/preview/" + name)
		c.Inspect("preview-" + name)
	}
	c.Open("/connect")
	for _, id := range []string{"claude", "cursor"} {
		c.Do(chromedp.Click(chromedp.CSS("#guide-" + id + " summary")))
		c.Inspect("guide-" + id)
	}

	c.Submit("nav button")
	c.SignIn("nobody@example.com")
	c.Inspect("home-no-team")
	c.Open("/oauth/authorize")
	c.WantH1("no team")
	c.Inspect("no-team")
}

const hostileName = "<script>alert(1)</script> \u202egnp.exe \"'&amp; 𝕬 very long name that goes on and on without an end"

// preview adds pages with made-up content to the site.
func preview(s *pagetest.Site) {
	s.Preview = map[string]func(http.ResponseWriter, *http.Request) error{
		"error-elsewhere": func(w http.ResponseWriter, r *http.Request) error {
			errorpage.Page{Status: 421, Title: "Not this address", Text: "This server does not pagetest.Answer under that name. It is at https://pods.example.com. If the name is meant to lead here, set public_url or pods.domain in podgate's configuration."}.Write(w, r)
			return nil
		},
		"authorize-error": func(w http.ResponseWriter, r *http.Request) error {
			return s.UI.AuthorizeError(w, r, oauth.AuthorizeError{Status: 400, Title: "Missing required OAuth parameters", Message: "The request lacks client_id and redirect_uri. Remove the connector in your assistant and add it again."})
		},
		"authorize-error-return": func(w http.ResponseWriter, r *http.Request) error {
			return s.UI.AuthorizeError(w, r, oauth.AuthorizeError{Status: 400, Title: "code_challenge_method must be S256", Message: "The client asked for «plain». Update it, or ask its maker to use S256.", Return: "https://claude.ai/api/mcp/auth_callback?error=invalid_request", ReturnHost: "claude.ai"})
		},
	}
}

// Everything works without script: the same walk, in short.
func withoutScript(t *testing.T, s *pagetest.Site, c *pagetest.Tab) {
	u := s.AddUser("ada@example.com", false, "red")
	s.Connect(u, "red", "Claude", "claude.ai", authz.ScopeRead)
	if _, err := chromedp.Call(c.Ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}); err != nil {
		t.Fatal(err)
	}
	c.SignIn("ada@example.com")
	c.Open("/connect")
	if n := pagetest.Ask(c, chromedp.Evaluate[int](`[...document.querySelectorAll("button.copy")].filter(b => b.checkVisibility()).length`)); n != 0 {
		t.Errorf("%d copy buttons that do nothing are shown", n)
	}
	c.Do(chromedp.Click(chromedp.CSS("#guide-codex summary")))
	if !strings.Contains(c.Text("#guide-codex"), "codex mcp add podgate --url "+s.Issuer()+"/api/mcp") {
		t.Errorf("the steps do not open: %s", c.Text("#guide-codex"))
	}
	seedAttempts(s, u, "red")
	c.Open("/activity")
	c.Do(chromedp.Click(chromedp.CSS(".attempt:nth-child(2) summary")))
	if !strings.Contains(c.Text(".attempt:nth-child(2) .steps"), "Authorization refused") {
		t.Errorf("the steps of an attempt do not open: %s", c.Text("main"))
	}
	c.Open("/connections")
	for range 2 * 2 { // two connections; each is asked about once
		c.Submit(".danger")
	}
	if list, err := s.Account.Connections(u.ID); err != nil || len(list) != 0 {
		t.Errorf("Revoke left %d connections (%v)", len(list), err)
	}
	c.Open("/oauth/authorize")
	c.Submit(`button[value="deny"]`)
	s.Mu.Lock()
	defer s.Mu.Unlock()
	if len(s.Decisions) != 1 || s.Decisions[0].Get("decision") != "deny" {
		t.Errorf("the decision that arrived: %v", s.Decisions)
	}
}

// With the keyboard alone one gets everywhere, in reading order, and sees
// where one is.
func keyboard(t *testing.T, s *pagetest.Site, c *pagetest.Tab) {
	u := s.AddUser("ada@example.com", false, "red")
	s.Connect(u, "red", "Claude", "claude.ai", authz.ScopeRead)
	c.SignIn("ada@example.com")
	c.Open("/connect")
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
		c.Do(chromedp.KeyEvent("\t"))
		at := pagetest.Ask(c, chromedp.Evaluate[stop](where))
		if !at.Ring {
			t.Errorf("nothing shows that %q has the focus", at.Name)
		}
		if len(names) == 0 && at.Inner < 0 {
			t.Errorf("%q has the focus out of sight", at.Name)
		}
		names = append(names, strings.TrimSpace(at.Name))
	}
	want := []string{"Skip to the content", "podgate", "Pods", "Connections", "Activity", "Team", "Account", "Sign out", "Copy", "Claude Code"}
	if len(names) < len(want) || !slices.Equal(names[:len(want)], want) {
		t.Errorf("the way of the Tab key: %q, want %q first", names, want)
	}
	// The copy button copies, or selects where the browser forbids it.
	c.Do(chromedp.Click(chromedp.CSS(`button[data-copy="endpoint"]`)), chromedp.WaitReady(chromedp.CSS("main")))
	said := pagetest.Ask(c, chromedp.Poll[string](`(() => { const s = document.querySelector('button[data-copy="endpoint"]').innerText; return s === "Copy" ? false : s; })()`))
	if said != "Copied" && said != "Selected" {
		t.Errorf("the copy button says %q", said)
	}
}
