package store_test

import (
	"errors"
	"testing"
	"time"

	"podgate/store"
	"podgate/store/storetest"
)

// A clock that was set back by an hour does not make the grace an hour longer.
func TestGraceWhenTheClockStepsBack(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		back time.Duration
		seen bool
		salt string
		want error
	}{
		"a little":            {5 * time.Second, true, "salt of 1", nil},
		"the grace, lost":     {store.RefreshGrace, false, "salt of 2", nil},
		"an hour, lost":       {time.Hour, false, "salt of 2", nil},
		"an hour, it arrived": {time.Hour, true, "", store.ErrSpent},
	} {
		f := newFamily(t)
		f.mustRotate("0", "1", t0)
		if c.seen {
			f.use(f.accessOf("1"), t0)
		}
		out, err := f.rotate("0", "2", t0.Add(-c.back))
		if !errors.Is(err, c.want) || string(out.Salt) != c.salt {
			t.Errorf("%s: %q, %v; want %q, %v", name, out.Salt, err, c.salt, c.want)
		}
	}
}

// The sweeper takes away what is past its time by the clock that it is given, in
// whatever order the times come, and what was ended stays ended.
func TestSweepWhenTheClockSteps(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	w := storetest.Populate(t, db, "ada", t0)
	early := w.SignIn(t, db)
	w.Now = t0.Add(-24 * time.Hour) // set back: this one ends a day before the other
	late := w.SignIn(t, db)
	_, token := w.Connect(t, db, read)
	used := w.Code(t, db, read)
	if _, err := db.RedeemCode(used, w.Now); err != nil {
		t.Fatal(err)
	}
	sweep := func(at time.Time) {
		t.Helper()
		if _, err := db.Sweep(t.Context(), at); err != nil {
			t.Fatal(err)
		}
		if err := db.Check(); err != nil {
			t.Fatal(err)
		}
	}
	sweep(t0.Add(-48 * time.Hour)) // and back once more
	for _, s := range []store.Session{early, late} {
		if _, _, err := db.Session(s.Hash, t0); err != nil {
			t.Errorf("a session that lives: %v", err)
		}
	}
	if _, err := db.Access(token, t0); err != nil {
		t.Errorf("a token that lives: %v", err)
	}
	_, err := db.RedeemCode(used, t0.Add(-48*time.Hour))
	wantErr(t, err, store.ErrSpent) // whatever the time
	between := late.Expires.Add(time.Hour)
	sweep(between)
	_, _, err = db.Session(late.Hash, t0)
	wantErr(t, err, store.ErrNotFound)
	if _, _, err := db.Session(early.Hash, t0); err != nil {
		t.Errorf("the session that ends a day later: %v", err)
	}
	sweep(t0.Add(365 * 24 * time.Hour)) // forward by a year, and set right
	sweep(t0)
	_, _, err = db.Session(early.Hash, t0)
	wantErr(t, err, store.ErrNotFound)
	w.Now = t0
	if fresh := w.SignIn(t, db); fresh.Hash == early.Hash {
		t.Error("an old session came back")
	}
}
