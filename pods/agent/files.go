package agent

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"strconv"
	"strings"
	"syscall"
	"time"

	"podgate/pods/wire"
)

const defaultMode = fs.FileMode(0o644)

// serveWrite is PUT /v1/file: the file is complete under its name or not
// there at all.
func (a *agent) serveWrite(w http.ResponseWriter, r *http.Request) error {
	q, err := parseWrite(r.URL.RawQuery)
	if err != nil {
		return err
	}
	if r.ContentLength > q.Max {
		return faultf(wire.FaultTooLarge, "a file may have at most %d bytes", q.Max)
	}
	s, err := a.folders.resolve(q.Path)
	if err != nil {
		return err
	}
	if strings.HasSuffix(q.Path, "/") {
		return faultf(wire.FaultIsDir, "%s names a directory; write to a file in it", q.Path)
	}
	info, err := writeFile(s, q, http.MaxBytesReader(w, r.Body, q.Max))
	if err != nil {
		return fileFault(s.virtual, err)
	}
	asked, _ := cleanPath(q.Path)
	answer := fileInfo(info)
	answer.Name = asked
	writeJSON(w, http.StatusOK, answer)
	return nil
}

// writeFile puts body at s.
func writeFile(s spot, q writeQuery, body io.Reader) (fs.FileInfo, error) {
	mode, err := targetMode(s, q.Mode)
	if err != nil {
		return nil, err
	}
	still := func() error { return isWhat(s, q.Was) }
	if err := still(); err != nil { // before all of body has come for nothing
		return nil, err
	}
	return replaceFile(s, mode, body, still)
}

// isWhat refuses a file that is not what somebody takes it for who replaces it.
func isWhat(s spot, was string) error {
	if was == "" {
		return nil
	}
	f, info, err := openRegular(s)
	if errors.Is(err, fs.ErrNotExist) {
		if was == wire.Absent {
			return nil
		}
		return faultf(wire.FaultStale, "%s is not there any more", s.virtual)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if was == wire.Absent {
		return faultf(wire.FaultStale, "%s exists already", s.virtual)
	}
	sum := sha256.New()
	if info.Size() <= wire.MaxFile { // what nobody can have read whole is something else
		if _, err := io.Copy(sum, io.LimitReader(f, wire.MaxFile+1)); err != nil {
			return err
		}
	}
	if hex.EncodeToString(sum.Sum(nil)) != was {
		return faultf(wire.FaultStale, "%s was changed meanwhile", s.virtual)
	}
	return nil
}

// serveMakeDir is PUT /v1/dir.
func (a *agent) serveMakeDir(w http.ResponseWriter, r *http.Request) error {
	asked, err := parseMakeDir(r.URL.RawQuery)
	if err != nil {
		return err
	}
	s, err := a.folders.resolve(asked)
	if err != nil {
		return err
	}
	info, err := makeDir(s)
	if err != nil {
		return fileFault(s.virtual, err)
	}
	writeNamed(w, asked, info)
	return nil
}

func makeDir(s spot) (fs.FileInfo, error) {
	root := s.place.root
	switch _, err := root.Lstat(s.rel); {
	case err == nil:
		return nil, faultf(wire.FaultExists, "%s exists already", s.virtual)
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	if err := root.MkdirAll(s.rel, 0o755); err != nil {
		return nil, err
	}
	return root.Lstat(s.rel)
}

// replaceFile puts body at s by way of a temporary file beside it, if still has
// nothing against it when all of body has come.
func replaceFile(s spot, mode fs.FileMode, body io.Reader, still func() error) (fs.FileInfo, error) {
	root, dir := s.place.root, path.Dir(s.rel)
	if err := root.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	tmp := path.Join(dir, ".podgate-"+rand.Text())
	f, err := root.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	info, err := fillFile(f, mode, body)
	if err == nil {
		err = s.place.swap(tmp, s.rel, still)
	}
	if err != nil {
		root.Remove(tmp)
		return nil, err
	}
	return info, nil
}

// swap puts a file into the place of another. Of two that found the same there,
// one comes second and looks again.
func (p *place) swap(tmp, rel string, still func() error) error {
	p.swapping.Lock()
	defer p.swapping.Unlock()
	if err := still(); err != nil {
		return err
	}
	return p.root.Rename(tmp, rel)
}

func fillFile(f *os.File, mode fs.FileMode, body io.Reader) (fs.FileInfo, error) {
	_, err := io.Copy(f, body)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		// Without it a crash of the machine could leave the new name with
		// no content.
		err = f.Sync()
	}
	info, serr := f.Stat()
	return info, errors.Join(err, serr, f.Close())
}

// targetMode is the mode that a write leaves: the asked one, else that of the
// file it replaces. Only a regular file may be replaced.
func targetMode(s spot, asked *fs.FileMode) (fs.FileMode, error) {
	if s.rel == "." {
		return 0, faultf(wire.FaultIsDir, "%s is a directory", s.virtual)
	}
	mode := defaultMode
	info, err := s.place.root.Lstat(s.rel)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return 0, err
	case info.IsDir():
		return 0, faultf(wire.FaultIsDir, "%s is a directory", s.virtual)
	case !info.Mode().IsRegular():
		return 0, errSpecial(s.virtual)
	default:
		mode = info.Mode().Perm()
	}
	if asked != nil {
		mode = *asked
	}
	return mode, nil
}

func errSpecial(p string) *wire.Fault {
	return faultf(wire.FaultFailed, "%s is not a regular file", p)
}

// serveRead is GET /v1/file.
func (a *agent) serveRead(w http.ResponseWriter, r *http.Request) error {
	q, err := parseRead(r.URL.RawQuery)
	if err != nil {
		return err
	}
	s, err := a.folders.resolve(q.Path)
	if err != nil {
		return err
	}
	if q.Whole {
		return sendFile(w, s, q.Offset)
	}
	data, info, err := readFile(s, q.Offset, q.Limit)
	if err != nil {
		return fileFault(s.virtual, err)
	}
	fileHeader(w.Header(), info, int64(len(data)))
	w.Write(data)
	return nil
}

// fileHeader describes a file of which length bytes follow.
func fileHeader(h http.Header, info fs.FileInfo, length int64) {
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Length", strconv.FormatInt(length, 10))
	h.Set("X-File-Size", strconv.FormatInt(info.Size(), 10))
	h.Set("X-File-Mode", octal(info.Mode()))
	h.Set("X-File-Modified", info.ModTime().UTC().Format(time.RFC3339Nano))
}

// sendFile answers with a file from offset on, as long as it is when it is opened. When
// it becomes shorter meanwhile, the connection ends early, so that nobody takes
// the part for the whole.
func sendFile(w http.ResponseWriter, s spot, offset int64) error {
	f, info, err := openRegular(s)
	if err != nil {
		return fileFault(s.virtual, err)
	}
	defer f.Close()
	length := max(0, info.Size()-offset)
	fileHeader(w.Header(), info, length)
	io.Copy(w, io.NewSectionReader(f, offset, length))
	return nil
}

// readFile reads at most limit bytes at offset, into memory first: a file that
// grows or shrinks meanwhile changes neither length nor bound of the answer.
func readFile(s spot, offset, limit int64) ([]byte, fs.FileInfo, error) {
	f, info, err := openRegular(s)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	size := min(limit, max(0, info.Size()-offset))
	buf := make([]byte, size)
	n, err := io.ReadFull(io.NewSectionReader(f, offset, size), buf)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return nil, nil, err
	}
	return buf[:n], info, nil
}

// openRegular opens a regular file for reading. A device is refused before it
// is opened, since opening alone can act; O_NONBLOCK and the second look catch
// a pipe that takes the file's place in between.
func openRegular(s spot) (*os.File, fs.FileInfo, error) {
	info, err := s.place.root.Lstat(s.rel)
	if err != nil {
		return nil, nil, err
	}
	if err := wantRegular(s, info); err != nil {
		return nil, nil, err
	}
	f, err := s.place.root.OpenFile(s.rel, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err = f.Stat()
	if err == nil {
		err = wantRegular(s, info)
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

func wantRegular(s spot, info fs.FileInfo) error {
	switch {
	case info.IsDir():
		return faultf(wire.FaultIsDir, "%s is a directory", s.virtual)
	case !info.Mode().IsRegular():
		return errSpecial(s.virtual)
	}
	return nil
}

func fileInfo(info fs.FileInfo) wire.FileInfo {
	typ := "other"
	switch m := info.Mode(); {
	case m.IsRegular():
		typ = "file"
	case m.IsDir():
		typ = "dir"
	case m&fs.ModeSymlink != 0:
		typ = "symlink"
	}
	return wire.FileInfo{
		Name: info.Name(), Type: typ, Size: info.Size(),
		Mode: octal(info.Mode()), Modified: info.ModTime().UTC(),
	}
}

func octal(m fs.FileMode) string { return fmt.Sprintf("%04o", m.Perm()) }
