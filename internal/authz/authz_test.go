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

// TestPolicy walks the full product of role, scopes, ownership and action.
func TestPolicy(t *testing.T) {
	all := authz.Scopes()
	for action, needs := range allowed {
		for _, role := range []store.Role{"", store.RoleOwner, store.RoleMember, "visitor"} {
			for _, owner := range []store.TeamID{"", "mine", "theirs"} {
				for set := range 1 << len(all) {
					for _, user := range []store.UserID{"", "u"} {
						var scopes []store.Scope
						for i, s := range all {
							if set&(1<<i) != 0 {
								scopes = append(scopes, s)
							}
						}
						a := authz.Actor{User: user, Team: store.Team{ID: "mine"}, Role: role, Scopes: scopes}
						inside := user != "" && owner == "mine" && (role == store.RoleOwner || role == store.RoleMember) && needs != ""
						checkAllow(t, a, action, owner, inside, needs)
					}
				}
			}
		}
	}
}

func checkAllow(t *testing.T, a authz.Actor, action authz.Action, owner store.TeamID, inside bool, needs store.Scope) {
	t.Helper()
	err := a.Allow(action, owner)
	var denied *authz.Denied
	switch {
	case inside && slices.Contains(a.Scopes, needs):
		if err != nil {
			t.Errorf("%s by %+v of %q: %v", action, a, owner, err)
		}
	case !errors.As(err, &denied):
		t.Errorf("%s by %+v of %q is allowed", action, a, owner)
	case inside && denied.Scope != needs:
		t.Errorf("%s by %+v asks for scope %q, want %q", action, a, denied.Scope, needs)
	case !inside && denied.Scope != "":
		t.Errorf("%s by %+v of %q offers a scope to an outsider", action, a, owner)
	}
}

func TestZeroActorMayDoNothing(t *testing.T) {
	for action := range allowed {
		for _, owner := range []store.TeamID{"", "mine"} {
			if (authz.Actor{}).Allow(action, owner) == nil {
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
	access := &store.Access{Grant: store.Grant{ID: "g", User: "u", Team: "mine", Scopes: []store.Scope{authz.ScopeRead}}, Team: team, Role: store.RoleMember}
	got := authz.FromContext(authz.WithActor(context.Background(), authz.Connection(access)))
	if got.Grant != "g" || got.Allow(authz.ReadPod, "mine") != nil || got.Allow(authz.Exec, "mine") == nil {
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
	if _, ok := authz.Needs("something else"); ok {
		t.Error("an unknown action has a scope")
	}
}
