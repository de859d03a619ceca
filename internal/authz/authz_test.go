package authz_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"podgate/internal/authz"
	"podgate/store"
)

// rights is what an action takes.
type rights struct {
	scope store.Scope // of a connection; "person": no connection may
	roles string      // o, m and v; a: administrators of the server
}

// allowed is the policy written a second time, by action.
var allowed = map[authz.Action]rights{
	authz.SeeCatalogue: {authz.ScopeRead, "omv"}, authz.ListPods: {authz.ScopeRead, "omv"}, authz.ReadPod: {authz.ScopeRead, "omv"},
	authz.ReadFiles: {authz.ScopeRead, "omv"}, authz.ReadLogs: {authz.ScopeRead, "omv"}, authz.VisitPod: {authz.ScopeRead, "omv"},
	authz.CreatePod: {authz.ScopeWrite, "om"}, authz.ManagePod: {authz.ScopeWrite, "om"}, authz.DeletePod: {authz.ScopeWrite, "om"},
	authz.WriteFiles: {authz.ScopeWrite, "om"}, authz.Deploy: {authz.ScopeWrite, "om"}, authz.Exec: {authz.ScopeExec, "om"},
	authz.ChangePlan: {authz.ScopeWrite, "om"}, authz.UndeletePod: {"person", "o"}, authz.SeeTeam: {"person", "omva"}, authz.LeaveTeam: {"person", "omv"},
	authz.ChangeMembers: {"person", "oa"}, authz.RenameTeam: {"person", "oa"}, authz.RemoveTeam: {"person", "oa"},
	authz.ChangePolicy: {"person", "oa"}, authz.ChangeNetwork: {"person", "oa"},
	authz.SeeConnections: {"person", "oa"}, authz.EndConnections: {"person", "oa"}, authz.Administer: {"person", "a"},
	"something else": {},
}

func TestActions(t *testing.T) {
	t.Parallel()
	if got := len(authz.Actions()); got != len(allowed)-1 {
		t.Errorf("there are %d actions, the tests know %d", got, len(allowed)-1)
	}
}

var letters = map[store.Role]string{store.RoleOwner: "o", store.RoleMember: "m", store.RoleViewer: "v"}

// TestPolicy walks the full product of user, role, administration, way in, scopes,
// limits, ownership, pod and action.
func TestPolicy(t *testing.T) {
	t.Parallel()
	limits := []store.Limits{{}, {ReadOnly: true}, {Prefix: "web-"}, {ReadOnly: true, Prefix: "web-", MaxPods: 1}}
	policies := []store.Policy{{}, {Scopes: []store.Scope{authz.ScopeRead, authz.ScopeExec}}, {Limits: store.Limits{ReadOnly: true}}, {Scopes: []store.Scope{authz.ScopeWrite}, Limits: store.Limits{Prefix: "we"}}, {Limits: store.Limits{Prefix: "shop"}}}
	for action := range allowed {
		for _, role := range []store.Role{"", store.RoleOwner, store.RoleMember, store.RoleViewer, "visitor", "administrator"} {
			for way := range 8 {
				for set := range 1 << len(authz.Scopes()) {
					for n := range len(limits) * len(policies) {
						l := limits[n%len(limits)]
						a := authz.Actor{Team: store.Team{ID: "mine", Policy: policies[n/len(limits)]}, Role: role, Scopes: subset(set), Limits: l, Admin: way&1 != 0}
						if way&2 != 0 {
							a.User = "u"
						}
						if way&4 != 0 {
							a.Grant = "g"
						}
						for _, owner := range []store.TeamID{"", "mine", "theirs"} {
							checkAllow(t, a, action, owner)
						}
					}
				}
			}
		}
	}
}

func subset(set int) (scopes []store.Scope) {
	for i, s := range authz.Scopes() {
		if set&(1<<i) != 0 {
			scopes = append(scopes, s)
		}
	}
	return scopes
}

// checkAllow holds one actor and action against the policy as it is written
// here, without a pod and for pods inside and outside the limits.
func checkAllow(t *testing.T, a authz.Actor, action authz.Action, owner store.TeamID) {
	t.Helper()
	needs := allowed[action]
	person, team := needs.scope == "person", a.Team.Policy
	asAdmin := a.Admin && a.Grant == "" && strings.Contains(needs.roles, "a")
	var want authz.Denied // the zero Denied: allowed
	switch {
	case a.User == "" || owner != "mine" || needs.roles == "":
		want = authz.Denied{Action: action}
	case person && a.Grant != "":
		want = authz.Denied{Action: action, Limit: authz.LimitPerson}
	case asAdmin:
	case letters[a.Role] == "":
		want = authz.Denied{Action: action}
	case !strings.Contains(needs.roles, letters[a.Role]):
		want = authz.Denied{Action: action, Limit: authz.LimitRole}
	case a.Grant != "" && (len(team.Scopes) > 0 && !slices.Contains(team.Scopes, needs.scope) || team.Limits.ReadOnly && needs.scope != authz.ScopeRead):
		want = authz.Denied{Action: action, Limit: authz.LimitPolicy}
	case a.Limits.ReadOnly && needs.scope != authz.ScopeRead:
		want = authz.Denied{Action: action, Limit: authz.LimitReadOnly}
	case !person && !slices.Contains(a.Scopes, needs.scope):
		want = authz.Denied{Action: action, Scope: needs.scope}
	}
	checkDenied(t, a, a.Allow(action, owner), want)
	for _, pod := range []string{"web-1", "web-", "web", "we", "shop", "", "xweb-"} {
		w := want
		outside := !strings.HasPrefix(pod, a.Limits.Prefix) || a.Grant != "" && !strings.HasPrefix(pod, team.Limits.Prefix)
		if w == (authz.Denied{}) && !asAdmin && outside {
			w = authz.Denied{Action: action, Limit: authz.LimitPrefix}
		}
		checkDenied(t, a, a.AllowPod(action, owner, pod), w)
	}
}

func checkDenied(t *testing.T, a authz.Actor, err error, want authz.Denied) {
	t.Helper()
	if want == (authz.Denied{}) {
		if err != nil {
			t.Errorf("%+v: %v", a, err)
		}
		return
	}
	var denied *authz.Denied
	if !errors.As(err, &denied) || *denied != want {
		t.Errorf("%+v: %v, want %+v", a, err, want)
	}
}

func TestZeroActorMayDoNothing(t *testing.T) {
	for action := range allowed {
		for _, owner := range []store.TeamID{"", "mine"} {
			if (authz.Actor{}).Allow(action, owner) == nil || (authz.Actor{}).AllowPod(action, owner, "web") == nil {
				t.Errorf("the zero actor may %s", action)
			}
			if authz.FromContext(context.Background()).Allow(action, owner) == nil {
				t.Errorf("an empty context may %s", action)
			}
		}
	}
}

func TestActors(t *testing.T) {
	team := store.Team{ID: "mine", Slug: "mine"}
	person := authz.Person("u", store.Membership{Team: team, Role: store.RoleMember})
	for action, needs := range allowed {
		if err := person.Allow(action, "mine"); (err == nil) != strings.Contains(needs.roles, "m") {
			t.Errorf("a member at the browser, %s: %v", action, err)
		}
		admin := authz.Of(store.User{ID: "u", Admin: true}, team, store.RoleViewer)
		if err := admin.Allow(action, "mine"); (err == nil) != strings.ContainsAny(needs.roles, "va") {
			t.Errorf("an administrator who looks on, %s: %v", action, err)
		}
		if err := authz.CommandLine(team).Allow(action, "mine"); (err == nil) != (needs.roles != "") {
			t.Errorf("the command line, %s: %v", action, err)
		}
		if scope, ok := authz.Needs(action); ok != (needs.scope != "" && needs.scope != "person") || ok && scope != needs.scope {
			t.Errorf("a connection needs %q to %s, %v", scope, action, ok)
		}
	}
	if person.By() != "u" || authz.CommandLine(team).By() != "" || person.IsCommandLine() || authz.CommandLine(team).Allow(authz.ReadPod, "theirs") == nil {
		t.Error("who it was is wrong")
	}
	access := &store.Access{Grant: store.Grant{ID: "g", User: "u", Team: "mine", Scopes: []store.Scope{authz.ScopeRead}, Limits: store.Limits{Prefix: "web-"}}, Team: team, Role: store.RoleMember}
	got := authz.FromContext(authz.WithActor(context.Background(), authz.Connection(access)))
	access.Grant.Declined, access.Grant.Revoked = []store.Scope{authz.ScopeExec}, []store.Scope{authz.ScopeWrite}
	if taken := authz.Connection(access).Taken; !slices.Equal(taken, []store.Scope{authz.ScopeExec, authz.ScopeWrite}) || len(got.Taken) > 0 {
		t.Errorf("taken: %v, and %v where nothing was", taken, got.Taken)
	}
	if got.Grant != "g" || got.Allow(authz.ReadPod, "mine") != nil || got.Allow(authz.Exec, "mine") == nil || got.AllowPod(authz.ReadPod, "mine", "shop") == nil {
		t.Errorf("connection: %+v", got)
	}
}

func TestDeniedSaysWhy(t *testing.T) {
	if s := (&authz.Denied{Action: authz.Exec, Scope: authz.ScopeExec}).Error(); !strings.Contains(s, "pods:exec") {
		t.Error(s)
	}
	if s := (&authz.Denied{Action: authz.Exec}).Error(); strings.Contains(s, "scope") {
		t.Error(s)
	}
	if s := (&authz.Denied{Action: authz.Exec, Limit: authz.LimitReadOnly}).Error(); !strings.Contains(s, "read-only") {
		t.Error(s)
	}
	if s := (&authz.Denied{Action: authz.Exec, Limit: authz.LimitRole}).Error(); !strings.Contains(s, "role") {
		t.Error(s)
	}
}

// What a role can never make use of is not offered to its connections.
func TestRoleScopes(t *testing.T) {
	t.Parallel()
	for role, want := range map[store.Role][]store.Scope{
		store.RoleOwner: authz.Scopes(), store.RoleMember: authz.Scopes(), store.RoleViewer: {authz.ScopeRead}, "": {}, "visitor": {},
	} {
		if got := authz.RoleScopes(role); !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", role, got, want)
		}
	}
}

// Limits of a connection and those of its team hold both.
func TestBounds(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ own, team, want store.Limits }{
		"none":            {},
		"own":             {own: store.Limits{ReadOnly: true, Prefix: "a", MaxPods: 2}, want: store.Limits{ReadOnly: true, Prefix: "a", MaxPods: 2}},
		"team's":          {team: store.Limits{ReadOnly: true, Prefix: "a", MaxPods: 2}, want: store.Limits{ReadOnly: true, Prefix: "a", MaxPods: 2}},
		"own is narrower": {own: store.Limits{Prefix: "ab", MaxPods: 1}, team: store.Limits{Prefix: "a", MaxPods: 2}, want: store.Limits{Prefix: "ab", MaxPods: 1}},
		"own is wider":    {own: store.Limits{Prefix: "a", MaxPods: 3}, team: store.Limits{Prefix: "ab", MaxPods: 2}, want: store.Limits{Prefix: "ab", MaxPods: 2}},
		"neither":         {own: store.Limits{Prefix: "a"}, team: store.Limits{Prefix: "b"}, want: store.Limits{Prefix: "a"}},
	} {
		a := authz.Actor{User: "u", Team: store.Team{ID: "t", Policy: store.Policy{Limits: c.team}}, Role: store.RoleMember, Scopes: authz.Scopes(), Limits: c.own, Grant: "g"}
		if got := a.Bounds(); got != c.want {
			t.Errorf("%s: %+v", name, got)
		}
		names := []string{"ab-1", "ab-2", "b-1"}
		if err := a.AllowOneMore(names); (err != nil) != (c.want.MaxPods > 0 && c.want.MaxPods <= 2) {
			t.Errorf("%s: one more: %v", name, err)
		}
		a.Grant = ""
		if got := a.Bounds(); got != c.own {
			t.Errorf("%s, of a person: %+v", name, got)
		}
	}
}

// What neither role nor policy takes away is offered.
func TestOffered(t *testing.T) {
	t.Parallel()
	for want, m := range map[string]store.Membership{
		"[pods:read pods:write pods:exec]": {Role: store.RoleMember},
		"[pods:read]":                      {Role: store.RoleViewer},
		"[pods:read pods:exec]":            {Role: store.RoleOwner, Team: store.Team{Policy: store.Policy{Scopes: []store.Scope{authz.ScopeExec, authz.ScopeRead}}}},
		"[]":                               {Role: store.RoleViewer, Team: store.Team{Policy: store.Policy{Scopes: []store.Scope{authz.ScopeWrite}}}},
	} {
		if got := fmt.Sprint(authz.Offered(m)); got != want {
			t.Errorf("%+v: %s, want %s", m, got, want)
		}
	}
	if got := authz.Offered(store.Membership{Role: store.RoleOwner, Team: store.Team{Policy: store.Policy{Limits: store.Limits{ReadOnly: true}}}}); fmt.Sprint(got) != "[pods:read]" {
		t.Errorf("read-only: %v", got)
	}
}
