package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// Format is the number of the disk format that this build reads and writes.
const Format = 1

// lockWait is how long Open waits for another process to let go of the file: a
// command that runs while the server stops should not fail for a few
// milliseconds of overlap.
const lockWait = 250 * time.Millisecond

var (
	bucketMeta   = []byte("meta")
	bucketExpiry = []byte("expiry")
	keyApp       = []byte("application")
	keyFormat    = []byte("format")
	appName      = []byte("podgate")
)

// DB is an open podgate database. Its methods are safe for concurrent use;
// every one is a single transaction unless it says otherwise.
type DB struct {
	bolt    *bolt.DB
	batcher batcher

	// generation counts committed writes that can change what a token may do.
	// The access cache is valid only for the generation it was read in.
	generation atomic.Uint64
	access     accessCache

	// usedMu guards the last-used times that Flush has yet to write.
	usedMu       sync.Mutex
	usedGrants   map[GrantID]grantUse
	usedSessions map[Hash]time.Time

	journal journal
}

// Open opens the database file at path, creates it with mode 0600 when it does
// not exist, and migrates an older one after copying it aside. Errors:
// ErrLocked when another process holds the file, ErrForeign when it is not
// ours, ErrNewerStore when it is from a later version.
func Open(path string) (*DB, error) { return open(path, Format, migrations) }

// migration takes a database from format `from` to `from+1`, in the one
// transaction that Open runs all of them in.
type migration struct {
	from int
	run  func(*bolt.Tx) error
}

// migrations is empty while Format is 1: there is nothing older to come from.
var migrations []migration

func open(path string, format int, steps []migration) (*DB, error) {
	b, err := bolt.Open(path, 0o600, &bolt.Options{
		Timeout:         lockWait,
		FreelistType:    bolt.FreelistMapType,
		InitialMmapSize: 64 << 20, // growing the map waits for every reader; begin roomy
	})
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, fmt.Errorf("%w: %s", ErrLocked, path)
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrChecksum), errors.Is(err, bolterrors.ErrVersionMismatch):
		return nil, fmt.Errorf("%w: %s: %v", ErrForeign, path, err)
	case err != nil:
		return nil, fmt.Errorf("store: open %s: %w", path, err)
	}
	if err := prepare(b, path, format, steps); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return &DB{bolt: b, usedGrants: map[GrantID]grantUse{}, usedSessions: map[Hash]time.Time{}, journal: journal{bounds: auditBounds{maxAudit, maxAuditStrangers}}}, nil
}

// prepare brings the file to the wanted format, or refuses it unchanged.
func prepare(b *bolt.DB, path string, format int, steps []migration) error {
	found, err := readFormat(b)
	if err != nil {
		return fmt.Errorf("%w: %s", err, path)
	}
	switch {
	case found == format:
		return nil
	case found > format:
		return fmt.Errorf("%w: %s has format %d, this podgate reads up to %d; install the newer podgate again", ErrNewerStore, path, found, format)
	case found > 0:
		if err := copyAside(b, fmt.Sprintf("%s.format%d", path, found)); err != nil {
			return fmt.Errorf("store: copy %s aside before migration: %w", path, err)
		}
	}
	return b.Update(func(tx *bolt.Tx) error {
		if found > 0 {
			for _, m := range steps {
				if m.from < found || m.from >= format {
					continue
				}
				if err := m.run(tx); err != nil {
					return fmt.Errorf("store: migrate from format %d: %w", m.from, err)
				}
			}
		}
		return writeMeta(tx, format)
	})
}

// readFormat returns 0 for an empty file.
func readFormat(b *bolt.DB) (format int, err error) {
	err = b.View(func(tx *bolt.Tx) error {
		meta := tx.Bucket(bucketMeta)
		if meta == nil {
			if k, _ := tx.Cursor().First(); k != nil {
				return ErrForeign
			}
			return nil
		}
		raw := meta.Get(keyFormat)
		if string(meta.Get(keyApp)) != string(appName) || len(raw) != 8 {
			return ErrForeign
		}
		format = int(binary.BigEndian.Uint64(raw))
		return nil
	})
	return format, err
}

func writeMeta(tx *bolt.Tx, format int) error {
	for _, name := range bucketNames() {
		if _, err := tx.CreateBucketIfNotExists([]byte(name)); err != nil {
			return err
		}
	}
	meta := tx.Bucket(bucketMeta)
	if err := meta.Put(keyApp, appName); err != nil {
		return err
	}
	return meta.Put(keyFormat, binary.BigEndian.AppendUint64(nil, uint64(format)))
}

// bucketNames lists every bucket of the current format.
func bucketNames() []string {
	names := []string{string(bucketMeta), string(bucketExpiry)}
	for _, t := range tables {
		names = append(names, t.buckets()...)
	}
	return names
}

func copyAside(b *bolt.DB, path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	err = b.View(func(tx *bolt.Tx) error { _, err := tx.WriteTo(f); return err })
	return errors.Join(err, f.Sync(), f.Close(), syncDir(filepath.Dir(path)))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Close writes what Flush and FlushHistory have yet to write and closes the
// file.
func (db *DB) Close() error { return errors.Join(db.Flush(), db.FlushHistory(), db.bolt.Close()) }

// WriteTo writes a consistent copy of the whole database to w while the server
// goes on. It implements io.WriterTo.
func (db *DB) WriteTo(w io.Writer) (n int64, err error) {
	err = db.bolt.View(func(tx *bolt.Tx) error { n, err = tx.WriteTo(w); return err })
	return n, err
}

func (db *DB) view(fn func(*bolt.Tx) error) error { return db.bolt.View(fn) }

// update runs fn in a commit of its own.
func (db *DB) update(fn func(*bolt.Tx) error) error { return db.committed(db.bolt.Update(fn)) }

// batch runs fn in a commit that concurrent callers share. fn may run more
// than once, so it must set every result it reports on each run.
func (db *DB) batch(fn func(*bolt.Tx) error) error { return db.committed(db.batcher.do(db.bolt, fn)) }

// committed retires the access cache. It runs after the commit and before the
// writer hears of it, so a revocation that was answered is in force.
func (db *DB) committed(err error) error {
	db.generation.Add(1)
	return err
}

// Buckets returns the names of all buckets of the current format.
func Buckets() []string { return bucketNames() }
