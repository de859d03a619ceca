package ui_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"golang.org/x/net/html"

	"podgate/internal/authz"
	"podgate/oauth"
	"podgate/ui/pagetest"
)

// choice returns the label of the choice with that name and value.
func choice(a pagetest.Answer, name, value string) string {
	for _, in := range a.All("input") {
		if pagetest.Attr(in, "name") == name && pagetest.Attr(in, "value") == value {
			return pagetest.Text(in.Parent)
		}
	}
	return ""
}

// A team's slug stands beside its name only where the name does not say it.
func TestSlugsOnTheConsentPage(t *testing.T) {
	t.Parallel()
	s := pagetest.New(t)
	for slug, name := range map[string]string{"red": "Red", "web-shop": "The Web shop!", "compilers": "Compilers", "compilers-2": "Compilers", "green": ""} {
		if _, err := s.Account.AddTeam(t.Context(), slug, name); err != nil {
			t.Fatal(err)
		}
	}
	ada := s.AddUser("ada@example.com", false, "red", "web-shop", "compilers", "compilers-2", "green")
	b := s.Browser()
	b.Enter("ada@example.com")
	page := b.Get("/oauth/authorize")
	teams, err := s.Account.TeamsOf(ada.ID)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"red": "Red", "web-shop": "The Web shop! web-shop", "compilers": "Compilers", "compilers-2": "Compilers compilers-2", "green": "green"}
	for _, m := range teams {
		if got := choice(page, "team", string(m.Team.ID)); got != want[m.Team.Slug] {
			t.Errorf("%s is shown as %q, want %q", m.Team.Slug, got, want[m.Team.Slug])
		}
	}
}

// The first submit button of a form is what Enter presses. It must not be one
// that decides.
func TestNoDefaultButtonOnTheConsentPage(t *testing.T) {
	t.Parallel()
	s := pagetest.New(t)
	s.AddUser("ada@example.com", false, "red")
	b := s.Browser()
	b.Enter("ada@example.com")
	for _, form := range b.Get("/oauth/authorize").All("form") {
		if pagetest.Attr(form, "action") != "/oauth/authorize" {
			continue
		}
		var first *html.Node
		for n := range form.Descendants() {
			if n.Data == "button" && first == nil {
				first = n
			}
		}
		if first == nil || pagetest.Attr(first, "formmethod") != "dialog" || !pagetest.HasAttr(first, "hidden") || pagetest.Attr(first, "type") != "submit" || pagetest.HasAttr(first, "disabled") {
			t.Errorf("Enter presses %v", first)
		}
		return
	}
	t.Error("no form")
}

// The page asks whether the connection that there is goes on, and marks what the
// app has and does not ask for.
func TestConsentPageWithAnEarlierConnection(t *testing.T) {
	t.Parallel()
	s := pagetest.New(t)
	ada := s.AddUser("ada@example.com", false, "red", "blue")
	s.AddUser("bob@example.com", false, "red")
	g := s.Connect(ada, "red", "Claude", "claude.ai", authz.ScopeRead)
	b, one := s.Browser(), s.Browser()
	b.Enter("ada@example.com")
	one.Enter("bob@example.com")
	if page := b.Get("/oauth/authorize"); choice(page, "replace", "yes") != "" || strings.Contains(page.HTML, "has already") {
		t.Errorf("there is nothing to replace:\n%s", page.HTML)
	}
	s.Consent.Filled = g.Team
	s.Consent.Earlier = oauth.Earlier{Count: 1, Since: time.Date(2026, 2, 3, 23, 0, 0, 0, time.UTC), Replace: true}
	s.Consent.Scopes[2].Checked, s.Consent.Scopes[2].Unasked = false, true
	for _, c := range []struct {
		by    *pagetest.Browser
		count int
		want  string
	}{
		{one, 1, "Replace the connection from 3 February 2026 It ends when this one begins."},
		{one, 2, "Replace the 2 connections since 3 February 2026 They end when this one begins."},
		{b, 1, "Replace the connection to red from 3 February 2026 It ends when this one begins."},
		{b, 2, "Replace the 2 connections to red since 3 February 2026 They end when this one begins."},
	} {
		s.Consent.Earlier.Count = c.count
		page := c.by.Get("/oauth/authorize")
		if got := choice(page, "replace", "yes"); !strings.HasPrefix(got, c.want) {
			t.Errorf("%q, want %q", got, c.want)
		}
		if !pagetest.HasAttr(field(page, "replace", "yes"), "checked") || pagetest.HasAttr(field(page, "scope", "pods:exec"), "checked") ||
			choice(page, "scope", "pods:exec") != "Run commands inside pods has already" || !strings.Contains(page.HTML, "tick what it should keep") {
			t.Errorf("%s", page.HTML)
		}
	}
	s.Consent.Earlier.Replace = false
	if pagetest.HasAttr(field(b.Get("/oauth/authorize"), "replace", "yes"), "checked") {
		t.Error("ticked again after it was unticked")
	}
}

// enterDecidesNothing presses Enter wherever the form can have the focus, and
// then its buttons.
func enterDecidesNothing(t *testing.T, s *pagetest.Site, c *pagetest.Tab) {
	ada := s.AddUser("ada@example.com", false, "red", "blue")
	s.Consent.Filled = s.Connect(ada, "red", "Claude", "claude.ai", authz.ScopeRead).Team
	s.Consent.Earlier = oauth.Earlier{Count: 1, Since: s.Clock.Now(), Replace: true}
	s.Consent.Limits = authz.LimitFields{Prefix: "web-"} // so that the fields are unfolded
	c.SignIn("ada@example.com")
	c.Open("/oauth/authorize")
	const sent = `document.body.dataset.sent ?? ""`
	c.Do(chromedp.Evaluate[chromedp.Void](`addEventListener("submit", e => {
		if (e.submitter?.getAttribute("formmethod") === "dialog") return; // which the browser has to do nothing about
		e.preventDefault();
		document.body.dataset.sent = (document.body.dataset.sent ?? "") + "[" + (e.submitter?.value ?? "") + "]";
	})`))
	c.Do(chromedp.Click(chromedp.CSS(`input[name="team"]`))) // without it the browser would not send the form anyway
	inputs := `form[action="/oauth/authorize"] input:not([type=hidden])`
	n := pagetest.Ask(c, chromedp.Evaluate[int](fmt.Sprintf(`document.querySelectorAll('%s').length`, inputs)))
	if n != 2+3+1+3 {
		t.Fatalf("%d inputs to press Enter in", n)
	}
	for i := range n {
		c.Do(chromedp.Evaluate[chromedp.Void](fmt.Sprintf(`document.querySelectorAll('%s')[%d].focus()`, inputs, i)), chromedp.KeyEvent("\r"))
		if got := pagetest.Ask(c, chromedp.Evaluate[string](sent)); got != "" {
			t.Fatalf("Enter in input %d sent the form with %s", i, got)
		}
	}
	// The same key on a button is the person's decision.
	for _, button := range []string{"approve", "deny"} {
		c.Do(chromedp.Evaluate[chromedp.Void](fmt.Sprintf(`document.querySelector('button[value="%s"]').focus()`, button)), chromedp.KeyEvent("\r"))
	}
	// It would be empty, had the page gone anywhere meanwhile.
	if got := pagetest.Ask(c, chromedp.Evaluate[string](sent)); got != "[approve][deny]" {
		t.Errorf("Enter on the buttons sent %q", got)
	}
	c.Open("/oauth/authorize")
	c.Submit(`button[value="deny"]`)
	s.Mu.Lock()
	defer s.Mu.Unlock()
	if len(s.Decisions) != 1 || s.Decisions[0].Get("decision") != "deny" {
		t.Errorf("the decisions that arrived: %v", s.Decisions)
	}
}

// decisionSettles looks at the buttons in the first half second, for which it
// turns the clock of their animation.
func decisionSettles(t *testing.T, s *pagetest.Site, c *pagetest.Tab) {
	s.AddUser("ada@example.com", false, "red")
	c.SignIn("ada@example.com")
	c.Open("/oauth/authorize")
	for at, want := range map[int]string{0: "nothing", 499: "nothing", 501: "clicked focused"} {
		for _, button := range []string{"approve", "deny"} {
			if got := pagetest.Ask(c, chromedp.Evaluate[string](fmt.Sprintf(reactsAt, button, at))); got != want {
				t.Errorf("%s after %d ms: %s, want %s", button, at, got, want)
			}
		}
	}
}

// reactsAt says what a button does so many milliseconds after it was painted.
const reactsAt = `(() => {
	const b = document.querySelector('button[value="%s"]');
	b.style.animationName = "none";
	void b.offsetWidth;
	b.style.animationName = "";
	document.activeElement.blur();
	const [running] = b.getAnimations();
	if (!running) return "it reacts at once";
	running.pause();
	running.currentTime = %d;
	const r = b.getBoundingClientRect(), list = [];
	if (document.elementFromPoint(r.left + r.width / 2, r.top + r.height / 2) === b) list.push("clicked");
	b.focus();
	if (document.activeElement === b) list.push("focused");
	return list.join(" ") || "nothing";
})()`

// decisionInSight looks at the page on phones, upright and lying, where it is
// longer than the window.
func decisionInSight(t *testing.T, s *pagetest.Site, c *pagetest.Tab) {
	ada := s.AddUser("ada@example.com", false, "red", "blue", "a-very-long-name-of-a-team-of-forty-char")
	s.Consent.Filled = s.Connect(ada, "red", "Claude", "claude.ai", authz.ScopeRead).Team
	s.Consent.Earlier = oauth.Earlier{Count: 12, Since: s.Clock.Now(), Replace: true}
	s.Consent.Limits = authz.LimitFields{Prefix: "web-"}
	s.Consent.RedirectHost, s.Consent.DocumentHost = "connector.long-host-name-of-somebody.example", "evil.example"
	c.SignIn("ada@example.com")
	for _, size := range [][2]int64{{320, 568}, {390, 844}, {740, 360}} {
		c.Do(chromedp.EmulateViewport(size[0], size[1]))
		c.Open("/oauth/authorize")
		if over := pagetest.Ask(c, chromedp.Evaluate[[]string](pagetest.Overflowing)); len(over) > 0 {
			t.Errorf("%v: wider than the window: %s", size, strings.Join(over, ", "))
		}
		for _, where := range []string{"0", "document.body.scrollHeight / 2", "document.body.scrollHeight"} {
			c.Do(chromedp.Evaluate[chromedp.Void]("window.scrollTo(0, " + where + ")"))
			if fault := pagetest.Ask(c, chromedp.Evaluate[string](decisionFault)); fault != "" {
				t.Errorf("%v, scrolled to %s: %s", size, where, fault)
			}
		}
		if hidden := pagetest.Ask(c, chromedp.Evaluate[[]string](coveredInputs)); len(hidden) > 0 {
			t.Errorf("%v: the buttons lie over what has the focus: %s", size, strings.Join(hidden, ", "))
		}
	}
	c.Do(chromedp.EmulateViewport(320, 568))
	c.Inspect("consent-earlier")
}

// decisionFault says what is wrong with the two buttons as they are seen now: out
// of sight, of different weight, or over content that cannot be scrolled to.
const decisionFault = `(() => {
	const [a, d] = ["approve", "deny"].map(v => document.querySelector('button[value="' + v + '"]'));
	const [p, q] = [a, d].map(b => b.getBoundingClientRect());
	for (const r of [p, q]) if (r.top < 0 || r.bottom > innerHeight || r.left < 0 || r.right > innerWidth) return "out of sight: " + JSON.stringify(r);
	if (Math.abs(p.width - q.width) > 1 || p.height !== q.height || p.top !== q.top) return "of different size";
	for (const key of ["color", "backgroundColor", "borderColor", "borderWidth", "fontSize", "fontWeight", "opacity", "visibility"])
		if (getComputedStyle(a)[key] !== getComputedStyle(d)[key]) return "of different " + key;
	const end = scrollY + innerHeight >= document.documentElement.scrollHeight - 1;
	const bar = a.parentElement.getBoundingClientRect(), before = a.parentElement.previousElementSibling.getBoundingClientRect();
	if (end && before.bottom > bar.top + 1) return "they cover the end of the form";
	return "";
})()`

// coveredInputs puts the focus on each input in turn, as the Tab key does, and
// lists those that are not seen then.
const coveredInputs = `(() => {
	const list = [];
	for (const e of document.querySelectorAll('form[action="/oauth/authorize"] input:not([type=hidden])')) {
		window.scrollTo(0, 0);
		e.focus();
		const r = e.getBoundingClientRect(), top = document.elementFromPoint(r.left + r.width / 2, r.top + r.height / 2);
		if (top !== e && !e.parentElement.contains(top)) list.push(e.name + " " + e.value + " at " + Math.round(r.top));
	}
	return list;
})()`
