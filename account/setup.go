package account

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"podgate/store"
)

// SetupTTL is how long a setup link works.
const SetupTTL = 30 * time.Minute

// NeedsSetup reports whether there is no administrator yet.
func (s *Service) NeedsSetup() (bool, error) {
	has, err := s.db.HasAdmin()
	return !has, err
}

// SetupLink returns the token of a fresh setup link, which the caller puts
// behind /setup?token=. It works once, for SetupTTL, and any earlier one no
// longer does. store.ErrSetUp when there is an administrator.
func (s *Service) SetupLink(ctx context.Context) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	token := newSecret(setupPrefix)
	err := s.db.PutSetup(store.Setup{Hash: store.HashSecret(token), Expires: s.now().Add(SetupTTL)})
	return token, setupWords(err)
}

// CheckSetup returns nil while the token would be accepted by CompleteSetup.
// store.ErrSetUp, store.ErrExpired or store.ErrNotFound otherwise.
func (s *Service) CheckSetup(token string) error {
	return setupWords(s.db.CheckSetup(store.HashSecret(token), s.now()))
}

func setupWords(err error) error {
	const again = " Run «podgate setup-link» on the server to get a new one."
	switch {
	case errors.Is(err, store.ErrSetUp):
		return &Error{Message: "This server is set up already. Sign in, or ask an administrator for an account.", Err: err}
	case errors.Is(err, store.ErrExpired):
		return &Error{Message: "This setup link is more than 30 minutes old." + again, Err: err}
	case errors.Is(err, store.ErrNotFound):
		return &Error{Message: "This setup link is not valid: it was used, or a newer one has replaced it." + again, Err: err}
	}
	return err
}

// CompleteSetup spends the token and makes the first administrator, the first
// team, owned by them, and a session, all or nothing. It returns the session's
// secret. Errors of CheckSetup, ErrInvalid, ErrBusy. Bad input leaves the link
// usable.
func (s *Service) CompleteSetup(ctx context.Context, token, email, name, password, teamName, userAgent string) (string, error) {
	// First, so that a stranger cannot make the server hash passwords.
	if err := s.CheckSetup(token); err != nil {
		return "", err
	}
	u, err := s.newUser(ctx, AddUser{Email: email, Name: name, Password: password, Admin: true})
	if err != nil {
		return "", err
	}
	team, err := s.firstTeam(teamName)
	if err != nil {
		return "", err
	}
	// The address is not known here; the next sign-in makes it known.
	secret, session := s.newSession(u.ID, netip.Addr{}, userAgent)
	err = s.db.CompleteSetup(store.HashSecret(token), u, team, session, s.now())
	if errors.Is(err, store.ErrTaken) {
		return "", &Error{Message: "There is an account with that address already. Use another address.", Field: "email", Err: err}
	}
	if err != nil {
		return "", setupWords(err)
	}
	return secret, nil
}

// firstTeam makes a slug from the name, because somebody who sets a server up
// should not have to think of two names. Teams that commands made before may
// have taken it.
func (s *Service) firstTeam(name string) (store.Team, error) {
	name, err := CleanName("team", name)
	if err != nil {
		return store.Team{}, err
	}
	base := SlugOf(name)
	for n := 1; ; n++ {
		slug := base
		if n > 1 {
			slug = fmt.Sprintf("%s-%d", base, n)
		}
		if _, err := s.db.TeamBySlug(slug); errors.Is(err, store.ErrNotFound) {
			return store.Team{ID: store.TeamID(store.NewID()), Slug: slug, Name: name, Created: s.now()}, nil
		} else if err != nil {
			return store.Team{}, err
		}
	}
}
