package account_test

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"podgate/account"
	"podgate/store"
)

func (w *world) setupLink() string {
	w.t.Helper()
	token, err := w.SetupLink(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	return token
}

func (w *world) complete(token, email string) (string, error) {
	return w.CompleteSetup(ctx, token, email, "Ada Lovelace", password, "Analytical Engines!", "Firefox")
}

func TestSetup(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if needs, err := w.NeedsSetup(); err != nil || !needs {
		t.Fatalf("a fresh server: %v, %v", needs, err)
	}
	token := w.setupLink()
	if err := w.CheckSetup(token); err != nil {
		t.Fatal(err)
	}
	secret, err := w.complete(token, "Ada@Example.com")
	if err != nil {
		t.Fatal(err)
	}
	_, u, err := w.Authenticate(secret)
	if err != nil || !u.Admin || u.Email != "ada@example.com" || u.Name != "Ada Lovelace" {
		t.Errorf("the first administrator: %+v, %v", u, err)
	}
	teams, err := w.TeamsOf(u.ID)
	if err != nil || len(teams) != 1 || teams[0].Team.Slug != "analytical-engines" || teams[0].Role != store.RoleOwner {
		t.Errorf("the first team: %+v, %v", teams, err)
	}
	if needs, err := w.NeedsSetup(); err != nil || needs {
		t.Errorf("afterwards: %v, %v", needs, err)
	}

	// The link is dead, and no other can be made.
	if _, err := w.complete(token, "eve@example.com"); !errors.Is(err, store.ErrSetUp) {
		t.Errorf("the link a second time: %v", err)
	}
	if _, err := w.SetupLink(ctx); !errors.Is(err, store.ErrSetUp) {
		t.Errorf("another link: %v", err)
	}
	if users, err := w.Users(); err != nil || len(users) != 1 {
		t.Errorf("users: %v, %v", users, err)
	}
}

func TestSetupLinkDies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.setupLink()
	second := w.setupLink()
	if err := w.CheckSetup(first); !errors.Is(err, store.ErrNotFound) || !strings.Contains(message(t, err), "podgate setup-link") {
		t.Errorf("a replaced link: %v", err)
	}
	for _, bad := range []string{"", "x", second + "x", second[:len(second)-1]} {
		if err := w.CheckSetup(bad); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("link %q: %v", bad, err)
		}
	}
	w.advance(30*time.Minute - time.Second)
	if err := w.CheckSetup(second); err != nil {
		t.Errorf("a second before its end: %v", err)
	}
	w.advance(time.Second)
	before := w.HashesDone()
	if _, err := w.complete(second, "ada@example.com"); !errors.Is(err, store.ErrExpired) {
		t.Errorf("after 30 minutes: %v", err)
	}
	if w.HashesDone() != before {
		t.Error("a dead link makes the server hash passwords")
	}
}

func TestSetupBadInputKeepsTheLink(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token := w.setupLink()
	for _, bad := range [][4]string{
		{"nonsense", "Ada", password, "Red"}, {"ada@example.com", "Ada", "short", "Red"},
		{"ada@example.com", strings.Repeat("x", 81), password, "Red"}, {"ada@example.com", "Ada", password, " \x00 "},
	} {
		_, err := w.CompleteSetup(ctx, token, bad[0], bad[1], bad[2], bad[3], "")
		if !errors.Is(err, account.ErrInvalid) || message(t, err) == "" {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if needs, err := w.NeedsSetup(); err != nil || !needs {
		t.Fatalf("bad input set the server up: %v, %v", needs, err)
	}
	if _, err := w.complete(token, "ada@example.com"); err != nil {
		t.Errorf("the link after bad input: %v", err)
	}
}

// Of many people with the link one becomes the administrator.
func TestSetupOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token := w.setupLink()
	var won atomic.Int64
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			if _, err := w.complete(token, string(rune('a'+i))+"@example.com"); err == nil {
				won.Add(1)
			}
		})
	}
	group.Wait()
	users, err := w.Users()
	if won.Load() != 1 || err != nil || len(users) != 1 {
		t.Errorf("%d of 8 became the administrator, %d users (%v)", won.Load(), len(users), err)
	}
}

func TestSetupBesideCommands(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.addUser("ada@example.com", "analytical-engines")
	token := w.setupLink()
	if _, err := w.complete(token, "ada@example.com"); !errors.Is(err, store.ErrTaken) {
		t.Errorf("an address that has an account: %v", err)
	}
	secret, err := w.complete(token, "grace@example.com")
	if err != nil {
		t.Fatal(err)
	}
	_, u, err := w.Authenticate(secret)
	if err != nil {
		t.Fatal(err)
	}
	if teams, err := w.TeamsOf(u.ID); err != nil || teams[0].Team.Slug != "analytical-engines-2" {
		t.Errorf("the team whose slug was taken: %+v, %v", teams, err)
	}
}
