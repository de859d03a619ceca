package store_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"podgate/store"
	"podgate/store/storetest"
)

// Whoever begins to watch a connection and then looks at it either sees that it
// has ended or is told, however the two fall together.
func TestNoLossIsMissed(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	w := storetest.Populate(t, db, "ann", time.Now())
	for range 200 {
		g, access := w.Connect(t, db, "pods:read")
		if _, err := db.Access(access, w.Now); err != nil { // the cache has it
			t.Fatal(err)
		}
		var told atomic.Bool
		var stop func()
		var seen error
		var both sync.WaitGroup
		both.Go(func() {
			stop = db.OnLoss(g.ID, func() { told.Store(true) })
			_, seen = db.Access(access, w.Now)
		})
		both.Go(func() {
			if err := db.RevokeGrant(g.ID, g.User); err != nil {
				t.Error(err)
			}
		})
		both.Wait()
		stop()
		if !told.Load() && !errors.Is(seen, store.ErrNotFound) {
			t.Fatalf("not told, and the connection was seen as live: %v", seen)
		}
	}
}

// A loss is told before the writer hears that it is written, to all who watch
// that connection and have not stopped, and to nobody when nothing was written.
func TestWhoIsToldOfALoss(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	w := storetest.Populate(t, db, "ann", time.Now())
	lost, access := w.Connect(t, db, "pods:read")
	other, _ := w.Connect(t, db, "pods:read")
	told := map[string]int{}
	watch := func(name string, id store.GrantID) func() {
		return db.OnLoss(id, func() {
			told[name]++
			if _, err := db.Access(access, w.Now); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("%s was told before it was so: %v", name, err)
			}
		})
	}
	watch("first", lost.ID)
	watch("second", lost.ID)
	watch("stopped", lost.ID)()
	stop := watch("other", other.ID)
	if err := db.RevokeGrant(lost.ID, "somebody"); !errors.Is(err, store.ErrNotFound) || len(told) > 0 {
		t.Errorf("%v, told %v", err, told)
	}
	_, cached := db.Access(access, w.Now)
	if err := errors.Join(cached, db.RevokeGrant(lost.ID, lost.User)); err != nil {
		t.Fatal(err)
	}
	if told["first"] != 1 || told["second"] != 1 || len(told) != 2 {
		t.Errorf("told %v", told)
	}
	stop()
}
