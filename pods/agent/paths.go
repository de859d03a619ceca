package agent

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"

	"podgate/pods/wire"
)

const (
	maxPath  = 4096
	maxLinks = 40 // symbolic links on the way to one file, as in the kernel
)

// place is one folder that file requests may touch.
type place struct {
	base string   // as the protocol names it
	real string   // on the disk
	root *os.Root // refuses whatever leads out of it, also when links change underneath

	swapping sync.Mutex // held while a look at a file must hold until it is replaced
}

// spot is one path within a place.
type spot struct {
	place   *place
	rel     string // within the root; "." is the root
	virtual string // as the protocol names it
}

func (s spot) real() string { return filepath.Join(s.place.real, s.rel) }

// folders are the places of a pod.
type folders struct{ home, tmp *place }

func openFolders(home, tmp string) (*folders, error) {
	h, err := openPlace(podHome, home)
	if err != nil {
		return nil, err
	}
	t, err := openPlace(podTmp, tmp)
	if err != nil {
		h.root.Close()
		return nil, err
	}
	return &folders{home: h, tmp: t}, nil
}

func openPlace(base, real string) (*place, error) {
	if err := os.MkdirAll(real, 0o755); err != nil {
		return nil, err
	}
	real, err := filepath.Abs(real)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(real)
	if err != nil {
		return nil, err
	}
	return &place{base: base, real: real, root: root}, nil
}

func (f *folders) Close() {
	f.home.root.Close()
	f.tmp.root.Close()
}

func errOutside(p string) *wire.Fault {
	return faultf(wire.FaultPath, "%s is outside: allowed are paths below %s and %s, and paths relative to %s", p, podHome, podTmp, podApp)
}

// cleanPath turns a path of a request into an absolute one without dots. It
// does not look at the disk.
func cleanPath(p string) (string, error) {
	switch {
	case p == "":
		return "", badRequest("path is missing")
	case len(p) > maxPath:
		return "", badRequest("path is over %d bytes", maxPath)
	case strings.ContainsRune(p, 0):
		return "", badRequest("path has a NUL byte")
	}
	if !strings.HasPrefix(p, "/") {
		p = podApp + "/" + p
	}
	return path.Clean(p), nil
}

// locate finds the place of an absolute, clean path by its text alone.
func (f *folders) locate(p string) (spot, error) {
	for _, pl := range []*place{f.home, f.tmp} {
		if rel, ok := below(pl.base, p); ok {
			return spot{place: pl, rel: rel, virtual: p}, nil
		}
	}
	return spot{}, errOutside(p)
}

// below reports p relative to base when it is base or lies in it.
func below(base, p string) (string, bool) {
	if p == base {
		return ".", true
	}
	if rest, ok := strings.CutPrefix(p, strings.TrimSuffix(base, "/")+"/"); ok {
		return rest, true
	}
	return "", false
}

// resolve finds the spot that p means after following every symbolic link, as
// long as each leads to an allowed folder; what does not exist yet is taken by
// its name. Between this and the use of the spot a link may change: os.Root
// then refuses what leads out.
func (f *folders) resolve(p string) (spot, error) {
	clean, err := cleanPath(p)
	if err != nil {
		return spot{}, err
	}
	asked, cur := clean, clean
	for range maxLinks {
		s, err := f.locate(cur)
		if err != nil {
			if cur == clean {
				return spot{}, err
			}
			return spot{}, faultf(wire.FaultPath, "%s leads through a symbolic link out of %s and %s", asked, podHome, podTmp)
		}
		next, err := f.followOne(s)
		if err != nil {
			return spot{}, fileFault(asked, err)
		}
		if next == "" {
			return s, nil
		}
		cur = next
	}
	return spot{}, faultf(wire.FaultPath, "%s leads through more than %d symbolic links", asked, maxLinks)
}

// resolveName finds the spot of the name that p ends in, also when a link has
// that name: what is deleted or moved is the link. The places themselves and the
// app folder stay where they are.
func (f *folders) resolveName(p string) (spot, error) {
	clean, err := cleanPath(p)
	if err != nil {
		return spot{}, err
	}
	s, err := f.locate(clean)
	if err != nil {
		return spot{}, err
	}
	if s.rel != "." {
		if s, err = f.resolve(path.Dir(clean)); err != nil {
			return spot{}, err
		}
		name := path.Base(clean)
		s.rel, s.virtual = path.Join(s.rel, name), path.Join(s.virtual, name)
	}
	if s.rel == "." || s.virtual == podApp {
		return spot{}, faultf(wire.FaultPath, "%s itself can be neither deleted nor moved; name what lies in it", s.virtual)
	}
	return s, nil
}

// followOne replaces the first symbolic link on the way to s and returns the
// resulting absolute path, or "" when there is none.
func (f *folders) followOne(s spot) (string, error) {
	if s.rel == "." {
		return "", nil
	}
	parts := strings.Split(s.rel, "/")
	for i := range parts {
		prefix := strings.Join(parts[:i+1], "/")
		info, err := s.place.root.Lstat(prefix)
		if errors.Is(err, fs.ErrNotExist) {
			return "", nil
		}
		if err != nil {
			return "", err
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			continue
		}
		target, err := s.place.root.Readlink(prefix)
		if err != nil {
			return "", err
		}
		rest := strings.Join(parts[i+1:], "/")
		return path.Join(f.linkTarget(s.place, prefix, target), rest), nil
	}
	return "", nil
}

// linkTarget is where a link at prefix points, as a path of the protocol. The
// prefix holds no link itself, so ".." may be taken by its text.
func (f *folders) linkTarget(pl *place, prefix, target string) string {
	if !path.IsAbs(target) {
		return path.Join(pl.base, path.Dir(prefix), target)
	}
	target = path.Clean(target)
	for _, pl := range []*place{f.home, f.tmp} {
		if rel, ok := below(pl.real, target); ok {
			return path.Join(pl.base, rel)
		}
	}
	return target
}

// dir resolves p, which must be a directory.
func (f *folders) dir(p string) (spot, error) {
	s, err := f.resolve(p)
	if err != nil {
		return spot{}, err
	}
	info, err := s.place.root.Stat(s.rel)
	if err != nil {
		return spot{}, fileFault(s.virtual, err)
	}
	if !info.IsDir() {
		return spot{}, faultf(wire.FaultNotDir, "%s is not a directory", s.virtual)
	}
	return s, nil
}
