package control

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"podgate/store"
)

const (
	databaseName = "podgate.db"
	podsName     = "pods" // the folder of pods' files
)

// DatabasePath returns where the database of a data folder is.
func DatabasePath(dir string) string { return filepath.Join(dir, databaseName) }

// OpenDatabase opens the database of the data folder dir. One that is absent is
// begun if create says so, else it is ErrNoDatabase. It is never begun beside
// pods: an empty database knows none of them, so they would be stopped and nobody
// could reach them. Other errors are store.Open's.
func OpenDatabase(dir string, create bool) (*store.DB, error) {
	path := DatabasePath(dir)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if !create {
			return nil, fmt.Errorf("%w: %s", ErrNoDatabase, path)
		}
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
		if err := noPods(filepath.Join(dir, podsName), path); err != nil {
			return nil, err
		}
	}
	return store.Open(path)
}

// noPods returns an error when there are pods without their database.
func noPods(folder, database string) error {
	entries, err := os.ReadDir(folder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) { // a file holds no pods either
		return err
	}
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			return fmt.Errorf("there are pods in %s, but %s is missing. Put a copy of it back; to begin anew, move that folder away first", folder, database)
		}
	}
	return nil
}
