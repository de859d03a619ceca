package teampages_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"podgate/internal/authz"
	"podgate/store"
	"podgate/ui"
	"podgate/ui/pagetest"
)

const hostileName = "<script>alert(1)</script> \u202egnp.exe \"'&amp;"

// crew is a team with an owner, a member and a viewer.
type crew struct {
	*pagetest.Site
	owner, member, viewer store.User
}

func newCrew(t *testing.T, change ...func(*ui.Config)) *crew {
	t.Helper()
	s := pagetest.New(t, change...)
	c := &crew{Site: s, owner: s.AddUser("olga@example.com", false, "red"), member: s.AddUser("max@example.com", false, "red"), viewer: s.AddUser("vera@example.com", false, "red")}
	c.role(c.owner, store.RoleOwner)
	c.role(c.viewer, store.RoleViewer)
	return c
}

func (c *crew) role(u store.User, role store.Role) {
	c.T.Helper()
	team, err := c.DB.TeamBySlug("red")
	if err == nil {
		err = c.DB.PutMember(store.Member{Team: team.ID, User: u.ID, Role: role, Created: c.Clock.Now()})
	}
	if err != nil {
		c.T.Fatal(err)
	}
}

// as is a browser in which that person is signed in.
func (c *crew) as(u store.User) *pagetest.Browser {
	c.T.Helper()
	b := c.Browser()
	b.Enter(u.Email)
	return b
}

func (c *crew) roleOf(u store.User) store.Role {
	c.T.Helper()
	for _, m := range c.members() {
		if m.User == u.ID {
			return m.Role
		}
	}
	return ""
}

func (c *crew) members() []store.Member {
	c.T.Helper()
	team, err := c.DB.TeamBySlug("red")
	if err != nil {
		c.T.Fatal(err)
	}
	list, err := c.DB.Members(team.ID)
	if err != nil {
		c.T.Fatal(err)
	}
	return list
}

func main(a pagetest.Answer) string { return pagetest.Text(a.All("main")[0]) }

func want(t testing.TB, a pagetest.Answer, status int, words ...string) {
	t.Helper()
	if a.StatusCode != status {
		t.Errorf("%s: %d, want %d", a.Request.URL.Path, a.StatusCode, status)
	}
	for _, w := range words {
		if !strings.Contains(main(a), w) {
			t.Errorf("%q is not in:\n%s", w, main(a))
		}
	}
}

// A page offers what its reader may do, and nothing else.
func TestTeamPageOffersWhatOneMay(t *testing.T) {
	t.Parallel()
	c := newCrew(t)
	foreign, admin := c.AddUser("eve@example.com", false, "green"), c.AddUser("ada@example.com", true)
	for _, u := range []store.User{c.owner, c.member, c.viewer, admin} {
		b := c.as(u)
		a, settings := b.Get("/team/red"), b.Get("/team/red/settings")
		want(t, a, http.StatusOK, "max@example.com", "vera@example.com")
		manages := u.ID == c.owner.ID || u.ID == admin.ID
		for path, offered := range map[string]bool{
			`action="/team/red/invite"`: manages, `action="/team/red/role"`: manages, "/remove\"": manages, `href="/team/red/leave"`: u.ID != admin.ID,
			`action="/team/red/rename"`: manages, `action="/team/red/policy"`: manages, `action="/team/red/network"`: manages, `href="/team/red/remove"`: manages,
		} {
			if got := strings.Contains(a.HTML+settings.HTML, path); got != offered {
				t.Errorf("%s is offered %s: %v", u.Email, path, got)
			}
		}
	}
	b := c.as(foreign)
	strange, absent := b.Get("/team/red"), b.Get("/team/nowhere")
	if strange.StatusCode != http.StatusNotFound || strange.HTML != absent.HTML {
		t.Errorf("a foreign team: %d\n%s", strange.StatusCode, strange.HTML)
	}
	if a := b.Get("/team"); a.Request.URL.Path != "/team/green" {
		t.Errorf("the only team: %s", a.Request.URL)
	}
}

func TestChangeRoleAndRemove(t *testing.T) {
	t.Parallel()
	c := newCrew(t)
	g := c.Connect(c.member, "red", "Claude", "claude.ai", authz.ScopeRead)
	c.CreatePod(c.member, "red", "blog", "static")
	b := c.as(c.owner)
	want(t, b.Post("/team/red/role", url.Values{"user": {string(c.member.ID)}, "role": {"viewer"}}), http.StatusOK, "The role is changed.")
	if got := c.roleOf(c.member); got != store.RoleViewer {
		t.Errorf("the role is %q", got)
	}
	for _, role := range []string{"admin", "", "<b>"} {
		want(t, b.Post("/team/red/role", url.Values{"user": {string(c.member.ID)}, "role": {role}}), http.StatusUnprocessableEntity, "Choose a role")
	}
	want(t, b.Post("/team/red/role", url.Values{"user": {string(c.owner.ID)}, "role": {"member"}}), http.StatusConflict, "A team needs an owner.")
	want(t, b.Post("/team/red/leave", nil), http.StatusConflict, "A team needs an owner.")

	path := "/team/red/member/" + string(c.member.ID) + "/remove"
	gone := c.as(c.member)
	want(t, b.Get(path), http.StatusOK, "connections that they made for this team end at once", "Pods, files and the account itself stay.")
	want(t, b.Post(path, nil), http.StatusOK, "They are out of the team, and 1 connection ended.")
	if c.roleOf(c.member) != "" {
		t.Error("still a member")
	}
	if _, err := c.Account.Connection(c.member.ID, g.ID); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the connection: %v", err)
	}
	if _, err := c.DB.PodByName("blog"); err != nil {
		t.Errorf("the pod: %v", err)
	}
	want(t, gone.Get("/team/red"), http.StatusNotFound)
	want(t, b.Post(path, nil), http.StatusNotFound)
	want(t, c.as(c.viewer).Post("/team/red/leave", nil), http.StatusOK, "You left the team.", "You are in no team")
}

func TestTeamSettings(t *testing.T) {
	t.Parallel()
	c := newCrew(t)
	c.AddUser("eve@example.com", false, "green")
	b := c.as(c.owner)
	c.CreatePod(c.owner, "red", "blog", "static")
	c.Connect(c.owner, "red", "Claude", "claude.ai", authz.ScopeRead)
	red, err := c.DB.TeamBySlug("red")
	if err := errors.Join(err, c.DB.SetTeamQuota(red.ID, store.Quota{Pods: 4, Memory: 1 << 30})); err != nil {
		t.Fatal(err)
	}
	want(t, b.Get("/team/red/settings"), http.StatusOK, "Pods 1 of 4", "plans allow 256 MB of 1 GB", "Members 3", "Connections 1")
	want(t, b.Post("/team/red/policy", url.Values{"scope": {"pods:read", "pods:write"}, "prefix": {"web-"}, "max_pods": {"3"}}), http.StatusOK, "The policy is changed.")
	team, err := c.DB.TeamBySlug("red")
	if err != nil || len(team.Policy.Scopes) != 2 || team.Policy.Limits != (store.Limits{Prefix: "web-", MaxPods: 3}) {
		t.Errorf("the policy: %+v, %v", team.Policy, err)
	}
	want(t, c.as(c.member).Get("/team/red/settings"), http.StatusOK, "only pods whose name begins with web- · at most 3 pods", "Only an owner of the team changes these.")
	for fault, form := range map[string]url.Values{
		"Leave at least one thing ticked.":   {"read_only": {"yes"}},
		"The number of pods must be from 1":  {"scope": {"pods:read"}, "max_pods": {"x"}},
		"No pod's name can begin like that.": {"scope": {"pods:read"}, "prefix": {hostileName}},
	} {
		want(t, b.Post("/team/red/policy", form), http.StatusUnprocessableEntity, fault)
	}
	want(t, b.Post("/team/red/network", url.Values{"mode": {"names"}, "names": {"api.example.com\n*.example.org"}}), http.StatusOK, "What pods may reach is changed.")
	if team, err = c.DB.TeamBySlug("red"); err != nil || team.Network.Mode != "names" || len(team.Network.Names) != 2 {
		t.Errorf("the network: %+v, %v", team.Network, err)
	}
	want(t, b.Post("/team/red/network", url.Values{"mode": {"names"}}), http.StatusUnprocessableEntity, "Write the names that may be reached")
	if a := b.Post("/team/red/network", url.Values{"mode": {"names"}, "names": {"</textarea><script>"}}); a.StatusCode != http.StatusUnprocessableEntity || strings.Contains(a.HTML, "<script>") {
		t.Errorf("a hostile name: %d", a.StatusCode)
	}

	want(t, b.Post("/team/red/rename", url.Values{"name": {"Green"}, "slug": {"green"}}), http.StatusConflict, "There is a team green already.")
	want(t, b.Post("/team/red/rename", url.Values{"name": {hostileName}, "slug": {"blue"}}), http.StatusOK, "The team is renamed.")
	if a := b.Get("/team/blue"); strings.Contains(a.HTML, "<script>alert") || a.StatusCode != http.StatusOK {
		t.Errorf("a hostile name: %d\n%s", a.StatusCode, a.HTML)
	}
	want(t, b.Get("/team/red"), http.StatusNotFound)

	want(t, b.Get("/team/blue/remove"), http.StatusUnprocessableEntity, "The team has 1 pod. Delete them first")
	want(t, b.Post("/team/blue/remove", nil), http.StatusConflict, "Delete them first")
	if err := c.Pods.Delete(t.Context(), c.Actor(c.owner, "blue"), "blog", "blog"); err != nil {
		t.Fatal(err)
	}
	want(t, b.Get("/team/blue/remove"), http.StatusOK, "This ends 3 memberships, 1 connection and 0 invitations.")
	want(t, b.Post("/team/blue/remove", nil), http.StatusOK, "The team is removed.")
	want(t, b.Get("/team/blue"), http.StatusNotFound)
}

// letters are what was sent; fail is why nothing is.
type letters struct {
	to, link []string
	fail     error
}

func (l *letters) Invitation(_ context.Context, to, _, _, link string) error {
	if l.fail != nil {
		return l.fail
	}
	l.to, l.link = append(l.to, to), append(l.link, link)
	return nil
}

// invite makes an invitation on the page and returns the path of its link.
func (c *crew) invite(email string, role store.Role) string {
	c.T.Helper()
	a := c.as(c.owner).Post("/team/red/invite", url.Values{"email": {email}, "role": {string(role)}})
	want(c.T, a, http.StatusOK)
	for _, code := range a.All("code") {
		if pagetest.Attr(code, "id") == "link" {
			return strings.TrimPrefix(pagetest.Text(code), c.Issuer())
		}
	}
	c.T.Fatalf("no link in:\n%s", main(a))
	return ""
}

// Somebody without an account follows the link, makes one and is in the team; the
// link is then of no use, and its secret is nowhere it could leak from.
// Members, invitations and teams are shown fifty at a time, each list by itself.
func TestLongListsOfTeams(t *testing.T) {
	t.Parallel()
	c := newCrew(t)
	for i := range 55 {
		c.invite("", store.RoleViewer)
		team, err := c.Account.AddTeam(t.Context(), fmt.Sprintf("team-%02d", i), "")
		if err != nil {
			t.Fatal(err)
		}
		u := store.User{ID: store.UserID(store.NewID()), Email: fmt.Sprintf("p%02d@example.com", i), Name: "P"}
		if err := errors.Join(c.DB.CreateUser(u), c.DB.PutMember(store.Member{Team: team.ID, User: c.owner.ID, Role: store.RoleViewer})); err != nil {
			t.Fatal(err)
		}
		red, err := c.DB.TeamBySlug("red")
		if err := errors.Join(err, c.DB.PutMember(store.Member{Team: red.ID, User: u.ID, Role: store.RoleViewer})); err != nil {
			t.Fatal(err)
		}
	}
	b := c.as(c.owner)
	for path, rows := range map[string][3]int{ // members, invitations, teams
		"/team/red":                  {50, 50, 0},
		"/team/red?invited=2":        {50, 5, 0},
		"/team/red?invited=2&page=2": {8, 5, 0},
		"/team":                      {0, 0, 50},
		"/team?page=2":               {0, 0, 6},
	} {
		a, got := b.Get(path), [3]int{}
		for _, li := range a.All("li") {
			for i, class := range []string{"row row-member", "row row-invitation", "row row-team"} {
				if pagetest.Attr(li, "class") == class {
					got[i]++
				}
			}
		}
		if got != rows {
			t.Errorf("%s: %v rows, want %v", path, got, rows)
		}
	}
	if a := b.Get("/team/red?page=2"); !strings.Contains(a.HTML, `href="/team/red?invited=2&amp;page=2#invitations"`) {
		t.Error("to look at older invitations leaves the page of the members")
	}
}

func TestInvitationMakesAnAccount(t *testing.T) {
	t.Parallel()
	c := newCrew(t)
	link := c.invite("", store.RoleViewer)
	secret := strings.TrimPrefix(link, "/invitation?token=")
	b := c.Browser()
	a := b.Get(link)
	want(t, a, http.StatusOK, "Join red", "olga@example.com invites you to be a viewer of the team red")
	if strings.Contains(a.Request.URL.String(), secret) || strings.Contains(a.HTML, secret) {
		t.Errorf("the secret is on the page, or in its address %s", a.Request.URL)
	}
	if a.Header.Get("Referrer-Policy") != "no-referrer" || a.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("headers %v", a.Header)
	}
	form := url.Values{"email": {"nina@example.com"}, "name": {hostileName}, "password": {"short"}, "shown": {shownOf(link)}}
	want(t, b.Post("/invitation/join", form), http.StatusUnprocessableEntity, "Join red")
	form.Set("email", "max@example.com")
	form.Set("password", pagetest.Password)
	want(t, b.Post("/invitation/join", form), http.StatusConflict, "There is an account with the address max@example.com already.")
	form.Set("email", "nina@example.com")
	a = b.Post("/invitation/join", form)
	want(t, a, http.StatusOK, "Welcome to the team.", "You are a viewer.")
	if strings.Contains(a.HTML, "<script>alert") {
		t.Error("markup of others")
	}
	for name, again := range map[string]*pagetest.Browser{"the same": b, "another": c.Browser()} {
		want(t, again.Get(link), http.StatusNotFound, "it was used or withdrawn")
		want(t, again.Post("/invitation/join", url.Values{"email": {"x@example.com"}, "name": {"X"}, "password": {pagetest.Password}}), http.StatusNotFound, "it was used or withdrawn")
		if t.Failed() {
			t.Fatalf("replayed by %s browser", name)
		}
	}
	if n := len(c.members()); n != 4 {
		t.Errorf("%d members", n)
	}
	if strings.Contains(c.Log.String(), secret) || strings.Contains(c.Log.String(), "token=") {
		t.Error("the secret is in the log")
	}
}

// An invitation for an address is for nobody else, also where it was passed on.
func TestInvitationForAnAddress(t *testing.T) {
	t.Parallel()
	c := newCrew(t)
	eve, nina := c.AddUser("eve@example.com", false), c.AddUser("nina@example.com", false)
	link := c.invite("Nina@example.com", store.RoleMember)
	b := c.as(eve)
	want(t, b.Get(link), http.StatusOK, "You are signed in as eve@example.com, and this invitation is for nina@example.com.")
	want(t, b.Post("/invitation/accept", url.Values{"shown": {shownOf(link)}}), http.StatusUnprocessableEntity, "This invitation is for another e-mail address.")
	stranger := c.Browser()
	if a := stranger.Get(link); !strings.Contains(a.HTML, `readonly value="nina@example.com"`) {
		t.Errorf("the address can be changed:\n%s", a.HTML)
	}
	want(t, stranger.Post("/invitation/join", url.Values{"email": {"eve2@example.com"}, "name": {"Eve"}, "password": {pagetest.Password}, "shown": {shownOf(link)}}), http.StatusUnprocessableEntity, "This invitation is for another e-mail address.")
	if c.roleOf(eve) != "" || len(c.members()) != 3 {
		t.Error("somebody else became a member")
	}
	// Who must sign in first comes back to the invitation.
	if a := b.Post("/invitation/sign-in", nil); a.H1() != "Sign in" || a.Request.URL.Query().Get("next") != "/invitation" {
		t.Errorf("%s %s", a.H1(), a.Request.URL)
	}
	back := b.Post("/sign-in", url.Values{"email": {"nina@example.com"}, "password": {pagetest.Password}, "next": {"/invitation"}})
	want(t, back, http.StatusOK, "Join as nina@example.com")
	want(t, b.Post("/invitation/accept", url.Values{"shown": {shownOf(link)}}), http.StatusOK, "Welcome to the team.", "You are a member.")
	if c.roleOf(nina) != store.RoleMember {
		t.Errorf("the role is %q", c.roleOf(nina))
	}
	want(t, b.Get(link), http.StatusNotFound)
}

// shownOf is how the page that a link leads to names its invitation in its forms.
func shownOf(link string) string {
	return store.HashSecret(strings.TrimPrefix(link, "/invitation?token=")).String()
}

// Another page can open another invitation while a person looks at one: what they press
// then is not for that one.
func TestAcceptedAsShown(t *testing.T) {
	t.Parallel()
	c := newCrew(t)
	nina := c.AddUser("nina@example.com", false)
	seen, other := c.invite("", store.RoleMember), c.invite("", store.RoleViewer)
	b := c.as(nina)
	page := b.Get(seen)
	if !strings.Contains(page.HTML, `name="shown" value="`+shownOf(seen)+`"`) {
		t.Errorf("the form does not say which invitation it is for:\n%s", main(page))
	}
	b.Get(other)
	for _, form := range []string{"accept", "join"} {
		a := b.Post("/invitation/"+form, url.Values{"shown": {shownOf(seen)}, "email": {"x@example.com"}, "name": {"X"}, "password": {pagetest.Password}})
		want(t, a, http.StatusConflict, "Another invitation was opened meanwhile.", "to be a viewer")
	}
	if role := c.roleOf(nina); role != "" || len(c.members()) != 3 {
		t.Errorf("a member as %q", role)
	}
}

// What is over says so: withdrawn, too old, made by somebody who may not invite any
// more, of a team that is gone.
func TestInvitationsEnd(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*crew){
		"withdrawn": func(c *crew) {
			team, _ := c.DB.TeamBySlug("red")
			list, err := c.DB.InvitationsOf(team.ID, c.Clock.Now())
			if err != nil || len(list) != 1 {
				c.T.Fatal(list, err)
			}
			want(c.T, c.as(c.owner).Post("/team/red/withdraw", url.Values{"invitation": {list[0].Hash.String()}}), http.StatusOK, "The invitation is withdrawn.", "Nobody is invited")
		},
		"old":     func(c *crew) { c.Clock.Advance(8 * 24 * time.Hour) },
		"demoted": func(c *crew) { c.role(c.member, store.RoleOwner); c.role(c.owner, store.RoleViewer) },
		"removed": func(c *crew) {
			want(c.T, c.as(c.owner).Post("/team/red/remove", nil), http.StatusOK, "The team is removed.")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCrew(t)
			nina := c.AddUser("nina@example.com", false)
			link := c.invite("", store.RoleOwner)
			end(c)
			b := c.as(nina)
			want(t, b.Get(link), http.StatusNotFound, "No invitation")
			want(t, b.Post("/invitation/accept", nil), http.StatusNotFound, "No invitation")
			if teams, err := c.Account.TeamsOf(nina.ID); err != nil || len(teams) != 0 {
				t.Errorf("in %v, %v", teams, err)
			}
		})
	}
}

// Mail goes where the invitation is bound to; what keeps it is said beside the link.
func TestInvitationIsSent(t *testing.T) {
	t.Parallel()
	post := &letters{}
	c := newCrew(t, func(cfg *ui.Config) { cfg.Mailer = post })
	want(t, c.as(c.owner).Get("/team/red"), http.StatusOK, "With an address it is sent there, too.")
	link := c.invite("nina@example.com", store.RoleMember)
	if len(post.to) != 1 || post.to[0] != "nina@example.com" || post.link[0] != c.Issuer()+link {
		t.Errorf("sent %v %v", post.to, post.link)
	}
	c.invite("", store.RoleMember)
	if len(post.to) != 1 {
		t.Error("an invitation without an address was sent")
	}
	post.fail = errors.New("The mail server refused <b>the address</b>")
	a := c.as(c.owner).Post("/team/red/invite", url.Values{"email": {"nobody@example.com"}, "role": {"member"}})
	want(t, a, http.StatusOK, "It could not be sent: The mail server refused <b>the address</b>. Give them the link yourself.")
	if strings.Contains(a.HTML, "<b>the") {
		t.Error("markup of a mail server")
	}
	if strings.Contains(c.Log.String(), "pginv_") {
		t.Error("a secret is in the log")
	}
	for _, bad := range []string{"max@example.com", "no address", hostileName} {
		if a := c.as(c.owner).Post("/team/red/invite", url.Values{"email": {bad}, "role": {"member"}}); a.StatusCode < 400 || strings.Contains(a.HTML, "<script>alert") {
			t.Errorf("%s: %d", bad, a.StatusCode)
		}
	}
}
