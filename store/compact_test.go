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

// emptied writes a database of which nearly all has expired and is swept away.
func emptied(t *testing.T) (path string, now time.Time) {
	t.Helper()
	path, now = filepath.Join(t.TempDir(), "podgate.db"), time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	storetest.NewBig(t, path, "https://pods.example.com/api/mcp", now, storetest.Size{Users: 20, Clients: 20, Connections: 50, Tokens: 100, Dying: 24_000})
	return path, now
}

func opened(t *testing.T, path string) *store.DB {
	t.Helper()
	db, err := store.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func TestCompact(t *testing.T) {
	t.Parallel()
	path, now := emptied(t)
	db := opened(t, path)
	if roomy, err := db.Roomy(); roomy || err != nil {
		t.Errorf("a full file is roomy: %v, %v", roomy, err)
	}
	if _, err := db.Sweep(t.Context(), now.Add(2*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if roomy, err := db.Roomy(); !roomy || err != nil {
		s, _ := db.Stats()
		t.Fatalf("an empty file is not roomy: %v, %+v", err, s)
	}
	before, err := db.Counts()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".compact", []byte("left by a crash"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := db.Compact()
	if err != nil || c.After >= c.Before/2 {
		t.Fatalf("%+v, %v", c, err)
	}
	if roomy, err := db.Roomy(); roomy || err != nil {
		t.Errorf("a compact file is roomy: %v, %v", roomy, err)
	}
	after, err := db.Counts()
	if err != nil || len(before) != len(after) {
		t.Fatalf("%v, %v", after, err)
	}
	for i, n := range before {
		if after[i] != n {
			t.Errorf("%v became %v", n, after[i])
		}
	}
	// It goes on, keeps what is written, and nobody else has it.
	if err := db.CreateUser(store.User{ID: "eve", Email: "eve@example.com"}); err != nil {
		t.Error(err)
	}
	if _, err := store.Open(path); !errors.Is(err, store.ErrLocked) {
		t.Errorf("opened a second time: %v", err)
	}
	if err := errors.Join(db.Check(), db.Close()); err != nil {
		t.Error(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o640 || info.Size() != c.After {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if _, err := os.Stat(path + ".compact"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the copy is still there: %v", err)
	}
	again := opened(t, path)
	if _, err := again.User("eve"); err != nil {
		t.Error(err)
	}
	if err := errors.Join(again.Check(), again.Close()); err != nil {
		t.Error(err)
	}
}

// What cannot be written anew stays as it was and in use.
func TestCompactThatFails(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "podgate.db")
	db := opened(t, path)
	w := storetest.Populate(t, db, "ann", time.Now())
	if err := os.MkdirAll(path+".compact/in the way", 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Compact(); !errors.Is(err, store.ErrNotCompacted) {
		t.Errorf("%v", err)
	}
	if _, err := db.User(w.User.ID); err != nil {
		t.Error(err)
	}
	if err := db.CreateUser(store.User{ID: "eve", Email: "eve@example.com"}); err != nil {
		t.Error(err)
	}
	if err := errors.Join(db.Check(), db.Close()); err != nil {
		t.Error(err)
	}
}

// Whoever waited for the lock of the file that was there before does not get to use it:
// what either of two writes, one after the other, is there in the end.
func TestOpenWhileTheFileIsReplaced(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "podgate.db")
	db := opened(t, path)
	storetest.Populate(t, db, "ann", time.Now())
	var kept []store.TeamID
	write := func(db *store.DB) (store.TeamID, error) {
		id := store.TeamID(store.NewID())
		return id, db.CreateTeam(store.Team{ID: id, Slug: "t" + strings.ToLower(store.NewID())})
	}
	for range 20 {
		type ended struct {
			id  store.TeamID
			err error
		}
		other := make(chan ended, 1)
		go func() {
			db, err := store.Open(path)
			if err != nil {
				other <- ended{"", err}
				return
			}
			id, err := write(db)
			other <- ended{id, errors.Join(err, db.Close())}
		}()
		_, err := db.Compact()
		id := store.TeamID("")
		if err == nil {
			id, err = write(db)
		}
		if errors.Is(err, store.ErrLocked) { // the other one was quicker
			err = nil
			db = nil
		}
		theirs := <-other
		if errors.Is(theirs.err, store.ErrLocked) {
			theirs.err = nil
		}
		if err := errors.Join(err, theirs.err); err != nil {
			t.Fatal(err)
		}
		if db == nil {
			db = opened(t, path)
		}
		kept = append(kept, id, theirs.id)
	}
	for _, id := range kept {
		if _, err := db.Team(id); id != "" && err != nil {
			t.Errorf("a team that was written is lost: %v", err)
		}
	}
	if err := errors.Join(db.Check(), db.Close()); err != nil {
		t.Error(err)
	}
}
