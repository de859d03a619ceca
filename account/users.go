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

// AddUser is a person to add.
type AddUser struct {
	Email    string
	Name     string // empty: the part of the address before the @
	Password string
	Admin    bool
	Teams    []string // slugs; the person becomes a member, not an owner
}

// AddUser adds a person. ErrInvalid; store.ErrTaken when the address has an
// account; store.ErrNotFound, naming it, when there is no such team; ErrBusy.
func (s *Service) AddUser(ctx context.Context, a AddUser) (store.User, error) {
	memberships, err := s.memberships(a.Teams)
	if err != nil {
		return store.User{}, err
	}
	if email, err := NormalizeEmail(a.Email); err == nil {
		// Before the slow hash; CreateUser has the last word.
		if _, err := s.db.UserByEmail(email); err == nil {
			return store.User{}, addressTaken(email, store.ErrTaken)
		}
	}
	u, err := s.newUser(ctx, a)
	if err != nil {
		return store.User{}, err
	}
	for i := range memberships {
		memberships[i].User = u.ID
	}
	if err := s.db.CreateUser(u, memberships...); err != nil {
		return store.User{}, addressTaken(u.Email, err)
	}
	return public(u), nil
}

func addressTaken(email string, err error) error {
	return explain(err, store.ErrTaken, "email", "There is an account with the address %s already.", email)
}

// newUser checks and hashes, and stores nothing.
func (s *Service) newUser(ctx context.Context, a AddUser) (store.User, error) {
	email, err := NormalizeEmail(a.Email)
	if err != nil {
		return store.User{}, err
	}
	if strings.TrimSpace(a.Name) == "" {
		a.Name, _, _ = strings.Cut(email, "@")
	}
	name, err := CleanName("name", a.Name)
	if err != nil {
		return store.User{}, err
	}
	phc, err := s.hashPassword(ctx, a.Password, email, name)
	if err != nil {
		return store.User{}, err
	}
	return store.User{ID: store.UserID(store.NewID()), Email: email, Name: name, Password: phc, Admin: a.Admin, Created: s.now()}, nil
}

// memberships looks the slugs up; the user is filled in later.
func (s *Service) memberships(slugs []string) ([]store.Member, error) {
	var list []store.Member
	for _, slug := range slugs {
		team, err := s.TeamBySlug(slug)
		if err != nil {
			return nil, err
		}
		list = append(list, store.Member{Team: team.ID, Role: store.RoleMember, Created: s.now()})
	}
	return list, nil
}

// Users returns everybody, by address.
func (s *Service) Users() ([]store.User, error) {
	list, err := s.db.Users()
	if err != nil {
		return nil, err
	}
	for i := range list {
		list[i] = public(list[i])
	}
	slices.SortFunc(list, func(a, b store.User) int { return strings.Compare(a.Email, b.Email) })
	return list, nil
}

// UserByEmail returns the account with an address as somebody typed it.
// store.ErrNotFound with words.
func (s *Service) UserByEmail(email string) (store.User, error) {
	u, err := s.userByEmail(email)
	return public(u), err
}

// userByEmail returns the user; store.ErrNotFound with words.
func (s *Service) userByEmail(email string) (store.User, error) {
	normal, err := NormalizeEmail(email)
	if err != nil {
		return store.User{}, err
	}
	u, err := s.db.UserByEmail(normal)
	return u, explain(err, store.ErrNotFound, "email", "There is no account with the address %s.", normal)
}

// Whose returns the account with an address as somebody typed it; false when
// there is none. It is for records, not for answers: strangers must not learn
// who has an account.
func (s *Service) Whose(email string) (store.User, bool) {
	u, err := s.userByEmail(email)
	return public(u), err == nil
}

// SetPassword gives somebody a new password without asking for the old one,
// for commands, and ends all their sessions, connections and passkeys: a password is
// replaced this way when it was lost or stolen.
func (s *Service) SetPassword(ctx context.Context, email, password string) error {
	u, err := s.userByEmail(email)
	if err != nil {
		return err
	}
	phc, err := s.hashPassword(ctx, password, u.Email, u.Name)
	if err != nil {
		return err
	}
	if _, _, err := s.db.ResetPassword(u.ID, phc); err != nil {
		return fmt.Errorf("set the password of %s: %w", u.Email, err)
	}
	return nil
}

// SetPasswordOf is SetPassword by an administrator in a browser, who types the own
// password for it: whoever finds that browser open cannot take over every account.
// Errors as of SignIn, ErrForbidden and ErrInvalid.
func (s *Service) SetPasswordOf(ctx context.Context, by store.Session, own, email, password string, addr netip.Addr) error {
	u, err := s.userByEmail(email)
	if err != nil {
		return err
	}
	if err := checkPassword(password, u.Email, u.Name); err != nil {
		return err
	}
	if _, err := s.checkedAdmin(ctx, by, own, addr); err != nil {
		return err
	}
	return s.SetPassword(ctx, email, password)
}

// checkedAdmin returns the administrator of a session, who has typed their own password
// for what comes. Errors as of SignIn, ErrForbidden.
func (s *Service) checkedAdmin(ctx context.Context, by store.Session, own string, addr netip.Addr) (store.User, error) {
	admin, err := s.administrator(by)
	if err == nil {
		err = s.checkOwnPassword(ctx, admin, own, by.Hash, addr)
	}
	if err != nil {
		return store.User{}, err
	}
	return s.administrator(by) // the check takes a while, in which it can be taken away
}

func (s *Service) administrator(of store.Session) (store.User, error) {
	u, err := s.db.User(of.User)
	if err == nil {
		err = may(authz.OfServer(u), authz.Administer)
	}
	return u, err
}

// OnlyOwnerOf returns the teams that nobody else owns, by name: who manages them when
// the account is gone?
func (s *Service) OnlyOwnerOf(user store.UserID) ([]store.Team, error) {
	teams, err := s.TeamsOf(user)
	if err != nil {
		return nil, err
	}
	var list []store.Team
	for _, m := range teams {
		if m.Role != store.RoleOwner {
			continue
		}
		members, err := s.db.Members(m.Team.ID)
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(members, func(o store.Member) bool { return o.Role == store.RoleOwner && o.User != user }) {
			list = append(list, m.Team)
		}
	}
	return list, nil
}

// RemoveUser removes somebody with every session, membership and connection.
// store.ErrNotFound; store.ErrLastAdmin when nobody could administer podgate
// afterwards.
func (s *Service) RemoveUser(ctx context.Context, email string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	u, err := s.userByEmail(email)
	if err != nil {
		return err
	}
	err = s.db.DeleteUser(u.ID)
	if errors.Is(err, store.ErrNotFound) {
		return explain(err, store.ErrNotFound, "email", "There is no account with the address %s.", u.Email)
	}
	return explain(err, store.ErrLastAdmin, "email", "%s is the only administrator. Add another administrator first (podgate user add EMAIL --admin).", u.Email)
}
