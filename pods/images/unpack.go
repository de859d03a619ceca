package images

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"
)

// What an image may hold at most, beside the bytes that the settings allow.
const (
	maxEntries   = 500_000  // of all layers
	maxNames     = 64 << 20 // bytes of the names in one layer
	maxName      = 3500     // bytes of one name, with what links in it lead to
	maxDepth     = 120      // folders in each other
	maxTarget    = 4095     // bytes of a link's target
	maxLinks     = 40       // that one name leads through
	entryCost    = 4096     // bytes that an entry counts beside its content
	whiteout     = ".wh."
	opaque       = whiteout + whiteout + ".opq"
	folderMode   = 0o755
	fileMode     = 0o644
	programMode  = 0o755
	anyExecution = 0o111
)

// refusal is what is wrong with an image.
type refusal struct{ words string }

func (r *refusal) Error() string { return r.words }

func refuse(format string, args ...any) error { return &refusal{fmt.Sprintf(format, args...)} }

// unpacker puts layers over each other into a folder.
type unpacker struct {
	root    *os.Root
	owner   int   // of everything; -1: who this process is
	left    int64 // bytes that may still come
	entries int
	total   int64 // bytes that came

	// Of the layer that is being unpacked: what it has made, and the folders above
	// that. Whiteouts are for what earlier layers made.
	made  map[string]bool
	above map[string]bool
	names int // bytes
}

// own gives what was made to the owner.
func (u *unpacker) own(name string) error {
	if u.owner < 0 {
		return nil
	}
	return u.root.Lchown(name, u.owner, u.owner)
}

// layer unpacks one archive over what is there. Files of the same name: the last wins.
func (u *unpacker) layer(r io.Reader) error {
	u.made, u.above, u.names = map[string]bool{}, map[string]bool{}, 0
	archive := tar.NewReader(r)
	for {
		h, err := archive.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("a layer cannot be read: %w", err)
		}
		if err := u.entry(h, archive); err != nil {
			return fmt.Errorf("%q: %w", short(h.Name), err)
		}
	}
}

// entry unpacks one entry.
func (u *unpacker) entry(h *tar.Header, content io.Reader) error {
	if err := u.count(h); err != nil {
		return err
	}
	name, err := entryName(h.Name)
	if err != nil || name == "." {
		return err
	}
	if isMetadata(h.Typeflag) {
		return nil
	}
	parent, err := u.folder(path.Dir(name))
	if err != nil {
		return err
	}
	base := path.Base(name)
	if hidden, ok := strings.CutPrefix(base, whiteout); ok {
		return u.hide(parent, base, hidden)
	}
	return u.place(path.Join(parent, base), h, content)
}

// count holds an entry against the bounds.
func (u *unpacker) count(h *tar.Header) error {
	u.entries++
	u.names += len(h.Name)
	switch {
	case u.entries > maxEntries:
		return refuse("the image has more than %d files", maxEntries)
	case u.names > maxNames:
		return refuse("the names in a layer are over %d MiB together", maxNames>>20)
	case h.Size < 0 || h.Size > u.left-entryCost:
		return refuse("the image unpacks to more than the %d MiB there is room for", (u.total+u.left)>>20)
	}
	u.spend(entryCost)
	return nil
}

func (u *unpacker) spend(n int64) { u.left, u.total = u.left-n, u.total+n }

// entryName is the place of an entry below the root, "." for the root itself and for what
// is nothing.
func entryName(raw string) (string, error) {
	if strings.ContainsRune(raw, 0) {
		return "", refuse("has a zero byte in its name")
	}
	trimmed := strings.Trim(raw, "/")
	depth := 0
	for part := range strings.SplitSeq(trimmed, "/") {
		if part == ".." {
			return "", refuse("leads out of the image")
		}
		depth++
	}
	name := path.Clean(trimmed)
	if len(name) > maxName || depth > maxDepth {
		return "", refuse("is too long or too deep a name")
	}
	for part := range strings.SplitSeq(path.Dir(name), "/") {
		if strings.HasPrefix(part, whiteout+whiteout) {
			return ".", nil // of a file system that podgate does not have
		}
		if strings.HasPrefix(part, whiteout) {
			return "", refuse("is below a mark of a deletion")
		}
	}
	return name, nil
}

// isMetadata reports whether an entry is nothing that a file system has.
func isMetadata(kind byte) bool { return kind == tar.TypeXGlobalHeader || kind == tar.TypeXHeader }

// folder returns the place that name leads to, without links on the way, as a
// process would see it whose root the image is. What is missing of it is made.
func (u *unpacker) folder(name string) (string, error) {
	at, todo, links := ".", name, 0
	for todo != "" && todo != "." {
		var part string
		part, todo, _ = strings.Cut(todo, "/")
		switch part {
		case "", ".":
			continue
		case "..": // of a link
			at = path.Dir(at)
			continue
		}
		next := path.Join(at, part)
		info, err := u.root.Lstat(next)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			err = u.mkdir(next)
		case err == nil && info.Mode()&fs.ModeSymlink != 0:
			if links++; links > maxLinks {
				return "", refuse("leads through too many links")
			}
			var target string
			if target, err = u.root.Readlink(next); err == nil {
				if path.IsAbs(target) {
					at = "."
				}
				todo = target + "/" + todo
				next = at
			}
		case err == nil && !info.IsDir():
			err = u.replace(next, u.mkdir)
		}
		if err != nil {
			return "", err
		}
		if at = next; len(at)+len(todo) > 2*maxName || strings.Count(at, "/") > maxDepth {
			return "", refuse("leads to too long or too deep a place")
		}
	}
	return at, nil
}

func (u *unpacker) mkdir(name string) error {
	if u.left < entryCost {
		return refuse("the image has more folders than there is room for")
	}
	u.spend(entryCost)
	if err := u.root.Mkdir(name, folderMode); err != nil {
		return err
	}
	return errors.Join(u.root.Chmod(name, folderMode), u.own(name)) // whatever the umask
}

// replace has make put something in the place of what is there.
func (u *unpacker) replace(name string, make func(string) error) error {
	if err := u.root.RemoveAll(name); err != nil {
		return err
	}
	return make(name)
}

// place makes what an entry describes.
func (u *unpacker) place(name string, h *tar.Header, content io.Reader) error {
	info, err := u.root.Lstat(name)
	there := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	u.note(name)
	switch h.Typeflag {
	case tar.TypeDir:
		if there && info.IsDir() {
			return nil
		}
		return u.replace(name, u.mkdir)
	case tar.TypeReg, tar.TypeGNUSparse:
		return u.replace(name, func(name string) error { return u.file(name, h, content) })
	case tar.TypeSymlink:
		if h.Linkname == "" || len(h.Linkname) > maxTarget || strings.ContainsRune(h.Linkname, 0) {
			return refuse("is a link to no name")
		}
		return u.replace(name, func(name string) error { return errors.Join(u.root.Symlink(h.Linkname, name), u.own(name)) })
	case tar.TypeLink:
		return u.link(name, h.Linkname)
	}
	return nil // devices, pipes and the like are nothing that a pod could have
}

// note remembers that this layer has made name.
func (u *unpacker) note(name string) {
	u.made[name] = true
	for dir := path.Dir(name); dir != "." && !u.above[dir]; dir = path.Dir(dir) {
		u.above[dir] = true
	}
}

func (u *unpacker) file(name string, h *tar.Header, content io.Reader) error {
	mode := fs.FileMode(fileMode)
	if h.Mode&anyExecution != 0 {
		mode = programMode
	}
	f, err := u.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	n, err := io.Copy(f, io.LimitReader(content, u.left))
	u.spend(n)
	if err == nil && n != h.Size {
		err = refuse("has %d bytes, not the %d that it should have", n, h.Size)
	}
	if err == nil {
		err = f.Chmod(mode) // whatever the umask
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	// Python, among others, compares the times of files.
	when := h.ModTime
	if when.Before(time.Unix(0, 0)) || when.After(time.Unix(1<<33, 0)) {
		when = time.Unix(0, 0)
	}
	return errors.Join(u.root.Chtimes(name, when, when), u.own(name))
}

// link makes name another name of what target names in the image. A link is what it
// is, not what it leads to.
func (u *unpacker) link(name, target string) error {
	old, err := entryName(target)
	if err != nil {
		return err
	}
	dir, err := u.folder(path.Dir(old))
	if err != nil {
		return err
	}
	old = path.Join(dir, path.Base(old))
	if old == name {
		return nil
	}
	info, err := u.root.Lstat(old)
	if err != nil || !info.Mode().IsRegular() {
		return refuse("is a hard link to %q, which is no file of the image", short(target))
	}
	return u.replace(name, func(name string) error { return u.root.Link(old, name) })
}

// hide carries out a mark that says what of earlier layers is not there any more.
func (u *unpacker) hide(parent, base, hidden string) error {
	switch {
	case base == opaque:
		return u.clear(parent)
	case strings.HasPrefix(hidden, whiteout):
		return nil // of a file system that podgate does not have
	case hidden == "" || hidden == "." || hidden == "..":
		return refuse("is no mark of a deletion")
	}
	return u.drop(path.Join(parent, hidden))
}

// drop removes what earlier layers made of name and below.
func (u *unpacker) drop(name string) error {
	switch {
	case !u.made[name] && !u.above[name]:
		return u.root.RemoveAll(name)
	case u.isFolder(name):
		return u.clear(name)
	}
	return nil
}

func (u *unpacker) isFolder(name string) bool {
	info, err := u.root.Lstat(name)
	return err == nil && info.IsDir()
}

// clear drops all that is in a folder.
func (u *unpacker) clear(folder string) error {
	dir, err := u.root.Open(folder)
	if err != nil {
		return err
	}
	names, err := dir.Readdirnames(-1)
	if err := errors.Join(err, dir.Close()); err != nil {
		return err
	}
	for _, name := range names {
		if err := u.drop(path.Join(folder, name)); err != nil {
			return err
		}
	}
	return nil
}

// short is a name for a message.
func short(name string) string {
	const most = 100
	if len(name) > most {
		return name[:most] + "…"
	}
	return name
}
