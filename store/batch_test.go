package store

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
)

func openBatch(t *testing.T) *DB {
	t.Helper()
	db, err := Open(filepath.Join(t.TempDir(), "podgate.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(db.Check(), db.Close()); err != nil {
			t.Error(err)
		}
	})
	return db
}

// whileWriting runs calls while another writer has the file, and lets go of it
// when all of them wait.
func whileWriting(t *testing.T, db *DB, n int, call func(i int)) {
	t.Helper()
	tx, err := db.bolt.Begin(true)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { call(0) })
	waitFor(t, func() bool { return db.batcher.committing && len(db.batcher.waiting) == 0 }, db) // the first is a group of its own
	for i := range n - 1 {
		wg.Go(func() { call(i + 1) })
	}
	waitFor(t, func() bool { return len(db.batcher.waiting) == n-1 }, db)
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
}

func waitFor(t *testing.T, ready func() bool, db *DB) {
	t.Helper()
	deadline := time.After(40 * time.Second)
	for {
		db.batcher.mu.Lock()
		ok := ready()
		db.batcher.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-deadline:
			t.Fatal("the calls do not come to wait")
		case <-time.After(time.Millisecond):
		}
	}
}

// Writers that come while a commit is under way share the next one.
func TestBatchShares(t *testing.T) {
	t.Parallel()
	db := openBatch(t)
	const n = 50
	var mu sync.Mutex
	commits := map[int]bool{}
	whileWriting(t, db, n, func(i int) {
		id := 0
		err := db.batch(func(tx *bolt.Tx) error {
			id = tx.ID()
			return users.insert(tx, &User{ID: UserID(fmt.Sprint("u", i)), Email: fmt.Sprint("u", i)})
		})
		mu.Lock()
		defer mu.Unlock()
		if commits[id] = true; err != nil {
			t.Error(err)
		}
	})
	if len(commits) != 2 {
		t.Errorf("%d commits, want one for the first and one for all that came meanwhile", len(commits))
	}
	if list, err := db.Users(); err != nil || len(list) != n {
		t.Errorf("%d users, %v", len(list), err)
	}
}

// One that fails or panics meets that itself, and is all that is undone.
func TestBatchFailsAlone(t *testing.T) {
	t.Parallel()
	db := openBatch(t)
	const n = 20
	refused := errors.New("refused")
	whileWriting(t, db, n, func(i int) {
		defer func() {
			if p := recover(); (p != nil) != (i%5 == 2) || p != nil && p != "mine" {
				t.Errorf("call %d panics with %v", i, p)
			}
		}()
		err := db.batch(func(tx *bolt.Tx) error {
			err := users.insert(tx, &User{ID: UserID(fmt.Sprint("u", i)), Email: fmt.Sprint("u", i)})
			switch i % 5 {
			case 1:
				return refused
			case 2:
				panic("mine")
			}
			return err
		})
		if want := map[bool]error{true: refused}[i%5 == 1]; !errors.Is(err, want) {
			t.Errorf("call %d: %v, want %v", i, err, want)
		}
	})
	if list, err := db.Users(); err != nil || len(list) != n/5*3 {
		t.Errorf("%d users, %v", len(list), err)
	}
}

// A closed file is said to everybody.
func TestBatchOnAClosedFile(t *testing.T) {
	t.Parallel()
	db, err := Open(filepath.Join(t.TempDir(), "podgate.db"))
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := db.CreateClient(Client{ID: "c"}); err == nil {
		t.Error("a client went into a closed file")
	}
}
