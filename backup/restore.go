package backup

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"podgate/store"
)

// Restore makes the data folder dir of the backup in file. dir is absent or empty.
// The backup is proved whole first; then it is unpacked beside dir, its database is
// verified, and the result takes the place of dir at once, with the owner and the mode
// that dir had. Whatever happens on the way, dir is as before or complete.
func Restore(ctx context.Context, file *os.File, dir string, identities ...Identity) (*Manifest, error) {
	return restore(ctx, dir, func(to taker) (*Manifest, error) {
		if to != nil {
			if _, err := file.Seek(0, io.SeekStart); err != nil {
				return nil, fmt.Errorf("read the backup once more: %w", err)
			}
		}
		return scan(ctx, file, identities, nil, to)
	})
}

// restore is Restore of what read reads: once to nobody and once for good.
func restore(ctx context.Context, dir string, read func(taker) (*Manifest, error)) (*Manifest, error) {
	p, err := placeOf(dir)
	if err != nil {
		return nil, err
	}
	m, err := read(nil)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(p.dir), 0o755); err != nil {
		return nil, err
	}
	if room, err := roomOn(filepath.Dir(p.dir)); err != nil {
		return nil, err
	} else if room < m.Bytes+m.Bytes/20 {
		return nil, fmt.Errorf("there are %d MiB of room on the disk of %s, and the backup needs %d MiB; make room first", room>>20, p.dir, (m.Bytes+m.Bytes/20)>>20+1)
	}
	if err := p.begin(); err != nil {
		return nil, err
	}
	u := &unpacker{root: p.aside, owner: p.owner}
	m, err = read(u)
	err = errors.Join(err, u.leave(0))
	if err == nil {
		err = p.finish(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, p.giveUp())
	}
	return m, nil
}

// place is where a data folder is to be, and what it is made in.
type place struct {
	dir   string
	old   os.FileInfo // nil: dir is absent
	path  string      // of the folder beside it
	aside *os.Root
	lock  *os.File
	owner *ownerID
}

// ownerID is whom everything is given to; nil: who restores keeps it.
type ownerID struct{ uid, gid int }

// placeOf looks whether there may be a data folder.
func placeOf(dir string) (*place, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	p := &place{dir: dir, path: filepath.Join(filepath.Dir(dir), ".restoring-"+filepath.Base(dir))}
	p.old, err = os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("%s is in the way: %w", dir, err)
	}
	if len(entries) > 0 {
		return nil, fmt.Errorf("%w: %s; move what is there away, or restore into another folder with --data", ErrNotEmpty, dir)
	}
	if st := p.old.Sys().(*syscall.Stat_t); os.Geteuid() == 0 && st.Uid != 0 {
		p.owner = &ownerID{int(st.Uid), int(st.Gid)}
	}
	return p, nil
}

// begin makes the folder beside. What a restore that was killed has left there goes.
func (p *place) begin() error {
	if err := os.Mkdir(p.path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("a backup is unpacked beside the data folder: %w; give the command as root, or restore into a folder elsewhere with --data", err)
	}
	var err error
	if p.lock, err = os.OpenFile(p.path, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0); err != nil {
		return err
	}
	info, err := p.lock.Stat()
	if err != nil {
		return errors.Join(err, p.lock.Close())
	}
	if uid := info.Sys().(*syscall.Stat_t).Uid; int(uid) != os.Geteuid() {
		return errors.Join(fmt.Errorf("%s is in the way and belongs to another user; remove it", p.path), p.lock.Close())
	}
	if err := p.lock.Chmod(0o700); err != nil {
		return errors.Join(err, p.lock.Close())
	}
	if err := syscall.Flock(int(p.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return errors.Join(fmt.Errorf("another restore is at work in %s; wait for it", p.path), p.lock.Close())
	}
	if p.aside, err = os.OpenRoot(p.path); err != nil {
		return errors.Join(err, p.lock.Close())
	}
	left, err := p.lock.Readdirnames(-1)
	for _, name := range left {
		err = errors.Join(err, p.aside.RemoveAll(name))
	}
	return err
}

// finish verifies the database and puts the folder in its place.
func (p *place) finish(ctx context.Context) error {
	if err := verifyDatabase(filepath.Join(p.path, nameDatabase)); err != nil {
		return err
	}
	mode := fs.FileMode(0o700)
	if p.old != nil {
		mode = p.old.Mode().Perm()
	}
	err := errors.Join(p.owner.own(p.aside, nameDatabase), syncAround(p.lock), ctx.Err())
	if err == nil {
		err = errors.Join(p.owner.own(p.aside, "."), p.lock.Chmod(mode), p.lock.Sync())
	}
	if err != nil {
		return err
	}
	if err := syscall.Rename(p.path, p.dir); err != nil { // os.Rename takes the place of no folder
		switch {
		case errors.Is(err, syscall.EBUSY), errors.Is(err, syscall.EXDEV):
			return fmt.Errorf("%s is a disk of its own, whose folder cannot be exchanged; restore into a folder below it with --data, and set data_dir to that", p.dir)
		case errors.Is(err, fs.ErrExist), errors.Is(err, syscall.ENOTEMPTY):
			return fmt.Errorf("%w any more: %s; somebody has put something there", ErrNotEmpty, p.dir)
		}
		return fmt.Errorf("put %s in its place: %w", p.dir, err)
	}
	parent, err := os.Open(filepath.Dir(p.dir))
	if err != nil {
		return err
	}
	return errors.Join(parent.Sync(), parent.Close(), p.aside.Close(), p.lock.Close())
}

// verifyDatabase is what podgate check does. An older format is brought to the
// present one on the way.
func verifyDatabase(path string) error {
	db, err := store.Open(path)
	if errors.Is(err, store.ErrNewerStore) {
		return fmt.Errorf("%w: %w", ErrNewer, err)
	}
	if err != nil {
		return fmt.Errorf("the database in the backup: %w", err)
	}
	return errors.Join(db.Check(), db.Close())
}

func (p *place) giveUp() error {
	return errors.Join(os.RemoveAll(p.path), p.aside.Close(), p.lock.Close())
}

// own gives a file to the owner.
func (o *ownerID) own(dir *os.Root, name string) error {
	if o == nil {
		return nil
	}
	return dir.Lchown(name, o.uid, o.gid)
}

// unpacker writes the entries of a backup below root, each in the folder that its own
// entry stands for. No link on the way is followed.
type unpacker struct {
	root  *os.Root
	owner *ownerID
	open  []*unfolded
	pod   string // with the layer, of the last entry
	apart bool   // files cannot share what they hold

	cleared func(fs.FileInfo) // hears what an entry takes the place of; may be nil
}

// unfolded is a folder that entries are written into. Its mode and time are set when
// it is left, since both could be in the way, or change.
type unfolded struct {
	path string
	dir  *os.Root
	last func() error
}

// take implements taker.
func (u *unpacker) take(e *entry, content io.Reader) error {
	if err := u.write(e, content); err != nil {
		var inside readError
		if errors.As(err, &inside) {
			return inside.error
		}
		return takeError{fmt.Errorf("unpack %s: %w", e.path, err)}
	}
	return nil
}

// readError is one of the backup, in contrast to those of the disk.
type readError struct{ error }

func (u *unpacker) write(e *entry, content io.Reader) error {
	dir, err := u.enter(e)
	if err != nil {
		return err
	}
	name := path.Base(e.path)
	if e.removed() {
		return u.remove(dir, content)
	}
	if e.layer > 1 {
		if err := u.clear(dir, name, e.Typeflag == tar.TypeDir); err != nil {
			return err
		}
	}
	switch e.Typeflag {
	case tar.TypeDir:
		return u.folder(dir, name, e)
	case tar.TypeSymlink:
		if err := dir.Symlink(e.Linkname, name); err != nil {
			return err
		}
		return u.owner.own(dir, name)
	case tar.TypeLink:
		return u.link(e)
	}
	return u.file(dir, name, e, content)
}

// enter returns the folder that an entry belongs into.
func (u *unpacker) enter(e *entry) (*os.Root, error) {
	layer := fmt.Sprint(e.pod, e.layer)
	if layer != u.pod {
		if err := u.leave(0); err != nil {
			return nil, err
		}
		u.pod = layer
		if e.pod != "" {
			if err := u.podFolder(string(e.pod)); err != nil {
				return nil, err
			}
		}
	}
	parent := path.Dir(e.path)
	n := len(u.open)
	for n > 0 && u.open[n-1].path != parent {
		n--
	}
	if err := u.leave(n); err != nil {
		return nil, err
	}
	if n == 0 {
		return u.root, nil
	}
	return u.open[n-1].dir, nil
}

// podFolder opens the folder of a pod, which has no entry of its own.
func (u *unpacker) podFolder(id string) error {
	folder := path.Join(treePods, id)
	for _, name := range []string{treePods, folder} {
		err := u.root.Mkdir(name, 0o700)
		if err == nil {
			err = u.owner.own(u.root, name)
		}
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	dir, err := u.root.OpenRoot(folder)
	if err != nil {
		return err
	}
	u.open = append(u.open, &unfolded{folder, dir, func() error { return nil }})
	return nil
}

// leave ends the folders from the nth on.
func (u *unpacker) leave(n int) error {
	var all error
	for len(u.open) > n {
		last := u.open[len(u.open)-1]
		u.open = u.open[:len(u.open)-1]
		all = errors.Join(all, last.dir.Close(), last.last())
	}
	return all
}

// clear takes away what an earlier layer had in the place of an entry, but for a
// folder that stays one.
func (u *unpacker) clear(dir *os.Root, name string, folder bool) error {
	info, err := dir.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && folder && info.IsDir() {
		return nil
	}
	if err == nil && u.cleared != nil {
		u.cleared(info)
	}
	return cmpOr(err, dir.RemoveAll(name))
}

func (u *unpacker) folder(dir *os.Root, name string, e *entry) error {
	err := dir.Mkdir(name, 0o700)
	if errors.Is(err, fs.ErrExist) && e.layer > 1 {
		err = dir.Chmod(name, 0o700)
	}
	if err != nil {
		return err
	}
	sub, err := dir.OpenRoot(name)
	if err != nil {
		return err
	}
	mode, when := fs.FileMode(e.Mode).Perm(), e.ModTime
	u.open = append(u.open, &unfolded{e.path, sub, func() error {
		return errors.Join(u.owner.own(dir, name), dir.Chmod(name, mode), setTime(dir, name, when))
	}})
	return nil
}

// setTime sets when a file was changed. A time that the file system cannot keep is no
// reason to lose the file.
func setTime(dir *os.Root, name string, when time.Time) error {
	err := dir.Chtimes(name, when, when)
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.EOVERFLOW) {
		return nil
	}
	return err
}

// link gives a file of the same layer another name.
func (u *unpacker) link(e *entry) error {
	top, above, from := u.root, "", e.Linkname
	if e.pod != "" {
		top, above, from = u.open[0].dir, u.open[0].path, strings.SplitN(from, "/", 4)[3] // the scan has seen the entry
	}
	dir, done, err := strictly(top, path.Dir(from))
	if err != nil {
		return err
	}
	defer dir.Close()
	// Go has no call for a link from one open folder to another. u.root's follows no
	// link out, and that none is on the way was just seen.
	return errors.Join(u.root.Link(path.Join(above, from), e.path), done())
}

// strictly opens a folder below pod that no link leads to, and that may be written
// to until done is called.
func strictly(pod *os.Root, at string) (dir *os.Root, done func() error, err error) {
	var back []func() error
	done = func() (err error) {
		for _, undo := range slices.Backward(back) {
			err = errors.Join(err, undo())
		}
		return err
	}
	dir, err = pod.OpenRoot(".")
	for part := range strings.SplitSeq(at, "/") {
		if err != nil {
			break
		}
		above := dir
		info, looked := above.Lstat(part)
		if err = looked; err == nil && !info.IsDir() {
			err = syscall.ENOTDIR
		}
		if err == nil && info.Mode()&0o700 != 0o700 {
			err = above.Chmod(part, 0o700)
		}
		if err == nil {
			dir, err = above.OpenRoot(part)
		}
		back = append(back, above.Close)
		if err == nil {
			back = append(back, func() error {
				return errors.Join(above.Chmod(part, info.Mode().Perm()), setTime(above, part, info.ModTime()))
			})
		}
	}
	if err != nil {
		return nil, nil, errors.Join(err, done())
	}
	return dir, done, nil
}

func (u *unpacker) file(dir *os.Root, name string, e *entry, content io.Reader) error {
	f, err := dir.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	parts := e.parts
	switch source, ok := content.(contents); {
	case ok && u.share(f, source.file):
		parts = nil
	case parts == nil:
		parts = []extent{{0, e.Size}}
	default:
		err = f.Truncate(e.size)
	}
	for _, p := range parts {
		if err == nil {
			err = copyPart(f, p, content)
		}
	}
	err = errors.Join(err, u.owner.own(dir, name), f.Chmod(fs.FileMode(e.Mode).Perm()), f.Close())
	return cmpOr(err, setTime(dir, name, e.ModTime))
}

// copyPart writes one part of a file.
func copyPart(f *os.File, p extent, content io.Reader) error {
	if _, err := f.Seek(p.offset, io.SeekStart); err != nil {
		return err
	}
	n, err := io.Copy(f, marked{io.LimitReader(content, p.length)})
	if err == nil && n < p.length {
		err = readError{io.ErrUnexpectedEOF}
	}
	return err
}

// marked tells errors of reading from those of writing.
type marked struct{ r io.Reader }

// Read implements io.Reader.
func (m marked) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = readError{err}
	}
	return n, err
}

// remove takes away what was no longer there when the layer was made.
func (u *unpacker) remove(pod *os.Root, names io.Reader) error {
	all := bufio.NewReaderSize(names, maxPath+1)
	for {
		raw, err := all.ReadSlice(0)
		if errors.Is(err, io.EOF) && len(raw) == 0 {
			return nil
		}
		if err != nil {
			return readError{fmt.Errorf("the list of what was removed: %w", err)}
		}
		name := string(raw[:len(raw)-1])
		top, _, _ := strings.Cut(name, "/")
		if err := checkName(name); err != nil || !slices.Contains(podTrees, top) {
			return readError{fmt.Errorf("the list of what was removed names %q", name)}
		}
		dir, done, err := strictly(pod, path.Dir(name))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
			continue
		}
		if err != nil {
			return err
		}
		if err := errors.Join(dir.RemoveAll(path.Base(name)), dir.Close(), done()); err != nil {
			return err
		}
	}
}
