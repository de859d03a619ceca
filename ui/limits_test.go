package ui_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"podgate/internal/authz"
	"podgate/store"
)

// field returns the input of that name and value; the value counts for boxes.
func (a answer) field(name, value string) *html.Node {
	for _, in := range a.all("input") {
		if attr(in, "name") == name && (attr(in, "type") != "checkbox" || attr(in, "value") == value) {
			return in
		}
	}
	return nil
}

func limitsPath(g store.Grant) string { return "/connection/" + string(g.ID) + "/limits" }

func revokePath(g store.Grant) string { return "/connection/" + string(g.ID) + "/revoke" }

// The person finds the limits of a connection on the home page, changes them,
// and the next look-up of its token has them.
func TestChangeLimits(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	ada := s.addUser("ada@example.com", true, "red")
	g := s.connect(ada, "red", "Claude", "claude.ai", authz.Scopes()...)
	b := s.browser()
	home := b.signIn("ada@example.com")
	if page := text(home.all("main")[0]); !strings.Contains(page, "may see pods, change pods, run commands") || strings.Contains(page, "limited:") {
		t.Errorf("without limits: %s", page)
	}
	if !slices.ContainsFunc(home.all("a"), func(n *html.Node) bool { return attr(n, "href") == limitsPath(g) && text(n) == "Change limits" }) {
		t.Error("the home page does not lead to the limits")
	}
	page := b.get(limitsPath(g))
	for _, scope := range authz.Scopes() {
		if in := page.field("scope", string(scope)); in == nil || !hasAttr(in, "checked") {
			t.Errorf("%s is not there, ticked", scope)
		}
	}
	after := b.post(limitsPath(g), url.Values{"scope": {"pods:read", "pods:write"}, "prefix": {"Web-"}, "max_pods": {"3"}})
	if words := text(after.all("main")[0]); !strings.Contains(words, "The limits are changed.") || !strings.Contains(words, "may see pods, change pods limited: only pods whose name begins with web- · at most 3 pods") {
		t.Errorf("afterwards: %s", words)
	}
	got, err := s.account.Connection(ada.ID, g.ID)
	if err != nil || got.Limits != (store.Limits{Prefix: "web-", MaxPods: 3}) || !slices.Equal(got.Scopes, []store.Scope{authz.ScopeRead, authz.ScopeWrite}) {
		t.Errorf("kept as %+v, %v", got, err)
	}
	page = b.get(limitsPath(g))
	if attr(page.field("prefix", ""), "value") != "web-" || attr(page.field("max_pods", ""), "value") != "3" || hasAttr(page.field("read_only", "yes"), "checked") || page.field("scope", "pods:exec") != nil {
		t.Errorf("the page does not show them:\n%s", page.body)
	}
	after = b.post(limitsPath(g), url.Values{"scope": {"pods:read", "pods:write"}, "read_only": {"yes"}})
	if words := text(after.all("main")[0]); !strings.Contains(words, "may see pods limited: read-only") {
		t.Errorf("read-only: %s", words)
	}
}

// What cannot be changed so comes back with the form as it was left, and
// changes nothing.
func TestFaultyLimits(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	ada := s.addUser("ada@example.com", true, "red")
	g := s.connect(ada, "red", "Claude", "claude.ai", authz.ScopeRead, authz.ScopeExec)
	b := s.browser()
	b.signIn("ada@example.com")
	for name, c := range map[string]struct {
		form          url.Values
		fault, marked string
	}{
		"prefix":      {url.Values{"scope": {"pods:read"}, "prefix": {"<web>"}, "max_pods": {"2"}, "read_only": {"x"}}, "No pod's name can begin like that.", "prefix"},
		"number":      {url.Values{"scope": {"pods:read"}, "prefix": {"<web>"[1:4]}, "max_pods": {"2 or so"}, "read_only": {"x"}}, "The number of pods must be from 1 to 1000.", "max_pods"},
		"nothing":     {url.Values{"read_only": {"x"}}, "Leave at least one thing ticked", ""},
		"more":        {url.Values{"scope": {"pods:read", "pods:write"}, "read_only": {"x"}}, "Rights can only be taken away here.", ""},
		"not a right": {url.Values{"scope": {"<admin>"}, "read_only": {"x"}}, "Rights can only be taken away here.", ""},
	} {
		a := b.post(limitsPath(g), c.form)
		if a.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(text(a.all("main")[0]), c.fault) || strings.Contains(a.body, "<web>") || strings.Contains(a.body, "<admin>") {
			t.Errorf("%s: %d\n%s", name, a.StatusCode, a.body)
		}
		if !hasAttr(a.field("read_only", "yes"), "checked") || hasAttr(a.field("scope", "pods:exec"), "checked") || attr(a.field("max_pods", ""), "value") != c.form.Get("max_pods") || attr(a.field("prefix", ""), "value") != c.form.Get("prefix") {
			t.Errorf("%s: the form was not kept", name)
		}
		for _, field := range []string{"prefix", "max_pods"} {
			if hasAttr(a.field(field, ""), "aria-invalid") != (field == c.marked) {
				t.Errorf("%s: %s marked as wrong", name, field)
			}
		}
	}
	if got, err := s.account.Connection(ada.ID, g.ID); err != nil || got.Limits != (store.Limits{}) || len(got.Scopes) != 2 {
		t.Errorf("changed to %+v, %v", got, err)
	}
}

// Somebody else's connection, one that has ended and one that never was are the
// same page.
func TestLimitsAreOnesOwn(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	ada, eve := s.addUser("ada@example.com", true, "red"), s.addUser("eve@example.com", false, "red")
	hers, ended := s.connect(eve, "red", "Claude", "claude.ai", authz.ScopeRead), s.connect(ada, "red", "Codex", "127.0.0.1:1", authz.ScopeRead)
	if err := s.account.Revoke(ada.ID, ended.ID); err != nil {
		t.Fatal(err)
	}
	b := s.browser()
	b.signIn("ada@example.com")
	bodies := map[string]bool{}
	for _, g := range []store.Grant{hers, ended, {ID: "never"}} {
		for _, a := range []answer{b.get(limitsPath(g)), b.post(limitsPath(g), url.Values{"scope": {"pods:read"}, "read_only": {"yes"}}), b.post(limitsPath(g), url.Values{"max_pods": {"x"}})} {
			if a.StatusCode != http.StatusNotFound || !strings.Contains(a.body, "There is no such connection here.") {
				t.Errorf("%d %s", a.StatusCode, a.body)
			}
			bodies[a.body] = true
		}
	}
	if len(bodies) != 1 {
		t.Errorf("%d different answers", len(bodies))
	}
	if got, err := s.account.Connection(eve.ID, hers.ID); err != nil || got.Limits.ReadOnly {
		t.Errorf("somebody else changed it: %+v, %v", got, err)
	}
	stranger := s.browser()
	if a := stranger.get(limitsPath(hers)); a.h1() != "Sign in" {
		t.Errorf("a stranger: %q", a.h1())
	}
	if a := stranger.post(limitsPath(hers), url.Values{"scope": {"pods:read"}}); a.h1() != "Sign in" {
		t.Errorf("a stranger's form: %q", a.h1())
	}
}

// The limits are folded away on the consent page until there is something to
// see in them; read-only says what it is worth.
func TestConsentPageWithLimits(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	ada := s.addUser("ada@example.com", true, "red", "blue")
	g := s.connect(ada, "red", "Claude", "claude.ai", authz.ScopeRead)
	b := s.browser()
	b.signIn("ada@example.com")
	a := b.get("/oauth/authorize")
	if d := a.all("details"); len(d) != 1 || hasAttr(d[0], "open") || !strings.Contains(text(d[0]), "Limit this connection") ||
		!strings.Contains(text(d[0]), "writing and commands are off, whatever is ticked above") {
		t.Errorf("folded: %s", a.body)
	}
	if words := text(a.all("form")[1]); strings.Contains(words, "already") || strings.Contains(words, "new") || attr(a.field("filled", ""), "value") != "" {
		t.Errorf("a first connection is shown as a second: %s", words)
	}
	s.consent.Filled, s.consent.Scopes[1].New = g.Team, true
	s.consent.Limits = authz.LimitFields{ReadOnly: true, Prefix: "web-", MaxPods: "3"}
	a = b.get("/oauth/authorize")
	if d := a.all("details"); !hasAttr(d[0], "open") || !hasAttr(a.field("read_only", "yes"), "checked") || attr(a.field("prefix", ""), "value") != "web-" || attr(a.field("max_pods", ""), "value") != "3" {
		t.Errorf("limits that are carried over: %s", a.body)
	}
	words := text(a.all("form")[1])
	for _, want := range []string{"It is connected to red already. What it does not have there yet is marked.", "Create, change and delete pods and their files new"} {
		if !strings.Contains(words, want) {
			t.Errorf("%q is not in: %s", want, words)
		}
	}
	if strings.Count(words, " new ") != 1 || attr(a.field("filled", ""), "value") != string(g.Team) {
		t.Errorf("marked: %s", words)
	}
	s.consent.Limits, s.consent.LimitFault, s.consent.Fault = authz.LimitFields{}, "prefix", "No."
	if a = b.get("/oauth/authorize"); !hasAttr(a.all("details")[0], "open") || !hasAttr(a.field("prefix", ""), "aria-invalid") {
		t.Errorf("the fault is folded away: %s", a.body)
	}
}
