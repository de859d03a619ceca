package store_test

import (
	"slices"
	"sync"
	"testing"
	"time"

	"podgate/store"
	"podgate/store/storetest"
)

const (
	write = store.Scope("pods:write")
	exec  = store.Scope("pods:exec")
)

// What was approved with the code stands with the connection and is what its
// token opens.
func TestLimitsGoFromApprovalToAccess(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	w := storetest.Populate(t, db, "ada", t0)
	want := store.Limits{ReadOnly: true, Prefix: "web-", MaxPods: 3}
	session := w.SignIn(t, db)
	req := store.AuthRequest{Handle: store.HashSecret("h"), Session: session.Hash, Client: w.Client.ID, RedirectURI: "https://a.example/", Scopes: []store.Scope{read}, Expires: t0.Add(time.Minute)}
	wantErr(t, db.CreateAuthRequest(req), nil)
	_, err := db.Approve(store.Approval{
		Handle: req.Handle, Session: session.Hash, Team: w.Team.ID, Scopes: req.Scopes, Limits: want, Code: store.HashSecret("c"), Expires: t0.Add(time.Minute),
	}, t0)
	wantErr(t, err, nil)
	g, err := db.RedeemCode(store.Redemption{Code: store.HashSecret("c"), Client: w.Client.ID, RedirectURI: req.RedirectURI, Grant: "g", Access: store.HashSecret("a"), Expires: t0.Add(time.Hour)}, t0)
	if err != nil || g.Limits != want {
		t.Fatalf("%+v, %v", g, err)
	}
	if a, err := db.Access(store.Credential{Grant: "g", Hash: store.HashSecret("a")}, t0); err != nil || a.Grant.Limits != want {
		t.Errorf("%+v, %v", a, err)
	}
}

// Limits that were changed are seen by every look-up that begins later, also
// while look-ups go on all the time.
func TestLimitsAreNeverOvertakenByTheCache(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	w := storetest.Populate(t, db, "ada", t0)
	g, access := w.Connect(t, db, read, write, exec)
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
	for i := range 50 {
		want := store.Limits{ReadOnly: i%2 == 0, MaxPods: i}
		_, err := db.LimitGrant(g.ID, w.User.ID, []store.Scope{read, write, exec}, want, t0)
		wantErr(t, err, nil)
		if a, err := db.Access(access, t0); err != nil || a.Grant.Limits != want {
			t.Fatalf("%+v, %v; want %+v", a.Grant.Limits, err, want)
		}
	}
	close(stop)
	wg.Wait()
}

func TestLimitGrantTakesScopesAndAddsNone(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	w, other := storetest.Populate(t, db, "ada", t0), storetest.Populate(t, db, "bob", t0)
	g, access := w.Connect(t, db, read, exec)
	for name, c := range map[string]struct {
		id     store.GrantID
		user   store.UserID
		scopes []store.Scope
		now    time.Time
		want   error
	}{
		"somebody else's": {g.ID, other.User.ID, []store.Scope{read}, t0, store.ErrNotFound},
		"unknown":         {"x", w.User.ID, []store.Scope{read}, t0, store.ErrNotFound},
		"expired":         {g.ID, w.User.ID, []store.Scope{read}, g.Expires, store.ErrNotFound},
		"one more scope":  {g.ID, w.User.ID, []store.Scope{read, write, exec}, t0, store.ErrMismatch},
		"another scope":   {g.ID, w.User.ID, []store.Scope{write}, t0, store.ErrMismatch},
	} {
		_, err := db.LimitGrant(c.id, c.user, c.scopes, store.Limits{Prefix: "x"}, c.now)
		t.Log(name)
		wantErr(t, err, c.want)
	}
	if a, err := db.Access(access, t0); err != nil || len(a.Grant.Scopes) != 2 || a.Grant.Limits != (store.Limits{}) {
		t.Errorf("a refused change left %+v, %v", a, err)
	}
	got, err := db.LimitGrant(g.ID, w.User.ID, []store.Scope{exec}, store.Limits{}, t0)
	if err != nil || !slices.Equal(got.Scopes, []store.Scope{exec}) {
		t.Errorf("%+v, %v", got, err)
	}
	if a, err := db.Access(access, t0); err != nil || !slices.Equal(a.Grant.Scopes, []store.Scope{exec}) {
		t.Errorf("the token still opens %+v, %v", a, err)
	}
	_, err = db.LimitGrant(g.ID, w.User.ID, []store.Scope{read}, store.Limits{}, t0)
	wantErr(t, err, store.ErrMismatch) // what was taken does not come back
	if one, err := db.GrantOf(g.ID, w.User.ID, t0); err != nil || one.ID != g.ID {
		t.Errorf("%+v, %v", one, err)
	}
	_, err = db.GrantOf(g.ID, other.User.ID, t0)
	wantErr(t, err, store.ErrNotFound)
}

// A scope that the client did not ask for may be approved when, and only when,
// a live connection of the same user, client and team has it.
func TestApproveKeepsWhatWasGranted(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	w, other := storetest.Populate(t, db, "ada", t0), storetest.Populate(t, db, "bob", t0)
	second := store.Team{ID: "second", Slug: "second", Name: "second", Created: t0}
	wantErr(t, db.CreateTeam(second, store.Member{Team: second.ID, User: w.User.ID, Role: store.RoleMember, Created: t0}), nil)
	g, _ := w.Connect(t, db, read, exec)
	session, theirs := w.SignIn(t, db), other.SignIn(t, db)
	wantErr(t, db.PutMember(store.Member{Team: w.Team.ID, User: other.User.ID, Role: store.RoleMember, Created: t0}), nil)
	approve := func(client store.ClientID, by store.Session, team store.TeamID, now time.Time) error {
		handle := store.HashSecret(store.NewID())
		wantErr(t, db.CreateAuthRequest(store.AuthRequest{Handle: handle, Session: by.Hash, Client: client, RedirectURI: "https://a.example/", Scopes: []store.Scope{write}, Expires: now.Add(time.Hour)}), nil)
		_, err := db.Approve(store.Approval{Handle: handle, Session: by.Hash, Team: team, Scopes: []store.Scope{write, exec}, Code: store.HashSecret(store.NewID()), Expires: now.Add(time.Hour)}, now)
		return err
	}
	wantErr(t, approve(w.Client.ID, session, w.Team.ID, t0), nil)
	for name, err := range map[string]error{
		"another client": approve(other.Client.ID, session, w.Team.ID, t0),
		"another user":   approve(w.Client.ID, theirs, w.Team.ID, t0),
		"another team":   approve(w.Client.ID, session, second.ID, t0),
		"after its end":  approve(w.Client.ID, session, w.Team.ID, g.Expires),
	} {
		t.Log(name)
		wantErr(t, err, store.ErrMismatch)
	}
	_, err := db.LimitGrant(g.ID, w.User.ID, []store.Scope{read}, store.Limits{}, t0)
	wantErr(t, err, nil)
	wantErr(t, approve(w.Client.ID, session, w.Team.ID, t0), store.ErrMismatch)
}

func TestGrantsOf(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	w, other := storetest.Populate(t, db, "ada", t0), storetest.Populate(t, db, "bob", t0)
	first, _ := w.Connect(t, db, read)
	w.Now = t0.Add(time.Hour)
	last, _ := w.Connect(t, db, read)
	other.Connect(t, db, read)
	list, err := db.GrantsOf(w.User.ID, w.Client.ID, w.Now)
	if err != nil || len(list) != 2 || list[0].ID != last.ID || list[1].ID != first.ID {
		t.Errorf("%+v, %v", list, err)
	}
	if list, err := db.GrantsOf(w.User.ID, other.Client.ID, w.Now); err != nil || len(list) != 0 {
		t.Errorf("%+v, %v", list, err)
	}
	if list, err := db.GrantsOf(w.User.ID, w.Client.ID, first.Expires); err != nil || len(list) != 1 {
		t.Errorf("%+v, %v", list, err)
	}
}

// A client that names on refresh what it was granted at first goes on with what
// is left of it, and a token that it has already opens no more than that.
func TestRefreshAfterAScopeWasTaken(t *testing.T) {
	t.Parallel()
	f := newFamily(t)
	_, err := f.db.LimitGrant(f.grant.ID, f.w.User.ID, []store.Scope{read}, store.Limits{Prefix: "web-"}, t0)
	wantErr(t, err, nil)
	named := f.rotation("0", "1", t0)
	named.Scopes = []store.Scope{read, write}
	_, err = f.db.RotateRefresh(named, t0)
	wantErr(t, err, nil)
	plain := f.mustRotate("1", "2", t0)
	for _, access := range []store.Credential{f.access, f.accessOf("1"), {Grant: f.grant.ID, Hash: plain.Access.Hash}} {
		if a, err := f.db.Access(access, t0); err != nil || !slices.Equal(a.Scopes(), []store.Scope{read}) || a.Grant.Limits.Prefix != "web-" {
			t.Errorf("%+v, %v", a, err)
		}
	}
	for name, scopes := range map[string][]store.Scope{"nothing left": {write}, "never granted": {read, exec}} {
		r := f.rotation("2", "3", t0)
		r.Scopes = scopes
		_, err := f.db.RotateRefresh(r, t0)
		t.Log(name)
		wantErr(t, err, store.ErrMismatch)
	}
	f.mustRotate("2", "3", t0)
}

// What the client asked for and the person unticked is remembered with the
// connection for as long as that lives; what nobody asked for is not.
func TestDeclinedScopes(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	w := storetest.Populate(t, db, "ada", t0)
	w.Connect(t, db, read, write, exec) // so that more than is asked for could be kept
	connect := func(asked, left []store.Scope) store.Grant {
		t.Helper()
		r, session := w.OfflineCode(t, db), w.SignIn(t, db)
		handle := store.HashSecret(store.NewID())
		wantErr(t, db.CreateAuthRequest(store.AuthRequest{
			Handle: handle, Session: session.Hash, Client: r.Client, RedirectURI: r.RedirectURI, Challenge: r.Challenge, Resource: r.Resources[0], Scopes: asked, Offline: true, Expires: t0.Add(time.Hour),
		}), nil)
		r.Code = store.HashSecret(store.NewID())
		_, err := db.Approve(store.Approval{Handle: handle, Session: session.Hash, Team: w.Team.ID, Scopes: left, Code: r.Code, Expires: t0.Add(time.Hour)}, t0)
		wantErr(t, err, nil)
		redeemed, err := db.RedeemCode(r, t0)
		wantErr(t, err, nil)
		return redeemed.Grant
	}
	for _, c := range []struct{ asked, left, declined []store.Scope }{
		{[]store.Scope{read, write}, []store.Scope{read, write}, nil},
		{[]store.Scope{read, write}, []store.Scope{read}, []store.Scope{write}},
		{[]store.Scope{read, write, exec}, []store.Scope{write}, []store.Scope{read, exec}},
		{[]store.Scope{read}, []store.Scope{exec}, []store.Scope{read}},
	} {
		g := connect(c.asked, c.left)
		if !slices.Equal(g.Declined, c.declined) {
			t.Errorf("asked for %v, left %v: declined %v", c.asked, c.left, g.Declined)
		}
		_, err := db.RotateRefresh(store.Rotation{
			Family: storetest.Family(g.ID), Token: g.Refresh.Current, Client: g.Client, Salt: []byte("salt"), Next: store.HashSecret(store.NewID()), NextExpires: t0.Add(time.Hour),
			Access: store.HashSecret(store.NewID()), AccessExpires: t0.Add(time.Hour),
		}, t0)
		wantErr(t, err, nil)
		_, err = db.LimitGrant(g.ID, g.User, g.Scopes, store.Limits{ReadOnly: true}, t0)
		wantErr(t, err, nil)
		if kept, err := db.GrantOf(g.ID, g.User, t0); err != nil || !slices.Equal(kept.Declined, c.declined) {
			t.Errorf("after a refresh and a change of limits: %v, %v", kept.Declined, err)
		}
	}
}
