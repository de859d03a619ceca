package store

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"
)

// DB is an open podgate database. Its methods are safe for concurrent use;
// every one is a single transaction unless it says otherwise.
type DB struct {
	bolt     *bolt.DB
	reserve  reserve
	batcher  batcher
	migrated *Migrated

	access  accessCache
	watches watches

	// usedMu guards the last-used times that Flush has yet to write.
	usedMu       sync.Mutex
	usedGrants   map[GrantID]time.Time
	usedSessions map[Hash]time.Time

	queue historyQueue

	failed atomic.Pointer[DiskFailedError] // the disk did not take a commit

	maxUnusedClients int           // the constant, but in tests
	sweepYields      time.Duration // likewise

	sweepMu sync.Mutex // one sweep at a time

	checkMu sync.Mutex // one snapshot at a time
}

// Open opens the database file at path, creates it with mode 0600 when it does
// not exist, and migrates an older one after copying it aside. Errors, after
// which the file is as it was: ErrLocked when another process holds it,
// ErrForeign when it is not ours, ErrNewerStore when it is from a later version,
// ErrDamaged when part of it is missing.
func Open(path string) (*DB, error) { return open(path, Format, migrations) }

// open is Open for a program of that format, to which steps lead.
func open(path string, format int, steps []migration) (*DB, error) {
	if err := createFile(path, format); err != nil {
		return nil, err
	}
	b, err := openFile(path, format)
	if err != nil {
		return nil, err
	}
	db := &DB{bolt: b, usedGrants: map[GrantID]time.Time{}, usedSessions: map[Hash]time.Time{}, maxUnusedClients: MaxUnusedClients, sweepYields: sweepYields, queue: historyQueue{bounds: auditBounds{maxAudit, maxAuditStrangers, maxAuditConcerns}}}
	caches.Store(b, &db.access)
	if db.migrated, err = prepare(db, format, steps); err != nil {
		caches.Delete(b)
		return nil, errors.Join(err, b.Close())
	}
	return db, nil
}

// Migrated returns what Open did to an older file; nil when it was of this
// format already.
func (db *DB) Migrated() *Migrated { return db.migrated }

// Close writes what Flush and FlushHistory have yet to write and closes the
// file.
func (db *DB) Close() error {
	defer caches.Delete(db.bolt)
	return errors.Join(db.Flush(), db.FlushHistory(), db.bolt.Close())
}

// WriteTo writes a consistent copy of the whole database to w while the server
// goes on. It implements io.WriterTo.
func (db *DB) WriteTo(w io.Writer) (n int64, err error) {
	err = db.bolt.View(func(tx *bolt.Tx) error { n, err = tx.WriteTo(w); return err })
	return n, err
}

func (db *DB) view(fn func(*bolt.Tx) error) error { return db.bolt.View(fn) }

// update runs fn in a commit of its own.
func (db *DB) update(fn func(*bolt.Tx) error) error {
	return db.adding(func() error { return db.bolt.Update(fn) })
}

// release is update for what takes away: rights, sessions, records. It works on a
// full disk, where fn runs a second time once the reserve is given up.
func (db *DB) release(fn func(*bolt.Tx) error) error {
	commit := func() error { return db.bolt.Update(fn) }
	err := db.writing(commit)
	if errors.Is(err, ErrDiskFull) && db.giveUpReserve() {
		err = db.writing(commit)
	}
	return err
}

// batch runs fn in a commit that concurrent callers share. fn may run more
// than once, so it must set every result it reports on each run.
func (db *DB) batch(fn func(*bolt.Tx) error) error {
	return db.adding(func() error { return db.batcher.do(db.commit, fn) })
}

// commit runs fn in a commit that is part of a call of writing: which others wait for,
// and is not made once the disk has failed.
func (db *DB) commit(fn func(*bolt.Tx) error) error {
	if err := db.DiskFailed(); err != nil {
		return err
	}
	return db.words(db.bolt.Update(fn))
}
