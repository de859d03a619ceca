package backup

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// partPattern is what a backup is called until it is complete.
const partPattern = ".podgate-backup-*.part"

// Create makes the file at path, for this user only, of what write writes. The file
// is there when the disk has all of it, or not at all. One that is there already
// stays, and is fs.ErrExist, unless replace says otherwise.
func Create(path string, replace bool, write func(io.Writer) error) (err error) {
	if _, err := os.Lstat(path); err == nil && !replace {
		return taken(path)
	}
	f, err := os.CreateTemp(filepath.Dir(path), partPattern) // mode 0600
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
	} else if err = os.Link(f.Name(), path); errors.Is(err, fs.ErrExist) {
		return taken(path) // unlike a rename, this leaves alone what has come meanwhile
	}
	if err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func taken(path string) error {
	return fmt.Errorf("%s: %w; give another name, or replace it with --force", path, fs.ErrExist)
}
