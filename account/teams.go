package account

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"podgate/internal/text"
	"podgate/store"
)

// Team is a team with its members, by address.
type Team struct {
	store.Team
	Members []Member
}

// Member is a person in a team.
type Member struct {
	User store.User
	Role store.Role
}

// AddTeam makes a team without members. name may be empty: the slug serves.
// ErrInvalid; store.ErrTaken when the slug is in use.
func (s *Service) AddTeam(ctx context.Context, slug, name string) (store.Team, error) {
	if err := ctx.Err(); err != nil {
		return store.Team{}, err
	}
	if err := CheckSlug(slug); err != nil {
		return store.Team{}, err
	}
	name, err := CleanName("name", cmp.Or(strings.TrimSpace(name), slug))
	if err != nil {
		return store.Team{}, err
	}
	t := store.Team{ID: store.TeamID(store.NewID()), Slug: slug, Name: name, Created: s.now()}
	return t, explain(s.db.CreateTeam(t), store.ErrTaken, "slug", "There is a team %s already.", slug)
}

// Teams returns every team with its members, by slug.
func (s *Service) Teams() ([]Team, error) {
	teams, err := s.db.Teams()
	if err != nil {
		return nil, err
	}
	users, err := s.Users()
	if err != nil {
		return nil, err
	}
	list := make([]Team, 0, len(teams))
	for _, t := range teams {
		members, err := s.db.Members(t.ID)
		if err != nil {
			return nil, err
		}
		list = append(list, Team{t, withUsers(members, users)})
	}
	slices.SortFunc(list, func(a, b Team) int { return strings.Compare(a.Slug, b.Slug) })
	return list, nil
}

// withUsers keeps the order of users. A member who was removed between the two
// reads is left out.
func withUsers(members []store.Member, users []store.User) []Member {
	roles := map[store.UserID]store.Role{}
	for _, m := range members {
		roles[m.User] = m.Role
	}
	var list []Member
	for _, u := range users {
		if role, ok := roles[u.ID]; ok {
			list = append(list, Member{u, role})
		}
	}
	return list
}

// TeamsOf returns the teams of a user with the role held in each, by name.
func (s *Service) TeamsOf(user store.UserID) ([]store.Membership, error) {
	list, err := s.db.TeamsOf(user)
	slices.SortFunc(list, func(a, b store.Membership) int {
		return cmp.Or(strings.Compare(a.Team.Name, b.Team.Name), strings.Compare(a.Team.Slug, b.Team.Slug))
	})
	return list, err
}

// TeamBySlug returns the team with that short name, or store.ErrNotFound.
func (s *Service) TeamBySlug(slug string) (store.Team, error) {
	t, err := s.db.TeamBySlug(slug)
	return t, explain(err, store.ErrNotFound, "slug", "There is no team %q. «podgate team list» shows the teams.", text.Short(slug, maxEcho))
}

// AddMember puts somebody into a team, or changes the role of a member.
// store.ErrNotFound when there is no such team or account; store.ErrLastOwner.
func (s *Service) AddMember(ctx context.Context, slug, email string, owner bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	t, u, err := s.teamAndUser(slug, email)
	if err != nil {
		return err
	}
	role := store.RoleMember
	if owner {
		role = store.RoleOwner
	}
	return memberWords(s.db.PutMember(store.Member{Team: t.ID, User: u.ID, Role: role, Created: s.now()}))
}

// RemoveMember takes somebody out of a team and says how many of their
// connections to it ended with that. store.ErrNotFound when there is no such
// team or account, store.ErrNotMember when they are not in it.
func (s *Service) RemoveMember(ctx context.Context, slug, email string) (revoked int, err error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	t, u, err := s.teamAndUser(slug, email)
	if err != nil {
		return 0, err
	}
	revoked, err = s.db.RemoveMember(t.ID, u.ID)
	return revoked, explain(err, store.ErrNotMember, "email", "%s is not a member of %s.", u.Email, t.Slug)
}

func (s *Service) teamAndUser(slug, email string) (t store.Team, u store.User, err error) {
	if t, err = s.TeamBySlug(slug); err != nil {
		return t, u, err
	}
	u, err = s.userByEmail(email)
	return t, u, err
}

// Connection is a connection with the team it is for.
type Connection struct {
	store.Grant
	Team store.Team
}

// Connections returns the live connections of a user, the most recently used
// first.
func (s *Service) Connections(user store.UserID) ([]Connection, error) {
	grants, err := s.db.Grants(user, s.now())
	if err != nil {
		return nil, err
	}
	list := make([]Connection, 0, len(grants))
	for _, g := range grants {
		t, err := s.db.Team(g.Team)
		if err != nil {
			return nil, err
		}
		list = append(list, Connection{g, t})
	}
	slices.SortFunc(list, func(a, b Connection) int { return b.LastUsed.Compare(a.LastUsed) })
	return list, nil
}

// Revoke ends one connection of that user. store.ErrNotFound for an unknown
// one and, in the same words, for somebody else's.
func (s *Service) Revoke(user store.UserID, id store.GrantID) error {
	return explain(s.db.RevokeGrant(id, user), store.ErrNotFound, "", "That connection has ended already.")
}

// Connection returns one live connection of that user. store.ErrNotFound for an
// unknown one and, in the same words, for somebody else's.
func (s *Service) Connection(user store.UserID, id store.GrantID) (Connection, error) {
	g, err := s.db.GrantOf(id, user, s.now())
	if err != nil {
		return Connection{}, explain(err, store.ErrNotFound, "", noConnection)
	}
	t, err := s.db.Team(g.Team)
	return Connection{g, t}, explain(err, store.ErrNotFound, "", noConnection)
}

const noConnection = "There is no such connection here. It may have ended; the page of connections shows those there are."

// Limit gives one connection of that user other limits and takes away the
// scopes that are not in scopes, from then on. ErrInvalid when no scope
// is left or one would be added, otherwise errors as of Connection.
func (s *Service) Limit(user store.UserID, id store.GrantID, scopes []store.Scope, limits store.Limits) error {
	if len(scopes) == 0 {
		return invalid("scope", "Leave at least one thing ticked, or revoke the connection.")
	}
	g, err := s.db.LimitGrant(id, user, scopes, limits, s.now())
	switch {
	case errors.Is(err, store.ErrMismatch):
		return invalid("scope", "Rights can only be taken away here. To give more, connect again from the assistant.")
	case err != nil:
		return explain(err, store.ErrNotFound, "", noConnection)
	}
	s.log.Info("connection limited by the user", "connection", g.ID, "client", g.Client, "user", g.User, "team", g.Team, "scopes", g.Scopes, "limits", g.Limits)
	return nil
}
