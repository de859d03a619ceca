package store

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
)

// addDue makes clients whose time is up.
func addDue(t *testing.T, db *DB, n int) {
	t.Helper()
	err := db.update(func(tx *bolt.Tx) error {
		for i := range n {
			if err := clients.insert(tx, &Client{ID: ClientID(fmt.Sprint("due ", i)), Created: t0, Expires: t0.Add(time.Duration(i))}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// left returns how many of them there are.
func left(t *testing.T, db *DB) (n int) {
	t.Helper()
	err := db.view(func(tx *bolt.Tx) error {
		return clients.bucket(tx).ForEach(func(k, _ []byte) error {
			if string(k[:4]) == "due " {
				n++
			}
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// sweeping sweeps what is due while another writer has the file and one call of batch
// waits for it: as soon as the sweeper waits to go with the next commit, then is called.
// It returns what the sweep did, once then has ended, and how to let the writer go.
func sweeping(t *testing.T, db *DB, ctx context.Context, then func(letGo func())) (n int, err error) {
	t.Helper()
	tx, beginErr := db.bolt.Begin(true)
	if beginErr != nil {
		t.Fatal(beginErr)
	}
	var group sync.WaitGroup
	group.Go(func() { addUser(t, db, "first") })
	waitFor(t, func() bool { return db.batcher.committing && len(db.batcher.waiting) == 0 }, db)
	group.Go(func() { n, err = db.Sweep(ctx, t0.Add(time.Hour)) })
	waitFor(t, func() bool { return db.batcher.rider != nil }, db)
	then(sync.OnceFunc(func() {
		if err := tx.Rollback(); err != nil {
			t.Error(err)
		}
	}))
	group.Wait()
	return n, err
}

func addUser(t *testing.T, db *DB, name string) (commit int) {
	t.Helper()
	err := db.batch(func(tx *bolt.Tx) error {
		commit = tx.ID()
		return users.insert(tx, &User{ID: UserID(name), Email: name})
	})
	if err != nil {
		t.Error(err)
	}
	return commit
}

// What others write takes along what is due.
func TestSweepGoesAlong(t *testing.T) {
	t.Parallel()
	db := openBatch(t)
	const due = 40 // of which some fit on a page
	addDue(t, db, due)
	before := db.Transaction()
	n, err := sweeping(t, db, t.Context(), func(letGo func()) {
		var second sync.WaitGroup
		second.Go(func() { addUser(t, db, "second") })
		waitFor(t, func() bool { return len(db.batcher.waiting) == 1 }, db)
		letGo()
		second.Wait()
	})
	if n != due || err != nil || left(t, db) != 0 {
		t.Errorf("Sweep = %d, %v, and %d are left", n, err, left(t, db))
	}
	if made := db.Transaction() - before; made != 2 {
		t.Errorf("%d commits, want those of the two writers", made)
	}
}

// A sweep that is to stop lets go of what it waits for, and has done nothing.
func TestSweepStops(t *testing.T) {
	t.Parallel()
	db := openBatch(t)
	addDue(t, db, 3)
	ctx, cancel := context.WithCancel(t.Context())
	n, err := sweeping(t, db, ctx, func(letGo func()) {
		cancel()
		waitFor(t, func() bool { return db.batcher.rider == nil }, db)
		letGo()
	})
	if n != 0 || err != nil || left(t, db) != 3 {
		t.Errorf("Sweep = %d, %v, and %d of 3 are left", n, err, left(t, db))
	}
	if n, err := db.Sweep(ctx, t0.Add(time.Hour)); n != 0 || err != nil || left(t, db) != 3 {
		t.Errorf("stopped before, Sweep = %d, %v", n, err)
	}
}

// Under a load that never rests, a sweep ends: going along, and also when it has waited
// for long enough.
func TestSweepEndsUnderLoad(t *testing.T) {
	t.Parallel()
	for name, yields := range map[string]time.Duration{"going along": sweepYields, "beside others": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := openBatch(t)
			db.sweepYields = yields
			const due = 400
			addDue(t, db, due)
			ctx, stop := context.WithCancel(t.Context())
			var writers sync.WaitGroup
			var mu sync.Mutex
			commits := map[int]bool{} // of the writers
			for w := range 8 {
				writers.Go(func() {
					for i := 0; ctx.Err() == nil; i++ {
						commit := addUser(t, db, fmt.Sprint(w, " ", i))
						mu.Lock()
						commits[commit] = true
						mu.Unlock()
					}
				})
			}
			waitFor(t, func() bool { return db.batcher.committing }, db)
			before := db.Transaction()
			n, err := db.Sweep(t.Context(), t0.Add(time.Hour))
			after := db.Transaction()
			stop()
			writers.Wait()
			if n != due || err != nil || left(t, db) != 0 {
				t.Errorf("Sweep = %d, %v, and %d are left", n, err, left(t, db))
			}
			own := 0
			for id := before + 1; id <= after; id++ {
				if !commits[id] {
					own++
				}
			}
			if yields == 0 && own == 0 {
				t.Errorf("of %d commits the sweeper made none", after-before)
			}
			t.Logf("%d commits, %d of them the sweeper's own", after-before, own)
		})
	}
}

// What a step may write bounds what it takes, and is never so little that it takes nothing.
func TestSweepTakesPages(t *testing.T) {
	t.Parallel()
	db := openBatch(t)
	addDue(t, db, 4000)
	for _, c := range []struct{ pages, least, most int64 }{{0, 1, 1}, {1, 1, 1}, {16, 2, 20}, {1 << 20, sweepStep, sweepStep}} {
		err := db.update(func(tx *bolt.Tx) error {
			before := pagesOf(tx)
			n, err := sweepSome(tx, t0.Add(time.Hour), c.pages)
			written := pagesOf(tx) - before
			if int64(n) < c.least || c.pages > 1 && c.pages < 1<<20 && written > c.most {
				t.Errorf("for %d pages it took %d entries, and %d pages", c.pages, n, written)
			}
			if c.pages <= 1 && n != 1 {
				t.Errorf("for %d pages it took %d entries, want 1", c.pages, n)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// A rider that fails or panics is undone alone, and so is one of the others.
func TestRiderFailsAlone(t *testing.T) {
	t.Parallel()
	refused := errors.New("refused")
	insert := func(name string) func(*bolt.Tx) error {
		return func(tx *bolt.Tx) error { return users.insert(tx, &User{ID: UserID(name), Email: name}) }
	}
	for name, c := range map[string]struct {
		rider, other           func(*bolt.Tx) error
		wantRider, wantOther   error
		ridersUser, othersUser bool
	}{
		"both go":          {insert("rider"), insert("other"), nil, nil, true, true},
		"the rider fails":  {func(tx *bolt.Tx) error { return errors.Join(insert("rider")(tx), refused) }, insert("other"), errAlone, nil, false, true},
		"the rider panics": {func(*bolt.Tx) error { panic("mine") }, insert("other"), errAlone, nil, false, true},
		"the other fails":  {insert("rider"), func(*bolt.Tx) error { return refused }, nil, refused, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := openBatch(t)
			rider := &batchCall{fn: c.rider, done: make(chan error, 1), rides: true}
			other := &batchCall{fn: c.other, done: make(chan error, 1)}
			commitGroup(db.commit, []*batchCall{other, rider})
			gotRider, gotOther := <-rider.done, <-other.done
			if errors.Is(gotOther, errAlone) {
				gotOther = db.commit(c.other)
			}
			if !errors.Is(gotRider, c.wantRider) || !errors.Is(gotOther, c.wantOther) {
				t.Errorf("the rider: %v, the other: %v", gotRider, gotOther)
			}
			for user, want := range map[UserID]bool{"rider": c.ridersUser, "other": c.othersUser} {
				if _, err := db.User(user); (err == nil) != want {
					t.Errorf("%s: %v", user, err)
				}
			}
		})
	}
}

// After a commit that failed, those who waited for the next one get none.
func TestNoSharedCommitAfterAFailure(t *testing.T) {
	t.Parallel()
	db, err := Open(filepath.Join(t.TempDir(), "podgate.db"))
	if err != nil {
		t.Fatal(err)
	}
	whileWriting(t, db, 4, func(i int) {
		err := db.batch(func(tx *bolt.Tx) error {
			if i == 0 {
				return syscall.EIO // as from the disk
			}
			return users.insert(tx, &User{ID: UserID(fmt.Sprint(i)), Email: fmt.Sprint(i)})
		})
		if !errors.Is(err, ErrDiskFailed) {
			t.Errorf("call %d: %v", i, err)
		}
	})
	if list, err := db.Users(); err != nil || len(list) != 0 {
		t.Errorf("%d were written, %v", len(list), err)
	}
	if err := db.Close(); !errors.Is(err, ErrDiskFailed) && err != nil {
		t.Error(err)
	}
}
