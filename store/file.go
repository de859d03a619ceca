package store

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// lockWait is how long Open waits for another process to let go of the file: a
// command that runs while the server stops should not fail for a few
// milliseconds of overlap.
const lockWait = 250 * time.Millisecond

// openFile opens the file at path, in which everything can be read. Of formats
// later than format it is enough that they can be told.
func openFile(path string, format int) (*bolt.DB, error) {
	if err := inspect(path, format); err != nil {
		return nil, err
	}
	return openBolt(path, roomy())
}

// roomy are options for a file that is to be used: growing the map waits for every
// reader, so it begins large.
func roomy() bolt.Options { return bolt.Options{InitialMmapSize: 64 << 20} }

// createFile makes an empty database, whole or not at all: a file without
// anything in it is therefore damage. Nothing happens when there is a file.
func createFile(path string, format int) error {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	temp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new-*")
	if err != nil {
		return fmt.Errorf("store: create %s: %w", path, err)
	}
	defer os.Remove(temp.Name())
	b, err := bolt.Open(temp.Name(), 0o600, nil)
	if err := errors.Join(temp.Close(), err); err != nil {
		return fmt.Errorf("store: create %s: %w", path, err)
	}
	err = b.Update(func(tx *bolt.Tx) error { return makeBuckets(tx, format) })
	if err := errors.Join(err, b.Close()); err != nil {
		return fmt.Errorf("store: create %s: %w", path, err)
	}
	// Unlike a rename this leaves alone what another process has just made.
	if err := os.Link(temp.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("store: create %s: %w", path, err)
	}
	return syncDir(filepath.Dir(path))
}

// readWhole is the largest file, in bytes, that inspect reads from end to end,
// which takes some 30 ms.
const readWhole = 32 << 20

// inspect reads a file and changes nothing. bbolt maps the file and trusts what
// stands in it, so where a part is cut off or overwritten the first use would end
// the process. Of a large file only the ends of each bucket are read, as a start
// should not take seconds.
func inspect(path string, format int) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("store: open %s: %w", path, err)
	}
	if info.Size() == 0 {
		return damaged(path, "it is empty")
	}
	b, err := openBolt(path, bolt.Options{ReadOnly: true})
	if err != nil {
		return err
	}
	var stranger error
	err = guarded(func() error {
		return b.View(func(tx *bolt.Tx) error {
			size := tx.Size()
			if size > info.Size() {
				return fmt.Errorf("its end is missing: %d of %d bytes are there", info.Size(), size)
			}
			found, err := readFormat(tx)
			switch {
			case err != nil:
				stranger = fmt.Errorf("%w: %s", err, path)
				return nil
			case found > format:
				return nil // nobody knows what it is like inside
			case size > readWhole:
				return tx.ForEach(readEnds)
			}
			return tx.ForEach(readBucket)
		})
	})
	if err != nil {
		err = damaged(path, err.Error())
	}
	return errors.Join(err, stranger, b.Close())
}

func damaged(path, how string) error {
	return fmt.Errorf("%w: %s: %s; it was left as it is. Put a copy from before in its place", ErrDamaged, path, how)
}

// readBucket reads each key and value, in order. There are no buckets in buckets.
func readBucket(name []byte, b *bolt.Bucket) error {
	var before []byte
	sum := crc32.NewIEEE()
	c := b.Cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		if before != nil && bytes.Compare(before, k) >= 0 {
			return fmt.Errorf("bucket %s is out of order", name)
		}
		if v == nil {
			return fmt.Errorf("bucket %s holds what is no record", name)
		}
		before = k
		sum.Write(v) // never fails; what counts is that all of it is there
	}
	return nil
}

// readEnds finds the first and the last key.
func readEnds(_ []byte, b *bolt.Bucket) error {
	c := b.Cursor()
	c.First()
	c.Last()
	return nil
}

// openBolt is bolt.Open with errors of this package.
func openBolt(path string, options bolt.Options) (b *bolt.DB, err error) {
	var file *os.File
	options.Timeout, options.FreelistType = lockWait, bolt.FreelistMapType
	open := options.OpenFile
	if open == nil {
		open = os.OpenFile
	}
	options.OpenFile = func(name string, flag int, mode fs.FileMode) (*os.File, error) {
		f, err := open(name, flag&^os.O_CREATE, mode)
		file = f
		return f, err
	}
	panicked := true
	err = guarded(func() (err error) {
		b, err = bolt.Open(path, 0o600, &options)
		panicked = false
		return err
	})
	switch {
	case panicked:
		return nil, errors.Join(damaged(path, err.Error()), file.Close()) // and its lock
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, fmt.Errorf("%w: %s", ErrLocked, path)
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrChecksum), errors.Is(err, bolterrors.ErrVersionMismatch):
		return nil, fmt.Errorf("%w: %s: %v", ErrForeign, path, err)
	case err != nil:
		return nil, fmt.Errorf("store: open %s: %w", path, err)
	}
	if err := stillThere(file, path); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// stillThere returns ErrLocked when another process has put another file in the place of
// the one that was opened, while this process waited for its lock: see Compact.
func stillThere(file *os.File, path string) error {
	opened, err := file.Stat()
	if err != nil {
		return err
	}
	now, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("store: open %s: %w", path, err)
	}
	if !os.SameFile(opened, now) {
		return fmt.Errorf("%w: %s", ErrLocked, path)
	}
	return nil
}

// guarded returns as an error that do panics, or that it reads where the file
// does not reach.
func guarded(do func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("it cannot be read (%v)", p)
		}
	}()
	return do()
}
