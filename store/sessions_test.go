package store_test

import (
	"testing"
	"time"

	"podgate/store"
	"podgate/store/storetest"
)

// Of too many sessions the one goes that was not used for the longest time.
func TestSessionsOfAPersonAreBounded(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	w := storetest.Populate(t, db, "ada", t0)
	first, second := w.SignIn(t, db), w.SignIn(t, db)
	for i := range 18 {
		w.Now = t0.Add(time.Duration(i+1) * time.Minute)
		w.SignIn(t, db)
	}
	db.NoteSessionUse(first.Hash, t0.Add(time.Hour)) // not on disk yet
	w.SignIn(t, db)
	if list, err := db.Sessions(w.User.ID, t0); err != nil || len(list) != 20 {
		t.Errorf("%d sessions, %v", len(list), err)
	}
	if _, _, err := db.Session(first.Hash, t0); err != nil {
		t.Errorf("the one in use: %v", err)
	}
	_, _, err := db.Session(second.Hash, t0)
	wantErr(t, err, store.ErrNotFound)
}

// However much it is used, a session ends half a year after the sign-in.
func TestSessionsEndInTheEnd(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	w := storetest.Populate(t, db, "ada", t0)
	s := w.SignIn(t, db)
	day := func(n int) time.Time { return t0.Add(time.Duration(n) * 24 * time.Hour) }
	for n := 0; n < 180; n += 20 {
		if _, _, err := db.Session(s.Hash, day(n)); err != nil {
			t.Fatalf("day %d: %v", n, err)
		}
		db.NoteSessionUse(s.Hash, day(n))
		if n%40 == 0 {
			if err := db.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	db.NoteSessionUse(s.Hash, day(180).Add(-time.Second))
	_, _, err := db.Session(s.Hash, day(180))
	wantErr(t, err, store.ErrExpired)
	if err := db.Flush(); err != nil {
		t.Fatal(err)
	}
	_, _, err = db.Session(s.Hash, day(180))
	wantErr(t, err, store.ErrExpired)
}

// What was approved with the old password, in a session that the new one ends,
// comes to nothing. A code that was used is still known when it comes again.
func TestSetPasswordEndsCodes(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	w := storetest.Populate(t, db, "ada", t0)
	other, spent, kept := w.Code(t, db, read), w.Code(t, db, read), w.Code(t, db, read)
	g, err := db.RedeemCode(spent, t0)
	wantErr(t, err, nil)
	_, err = db.SetPassword(w.User.ID, "$new", sessionOf(t, db, kept.Code))
	wantErr(t, err, nil)
	_, err = db.RedeemCode(other, t0)
	wantErr(t, err, store.ErrNotFound)
	_, err = db.RedeemCode(kept, t0)
	wantErr(t, err, nil)
	if live, err := db.LiveGrants([]store.GrantID{g.ID}, t0); err != nil || !live[g.ID] {
		t.Errorf("a connection that was made: %v, %v", live, err)
	}
	_, err = db.RedeemCode(spent, t0)
	wantErr(t, err, store.ErrSpent)
	last := w.Code(t, db, read)
	_, err = db.SetPassword(w.User.ID, "$newer", store.Hash{})
	wantErr(t, err, nil)
	_, err = db.RedeemCode(last, t0)
	wantErr(t, err, store.ErrNotFound)
}

func sessionOf(t *testing.T, db *store.DB, code store.Hash) store.Hash {
	t.Helper()
	session, err := db.SessionOfCode(code)
	wantErr(t, err, nil)
	return session
}
