package account_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"podgate/account"
	"podgate/internal/passkeytest"
	"podgate/store"
	"podgate/store/storetest"
)

var site = account.Site{Host: "pods.example.com", Origin: "https://pods.example.com"}

var visitor = account.Browser{Addr: here, UserAgent: "test"}

// signedIn returns a session of somebody new who has just signed in.
func (w *world) signedIn(email string) (store.User, store.Session) {
	w.t.Helper()
	u := w.addUser(email)
	secret, _, err := w.SignIn(ctx, email, password, visitor)
	if err != nil {
		w.t.Fatal(err)
	}
	return u, w.session(secret)
}

func (w *world) session(secret string) store.Session {
	w.t.Helper()
	s, _, err := w.Authenticate(secret)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// withPasskey returns a device with a passkey of the session's person.
func (w *world) withPasskey(s store.Session) *passkeytest.Device {
	w.t.Helper()
	d := passkeytest.New(w.t, site.Host, site.Origin)
	n, err := w.PasskeyToAdd(s, site)
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.AddPasskey(s, site, "my phone", n.Handle, d.Make(n.Challenge, n.Handle)); err != nil {
		w.t.Fatal(err)
	}
	return d
}

func TestPasskeySignsIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u, s := w.signedIn("ada@example.com")
	d := w.withPasskey(s)
	w.advance(time.Hour)
	secret, who, p, err := w.SignInWithPasskey(ctx, site, d.Answer(w.PasskeyToSignIn()), visitor)
	if err != nil || who.ID != u.ID || p.Name != "my phone" || who.Password != "" {
		t.Fatalf("signed in as %+v with %q, %v", who, p.Name, err)
	}
	if got := w.session(secret); got.User != u.ID || !w.Fresh(got) {
		t.Errorf("the session is %+v, fresh: %v", got, w.Fresh(got))
	}
	list, err := w.Passkeys(u.ID)
	if err != nil || len(list) != 1 || !list[0].LastUsed.Equal(w.now()) {
		t.Errorf("passkeys: %+v, %v", list, err)
	}
	if err := w.db.Check(); err != nil {
		t.Error(err)
	}
}

// Each answer that lies, is somebody else's, too late or not the first is refused, and
// leaves no session.
func TestPasskeyThatProvesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u, s := w.signedIn("ada@example.com")
	_, other := w.signedIn("eve@example.com")
	mallory := w.withPasskey(other)
	stranger := passkeytest.New(t, site.Host, site.Origin)
	stranger.Handle = bytes.Repeat([]byte{7}, 64)
	for name, answer := range map[string]func(d *passkeytest.Device) []byte{
		"a page of a pod": func(d *passkeytest.Device) []byte {
			d.Origin = "https://evil.pods.example.com"
			return d.Answer(w.PasskeyToSignIn())
		},
		"another port": func(d *passkeytest.Device) []byte { d.Origin += ":8443"; return d.Answer(w.PasskeyToSignIn()) },
		"http": func(d *passkeytest.Device) []byte {
			d.Origin = "http://pods.example.com"
			return d.Answer(w.PasskeyToSignIn())
		},
		"an app of a phone": func(d *passkeytest.Device) []byte {
			d.Origin = "android:apk-key-hash:AAAA"
			return d.Answer(w.PasskeyToSignIn())
		},
		"within a frame of another": func(d *passkeytest.Device) []byte { d.CrossOrigin = true; return d.Answer(w.PasskeyToSignIn()) },
		"for another host":          func(d *passkeytest.Device) []byte { d.Host = "example.com"; return d.Answer(w.PasskeyToSignIn()) },
		"nobody was there": func(d *passkeytest.Device) []byte {
			d.Flags = passkeytest.Verified
			return d.Answer(w.PasskeyToSignIn())
		},
		"nobody was asked for a finger": func(d *passkeytest.Device) []byte {
			d.Flags = passkeytest.Present
			return d.Answer(w.PasskeyToSignIn())
		},
		"a new passkey's client data": func(d *passkeytest.Device) []byte { d.Type = "webauthn.create"; return d.Answer(w.PasskeyToSignIn()) },
		"another key":                 func(d *passkeytest.Device) []byte { d.Key = newKey(t); return d.Answer(w.PasskeyToSignIn()) },
		"the handle of another":       func(d *passkeytest.Device) []byte { d.Handle = mallory.Handle; return d.Answer(w.PasskeyToSignIn()) },
		"no handle":                   func(d *passkeytest.Device) []byte { d.Handle = nil; return d.Answer(w.PasskeyToSignIn()) },
		"the id of another":           func(d *passkeytest.Device) []byte { d.ID = mallory.ID; return d.Answer(w.PasskeyToSignIn()) },
		"a passkey that is not known": func(*passkeytest.Device) []byte { return stranger.Answer(w.PasskeyToSignIn()) },
		"now for several devices": func(d *passkeytest.Device) []byte {
			d.Flags |= passkeytest.Eligible
			return d.Answer(w.PasskeyToSignIn())
		},
		"a challenge of its own": func(d *passkeytest.Device) []byte { return d.Answer("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA") },
		"a challenge of another server": func(d *passkeytest.Device) []byte {
			return d.Answer(account.New(account.Config{DB: w.db, Now: w.now}).PasskeyToSignIn())
		},
		"a challenge to prove": func(d *passkeytest.Device) []byte {
			c, _, err := w.PasskeyToProve(s, site)
			if err != nil {
				t.Fatal(err)
			}
			return d.Answer(c)
		},
		"a challenge to add": func(d *passkeytest.Device) []byte {
			n, err := w.PasskeyToAdd(s, site)
			if err != nil {
				t.Fatal(err)
			}
			return d.Answer(n.Challenge)
		},
		"too late": func(d *passkeytest.Device) []byte {
			a := d.Answer(w.PasskeyToSignIn())
			w.advance(31 * time.Minute)
			return a
		},
		"a second time": func(d *passkeytest.Device) []byte {
			a := d.Answer(w.PasskeyToSignIn())
			if _, _, _, err := w.SignInWithPasskey(ctx, site, a, visitor); err != nil {
				t.Fatal(err)
			}
			return a
		},
		"asked before the last use": func(d *passkeytest.Device) []byte {
			old := w.PasskeyToSignIn()
			w.advance(time.Second)
			if _, _, _, err := w.SignInWithPasskey(ctx, site, d.Answer(w.PasskeyToSignIn()), visitor); err != nil {
				t.Fatal(err)
			}
			return d.Answer(old)
		},
		"removed": func(d *passkeytest.Device) []byte {
			if _, err := w.RemovePasskey(w.reload(s), store.PasskeyKey(d.ID)); err != nil {
				t.Fatal(err)
			}
			return d.Answer(w.PasskeyToSignIn())
		},
		"nothing": func(*passkeytest.Device) []byte { return nil },
		"no JSON": func(*passkeytest.Device) []byte { return []byte("{") },
		"far too large": func(d *passkeytest.Device) []byte {
			return append(d.Answer(w.PasskeyToSignIn()), bytes.Repeat([]byte(" "), account.MaxPasskeyAnswer)...)
		},
	} {
		// One after the other: some move the clock.
		w.refresh(s)
		a := answer(w.withPasskey(w.reload(s)))
		before := w.sessions(u.ID)
		_, _, _, err := w.SignInWithPasskey(ctx, site, a, visitor)
		if !errors.Is(err, account.ErrPasskey) {
			t.Errorf("%s: %v", name, err)
		}
		if e := new(account.Error); errors.As(err, &e) && !strings.HasSuffix(e.Message, ".") {
			t.Errorf("%s: the words are %q", name, e.Message)
		}
		if after := w.sessions(u.ID); after != before {
			t.Errorf("%s: a session more", name)
		}
	}
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (w *world) sessions(user store.UserID) int {
	w.t.Helper()
	list, err := w.db.Sessions(user, w.now())
	if err != nil {
		w.t.Fatal(err)
	}
	return len(list)
}

// refresh has the person of a session prove that it is they, and forget their passkeys.
func (w *world) refresh(s store.Session) {
	w.t.Helper()
	if err := w.ProveWithPassword(ctx, s, password, here); err != nil {
		w.t.Fatal(err)
	}
	list, err := w.Passkeys(s.User)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, p := range list {
		if _, err := w.RemovePasskey(w.reload(s), store.PasskeyKey(p.ID)); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) reload(s store.Session) store.Session {
	w.t.Helper()
	fresh, _, err := w.db.Session(s.Hash, w.now())
	if err != nil {
		w.t.Fatal(err)
	}
	return fresh
}

// A counter that does not grow is that of a copy, also when both come at once.
func TestCopiedPasskey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, s := w.signedIn("ada@example.com")
	d := passkeytest.New(t, site.Host, site.Origin)
	d.Counter = 5
	n, err := w.PasskeyToAdd(s, site)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.AddPasskey(s, site, "a key with a counter", n.Handle, d.Make(n.Challenge, n.Handle)); err != nil {
		t.Fatal(err)
	}
	clone := *d
	w.advance(time.Minute)
	answers := [][]byte{d.Answer(w.PasskeyToSignIn()), clone.Answer(w.PasskeyToSignIn())}
	w.advance(time.Second)
	results := make(chan error, 2)
	var all sync.WaitGroup
	for _, a := range answers {
		all.Go(func() { _, _, _, err := w.SignInWithPasskey(ctx, site, a, visitor); results <- err })
	}
	all.Wait()
	first, second := <-results, <-results
	if first != nil {
		first, second = second, first
	}
	if first != nil || !errors.Is(second, account.ErrPasskey) || !strings.Contains(second.Error(), "copy") {
		t.Errorf("two with one counter: %v and %v", first, second)
	}
	w.advance(time.Minute)
	d.Counter = 0
	if _, _, _, err := w.SignInWithPasskey(ctx, site, d.Answer(w.PasskeyToSignIn()), visitor); !errors.Is(err, account.ErrPasskey) {
		t.Errorf("one that counts no more: %v", err)
	}
}

// A new passkey needs a fresh proof, an answer to this very page, and somebody who was
// there. Nothing of what is refused is kept.
func TestPasskeyThatIsNotAdded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u, s := w.signedIn("ada@example.com")
	_, other := w.signedIn("eve@example.com")
	used := w.withPasskey(other)
	add := func(d *passkeytest.Device, change func(*account.NewPasskey)) error {
		n, err := w.PasskeyToAdd(s, site)
		if err != nil {
			t.Fatal(err)
		}
		if change != nil {
			change(&n)
		}
		_, err = w.AddPasskey(s, site, "mine", n.Handle, d.Make(n.Challenge, n.Handle))
		return err
	}
	device := func(change func(*passkeytest.Device)) *passkeytest.Device {
		d := passkeytest.New(t, site.Host, site.Origin)
		change(d)
		return d
	}
	for name, err := range map[string]error{
		"a page of a pod":          add(device(func(d *passkeytest.Device) { d.Origin = "https://evil.pods.example.com" }), nil),
		"for another host":         add(device(func(d *passkeytest.Device) { d.Host = "evil.pods.example.com" }), nil),
		"nobody was there":         add(device(func(d *passkeytest.Device) { d.Flags = passkeytest.Verified }), nil),
		"nobody was asked":         add(device(func(d *passkeytest.Device) { d.Flags = passkeytest.Present }), nil),
		"an answer of a sign-in":   add(device(func(d *passkeytest.Device) { d.Type = "webauthn.get" }), nil),
		"backed up and not to be":  add(device(func(d *passkeytest.Device) { d.Flags |= passkeytest.BackedUp }), nil),
		"an id without end":        add(device(func(d *passkeytest.Device) { d.ID = make([]byte, 1024) }), nil),
		"a key without end":        add(device(func(d *passkeytest.Device) { d.Public = largeKey() }), nil),
		"no id":                    add(device(func(d *passkeytest.Device) { d.ID = nil }), nil),
		"a challenge of a sign-in": add(device(func(*passkeytest.Device) {}), func(n *account.NewPasskey) { n.Challenge = w.PasskeyToSignIn() }),
		"another session's challenge": add(device(func(*passkeytest.Device) {}), func(n *account.NewPasskey) {
			theirs, err := w.PasskeyToAdd(other, site)
			if err != nil {
				t.Fatal(err)
			}
			*n = theirs
		}),
		"a handle of the browser's choice": add(device(func(*passkeytest.Device) {}), func(n *account.NewPasskey) { n.Handle = strings.Repeat("A", 86) }),
		"a short handle":                   add(device(func(*passkeytest.Device) {}), func(n *account.NewPasskey) { n.Handle = "AAAA" }),
	} {
		if !errors.Is(err, account.ErrPasskey) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := add(device(func(d *passkeytest.Device) { d.ID = used.ID }), nil); !errors.Is(err, store.ErrTaken) {
		t.Errorf("an id that somebody has: %v", err)
	}
	n, err := w.PasskeyToAdd(s, site)
	if err != nil {
		t.Fatal(err)
	}
	answer := passkeytest.New(t, site.Host, site.Origin).Make(n.Challenge, n.Handle)
	if _, err := w.AddPasskey(s, site, " ", n.Handle, answer); !errors.Is(err, account.ErrInvalid) {
		t.Errorf("without a name: %v", err)
	}
	w.advance(account.FreshFor)
	if _, err := w.AddPasskey(s, site, "mine", n.Handle, answer); !errors.Is(err, account.ErrProof) {
		t.Errorf("without a fresh proof: %v", err)
	}
	if list, err := w.Passkeys(u.ID); err != nil || len(list) != 0 {
		t.Errorf("there are %d passkeys, %v", len(list), err)
	}
}

// largeKey is a key of RSA with 9,600 bits, as COSE has it.
func largeKey() map[int]any {
	return map[int]any{1: 3, 3: -257, -1: bytes.Repeat([]byte{0xff}, 1200), -2: []byte{1, 0, 1}}
}

// All passkeys of a person have one handle, also when two pages make the first at once.
func TestPasskeysOfOnePerson(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u, s := w.signedIn("ada@example.com")
	one, err := w.PasskeyToAdd(s, site)
	if err != nil {
		t.Fatal(err)
	}
	two, err := w.PasskeyToAdd(s, site)
	if err != nil {
		t.Fatal(err)
	}
	first, second := passkeytest.New(t, site.Host, site.Origin), passkeytest.New(t, site.Host, site.Origin)
	if _, err := w.AddPasskey(s, site, "first", one.Handle, first.Make(one.Challenge, one.Handle)); err != nil {
		t.Fatal(err)
	}
	if _, err := w.AddPasskey(s, site, "second", two.Handle, second.Make(two.Challenge, two.Handle)); !errors.Is(err, account.ErrPasskey) {
		t.Errorf("under another handle: %v", err)
	}
	for range store.MaxPasskeys - 1 {
		w.withPasskey(s)
	}
	n, err := w.PasskeyToAdd(s, site)
	if err != nil || n.Handle != one.Handle || len(n.Exclude) != store.MaxPasskeys {
		t.Fatalf("%+v, %v", n, err)
	}
	if _, err := w.AddPasskey(s, site, "one too many", n.Handle, second.Make(n.Challenge, n.Handle)); !errors.Is(err, store.ErrFull) {
		t.Errorf("one too many: %v", err)
	}
	list, err := w.Passkeys(u.ID)
	if err != nil || len(list) != store.MaxPasskeys {
		t.Fatalf("%d passkeys, %v", len(list), err)
	}
	if name, err := w.NamePasskey(u.ID, store.PasskeyKey(first.ID), "  the old\nphone "); err != nil || name != "the old phone" {
		t.Errorf("renamed to %q, %v", name, err)
	}
	eve, _ := w.signedIn("eve@example.com")
	if _, err := w.NamePasskey(eve.ID, store.PasskeyKey(first.ID), "hers"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("renamed by somebody else: %v", err)
	}
}

// Who removes a passkey, or proves who they are with one, does so with their own.
func TestProve(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, s := w.signedIn("ada@example.com")
	_, other := w.signedIn("eve@example.com")
	d, hers := w.withPasskey(s), w.withPasskey(other)
	w.advance(account.FreshFor)
	key := store.PasskeyKey(d.ID)
	if _, err := w.RemovePasskey(s, key); !errors.Is(err, account.ErrProof) {
		t.Errorf("removed without a fresh proof: %v", err)
	}
	toProve := func(s store.Session) string {
		t.Helper()
		c, _, err := w.PasskeyToProve(s, site)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	for name, err := range map[string]error{
		"somebody else's passkey":     w.ProveWithPasskey(s, site, hers.Answer(toProve(s))),
		"for another session":         w.ProveWithPasskey(s, site, d.Answer(toProve(other))),
		"with an answer of a sign-in": w.ProveWithPasskey(s, site, d.Answer(w.PasskeyToSignIn())),
		"a wrong password":            w.ProveWithPassword(ctx, s, "guessed", here),
		"no password":                 w.ProveWithPassword(ctx, s, "", here),
	} {
		if !errors.Is(err, account.ErrPasskey) && !errors.Is(err, account.ErrCredentials) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if w.Fresh(w.reload(s)) {
		t.Fatal("a refused proof counts")
	}
	if err := w.ProveWithPasskey(s, site, d.Answer(toProve(s))); err != nil || !w.Fresh(w.reload(s)) {
		t.Fatalf("proved with the passkey: %v", err)
	}
	w.advance(account.FreshFor)
	if err := w.ProveWithPassword(ctx, s, password, here); err != nil || !w.Fresh(w.reload(s)) {
		t.Fatalf("proved with the password: %v", err)
	}
	if _, err := w.RemovePasskey(w.reload(s), store.PasskeyKey(hers.ID)); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("somebody else's removed: %v", err)
	}
	if _, err := w.RemovePasskey(w.reload(s), key); err != nil {
		t.Error(err)
	}
	if err := w.SignOut(""); err != nil {
		t.Fatal(err)
	}
	if err := w.db.DeleteSession(s.Hash); err != nil {
		t.Fatal(err)
	}
	if err := w.ProveWithPassword(ctx, s, password, here); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a session that is over: %v", err)
	}
}

// A password that an administrator sets, and the end of an account, take the passkeys
// along: whoever had the old password may have added one.
func TestPasskeysEnd(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*world, store.User) error{
		"a password set": func(w *world, u store.User) error { return w.SetPassword(ctx, u.Email, "another long sentence") },
		"the account":    func(w *world, u store.User) error { return w.RemoveUser(ctx, u.Email) },
	} {
		w := newWorld(t)
		u, s := w.signedIn("ada@example.com")
		d := w.withPasskey(s)
		if err := end(w, u); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, _, _, err := w.SignInWithPasskey(ctx, site, d.Answer(w.PasskeyToSignIn()), visitor); !errors.Is(err, account.ErrPasskey) {
			t.Errorf("after %s: %v", name, err)
		}
	}
}

// A password of one's own choice leaves them.
func TestPasskeysOutliveAChangedPassword(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u, s := w.signedIn("ada@example.com")
	d := w.withPasskey(s)
	if _, err := w.ChangePassword(ctx, u.ID, password, "another long sentence", s.Hash, here); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := w.SignInWithPasskey(ctx, site, d.Answer(w.PasskeyToSignIn()), visitor); err != nil {
		t.Error(err)
	}
}

// Whatever a browser sends is an answer or a refusal with words.
func FuzzPasskeyAnswer(f *testing.F) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	s := account.New(account.Config{DB: storetest.New(f), Now: func() time.Time { return at }})
	session := store.Session{User: "u", Created: at}
	d := passkeytest.New(f, site.Host, site.Origin)
	n, err := s.PasskeyToAdd(session, site)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(d.Make(n.Challenge, n.Handle))
	f.Add(d.Answer(s.PasskeyToSignIn()))
	f.Add([]byte(`{"id":"","rawId":"","type":"public-key","response":{}}`))
	f.Fuzz(func(t *testing.T, answer []byte) {
		if secret, _, _, err := s.SignInWithPasskey(ctx, site, answer, visitor); !errors.Is(err, account.ErrPasskey) || secret != "" {
			t.Fatalf("%q, %v", secret, err)
		}
		// There is no such session, so what is right in itself is refused too.
		if _, err := s.AddPasskey(session, site, "mine", n.Handle, answer); !errors.Is(err, account.ErrPasskey) && !errors.Is(err, store.ErrNotFound) {
			t.Fatal(err)
		}
	})
}
