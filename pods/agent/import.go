package agent

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"podgate/pods/wire"
)

// Folders in the home while it is replaced.
const (
	newHome = wire.OwnPrefix + "-new"
	oldHome = wire.OwnPrefix + "-old"
)

// entryCost is a block of the disk in bytes. An entry counts for as many whole
// ones as it fills, and for one at least.
const entryCost = 4096

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
	m := &importer{ctx: r.Context(), left: limit, limit: limit}
	if err := m.unpackInto(home, r.Body); err != nil {
		return errors.Join(err, removeTree(home, newHome))
	}
	a.installs.cancel()
	a.app.Stop()
	if err := swapHomes(home); err != nil {
		return errors.Join(err, removeTree(home, newHome))
	}
	m.setModes(home)
	if err := home.MkdirAll("app", 0o755); err != nil {
		return err
	}
	syncDisk(home)
	if err := a.clearOwn(); err != nil {
		a.log.Printf("clear the old home: %v", err)
	}
	writeJSON(w, http.StatusOK, m.out)
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

// importer unpacks a tar whose author is nobody's friend: every name stays in
// the folder, links or not, since os.Root refuses what leads out of it.
type importer struct {
	ctx         context.Context
	root        *os.Root
	limit, left int64
	out         wire.Imported
	folders     []*tar.Header // their modes come last: they may forbid to write
}

func (m *importer) unpackInto(home *os.Root, body io.Reader) error {
	if err := home.Mkdir(newHome, 0o700); err != nil {
		return fileFault(podHome, err)
	}
	root, err := home.OpenRoot(newHome)
	if err != nil {
		return fileFault(podHome, err)
	}
	defer root.Close()
	m.root = root
	archive := tar.NewReader(body)
	for {
		h, err := archive.Next()
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = m.ctx.Err()
		}
		if err != nil {
			return badRequest("the archive cannot be read: %v", err)
		}
		if err := m.entry(h, archive); err != nil {
			return err
		}
	}
}

// entry brings one entry of the tar to its place.
func (m *importer) entry(h *tar.Header, content io.Reader) error {
	name, err := entryName(h.Name)
	if err != nil || name == "." || strings.HasPrefix(name, wire.OwnPrefix) {
		return err
	}
	if err := m.charge(h.Size); err != nil {
		return err
	}
	h.Name = name
	switch h.Typeflag {
	case tar.TypeDir:
		m.folders = append(m.folders, h)
		err = m.root.MkdirAll(name, 0o700)
	case tar.TypeReg:
		err = m.file(h, content)
	case tar.TypeSymlink:
		err = m.place(name, func() error { return m.root.Symlink(h.Linkname, name) })
	case tar.TypeLink:
		var first string
		if first, err = entryName(h.Linkname); err == nil {
			err = m.place(name, func() error { return m.root.Link(first, name) })
		}
	default:
		m.out.Skipped++
		return nil
	}
	if err != nil {
		return importFault(name, err)
	}
	m.out.Entries++
	m.out.Bytes += h.Size
	return nil
}

// entryName is the name of an entry within the folder.
func entryName(s string) (string, error) {
	name := path.Clean(s)
	switch {
	case s == "" || strings.ContainsRune(s, 0) || !filepath.IsLocal(name):
		return "", badRequest("the archive has an entry %.200q, which is no name in a folder", s)
	case len(name) > maxPath || strings.Count(name, "/") > maxDepth:
		return "", badRequest("the archive has an entry %.200q…, whose name is too long or too deep", s)
	}
	return name, nil
}

// charge counts an entry of so many bytes of content.
func (m *importer) charge(size int64) error {
	if size >= 0 && size <= m.left { // so that no sum can overflow
		m.left -= max(1, (size+entryCost-1)/entryCost) * entryCost
	} else {
		m.left = -1
	}
	if m.left < 0 {
		return faultf(wire.FaultTooLarge, "the home may have at most %d bytes", m.limit)
	}
	return nil
}

// place makes the parents of name, then name itself.
func (m *importer) place(name string, do func() error) error {
	if err := m.root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	return do()
}

func (m *importer) file(h *tar.Header, content io.Reader) error {
	return m.place(h.Name, func() error {
		f, err := m.root.OpenFile(h.Name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, content)
		if err == nil {
			err = f.Chmod(fs.FileMode(h.Mode) & fs.ModePerm)
		}
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
		return m.root.Chtimes(h.Name, time.Time{}, h.ModTime)
	})
}

func importFault(name string, err error) error {
	if errors.Is(err, fs.ErrExist) {
		return badRequest("the archive has %s twice", path.Join(podHome, name))
	}
	return fileFault(path.Join(podHome, name), err)
}

// setModes gives the folders their modes and times, the deepest first. What a
// hostile archive keeps from working harms only itself.
func (m *importer) setModes(home *os.Root) {
	for _, h := range slices.Backward(m.folders) {
		if info, err := home.Lstat(h.Name); err == nil && info.IsDir() {
			home.Chmod(h.Name, fs.FileMode(h.Mode)&fs.ModePerm)
			home.Chtimes(h.Name, time.Time{}, h.ModTime)
		}
	}
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
