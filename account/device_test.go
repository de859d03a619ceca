package account_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"podgate/account"
	"podgate/store"
)

// device is what a browser of the user holds.
func (w *world) device(u store.User) string {
	w.t.Helper()
	d, err := w.Device(u.ID)
	if err != nil {
		w.t.Fatal(err)
	}
	return d
}

// guess tries a wrong password.
func (w *world) guess(email string, b account.Browser) error {
	_, _, err := w.SignIn(ctx, email, "a wrong password", b)
	return err
}

// A device lets its owner in where strangers are refused, and nobody else.
func TestDevice(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada, eve := w.addUser("ada@example.com"), w.addUser("eve@example.com")
	d, hers := w.device(ada), w.device(eve)
	if d == w.device(ada) {
		t.Error("two devices are one")
	}
	parts := strings.Split(d, ".")
	w.Exhaust(here)
	for name, c := range map[string]struct {
		device string
		ok     bool
	}{
		"one's own":               {d, true},
		"none":                    {"", false},
		"another account's":       {hers, false},
		"another's signature":     {parts[0] + "." + parts[1] + "." + strings.Split(hers, ".")[2], false},
		"another id":              {"pgd_other." + parts[1] + "." + parts[2], false},
		"a later beginning":       {parts[0] + ".1999999999." + parts[2], false},
		"no signature":            {parts[0] + "." + parts[1] + ".", false},
		"more parts":              {d + ".x", false},
		"what opens a session":    {w.mustSignIn(eve.Email), false},
		"as long as a cookie can": {strings.Repeat("x.", 2000), false},
	} {
		_, _, err := w.SignIn(ctx, ada.Email, password, account.Browser{Addr: here, Device: c.device})
		if c.ok && err != nil || !c.ok && !errors.Is(err, account.ErrTooMany) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := w.Device("nobody"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a device of nobody: %v", err)
	}
}

// mustSignIn signs in from where nobody else does.
func (w *world) mustSignIn(email string) string {
	w.t.Helper()
	secret, _, err := w.SignIn(ctx, email, password, account.Browser{Addr: netip.MustParseAddr("192.0.2.200")})
	if err != nil {
		w.t.Fatal(err)
	}
	return secret
}

// What a person without a password would be known by could be made by anybody.
func TestDeviceNeedsAPassword(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	none := store.User{ID: "none", Email: "none@example.com"}
	if err := w.db.CreateUser(none); err != nil {
		t.Fatal(err)
	}
	d := w.device(none)
	w.Exhaust(here)
	if err := w.guess(none.Email, account.Browser{Addr: here, Device: d}); !errors.Is(err, account.ErrTooMany) {
		t.Errorf("%v", err)
	}
}

func TestDeviceEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.addUser("ada@example.com")
	d := w.device(u)
	known := func() bool {
		t.Helper()
		w.Exhaust(here)
		_, _, err := w.SignIn(ctx, u.Email, password, account.Browser{Addr: here, Device: d})
		if err != nil && !errors.Is(err, account.ErrTooMany) {
			t.Fatal(err)
		}
		return err == nil
	}
	if w.advance(account.DeviceTTL - time.Minute); !known() {
		t.Error("it ended early")
	}
	if w.advance(time.Minute); known() {
		t.Error("it has no end")
	}
	d = w.device(u)
	if !known() {
		t.Fatal("a new one is none")
	}
	session, _, err := w.Authenticate(w.mustSignIn(u.Email))
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range [][2]string{{password, "another long password"}, {"another long password", password}} {
		if _, err := w.ChangePassword(ctx, u.ID, change[0], change[1], session.Hash, here); err != nil {
			t.Fatal(err)
		}
	}
	if known() {
		t.Error("it outlived the password, even if that is the same again by now")
	}
}

// Who holds a device of an account may not guess at it without bound, not even
// from ever other addresses.
func TestDeviceGuessesAreLimited(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.addUser("ada@example.com")
	d, looked := w.device(u), 0
	w.Exhaust(here)
	for range 50 {
		if err := w.guess(u.Email, account.Browser{Addr: here, Device: d}); errors.Is(err, account.ErrCredentials) {
			looked++
		}
	}
	if looked != 10 {
		t.Errorf("%d guesses were looked at, want 10", looked)
	}
}

// Strangers guess from everywhere, forty at a time: the owner gets in with a
// device, also to change the password, and from an address used before.
func TestGuessesKeepNobodyOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.addUser("ada@example.com")
	d, home := w.device(u), netip.MustParseAddr("198.51.100.9")
	session, _, err := w.Authenticate(w.signIn(u.Email))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.SignIn(ctx, u.Email, password, account.Browser{Addr: home}); err != nil {
		t.Fatal(err)
	}
	var busy atomic.Int64
	stop, running := make(chan struct{}), sync.WaitGroup{}
	for i := range 60 {
		running.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				if err := w.guess(u.Email, account.Browser{Addr: netip.MustParseAddr(fmt.Sprintf("2001:%x:%x::1", 0x4000+i, n))}); errors.Is(err, account.ErrBusy) {
					busy.Add(1)
					time.Sleep(10 * time.Millisecond) // sixty that spin would be a test of the machine
				}
			}
		})
	}
	for busy.Load() < 100 {
		time.Sleep(time.Millisecond)
	}
	for range 3 {
		if _, _, err := w.SignIn(ctx, u.Email, password, account.Browser{Addr: netip.MustParseAddr("203.0.113.200"), Device: d}); err != nil {
			t.Errorf("with a device: %v", err)
		}
		if _, _, err := w.SignIn(ctx, u.Email, password, account.Browser{Addr: home}); err != nil {
			t.Errorf("from a known address: %v", err)
		}
	}
	for i := range 3 {
		if _, err := w.AddUser(ctx, account.AddUser{Email: fmt.Sprintf("%d@example.com", i), Password: password}); err != nil {
			t.Errorf("a new account: %v", err)
		}
	}
	if _, err := w.ChangePassword(ctx, u.ID, password, "another long password", session.Hash, here); err != nil {
		t.Errorf("changing the password: %v", err)
	}
	close(stop)
	running.Wait()
}

// An address at which somebody has signed in is no place to find out who: neither
// limits nor waiting tell an account that is used there from one that is not, or
// from none.
func TestAddressesTellNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	there, elsewhere := w.addUser("there@example.com"), w.addUser("elsewhere@example.com")
	w.signIn(there.Email)
	emails := []string{there.Email, elsewhere.Email, "nobody@example.com"}
	same := func(when string) {
		t.Helper()
		var want string
		for i, email := range emails {
			before := w.HashesDone()
			err := w.guess(email, account.Browser{Addr: here})
			got := fmt.Sprintf("%v, %d hashes", err, w.HashesDone()-before)
			if i > 0 && got != want {
				t.Errorf("%s: %s %s, others %s", when, email, got, want)
			}
			want = got
		}
	}
	same("at first")
	for _, email := range emails {
		w.Attack(email)
	}
	same("under attack")
	w.Exhaust(here)
	same("after many failures at the address")
}

// The addresses of sessions are known after a restart.
func TestKnownAddressesOutliveARestart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.addUser("ada@example.com")
	w.signIn(u.Email)
	tries := func(addr netip.Addr) (n int) {
		for n < 20 && errors.Is(w.guess(u.Email, account.Browser{Addr: addr}), account.ErrCredentials) {
			n++
		}
		return n
	}
	w.Service = account.New(account.Config{DB: w.db, Now: w.now})
	w.Attack(u.Email)
	if known, unknown := tries(here), tries(netip.MustParseAddr("203.0.113.1")); known != 10 || unknown != 3 {
		t.Errorf("%d tries at a known address and %d at another, want 10 and 3", known, unknown)
	}
}
