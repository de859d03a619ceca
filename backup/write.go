package backup

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"podgate/store"
)

// Source is a server to back up.
type Source struct {
	Dir      string    // the data folder
	DB       *store.DB // of that folder
	Settings string    // the path of the configuration file; "": there is none
	Version  string    // of podgate
	Now      func() time.Time
	// Hold holds a pod still until release is called, or for a bounded time. release
	// returns whether it was still all the while. nil: no pod runs.
	Hold func(ctx context.Context, id store.PodID) (release func() bool, err error)
}

const (
	// holdTime is how long a pod is held still at most.
	holdTime = 10 * time.Second
	// catchUp is how long a pass over a pod may take for the next to be the one
	// during which the pod is held.
	catchUp = 2 * time.Second
	// maxHeld bounds what is copied while a pod is held, in bytes.
	maxHeld = 4 << 30
)

// Write writes a backup of src to w. What it returns is also the end of the backup. w
// may be slow: neither the database nor a pod waits for it. After an error, what was
// written is no backup.
func Write(ctx context.Context, w io.Writer, src Source) (*Manifest, error) {
	return WriteTo(ctx, w, src, nil)
}

// WriteTo is Write with the contents in packs; nil: in the backup itself.
func WriteTo(ctx context.Context, w io.Writer, src Source, packs *Packs) (*Manifest, error) {
	return packed(ctx, w, &writer{Source: src, ctx: ctx, packs: packs, manifest: Manifest{StoreFormat: store.Format, Pods: []Pod{}}}, (*writer).server)
}

// packed writes a file of which contents writes what stands before the index.
func packed(ctx context.Context, w io.Writer, b *writer, contents func(*writer) error) (*Manifest, error) {
	packed, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithWindowSize(window), zstd.WithEncoderConcurrency(2))
	if err != nil {
		return nil, err
	}
	err = b.write(packed, contents)
	if err := errors.Join(err, packed.Close()); err != nil {
		return nil, err
	}
	return &b.manifest, ctx.Err()
}

// window is how far back a backup refers to itself, in bytes, which is what reading
// one takes in memory.
const window = 4 << 20

type writer struct {
	Source
	ctx      context.Context
	packs    *Packs // nil: contents are in the backup
	out      *sink
	manifest Manifest
}

func (b *writer) write(w io.Writer, contents func(*writer) error) error {
	index, err := newSpool(b.Dir)
	if err != nil {
		return err
	}
	defer index.close()
	b.out = newSink(b.ctx, w, index)
	b.out.packs = b.packs
	if err := contents(b); err != nil {
		return err
	}
	b.manifest.Entries, b.manifest.Bytes = b.out.entries, b.out.bytes
	b.out.index = nil
	if err := b.spooled(nameIndex, index); err != nil {
		return err
	}
	b.manifest.Index = hex.EncodeToString(b.out.last[:])
	if err := b.json(nameManifest, b.manifest); err != nil {
		return err
	}
	return b.out.tar.Close()
}

// server writes what a backup has of a whole server.
func (b *writer) server() error {
	database, err := newSpool(b.Dir)
	if err != nil {
		return err
	}
	defer database.close()
	b.manifest.Head = Head{application, Format, b.Version, b.Now().UTC()}
	if b.packs != nil {
		b.manifest.Created = b.packs.at
	}
	pods, err := b.DB.Snapshot(database)
	if err != nil {
		return fmt.Errorf("copy the database: %w", err)
	}
	if err := b.json(nameHead, b.manifest.Head); err != nil {
		return err
	}
	if err := b.spooled(nameDatabase, database); err != nil {
		return err
	}
	database.close() // its room on the disk is free again
	if err := b.settings(); err != nil {
		return err
	}
	return b.trees(pods)
}

func (b *writer) json(name string, v any) error {
	raw, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return b.plain(name, append(raw, '\n'))
}

func (b *writer) plain(name string, content []byte) error {
	return b.out.put(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o600, ModTime: b.manifest.Created, Size: int64(len(content))}, bytes.NewReader(content))
}

func (b *writer) spooled(name string, s *spool) error {
	content, size, err := s.rewind()
	if err != nil {
		return err
	}
	return b.out.put(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o600, ModTime: b.manifest.Created, Size: size}, content)
}

// settings copies the configuration file. Files that it names are not in a backup.
func (b *writer) settings() error {
	if b.Settings == "" {
		return nil
	}
	raw, err := os.ReadFile(b.Settings)
	if err != nil {
		return fmt.Errorf("copy the configuration: %w", err)
	}
	b.manifest.Settings = true
	return b.plain(nameSettings, raw)
}

// trees copies certificates and pods.
func (b *writer) trees(pods []store.Pod) error {
	root, err := os.OpenRoot(b.Dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := certificates(b.ctx, b.out, root); err != nil {
		return err
	}
	slices.SortFunc(pods, func(x, y store.Pod) int { return strings.Compare(string(x.ID), string(y.ID)) })
	for _, p := range pods {
		if p.Want == store.WantGone && p.Until.IsZero() {
			continue // but for those that can be brought back
		}
		report := Pod{ID: p.ID, Name: p.Name, State: PodStill}
		if err := b.pod(root, &report); err != nil {
			return fmt.Errorf("copy the pod %s: %w", p.Name, err)
		}
		b.manifest.Pods = append(b.manifest.Pods, report)
	}
	return nil
}

// pod copies one pod: as it is, then what changed meanwhile, and that with the pod
// held still in the end.
func (b *writer) pod(root *os.Root, report *Pod) error {
	if !plainID(report.ID) {
		return fmt.Errorf("its id %q is not one", report.ID)
	}
	dir, err := root.OpenRoot(filepath.Join(treePods, string(report.ID)))
	if errors.Is(err, fs.ErrNotExist) {
		report.State = PodAbsent
		return nil
	}
	if err != nil {
		return err
	}
	defer dir.Close()
	c := &podCopy{
		ctx: b.ctx, dir: dir, trees: podTrees, spools: b.Dir, now: b.Now, report: report, created: b.manifest.Created,
		prefix: func(layer int) string { return podPrefix(report.ID, layer) },
	}
	if b.Hold != nil {
		c.hold = func(ctx context.Context) (func() bool, error) { return b.Hold(ctx, report.ID) }
	}
	if b.packs != nil {
		c.kept, c.packed = b.packs.files, b.out
	}
	defer c.close()
	still, err := c.moving(b.out)
	if err != nil || still {
		return err
	}
	return b.still(c)
}

// still writes the last layer, while the pod is held. It goes to a spool first: the
// pod must not wait for who reads the backup.
func (b *writer) still(c *podCopy) error {
	s, err := newSpool(b.Dir)
	if err != nil {
		return err
	}
	defer s.close()
	before := *c.report
	ctx, cancel := context.WithTimeout(b.ctx, holdTime)
	defer cancel()
	held := newSink(ctx, &bounded{s, maxHeld, errTooMuch}, nil)
	why, err := c.held(ctx, held)
	if err != nil {
		return err
	}
	if why != "" {
		before.State, before.Why = PodRunning, why
		*c.report = before
		return nil
	}
	if err := held.tar.Close(); err != nil {
		return err
	}
	content, _, err := s.rewind()
	if err != nil {
		return err
	}
	return b.out.replay(content)
}

// podCopy is the passes over one pod, which may run.
type podCopy struct {
	ctx    context.Context
	dir    *os.Root
	trees  []string // in dir, in order
	prefix func(layer int) string
	spools string // a folder with room for what it remembers
	now    func() time.Time
	hold   func(ctx context.Context) (release func() bool, err error) // nil: the pod does not run
	report *Pod
	layer  int
	met    *list // by the last pass
	began  int64 // when it did, ns since 1970

	created time.Time   // what lists are dated with
	kept    *knownFiles // as in tree, for the first pass, which goes to packed
	packed  *sink
}

func (c *podCopy) close() {
	if c.met != nil {
		c.met.close()
	}
}

// moving is all passes but the last, which is left to held. still says that there is
// no need of it, as the pod does not run.
func (c *podCopy) moving(out putter) (still bool, err error) {
	if c.hold == nil {
		return true, c.pass(c.ctx, out, false)
	}
	for layer := 1; layer < maxLayers-1; layer++ {
		began := c.now()
		if err := c.pass(c.ctx, out, true); err != nil {
			return false, err
		}
		if c.now().Sub(began) < catchUp || layer > 3 {
			break
		}
	}
	return false, nil
}

// settle has what programs of the pod wrote through mapped pages so far reach the
// disk: such writes show in the time of the file only once after that.
func (c *podCopy) settle() error {
	f, err := c.dir.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(syncAround(f), f.Close())
}

// pass writes one layer to out; again says that another will follow.
func (c *podCopy) pass(ctx context.Context, out putter, again bool) error {
	c.layer++
	prefix := c.prefix(c.layer)
	t := &tree{ctx: ctx, out: out, prefix: prefix, report: c.report, before: c.met, since: c.began - slack.Nanoseconds()}
	began := c.now().UnixNano()
	if again { // and what they write from now on shows before the next pass
		if err := c.settle(); err != nil {
			return err
		}
	}
	if c.layer == 1 && c.kept != nil {
		t.kept, t.packed, t.settled = c.kept, c.packed, began-slack.Nanoseconds()
	}
	if again {
		s, err := newSpool(c.spools)
		if err != nil {
			return err
		}
		t.met = &list{spool: s}
	}
	var err error
	if t.before != nil {
		if t.gone, err = newSpool(c.spools); err == nil {
			defer t.gone.close()
			err = t.before.begin()
		}
	}
	if err == nil {
		err = t.walk(c.dir, c.trees)
	}
	c.close()
	c.met, c.began = t.met, began
	if err != nil || t.gone == nil {
		return err
	}
	return c.removed(out, prefix, t.gone)
}

// removed writes what is no longer there.
func (c *podCopy) removed(out putter, prefix string, gone *spool) error {
	content, size, err := gone.rewind()
	if err != nil || size == 0 {
		return err
	}
	c.report.Files++
	c.report.Bytes += size
	return out.put(&tar.Header{Typeflag: tar.TypeReg, Name: prefix + nameRemoved, Mode: 0o600, ModTime: c.created, Size: size}, content)
}

// held is the last pass. why says what kept it from being of one moment.
func (c *podCopy) held(ctx context.Context, out putter) (why string, err error) {
	release, err := c.hold(ctx)
	if err != nil {
		return "it could not be held still: " + err.Error(), c.ctx.Err()
	}
	err = c.pass(ctx, out, false)
	still := release()
	switch {
	case c.ctx.Err() != nil:
		return "", c.ctx.Err()
	case errors.Is(err, context.DeadlineExceeded), err == nil && !still:
		return "too much changed to be copied while it was held still", nil
	case errors.Is(err, errTooMuch), errors.Is(err, errSpool):
		return err.Error(), nil
	}
	return "", err
}

var errTooMuch = errors.New("it writes more than can be copied while it is held still")

// errSpool is that what waits on the disk would take more than a quarter of its room.
var errSpool = errors.New("there is too little room on the disk of the data folder for what has to wait there; make room first")

// bounded is a writer with an end, at which it returns end.
type bounded struct {
	w    io.Writer
	left int64
	end  error
}

// Write implements io.Writer.
func (b *bounded) Write(p []byte) (int, error) {
	if b.left -= int64(len(p)); b.left < 0 {
		return 0, b.end
	}
	return b.w.Write(p)
}

// podPrefix begins the names of a layer's entries.
func podPrefix(id store.PodID, layer int) string {
	return treePods + "/" + string(id) + "/" + strconv.Itoa(layer) + "/"
}

// plainID accepts what can be the name of a pod's folder.
func plainID(id store.PodID) bool {
	return id != "" && len(id) <= 64 && !strings.ContainsFunc(string(id), func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
	})
}
