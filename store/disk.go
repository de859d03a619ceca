package store

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
)

// unclean is EUCLEAN, by which Linux says that the file system itself is damaged. Others
// have no error of that number.
const unclean = syscall.Errno(117)

// words gives the error of a commit that the disk refused its kind.
//
// When it was full, bbolt has undone the commit, and the file is what it was: what was
// written went to pages that the last commit does not use. When it failed, nobody knows
// what of the commit it has: after a flush that failed the kernel takes what it could not
// write for written. What is written on top of that could use pages which the disk still
// needs, so there is no further commit until the file is opened anew.
func (db *DB) words(err error) error {
	switch {
	case err == nil || unwritten(err):
		return err
	case isErrno(err, syscall.ENOSPC, syscall.EDQUOT):
		return &DiskFullError{Path: db.bolt.Path(), Err: err}
	case isErrno(err, syscall.EIO, syscall.EROFS, syscall.ENXIO, syscall.ENODEV, unclean):
		db.failed.CompareAndSwap(nil, &DiskFailedError{Path: db.bolt.Path(), Err: err})
	}
	if failed := db.DiskFailed(); failed != nil {
		return failed
	}
	return err
}

// DiskFailed returns a *DiskFailedError once the disk has failed to take a commit. From
// then on all that writes returns it, and what reads goes on.
func (db *DB) DiskFailed() error {
	if e := db.failed.Load(); e != nil {
		return e
	}
	return nil
}

// isErrno reports whether err is one of these. When bbolt cannot grow the file it passes
// on the text of the error alone.
func isErrno(err error, list ...syscall.Errno) bool {
	for _, no := range list {
		if errors.Is(err, no) || strings.HasPrefix(err.Error(), "file ") && strings.HasSuffix(err.Error(), no.Error()) {
			return true
		}
	}
	return false
}

// unwritten reports whether the disk is why nothing was written: it is full, or failed.
func unwritten(err error) bool { return errors.Is(err, ErrDiskFull) || errors.Is(err, ErrDiskFailed) }

// DiskFullError says that nothing was written for want of room. It is an
// ErrDiskFull.
type DiskFullError struct {
	Path string // of the database
	Err  error
}

func (e *DiskFullError) Error() string {
	return fmt.Sprintf("store: the disk that holds %s is full, make room on it: %v", e.Path, e.Err)
}

// Unwrap gives the cause.
func (e *DiskFullError) Unwrap() error { return e.Err }

// Is makes errors.Is(err, ErrDiskFull) hold.
func (e *DiskFullError) Is(target error) bool { return target == ErrDiskFull }

// DiskFailedError says that the disk did not take a commit, and that there are no more.
// It is an ErrDiskFailed.
type DiskFailedError struct {
	Path string // of the database
	Err  error  // of the first commit that failed
}

func (e *DiskFailedError) Error() string {
	return fmt.Sprintf("store: the disk that holds %s cannot be written any more (%v): look at the kernel's log, mend the disk, and start podgate again", e.Path, e.Err)
}

// Unwrap gives the cause.
func (e *DiskFailedError) Unwrap() error { return e.Err }

// Is makes errors.Is(err, ErrDiskFailed) hold.
func (e *DiskFailedError) Is(target error) bool { return target == ErrDiskFailed }
