package store

import (
	"encoding/binary"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"
)

// sweepStep is how many records one sweeping transaction takes. In a large file
// each lies on pages of its own, about eight for a connection, all of which the
// commit writes; a writer behind it should wait a few milliseconds at most.
const sweepStep = 32

// Sweep removes what expired at or before now, in short transactions, and
// returns how many records it met. Its cost follows what expired, not what
// lives: the expiry bucket is ordered by time.
func (db *DB) Sweep(now time.Time) (int, error) {
	total := 0
	for {
		if due, err := db.anythingDue(now); err != nil || !due {
			return total, err
		}
		n := 0
		err := db.update(func(tx *bolt.Tx) (err error) { n, err = sweepSome(tx, now); return err })
		if err != nil {
			return total, err
		}
		total += n
		if n < sweepStep {
			return total, nil
		}
	}
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

func isDue(entry []byte, now time.Time) bool {
	return len(entry) > 9 && binary.BigEndian.Uint64(entry) <= uint64(now.UnixNano())
}

func sweepSome(tx *bolt.Tx, now time.Time) (int, error) {
	c := tx.Bucket(bucketExpiry).Cursor()
	var due [][]byte
	for k, _ := c.First(); isDue(k, now) && len(due) < sweepStep; k, _ = c.Next() {
		due = append(due, append([]byte(nil), k...))
	}
	for _, entry := range due {
		if err := expire(tx, entry[8], entry[9:], now); err != nil {
			return 0, err
		}
	}
	return len(due), nil
}

// expire ends a record whose deadline is due, with what depends on it. A
// cascade earlier in the same sweep may have taken the record along.
func expire(tx *bolt.Tx, kind byte, key []byte, now time.Time) error {
	switch kind {
	case sessions.kind:
		return endSession(tx, key)
	case grants.kind:
		return expireGrant(tx, key, now)
	case clients.kind:
		return sweepClient(tx, key, now)
	case attempts.kind:
		return expireAttempt(tx, key, now)
	}
	t := tableOfKind(kind)
	if t == nil {
		return fmt.Errorf("store: expiry entry of unknown kind %d", kind)
	}
	return t.delete(tx, key)
}

func tableOfKind(kind byte) anyTable {
	for _, t := range tables {
		if t.expiryKind() == kind && kind != 0 {
			return t
		}
	}
	return nil
}
