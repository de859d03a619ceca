package store

import (
	"context"
	"encoding/binary"
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
func (db *DB) Sweep(ctx context.Context, now time.Time) (int, error) {
	total := 0
	for ctx.Err() == nil {
		if due, err := db.anythingDue(now); err != nil || !due {
			return total, err
		}
		n := 0
		err := db.release(func(tx *bolt.Tx) (err error) { n, err = sweepSome(tx, now); return err })
		if err != nil {
			return total, err
		}
		total += n
		if n < sweepStep {
			return total, nil
		}
	}
	return total, nil
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

func sweepSome(tx *bolt.Tx, now time.Time) (int, error) {
	c := tx.Bucket(bucketExpiry).Cursor()
	var due [][]byte
	for k, _ := c.First(); isDue(k, now) && len(due) < sweepStep; k, _ = c.Next() {
		due = append(due, append([]byte(nil), k...))
	}
	for _, entry := range due {
		t := ownerOf(tx, entry)
		if t == nil {
			// A cascade earlier in the same sweep took the record along, or the
			// entry is damage: it must not end what lives, nor come up for ever.
			if err := tx.Bucket(bucketExpiry).Delete(entry); err != nil {
				return 0, err
			}
			continue
		}
		if err := expire(tx, t, entry[9:], now); err != nil {
			return 0, err
		}
	}
	return len(due), nil
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
