package oauth

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"podgate/internal/authz"
	"podgate/store"
)

// lines returns those lines of a page that begin with the word.
func lines(a answer, word string) (found []string) {
	for line := range strings.Lines(a.body) {
		if rest, ok := strings.CutPrefix(line, word+": "); ok {
			found = append(found, strings.TrimSpace(rest))
		}
	}
	return found
}

// What role or policy takes away is not offered, with a word why, and what remains is
// given and opens just that.
func TestWithheldIsNotOffered(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		narrow func(*fixture) error
		why    string
		limits bool
	}{
		"viewer": {func(f *fixture) error { return f.db.SetRole("blue", "bob", store.RoleViewer) }, "you only look in Blue", false},
		"policy": {func(f *fixture) error {
			return f.db.SetTeamPolicy("blue", store.Policy{Scopes: []store.Scope{authz.ScopeRead}})
		}, "the owners of Blue allow it to no app", false},
		"read-only": {func(f *fixture) error {
			return f.db.SetTeamPolicy("blue", store.Policy{Limits: store.Limits{ReadOnly: true, Prefix: "web-"}})
		}, "the owners of Blue allow it to no app", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			f.must(c.narrow(f))
			client := f.register()
			page := f.authorize(request(client), "bob")
			withheld, limits := lines(page, "withheld"), lines(page, "team limits")
			if got := lines(page, "scope"); len(got) != 1 || !strings.HasPrefix(got[0], "pods:read true") {
				t.Errorf("offered: %v", got)
			}
			if len(withheld) != 2 || !strings.Contains(withheld[0], c.why) || (len(limits) > 0) != c.limits {
				t.Errorf("withheld: %v, limits: %v", withheld, limits)
			}
			opens := f.redeem(client, f.submit(page, "bob", "team=blue"))
			if !strings.Contains(opens, "scopes pods:read\n") {
				t.Errorf("it opens %s", opens)
			}
			g, err := f.db.GrantsOf("bob", client, f.now())
			if err != nil || len(g) != 1 || len(g[0].Declined) > 0 {
				t.Errorf("the person is said to have unticked %+v, %v", g, err)
			}
			// Asking for what is withheld leads to the page again, which says why.
			again := f.authorize(with(request(client), "scope=pods:exec"), "bob")
			if got := lines(again, "withheld"); len(got) != 1 || !strings.Contains(got[0], c.why) {
				t.Errorf("asked again: %s", again.body)
			}
		})
	}
}

// A form that asks for more, of another page or from before a change, gives nothing
// that is withheld, whether it comes before the check or in the transaction.
func TestWithheldIsNotGiven(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	client := f.register()
	page := f.authorize(request(client), "alice") // of two teams: nothing is chosen
	f.must(f.db.SetRole("blue", "alice", store.RoleViewer))
	form := f.filledIn(page)
	form.Set("team", "blue")
	again := f.decide(form, "alice")
	if again.status != http.StatusOK || !strings.Contains(again.body, "fault: In Blue the app cannot get all") || len(lines(again, "scope")) != 1 {
		t.Fatalf("%d %s", again.status, again.body)
	}
	if opens := f.redeem(client, f.submit(again, "alice")); !strings.Contains(opens, "team blue role viewer scopes pods:read\n") {
		t.Errorf("it opens %s", opens)
	}
	err := checkOffered(store.Membership{Role: store.RoleViewer}, []store.Scope{authz.ScopeRead, authz.ScopeWrite})
	if !errors.Is(err, errWithheld) || checkOffered(store.Membership{Role: store.RoleViewer}, []store.Scope{authz.ScopeRead}) != nil {
		t.Errorf("in the transaction: %v", err)
	}
}

// The transaction that approves looks at role and policy once more.
func TestApproveLooksAgain(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	client := f.register()
	page := f.authorize(request(client), "bob")
	refused := errors.New("refused")
	_, err := f.db.Approve(store.Approval{
		Handle: store.HashSecret(f.handle(page)), Session: store.HashSecret("bob"), Team: "blue", Scopes: []store.Scope{authz.ScopeRead}, Code: store.HashSecret("code"), Expires: f.now().Add(requestTTL),
		Allow: func(m store.Membership) error {
			if m.Team.ID != "blue" || m.Role != store.RoleMember {
				t.Errorf("it sees %+v", m)
			}
			return refused
		},
	}, f.now())
	if !errors.Is(err, refused) {
		t.Error(err)
	}
	if a := f.submit(page, "bob", "team=blue"); a.status != http.StatusSeeOther {
		t.Errorf("the request was spent: %d %s", a.status, a.body)
	}
}

// A blocked app reaches neither the consent page nor the token endpoint, and the
// person hears why and is led nowhere.
func TestBlockedApp(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	client := f.register()
	access, refresh := f.connectBoth(client, "bob", "blue")
	code, waiting := f.code(client, "alice", "blue"), f.authorize(request(client), "bob")
	_, err := f.db.BlockClient(store.Block{Client: client, Since: f.now()})
	f.must(err)
	if a := f.authorize(request(client), "bob"); a.status != http.StatusBadRequest || !strings.Contains(a.body, "This app is blocked") || strings.Contains(a.body, "Return to") {
		t.Errorf("authorize: %d %s", a.status, a.body)
	}
	if a := f.submit(waiting, "bob", "team=blue"); a.status == http.StatusSeeOther {
		t.Errorf("a page from before the block: %d %s", a.status, a.body)
	}
	for name, a := range map[string]answer{"code": f.post("/api/oauth/token", exchange(client, code)), "refresh": f.refresh(client, refresh)} {
		if a.status != http.StatusBadRequest || !strings.Contains(a.body, "unauthorized_client") {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	if a := f.call(access); a.status != http.StatusUnauthorized {
		t.Errorf("call: %d %s", a.status, a.body)
	}
	f.must(f.db.UnblockClient(client))
	if opens := f.call(f.connect(client, "bob", "blue")); opens.status != http.StatusOK {
		t.Errorf("let in again: %d %s", opens.status, opens.body)
	}
	if list, err := f.db.Grants("bob", f.now()); err != nil || slices.ContainsFunc(list, func(g store.Grant) bool { return g.Client == client && g.Created.Before(f.now()) }) {
		t.Errorf("%+v, %v", list, err)
	}
}
