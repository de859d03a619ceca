package store_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"podgate/store"
	"podgate/store/storetest"
)

// On a full disk nothing is added, with an error that says so, and everything can
// be taken away. Room again, and all is as before.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	storetest.OnSmallDisk(t, "16m", func(dir string) {
		path, filler := filepath.Join(dir, "podgate.db"), filepath.Join(dir, "filler")
		db, err := store.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { wantErr(t, db.Close(), nil) }()
		wantErr(t, db.KeepReserve(), nil)
		w := storetest.Populate(t, db, "ada", t0)
		for range 10 {
			w.Connect(t, db, "pods:read")
		}
		refused := fillUp(t, db, filler)
		if want := "the disk that holds " + path + " is full"; !strings.Contains(refused.Error(), want) || db.OutOfRoom() {
			t.Errorf("%v, want %q", refused, want)
		}
		if n, err := db.Sweep(t.Context(), t0.Add(2*time.Hour)); err != nil || n < 500 || !db.OutOfRoom() {
			t.Errorf("%d were taken away, %v, out of room: %v", n, err, db.OutOfRoom())
		}
		// What was given up is not for others, whatever is free in the file.
		wantErr(t, addSession(db, w.User.ID, "later"), store.ErrDiskFull)
		wantErr(t, db.SetWant("absent", store.WantGone), store.ErrNotFound)
		wantErr(t, db.SetWant("absent", store.WantRunning), store.ErrDiskFull)
		wantErr(t, db.DeleteSession(store.HashSecret("absent")), nil)
		if ended, revoked, err := db.EndEverything(w.User.ID); err != nil || ended == 0 || revoked != 10 {
			t.Errorf("ended %d and %d, %v", ended, revoked, err)
		}
		db.NoteAudit(store.AuditEntry{Action: "sign_in", Actor: w.User.ID, Outcome: store.AuditOK, At: t0})
		wantErr(t, db.FlushHistory(), store.ErrDiskFull)
		if page, err := db.Audit(store.AuditQuery{Limit: 5}, t0); err != nil || len(page.Entries) != 0 {
			t.Errorf("%+v, %v", page, err)
		}
		storetest.FillDisk(t, filler)
		wantErr(t, db.KeepReserve(), store.ErrDiskFull)
		wantErr(t, db.Check(), store.ErrNotChecked)

		wantErr(t, os.Remove(filler), nil)
		wantErr(t, db.KeepReserve(), nil)
		if info, err := os.Stat(path + ".reserve"); err != nil || info.Size() != 4<<20 || db.OutOfRoom() {
			t.Errorf("the reserve: %v, %v", info, err)
		}
		wantErr(t, addSession(db, w.User.ID, "later"), nil)
		if page, err := db.Audit(store.AuditQuery{Limit: 5}, t0); err != nil || len(page.Entries) != 1 {
			t.Errorf("what waited for room: %+v, %v", page, err)
		}
		wantErr(t, db.Check(), nil)
	})
}

// fillUp fills the disk, and then the room that the file itself has, by
// registrations. It returns the error of the first that found none.
func fillUp(t *testing.T, db *store.DB, filler string) error {
	t.Helper()
	for n := range 100_000 {
		if n == 500 {
			storetest.FillDisk(t, filler)
		}
		c := store.Client{ID: store.ClientID(store.NewID()), Name: strings.Repeat("x", 200), Created: t0, Expires: t0.Add(time.Hour - time.Duration(n)*time.Millisecond)}
		if err := db.CreateClient(c); err != nil {
			wantErr(t, err, store.ErrDiskFull)
			return err
		}
	}
	t.Fatal("there was always room")
	return nil
}

func addSession(db *store.DB, user store.UserID, secret string) error {
	return db.CreateSession(store.Session{Hash: store.HashSecret(secret), User: user, UserAgent: strings.Repeat("x", 200), Created: t0, LastUsed: t0, Expires: t0.Add(30 * 24 * time.Hour)})
}

// A start on a full disk serves, and knows that there is nothing to give up.
func TestOpenOnAFullDisk(t *testing.T) {
	t.Parallel()
	storetest.OnSmallDisk(t, "8m", func(dir string) {
		path, filler := filepath.Join(dir, "podgate.db"), filepath.Join(dir, "filler")
		db, err := store.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		w := storetest.Populate(t, db, "ada", t0)
		wantErr(t, db.Close(), nil)
		storetest.FillDisk(t, filler)
		if db, err = store.Open(path); err != nil {
			t.Fatal(err)
		}
		wantErr(t, db.KeepReserve(), store.ErrDiskFull)
		wantErr(t, addSession(db, w.User.ID, "x"), store.ErrDiskFull)
		if names, err := filepath.Glob(filepath.Join(dir, "*reserve*")); err != nil || len(names) > 0 {
			t.Errorf("left of the try: %v, %v", names, err)
		}
		wantErr(t, os.Remove(filler), nil)
		wantErr(t, db.KeepReserve(), nil)
		wantErr(t, errors.Join(addSession(db, w.User.ID, "x"), db.Check(), db.Close()), nil)
	})
}
