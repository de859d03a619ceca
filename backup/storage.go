package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Storage is where backups are kept: objects by name, each of them whole or not there.
// Names are relative paths of plain letters.
type Storage interface {
	// Put makes an object, or replaces it.
	Put(ctx context.Context, name string, content io.ReadSeeker) error
	// Get reads one; fs.ErrNotExist when there is none.
	Get(ctx context.Context, name string) (io.ReadCloser, error)
	// Delete takes one away, if it is there.
	Delete(ctx context.Context, name string) error
	// List returns all objects whose names begin with prefix, in any order.
	List(ctx context.Context, prefix string) ([]Object, error)
	// Clean takes away what is left of objects that a killed process was putting.
	Clean() error
	// Room is how many bytes have a place; -1 where nobody can tell.
	Room() (int64, error)
	// Listed is how long what List said may be used, as asking costs something.
	Listed() time.Duration
	// String is where it is, in words and without secrets.
	String() string
}

// Object is one thing in a Storage.
type Object struct {
	Name string
	Size int64 // bytes
}

// Folder is a Storage in a folder, which must be there: that of a disk that is not
// mounted is not.
type Folder struct{ Dir string }

// String implements Storage.
func (f Folder) String() string { return f.Dir }

// Listed implements Storage.
func (Folder) Listed() time.Duration { return 0 }

// Room implements Storage.
func (f Folder) Room() (int64, error) { return roomOn(f.Dir) }

func (f Folder) path(name string) string { return filepath.Join(f.Dir, filepath.FromSlash(name)) }

// Put implements Storage.
func (f Folder) Put(ctx context.Context, name string, content io.ReadSeeker) error {
	if dir := path.Dir(name); dir != "." {
		if err := os.Mkdir(f.path(dir), 0o700); err == nil {
			err = syncFolder(f.Dir)
			if err != nil {
				return err
			}
		} else if !errors.Is(err, fs.ErrExist) {
			return err
		}
		if info, err := os.Lstat(f.path(dir)); err != nil || !info.IsDir() {
			return cmpOr(err, fmt.Errorf("%s is in the way and no folder", f.path(dir)))
		}
	}
	return create(f.Dir, f.path(name), true, func(w io.Writer) error {
		_, err := io.Copy(w, untilDone{ctx, content})
		return err
	})
}

// Get implements Storage. No link leads out of the folder.
func (f Folder) Get(_ context.Context, name string) (io.ReadCloser, error) {
	root, err := os.OpenRoot(f.Dir)
	if err != nil {
		return nil, err
	}
	file, err := root.Open(filepath.FromSlash(name))
	if err := errors.Join(err, root.Close()); err != nil {
		return nil, err
	}
	return file, nil
}

// Delete implements Storage. A folder in which nothing is left goes too, and no link leads
// out of f.
func (f Folder) Delete(_ context.Context, name string) error {
	root, err := os.OpenRoot(f.Dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := root.Remove(filepath.FromSlash(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if dir := path.Dir(name); dir != "." {
		_ = syscall.Rmdir(f.path(dir)) // something is still in it, or it is a link
	}
	return nil
}

// List implements Storage. It looks one folder deep.
func (f Folder) List(_ context.Context, prefix string) ([]Object, error) {
	var all []Object
	top, err := os.ReadDir(f.Dir)
	if err != nil {
		return nil, err
	}
	add := func(name string, e fs.DirEntry) {
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() && strings.HasPrefix(name, prefix) {
			all = append(all, Object{name, info.Size()})
		}
	}
	for _, e := range top {
		begin, _, below := strings.Cut(prefix, "/")
		if !e.IsDir() || below && e.Name() != begin || !strings.HasPrefix(e.Name(), begin) {
			add(e.Name(), e)
			continue
		}
		list, err := os.ReadDir(f.path(e.Name()))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, in := range list {
			add(e.Name()+"/"+in.Name(), in)
		}
	}
	return all, nil
}

// Clean implements Storage. Folders of generations in which there is nothing go, too.
func (f Folder) Clean() error {
	empty, _ := filepath.Glob(filepath.Join(f.Dir, begins+"*")) // the pattern is well formed
	for _, path := range empty {
		if isStamp(strings.TrimPrefix(filepath.Base(path), begins)) {
			_ = syscall.Rmdir(path) // something is in it, or it is no folder
		}
	}
	left, err := filepath.Glob(filepath.Join(f.Dir, partPattern)) // the pattern is well formed
	for _, path := range left {
		if gone := os.Remove(path); !errors.Is(gone, fs.ErrNotExist) {
			err = errors.Join(err, gone)
		}
	}
	return err
}

// Try returns why nothing could be written to the folder.
func (f Folder) Try() error {
	file, err := os.CreateTemp(f.Dir, partPattern)
	if err != nil {
		return err
	}
	return errors.Join(file.Close(), os.Remove(file.Name()))
}

// syncFolder writes what is in a folder, by name, to the disk.
func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// readObject reads an object of at most that many bytes, and once more when it breaks off.
func readObject(ctx context.Context, s Storage, name string, most int64) ([]byte, error) {
	raw, err := readOnce(ctx, s, name, most)
	if err != nil && !isAbsent(err) && ctx.Err() == nil {
		raw, err = readOnce(ctx, s, name, most)
	}
	return raw, err
}

func readOnce(ctx context.Context, s Storage, name string, most int64) ([]byte, error) {
	r, err := s.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	defer r.Close() // it was only read
	raw, err := io.ReadAll(io.LimitReader(r, most+1))
	if err == nil && int64(len(raw)) > most {
		err = fmt.Errorf("%s is larger than it can be", name)
	}
	return raw, err
}
