package remote

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Folder is what of a folder is sent.
type Folder struct {
	Root    string
	Files   []File // by name
	Bytes   int64  // of all of them
	LeftOut int    // files and folders that rules leave out
}

// File is one file, or a link, of a folder.
type File struct {
	Name string // slash path from the folder on
	Size int64
	Mode fs.FileMode
	Link string // where a symbolic link leads; "" for a file
}

// maxFiles bounds what is sent of one folder. A folder with more was not meant.
const maxFiles = 100_000

// Look finds what of a folder is sent. rules is whether .gitignore, .podgateignore
// and what podgate leaves out by itself count.
func Look(root string, rules bool) (*Folder, error) {
	info, err := os.Stat(root)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("%s is not a folder", root)
	}
	f := &Folder{Root: root}
	var known []rule
	if rules {
		known = rulesOf("", neverSent)
	}
	if err := f.walk("", known, rules); err != nil {
		return nil, err
	}
	slices.SortFunc(f.Files, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	return f, nil
}

func (f *Folder) walk(dir string, known []rule, rules bool) error {
	for _, name := range []string{gitIgnore, ownIgnore} {
		text, err := os.ReadFile(filepath.Join(f.Root, filepath.FromSlash(dir), name))
		if rules && err == nil {
			known = append(slices.Clip(known), rulesOf(dir, string(text))...)
		}
	}
	entries, err := os.ReadDir(filepath.Join(f.Root, filepath.FromSlash(dir)))
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		if rules && leavesOut(known, name, e.IsDir()) {
			f.LeftOut++
			continue
		}
		if e.IsDir() {
			err = f.walk(name, known, rules)
		} else {
			err = f.add(name, e)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// add takes a file or a link; what is neither cannot be sent.
func (f *Folder) add(name string, e fs.DirEntry) error {
	info, err := e.Info()
	if err != nil {
		return err
	}
	file := File{Name: name, Size: info.Size(), Mode: info.Mode().Perm()}
	switch info.Mode().Type() {
	case 0:
	case fs.ModeSymlink:
		if file.Link, err = os.Readlink(filepath.Join(f.Root, filepath.FromSlash(name))); err != nil {
			return err
		}
		file.Size = 0
	default:
		f.LeftOut++
		return nil
	}
	if f.Files = append(f.Files, file); len(f.Files) > maxFiles {
		return fmt.Errorf("%s has more than %d files; name what is not to be sent in %s", f.Root, maxFiles, ownIgnore)
	}
	f.Bytes += file.Size
	return nil
}

// IsPlain reports whether the folder is nothing but files that nobody runs, which
// need no archive to stay as they are.
func (f *Folder) IsPlain() bool {
	return !slices.ContainsFunc(f.Files, func(one File) bool { return one.Link != "" || one.Mode&0o111 != 0 })
}

// Read returns the content of one file, which must not have grown since it was
// looked at.
func (f *Folder) Read(one File) ([]byte, error) {
	file, err := os.Open(filepath.Join(f.Root, filepath.FromSlash(one.Name)))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	raw, err := io.ReadAll(io.LimitReader(file, one.Size+1))
	if err == nil && int64(len(raw)) != one.Size {
		err = fmt.Errorf("%s changed while it was read; try again", one.Name)
	}
	return raw, err
}

// Pack writes the folder as a tar.gz.
func (f *Folder) Pack(w io.Writer) error {
	zipped := gzip.NewWriter(w)
	archive := tar.NewWriter(zipped)
	for _, one := range f.Files {
		if err := f.pack(archive, one); err != nil {
			return err
		}
	}
	return errors.Join(archive.Close(), zipped.Close())
}

func (f *Folder) pack(archive *tar.Writer, one File) error {
	h := &tar.Header{Typeflag: tar.TypeReg, Name: one.Name, Size: one.Size, Mode: int64(one.Mode), ModTime: time.Unix(0, 0)}
	if one.Link != "" {
		h.Typeflag, h.Linkname = tar.TypeSymlink, one.Link
		return archive.WriteHeader(h)
	}
	file, err := os.Open(filepath.Join(f.Root, filepath.FromSlash(one.Name)))
	if err != nil {
		return err
	}
	defer file.Close()
	if err := archive.WriteHeader(h); err != nil {
		return err
	}
	if _, err := io.CopyN(archive, file, one.Size); err != nil {
		return fmt.Errorf("%s changed while it was read; try again: %w", one.Name, err)
	}
	return nil
}

// Unpacked is what came out of an archive.
type Unpacked struct {
	Files   int
	Skipped int // links and what else is no file
}

// maxUnpacked bounds what is unpacked of one archive, in bytes: the sender is not to
// be trusted, and a small archive can hold much.
const maxUnpacked = 16 << 30

// Unpack unpacks a tar.gz of a server into a folder, which is made. Nothing is
// written outside of it, whatever the archive names; links are left out.
func Unpack(r io.Reader, dir string) (Unpacked, error) {
	var out Unpacked
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return out, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return out, err
	}
	defer root.Close()
	zipped, err := gzip.NewReader(r)
	if err != nil {
		return out, fmt.Errorf("the server sent no archive: %w", err)
	}
	archive := tar.NewReader(io.LimitReader(zipped, maxUnpacked))
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return out, fmt.Errorf("the archive is damaged or too large: %w", err)
		}
		if out.Files+out.Skipped > maxFiles {
			return out, fmt.Errorf("the archive has more than %d files", maxFiles)
		}
		if err := unpackOne(root, h, archive, &out); err != nil {
			return out, err
		}
	}
}

func unpackOne(root *os.Root, h *tar.Header, content io.Reader, out *Unpacked) error {
	name := path.Clean(h.Name)
	if name == "." {
		return nil
	}
	if !filepath.IsLocal(filepath.FromSlash(name)) {
		return fmt.Errorf("the archive names a place outside of the folder: %q", h.Name)
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return root.MkdirAll(name, 0o755)
	case tar.TypeReg:
	default:
		out.Skipped++
		return nil
	}
	if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	// What is there may be a link, through which nothing is to be written.
	if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	file, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fs.FileMode(h.Mode)&0o755|0o600)
	if err != nil {
		return err
	}
	if _, err := io.Copy(file, content); err != nil {
		return errors.Join(err, file.Close())
	}
	out.Files++
	return file.Close()
}
