package account

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"podgate/internal/authz"
	"podgate/internal/ratelimit"
	"podgate/store"
)

// NewInvitation is an invitation to make.
type NewInvitation struct {
	Email string // the only account that may accept; empty: any
	Role  store.Role
}

// Invite makes an invitation to the actor's team and returns its secret, which the
// caller puts behind /invitation?token= and which is kept nowhere else. It works once,
// for store.InvitationTTL, as long as who made it may invite. ErrForbidden; ErrInvalid;
// store.ErrTaken when the address is a member's; store.ErrFull.
func (s *Service) Invite(ctx context.Context, by authz.Actor, n NewInvitation) (secret string, i store.Invitation, err error) {
	if err := errors.Join(ctx.Err(), may(by, authz.ChangeMembers)); err != nil {
		return "", i, err
	}
	if err := checkRole(n.Role); err != nil {
		return "", i, err
	}
	if n.Email != "" {
		if n.Email, err = NormalizeEmail(n.Email); err != nil {
			return "", i, err
		}
		if err := s.notMember(by.Team, n.Email); err != nil {
			return "", i, err
		}
	}
	secret, now := newSecret(invitationPrefix), s.now()
	i = store.Invitation{
		Hash: store.HashSecret(secret), Team: by.Team.ID, Role: n.Role, Email: n.Email, By: by.By(), Created: now, Expires: now.Add(store.InvitationTTL),
	}
	err = s.db.CreateInvitation(i)
	if errors.Is(err, store.ErrNotMember) {
		return "", i, forbidden()
	}
	return secret, i, explain(err, store.ErrFull, "email", "There are %d invitations that wait already. Withdraw some first.", store.MaxInvitations)
}

func checkRole(r store.Role) error {
	if slices.Contains(Roles(), r) {
		return nil
	}
	return invalid("role", "Choose a role: owner, member or viewer.")
}

// Roles returns the roles there are, the one that may do most first.
func Roles() []store.Role { return []store.Role{store.RoleOwner, store.RoleMember, store.RoleViewer} }

func (s *Service) notMember(t store.Team, email string) error {
	u, err := s.db.UserByEmail(email)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	switch _, err := s.db.Member(t.ID, u.ID); {
	case errors.Is(err, store.ErrNotMember):
		return nil
	case err != nil:
		return err
	}
	return &Error{Message: email + " is a member of this team already.", Field: "email", Err: store.ErrTaken}
}

// Invitations returns those of the actor's team that wait, the newest first.
// ErrForbidden.
func (s *Service) Invitations(by authz.Actor) ([]store.Invited, error) {
	if err := may(by, authz.ChangeMembers); err != nil {
		return nil, err
	}
	list, err := s.db.InvitationsOf(by.Team.ID, s.now())
	for i := range list {
		list[i].By = public(list[i].By)
	}
	return list, err
}

// WithdrawInvitation ends an invitation of the actor's team, of which id is the hash
// as text, and returns it. ErrForbidden; store.ErrNotFound.
func (s *Service) WithdrawInvitation(by authz.Actor, id string) (i store.Invitation, err error) {
	if err := may(by, authz.ChangeMembers); err != nil {
		return i, err
	}
	var hash store.Hash
	err = store.ErrNotFound
	if hash.UnmarshalText([]byte(id)) == nil {
		i, err = s.db.WithdrawInvitation(by.Team.ID, hash)
	}
	return i, explain(err, store.ErrNotFound, "", "That invitation is not there any more: it was accepted, withdrawn or is too old.")
}

// newInvitationLimit is for looks at invitations. A secret has 256 bits, so what is
// kept from is not a right guess but the load of guessing.
func newInvitationLimit() *ratelimit.Limiter {
	return ratelimit.New(30, 2*time.Second, 300, 50*time.Millisecond)
}

// Invitation returns what an invitation is to, for whoever has its secret and comes
// from that address. store.ErrNotFound and store.ErrExpired when it cannot be accepted;
// ErrTooMany.
func (s *Service) Invitation(secret string, from netip.Addr) (store.Invited, error) {
	if wait, ok := s.invitations.Allow(ratelimit.AddrKey(from), s.now()); !ok {
		return store.Invited{}, &Error{Message: "Too many invitations were looked at from this address. Wait a little and try again.", Wait: wait, Err: ErrTooMany}
	}
	i, err := s.db.Invitation(store.HashSecret(secret), s.now())
	i.By = public(i.By)
	return i, invitationWords(err, i)
}

func invitationWords(err error, i store.Invited) error {
	const again = " Ask an owner of the team for a new one."
	switch {
	case errors.Is(err, store.ErrExpired):
		return &Error{Message: "This invitation is more than 7 days old." + again, Err: err}
	case errors.Is(err, store.ErrNotFound):
		return &Error{Message: "This invitation is not valid: it was used or withdrawn, or who made it may not invite any more." + again, Err: err}
	case errors.Is(err, store.ErrMismatch):
		return &Error{Message: "This invitation is for another e-mail address. Sign in with the account that has it.", Field: "email", Err: err}
	case errors.Is(err, store.ErrTaken):
		return &Error{Message: "You are a member of this team already. The invitation can still be used by somebody else.", Err: err}
	}
	return err
}

// AcceptInvitation makes a signed-in user a member, and spends the invitation. Errors
// of Invitation; store.ErrMismatch when it is for another address; store.ErrTaken
// when they are a member.
func (s *Service) AcceptInvitation(ctx context.Context, secret string, user store.UserID, from netip.Addr) (store.Invited, error) {
	i, err := s.Invitation(secret, from)
	if err := errors.Join(ctx.Err(), err); err != nil {
		return i, err
	}
	i, err = s.db.AcceptInvitation(store.HashSecret(secret), user, s.now())
	i.By = public(i.By)
	return i, invitationWords(err, i)
}

// AcceptInvitationAs makes an account that is a member, begins a session, and spends
// the invitation: all of it or nothing. It returns the session's secret. Errors of
// Invitation; ErrInvalid; ErrBusy; store.ErrMismatch when the invitation is for another
// address; store.ErrTaken when the address has an account. Bad input leaves the
// invitation usable.
func (s *Service) AcceptInvitationAs(ctx context.Context, secret, email, name, password string, b Browser) (session string, i store.Invited, u store.User, err error) {
	// First, so that a stranger cannot make the server hash passwords.
	if i, err = s.Invitation(secret, b.Addr); err != nil {
		return "", i, u, err
	}
	normal, err := NormalizeEmail(email)
	switch {
	case err != nil:
		return "", i, u, err
	case i.Email != "" && i.Email != normal:
		return "", i, u, invitationWords(&store.MismatchError{Field: "email"}, i)
	}
	if _, err := s.db.UserByEmail(normal); err == nil {
		return "", i, u, accountThere(normal)
	}
	if u, err = s.newUser(ctx, AddUser{Email: email, Name: name, Password: password}); err != nil {
		return "", i, u, err
	}
	session, record := s.newSession(u.ID, b.Addr, b.UserAgent)
	accepted, err := s.db.AcceptInvitationWith(store.HashSecret(secret), u, record, s.now())
	switch {
	case errors.Is(err, store.ErrTaken):
		return "", i, store.User{}, accountThere(u.Email)
	case err != nil:
		return "", i, store.User{}, invitationWords(err, i)
	}
	s.addresses.note(b.Addr, record.Created)
	accepted.By = public(accepted.By)
	return session, accepted, public(u), nil
}

func accountThere(email string) error {
	return &Error{Message: "There is an account with the address " + email + " already. Sign in with it to accept.", Field: "email", Err: store.ErrTaken}
}
