package backup

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"
)

// CopyOptions is how a tree is copied.
type CopyOptions struct {
	// Hold keeps who changes the tree from doing so until release is called, or for a
	// bounded time. release returns whether they were all the while. nil: nobody does.
	Hold func(ctx context.Context) (release func() bool, err error)
	// Owner is the uid and gid that the copy belongs to; 0: whoever copies.
	Owner int
	Most  int64 // bytes that the copy may have, as Copied counts them
	Spare int64 // bytes that it must leave on its disk
	Now   func() time.Time
}

// Copied is what a copy came to.
type Copied struct {
	Bytes   int64 // of its files, and leastFile of each that has fewer
	LeftOut int   // files that are not in it: no plain ones, or such as cannot be read
	Such    []string
	// Moving is why the tree could not be held still for long enough. What there is of
	// the copy is then of no use: take it away, and do without Hold. Empty: it was.
	Moving string
}

// leastFile is what a file takes at least, in bytes, however little is in it.
const leastFile = 4096

// What can be in the way of a copy.
var (
	ErrTooLarge = errors.New("there is more than may be copied")
	ErrTooMany  = fmt.Errorf("there are more than %d files", maxFiles)
	ErrNoRoom   = errors.New("there is not enough room on the disk")
)

// CopyTree copies the folder name in from to the same name in to, which has none, and
// waits until the disk has it. from may be hostile and change meanwhile: see the
// package comment. What is in files is shared where the file system can do that. After
// an error there is a part of a copy.
func CopyTree(ctx context.Context, from, to *os.Root, name string, o CopyOptions) (Copied, error) {
	report := &Pod{}
	p := &placer{ctx: ctx, to: &unpacker{root: to}, most: o.Most, spare: o.Spare}
	p.to.cleared = p.free
	if o.Owner != 0 {
		p.to.owner = &ownerID{o.Owner, o.Owner}
	}
	c := &podCopy{ctx: ctx, dir: from, trees: []string{name}, spools: to.Name(), now: o.Now, report: report, hold: o.Hold, created: time.Unix(0, 0)}
	c.prefix = func(layer int) string { p.layer = layer; return "" }
	defer c.close()
	still, err := c.moving(p)
	var out Copied
	if err == nil && !still {
		held, cancel := context.WithTimeout(ctx, holdTime)
		p.ctx = held
		out.Moving, err = c.held(held, p)
		cancel()
	}
	err = errors.Join(err, p.to.leave(0))
	if err == nil && (report.full || report.many) {
		err = ErrTooMany
	}
	if err == nil && out.Moving == "" {
		err = syncTree(to)
	}
	out.Bytes, out.LeftOut, out.Such = p.bytes, report.LeftOut, report.Such
	return out, err
}

func syncTree(dir *os.Root) error {
	f, err := dir.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(syncAround(f), f.Close())
}

// placer puts the entries of a walk into a folder at once.
type placer struct {
	ctx         context.Context
	to          *unpacker
	layer       int
	most, spare int64
	bytes       int64
	unlooked    int64 // bytes since the disk was looked at
}

// lookEvery is how much is copied between two looks at the room on the disk, in bytes.
const lookEvery = 16 << 20

// put implements putter.
func (p *placer) put(h *tar.Header, content io.Reader) error {
	e := &entry{Header: h, size: h.Size, layer: p.layer, path: strings.TrimSuffix(h.Name, "/")}
	if e.removed() {
		return p.to.take(e, content)
	}
	if h.Typeflag != tar.TypeDir || p.layer == 1 {
		if err := p.count(max(h.Size, leastFile)); err != nil {
			return err
		}
	}
	if sparse, ok := h.PAXRecords[recordSparse]; ok {
		if err := e.holes(sparse); err != nil {
			return err
		}
	}
	if source, ok := content.(contents); ok {
		source.Reader = untilDone{p.ctx, io.MultiReader(source.Reader, zeros{})} // it may shrink meanwhile
		content = source
	}
	if err := p.to.take(e, content); err != nil {
		return fmt.Errorf("%s: %w", path.Base(e.path), err)
	}
	return nil
}

// free is called with what an entry takes the place of.
func (p *placer) free(info fs.FileInfo) {
	if info.Mode().IsRegular() {
		size := max(min(info.Size(), factsOf(info).blocks), leastFile)
		if factsOf(info).links > 1 {
			size = leastFile // as another name was counted; the contents stay
		}
		p.bytes = max(p.bytes-size, 0)
	}
}

// count adds to what the copy has, and looks whether it may.
func (p *placer) count(bytes int64) error {
	if p.bytes += bytes; p.bytes > p.most {
		return ErrTooLarge
	}
	if p.unlooked += bytes; p.unlooked < lookEvery && p.bytes > bytes {
		return nil
	}
	p.unlooked = 0
	room, err := roomOn(p.to.root.Name())
	if err == nil && room-bytes < p.spare {
		err = ErrNoRoom
	}
	return err
}
