package store_test

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"podgate/store"
	"podgate/store/storetest"
)

func grantIDs(list []store.Grant) (ids []store.GrantID) {
	for _, g := range list {
		ids = append(ids, g.ID)
	}
	slices.Sort(ids)
	return ids
}

// alive returns the connections of the world's user.
func alive(t *testing.T, db *store.DB, w storetest.World) []store.GrantID {
	t.Helper()
	list, err := db.Grants(w.User.ID, w.Now)
	wantErr(t, err, nil)
	return grantIDs(list)
}

// The connection that another is to replace lives until that one does, and then
// ends with every token that it has, in the same commit.
func TestReplacedWhenTheNewOneComesToLife(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	w := storetest.Populate(t, db, "ada", t0)
	old, refreshable := w.Offline(t, db, read)
	older, plain := w.Connect(t, db, read)
	w.Now = t0.Add(time.Hour)
	code := w.Replacing(t, db, read)
	for _, token := range []store.Credential{refreshable, plain} {
		if _, err := db.Access(token, w.Now); err != nil {
			t.Errorf("ended by an approval that nobody has used: %v", err)
		}
	}
	before := db.Transaction()
	got, err := db.RedeemCode(code, w.Now)
	if want := grantIDs([]store.Grant{old, older}); err != nil || !slices.Equal(grantIDs(got.Replaced), want) {
		t.Fatalf("replaced %v, %v; want %v", grantIDs(got.Replaced), err, want)
	}
	if n := db.Transaction() - before; n != 1 {
		t.Errorf("%d commits", n)
	}
	for _, token := range []store.Credential{refreshable, plain} {
		_, err := db.Access(token, w.Now)
		wantErr(t, err, store.ErrNotFound)
	}
	_, err = db.RotateRefresh(store.Rotation{
		Family: storetest.Family(old.ID), Token: store.HashSecret(string(old.ID) + "0"), Client: w.Client.ID, Salt: []byte("s"),
		Next: store.HashSecret("next"), NextExpires: w.Now.Add(time.Hour), Access: store.HashSecret("new"), AccessExpires: w.Now.Add(time.Hour),
	}, w.Now)
	wantErr(t, err, store.ErrNotFound)
	if a, err := db.Access(storetest.AccessOf(code), w.Now); err != nil || a.Grant.ID != code.Grant {
		t.Errorf("the new one opens %+v, %v", a, err)
	}
}

// An approval that nobody makes use of, and a token request that is refused,
// cost the earlier connection nothing.
func TestAbandonedReplacementEndsNothing(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	w := storetest.Populate(t, db, "ada", t0)
	old, _ := w.Connect(t, db, read)
	code := w.Replacing(t, db, read)
	wrong := code
	wrong.Challenge = "another"
	_, err := db.RedeemCode(wrong, t0)
	wantErr(t, err, store.ErrMismatch)
	_, err = db.RedeemCode(code, t0.Add(time.Hour))
	wantErr(t, err, store.ErrExpired)
	_, err = db.Sweep(t.Context(), t0.Add(time.Hour))
	wantErr(t, err, nil)
	if got := alive(t, db, w); !slices.Equal(got, []store.GrantID{old.ID}) {
		t.Errorf("alive: %v", got)
	}
}

// Only what the person was asked about ends.
func TestReplacesNoOther(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	w, other := storetest.Populate(t, db, "ada", t0), storetest.Populate(t, db, "bob", t0)
	second := store.Team{ID: "second", Slug: "second", Name: "second", Created: t0}
	wantErr(t, db.CreateTeam(second, store.Member{Team: second.ID, User: w.User.ID, Role: store.RoleMember, Created: t0}), nil)
	wantErr(t, db.PutMember(store.Member{Team: w.Team.ID, User: other.User.ID, Role: store.RoleMember, Created: t0}), nil)

	old, _ := w.Connect(t, db, read)
	spared := map[string]store.Grant{}
	spare := func(name string, by storetest.World) {
		spared[name], _ = by.Connect(t, db, read)
	}
	elsewhere, theirs, foreign := w, w, w
	elsewhere.Team, foreign.Client = second, other.Client
	theirs.User = other.User
	spare("another team", elsewhere)
	spare("another client", foreign)
	spare("another person", theirs)
	r := w.Code(t, db, read)
	r.RedirectHost = "elsewhere.example"
	got, err := db.RedeemCode(r, t0)
	wantErr(t, err, nil)
	spared["another redirect host"] = got.Grant

	replacing := w.Replacing(t, db, read)
	later := w
	later.Now = t0.Add(time.Minute)
	spare("came after the approval", later)
	got, err = db.RedeemCode(replacing, later.Now)
	if err != nil || !slices.Equal(grantIDs(got.Replaced), []store.GrantID{old.ID}) {
		t.Errorf("replaced %+v, %v; want %s", got.Replaced, err, old.ID)
	}
	for name, g := range spared {
		if _, err := db.GrantOf(g.ID, g.User, later.Now); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A connection that came to life while the person looked at the page was not on
// it, so it stays.
func TestReplacesWhatThePageShowed(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	w := storetest.Populate(t, db, "ada", t0)
	old, _ := w.Connect(t, db, read)
	session := w.SignIn(t, db)
	req := store.AuthRequest{
		Handle: store.HashSecret("h"), Session: session.Hash, Client: w.Client.ID, RedirectURI: w.Client.RedirectURIs[0], Challenge: "challenge",
		Scopes: []store.Scope{read}, Created: t0, Expires: t0.Add(time.Hour),
	}
	wantErr(t, db.CreateAuthRequest(req), nil)
	w.Now = t0.Add(time.Minute)
	meanwhile, _ := w.Connect(t, db, read)
	_, err := db.Approve(store.Approval{
		Handle: req.Handle, Session: session.Hash, Team: w.Team.ID, Scopes: req.Scopes, RedirectHost: old.RedirectHost, Replace: true,
		Code: store.HashSecret("c"), Expires: req.Expires,
	}, w.Now)
	wantErr(t, err, nil)
	got, err := db.RedeemCode(store.Redemption{
		Code: store.HashSecret("c"), Client: w.Client.ID, RedirectURI: req.RedirectURI, Challenge: req.Challenge, Grant: "new", Access: store.HashSecret("a"), Expires: req.Expires,
	}, w.Now)
	if err != nil || !slices.Equal(grantIDs(got.Replaced), []store.GrantID{old.ID}) {
		t.Errorf("replaced %+v, %v", got.Replaced, err)
	}
	if want := grantIDs([]store.Grant{meanwhile, got.Grant}); !slices.Equal(alive(t, db, w), want) {
		t.Errorf("alive: %v, want %v", alive(t, db, w), want)
	}
}

// Two codes that replace the same connection, redeemed at once: it ends once,
// and both new ones live.
func TestReplacedOnce(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	w := storetest.Populate(t, db, "ada", t0)
	old, _ := w.Connect(t, db, read)
	codes := []store.Redemption{w.Replacing(t, db, read), w.Replacing(t, db, read)}
	ended := make([][]store.Grant, len(codes))
	errs := make([]error, len(codes))
	var wg sync.WaitGroup
	for i, r := range codes {
		wg.Go(func() {
			got, err := db.RedeemCode(r, t0)
			ended[i], errs[i] = got.Replaced, err
		})
	}
	wg.Wait()
	if got := grantIDs(slices.Concat(ended...)); errors.Join(errs...) != nil || !slices.Equal(got, []store.GrantID{old.ID}) {
		t.Errorf("ended %v, %v", got, errs)
	}
	if want := []store.GrantID{codes[0].Grant, codes[1].Grant}; len(alive(t, db, w)) != len(want) {
		t.Errorf("alive: %v, want %v", alive(t, db, w), want)
	}
}
