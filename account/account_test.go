package account_test

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"podgate/account"
	"podgate/store"
	"podgate/store/storetest"
)

const password = "correct horse battery staple"

var (
	ctx  = context.Background()
	here = netip.MustParseAddr("198.51.100.7")
)

// world is a service over a fresh store with a clock that tests move.
type world struct {
	*account.Service
	t  *testing.T
	db *store.DB
	mu sync.Mutex
	at time.Time
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, db: storetest.New(t), at: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	w.Service = account.New(account.Config{DB: w.db, Now: w.now})
	return w
}

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.at
}

func (w *world) advance(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at = w.at.Add(d)
}

// addUser adds somebody with the password of these tests.
func (w *world) addUser(email string, teams ...string) store.User {
	w.t.Helper()
	for _, slug := range teams {
		if _, err := w.AddTeam(ctx, slug, ""); err != nil && !errors.Is(err, store.ErrTaken) {
			w.t.Fatal(err)
		}
	}
	email, err := account.NormalizeEmail(email)
	if err != nil {
		w.t.Fatal(err)
	}
	u := store.User{ID: store.UserID(store.NewID()), Email: email, Name: email, Password: passwordHash(), Created: w.now()}
	if err := w.db.CreateUser(u); err != nil {
		w.t.Fatal(err)
	}
	for _, slug := range teams {
		if err := w.AddMember(ctx, slug, email, false); err != nil {
			w.t.Fatal(err)
		}
	}
	u.Password = ""
	return u
}

// passwordHash spares the tests the same slow hash for every user.
var passwordHash = sync.OnceValue(func() string { return account.Hash(password) })

func (w *world) signIn(email string) string {
	w.t.Helper()
	secret, _, err := w.SignIn(ctx, email, password, account.Browser{Addr: here, UserAgent: "Firefox"})
	if err != nil {
		w.t.Fatal(err)
	}
	return secret
}

// connect makes a connection of the user to the team.
func (w *world) connect(u store.User, slug string) (store.Grant, store.Credential) {
	w.t.Helper()
	team, err := w.db.TeamBySlug(slug)
	if err != nil {
		w.t.Fatal(err)
	}
	client := store.Client{ID: store.ClientID(store.NewID()), Name: "Claude", RedirectURIs: []string{"https://claude.ai/cb"}, Created: w.now(), Expires: w.now().Add(time.Hour)}
	if err := w.db.CreateClient(client); err != nil {
		w.t.Fatal(err)
	}
	return storetest.World{Now: w.now(), User: u, Team: team, Client: client}.Connect(w.t, w.db, "pods:read")
}

// message is the public half of an error; the test fails when it has none.
func message(t *testing.T, err error) string {
	t.Helper()
	var e *account.Error
	if !errors.As(err, &e) {
		t.Fatalf("%v (%T) has no words for people", err, err)
	}
	return e.Message
}

func TestSignIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u, err := w.AddUser(ctx, account.AddUser{Email: "ada@example.com", Password: password})
	if err != nil || u.Password != "" {
		t.Fatalf("AddUser returned %+v, %v", u, err)
	}

	first, got, err := w.SignIn(ctx, "  ADA@Example.com ", password, account.Browser{Addr: here, UserAgent: "Firefox\x00\u202e on Linux"})
	if err != nil {
		t.Fatal(err)
	}
	second := w.signIn("ada@example.com")
	if first == second || len(first) < 40 {
		t.Errorf("two sign-ins gave %q and %q; each must give a new secret of 256 bits", first, second)
	}
	if got.ID != u.ID || got.Password != "" {
		t.Errorf("SignIn returned %+v", got)
	}
	session, user, err := w.Authenticate(first)
	if err != nil || user.ID != u.ID || user.Password != "" {
		t.Fatalf("Authenticate: %+v, %v", user, err)
	}
	if session.UserAgent != "Firefox on Linux" || session.Addr != here.String() {
		t.Errorf("the session remembers %q from %q", session.UserAgent, session.Addr)
	}
	stored, err := w.db.User(u.ID)
	if err != nil || !strings.HasPrefix(stored.Password, "$argon2id$v=19$m=32768,t=2,p=1$") || strings.Contains(stored.Password, password) {
		t.Errorf("the store holds the password as %q (%v)", stored.Password, err)
	}

	if err := w.SignOut(first); err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.Authenticate(first); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("after signing out: %v", err)
	}
	if _, _, err := w.Authenticate(second); err != nil {
		t.Errorf("signing out ended another session: %v", err)
	}
}

func TestOnlyOurSecretsAuthenticate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	secret := w.signIn(w.addUser("ada@example.com").Email)
	for _, s := range []string{"", "x", secret + "x", secret[4:], strings.ToUpper(secret), store.HashSecret(secret).String(), "pgat_" + secret[4:]} {
		if _, _, err := w.Authenticate(s); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("Authenticate(%q): %v", s, err)
		}
	}
}

func TestSessionsSlide(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	secret := w.signIn(w.addUser("ada@example.com").Email)
	for range 3 {
		w.advance(29 * 24 * time.Hour)
		if _, _, err := w.Authenticate(secret); err != nil {
			t.Fatalf("a session in use every 29 days ended: %v", err)
		}
	}
	w.advance(30 * 24 * time.Hour)
	if _, _, err := w.Authenticate(secret); !errors.Is(err, store.ErrExpired) {
		t.Errorf("30 days after its last use: %v", err)
	}
}

// A stranger must not find out which accounts exist: not by words, and not by
// time, which is counted in hashes because a clock would make the test flaky.
func TestStrangersLearnNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.addUser("ada@example.com")
	if err := w.db.CreateUser(store.User{ID: "nopassword", Email: "none@example.com"}); err != nil {
		t.Fatal(err)
	}
	want := ""
	for _, email := range []string{"ada@example.com", "nobody@example.com", "none@example.com"} {
		before := w.HashesDone()
		_, _, err := w.SignIn(ctx, email, "a wrong password", account.Browser{Addr: here})
		if !errors.Is(err, account.ErrCredentials) {
			t.Fatalf("%s: %v", email, err)
		}
		if want == "" {
			want = message(t, err)
		}
		if got := message(t, err); got != want {
			t.Errorf("%s is refused with %q, others with %q", email, got, want)
		}
		if n := w.HashesDone() - before; n != 1 {
			t.Errorf("%s took %d hashes, want 1 as for everybody", email, n)
		}
	}
	for _, in := range [][2]string{{"not an address", password}, {"", password}, {"ada@example.com", ""}, {"ada@example.com", strings.Repeat("x", account.MaxPassword+1)}} {
		before := w.HashesDone()
		_, _, err := w.SignIn(ctx, in[0], in[1], account.Browser{Addr: here})
		if !errors.Is(err, account.ErrCredentials) || message(t, err) != want {
			t.Errorf("impossible input %.20q: %v", in, err)
		}
		if w.HashesDone() != before {
			t.Errorf("impossible input %.20q was hashed", in)
		}
	}
}

// Nobody is locked out by somebody else's failures, and one's own successes
// never count.
func TestGuessingIsLimited(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.addUser("ada@example.com")
	attacker := netip.MustParseAddr("203.0.113.9")
	for range 10 {
		if _, _, err := w.SignIn(ctx, "ada@example.com", "a wrong password", account.Browser{Addr: attacker}); !errors.Is(err, account.ErrCredentials) {
			t.Fatalf("a failure within the allowance: %v", err)
		}
	}
	before := w.HashesDone()
	_, _, err := w.SignIn(ctx, "ada@example.com", password, account.Browser{Addr: attacker})
	var e *account.Error
	if !errors.As(err, &e) || !errors.Is(err, account.ErrTooMany) || e.Wait <= 0 || e.Wait > time.Minute {
		t.Fatalf("the eleventh guess, a right one: %v; it must not be looked at", err)
	}
	if w.HashesDone() != before {
		t.Error("a refused guess was hashed")
	}
	if !strings.Contains(e.Message, "60 seconds") {
		t.Errorf("the words do not say how long to wait: %q", e.Message)
	}
	for range 11 {
		w.signIn("ada@example.com")
	}
	w.advance(e.Wait)
	if _, _, err := w.SignIn(ctx, "ada@example.com", password, account.Browser{Addr: attacker}); err != nil {
		t.Errorf("after the wait that was promised: %v", err)
	}
}

// A hundred guesses at once must not all be judged by the state before the
// first one.
func TestGuessingInParallel(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.addUser("ada@example.com")
	var looked atomic.Int64
	var group sync.WaitGroup
	for range 100 {
		group.Go(func() {
			if _, _, err := w.SignIn(ctx, "ada@example.com", "a wrong password", account.Browser{Addr: here}); errors.Is(err, account.ErrCredentials) {
				looked.Add(1)
			}
		})
	}
	group.Wait()
	if n := looked.Load(); n > 10 {
		t.Errorf("%d of 100 guesses at once were looked at, want at most 10", n)
	}
}

func TestChangePassword(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.addUser("ada@example.com", "red")
	keep, other := w.signIn(u.Email), w.signIn(u.Email)
	session, _, err := w.Authenticate(keep)
	if err != nil {
		t.Fatal(err)
	}
	w.connect(u, "red") // signs in once more
	change := func(old, new string) (int, error) {
		return w.ChangePassword(ctx, u.ID, old, new, session.Hash, here)
	}
	if _, err := change("a wrong password", "another long password"); !errors.Is(err, account.ErrCredentials) {
		t.Errorf("wrong present password: %v", err)
	}
	for _, bad := range []string{"short", "ada@example.com", password} {
		if _, err := change(password, bad); !errors.Is(err, account.ErrInvalid) {
			t.Errorf("new password %q: %v", bad, err)
		}
	}
	if _, _, err := w.Authenticate(other); err != nil {
		t.Fatalf("a refused change ended a session: %v", err)
	}
	ended, err := change(password, "another long password")
	if err != nil || ended != 2 {
		t.Fatalf("change: %d sessions ended, %v; want 2", ended, err)
	}
	if _, _, err := w.Authenticate(other); err == nil {
		t.Error("another session outlived the password")
	}
	if _, _, err := w.Authenticate(keep); err != nil {
		t.Errorf("the session that changed the password ended: %v", err)
	}
	if list, err := w.Connections(u.ID); err != nil || len(list) != 1 {
		t.Errorf("connections after the change: %d, %v", len(list), err)
	}
	if _, _, err := w.SignIn(ctx, u.Email, password, account.Browser{Addr: here}); !errors.Is(err, account.ErrCredentials) {
		t.Errorf("the old password still works: %v", err)
	}
	if _, _, err := w.SignIn(ctx, u.Email, "another long password", account.Browser{Addr: here}); err != nil {
		t.Errorf("the new password: %v", err)
	}
}

func TestSessionsAreOnesOwn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada, eve := w.addUser("ada@example.com"), w.addUser("eve@example.com")
	secret := w.signIn(ada.Email)
	session, _, err := w.Authenticate(secret)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.EndSession(eve.ID, session.Hash); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("ending somebody else's session: %v", err)
	}
	if _, _, err := w.Authenticate(secret); err != nil {
		t.Fatalf("somebody else ended the session: %v", err)
	}
	if list, err := w.Sessions(ada.ID); err != nil || len(list) != 1 {
		t.Errorf("sessions: %v, %v", list, err)
	}
	if err := w.EndSession(ada.ID, session.Hash); err != nil {
		t.Error(err)
	}
	if _, _, err := w.Authenticate(secret); err == nil {
		t.Error("the ended session lives")
	}
}

func TestLogOutEverywhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada, eve := w.addUser("ada@example.com", "red"), w.addUser("eve@example.com", "red")
	secret := w.signIn(ada.Email)
	_, token := w.connect(ada, "red")
	_, hers := w.connect(eve, "red")
	sessions, connections, err := w.LogOutEverywhere(ada.ID)
	if err != nil || sessions != 2 || connections != 1 {
		t.Errorf("ended %d sessions and %d connections, %v; want 2 and 1", sessions, connections, err)
	}
	if _, _, err := w.Authenticate(secret); err == nil {
		t.Error("a session outlived it")
	}
	if _, err := w.db.Access(token, w.now()); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a token outlived it: %v", err)
	}
	if _, err := w.db.Access(hers, w.now()); err != nil {
		t.Errorf("somebody else's token died: %v", err)
	}
}

func TestRevokeOnesOwn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada, eve := w.addUser("ada@example.com", "red"), w.addUser("eve@example.com", "red")
	g, token := w.connect(ada, "red")
	if err := w.Revoke(eve.ID, g.ID); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("revoking somebody else's: %v", err)
	}
	if _, err := w.db.Access(token, w.now()); err != nil {
		t.Fatalf("somebody else revoked it: %v", err)
	}
	list, err := w.Connections(ada.ID)
	if err != nil || len(list) != 1 || list[0].Team.Slug != "red" || list[0].ID != g.ID {
		t.Errorf("connections: %+v, %v", list, err)
	}
	if err := w.Revoke(ada.ID, g.ID); err != nil {
		t.Error(err)
	}
	if _, err := w.db.Access(token, w.now()); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the token outlived the connection: %v", err)
	}
}

func TestLimitOnesOwn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada, eve := w.addUser("ada@example.com", "red"), w.addUser("eve@example.com", "red")
	g, token := w.connect(ada, "red")
	want := store.Limits{ReadOnly: true}
	if _, err := w.Connection(eve.ID, g.ID); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("looking at somebody else's: %v", err)
	}
	if err := w.Limit(eve.ID, g.ID, g.Scopes, want); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("limiting somebody else's: %v", err)
	}
	for name, scopes := range map[string][]store.Scope{"none": nil, "more": append([]store.Scope{"pods:other"}, g.Scopes...)} {
		var e *account.Error
		if err := w.Limit(ada.ID, g.ID, scopes, want); !errors.Is(err, account.ErrInvalid) || !errors.As(err, &e) || e.Field != "scope" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if a, err := w.db.Access(token, w.now()); err != nil || a.Grant.Limits != (store.Limits{}) {
		t.Fatalf("a refused change left %+v, %v", a, err)
	}
	if err := w.Limit(ada.ID, g.ID, g.Scopes, want); err != nil {
		t.Fatal(err)
	}
	if a, err := w.db.Access(token, w.now()); err != nil || a.Grant.Limits != want {
		t.Errorf("%+v, %v", a, err)
	}
	if c, err := w.Connection(ada.ID, g.ID); err != nil || c.Limits != want || c.Team.Slug != "red" {
		t.Errorf("%+v, %v", c, err)
	}
}
