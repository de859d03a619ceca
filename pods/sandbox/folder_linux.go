//go:build linux && (amd64 || arm64)

package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"podgate/pods"
)

// prepareFolder sees to the pod's folder with home and logs and returns the host
// uid they belong to. The disk has them before anything is in them. The home of a
// pod that was made before must be there.
func (r *Runtime) prepareFolder(sp pods.Spec) (hostID int, err error) {
	if hostID, err = r.hostID(sp.Number); err != nil {
		return 0, err
	}
	folder := r.folder(sp.ID)
	if _, err := os.Lstat(filepath.Join(folder, "home")); err != nil && sp.Made {
		if errors.Is(err, fs.ErrNotExist) {
			return 0, pods.FilesGone(folder)
		}
		return 0, badFolder(folder, err.Error())
	}
	made := false
	for _, path := range []string{folder, filepath.Join(folder, "home"), filepath.Join(folder, "logs")} {
		err := os.Mkdir(path, 0o700)
		made = made || err == nil
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return 0, err
		}
	}
	for _, name := range []string{"home", "logs"} {
		if err := ownedDir(filepath.Join(folder, name), hostID); err != nil {
			return 0, err
		}
	}
	if made {
		err = errors.Join(syncDir(folder), syncDir(r.cfg.Dir))
	}
	return hostID, err
}

// syncDir waits until the disk has what a folder lists.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// badFolder is the error of a pod with a folder that it cannot use.
func badFolder(path, why string) error {
	return &pods.FilesError{Words: "its folder " + path + " cannot be used: " + why + "; mend that and start it again, or delete the pod"}
}

// ownedDir sees to it that path is a folder of uid. When it has another owner,
// as after a restore or a change from an ordinary user to root, all in it changes
// hands.
func ownedDir(path string, uid int) error {
	info, err := os.Lstat(path)
	switch {
	case err != nil:
		return badFolder(path, err.Error())
	case !info.IsDir():
		return badFolder(path, "it is not a folder")
	case int(info.Sys().(*syscall.Stat_t).Uid) == uid:
		return nil
	case os.Geteuid() != 0:
		return badFolder(path, "it belongs to another user than the one that podgate runs as")
	}
	return giveTo(path, uid)
}

// giveTo changes the owner of a tree that may hold anything. No link in it is
// followed. The top is the last, so that a crash on the way is seen.
func giveTo(path string, uid int) error {
	root, err := os.OpenRoot(path)
	if err != nil {
		return err
	}
	defer root.Close()
	err = fs.WalkDir(root.FS(), ".", func(name string, _ fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		return root.Lchown(name, uid, uid)
	})
	if err != nil {
		return err
	}
	return root.Lchown(".", uid, uid)
}

// removeTree deletes a folder whatever its pod left in it, such as folders
// that their owner may not open, or more of them in each other than there are
// descriptors. Nothing of the pod runs meanwhile. nil when it is absent.
func removeTree(path string) error {
	if err := os.RemoveAll(path); err == nil {
		return nil
	}
	if err := flatten(path); err != nil {
		return err
	}
	return os.RemoveAll(path)
}

// flatten moves every folder in the tree at path to the top, passable for its
// owner, until none has folders in it.
func flatten(path string) error {
	top, err := openFolder(unix.AT_FDCWD, path)
	if err != nil {
		return err
	}
	defer top.Close()
	moved := 0
	for queue := []string{"."}; len(queue) > 0; queue = queue[1:] {
		inside, err := foldersIn(top, queue[0])
		if err != nil {
			return err
		}
		for _, from := range inside {
			to := from
			if queue[0] != "." {
				to = fmt.Sprintf(".moved-%d", moved)
				moved++
				if err := unix.Renameat(int(top.Fd()), from, int(top.Fd()), to); err != nil {
					return fmt.Errorf("move %s: %w", from, err)
				}
			}
			queue = append(queue, to)
		}
	}
	return nil
}

func openFolder(at int, path string) (*os.File, error) {
	fd, err := unix.Openat(at, path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open folder %s: %w", path, err)
	}
	return os.NewFile(uintptr(fd), path), nil
}

// foldersIn names the folders in the folder name of top, as seen from top, and
// makes them passable for their owner.
func foldersIn(top *os.File, name string) ([]string, error) {
	dir, err := openFolder(int(top.Fd()), name)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	entries, err := dir.ReadDir(-1)
	if err != nil {
		return nil, err
	}
	var folders []string
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		if err := unix.Fchmodat(int(dir.Fd()), e.Name(), 0o700, 0); err != nil {
			return nil, fmt.Errorf("open up %s: %w", e.Name(), err)
		}
		folders = append(folders, filepath.Join(name, e.Name()))
	}
	return folders, nil
}
