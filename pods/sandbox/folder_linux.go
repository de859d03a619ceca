//go:build linux && (amd64 || arm64)

package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"podgate/store"
)

// prepareFolder makes the pod's folder with home and logs and returns the host
// uid they belong to.
func (r *Runtime) prepareFolder(id store.PodID) (hostID int, err error) {
	folder := r.folder(id)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return 0, err
	}
	hostID = os.Geteuid()
	if r.uids != nil {
		if hostID, err = r.uids.of(folder); err != nil {
			return 0, err
		}
	}
	for _, name := range []string{"home", "logs"} {
		if err := ownedDir(filepath.Join(folder, name), hostID); err != nil {
			return 0, err
		}
	}
	return hostID, nil
}

// ownedDir makes path a folder of uid. When it exists with another owner, as
// after a restore or a change from an ordinary user to root, all in it changes
// hands.
func ownedDir(path string, uid int) error {
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a folder", path)
	}
	if int(info.Sys().(*syscall.Stat_t).Uid) == uid {
		return nil
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("%s belongs to another user: give it to the one podgate runs as", path)
	}
	return giveTo(path, uid)
}

// giveTo changes the owner of a tree that may hold anything. No link in it is
// followed.
func giveTo(path string, uid int) error {
	root, err := os.OpenRoot(path)
	if err != nil {
		return err
	}
	defer root.Close()
	return fs.WalkDir(root.FS(), ".", func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return root.Lchown(name, uid, uid)
	})
}

// removeTree deletes a folder whatever its pod left in it, such as folders
// that their owner may not open. nil when it is absent.
func removeTree(path string) error {
	err := os.RemoveAll(path)
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	if err := openUp(path); err != nil {
		return err
	}
	return os.RemoveAll(path)
}

// openUp makes all folders of a tree passable for their owner. It does not
// leave the tree.
func openUp(path string) error {
	root, err := os.OpenRoot(path)
	if err != nil {
		return err
	}
	defer root.Close()
	return openUpIn(root, ".")
}

func openUpIn(root *os.Root, dir string) error {
	f, err := root.Open(dir)
	if err != nil {
		return err
	}
	entries, err := f.ReadDir(-1)
	f.Close()
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		name := filepath.Join(dir, e.Name())
		if err := root.Chmod(name, 0o700); err != nil {
			return err
		}
		if err := openUpIn(root, name); err != nil {
			return err
		}
	}
	return nil
}
