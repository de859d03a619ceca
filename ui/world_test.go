package ui_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"podgate/internal/authz"
	"podgate/pods/podstest"
	"podgate/store"
	"podgate/ui"
	"podgate/ui/pagetest"
)

// roles are all that somebody can be to the team red, from the most foreign on.
var roles = []string{"nobody", "foreign", "viewer", "member", "owner", "admin"}

// world is a site with a team, somebody in each role to it, and what the team and its
// members have.
type world struct {
	*pagetest.Site
	people   map[string]store.User
	grants   map[string]store.Grant
	browsers map[string]*pagetest.Browser
	makers   map[string]*pagetest.Browser // of passkeys
}

func emailOf(role string) string { return role + "@example.com" }

// newWorld returns a world in which everybody but nobody is signed in.
func newWorld(t *testing.T, change ...func(*ui.Config)) *world {
	t.Helper()
	w := &world{Site: pagetest.New(t, change...), people: map[string]store.User{}, grants: map[string]store.Grant{}, browsers: map[string]*pagetest.Browser{}, makers: map[string]*pagetest.Browser{}}
	w.Fake.SetAgent(podstest.RealAgent)
	teams := map[string][]string{"foreign": {"green"}, "viewer": {"red"}, "member": {"red"}, "owner": {"red"}}
	for _, role := range roles[1:] {
		u := w.AddUser(emailOf(role), role == "admin", teams[role]...)
		w.people[role] = u
		for _, slug := range teams[role] {
			w.setRole(slug, u, map[string]store.Role{"viewer": store.RoleViewer, "member": store.RoleMember}[role])
			w.grants[role] = w.Connect(u, slug, "Claude of "+role, "claude.ai", authz.ScopeRead)
		}
	}
	w.CreatePod(w.people["owner"], "red", "blog", "static")
	w.write("index.html", "<h1>Hello</h1>\n")
	w.CreatePod(w.people["member"], "red", "shop", "static")
	w.CreatePod(w.people["foreign"], "green", "hidden-pod", "static")
	if _, err := w.Pods.Stop(t.Context(), w.Actor(w.people["owner"], "red"), "shop", nil); err != nil {
		t.Fatal(err)
	}
	for _, role := range roles {
		w.browsers[role] = w.arrive(role)
	}
	return w
}

// write puts a file into the pod blog.
func (w *world) write(path, content string) {
	w.T.Helper()
	if _, err := w.Pods.WriteFile(w.T.Context(), w.Actor(w.people["owner"], "red"), "blog", path, []byte(content), 0o644); err != nil {
		w.T.Fatal(err)
	}
}

// passkey has somebody make one, and returns its key.
func (w *world) passkey(role string) string {
	w.T.Helper()
	b := w.makers[role]
	if b == nil { // one for all of theirs, as there is a bound of sessions
		b = w.Browser().Enter(emailOf(role))
		w.makers[role] = b
	}
	return store.PasskeyKey(withPasskey(w.Site, b, "key of "+role).ID).String()
}

// snapshot takes one of the pod blog and returns its id.
func (w *world) snapshot() string {
	w.T.Helper()
	made, err := w.Pods.TakeSnapshot(w.T.Context(), w.Actor(w.people["owner"], "red"), "blog", "before the move", nil)
	if err != nil {
		w.T.Fatal(err)
	}
	return made.ID
}

// deleted makes and deletes a pod of the team red, and returns its id.
func (w *world) deleted() string {
	w.T.Helper()
	red := w.Actor(w.people["owner"], "red")
	w.CreatePod(w.people["owner"], "red", "wiki", "static")
	if err := w.Pods.Delete(w.T.Context(), red, "wiki", "wiki"); err != nil {
		w.T.Fatal(err)
	}
	list, err := w.Pods.DeletedPods(red)
	if err != nil {
		w.T.Fatal(err)
	}
	return list[0].ID
}

// setRole gives somebody a role in a team; the empty one stands for an owner's.
func (w *world) setRole(slug string, u store.User, role store.Role) {
	w.T.Helper()
	team, err := w.DB.TeamBySlug(slug)
	if err != nil {
		w.T.Fatal(err)
	}
	if role == "" {
		role = store.RoleOwner
	}
	if err := w.DB.PutMember(store.Member{Team: team.ID, User: u.ID, Role: role, Created: w.Clock.Now()}); err != nil {
		w.T.Fatal(err)
	}
}

// arrive returns a new browser of somebody in that role, signed in unless that is
// nobody. It follows no redirect.
func (w *world) arrive(role string) *pagetest.Browser {
	w.T.Helper()
	b := w.Browser()
	if role != "nobody" {
		b.Enter(emailOf(role))
	}
	b.Client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return b
}

// state is all that somebody who may not could have changed, as text.
func (w *world) state() string {
	w.T.Helper()
	all := map[string]any{}
	keep := func(name string, list any, err error) {
		w.T.Helper()
		if err != nil {
			w.T.Fatal(err)
		}
		all[name] = list
	}
	red, err := w.DB.TeamBySlug("red")
	keep("red", red, err)
	users, err := w.DB.Users()
	keep("users", users, err)
	podList, err := w.DB.Pods()
	keep("pods", podList, err)
	members, err := w.DB.Members(red.ID)
	keep("members", members, err)
	passkeys, err := w.DB.Passkeys(w.people["member"].ID)
	keep("passkeys", passkeys, err)
	invitations, err := w.DB.InvitationsOf(red.ID, w.Clock.Now())
	keep("invitations", invitations, err)
	grants, err := w.DB.GrantsPage("", store.PageQuery{Limit: 50}, w.Clock.Now())
	keep("grants", grants, err)
	blocked, err := w.DB.BlockedPage(store.PageQuery{Limit: 50})
	keep("blocked", blocked, err)
	raw, err := json.Marshal(all)
	keep("json", nil, err)
	return string(raw)
}

// entries is how often something was noted in the audit list, as far as one page tells.
func (w *world) entries() (n int) {
	w.T.Helper()
	list, err := w.History.AuditList(store.AuditQuery{Limit: 1000})
	if err != nil {
		w.T.Fatal(err)
	}
	for _, e := range list.Entries {
		n += e.Count
	}
	return n
}
