package store

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// A file that was opened, and has another in its place by the time its lock is free, is
// not used: what is written there would be lost.
func TestReplacedFileIsNotUsed(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "podgate.db")
	for _, name := range []string{path, path + ".new"} {
		if err := createFile(name, Format); err != nil {
			t.Fatal(err)
		}
	}
	holder, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	opened, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		b, err := openBolt(path, bolt.Options{OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
			f, err := os.OpenFile(name, flag, mode)
			close(opened)
			return f, err
		}})
		if err == nil {
			err = b.Close()
		}
		ended <- err
	}()
	<-opened // and waits for the lock now
	if err := errors.Join(os.Rename(path+".new", path), holder.Close()); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, ErrLocked) {
		t.Errorf("it is used: %v", err)
	}
}
