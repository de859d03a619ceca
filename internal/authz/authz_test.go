package authz_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"podgate/internal/authz"
	"podgate/store"
)

// allowed is the policy written a second time, by action.
var allowed = map[authz.Action]store.Scope{
	authz.SeeCatalogue: authz.ScopeRead, authz.ListPods: authz.ScopeRead, authz.ReadPod: authz.ScopeRead,
	authz.ReadFiles: authz.ScopeRead, authz.ReadLogs: authz.ScopeRead, authz.VisitPod: authz.ScopeRead,
	authz.CreatePod: authz.ScopeWrite, authz.ManagePod: authz.ScopeWrite, authz.DeletePod: authz.ScopeWrite, authz.WriteFiles: authz.ScopeWrite,
	authz.Exec:       authz.ScopeExec,
	"something else": "",
}

// TestPolicy walks the full product of user, role, scopes, limits, ownership,
// pod and action.
func TestPolicy(t *testing.T) {
	limits := []store.Limits{{}, {ReadOnly: true}, {Prefix: "web-"}, {ReadOnly: true, Prefix: "web-"}, {MaxPods: 1}, {ReadOnly: true, Prefix: "web-", MaxPods: 1}}
	for action := range allowed {
		for _, role := range []store.Role{"", store.RoleOwner, store.RoleMember, "visitor"} {
			for _, user := range []store.UserID{"", "u"} {
				for set := range 1 << len(authz.Scopes()) {
					for _, l := range limits {
						a := authz.Actor{User: user, Team: store.Team{ID: "mine"}, Role: role, Scopes: subset(set), Limits: l}
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
	var want authz.Denied // the zero Denied: allowed
	switch {
	case a.User == "" || owner != "mine" || (a.Role != store.RoleOwner && a.Role != store.RoleMember) || needs == "":
		want = authz.Denied{Action: action}
	case a.Limits.ReadOnly && needs != authz.ScopeRead:
		want = authz.Denied{Action: action, Limit: authz.LimitReadOnly}
	case !slices.Contains(a.Scopes, needs):
		want = authz.Denied{Action: action, Scope: needs}
	}
	checkDenied(t, a, a.Allow(action, owner), want)
	for _, pod := range []string{"web-1", "web-", "web", "shop", "", "xweb-"} {
		w := want
		if w == (authz.Denied{}) && a.Limits.Prefix == "web-" && pod != "web-1" && pod != "web-" {
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
		if err := person.Allow(action, "mine"); (err == nil) != (needs != "") {
			t.Errorf("a member at the browser, %s: %v", action, err)
		}
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
	if _, ok := authz.Needs("something else"); ok {
		t.Error("an unknown action has a scope")
	}
}
