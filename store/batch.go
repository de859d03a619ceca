package store

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	bolt "go.etcd.io/bbolt"
)

// maxGroup bounds the calls of one commit, and so how long one can take.
const maxGroup = 500

// batcher lets writers that come while a commit is under way share the next
// one. Unlike bbolt's Batch nobody waits for others to come: alone, a writer
// has its commit at once, and under load the disk itself gathers the group.
type batcher struct {
	mu         sync.Mutex
	waiting    []*batchCall
	committing bool // somebody takes what is waiting
}

type batchCall struct {
	fn   func(*bolt.Tx) error
	done chan error
}

// errAlone tells a caller to run its own transaction.
var errAlone = errors.New("store: run it alone")

// do runs fn in a transaction that others may share, and returns after the
// commit. fn may run more than once. An error or panic of fn undoes nothing of
// the others.
func (b *batcher) do(db *bolt.DB, fn func(*bolt.Tx) error) error {
	c := &batchCall{fn: fn, done: make(chan error, 1)}
	b.mu.Lock()
	b.waiting = append(b.waiting, c)
	if !b.committing {
		b.committing = true
		go b.commitWaiting(db)
	}
	b.mu.Unlock()
	if err := <-c.done; !errors.Is(err, errAlone) {
		return err
	}
	return db.Update(fn)
}

// commitWaiting commits group after group until nobody waits.
func (b *batcher) commitWaiting(db *bolt.DB) {
	for {
		b.mu.Lock()
		group := b.waiting[:min(len(b.waiting), maxGroup)]
		b.waiting = b.waiting[len(group):]
		if len(group) == 0 {
			b.waiting, b.committing = nil, false
			b.mu.Unlock()
			return
		}
		b.mu.Unlock()
		commitGroup(db, slices.Clone(group))
	}
}

// commitGroup commits all calls but those that fail, which have to be undone
// and therefore run alone, where the caller meets its own error or panic.
func commitGroup(db *bolt.DB, group []*batchCall) {
	for {
		failed := -1
		err := db.Update(func(tx *bolt.Tx) error {
			for i, c := range group {
				if err := c.run(tx); err != nil {
					failed = i
					return err
				}
			}
			return nil
		})
		if failed < 0 {
			for _, c := range group {
				c.done <- err
			}
			return
		}
		group[failed].done <- errAlone
		group = slices.Delete(group, failed, failed+1)
	}
}

// run turns a panic into an error: it belongs to the caller's goroutine.
func (c *batchCall) run(tx *bolt.Tx) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("store: panic in a shared transaction: %v", p)
		}
	}()
	return c.fn(tx)
}
