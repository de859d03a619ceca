package store

import (
	"time"

	bolt "go.etcd.io/bbolt"
)

// ForgetAccess makes the next Access read everything.
func (db *DB) ForgetAccess(c Credential) { db.access.retireGrant([]byte(c.Grant)) }

// Salt returns what the last refresh of a connection was derived with, as far as
// anybody can read it.
func (db *DB) Salt(id GrantID) (salt []byte, err error) {
	err = db.view(func(tx *bolt.Tx) error {
		g, err := grants.get(tx, []byte(id))
		if err == nil {
			salt, err = g.salt(tx)
		}
		return err
	})
	return salt, err
}

// Retired returns how often something was to be forgotten.
func (db *DB) Retired() uint64 {
	_, n := db.access.get(Credential{})
	return n
}

// Transaction returns the number of the last commit.
func (db *DB) Transaction() (n int) {
	_ = db.view(func(tx *bolt.Tx) error { n = tx.ID(); return nil }) // fn never fails
	return n
}

// PagesWritten returns how many pages were written since Open.
func (db *DB) PagesWritten() int64 {
	stats := db.bolt.Stats()
	return stats.TxStats.GetWrite()
}

// SetAuditBounds makes the audit list smaller.
func (db *DB) SetAuditBounds(known, strangers, concerns uint64) {
	db.queue.bounds = auditBounds{known, strangers, concerns}
}

// SetMaxUnusedClients makes room for fewer clients that nobody used.
func (db *DB) SetMaxUnusedClients(n int) { db.maxUnusedClients = n }

// LoseReserve has the database know that it gave up its reserve.
func (db *DB) LoseReserve() { db.reserve.given.Store(true) }

// Lost returns how much was noted and is neither waiting nor written.
func (db *DB) Lost() int {
	db.queue.mu.Lock()
	defer db.queue.mu.Unlock()
	return db.queue.lost
}

// Attempt returns one attempt with the steps that are not past their time.
// ErrNotFound when there is none.
func (db *DB) Attempt(id AttemptID, now time.Time) (a Attempt, err error) {
	if err := db.FlushHistory(); err != nil {
		return Attempt{}, err
	}
	err = db.view(func(tx *bolt.Tx) error {
		if err := load(&a)(attempts.get(tx, []byte(id))); err != nil {
			return err
		}
		if !a.trim(now) {
			return ErrNotFound
		}
		return nil
	})
	return a, err
}

// SessionOfCode returns the session that a code was approved in.
func (db *DB) SessionOfCode(hash Hash) (session Hash, err error) {
	err = db.view(func(tx *bolt.Tx) error {
		c, err := codes.get(tx, hash[:])
		if err == nil {
			session = c.Session
		}
		return err
	})
	return session, err
}

// WriteBeside writes so many bytes for one caller and so many for a rider in one commit,
// and returns what each hears of it.
func (db *DB) WriteBeside(own, riders int) (ownErr, ridersErr error) {
	put := func(key string, n int) *batchCall {
		return &batchCall{done: make(chan error, 1), fn: func(tx *bolt.Tx) error {
			return tx.Bucket(bucketMeta).Put([]byte(key), make([]byte, n))
		}}
	}
	first, rider := put("own", own), put("rider", riders)
	rider.rides = true
	commitGroup(db.commit, []*batchCall{first, rider})
	return <-first.done, <-rider.done
}
