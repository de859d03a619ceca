package account

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"podgate/internal/ratelimit"
	"podgate/internal/text"
	"podgate/internal/trace"
	"podgate/store"
)

// maxUserAgent is how many bytes of a User-Agent a session keeps: enough to
// tell a person which browser it was.
const maxUserAgent = 200

// Browser is where a sign-in comes from.
type Browser struct {
	Addr      netip.Addr
	UserAgent string
	Device    string // what Device gave it, if it has any
}

// SignIn checks an address and a password and begins a session. It returns the
// session's secret, which goes into the cookie and is kept nowhere else, and
// the user. The secret is fresh at every call.
//
// Errors: ErrCredentials, with the same words whether the account, the
// password or both are wrong; ErrTooMany and ErrBusy with a time to wait; the
// context's error.
//
// Failures are limited, successes never are. The rule:
//
//  1. A device of the account has 10 failures at once, then one a minute. As long
//     as it has some, nothing else is asked.
//  2. One account from one address (an IPv6 /64 counts as one): 10 failures at
//     once, then one a minute.
//  3. One address, all accounts: 60 failures at once, then one every 5 s. One
//     IPv6 /48 or IPv4 /24: 180, then one every 2 s. One IPv6 /32: 600, then two
//     a second.
//  4. One account, all addresses: 100 failures at once, then one a minute.
//     Beyond that nobody is refused, but each address has 3 failures of its own
//     with that account, then one in 15 minutes; but for addresses at which
//     somebody has signed in, for whichever account.
//
// So whoever guesses at an account, from however many addresses, cannot keep its
// owner out: the owner's first tries are always looked at, in a browser that they
// used before from anywhere, and in a new one from an address that no flood comes
// from.
//
// Passwords are checked a few at a time. Devices, and addresses at which somebody
// has signed in, wait in another line than strangers, of whose line no network has
// more than half.
//
// An attempt that is refused here is not checked at all, so a refusal says
// nothing about the password. Nor does it say anything about the account: but for
// a device, which only its owner has, every limit and every place is the same for
// one that does not exist.
func (s *Service) SignIn(ctx context.Context, email, password string, b Browser) (string, store.User, error) {
	for range 2 {
		u, err := s.checkCredentials(ctx, email, password, b)
		if err != nil {
			return "", store.User{}, err
		}
		secret, session := s.newSession(u.ID, b.Addr, b.UserAgent)
		err = trace.Run(ctx, "store create_session", func() error { return s.db.CreateSessionWith(session, u.Password) })
		if err == nil {
			s.addresses.note(b.Addr, session.Created)
			return secret, public(u), nil
		}
		// The account changed while the password was checked. Another sign-in
		// may just have hashed the same password anew, so look once more.
		if !errors.Is(err, store.ErrMismatch) && !errors.Is(err, store.ErrNotFound) {
			return "", store.User{}, fmt.Errorf("begin a session: %w", err)
		}
	}
	return "", store.User{}, wrongCredentials()
}

// checkCredentials is SignIn up to the session. An input that no account could
// have is refused at once, with the words of every other refusal.
func (s *Service) checkCredentials(ctx context.Context, email, password string, b Browser) (store.User, error) {
	email, err := NormalizeEmail(email)
	if err != nil || password == "" || len(password) > MaxPassword {
		return store.User{}, wrongCredentials()
	}
	u, err := s.db.UserByEmail(email)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return store.User{}, fmt.Errorf("look for the account: %w", err)
	}
	known, err := s.addresses.has(s.db, b.Addr, s.now())
	if err != nil {
		return store.User{}, err
	}
	a := attempt{account: email, addr: b.Addr, device: knownDevice(u, b.Device, s.now()), known: known}
	return s.checkPasswordOf(ctx, u, password, a)
}

// checkPasswordOf checks the password of an attempt, if there may be another one.
func (s *Service) checkPasswordOf(ctx context.Context, u store.User, password string, a attempt) (store.User, error) {
	got, wait := s.throttle.take(a, s.now())
	if wait > 0 {
		return store.User{}, tooMany(wait)
	}
	right, err := s.verify(ctx, &u, password, a.place(got))
	if right || err != nil {
		s.throttle.giveBack(got, s.now())
	}
	switch {
	case err != nil:
		return store.User{}, err
	case !right:
		return store.User{}, wrongCredentials()
	}
	return u, nil
}

// place is where the attempt waits for a check of its password.
func (a attempt) place(got taken) place {
	networks := ratelimit.Networks(a.addr)
	switch widest := networks[len(networks)-1]; {
	case got.device:
		return place{"account " + a.account, widest}
	case a.known:
		return place{"address " + networks[0], widest}
	default:
		return place{network: widest}
	}
}

func (s *Service) newSession(user store.UserID, addr netip.Addr, userAgent string) (secret string, session store.Session) {
	secret, now := newSecret(sessionPrefix), s.now()
	session = store.Session{
		Hash: store.HashSecret(secret), User: user, UserAgent: text.Field(userAgent, maxUserAgent),
		Created: now, LastUsed: now, Expires: now.Add(store.SessionTTL),
	}
	if addr.IsValid() {
		session.Addr = addr.Unmap().String()
	}
	return secret, session
}

func wrongCredentials() error {
	return &Error{Message: "That address and password do not belong together. Check both and try again.", Err: ErrCredentials}
}

func tooMany(wait time.Duration) error {
	return &Error{
		Message: "Too many sign-ins have failed. Wait " + inWords(wait) + " and try again.",
		Wait:    wait, Err: ErrTooMany,
	}
}

// inWords rounds up to whole seconds, or whole minutes from two minutes on.
func inWords(d time.Duration) string {
	if d > 2*time.Minute {
		return fmt.Sprintf("%d minutes", (d+time.Minute-1)/time.Minute)
	}
	if n := (d + time.Second - 1) / time.Second; n > 1 {
		return fmt.Sprintf("%d seconds", n)
	}
	return "a second"
}

// Authenticate returns the live session of a secret, and its user, and moves
// the session's end off. ErrNotFound or ErrExpired of the
// store when there is none.
func (s *Service) Authenticate(secret string) (store.Session, store.User, error) {
	now := s.now()
	session, u, err := s.look(secret, now)
	if err != nil {
		return store.Session{}, store.User{}, err
	}
	s.db.NoteSessionUse(session.Hash, now)
	session.Use(now)
	return session, public(u), nil
}

// CheckSession returns the error that Authenticate would, and counts as no use: what
// goes on by itself does not put the end of its session off.
func (s *Service) CheckSession(secret string) error {
	_, _, err := s.look(secret, s.now())
	return err
}

func (s *Service) look(secret string, now time.Time) (store.Session, store.User, error) {
	if !strings.HasPrefix(secret, sessionPrefix) {
		return store.Session{}, store.User{}, store.ErrNotFound
	}
	return s.db.Session(store.HashSecret(secret), now)
}

// OnLossOf has fn called after each commit that ends one of the user's sessions or
// memberships, changes their role, or ends the account; see [store.DB.OnLossOf].
func (s *Service) OnLossOf(user store.UserID, fn func()) (stop func()) {
	return s.db.OnLossOf(user, fn)
}

// SignOut ends the session of a secret; nil when there is none.
func (s *Service) SignOut(secret string) error {
	if secret == "" {
		return nil
	}
	return s.db.DeleteSession(store.HashSecret(secret))
}

// Sessions returns the user's live sessions, the most recently used first.
func (s *Service) Sessions(user store.UserID) ([]store.Session, error) {
	list, err := s.db.Sessions(user, s.now())
	slices.SortFunc(list, func(a, b store.Session) int { return b.LastUsed.Compare(a.LastUsed) })
	return list, err
}

// EndSession ends one session of that user. store.ErrNotFound for an unknown
// one and, in the same words, for somebody else's.
func (s *Service) EndSession(user store.UserID, session store.Hash) error {
	list, err := s.db.Sessions(user, s.now())
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(list, func(x store.Session) bool { return x.Hash == session }) {
		return &Error{Message: "That session has ended already.", Err: store.ErrNotFound}
	}
	return s.db.DeleteSession(session)
}

// LogOutEverywhere ends every session and every connection of the user, this
// one included, and says how many there were.
func (s *Service) LogOutEverywhere(user store.UserID) (sessions, connections int, err error) {
	return s.db.EndEverything(user)
}

// ChangePassword replaces the user's own password. The old one is checked
// under the rule of SignIn, with the session keep as a device of the account.
// Every session but keep ends, and every device is forgotten; connections stay. It
// returns how many sessions ended. Errors as of SignIn, and ErrInvalid.
func (s *Service) ChangePassword(ctx context.Context, user store.UserID, old, password string, keep store.Hash, addr netip.Addr) (ended int, err error) {
	u, err := s.db.User(user)
	if err != nil {
		return 0, err
	}
	if err := checkPassword(password, u.Email, u.Name); err != nil {
		return 0, err
	}
	if err := s.checkOwnPassword(ctx, u, old, keep, addr); err != nil {
		return 0, err
	}
	if old == password {
		return 0, invalid("password", "The new password is the old one. Choose another.")
	}
	phc, err := s.hashPassword(ctx, password, u.Email, u.Name)
	if err != nil {
		return 0, err
	}
	return s.db.SetPassword(user, phc, keep)
}

// checkOwnPassword checks the password of somebody who is signed in, under the rule of
// SignIn, with that session as a device of the account.
func (s *Service) checkOwnPassword(ctx context.Context, u store.User, own string, session store.Hash, addr netip.Addr) error {
	err := wrongCredentials()
	if own != "" && len(own) <= MaxPassword {
		_, err = s.checkPasswordOf(ctx, u, own, attempt{account: u.Email, addr: addr, device: "session " + session.String()})
	}
	if errors.Is(err, ErrCredentials) {
		return &Error{Message: "That is not your present password. Nothing was changed.", Field: "old", Err: ErrCredentials}
	}
	return err
}
