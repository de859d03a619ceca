package store

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	bolt "go.etcd.io/bbolt"
)

// A file never shrinks by itself: what is deleted leaves pages that are used again.
// compactStep is how many bytes one transaction of a copy writes, and compactLeast the
// room, in bytes, below which writing a file anew is not worth it.
const (
	compactStep  = 1 << 20
	compactLeast = 16 << 20
)

// Roomy reports whether more than half of the file is free, and enough of it to be worth
// Compact.
func (db *DB) Roomy() (bool, error) {
	s, err := db.Stats()
	return s.Free > compactLeast && s.Free > s.Size/2, err
}

// ErrNotCompacted is a file that could not be written anew and stays as it was.
var ErrNotCompacted = errors.New("store: the file could not be written anew and stays as it was")

// Compacted says what Compact did to the file, in bytes.
type Compacted struct {
	Before, After int64
}

// Compact writes the file anew without the room that is free in it, for which the disk
// must have as much room as is not. It is for who has just opened the file: nothing else
// may use db meanwhile. ErrNotCompacted, after which db is as it was; after any other
// error it is closed. A crash leaves the old file or the new one.
func (db *DB) Compact() (c Compacted, err error) {
	path := db.bolt.Path()
	info, err := os.Stat(path)
	if err != nil {
		return c, fmt.Errorf("%w: %w", ErrNotCompacted, err)
	}
	part := path + ".compact"
	defer os.Remove(part)
	if err := db.copyCompact(part, info); err != nil {
		return c, fmt.Errorf("%w: %s: %w", ErrNotCompacted, path, db.words(err))
	}
	copied, err := os.Stat(part)
	if err == nil {
		err = os.Rename(part, path)
	}
	if err != nil {
		return c, fmt.Errorf("%w: %w", ErrNotCompacted, err)
	}
	b, err := openBolt(path, roomy()) // before the old one lets go, so that nobody comes in between with that
	if err = errors.Join(err, syncDir(filepath.Dir(path)), db.bolt.Close()); err != nil {
		if b != nil {
			err = errors.Join(err, b.Close())
		}
		return c, err
	}
	caches.Delete(db.bolt)
	caches.Store(b, &db.access)
	db.access.retireAll(nil) // what was committed in between found no cache
	db.bolt = b
	return Compacted{info.Size(), copied.Size()}, nil
}

// copyCompact writes what is in the database to a file of its own, reads it again and
// waits until the disk has it.
func (db *DB) copyCompact(part string, like fs.FileInfo) error {
	if err := os.Remove(part); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	to, err := bolt.Open(part, 0o600, &bolt.Options{NoSync: true, FreelistType: bolt.FreelistMapType})
	if err != nil {
		return err
	}
	err = bolt.Compact(to, db.bolt, compactStep)
	if err == nil {
		err = sameContent(to, db.bolt)
	}
	if err := errors.Join(err, to.Sync(), to.Close()); err != nil {
		return err
	}
	f, err := os.OpenFile(part, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(ownLike(f, like), f.Sync(), f.Close())
}

// sameContent returns an error unless two databases hold the same.
func sameContent(a, b *bolt.DB) error {
	return a.View(func(ta *bolt.Tx) error {
		return b.View(func(tb *bolt.Tx) error {
			var names [][]byte
			err := tb.ForEach(func(name []byte, _ *bolt.Bucket) error { names = append(names, bytes.Clone(name)); return nil })
			for _, name := range names {
				err = errors.Join(err, sameBucket(name, ta.Bucket(name), tb.Bucket(name)))
			}
			return err
		})
	})
}

func sameBucket(name []byte, a, b *bolt.Bucket) error {
	differ := fmt.Errorf("the copy of bucket %s is another", name)
	if a == nil || a.Sequence() != b.Sequence() {
		return differ
	}
	ca, cb := a.Cursor(), b.Cursor()
	ka, va := ca.First()
	kb, vb := cb.First()
	for ; ka != nil && kb != nil; ka, va = ca.Next() {
		if !bytes.Equal(ka, kb) || !bytes.Equal(va, vb) {
			return differ
		}
		kb, vb = cb.Next()
	}
	if ka != nil || kb != nil {
		return differ
	}
	return nil
}
