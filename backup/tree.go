package backup

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// tree is one pass over the folder of a pod, which its pod may change meanwhile.
type tree struct {
	ctx    context.Context
	out    putter
	prefix string // of the names of entries, such as pods/ID/1/
	report *Pod
	met    *list // gets everything that the pass meets; nil: nobody will ask

	kept    *knownFiles // what is in packs already; nil: nobody knows
	packed  *sink       // of these
	settled int64       // what changed before it, ns since 1970, is as it was read

	before *list  // of the pass before; nil: everything is new
	since  int64  // what changed at or after it, ns since 1970, is taken again
	gone   *spool // gets what is no longer there
	hidden string // a folder that is gone, with all below it
	known  bool   // the pass before met what the walk is at, and of the same kind

	linked  map[uint64]string // files with several names that are in this layer
	links   int               // bytes of their names
	files   int               // that were met
	names   int               // bytes of their paths
	open    int               // bytes of the names in the folders that the walk is in
	folders []folder          // in which the walk is
}

// putter takes the entries of a walk, in its order.
type putter interface {
	// put gets the contents of h.Size bytes, fewer when the file shrinks meanwhile.
	put(h *tar.Header, content io.Reader) error
}

// folder is one in which the walk is, with its entry if that was not written yet.
type folder struct {
	path    string
	info    fs.FileInfo
	written bool
}

// walk copies the trees of names in root, in that order.
func (t *tree) walk(root *os.Root, names []string) error {
	t.linked = map[uint64]string{}
	for _, name := range names {
		if err := t.meet(root, name, name, 1); errors.Is(err, errFull) {
			t.report.many = true
			break
		} else if err != nil {
			return err
		}
	}
	if t.before == nil {
		return nil
	}
	return t.missed("")
}

// meet handles one name in a folder, and goes down.
func (t *tree) meet(dir *os.Root, name, at string, depth int) error {
	if err := t.ctx.Err(); err != nil {
		return err
	}
	if t.files++; t.files > maxFiles || t.names+len(at) > maxNames {
		t.report.leave(at, "more files than a backup has of a pod")
		return errFull
	}
	t.names += len(at)
	info, err := dir.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // gone since
	}
	if err != nil {
		t.leave(at, err)
		return nil
	}
	now := seen{at, uint32(info.Mode()), info.Size(), factsOf(info)}
	same, err := t.compare(now)
	if err != nil {
		return err
	}
	if t.met != nil {
		if err := t.met.add(now); err != nil {
			return err
		}
	}
	if info.IsDir() {
		return t.enter(dir, name, at, info, same, depth)
	}
	if same {
		return nil
	}
	return t.copy(dir, name, at, info)
}

// compare looks whether a file is as the pass before met it.
func (t *tree) compare(now seen) (same bool, err error) {
	t.known = false
	if t.before == nil {
		return false, nil
	}
	if err := t.missed(now.path); err != nil {
		return false, err
	}
	if t.before.end || t.before.next.path != now.path {
		return false, nil
	}
	was := t.before.next
	t.known = fs.FileMode(was.mode).Type() == fs.FileMode(now.mode).Type()
	same = was.inode == now.inode && was.changed == now.changed && was.size == now.size && was.mode == now.mode && now.changed < t.since
	return same, t.before.advance()
}

// missed notes what the pass before met in front of path, which is not there now.
// With "" that is all the rest.
func (t *tree) missed(path string) error {
	for !t.before.end && (path == "" || comparePaths(t.before.next.path, path) < 0) {
		gone := t.before.next.path
		if t.hidden == "" || !strings.HasPrefix(gone, t.hidden+"/") {
			t.hidden = gone
			if _, err := t.gone.WriteString(gone + "\x00"); err != nil {
				return err
			}
		}
		if err := t.before.advance(); err != nil {
			return err
		}
	}
	return nil
}

// enter walks through a folder. Its own entry is written when something in it is, at
// the latest, so that entries always follow those of their folders.
func (t *tree) enter(dir *os.Root, name, at string, info fs.FileInfo, same bool, depth int) error {
	t.folders = append(t.folders, folder{at, info, false})
	defer func() { t.folders = t.folders[:len(t.folders)-1] }()
	if !same {
		if err := t.writeFolders(); err != nil {
			return err
		}
	}
	if depth >= maxDepth {
		t.report.leave(at+"/", fmt.Sprintf("more than %d folders in each other", maxDepth))
		return nil
	}
	sub, names, size, err := openFolder(dir, name, info, maxOpen-t.open)
	if err != nil {
		t.leave(at+"/", err)
		return nil
	}
	defer sub.Close()
	t.open += size
	defer func() { t.open -= size }()
	for _, name := range names {
		below := at + "/" + name
		if len(below) > maxPath {
			t.report.leave(at+"/", fmt.Sprintf("a path longer than %d bytes", maxPath))
			continue
		}
		if err := t.meet(sub, name, below, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// openFolder opens the folder that info is of, and nothing that has taken its place,
// and lists it in order. size is what the names take in memory, at most the bytes of
// room.
func openFolder(dir *os.Root, name string, info fs.FileInfo, room int) (sub *os.Root, names []string, size int, err error) {
	opened, err := dir.OpenRoot(name)
	if err != nil {
		return nil, nil, 0, err
	}
	defer func() {
		if err != nil {
			opened.Close()
		}
	}()
	f, err := opened.Open(".")
	if err != nil {
		return nil, nil, 0, err
	}
	defer f.Close()
	if now, err := f.Stat(); err != nil || !os.SameFile(now, info) {
		return nil, nil, 0, cmpOr(err, errExchanged)
	}
	for {
		some, err := f.Readdirnames(1024)
		names = append(names, some...)
		for _, n := range some {
			size += len(n) + nameCost
		}
		if size > room {
			return nil, nil, 0, errors.New("more files in folders than a backup takes")
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, nil, 0, err
		}
	}
	slices.Sort(names)
	return opened, names, size, nil
}

// nameCost is what a name takes in memory besides its bytes.
const nameCost = 32

// errFull ends a walk at the bound of a pod's files.
var errFull = errors.New("more files than a backup has of a pod")

var errExchanged = errors.New("it was exchanged while it was read")

func cmpOr(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}

// leave notes a file that is not copied, unless the next pass will see to it, or the
// one before has noted it.
func (t *tree) leave(at string, err error) {
	exchanged := errors.Is(err, errExchanged)
	if exchanged && t.met == nil || !exchanged && !t.known {
		t.report.leave(at, reason(err))
	}
}

// reason is why a file is left out, without the path.
func reason(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		err = p.Err
	}
	return err.Error()
}

// writeFolders writes the entries of the folders that the walk is in.
func (t *tree) writeFolders() error {
	for i := range t.folders {
		f := &t.folders[i]
		if f.written {
			continue
		}
		f.written = true
		if err := t.put(&tar.Header{Typeflag: tar.TypeDir, Name: t.prefix + f.path + "/", Mode: permissions(f.info), ModTime: f.info.ModTime()}, nil); err != nil {
			return err
		}
	}
	return nil
}

// permissions leaves out what would let a program run as the file's owner.
func permissions(info fs.FileInfo) int64 { return int64(info.Mode().Perm()) }

func (t *tree) put(h *tar.Header, content io.Reader) error {
	if !t.place(h) {
		return nil
	}
	return t.out.put(h, content)
}

// place counts an entry, if there is a place for it.
func (t *tree) place(h *tar.Header) bool {
	if t.report.said += len(h.Name); t.report.full || t.report.said > 2*maxNames {
		t.report.full = true // also what is in this folder, which would have none
		t.report.leave(strings.TrimPrefix(h.Name, t.prefix), "the pod changes more files than a backup has of it")
		return false
	}
	t.report.Files++
	t.report.Bytes += h.Size
	return true
}

// putKept is put for a file that packs may have from an earlier backup.
func (t *tree) putKept(h *tar.Header, at string, is facts, content io.Reader, read *lossy) error {
	if h.Size == 0 {
		return t.put(h, content)
	}
	if !t.place(h) {
		return nil
	}
	now := &known{path: string(t.report.ID) + "/" + at, inode: is.inode, changed: is.changed, size: h.Size}
	if k := t.kept.find(now.path, is, h.Size); k != nil {
		return cmpOr(t.packed.putRefs(h, k.refs, k.sum), t.kept.note(k))
	}
	if err := t.out.put(h, content); err != nil || is.changed >= t.settled || read.err != nil {
		return err
	}
	now.refs, now.sum = t.packed.refs, t.packed.last
	return t.kept.note(now)
}

// copy writes what is no folder.
func (t *tree) copy(dir *os.Root, name, at string, info fs.FileInfo) error {
	h := &tar.Header{Name: t.prefix + at, Mode: permissions(info), ModTime: info.ModTime(), PAXRecords: map[string]string{}}
	switch info.Mode().Type() {
	case 0:
		return t.copyFile(dir, name, at, info, h)
	case fs.ModeSymlink:
		target, err := dir.Readlink(name)
		if err != nil {
			t.leave(at, err)
			return nil
		}
		h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, target, 0o777
		return cmpOr(t.writeFolders(), t.put(h, nil))
	}
	t.leave(at, errors.New("no plain file: "+info.Mode().Type().String()))
	return nil
}

func (t *tree) copyFile(dir *os.Root, name, at string, info fs.FileInfo, h *tar.Header) error {
	f, err := dir.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			t.leave(at, err)
		}
		return nil
	}
	defer f.Close()
	now, err := f.Stat()
	if err != nil || !os.SameFile(now, info) || !now.Mode().IsRegular() {
		t.leave(at, cmpOr(err, errExchanged))
		return nil
	}
	if err := t.writeFolders(); err != nil {
		return err
	}
	if known := factsOf(now); known.links > 1 {
		if first, ok := t.linked[known.inode]; ok {
			h.Typeflag, h.Linkname = tar.TypeLink, first
			return t.put(h, nil)
		}
		if size := len(h.Name) + nameCost; t.links+size <= maxLinked {
			t.links += size
			t.linked[known.inode] = h.Name
			h.PAXRecords[recordLinked] = "1"
		}
	}
	h.Typeflag, h.ModTime, h.Size = tar.TypeReg, now.ModTime(), now.Size()
	content := contents{Reader: f, file: f}
	if factsOf(now).blocks < now.Size() {
		parts, err := extentsOf(f, now.Size())
		if err != nil {
			delete(t.linked, factsOf(now).inode)
			t.leave(at, err)
			return nil
		}
		if parts != nil {
			h.PAXRecords[recordSize], h.PAXRecords[recordSparse] = strconv.FormatInt(now.Size(), 10), formatExtents(parts)
			h.Size, content.Reader = lengthOf(parts), partsOf(f, parts)
		}
	}
	read := &lossy{Reader: content.Reader}
	content.Reader = read
	if t.kept != nil {
		err = t.putKept(h, at, factsOf(now), content, read)
	} else {
		err = t.put(h, content)
	}
	if read.err != nil {
		t.leave(at, fmt.Errorf("not all of it could be read, and zeros stand for the rest: %w", read.err))
	}
	return err
}

// lossy is a reader of a file that may be on a bad place of the disk. Zeros stand for
// what cannot be read: one file must not keep all others from being copied.
type lossy struct {
	io.Reader
	err error
}

// Read implements io.Reader.
func (l *lossy) Read(p []byte) (int, error) {
	if l.err != nil {
		return zeros{}.Read(p)
	}
	n, err := l.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		l.err, err = err, nil
	}
	return n, err
}

// contents is what there is to read of a file, and the file.
type contents struct {
	io.Reader
	file *os.File
}

// extent is a part of a file that is not a hole.
type extent struct{ offset, length int64 }

// extentsOf finds the parts of a file with holes; nil when there are no holes.
func extentsOf(f *os.File, size int64) ([]extent, error) {
	parts := []extent{}
	for at := int64(0); at < size; {
		from, err := f.Seek(at, seekData)
		if errors.Is(err, syscall.ENXIO) {
			break // a hole to the end
		}
		if err != nil {
			return nil, nil // this file system does not tell
		}
		to, err := f.Seek(from, seekHole)
		if err != nil {
			return nil, err
		}
		if from = min(from, size); from == size {
			break
		}
		to = min(to, size)
		if parts = append(parts, extent{from, to - from}); len(parts) > maxExtents {
			return nil, fmt.Errorf("more than %d holes", maxExtents)
		}
		at = to
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	if len(parts) == 1 && parts[0] == (extent{0, size}) {
		return nil, nil
	}
	return parts, nil
}

func lengthOf(parts []extent) (sum int64) {
	for _, p := range parts {
		sum += p.length
	}
	return sum
}

// partsOf reads the parts one after the other. One that is cut off meanwhile is
// filled up with zeros, so that those behind it stay where they belong.
func partsOf(f *os.File, parts []extent) io.Reader {
	var all []io.Reader
	for _, p := range parts {
		all = append(all, io.LimitReader(io.MultiReader(io.NewSectionReader(f, p.offset, p.length), zeros{}), p.length))
	}
	return io.MultiReader(all...)
}

func formatExtents(parts []extent) string {
	var b strings.Builder
	for i, p := range parts {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "%x+%x", p.offset, p.length)
	}
	return b.String()
}

// parseExtents is the reverse, for a file of that size of which length bytes are
// there.
func parseExtents(s string, size, length int64) ([]extent, error) {
	var parts []extent
	end, sum := int64(0), int64(0)
	if s != "" {
		for part := range strings.SplitSeq(s, ",") {
			from, long, ok := strings.Cut(part, "+")
			offset, err1 := strconv.ParseInt(from, 16, 64)
			n, err2 := strconv.ParseInt(long, 16, 64)
			if !ok || err1 != nil || err2 != nil || offset < end || n <= 0 || n > size-offset || len(parts) == maxExtents {
				return nil, fmt.Errorf("the part %q is not in it", part)
			}
			parts = append(parts, extent{offset, n})
			end, sum = offset+n, sum+n
		}
	}
	if sum != length {
		return nil, fmt.Errorf("its parts are %d bytes and not %d", sum, length)
	}
	return parts, nil
}

// certificates copies the tree of certificates, which only podgate writes.
func certificates(ctx context.Context, out *sink, root *os.Root) error {
	none := &Pod{}
	t := &tree{ctx: ctx, out: out, report: none}
	if err := t.walk(root, []string{treeCerts}); err != nil {
		return err
	}
	if none.LeftOut > 0 {
		return fmt.Errorf("certificates cannot be read: %s", strings.Join(none.Such, ", "))
	}
	return nil
}

// slack is how much later than a change its time on the disk may be taken.
const slack = 100 * time.Millisecond
