package store

import (
	"crypto/rand"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
)

// reserveSize is how much of the disk is kept back beside the database. Ending
// everything that a person has writes some hundred pages of 4 KiB at most, mostly
// to pages that the file has free.
const reserveSize = 4 << 20

// reserve is a file that is given up when the disk is full, so that what takes
// rights away can still be written.
type reserve struct {
	mu    sync.Mutex  // held while the file comes or goes
	given atomic.Bool // it is not there, and there is no room for it
}

func (db *DB) reservePath() string { return db.bolt.Path() + ".reserve" }

// KeepReserve makes the reserve when it is not there; a server calls it at the
// start and now and then. As long as that is an ErrDiskFull all that adds to the
// database is refused with ErrDiskFull too: the room that was given up is for
// what takes away.
func (db *DB) KeepReserve() error {
	db.reserve.mu.Lock()
	defer db.reserve.mu.Unlock()
	if info, err := os.Stat(db.reservePath()); err == nil && info.Size() == reserveSize {
		db.reserve.given.Store(false)
		return nil
	}
	err := db.words(makeReserve(db.reservePath()))
	db.reserve.given.Store(errors.Is(err, ErrDiskFull))
	return err
}

// OutOfRoom reports whether the reserve was given up, or could not be made, and
// is not there again yet.
func (db *DB) OutOfRoom() bool { return db.reserve.given.Load() }

// makeReserve writes random bytes, which take their room on every file system,
// also where holes and repetitions do not.
func makeReserve(path string) error {
	part := path + ".part"
	f, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.CopyN(f, rand.Reader, reserveSize)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(part))
	}
	return errors.Join(os.Rename(part, path), syncDir(filepath.Dir(path)))
}

// giveUpReserve reports whether there was a reserve.
func (db *DB) giveUpReserve() bool {
	db.reserve.mu.Lock()
	defer db.reserve.mu.Unlock()
	if err := os.Remove(db.reservePath()); err != nil {
		return false
	}
	db.reserve.given.Store(true)
	_ = syncDir(filepath.Dir(db.reservePath())) // so that the room is free at once; the next commit tells whether it is
	return true
}

// writing runs a commit, unless the disk failed before.
func (db *DB) writing(commit func() error) error {
	if err := db.DiskFailed(); err != nil {
		return err
	}
	err := db.words(commit())
	if unwritten(err) { // the disk may have it all the same, and what reads sees it then
		db.access.retireAll(nil)
	}
	return err
}

// adding runs a commit that may add to the database.
func (db *DB) adding(commit func() error) error {
	if db.OutOfRoom() {
		return db.words(syscall.ENOSPC)
	}
	return db.writing(commit)
}
