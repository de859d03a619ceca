package agent

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"podgate/pods/wire"
)

// entryCost is a block of the disk in bytes. An entry counts for as many whole
// ones as it fills, and for one at least.
const entryCost = 4096

// unpacker unpacks a tar whose author is nobody's friend: every name stays in
// the folder, links or not, since os.Root refuses what leads out of it.
type unpacker struct {
	ctx         context.Context
	root        *os.Root
	what        string // is unpacked, for a person
	own         string // entries whose name begins with it are left out; empty: none
	limit, left int64  // bytes on the disk
	out         wire.Imported
	folders     []*tar.Header // their modes come last: they may forbid to write
}

// unpackInto makes the folder name in home of the tar that body is.
func (u *unpacker) unpackInto(home *os.Root, name string, body io.Reader) error {
	if err := home.Mkdir(name, 0o700); err != nil {
		return fileFault(podHome, err)
	}
	root, err := home.OpenRoot(name)
	if err != nil {
		return fileFault(podHome, err)
	}
	defer root.Close()
	u.root = root
	return u.unpack(body)
}

// unpack brings the entries of a tar to their places in u.root.
func (u *unpacker) unpack(body io.Reader) error {
	archive := tar.NewReader(body)
	for {
		h, err := archive.Next()
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = u.ctx.Err()
		}
		if err != nil {
			return badRequest("the archive cannot be read: %v", err)
		}
		if err := u.entry(h, archive); err != nil {
			return err
		}
	}
}

// entry brings one entry of the tar to its place.
func (u *unpacker) entry(h *tar.Header, content io.Reader) error {
	name, err := entryName(h.Name)
	if err != nil || name == "." || u.own != "" && strings.HasPrefix(name, u.own) {
		return err
	}
	if err := u.charge(h.Size); err != nil {
		return err
	}
	h.Name = name
	switch h.Typeflag {
	case tar.TypeDir:
		u.folders = append(u.folders, h)
		err = u.root.MkdirAll(name, 0o700)
	case tar.TypeReg:
		err = u.file(h, content)
	case tar.TypeSymlink:
		err = u.place(name, func() error { return u.root.Symlink(h.Linkname, name) })
	case tar.TypeLink:
		var first string
		if first, err = entryName(h.Linkname); err == nil {
			err = u.place(name, func() error { return u.root.Link(first, name) })
		}
	default:
		u.out.Skipped++
		return nil
	}
	if err != nil {
		return importFault(name, err)
	}
	u.out.Entries++
	u.out.Bytes += h.Size
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
func (u *unpacker) charge(size int64) error {
	if size >= 0 && size <= u.left { // so that no sum can overflow
		u.left -= max(1, (size+entryCost-1)/entryCost) * entryCost
	} else {
		u.left = -1
	}
	if u.left < 0 {
		return faultf(wire.FaultTooLarge, "%s may have at most %d bytes", u.what, u.limit)
	}
	return nil
}

// place makes the parents of name, then name itself.
func (u *unpacker) place(name string, do func() error) error {
	if err := u.root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	return do()
}

func (u *unpacker) file(h *tar.Header, content io.Reader) error {
	return u.place(h.Name, func() error {
		f, err := u.root.OpenFile(h.Name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
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
		return u.root.Chtimes(h.Name, time.Time{}, h.ModTime)
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
func (u *unpacker) setModes(home *os.Root) {
	for _, h := range slices.Backward(u.folders) {
		if info, err := home.Lstat(h.Name); err == nil && info.IsDir() {
			home.Chmod(h.Name, fs.FileMode(h.Mode)&fs.ModePerm)
			home.Chtimes(h.Name, time.Time{}, h.ModTime)
		}
	}
}
