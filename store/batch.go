package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
)

// maxGroup bounds the calls of one commit, and so how long one can take.
const maxGroup = 500

// commitFunc runs a function in a commit.
type commitFunc func(func(*bolt.Tx) error) error

// batcher lets writers that come while a commit is under way share the next
// one. Unlike bbolt's Batch nobody waits for others to come: alone, a writer
// has its commit at once, and under load the disk itself gathers the group.
type batcher struct {
	mu         sync.Mutex
	waiting    []*batchCall
	committing bool       // somebody takes what is waiting
	groups     uint64     // that were taken so far
	rider      *batchCall // goes with the next group, and makes none by itself
}

type batchCall struct {
	fn    func(*bolt.Tx) error
	done  chan error
	rides bool // the others do not fail because of it
}

// errAlone tells a caller to run its own transaction.
var errAlone = errors.New("store: run it alone")

// do runs fn in a transaction that others may share, and returns after the
// commit. fn may run more than once. An error or panic of fn undoes nothing of
// the others.
func (b *batcher) do(commit commitFunc, fn func(*bolt.Tx) error) error {
	c := &batchCall{fn: fn, done: make(chan error, 1)}
	b.mu.Lock()
	b.waiting = append(b.waiting, c)
	if !b.committing {
		b.committing = true
		go b.commitWaiting(commit)
	}
	b.mu.Unlock()
	if err := <-c.done; !errors.Is(err, errAlone) {
		return err
	}
	return commit(fn)
}

// commitWaiting commits group after group until nobody waits.
func (b *batcher) commitWaiting(commit commitFunc) {
	for {
		b.mu.Lock()
		group := b.waiting[:min(len(b.waiting), maxGroup)]
		b.waiting = b.waiting[len(group):]
		if len(group) == 0 {
			b.waiting, b.committing = nil, false
			b.mu.Unlock()
			return
		}
		b.groups++
		group = slices.Clone(group)
		if b.rider != nil {
			group, b.rider = append(group, b.rider), nil
		}
		b.mu.Unlock()
		commitGroup(commit, group)
	}
}

// quiet is for how long nobody has made a commit when it may be supposed that nobody is
// about to: who comes again as soon as there was an answer is back long before.
const quiet = 10 * time.Millisecond

// ride runs fn at the end of the next commit that others make and returns after it. They
// do not fail because fn does, or because the disk has no room for what it writes. fn may
// run more than once. It is errAlone, with nothing of fn in the file, when nobody makes a
// commit, when fn has to be undone alone, and when ctx ends, which is looked at now and
// then. There is one rider at a time. seen is what it knows of the others: with it the next
// call does not wait again when nobody came meanwhile.
func (b *batcher) ride(ctx context.Context, seen *uint64, fn func(*bolt.Tx) error) error {
	c := &batchCall{fn: fn, done: make(chan error, 1), rides: true}
	b.mu.Lock()
	b.rider = c
	b.mu.Unlock()
	for {
		if b.isQuiet(seen) || ctx.Err() != nil {
			if b.leave(c) {
				return errAlone
			}
			return <-c.done // it is part of a commit by now
		}
		select {
		case err := <-c.done:
			return err
		case <-time.After(quiet):
		}
	}
}

// isQuiet reports whether nobody has made a commit since it was asked before.
func (b *batcher) isQuiet(seen *uint64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	silent := !b.committing && b.groups == *seen
	*seen = b.groups
	return silent
}

// leave reports whether the rider was still waiting, which it is no longer.
func (b *batcher) leave(c *batchCall) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	waited := b.rider == c
	if waited {
		b.rider = nil
	}
	return waited
}

// commitGroup commits all calls but those that fail, which have to be undone
// and therefore run alone, where the caller meets its own error or panic.
func commitGroup(commit commitFunc, group []*batchCall) {
	for len(group) > 0 {
		failed := -1
		err := commit(func(tx *bolt.Tx) error {
			for i, c := range group {
				if err := c.run(tx); err != nil {
					failed = i
					return err
				}
			}
			return nil
		})
		if last := len(group) - 1; failed < 0 && group[last].rides && errors.Is(err, ErrDiskFull) {
			failed = last
		}
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
