package store_test

import (
	"testing"
	"time"

	"podgate/store"
	"podgate/store/storetest"
)

func TestStats(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	stats := func() store.Stats {
		t.Helper()
		s, err := db.Stats()
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	before := stats()
	w := storetest.Populate(t, db, "ann", time.Now())
	if _, err := db.Teams(); err != nil {
		t.Fatal(err)
	}
	db.NoteAudit(store.AuditEntry{Action: "sign_in", Actor: w.User.ID, At: w.Now})
	now := stats()
	if now.Commits <= before.Commits || now.Reads <= before.Reads || now.Writing <= before.Writing || now.Size <= 0 || now.Notes != 1 || now.Waiting != 0 || now.Reading != 0 {
		t.Errorf("%+v after %+v", now, before)
	}
	if err := db.FlushHistory(); err != nil {
		t.Fatal(err)
	}
	if s := stats(); s.Notes != 0 || s.Commits != now.Commits+1 {
		t.Errorf("once it is written: %+v", s)
	}
}
