package backup

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// partPattern is what a backup is called until it is complete.
const partPattern = ".podgate-backup-*.part"

// Create makes the file at path, for this user only, of what write writes. The file
// is there when the disk has all of it, or not at all. One that is there already
// stays, and is fs.ErrExist, unless replace says otherwise.
func Create(path string, replace bool, write func(io.Writer) error) error {
	return create(filepath.Dir(path), path, replace, write)
}

// create is Create with the folder, on the same file system, in which the file is made.
func create(aside, path string, replace bool, write func(io.Writer) error) (err error) {
	if _, err := os.Lstat(path); err == nil && !replace {
		return taken(path)
	}
	f, err := os.CreateTemp(aside, partPattern) // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if gone := os.Remove(f.Name()); gone != nil && !errors.Is(gone, fs.ErrNotExist) {
			err = errors.Join(err, gone)
		}
	}()
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if replace {
		err = os.Rename(f.Name(), path)
	} else {
		err = putInPlace(f.Name(), path, os.Link)
	}
	if err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

// putInPlace gives a file its name, unless there is one of that name. A link leaves
// alone what has come meanwhile; where the file system has none, as on a stick, a rename
// has to do.
func putInPlace(from, to string, link func(string, string) error) error {
	err := link(from, to)
	switch {
	case errors.Is(err, fs.ErrExist):
		return taken(to)
	case errors.Is(err, syscall.EPERM), errors.Is(err, errors.ErrUnsupported), errors.Is(err, syscall.EMLINK):
		if _, err := os.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
			return cmpOr(err, taken(to))
		}
		return os.Rename(from, to)
	}
	return err
}

func taken(path string) error {
	return fmt.Errorf("%s: %w; give another name, or replace it with --force", path, fs.ErrExist)
}
