package store_test

import (
	"errors"
	"testing"
	"time"

	"podgate/store"
	"podgate/store/storetest"
)

// As long as the reserve is missing what adds is refused, changes nothing, and
// what takes away works, also where it is found out by a second use of a secret.
func TestOutOfRoom(t *testing.T) {
	t.Parallel()
	f := newFamily(t)
	db, w, now := f.db, f.w, t0.Add(time.Hour)
	f.mustRotate("0", "1", t0)
	f.mustRotate("1", "2", now)
	fresh, spent := w.Code(t, db, read), w.Code(t, db, read)
	redeemed, err := db.RedeemCode(spent, t0)
	wantErr(t, err, nil)
	limited, _ := w.Connect(t, db, read, write)
	ended, token := w.Connect(t, db, read)
	session := w.SignIn(t, db)
	guest := storetest.Populate(t, db, "bob", t0)
	wantErr(t, db.PutMember(store.Member{Team: w.Team.ID, User: guest.User.ID, Role: store.RoleMember}), nil)
	allow := func([]store.Pod) error { return nil }
	wantErr(t, db.CreatePod(store.Pod{ID: "p", Name: "p", Team: w.Team.ID, Want: store.WantRunning}, t0, allow), nil)

	db.LoseReserve()
	before := db.Transaction()
	for name, add := range map[string]func() error{
		"sign-in":      func() error { return db.CreateSession(store.Session{Hash: store.HashSecret("new"), User: w.User.ID}) },
		"registration": func() error { return db.CreateClient(store.Client{ID: "new"}) },
		"redemption":   func() error { _, err := db.RedeemCode(fresh, t0); return err },
		"refresh":      func() error { _, err := f.rotate("2", "3", now); return err },
		"user":         func() error { return db.CreateUser(store.User{ID: "new", Email: "new@example.com"}) },
		"member":       func() error { return db.PutMember(store.Member{Team: guest.Team.ID, User: w.User.ID}) },
		"pod":          func() error { return db.CreatePod(store.Pod{ID: "new", Name: "new", Team: w.Team.ID}, t0, allow) },
		"start":        func() error { return db.SetWant("p", store.WantRunning) },
		"way out":      func() error { return db.SetTeamNetwork(w.Team.ID, store.Network{Mode: "internet"}) },
		"last use":     func() error { db.NoteSessionUse(session.Hash, now); return db.Flush() },
	} {
		if err := add(); !errors.Is(err, store.ErrDiskFull) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := db.Transaction(); n != before {
		t.Errorf("what was refused made %d commits", n-before)
	}
	_, err = f.rotate("0", "x", now)
	wantErr(t, err, store.ErrSpent)
	_, err = db.RedeemCode(spent, t0)
	wantErr(t, err, store.ErrSpent)
	_, err = db.LimitGrant(limited.ID, w.User.ID, []store.Scope{read}, store.Limits{ReadOnly: true}, now)
	wantErr(t, err, nil)
	wantErr(t, db.RevokeToken(token, w.Client.ID), nil)
	list, err := db.Grants(w.User.ID, now)
	if err != nil || len(list) != 1 || list[0].ID != limited.ID || !list[0].Limits.ReadOnly {
		t.Errorf("connections left: %+v, %v; ended were %s, %s and %s", list, err, f.grant.ID, redeemed.Grant.ID, ended.ID)
	}
	wantErr(t, db.RevokeGrant(limited.ID, w.User.ID), nil)
	wantErr(t, db.DeleteSession(session.Hash), nil)
	_, err = db.RemoveMember(w.Team.ID, guest.User.ID)
	wantErr(t, err, nil)
	wantErr(t, db.SetTeamNetwork(w.Team.ID, store.Network{Mode: "none"}), nil)
	wantErr(t, db.SetPodNetwork("p", store.Network{Mode: "none"}), nil)
	wantErr(t, db.SetWant("p", store.WantStopped), nil)
	wantErr(t, db.SetWant("p", store.WantGone), nil)
	wantErr(t, db.ForgetPod("p", now), nil)
	_, err = db.SetPassword(w.User.ID, "phc", store.Hash{})
	wantErr(t, err, nil)
	_, _, err = db.ResetPassword(w.User.ID, "other phc")
	wantErr(t, err, nil)
	wantErr(t, db.DeleteUser(guest.User.ID), nil)
	wantErr(t, db.KeepReserve(), nil)
	wantErr(t, db.Check(), nil)
}
