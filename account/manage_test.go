package account_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"podgate/account"
	"podgate/internal/authz"
	"podgate/store"
	"podgate/store/storetest"
)

// crew is a team with somebody of each role, and others who are in none.
type crew struct {
	*world
	storetest.World
	people map[string]store.User
}

func newCrew(t *testing.T) *crew {
	t.Helper()
	c := &crew{world: newWorld(t), people: map[string]store.User{}}
	c.World = storetest.Populate(t, c.db, "owner", c.now())
	c.people["owner"] = c.World.User
	for name, role := range map[string]store.Role{"member": store.RoleMember, "viewer": store.RoleViewer, "stranger": "", "admin": ""} {
		u := store.User{ID: store.UserID(store.NewID()), Email: name + "@example.com", Name: name, Admin: name == "admin"}
		c.must(c.db.CreateUser(u))
		c.people[name] = u
		if role != "" {
			c.must(c.db.PutMember(store.Member{Team: c.World.Team.ID, User: u.ID, Role: role}))
		}
	}
	return c
}

func (c *crew) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// as is somebody as an actor in the team, as it is now.
func (c *crew) as(name string) authz.Actor {
	c.t.Helper()
	team, err := c.db.Team(c.World.Team.ID)
	c.must(err)
	a, err := c.ActorIn(c.people[name], team)
	c.must(err)
	return a
}

func (c *crew) invite(email string, role store.Role) string {
	c.t.Helper()
	secret, _, err := c.Invite(ctx, c.as("owner"), account.NewInvitation{Email: email, Role: role})
	c.must(err)
	return secret
}

// What people may do to a team and the server is refused to everybody else, and to
// every connection, whoever's it is: the product of all methods and people.
func TestWhoManages(t *testing.T) {
	t.Parallel()
	page, policy := store.PageQuery{Limit: 5}, store.Policy{Limits: store.Limits{ReadOnly: true}}
	none := func(_ any, err error) error { return err }
	for name, c := range map[string]struct {
		who string
		do  func(c *crew, a authz.Actor) error
	}{
		"invite": {"owner admin", func(c *crew, a authz.Actor) error {
			_, _, err := c.Invite(ctx, a, account.NewInvitation{Role: store.RoleViewer})
			return err
		}},
		"list invitations": {"owner admin", func(c *crew, a authz.Actor) error { return none(c.Invitations(a)) }},
		"withdraw": {"owner admin", func(c *crew, a authz.Actor) error {
			return none(c.WithdrawInvitation(a, store.HashSecret(c.invite("", store.RoleMember)).String()))
		}},
		"rename":              {"owner admin", func(c *crew, a authz.Actor) error { return c.RenameTeam(ctx, a, "new", "New") }},
		"see members":         {"owner member viewer admin", func(c *crew, a authz.Actor) error { return none(c.MembersOf(a)) }},
		"see use":             {"owner member viewer admin", func(c *crew, a authz.Actor) error { return none(c.TeamUse(a)) }},
		"change a role":       {"owner admin", func(c *crew, a authz.Actor) error { return c.SetRole(ctx, a, c.people["member"].ID, store.RoleOwner) }},
		"take somebody out":   {"owner admin", func(c *crew, a authz.Actor) error { return none(c.EndMembership(ctx, a, c.another().ID)) }},
		"remove":              {"owner admin", func(c *crew, a authz.Actor) error { return none(c.RemoveTeam(ctx, a)) }},
		"change the policy":   {"owner admin", func(c *crew, a authz.Actor) error { return c.SetTeamPolicy(ctx, a, policy) }},
		"see the connections": {"owner admin", func(c *crew, a authz.Actor) error { return none(c.TeamConnections(a, page)) }},
		"change the quota":    {"admin", func(c *crew, a authz.Actor) error { return c.SetTeamQuota(ctx, a, store.Quota{Pods: 1}) }},
		"make a team":         {"admin", func(c *crew, a authz.Actor) error { return none(c.MakeTeam(ctx, a, "other", "", a.User)) }},
		"see everybody":       {"admin", func(c *crew, a authz.Actor) error { return none(c.People(a, page)) }},
		"see all teams":       {"admin", func(c *crew, a authz.Actor) error { return none(c.TeamsPage(a, page)) }},
		"promote":             {"admin", func(c *crew, a authz.Actor) error { return c.SetAdmin(ctx, a, c.people["member"].ID, true) }},
		"see all connections": {"admin", func(c *crew, a authz.Actor) error { return none(c.ServerConnections(a, page)) }},
		"see clients":         {"admin", func(c *crew, a authz.Actor) error { return none(c.Clients(a, page)) }},
		"see blocked clients": {"admin", func(c *crew, a authz.Actor) error { return none(c.BlockedClients(a, page)) }},
		"see a client":        {"admin", func(c *crew, a authz.Actor) error { return none(c.Service.Client(a, c.World.Client.ID)) }},
		"block a client":      {"admin", func(c *crew, a authz.Actor) error { return none(c.BlockClient(ctx, a, c.World.Client.ID)) }},
		"forget a client":     {"admin", func(c *crew, a authz.Actor) error { return none(c.ForgetClient(ctx, a, c.World.Client.ID)) }},
		"name another's":      {"owner admin", func(c *crew, a authz.Actor) error { return none(c.SetNickname(a, c.connection(), "x")) }},
		"limit another's": {"owner admin", func(c *crew, a authz.Actor) error {
			return none(c.LimitFor(a, c.connection(), []store.Scope{"pods:read"}, store.Limits{}))
		}},
		"end another's connection": {"owner admin", func(c *crew, a authz.Actor) error { return none(c.RevokeFor(a, c.connection())) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, who := range []string{"stranger", "viewer", "member", "admin", "owner"} {
				for _, through := range []store.GrantID{"grant", ""} {
					crew := newCrew(t)
					a := crew.as(who)
					a.Grant = through
					err := c.do(crew, a)
					if may := through == "" && slices.Contains(strings.Fields(c.who), who); may != (err == nil) {
						t.Errorf("%s through %q: %v", who, through, err)
					} else if err != nil && !errors.Is(err, account.ErrForbidden) && !errors.Is(err, store.ErrNotFound) {
						t.Errorf("%s through %q: %v", who, through, err)
					}
					crew.must(crew.db.Check())
				}
			}
		})
	}
}

// The limits that people give their own connections nobody else makes wider.
func TestLimitsOfOthersAreNarrowed(t *testing.T) {
	t.Parallel()
	c := newCrew(t)
	id := c.connection()
	whose, err := c.ConnectionFor(c.as("owner"), id)
	c.must(err)
	read, before := []store.Scope{"pods:read"}, store.Limits{ReadOnly: true, Prefix: "web-", MaxPods: 2}
	for _, who := range []string{"owner", "admin"} {
		for limits, want := range map[store.Limits]bool{
			before: true, {ReadOnly: true, Prefix: "web-a", MaxPods: 1}: true,
			{}: false, {Prefix: "web-", MaxPods: 2}: false, {ReadOnly: true, Prefix: "we", MaxPods: 2}: false, {ReadOnly: true, Prefix: "web-", MaxPods: 3}: false, {ReadOnly: true, Prefix: "web-"}: false,
		} {
			c.must(c.Limit(whose.User, id, read, before))
			if _, err := c.LimitFor(c.as(who), id, read, limits); (err == nil) != want || err != nil && !errors.Is(err, account.ErrInvalid) {
				t.Errorf("%s sets %+v: %v", who, limits, err)
			}
		}
	}
	own := authz.OfServer(whose.Owner)
	if _, err := c.LimitFor(own, id, read, store.Limits{}); err != nil {
		t.Errorf("their own: %v", err)
	}
}

// connection makes one of a member of the team who is nobody else here.
func (c *crew) connection() store.GrantID {
	c.t.Helper()
	w := c.World
	w.User = c.another()
	g, _ := w.Connect(c.t, c.db, "pods:read")
	return g.ID
}

func (c *crew) another() store.User {
	c.t.Helper()
	u := store.User{ID: store.UserID(store.NewID()), Email: "another@example.com", Name: "owner"}
	c.must(c.db.CreateUser(u, store.Member{Team: c.World.Team.ID, User: u.ID, Role: store.RoleMember}))
	return u
}

// An owner of one team is nobody in another, whatever the actor says of itself.
func TestManagingIsForOnesOwnTeam(t *testing.T) {
	t.Parallel()
	c := newCrew(t)
	other := storetest.Populate(t, c.db, "other", c.now())
	a, err := c.ActorIn(other.User, other.Team)
	c.must(err)
	secret := c.invite("", store.RoleOwner)
	if _, err := c.WithdrawInvitation(a, store.HashSecret(secret).String()); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("another team's invitation: %v", err)
	}
	if _, err := c.RevokeFor(a, c.connection()); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("another team's connection: %v", err)
	}
	if err := c.SetRole(ctx, a, c.people["viewer"].ID, store.RoleOwner); !errors.Is(err, store.ErrNotMember) {
		t.Errorf("another team's member: %v", err)
	}
}

// Invitations bound to an address are for its account alone, written in any case.
func TestInvitedAddress(t *testing.T) {
	t.Parallel()
	c := newCrew(t)
	secret := c.invite(" Stranger@Example.COM ", store.RoleViewer)
	if i, err := c.Invitation(secret, here); err != nil || i.Email != "stranger@example.com" || i.By.Email != "owner@example.com" || i.By.Password != "" || i.Team.Slug != "owner" {
		t.Errorf("%+v, %v", i, err)
	}
	_, err := c.AcceptInvitation(ctx, secret, c.people["admin"].ID, here)
	wants(t, err, store.ErrMismatch)
	_, _, _, err = c.AcceptInvitationAs(ctx, secret, "eve@example.com", "Eve", password, account.Browser{Addr: here})
	wants(t, err, store.ErrMismatch)
	_, _, _, err = c.AcceptInvitationAs(ctx, secret, "STRANGER@example.com", "Eve", password, account.Browser{Addr: here})
	wants(t, err, store.ErrTaken)
	_, err = c.AcceptInvitation(ctx, secret, c.people["stranger"].ID, here)
	c.must(err)
	_, err = c.AcceptInvitation(ctx, secret, c.people["stranger"].ID, here)
	wants(t, err, store.ErrNotFound)
	if m, err := c.db.Member(c.World.Team.ID, c.people["stranger"].ID); err != nil || m.Role != store.RoleViewer {
		t.Errorf("%+v, %v", m, err)
	}
	_, _, err = c.Invite(ctx, c.as("owner"), account.NewInvitation{Email: "stranger@example.com", Role: store.RoleOwner})
	wants(t, err, store.ErrTaken)
	for _, n := range []account.NewInvitation{{Role: "admin"}, {}, {Email: "nobody", Role: store.RoleViewer}} {
		_, _, err = c.Invite(ctx, c.as("owner"), n)
		wants(t, err, account.ErrInvalid)
	}
}

func wants(t *testing.T, err, want error) {
	t.Helper()
	var said *account.Error
	if !errors.Is(err, want) || !errors.As(err, &said) || said.Message == "" {
		t.Errorf("%v, want %v in words", err, want)
	}
}

// An account that begins with an invitation is signed in and a member, and what is
// wrong with the form leaves no account and the invitation as it was.
func TestAcceptWithANewAccount(t *testing.T) {
	t.Parallel()
	c := newCrew(t)
	secret := c.invite("eve@example.com", store.RoleMember)
	_, _, _, err := c.AcceptInvitationAs(ctx, secret, "eve@example.com", "Eve", "short", account.Browser{Addr: here})
	wants(t, err, account.ErrInvalid)
	session, i, u, err := c.AcceptInvitationAs(ctx, secret, "Eve@example.com", "Eve", password, account.Browser{Addr: here, UserAgent: "Firefox"})
	c.must(err)
	if i.Role != store.RoleMember || u.Email != "eve@example.com" || u.Password != "" || u.Admin {
		t.Errorf("%+v, %+v", i, u)
	}
	if s, of, err := c.Authenticate(session); err != nil || of.ID != u.ID || s.User != u.ID {
		t.Errorf("%+v, %+v, %v", s, of, err)
	}
	if teams, err := c.TeamsOf(u.ID); err != nil || len(teams) != 1 || teams[0].Role != store.RoleMember {
		t.Errorf("%+v, %v", teams, err)
	}
	_, _, _, err = c.AcceptInvitationAs(ctx, secret, "eve2@example.com", "Eve", password, account.Browser{Addr: here})
	wants(t, err, store.ErrNotFound)
	c.must(c.db.Check())
}

// Looks at invitations are limited by address, and a right one is not spent by that.
func TestInvitationsAreNotGuessed(t *testing.T) {
	t.Parallel()
	c := newCrew(t)
	secret := c.invite("", store.RoleMember)
	var err error
	for n := range 40 {
		_, err = c.Invitation(fmt.Sprint("pginv_", n), here)
	}
	wants(t, err, account.ErrTooMany)
	_, _, _, err = c.AcceptInvitationAs(ctx, secret, "eve@example.com", "Eve", password, account.Browser{Addr: here})
	wants(t, err, account.ErrTooMany)
	if _, err := c.Invitation(secret, netip.MustParseAddr("203.0.113.9")); err != nil {
		t.Errorf("from elsewhere: %v", err)
	}
	c.advance(store.InvitationTTL)
	_, err = c.Invitation(secret, here)
	wants(t, err, store.ErrExpired)
}

// Who leaves, is taken out or loses a role leaves a team that somebody owns.
func TestMemberships(t *testing.T) {
	t.Parallel()
	c := newCrew(t)
	owner, viewer := c.people["owner"].ID, c.people["viewer"].ID
	_, err := c.EndMembership(ctx, c.as("owner"), owner)
	wants(t, err, store.ErrLastOwner)
	wants(t, c.SetRole(ctx, c.as("admin"), owner, store.RoleViewer), store.ErrLastOwner)
	wants(t, c.SetRole(ctx, c.as("owner"), viewer, "boss"), account.ErrInvalid)
	_, err = c.EndMembership(ctx, c.as("viewer"), viewer) // whoever wants to leave may
	c.must(err)
	_, err = c.EndMembership(ctx, c.as("owner"), viewer)
	wants(t, err, store.ErrNotMember)
	c.must(c.SetRole(ctx, c.as("owner"), c.people["member"].ID, store.RoleOwner))
	_, err = c.EndMembership(ctx, c.as("owner"), owner)
	c.must(err)
	list, err := c.MembersOf(c.as("member"))
	if err != nil || len(list) != 1 || list[0].User.Email != "member@example.com" || list[0].Role != store.RoleOwner {
		t.Errorf("%+v, %v", list, err)
	}
}

// A policy and a quota are kept in one form, and what makes no sense is refused in
// words.
func TestPolicyAndQuota(t *testing.T) {
	t.Parallel()
	c := newCrew(t)
	for _, p := range []store.Policy{{Scopes: []store.Scope{"pods:all"}}, {Limits: store.Limits{Prefix: "-"}}, {Limits: store.Limits{MaxPods: 5000}}} {
		wants(t, c.SetTeamPolicy(ctx, c.as("owner"), p), account.ErrInvalid)
	}
	c.must(c.SetTeamPolicy(ctx, c.as("owner"), store.Policy{Scopes: []store.Scope{"pods:exec", "pods:read", "pods:exec"}, Limits: store.Limits{Prefix: "Web-"}}))
	if p := c.as("owner").Team.Policy; !slices.Equal(p.Scopes, []store.Scope{"pods:read", "pods:exec"}) || p.Limits.Prefix != "web-" {
		t.Errorf("%+v", p)
	}
	c.must(c.SetTeamPolicy(ctx, c.as("owner"), store.Policy{Scopes: authz.Scopes()}))
	if p := c.as("owner").Team.Policy; !p.IsZero() {
		t.Errorf("%+v", p)
	}
	for _, q := range []store.Quota{{Pods: -1}, {Memory: -1}, {Pods: 1 << 30}} {
		wants(t, c.SetTeamQuota(ctx, c.as("admin"), q), account.ErrInvalid)
	}
	wants(t, c.RenameTeam(ctx, c.as("owner"), "A b", "x"), account.ErrInvalid)
	wants(t, c.SetAdmin(ctx, c.as("admin"), c.people["admin"].ID, false), store.ErrLastAdmin)
}

// A nickname is one line that cannot pose as anything else, and can be taken away.
func TestNicknames(t *testing.T) {
	t.Parallel()
	c := newCrew(t)
	g, _ := c.World.Connect(t, c.db, "pods:read")
	for typed, want := range map[string]string{" my\nlap\u202etop ": "my laptop", "  ": ""} {
		if _, err := c.SetNickname(c.as("owner"), g.ID, typed); err != nil {
			t.Errorf("%q: %v", typed, err)
		}
		if d, err := c.ConnectionFor(c.as("owner"), g.ID); err != nil || d.Nickname != want {
			t.Errorf("%q became %q, %v", typed, d.Nickname, err)
		}
	}
	_, err := c.SetNickname(c.as("owner"), g.ID, strings.Repeat("x", 81))
	wants(t, err, account.ErrInvalid)
	c.advance(365 * 24 * time.Hour)
	_, err = c.SetNickname(c.as("owner"), g.ID, "x")
	wants(t, err, store.ErrNotFound)
}
