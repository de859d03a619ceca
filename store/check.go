package store

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	bolt "go.etcd.io/bbolt"
)

// maxDamage bounds what Check reports: a damaged file can have millions.
const maxDamage = 100

// Check verifies the whole file: bbolt's pages, every record, every index
// entry in both directions, every expiry entry, every reference. It returns
// nil or an error that joins one for each piece of damage, and ErrNotChecked
// when it could not look, as on a full disk. It may run while the
// server goes on: what it looks at is a copy, made beside the file and taken
// away again, because bbolt cannot check its pages beside a writer.
func (db *DB) Check() error {
	db.checkMu.Lock()
	defer db.checkMu.Unlock()
	snapshot, err := openSnapshot(db, db.bolt.Path()+".check")
	if err != nil {
		return err
	}
	var damage []error
	report := func(format string, args ...any) {
		if len(damage) < maxDamage {
			damage = append(damage, fmt.Errorf(format, args...))
		}
	}
	// What cannot be read at all would end the process in bbolt's own check.
	err = guarded(func() error { return snapshot.View(func(tx *bolt.Tx) error { return tx.ForEach(readBucket) }) })
	if err != nil {
		return errors.Join(fmt.Errorf("pages: %w", err), snapshot.Close())
	}
	err = snapshot.View(func(tx *bolt.Tx) error {
		for err := range tx.Check() {
			report("pages: %w", err)
		}
		if err := haveBuckets(tx); err != nil {
			return err
		}
		for _, t := range tables {
			t.check(tx, report)
		}
		checkExpiry(tx, report)
		checkGrants(tx, report)
		checkHistory(tx, report)
		return nil
	})
	return errors.Join(append(damage, err, snapshot.Close())...)
}

// openSnapshot returns a copy of the database as it is now, for reading. Its
// file has no name any more. The list of free pages is read at once: bbolt's own
// check would read it where nobody can catch what a damaged one leads to.
func openSnapshot(db *DB, path string) (snapshot *bolt.DB, err error) {
	if err := writeCopy(db, path); err != nil {
		return nil, fmt.Errorf("%w: make the copy to look at: %w", ErrNotChecked, err)
	}
	err = guarded(func() (err error) {
		snapshot, err = bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true, PreLoadFreelist: true, FreelistType: bolt.FreelistMapType})
		return err
	})
	if err != nil {
		err = fmt.Errorf("pages: %w", err)
	}
	return snapshot, errors.Join(err, os.Remove(path))
}

func (t *table[T]) check(tx *bolt.Tx, report func(string, ...any)) {
	// The walks below never fail: their callbacks return nil.
	_ = t.bucket(tx).ForEach(func(key, raw []byte) error {
		v, err := t.decode(raw)
		if err != nil {
			report("%s %q: %w", t.name, key, err)
			return nil
		}
		if !bytes.Equal(t.key(v), key) {
			report("%s %q: record names another key %q", t.name, key, t.key(v))
		}
		for _, ix := range t.indexes {
			if k := ix.key(v); k != nil && !bytes.Equal(tx.Bucket(t.indexName(ix)).Get(k), key) {
				report("%s %q: missing from index %s", t.name, key, ix.name)
			}
		}
		if k := t.expiryKey(v); k != nil && tx.Bucket(bucketExpiry).Get(k) == nil {
			report("%s %q: missing from expiry", t.name, key)
		}
		if t.refs != nil {
			for _, r := range t.refs(v) {
				if tx.Bucket([]byte(r.table)).Get(r.key) == nil {
					report("%s %q: refers to absent %s %q", t.name, key, r.table, r.key)
				}
			}
		}
		return nil
	})
	for _, ix := range t.indexes {
		_ = tx.Bucket(t.indexName(ix)).ForEach(func(entry, key []byte) error {
			v, err := t.get(tx, key)
			if err != nil {
				report("index %s_by_%s %q: %w", t.name, ix.name, entry, err)
			} else if !bytes.Equal(ix.key(v), entry) {
				report("index %s_by_%s %q: record %q belongs at %q", t.name, ix.name, entry, key, ix.key(v))
			}
			return nil
		})
	}
}

func checkExpiry(tx *bolt.Tx, report func(string, ...any)) {
	_ = tx.Bucket(bucketExpiry).ForEach(func(entry, _ []byte) error {
		if len(entry) < expiryKeyLen {
			report("expiry: entry %x is too short", entry)
		} else if ownerOf(tx, entry) == nil {
			report("expiry: entry %x has no record with that deadline", entry)
		}
		return nil
	})
}

func (t *table[T]) ownsExpiry(tx *bolt.Tx, entry, key []byte) bool {
	v, err := t.get(tx, key)
	return err == nil && bytes.Equal(t.expiryKey(v), entry)
}

// Count is how many records there are of a kind.
type Count struct {
	Kind string `json:"kind"` // the table's name: users, teams, pods …
	N    int    `json:"n"`
}

// Counts returns how many records each table has, in a fixed order. It walks
// the whole file and is meant for maintenance.
func (db *DB) Counts() (list []Count, err error) {
	err = db.view(func(tx *bolt.Tx) error {
		list = nil
		for _, t := range tables {
			name := t.buckets()[0]
			b := tx.Bucket([]byte(name))
			if b == nil {
				return fmt.Errorf("store: bucket %s is missing", name)
			}
			list = append(list, Count{name, b.Stats().KeyN})
		}
		return nil
	})
	return list, err
}
