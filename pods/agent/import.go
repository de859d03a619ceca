package agent

import (
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path"
	"strings"

	"podgate/pods/wire"
)

// Folders in the home while it is replaced.
const (
	newHome = wire.OwnPrefix + "-new"
	oldHome = wire.OwnPrefix + "-old"
)

// serveImport is PUT /v1/home. The new home is complete before anything of the
// old one is touched; then all that runs in the pod ends, and the two change
// places, entry by entry.
func (a *agent) serveImport(w http.ResponseWriter, r *http.Request) error {
	limit, err := parseImport(r.URL.RawQuery)
	if err != nil {
		return err
	}
	if !a.imports.TryLock() {
		return faultf(wire.FaultBusy, "the home is being replaced already")
	}
	defer a.imports.Unlock()
	home := a.folders.home.root
	if err := a.clearOwn(); err != nil {
		return err
	}
	u := &unpacker{ctx: r.Context(), left: limit, limit: limit, what: "the home", own: wire.OwnPrefix}
	if err := u.unpackInto(home, newHome, r.Body); err != nil {
		return errors.Join(err, removeTree(home, newHome))
	}
	a.installs.cancel()
	a.app.Stop()
	if err := swapHomes(home); err != nil {
		return errors.Join(err, removeTree(home, newHome))
	}
	u.setModes(home)
	if err := a.ensureFolders(); err != nil {
		return err
	}
	syncDisk(home)
	if err := a.clearOwn(); err != nil {
		a.log.Printf("clear the old home: %v", err)
	}
	writeJSON(w, http.StatusOK, u.out)
	return nil
}

// clearOwn takes away what an import left behind that did not come to its end.
func (a *agent) clearOwn() error {
	home := a.folders.home.root
	if err := errors.Join(removeTree(home, newHome), removeTree(home, oldHome)); err != nil {
		return fileFault(podHome, err)
	}
	return nil
}

// swapHomes puts what is in newHome in the place of what is in the home, which
// goes to oldHome. When that fails, what has been moved goes back.
func swapHomes(home *os.Root) error {
	if err := home.Mkdir(oldHome, 0o700); err != nil {
		return fileFault(podHome, err)
	}
	if err := moveAll(home, ".", oldHome); err != nil {
		return errors.Join(err, moveAll(home, oldHome, "."))
	}
	if err := moveAll(home, newHome, "."); err != nil {
		return errors.Join(err, moveAll(home, ".", newHome), moveAll(home, oldHome, "."))
	}
	return nil
}

// moveAll moves what lies in one folder to another, but what is the agent's own.
func moveAll(home *os.Root, from, to string) error {
	entries, err := fs.ReadDir(home.FS(), from)
	if err != nil {
		return fileFault(podHome, err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), wire.OwnPrefix) {
			continue
		}
		src, dst := path.Join(from, e.Name()), path.Join(to, e.Name())
		err := home.Rename(src, dst)
		if errors.Is(err, fs.ErrPermission) && e.IsDir() {
			// A folder that may not be written to cannot learn of its new parent.
			home.Chmod(src, 0o700)
			err = home.Rename(src, dst)
		}
		if err != nil {
			return fileFault(path.Join(podHome, e.Name()), err)
		}
	}
	return nil
}

// removeTree deletes a folder with all in it, also what may not be written to.
// nil when it is not there.
func removeTree(root *os.Root, name string) error {
	if root.RemoveAll(name) == nil {
		return nil
	}
	fs.WalkDir(root.FS(), name, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			root.Chmod(p, 0o700)
		}
		return nil
	})
	return root.RemoveAll(name)
}
