package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"syscall"

	bolt "go.etcd.io/bbolt"
)

// Format is the number of the disk format that this build reads and writes. It
// rises with every change of a bucket, a key or a record; see docs/format.md.
const Format = 18

var (
	bucketMeta   = []byte("meta")
	bucketExpiry = []byte("expiry")
	keyApp       = []byte("application")
	keyFormat    = []byte("format")
	appName      = []byte("podgate")
)

// Migrated says that a file was brought to another format.
type Migrated struct {
	From, To int
	Copy     string // the path of the file as it was before
}

// CopyPath returns where Open leaves the copy of the file at path, which was of that format
// before it was migrated.
func CopyPath(path string, format int) string { return fmt.Sprintf("%s.format%d", path, format) }

// prepare brings the file to the wanted format, or refuses it unchanged.
func prepare(db *DB, format int, steps []migration) (*Migrated, error) {
	path := db.bolt.Path()
	var found int
	err := db.view(func(tx *bolt.Tx) (err error) { found, err = readFormat(tx); return err })
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %s", err, path)
	case found == format:
		if err := db.view(haveBuckets); err != nil {
			return nil, fmt.Errorf("%w: %s", err, path)
		}
		return nil, nil
	case found > format:
		return nil, fmt.Errorf("%w: %s has format %d, this podgate reads up to %d; install the newer podgate again", ErrNewerStore, path, found, format)
	}
	m := &Migrated{From: found, To: format, Copy: CopyPath(path, found)}
	if err := copyAside(db, m.Copy); err != nil {
		return nil, fmt.Errorf("store: copy %s to %s before it is migrated: %w", path, m.Copy, err)
	}
	if err := db.bolt.Update(func(tx *bolt.Tx) error { return migrate(tx, found, format, steps) }); err != nil {
		return nil, fmt.Errorf("store: migrate %s from format %d to %d, it stays as it was: %w", path, found, format, err)
	}
	return m, nil
}

// readFormat returns the number that stands in the file.
func readFormat(tx *bolt.Tx) (int, error) {
	meta := tx.Bucket(bucketMeta)
	if meta == nil || string(meta.Get(keyApp)) != string(appName) {
		return 0, ErrForeign
	}
	raw := meta.Get(keyFormat)
	if len(raw) != 8 {
		return 0, fmt.Errorf("%w: it does not say its format", ErrForeign)
	}
	n := binary.BigEndian.Uint64(raw)
	if n == 0 || n > math.MaxInt32 {
		return 0, fmt.Errorf("%w: there is no format %d", ErrForeign, n)
	}
	return int(n), nil
}

func writeFormat(tx *bolt.Tx, format int) error {
	return tx.Bucket(bucketMeta).Put(keyFormat, binary.BigEndian.AppendUint64(nil, uint64(format)))
}

// makeBuckets turns an empty file into a database.
func makeBuckets(tx *bolt.Tx, format int) error {
	for _, name := range bucketNames() {
		if _, err := tx.CreateBucket([]byte(name)); err != nil {
			return err
		}
	}
	return errors.Join(tx.Bucket(bucketMeta).Put(keyApp, appName), writeFormat(tx, format))
}

// haveBuckets returns ErrDamaged unless every bucket is there, so that nothing
// that reads or writes has to ask.
func haveBuckets(tx *bolt.Tx) error {
	for _, name := range bucketNames() {
		if tx.Bucket([]byte(name)) == nil {
			return fmt.Errorf("%w: bucket %s is missing", ErrDamaged, name)
		}
	}
	return nil
}

// bucketNames lists every bucket of the present format.
func bucketNames() []string {
	names := []string{string(bucketMeta), string(bucketExpiry)}
	for _, t := range tables {
		names = append(names, t.buckets()...)
	}
	return names
}

// copyAside writes the database to another path, with the mode and the owner
// that its file has, and waits until the disk has it. A copy that is there
// already is replaced, at once and whole: a server that starts again and again
// must not fill the disk with them.
func copyAside(db *DB, to string) error {
	info, err := os.Stat(db.bolt.Path())
	if err != nil {
		return err
	}
	part := to + ".part"
	if err := writeCopy(db, part); err != nil {
		return err
	}
	f, err := os.OpenFile(part, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if err := errors.Join(ownLike(f, info), f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(part))
	}
	return errors.Join(os.Rename(part, to), syncDir(filepath.Dir(to)))
}

// writeCopy writes the database as it is now to a file of its own, in place of
// one that an earlier try may have left.
func writeCopy(db *DB, path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = db.WriteTo(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// ownLike gives a file the owner and the mode of another. Who may not give it
// away keeps it to themselves.
func ownLike(f *os.File, info fs.FileInfo) error {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		err := f.Chown(int(stat.Uid), int(stat.Gid))
		if errors.Is(err, fs.ErrPermission) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return f.Chmod(info.Mode().Perm())
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
