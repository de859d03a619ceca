package account

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"podgate/internal/authz"
	"podgate/store"
)

// Here is what people do to their team, and administrators to any. Each method takes
// who does it and checks the table of internal/authz.

// ActorIn returns a user as an actor in a team, with the role that they have there
// now; none is no error, since an administrator need not be in it.
func (s *Service) ActorIn(u store.User, team store.Team) (authz.Actor, error) {
	m, err := s.db.Member(team.ID, u.ID)
	if err != nil && !errors.Is(err, store.ErrNotMember) {
		return authz.Actor{}, err
	}
	return authz.Of(u, team, m.Role), nil
}

// may returns nil when the actor may do something to their team.
func may(by authz.Actor, action authz.Action) error {
	if by.Allow(action, by.Team.ID) != nil {
		return forbidden()
	}
	return nil
}

func forbidden() error {
	return &Error{Message: "You may not do that here. An owner of the team, or an administrator, can.", Err: ErrForbidden}
}

// MakeTeam makes a team whose owner is that user; nobody when owner is empty. Only
// administrators do: ErrForbidden. Otherwise errors of AddTeam, and store.ErrNotFound when
// the owner is gone.
func (s *Service) MakeTeam(ctx context.Context, by authz.Actor, slug, name string, owner store.UserID) (store.Team, error) {
	if err := may(by, authz.Administer); err != nil {
		return store.Team{}, err
	}
	t, err := s.AddTeam(ctx, slug, name)
	if err != nil || owner == "" {
		return t, err
	}
	return t, s.db.PutMember(store.Member{Team: t.ID, User: owner, Role: store.RoleOwner, Created: s.now()})
}

// RenameTeam gives the actor's team another name and short name. ErrForbidden,
// ErrInvalid, store.ErrTaken.
func (s *Service) RenameTeam(ctx context.Context, by authz.Actor, slug, name string) error {
	if err := errors.Join(ctx.Err(), may(by, authz.RenameTeam)); err != nil {
		return err
	}
	if err := CheckSlug(slug); err != nil {
		return err
	}
	name, err := CleanName("name", name)
	if err != nil {
		return err
	}
	return explain(s.db.RenameTeam(by.Team.ID, slug, name), store.ErrTaken, "slug", "There is a team %s already.", slug)
}

// MembersOf returns the members of the actor's team, by address. ErrForbidden.
func (s *Service) MembersOf(by authz.Actor) ([]Member, error) {
	if err := may(by, authz.SeeTeam); err != nil {
		return nil, err
	}
	members, err := s.db.Members(by.Team.ID)
	if err != nil {
		return nil, err
	}
	var list []Member
	for _, m := range members {
		u, err := s.db.User(m.User)
		if errors.Is(err, store.ErrNotFound) {
			continue // gone since
		}
		if err != nil {
			return nil, err
		}
		list = append(list, Member{public(u), m.Role})
	}
	slices.SortFunc(list, func(a, b Member) int { return strings.Compare(a.User.Email, b.User.Email) })
	return list, nil
}

// SetRole gives a member of the actor's team another role. ErrForbidden, ErrInvalid,
// store.ErrNotMember, store.ErrLastOwner.
func (s *Service) SetRole(ctx context.Context, by authz.Actor, user store.UserID, role store.Role) error {
	if err := errors.Join(ctx.Err(), may(by, authz.ChangeMembers)); err != nil {
		return err
	}
	if err := checkRole(role); err != nil {
		return err
	}
	return memberWords(s.db.SetRole(by.Team.ID, user, role))
}

// EndMembership takes a member out of the actor's team and says how many of their
// connections to it ended. ErrForbidden, store.ErrNotMember, store.ErrLastOwner.
func (s *Service) EndMembership(ctx context.Context, by authz.Actor, user store.UserID) (revoked int, err error) {
	action := authz.ChangeMembers
	if user == by.User {
		action = authz.LeaveTeam
	}
	if err := errors.Join(ctx.Err(), may(by, action)); err != nil {
		return 0, err
	}
	revoked, err = s.db.Leave(by.Team.ID, user)
	return revoked, memberWords(err)
}

func memberWords(err error) error {
	err = explain(err, store.ErrNotMember, "", "That person is not in this team any more.")
	return explain(err, store.ErrLastOwner, "", "A team needs an owner. Make somebody else an owner first, or remove the team.")
}

// TeamUse returns what the actor's team has. ErrForbidden.
func (s *Service) TeamUse(by authz.Actor) (store.TeamUse, error) {
	if err := may(by, authz.SeeTeam); err != nil {
		return store.TeamUse{}, err
	}
	return s.db.TeamUse(by.Team.ID)
}

// RemoveTeam removes the actor's team with its memberships, connections and
// invitations, and returns what it had. ErrForbidden; store.ErrHasPods, as its pods are
// deleted by somebody who means it, each by name.
func (s *Service) RemoveTeam(ctx context.Context, by authz.Actor) (use store.TeamUse, err error) {
	if err := errors.Join(ctx.Err(), may(by, authz.RemoveTeam)); err != nil {
		return use, err
	}
	use, err = s.db.RemoveTeam(by.Team.ID)
	if use.Pods > 0 {
		return use, explain(err, store.ErrHasPods, "", "The team has %s. Delete them first: a team is removed only when none is left.", counted(use.Pods, "pod"))
	}
	return use, explain(err, store.ErrHasPods, "", "The team's last pods are still being deleted. Try again in a moment.")
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// SetTeamPolicy changes what the actor's team lets its connections do, from then on
// and for what they are doing. ErrForbidden, ErrInvalid.
func (s *Service) SetTeamPolicy(ctx context.Context, by authz.Actor, p store.Policy) error {
	if err := errors.Join(ctx.Err(), may(by, authz.ChangePolicy)); err != nil {
		return err
	}
	all := authz.Scopes()
	if slices.ContainsFunc(p.Scopes, func(scope store.Scope) bool { return !slices.Contains(all, scope) }) {
		return invalid("scope", "That is not a right that there is.")
	}
	limits, err := authz.FieldsOf(p.Limits).Parse()
	if err != nil {
		return invalid("limits", "%s", limitWords(err))
	}
	p.Limits = limits
	// In the order of Scopes, each once; all of them is the same as none named.
	p.Scopes = slices.DeleteFunc(all, func(scope store.Scope) bool { return !slices.Contains(p.Scopes, scope) })
	if len(p.Scopes) == len(authz.Scopes()) {
		p.Scopes = nil
	}
	return s.db.SetTeamPolicy(by.Team.ID, p)
}

func limitWords(err error) string {
	var fault *authz.FieldFault
	if errors.As(err, &fault) {
		return fault.Message
	}
	return err.Error()
}

// maxQuotaPods and maxQuotaMemory are far above what a machine has.
const (
	maxQuotaPods   = 10_000
	maxQuotaMemory = 1 << 50
)

// SetTeamQuota gives the actor's team a quota in place of the one of the settings; the
// zero Quota takes it back. Only administrators do: ErrForbidden. ErrInvalid.
func (s *Service) SetTeamQuota(ctx context.Context, by authz.Actor, q store.Quota) error {
	if err := errors.Join(ctx.Err(), may(by, authz.Administer)); err != nil {
		return err
	}
	switch {
	case q.Pods < 0 || q.Pods > maxQuotaPods:
		return invalid("pods", "The number of pods must be from 1 to %d. Leave it empty for what the settings say.", maxQuotaPods)
	case q.Memory < 0 || q.Memory > maxQuotaMemory:
		return invalid("memory", "The memory must be more than 0. Leave it empty for what the settings say.")
	}
	return s.db.SetTeamQuota(by.Team.ID, q)
}

// People returns a page of everybody, by address. Only for administrators:
// ErrForbidden. store.ErrCursor.
func (s *Service) People(by authz.Actor, q store.PageQuery) (store.Page[store.User], error) {
	if err := may(by, authz.Administer); err != nil {
		return store.Page[store.User]{}, err
	}
	page, err := s.db.UsersPage(q)
	for i := range page.List {
		page.List[i] = public(page.List[i])
	}
	return page, err
}

// TeamsPage returns a page of all teams, by short name, with what they have. Only for
// administrators: ErrForbidden. store.ErrCursor.
func (s *Service) TeamsPage(by authz.Actor, q store.PageQuery) (store.Page[store.TeamWithUse], error) {
	if err := may(by, authz.Administer); err != nil {
		return store.Page[store.TeamWithUse]{}, err
	}
	return s.db.TeamsPage(q)
}

// MakeAdmin makes a user an administrator, by one in a browser, who types the own
// password for it: whoever finds that browser open cannot stay for good. Errors as of
// SignIn, ErrForbidden and store.ErrNotFound.
func (s *Service) MakeAdmin(ctx context.Context, by store.Session, own string, user store.UserID, addr netip.Addr) error {
	admin, err := s.checkedAdmin(ctx, by, own, addr)
	if err != nil {
		return err
	}
	return s.SetAdmin(ctx, authz.OfServer(admin), user, true)
}

// SetAdmin makes a user an administrator or takes that away. ErrForbidden,
// store.ErrNotFound, store.ErrLastAdmin.
func (s *Service) SetAdmin(ctx context.Context, by authz.Actor, user store.UserID, admin bool) error {
	if err := errors.Join(ctx.Err(), may(by, authz.Administer)); err != nil {
		return err
	}
	err := explain(s.db.SetAdmin(user, admin), store.ErrNotFound, "", "That account is gone.")
	return explain(err, store.ErrLastAdmin, "", "A server needs an administrator. Make somebody else one first.")
}
