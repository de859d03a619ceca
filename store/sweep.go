package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"time"

	bolt "go.etcd.io/bbolt"
)

const (
	// sweepStep is how many entries one transaction looks at, at most.
	sweepStep = 128
	// sweepPages is about how many pages a commit of the sweeper's own writes: a writer
	// behind it should wait a few milliseconds at most.
	sweepPages = 256
	// sweepShare is what part of the pages that others write the sweeper adds to their
	// commit, and sweepLeast a number of pages that it adds to any.
	sweepShare, sweepLeast = 4, 16
	// sweepYields is for how long a sweep makes no commit of its own beside others.
	sweepYields = 10 * time.Minute
)

// Sweep removes what expired at or before now, in short transactions, until nothing is
// left of that or ctx ends, which is no error. It returns how many entries it met. Its cost
// follows what expired, not what lives: the expiry bucket is ordered by time.
//
// In a large file each record lies on pages of its own, about eight for a connection, and
// a commit takes as long as what it writes. While others share commits (see batch), a sweep
// goes along in about every second of these and adds to it a quarter of its pages, or what
// one entry needs. Once nobody commits, it does so itself. After ten minutes it no longer
// gives way and has about every other commit. So a sweep ends under any load, and what
// expired is gone after some twenty minutes and what these commits take: one sweep may
// have begun just before, and is waited for.
func (db *DB) Sweep(ctx context.Context, now time.Time) (total int, err error) {
	db.sweepMu.Lock()
	defer db.sweepMu.Unlock()
	patient, cancel := context.WithTimeout(ctx, db.sweepYields)
	defer cancel()
	for seen := uint64(0); ctx.Err() == nil; {
		if due, err := db.anythingDue(now); err != nil || !due {
			return total, err
		}
		n, err := 0, errAlone
		if patient.Err() == nil {
			err = db.writing(func() error {
				return db.batcher.ride(patient, &seen, func(tx *bolt.Tx) (err error) {
					n, err = sweepSome(tx, now, max(pagesOf(tx)/sweepShare, sweepLeast))
					return err
				})
			})
		}
		if errors.Is(err, errAlone) && ctx.Err() == nil {
			err = db.release(func(tx *bolt.Tx) (err error) { n, err = sweepSome(tx, now, sweepPages); return err })
		}
		if errors.Is(err, errAlone) {
			break // ctx ended meanwhile
		}
		if err != nil {
			return total, err
		}
		total += n
	}
	return total, nil
}

// pagesOf returns how many pages the transaction writes so far, but for what merging and
// dividing them changes.
func pagesOf(tx *bolt.Tx) int64 {
	stats := tx.Stats()
	return stats.GetNodeCount()
}

// anythingDue keeps an idle server from committing empty transactions.
func (db *DB) anythingDue(now time.Time) (due bool, err error) {
	err = db.view(func(tx *bolt.Tx) error {
		k, _ := tx.Bucket(bucketExpiry).Cursor().First()
		due = isDue(k, now)
		return nil
	})
	return due, err
}

// isDue reports whether an entry has to be looked at; one that is too short to
// be one is, so that it does not stand before all others for ever.
func isDue(entry []byte, now time.Time) bool {
	return entry != nil && (len(entry) < expiryKeyLen || binary.BigEndian.Uint64(entry) <= uint64(now.UnixNano()))
}

// sweepSome takes away what is due, the longest first, until that has written so many
// pages more, and returns how many entries it met: at least one if any is due.
func sweepSome(tx *bolt.Tx, now time.Time, pages int64) (n int, err error) {
	c := tx.Bucket(bucketExpiry).Cursor()
	var due [][]byte
	for k, _ := c.First(); isDue(k, now) && len(due) < sweepStep; k, _ = c.Next() {
		due = append(due, bytes.Clone(k))
	}
	most := pagesOf(tx) + pages
	for n < len(due) && (n == 0 || pagesOf(tx) < most) {
		if err := sweepEntry(tx, due[n], now); err != nil {
			return 0, err
		}
		n++
	}
	return n, nil
}

func sweepEntry(tx *bolt.Tx, entry []byte, now time.Time) error {
	t := ownerOf(tx, entry)
	if t == nil {
		// A cascade earlier in the same sweep took the record along, or the
		// entry is damage: it must not end what lives, nor come up for ever.
		return tx.Bucket(bucketExpiry).Delete(entry)
	}
	return expire(tx, t, entry[9:], now)
}

// expire ends a record whose deadline is due, with what depends on it.
func expire(tx *bolt.Tx, t anyTable, key []byte, now time.Time) error {
	switch t.expiryKind() {
	case sessions.kind:
		return endSession(tx, key)
	case grants.kind:
		return expireGrant(tx, key, now)
	case clients.kind:
		return sweepClient(tx, key, now)
	case legacyTokens.kind:
		return expireLegacy(tx, key, now)
	case attempts.kind:
		return expireAttempt(tx, key, now)
	}
	return t.delete(tx, key)
}

// ownerOf returns the table with the record that has this deadline; nil when
// there is none.
func ownerOf(tx *bolt.Tx, entry []byte) anyTable {
	if len(entry) < expiryKeyLen {
		return nil
	}
	if t := tableOfKind(entry[8]); t != nil && t.ownsExpiry(tx, entry, entry[9:]) {
		return t
	}
	return nil
}

func tableOfKind(kind byte) anyTable {
	for _, t := range tables {
		if t.expiryKind() == kind && kind != 0 {
			return t
		}
	}
	return nil
}
