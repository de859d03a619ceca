package agent

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"strings"
	"syscall"
	"time"

	"podgate/pods/wire"
)

const (
	maxDepth = 256 // folders deep that a home may be, to be sent or put in place
	maxTold  = 1000
)

// serveExport is GET /v1/home.
func (a *agent) serveExport(w http.ResponseWriter, r *http.Request) error {
	if _, err := parseQuery(r.URL.RawQuery); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/x-tar")
	w.Header().Set("Trailer", wire.TrailerFault)
	x := &exporter{ctx: r.Context(), tar: tar.NewWriter(w), names: map[uint64]string{}}
	err := x.folder(a.folders.home.root, ".", 0)
	if err == nil {
		err = x.tar.Close()
	}
	if err != nil {
		w.Header().Set(wire.TrailerFault, trailer(asFault(err)))
	}
	return nil
}

// trailer is a fault as one line that no bound on trailers cuts.
func trailer(f *wire.Fault) string {
	short := *f
	if len(short.Message) > maxTold {
		short.Message = strings.ToValidUTF8(short.Message[:maxTold], "") + "…"
	}
	b, err := json.Marshal(short)
	if err != nil {
		return ""
	}
	return string(b)
}

// exporter writes a tree into a tar. What vanishes meanwhile is left out, and a
// file keeps the length that it had when it was opened.
type exporter struct {
	ctx   context.Context
	tar   *tar.Writer
	names map[uint64]string // of files with several, by inode
}

// folder sends what lies in root, whose name in the tar is name.
func (x *exporter) folder(root *os.Root, name string, depth int) error {
	d, err := root.Open(".")
	if err != nil {
		return err
	}
	defer d.Close()
	for {
		some, err := d.Readdirnames(1000)
		for _, base := range some {
			if name == "." && strings.HasPrefix(base, wire.OwnPrefix) {
				continue
			}
			if err := x.entry(root, base, path.Join(name, base), depth); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// told is what people call an entry.
func (x *exporter) told(name string) string { return path.Join(podHome, name) }

// entry sends what is called base in root, under name.
func (x *exporter) entry(root *os.Root, base, name string, depth int) error {
	if err := x.ctx.Err(); err != nil {
		return err
	}
	info, err := root.Lstat(base)
	if err == nil {
		// Without whole seconds the time would be rounded, also into the future.
		h := &tar.Header{Name: name, Mode: int64(info.Mode().Perm()), ModTime: info.ModTime().Truncate(time.Second)}
		switch m := info.Mode(); {
		case m.IsDir():
			err = x.subfolder(root, base, h, depth)
		case m.IsRegular():
			err = x.file(root, base, h)
		case m&fs.ModeSymlink != 0:
			h.Typeflag = tar.TypeSymlink
			if h.Linkname, err = root.Readlink(base); err == nil {
				err = x.tar.WriteHeader(h)
			}
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return fileFault(x.told(name), err)
}

func (x *exporter) subfolder(root *os.Root, base string, h *tar.Header, depth int) error {
	if depth >= maxDepth {
		return faultf(wire.FaultFailed, "%.200s… lies more than %d folders deep", x.told(h.Name), maxDepth)
	}
	sub, err := root.OpenRoot(base)
	if err != nil {
		return err
	}
	defer sub.Close()
	name := h.Name
	h.Typeflag, h.Name = tar.TypeDir, name+"/"
	if err := x.tar.WriteHeader(h); err != nil {
		return err
	}
	return x.folder(sub, name, depth+1)
}

func (x *exporter) file(root *os.Root, base string, h *tar.Header) error {
	f, err := root.OpenFile(base, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return nil // exchanged meanwhile
	}
	h.Typeflag, h.Size = tar.TypeReg, info.Size()
	if first := x.firstName(info, h.Name); first != "" {
		h.Typeflag, h.Size, h.Linkname = tar.TypeLink, 0, first
	}
	if err := x.tar.WriteHeader(h); err != nil {
		return err
	}
	n, err := io.CopyN(x.tar, f, h.Size)
	if errors.Is(err, io.EOF) {
		_, err = io.CopyN(x.tar, zeros{}, h.Size-n)
	}
	return err
}

// firstName returns the name under which the file was sent already, "" when it
// was not.
func (x *exporter) firstName(info fs.FileInfo, name string) string {
	_, inode, links := diskUse(info.Size(), info.Sys())
	if links < 2 {
		return ""
	}
	first := x.names[inode]
	if first == "" && len(x.names) < maxHardLink {
		x.names[inode] = name
	}
	return first
}

// zeros fills up what a file has lost since it was opened.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
