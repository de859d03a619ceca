package agent

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"

	"podgate/pods/wire"
)

// Bounds of one walk through files. It always comes further than the one before,
// so with its cursor the next one goes on.
const (
	maxWalks     = 4       // at a time
	maxLooked    = 100_000 // entries
	maxWalkTime  = 10 * time.Second
	maxWalkDepth = 64
	walkChunk    = 1000 // names of one folder that are held at a time, times three
	maxSkipped   = 50   // told
	maxWalkText  = 1 << 20
)

// aside are folders with what nobody wrote there. A walk leaves them out unless
// its path or glob names them.
var aside = []string{".git", "__pycache__", "node_modules", "venv", ".venv"}

// errCut ends a walk that is not at its end.
var errCut = errors.New("cut")

// walk goes through what lies below a folder, by name, each folder before what is
// in it. It never follows a link.
type walk struct {
	ctx     context.Context
	until   time.Time
	deep    bool
	glob    glob
	asked   string // path and glob, which may name what is left out otherwise
	own     bool   // what begins with wire.OwnPrefix at the top is the agent's
	line    int    // of the file at which it begins, after which to go on
	looked  int
	last    string // the entry that was done last
	skipped []string
	// visit sees each entry that the glob lets through; line is 0, or says after
	// which line the visit goes on.
	visit func(e walked) error
}

// walked is one entry of a walk.
type walked struct {
	root *os.Root // of the folder that it lies in
	base string
	rel  string // from where the walk began
	info fs.FileInfo
	line int
}

// walkFrom walks through the folder s from a cursor, which may be empty.
func (a *agent) walkFrom(s spot, w *walk, cursor string) (wire.Walk, error) {
	select {
	case a.walks <- struct{}{}:
		defer func() { <-a.walks }()
	case <-w.ctx.Done():
		return wire.Walk{}, w.ctx.Err()
	}
	var after []string
	rel, line, err := wire.ParseCursor(cursor)
	if err != nil {
		return wire.Walk{}, badRequest("%v", err)
	}
	if rel != "" {
		after = strings.Split(rel, "/")
	}
	w.until, w.line, w.last = time.Now().Add(maxWalkTime), line, rel
	w.own = w.deep && s.place == a.folders.home && s.rel == "."
	root, err := s.place.root.OpenRoot(s.rel)
	if err != nil {
		return wire.Walk{}, fileFault(s.virtual, err)
	}
	defer root.Close()
	err = w.folder(root, "", 0, after)
	if err != nil && !errors.Is(err, errCut) {
		return wire.Walk{}, fileFault(s.virtual, err)
	}
	out := wire.Walk{Cut: err != nil, Skipped: w.skipped}
	if out.Cut {
		out.Cursor = wire.Cursor(w.last, w.line)
	}
	return out, nil
}

// folder walks through one folder. after are the names on the way to where the
// walk goes on, none when all is new.
func (w *walk) folder(root *os.Root, rel string, depth int, after []string) error {
	from := ""
	if len(after) > 0 {
		from = after[0]
	}
	for {
		names, more, err := namesFrom(w.ctx, root, from, walkChunk)
		if err != nil {
			return err
		}
		for _, name := range names {
			var rest []string
			if len(after) > 0 && name == after[0] {
				rest = after
			}
			if err := w.entry(root, name, path.Join(rel, name), depth, rest); err != nil {
				return err
			}
		}
		if !more {
			return nil
		}
		from = names[len(names)-1] + "\x00"
	}
}

// entry looks at one name. after begins with it when it lies on the way to where
// the walk goes on, so that it was looked at before.
func (w *walk) entry(root *os.Root, name, rel string, depth int, after []string) error {
	if w.own && depth == 0 && strings.HasPrefix(name, wire.OwnPrefix) {
		return nil
	}
	info, err := root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	line := 0
	if len(after) == 1 {
		line = w.line
	}
	if (len(after) == 0 || line > 0) && w.glob.match(rel) {
		w.line = 0
		if err := w.visit(walked{root, name, rel, info, line}); err != nil {
			return err
		}
	}
	if len(after) < 2 {
		w.last, w.line = rel, 0
	}
	if info.IsDir() && w.deep {
		if err := w.below(root, name, rel, depth, after); err != nil {
			return err
		}
	}
	if w.looked++; w.looked >= maxLooked || time.Now().After(w.until) {
		return errCut
	}
	return w.ctx.Err()
}

// below walks through a folder in a folder.
func (w *walk) below(root *os.Root, name, rel string, depth int, after []string) error {
	if depth >= maxWalkDepth || slices.Contains(aside, name) && !w.asksFor(name) {
		w.skip(rel)
		return nil
	}
	sub, err := root.OpenRoot(name)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR): // exchanged meanwhile
		return nil
	case err != nil:
		w.skip(rel)
		return nil
	}
	defer sub.Close()
	if len(after) > 0 {
		after = after[1:]
	}
	return w.folder(sub, rel, depth+1, after)
}

func (w *walk) asksFor(name string) bool { return slices.Contains(strings.Split(w.asked, "/"), name) }

func (w *walk) skip(rel string) {
	if len(w.skipped) < maxSkipped {
		w.skipped = append(w.skipped, rel)
	}
}

// namesFrom returns the first limit names of a folder from the name from on, in
// order, whatever the folder's size, holding at most a few times limit in memory.
func namesFrom(ctx context.Context, root *os.Root, from string, limit int) (names []string, more bool, err error) {
	d, err := root.OpenFile(".", os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, false, err
	}
	defer d.Close()
	for {
		some, err := d.Readdirnames(limit)
		for _, name := range some {
			if name >= from {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		if len(names) > limit {
			names, more = names[:limit:limit], true
		}
		if err == io.EOF {
			return names, more, ctx.Err()
		}
		if err = errors.Join(err, ctx.Err()); err != nil {
			return nil, false, err
		}
	}
}
