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
	"podgate/ui/pagetest"
)

// field returns the input of that name and value; the value counts for boxes.
func field(a pagetest.Answer, name, value string) *html.Node {
	for _, in := range a.All("input") {
		if pagetest.Attr(in, "name") == name && (pagetest.Attr(in, "type") != "checkbox" || pagetest.Attr(in, "value") == value) {
			return in
		}
	}
	return nil
}

func limitsPath(g store.Grant) string { return "/connection/" + string(g.ID) + "/limits" }

func revokePath(g store.Grant) string { return "/connection/" + string(g.ID) + "/revoke" }

// The person finds the limits of a connection in the list, changes them,
// and the next look-up of its token has them.
func TestChangeLimits(t *testing.T) {
	t.Parallel()
	s := pagetest.New(t)
	ada := s.AddUser("ada@example.com", true, "red")
	g := s.Connect(ada, "red", "Claude", "claude.ai", authz.Scopes()...)
	b := s.Browser()
	b.Enter("ada@example.com")
	list := b.Get("/connections")
	if page := pagetest.Text(list.All("main")[0]); !strings.Contains(page, "may see pods, change pods, run commands") || strings.Contains(page, "limited:") {
		t.Errorf("without limits: %s", page)
	}
	if !slices.ContainsFunc(list.All("a"), func(n *html.Node) bool {
		return pagetest.Attr(n, "href") == limitsPath(g) && pagetest.Text(n) == "Limits"
	}) {
		t.Error("the list does not lead to the limits")
	}
	page := b.Get(limitsPath(g))
	for _, scope := range authz.Scopes() {
		if in := field(page, "scope", string(scope)); in == nil || !pagetest.HasAttr(in, "checked") {
			t.Errorf("%s is not there, ticked", scope)
		}
	}
	after := b.Post(limitsPath(g), url.Values{"scope": {"pods:read", "pods:write"}, "prefix": {"Web-"}, "max_pods": {"3"}})
	if words := pagetest.Text(after.All("main")[0]); !strings.Contains(words, "The limits are changed.") || !strings.Contains(words, "may see pods, change pods limited: only pods whose name begins with web- · at most 3 pods") {
		t.Errorf("afterwards: %s", words)
	}
	got, err := s.Account.Connection(ada.ID, g.ID)
	if err != nil || got.Limits != (store.Limits{Prefix: "web-", MaxPods: 3}) || !slices.Equal(got.Scopes, []store.Scope{authz.ScopeRead, authz.ScopeWrite}) {
		t.Errorf("kept as %+v, %v", got, err)
	}
	page = b.Get(limitsPath(g))
	if pagetest.Attr(field(page, "prefix", ""), "value") != "web-" || pagetest.Attr(field(page, "max_pods", ""), "value") != "3" || pagetest.HasAttr(field(page, "read_only", "yes"), "checked") || field(page, "scope", "pods:exec") != nil {
		t.Errorf("the page does not show them:\n%s", page.HTML)
	}
	after = b.Post(limitsPath(g), url.Values{"scope": {"pods:read", "pods:write"}, "read_only": {"yes"}})
	if words := pagetest.Text(after.All("main")[0]); !strings.Contains(words, "may see pods limited: read-only") {
		t.Errorf("read-only: %s", words)
	}
}

// What cannot be changed so comes back with the form as it was left, and
// changes nothing.
func TestFaultyLimits(t *testing.T) {
	t.Parallel()
	s := pagetest.New(t)
	ada := s.AddUser("ada@example.com", true, "red")
	g := s.Connect(ada, "red", "Claude", "claude.ai", authz.ScopeRead, authz.ScopeExec)
	b := s.Browser()
	b.Enter("ada@example.com")
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
		a := b.Post(limitsPath(g), c.form)
		if a.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(pagetest.Text(a.All("main")[0]), c.fault) || strings.Contains(a.HTML, "<web>") || strings.Contains(a.HTML, "<admin>") {
			t.Errorf("%s: %d\n%s", name, a.StatusCode, a.HTML)
		}
		if !pagetest.HasAttr(field(a, "read_only", "yes"), "checked") || pagetest.HasAttr(field(a, "scope", "pods:exec"), "checked") || pagetest.Attr(field(a, "max_pods", ""), "value") != c.form.Get("max_pods") || pagetest.Attr(field(a, "prefix", ""), "value") != c.form.Get("prefix") {
			t.Errorf("%s: the form was not kept", name)
		}
		for _, of := range []string{"prefix", "max_pods"} {
			if pagetest.HasAttr(field(a, of, ""), "aria-invalid") != (of == c.marked) {
				t.Errorf("%s: %s marked as wrong", name, of)
			}
		}
	}
	if got, err := s.Account.Connection(ada.ID, g.ID); err != nil || got.Limits != (store.Limits{}) || len(got.Scopes) != 2 {
		t.Errorf("changed to %+v, %v", got, err)
	}
}

// Somebody else's connection, one that has ended and one that never was are the
// same page.
func TestLimitsAreOnesOwn(t *testing.T) {
	t.Parallel()
	s := pagetest.New(t)
	ada, eve := s.AddUser("ada@example.com", false, "red"), s.AddUser("eve@example.com", false, "red")
	hers, ended := s.Connect(eve, "red", "Claude", "claude.ai", authz.ScopeRead), s.Connect(ada, "red", "Codex", "127.0.0.1:1", authz.ScopeRead)
	if err := s.Account.Revoke(ada.ID, ended.ID); err != nil {
		t.Fatal(err)
	}
	b := s.Browser()
	b.Enter("ada@example.com")
	bodies := map[string]bool{}
	for _, g := range []store.Grant{hers, ended, {ID: "never"}} {
		for _, a := range []pagetest.Answer{b.Get(limitsPath(g)), b.Post(limitsPath(g), url.Values{"scope": {"pods:read"}, "read_only": {"yes"}}), b.Post(limitsPath(g), url.Values{"max_pods": {"x"}})} {
			if a.StatusCode != http.StatusNotFound || !strings.Contains(a.HTML, "There is no such connection here.") {
				t.Errorf("%d %s", a.StatusCode, a.HTML)
			}
			bodies[a.HTML] = true
		}
	}
	if len(bodies) != 1 {
		t.Errorf("%d different answers", len(bodies))
	}
	if got, err := s.Account.Connection(eve.ID, hers.ID); err != nil || got.Limits.ReadOnly {
		t.Errorf("somebody else changed it: %+v, %v", got, err)
	}
	stranger := s.Browser()
	if a := stranger.Get(limitsPath(hers)); a.H1() != "Sign in" {
		t.Errorf("a stranger: %q", a.H1())
	}
	if a := stranger.Post(limitsPath(hers), url.Values{"scope": {"pods:read"}}); a.H1() != "Sign in" {
		t.Errorf("a stranger's form: %q", a.H1())
	}
}

// The limits are folded away on the consent page until there is something to
// see in them; read-only says what it is worth.
func TestConsentPageWithLimits(t *testing.T) {
	t.Parallel()
	s := pagetest.New(t)
	ada := s.AddUser("ada@example.com", true, "red", "blue")
	g := s.Connect(ada, "red", "Claude", "claude.ai", authz.ScopeRead)
	b := s.Browser()
	b.Enter("ada@example.com")
	a := b.Get("/oauth/authorize")
	if d := a.All("details"); len(d) != 1 || pagetest.HasAttr(d[0], "open") || !strings.Contains(pagetest.Text(d[0]), "Limit this connection") ||
		!strings.Contains(pagetest.Text(d[0]), "writing and commands are off, whatever is ticked above") {
		t.Errorf("folded: %s", a.HTML)
	}
	if words := pagetest.Text(a.All("form")[1]); strings.Contains(words, "already") || strings.Contains(words, "new") || pagetest.Attr(field(a, "filled", ""), "value") != "" {
		t.Errorf("a first connection is shown as a second: %s", words)
	}
	s.Consent.Filled, s.Consent.Scopes[1].New = g.Team, true
	s.Consent.Limits = authz.LimitFields{ReadOnly: true, Prefix: "web-", MaxPods: "3"}
	a = b.Get("/oauth/authorize")
	if d := a.All("details"); !pagetest.HasAttr(d[0], "open") || !pagetest.HasAttr(field(a, "read_only", "yes"), "checked") || pagetest.Attr(field(a, "prefix", ""), "value") != "web-" || pagetest.Attr(field(a, "max_pods", ""), "value") != "3" {
		t.Errorf("limits that are carried over: %s", a.HTML)
	}
	words := pagetest.Text(a.All("form")[1])
	for _, want := range []string{"It is connected to red already. What it does not have there yet is marked.", "Create, change and delete pods and their files new"} {
		if !strings.Contains(words, want) {
			t.Errorf("%q is not in: %s", want, words)
		}
	}
	if strings.Count(words, " new ") != 1 || pagetest.Attr(field(a, "filled", ""), "value") != string(g.Team) {
		t.Errorf("marked: %s", words)
	}
	s.Consent.Limits, s.Consent.LimitFault, s.Consent.Fault = authz.LimitFields{}, "prefix", "No."
	if a = b.Get("/oauth/authorize"); !pagetest.HasAttr(a.All("details")[0], "open") || !pagetest.HasAttr(field(a, "prefix", ""), "aria-invalid") {
		t.Errorf("the fault is folded away: %s", a.HTML)
	}
}
