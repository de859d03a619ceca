package store_test

import (
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"podgate/store"
	"podgate/store/storetest"
)

var t0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const read = store.Scope("pods:read")

// wantErr fails unless err is target (nil included).
func wantErr(t *testing.T, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("error is %v, want %v", err, target)
	}
}

func TestEveryFieldSurvivesTheDisk(t *testing.T) {
	records := []any{
		&store.User{}, &store.Session{}, &store.Team{}, &store.Member{}, &store.Client{}, &store.AuthRequest{},
		&store.Code{}, &store.Grant{}, &store.Pod{}, &store.Deploy{}, &store.Reservation{}, &store.Setup{},
		&store.Attempt{}, &store.AuditEntry{},
	}
	for _, r := range records {
		t.Run(reflect.TypeOf(r).Elem().Name(), func(t *testing.T) {
			storetest.Fill(t, r)
			marshal, unmarshal := json.Marshal, json.Unmarshal
			if _, ok := r.(encoding.BinaryMarshaler); ok {
				marshal = func(v any) ([]byte, error) { return v.(encoding.BinaryMarshaler).MarshalBinary() }
				unmarshal = func(raw []byte, v any) error { return v.(encoding.BinaryUnmarshaler).UnmarshalBinary(raw) }
			}
			raw, err := marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			got := reflect.New(reflect.TypeOf(r).Elem())
			if err := unmarshal(raw, got.Interface()); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(r, got.Interface()) {
				t.Errorf("went in as %+v, came back as %+v", r, got.Interface())
			}
		})
	}
}

func TestHashRefusesOtherText(t *testing.T) {
	for _, text := range []string{"", "abc", "!!", store.HashSecret("x").String() + "AA"} {
		var h store.Hash
		if err := h.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was taken for a hash", text)
		}
	}
}

func TestUsersAreUniqueByAddress(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	w := storetest.Populate(t, db, "ada", t0)
	wantErr(t, db.CreateUser(store.User{ID: "other", Email: w.User.Email}), store.ErrTaken)
	if _, err := db.User("other"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a refused user was kept: %v", err)
	}
	got, err := db.UserByEmail(w.User.Email)
	if err != nil || got.ID != w.User.ID {
		t.Errorf("UserByEmail = %+v, %v", got, err)
	}
	wantErr(t, db.CreateUser(store.User{ID: "third", Email: "third@example.com"}, store.Member{Team: "absent", User: "third"}), store.ErrNotFound)
	if _, err := db.UserByEmail("third@example.com"); !errors.Is(err, store.ErrNotFound) {
		t.Error("a user without its team was kept")
	}
}

func TestDeleteUserTakesEverythingAlong(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	w := storetest.Populate(t, db, "ada", t0)
	session := w.SignIn(t, db)
	_, access := w.Connect(t, db, read)
	pending := w.Code(t, db, read)
	if err := db.DeleteUser(w.User.ID); err != nil {
		t.Fatal(err)
	}
	_, err := db.Access(access, t0)
	wantErr(t, err, store.ErrNotFound)
	_, _, err = db.Session(session.Hash, t0)
	wantErr(t, err, store.ErrNotFound)
	_, err = db.RedeemCode(pending, t0)
	wantErr(t, err, store.ErrNotFound)
	_, err = db.Member(w.Team.ID, w.User.ID)
	wantErr(t, err, store.ErrNotMember)
	wantErr(t, db.DeleteUser(w.User.ID), store.ErrNotFound)
}

func TestSetupWorksOnceAndOnlyForTheNewestLink(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	first, second := store.HashSecret("first"), store.HashSecret("second")
	for _, h := range []store.Hash{first, second} {
		if err := db.PutSetup(store.Setup{Hash: h, Expires: t0.Add(30 * time.Minute)}); err != nil {
			t.Fatal(err)
		}
	}
	u := store.User{ID: "u1", Email: "root@example.com"}
	team := store.Team{ID: "t1", Slug: "home"}
	s := store.Session{Hash: store.HashSecret("s"), User: "u1", Expires: t0.Add(time.Hour)}
	wantErr(t, db.CompleteSetup(first, u, team, s, t0), store.ErrNotFound)
	wantErr(t, db.CompleteSetup(second, u, team, s, t0.Add(30*time.Minute)), store.ErrExpired)
	if yes, _ := db.HasAdmin(); yes {
		t.Fatal("a refused setup made an administrator")
	}
	wantErr(t, db.CompleteSetup(second, u, team, s, t0), nil)
	wantErr(t, db.CompleteSetup(second, store.User{ID: "u2", Email: "x@example.com"}, store.Team{ID: "t2", Slug: "x"}, s, t0), store.ErrSetUp)
	wantErr(t, db.PutSetup(store.Setup{Hash: first, Expires: t0}), store.ErrSetUp)
	wantErr(t, db.CheckSetup(second, t0), store.ErrSetUp)
	got, err := db.User("u1")
	if err != nil || !got.Admin {
		t.Errorf("first user is %+v, %v", got, err)
	}
	m, err := db.Member("t1", "u1")
	if err != nil || m.Role != store.RoleOwner {
		t.Errorf("membership is %+v, %v", m, err)
	}
	wantErr(t, db.DeleteUser("u1"), store.ErrLastAdmin)
}

func TestSetPasswordEndsOtherSessions(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	w := storetest.Populate(t, db, "ada", t0)
	keep, other := w.SignIn(t, db), w.SignIn(t, db)
	ended, err := db.SetPassword(w.User.ID, "$new", keep.Hash)
	if err != nil || ended != 1 {
		t.Fatalf("SetPassword = %d, %v", ended, err)
	}
	if _, u, err := db.Session(keep.Hash, t0); err != nil || u.Password != "$new" {
		t.Errorf("kept session: %+v, %v", u, err)
	}
	_, _, err = db.Session(other.Hash, t0)
	wantErr(t, err, store.ErrNotFound)
	if err := db.RehashPassword(w.User.ID, "$old", "$stale"); err != nil {
		t.Fatal(err)
	}
	if u, _ := db.User(w.User.ID); u.Password != "$new" {
		t.Errorf("a rehash of an old password replaced the new one: %q", u.Password)
	}
}

func TestResetPasswordEndsEverything(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	w, other := storetest.Populate(t, db, "ada", t0), storetest.Populate(t, db, "eve", t0)
	s := w.SignIn(t, db)
	_, access := w.Connect(t, db, "pods:read") // signs in once more
	_, hers := other.Connect(t, db, "pods:read")
	ended, revoked, err := db.ResetPassword(w.User.ID, "$new")
	if err != nil || ended != 2 || revoked != 1 {
		t.Fatalf("ResetPassword = %d, %d, %v; want 2 sessions and 1 connection", ended, revoked, err)
	}
	_, _, err = db.Session(s.Hash, t0)
	wantErr(t, err, store.ErrNotFound)
	_, err = db.Access(access, t0)
	wantErr(t, err, store.ErrNotFound)
	if _, err := db.Access(hers, t0); err != nil {
		t.Errorf("somebody else's token: %v", err)
	}
	if u, err := db.User(w.User.ID); err != nil || u.Password != "$new" {
		t.Errorf("the password is %q, %v", u.Password, err)
	}
	_, _, err = db.ResetPassword("nobody", "$new")
	wantErr(t, err, store.ErrNotFound)
}

func TestSignInDoesNotOutliveAPasswordChange(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	u := store.User{ID: "u", Email: "ada@example.com", Password: "$old", Created: t0}
	wantErr(t, db.CreateUser(u), nil)
	s := store.Session{Hash: store.HashSecret("s"), User: "u", Created: t0, LastUsed: t0, Expires: t0.Add(time.Hour)}
	_, _, err := db.ResetPassword("u", "$new")
	wantErr(t, err, nil)
	wantErr(t, db.CreateSessionWith(s, "$old"), store.ErrMismatch)
	_, _, err = db.Session(s.Hash, t0)
	wantErr(t, err, store.ErrNotFound)
	wantErr(t, db.CreateSessionWith(s, "$new"), nil)
	s.User = "nobody"
	wantErr(t, db.CreateSessionWith(s, "$new"), store.ErrNotFound)
}

func TestSessionsSlide(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	w := storetest.Populate(t, db, "ada", t0)
	s := w.SignIn(t, db)
	_, _, err := db.Session(s.Hash, s.Expires)
	wantErr(t, err, store.ErrExpired)
	used := t0.Add(29 * 24 * time.Hour)
	db.NoteSessionUse(s.Hash, used)
	check := func(when string) {
		t.Helper()
		got, _, err := db.Session(s.Hash, s.Expires)
		if err != nil || !got.LastUsed.Equal(used) || !got.Expires.Equal(used.Add(store.SessionTTL)) {
			t.Errorf("%s: %+v, %v", when, got, err)
		}
		list, err := db.Sessions(w.User.ID, s.Expires)
		if err != nil || len(list) != 1 || !list[0].LastUsed.Equal(used) {
			t.Errorf("%s: list %+v, %v", when, list, err)
		}
	}
	check("noted")
	if err := db.Flush(); err != nil {
		t.Fatal(err)
	}
	check("flushed")
	db.NoteSessionUse(store.HashSecret("gone"), t0)
	wantErr(t, db.Flush(), nil)
}

func TestApproveChecksEverythingAgain(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	w := storetest.Populate(t, db, "ada", t0)
	stranger := storetest.Populate(t, db, "bob", t0)
	session, other := w.SignIn(t, db), stranger.SignIn(t, db)
	req := store.AuthRequest{Handle: store.HashSecret("h"), Session: session.Hash, Client: w.Client.ID, RedirectURI: "https://a.example/", Scopes: []store.Scope{read}, Expires: t0.Add(30 * time.Minute)}
	wantErr(t, db.CreateAuthRequest(req), nil)
	good := store.Approval{Handle: req.Handle, Session: session.Hash, Team: w.Team.ID, Scopes: req.Scopes, Code: store.HashSecret("c"), Expires: t0.Add(10 * time.Minute)}
	for name, c := range map[string]struct {
		change func(*store.Approval)
		now    time.Time
		want   error
	}{
		"another browser":   {func(a *store.Approval) { a.Session = other.Hash }, t0, store.ErrMismatch},
		"unknown handle":    {func(a *store.Approval) { a.Handle = store.HashSecret("x") }, t0, store.ErrNotFound},
		"too late":          {func(*store.Approval) {}, req.Expires, store.ErrExpired},
		"foreign team":      {func(a *store.Approval) { a.Team = stranger.Team.ID }, t0, store.ErrNotMember},
		"scope never asked": {func(a *store.Approval) { a.Scopes = []store.Scope{"pods:exec"} }, t0, store.ErrMismatch},
	} {
		a := good
		c.change(&a)
		if _, err := db.Approve(a, c.now); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	_, err := db.Deny(req.Handle, other.Hash, t0)
	wantErr(t, err, store.ErrMismatch)
	_, err = db.Approve(good, t0)
	wantErr(t, err, nil)
	_, err = db.Approve(good, t0)
	wantErr(t, err, store.ErrNotFound)
	_, err = db.Deny(req.Handle, session.Hash, t0)
	wantErr(t, err, store.ErrNotFound)
}

func TestRequestsOfOneBrowserAreBounded(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	w := storetest.Populate(t, db, "ada", t0)
	s := w.SignIn(t, db)
	handle := func(i int) store.Hash { return store.HashSecret(fmt.Sprint("handle ", i)) }
	const many = 25
	for i := range many {
		r := store.AuthRequest{Handle: handle(i), Session: s.Hash, Client: w.Client.ID, Created: t0.Add(time.Duration(i) * time.Second), Expires: t0.Add(30 * time.Minute)}
		wantErr(t, db.CreateAuthRequest(r), nil)
	}
	for i := range many {
		_, err := db.AuthRequest(handle(i), s.Hash, t0)
		want := error(nil)
		if i < many-20 {
			want = store.ErrNotFound
		}
		if !errors.Is(err, want) {
			t.Errorf("request %d: %v, want %v", i, err, want)
		}
	}
	wantErr(t, db.DeleteSession(s.Hash), nil)
	_, err := db.AuthRequest(handle(many-1), s.Hash, t0)
	wantErr(t, err, store.ErrNotFound)
}

func TestRedeemRefusesWhatDoesNotMatch(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	w := storetest.Populate(t, db, "ada", t0)
	good := w.Code(t, db, read)
	for name, c := range map[string]struct {
		change func(*store.Redemption)
		now    time.Time
		want   error
		field  string
	}{
		"unknown code":   {func(r *store.Redemption) { r.Code = store.HashSecret("x") }, t0, store.ErrNotFound, ""},
		"another client": {func(r *store.Redemption) { r.Client = "other" }, t0, store.ErrNotFound, ""},
		"redirect URI":   {func(r *store.Redemption) { r.RedirectURI += "x" }, t0, store.ErrMismatch, "redirect_uri"},
		"verifier":       {func(r *store.Redemption) { r.Challenge = "other" }, t0, store.ErrMismatch, "code_verifier"},
		"no verifier":    {func(r *store.Redemption) { r.Challenge = "" }, t0, store.ErrMismatch, "code_verifier"},
		"resource":       {func(r *store.Redemption) { r.Resources = []string{"https://else.example/api/mcp"} }, t0, store.ErrMismatch, "resource"},
		"too late":       {func(*store.Redemption) {}, t0.Add(10 * time.Minute), store.ErrExpired, ""},
	} {
		r := good
		c.change(&r)
		_, err := db.RedeemCode(r, c.now)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if m := (*store.MismatchError)(nil); c.field != "" && (!errors.As(err, &m) || m.Field != c.field) {
			t.Errorf("%s: %v does not name %s", name, err, c.field)
		}
	}
	// None of these spent it or revoked anything, and one of several names is enough.
	good.Resources = append([]string{"https://else.example/api/mcp"}, good.Resources...)
	g, err := db.RedeemCode(good, t0)
	if err != nil || g.User != w.User.ID || g.Team != w.Team.ID || !slices.Equal(g.Scopes, []store.Scope{read}) {
		t.Fatalf("RedeemCode = %+v, %v", g, err)
	}
}

func TestRedeemIsSingleUse(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	w := storetest.Populate(t, db, "ada", t0)
	code := w.Code(t, db, read)
	const tries = 50
	var wg sync.WaitGroup
	var mu sync.Mutex
	won := 0
	tokens := make([]store.Credential, tries)
	for i := range tries {
		wg.Go(func() {
			r := code
			r.Access, r.Grant = store.HashSecret(fmt.Sprint("token ", i)), store.GrantID(store.NewID())
			tokens[i] = storetest.AccessOf(r)
			_, err := db.RedeemCode(r, t0)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				won++
			case !errors.Is(err, store.ErrSpent):
				t.Errorf("try %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	if won != 1 {
		t.Errorf("%d of %d tries won, want 1", won, tries)
	}
	for i, h := range tokens {
		if _, err := db.Access(h, t0); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("token %d lives after the code was used again: %v", i, err)
		}
	}
}

// Whoever has an old code cannot make the disk work with it: the second use
// revokes, the third finds nothing to do.
func TestReplayCostsOneCommit(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	code := storetest.Populate(t, db, "ada", t0).Code(t, db, read)
	_, err := db.RedeemCode(code, t0)
	wantErr(t, err, nil)
	before := db.Transaction()
	for range 5 {
		_, err := db.RedeemCode(code, t0)
		wantErr(t, err, store.ErrSpent)
	}
	if n := db.Transaction() - before; n != 1 {
		t.Errorf("five replays cost %d commits, want 1", n)
	}
}

// A client lives as long as its tokens and a while longer, also when it
// connects again and again, for which it is not written each time.
func TestRedemptionKeepsTheClient(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	w := storetest.Populate(t, db, "ada", t0)
	var kept time.Time
	for day := range 3 {
		code := w.Code(t, db, read)
		code.Expires = t0.Add(time.Duration(day)*12*time.Hour + 30*24*time.Hour)
		_, err := db.RedeemCode(code, t0)
		wantErr(t, err, nil)
		c, err := db.Client(w.Client.ID)
		wantErr(t, err, nil)
		if written := c.Expires; day > 0 && !written.Equal(kept) {
			t.Errorf("redemption %d wrote the client", day)
		}
		kept = c.Expires
		if left := c.Expires.Sub(code.Expires); left < store.ClientIdleTTL || left > store.ClientIdleTTL+30*24*time.Hour {
			t.Errorf("redemption %d leaves the client %v beyond its token", day, left)
		}
	}
}

func TestForeignUseOfASpentCodeRevokesNothing(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	w := storetest.Populate(t, db, "ada", t0)
	code := w.Code(t, db, read)
	_, err := db.RedeemCode(code, t0)
	wantErr(t, err, nil)
	forged := code
	forged.Client, forged.Access = "other", store.HashSecret("forged")
	_, err = db.RedeemCode(forged, t0)
	wantErr(t, err, store.ErrNotFound)
	if _, err := db.Access(storetest.AccessOf(code), t0); err != nil {
		t.Errorf("another client's try revoked the token: %v", err)
	}
}

func TestCodeOfAFormerMemberIsDead(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	w := storetest.Populate(t, db, "ada", t0)
	code := w.Code(t, db, read)
	_, err := db.RemoveMember(w.Team.ID, w.User.ID)
	wantErr(t, err, nil)
	_, err = db.RedeemCode(code, t0)
	wantErr(t, err, store.ErrNotMember)
	// To be a member again takes a new approval.
	wantErr(t, db.PutMember(store.Member{Team: w.Team.ID, User: w.User.ID, Role: store.RoleMember, Created: t0}), nil)
	_, err = db.RedeemCode(code, t0)
	wantErr(t, err, store.ErrNotMember)
}

// Each way to end a connection ends its token for the very next look-up,
// although the access was just read and is remembered.
func TestEndedConnectionsAreDeadAtOnce(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*store.DB, storetest.World, store.Grant, store.Credential) error{
		"revoke": func(db *store.DB, w storetest.World, g store.Grant, _ store.Credential) error {
			return db.RevokeGrant(g.ID, w.User.ID)
		},
		"revoke token": func(db *store.DB, w storetest.World, _ store.Grant, h store.Credential) error {
			return db.RevokeToken(h, w.Client.ID)
		},
		"remove member": func(db *store.DB, w storetest.World, _ store.Grant, _ store.Credential) error {
			_, err := db.RemoveMember(w.Team.ID, w.User.ID)
			return err
		},
		"log out everywhere": func(db *store.DB, w storetest.World, _ store.Grant, _ store.Credential) error {
			_, _, err := db.EndEverything(w.User.ID)
			return err
		},
		"delete user": func(db *store.DB, w storetest.World, _ store.Grant, _ store.Credential) error {
			return db.DeleteUser(w.User.ID)
		},
		"expiry": func(db *store.DB, w storetest.World, g store.Grant, _ store.Credential) error {
			_, err := db.Sweep(t.Context(), g.Expires)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := storetest.New(t)
			w := storetest.Populate(t, db, "ada", t0)
			bystander := storetest.Populate(t, db, "bob", t0.Add(time.Hour))
			g, access := w.Connect(t, db, read)
			_, untouched := bystander.Connect(t, db, read)
			for range 2 {
				if _, err := db.Access(access, t0); err != nil {
					t.Fatal(err)
				}
			}
			if err := end(db, w, g, access); err != nil {
				t.Fatal(err)
			}
			if a, err := db.Access(access, t0); err == nil {
				t.Errorf("the token still opens %+v", a)
			}
			if _, err := db.Access(untouched, t0); err != nil {
				t.Errorf("somebody else's token died too: %v", err)
			}
			if list, _ := db.Grants(w.User.ID, t0); len(list) != 0 {
				t.Errorf("the connection is still listed: %+v", list)
			}
		})
	}
}

func TestAccessFollowsRoleAndTime(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	w := storetest.Populate(t, db, "ada", t0)
	g, access := w.Connect(t, db, read)
	a, err := db.Access(access, t0)
	if err != nil || a.Role != store.RoleOwner || a.Team.Slug != "ada" || a.Grant.ID != g.ID {
		t.Fatalf("Access = %+v, %v", a, err)
	}
	wantErr(t, db.CreateUser(store.User{ID: "bob", Email: "bob@example.com"}, store.Member{Team: w.Team.ID, User: "bob", Role: store.RoleOwner}), nil)
	wantErr(t, db.PutMember(store.Member{Team: w.Team.ID, User: w.User.ID, Role: store.RoleMember}), nil)
	if a, err := db.Access(access, t0); err != nil || a.Role != store.RoleMember {
		t.Errorf("after the change: %+v, %v", a, err)
	}
	_, err = db.Access(access, g.Expires)
	wantErr(t, err, store.ErrExpired)
}

// A revocation that has returned is seen by every look-up that begins later,
// also while look-ups and other writes go on all the time.
func TestRevocationIsNeverOvertakenByTheCache(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	w := storetest.Populate(t, db, "ada", t0)
	for range 20 {
		g, access := w.Connect(t, db, read)
		stop := make(chan struct{})
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
						_, _ = db.Access(access, t0)
					}
				}
			})
		}
		wantErr(t, db.RevokeGrant(g.ID, w.User.ID), nil)
		for range 100 {
			if _, err := db.Access(access, t0); !errors.Is(err, store.ErrNotFound) {
				t.Fatalf("revoked token: %v", err)
			}
		}
		close(stop)
		wg.Wait()
	}
}

func TestRevokeOnlyOnesOwn(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	w, other := storetest.Populate(t, db, "ada", t0), storetest.Populate(t, db, "bob", t0)
	g, access := w.Connect(t, db, read)
	wantErr(t, db.RevokeGrant(g.ID, other.User.ID), store.ErrNotFound)
	wantErr(t, db.RevokeToken(access, other.Client.ID), nil)
	wantErr(t, db.RevokeToken(store.Credential{Grant: g.ID, Hash: store.HashSecret("unknown")}, w.Client.ID), nil)
	if _, err := db.Access(access, t0); err != nil {
		t.Errorf("somebody else ended the connection: %v", err)
	}
}

func TestSweepTakesWhatExpiredAndNothingElse(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	w := storetest.Populate(t, db, "ada", t0)
	_, access := w.Connect(t, db, read)
	const unused = 300 // more than two steps of the sweeper
	for i := range unused {
		wantErr(t, db.CreateClient(store.Client{ID: store.ClientID(fmt.Sprint("unused-", i)), Expires: t0.Add(time.Hour)}), nil)
	}
	before := db.Transaction()
	if n, err := db.Sweep(t.Context(), t0); n != 0 || err != nil || db.Transaction() != before {
		t.Fatalf("nothing is due, yet Sweep = %d, %v, and made %d commits", n, err, db.Transaction()-before)
	}
	if n, err := db.Sweep(t.Context(), t0.Add(time.Hour)); n < unused || err != nil {
		t.Fatalf("Sweep = %d, %v", n, err)
	}
	_, err := db.Client("unused-7")
	wantErr(t, err, store.ErrNotFound)
	// The client with a connection outlives its first deadline.
	if _, err := db.Sweep(t.Context(), t0.Add(store.ClientUnusedTTL+time.Hour)); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Client(w.Client.ID); err != nil {
		t.Errorf("client with a connection: %v", err)
	}
	if _, err := db.Access(access, t0.Add(2*24*time.Hour)); err != nil {
		t.Errorf("live token: %v", err)
	}
	// In the end everything with a deadline goes.
	if _, err := db.Sweep(t.Context(), t0.Add(365*24*time.Hour)); err != nil {
		t.Fatal(err)
	}
	_, err = db.Client(w.Client.ID)
	wantErr(t, err, store.ErrNotFound)
}

// A client whose deadline comes while a person decides about it stays for the
// answer, and no longer.
func TestSweepWaitsForADecision(t *testing.T) {
	t.Parallel()
	deadline := t0.Add(store.ClientUnusedTTL)
	for _, decided := range []bool{true, false} {
		db := storetest.New(t)
		w := storetest.Populate(t, db, "ada", t0)
		w.Now = deadline.Add(-time.Minute)
		var r store.Redemption
		if decided {
			r = w.Code(t, db, read)
		} else {
			session := w.SignIn(t, db)
			wantErr(t, db.CreateAuthRequest(store.AuthRequest{
				Handle: store.HashSecret("handle"), Session: session.Hash, Client: w.Client.ID, Scopes: []store.Scope{read}, Created: w.Now, Expires: w.Now.Add(30 * time.Minute),
			}), nil)
		}
		_, err := db.Sweep(t.Context(), deadline)
		wantErr(t, err, nil)
		_, err = db.Client(w.Client.ID)
		wantErr(t, err, nil)
		if decided {
			_, err = db.RedeemCode(r, deadline)
			wantErr(t, err, nil)
			continue
		}
		_, err = db.Sweep(t.Context(), deadline.Add(2*time.Hour))
		wantErr(t, err, nil)
		_, err = db.Client(w.Client.ID)
		wantErr(t, err, store.ErrNotFound)
	}
}

func TestPodNames(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	w, other := storetest.Populate(t, db, "ada", t0), storetest.Populate(t, db, "bob", t0)
	pod := store.Pod{ID: "p1", Name: "shop", Team: w.Team.ID, Want: store.WantRunning, Env: map[string]string{"A": "b"}}
	allow := func([]store.Pod) error { return nil }
	wantErr(t, db.CreatePod(pod, t0, allow), nil)
	rival := store.Pod{ID: "p2", Name: "shop", Team: other.Team.ID}
	wantErr(t, db.CreatePod(rival, t0, allow), store.ErrTaken)
	refusal := errors.New("quota")
	wantErr(t, db.CreatePod(store.Pod{ID: "p3", Name: "more", Team: w.Team.ID}, t0, func(mine []store.Pod) error {
		if len(mine) != 1 || mine[0].ID != "p1" {
			t.Errorf("the quota sees %+v", mine)
		}
		return refusal
	}), refusal)

	for _, value := range []string{"a", "b"} {
		p, err := db.SetEnv("p1", func(env map[string]string) error { env["X"] += value; return nil })
		if wantErr(t, err, nil); p.Env["X"] != value && p.Env["X"] != "ab" {
			t.Errorf("%v", p.Env)
		}
	}
	refused := errors.New("refused")
	_, err := db.SetEnv("p1", func(env map[string]string) error { env["X"] = "c"; return refused })
	wantErr(t, err, refused)
	if p, err := db.Pod("p1"); err != nil || p.Env["X"] != "ab" {
		t.Errorf("%v %v", p.Env, err)
	}
	wantErr(t, db.SetWant("p1", store.WantGone), nil)
	_, err = db.SetEnv("p1", func(map[string]string) error { return nil })
	wantErr(t, err, store.ErrNotFound)
	wantErr(t, db.SetWant("p1", store.WantRunning), store.ErrNotFound)
	wantErr(t, db.CreatePod(rival, t0, allow), store.ErrTaken)
	until := t0.Add(7 * 24 * time.Hour)
	wantErr(t, db.ForgetPod("p1", until), nil)
	wantErr(t, db.ForgetPod("p1", until), nil)
	wantErr(t, db.CreatePod(rival, t0, allow), store.ErrReserved)
	wantErr(t, db.CreatePod(store.Pod{ID: "p4", Name: "shop", Team: w.Team.ID}, t0, allow), nil)
	wantErr(t, db.SetWant("p4", store.WantGone), nil)
	wantErr(t, db.ForgetPod("p4", until), nil)
	wantErr(t, db.CreatePod(rival, until, allow), nil)
	wantErr(t, db.CreatePod(store.Pod{ID: "p5", Name: "x", Team: "absent"}, t0, allow), store.ErrNotFound)
}

func TestMembershipLists(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	w, other := storetest.Populate(t, db, "ada", t0), storetest.Populate(t, db, "bob", t0)
	wantErr(t, db.PutMember(store.Member{Team: w.Team.ID, User: other.User.ID, Role: store.RoleMember}), nil)
	wantErr(t, db.PutMember(store.Member{Team: "absent", User: other.User.ID}), store.ErrNotFound)
	wantErr(t, db.PutMember(store.Member{Team: w.Team.ID, User: "absent"}), store.ErrNotFound)
	wantErr(t, db.CreateTeam(store.Team{ID: "t9", Slug: w.Team.Slug}), store.ErrTaken)
	mine, err := db.TeamsOf(other.User.ID)
	if err != nil || len(mine) != 2 {
		t.Errorf("TeamsOf = %+v, %v", mine, err)
	}
	in, err := db.Members(w.Team.ID)
	if err != nil || len(in) != 2 {
		t.Errorf("Members = %+v, %v", in, err)
	}
	_, err = db.RemoveMember(w.Team.ID, "absent")
	wantErr(t, err, store.ErrNotMember)
}
