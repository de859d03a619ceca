package agent

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"strings"
	"sync"
	"syscall"

	"podgate/pods/wire"
)

// What has come of an upload lies in the home under these names until all of it is
// there.
const (
	uploadPrefix   = wire.OwnPrefix + "-upload-"
	unpackedPrefix = wire.OwnPrefix + "-unpack-"
	maxFinishBody  = 64 << 10
)

// uploads are those that come in now, by id.
type uploads struct {
	mu   sync.Mutex
	busy map[string]bool
}

func (u *uploads) begin(id string) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.busy[id] {
		return faultf(wire.FaultBusy, "the upload goes on already; wait until it has ended")
	}
	if u.busy == nil {
		u.busy = map[string]bool{}
	}
	u.busy[id] = true
	return nil
}

func (u *uploads) end(id string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.busy, id)
}

// clearUnplaced takes away what an earlier life of the pod has not brought to its
// place: of uploads, of deploys, of files that were written. It is known by names that
// are the agent's alone. The halves of a home that was being replaced hold what people
// made, and stay.
func (a *agent) clearUnplaced() {
	home := a.folders.home.root
	entries, err := fs.ReadDir(home.FS(), ".")
	if err != nil {
		return // the home says so to everybody who asks
	}
	for _, e := range entries {
		switch name := e.Name(); {
		case !strings.HasPrefix(name, wire.OwnPrefix+"-"), name == newHome, name == oldHome, name == making:
		default:
			removeTree(home, name)
		}
	}
}

// serveReceived is GET /v1/upload: how much has come, and whether it can go to
// its place.
func (a *agent) serveReceived(w http.ResponseWriter, r *http.Request) error {
	q, err := parseReceive(r.URL.RawQuery)
	if err != nil {
		return err
	}
	if _, err := a.uploadPlace(q.Path, q.Unpack); err != nil {
		return err
	}
	var size int64
	if info, err := a.folders.home.root.Lstat(uploadPrefix + q.ID); err == nil && info.Mode().IsRegular() {
		size = info.Size()
	}
	writeJSON(w, http.StatusOK, wire.Received{Size: size})
	return nil
}

// serveReceive is PUT /v1/upload. What has come when the body breaks off stays.
func (a *agent) serveReceive(w http.ResponseWriter, r *http.Request) error {
	q, err := parseReceive(r.URL.RawQuery)
	if err != nil {
		return err
	}
	if _, err := a.uploadPlace(q.Path, q.Unpack); err != nil {
		return err
	}
	if err := a.uploads.begin(q.ID); err != nil {
		return err
	}
	defer a.uploads.end(q.ID)
	n, err := a.receive(q, http.MaxBytesReader(w, r.Body, q.Max))
	if err != nil {
		return fileFault(podHome, err)
	}
	writeJSON(w, http.StatusOK, wire.Received{Size: q.Offset + n})
	return nil
}

// receive appends to what has come of an upload at an offset.
func (a *agent) receive(q receiveQuery, body io.Reader) (int64, error) {
	root, name := a.folders.home.root, uploadPrefix+q.ID
	if info, err := root.Lstat(name); err == nil && !info.Mode().IsRegular() {
		root.RemoveAll(name) // not made by us
	}
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return 0, err
	}
	n, err := appendAt(f, q.Offset, body)
	return n, errors.Join(err, f.Close())
}

func appendAt(f *os.File, offset int64, body io.Reader) (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if !info.Mode().IsRegular() || info.Size() < offset {
		return 0, faultf(wire.FaultChanged, "%d bytes have come so far, so it cannot go on at %d", info.Size(), offset)
	}
	if err := f.Truncate(offset); err != nil {
		return 0, err
	}
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return 0, err
	}
	return io.Copy(f, body)
}

// uploadPlace finds where an upload will go, and refuses what it cannot replace.
func (a *agent) uploadPlace(p string, unpack bool) (spot, error) {
	s, err := a.folders.resolve(p)
	if err != nil {
		return spot{}, err
	}
	if !unpack {
		if strings.HasSuffix(p, "/") {
			return spot{}, faultf(wire.FaultIsDir, "%s names a folder; give the name of the file in it, or unpack an archive", p)
		}
		_, err := targetMode(s, nil)
		return s, fileFault(s.virtual, err)
	}
	if s.place != a.folders.home {
		return spot{}, faultf(wire.FaultPath, "an archive can be unpacked below %s only", podHome)
	}
	info, err := s.place.root.Lstat(s.rel)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err == nil && !info.IsDir() {
		return spot{}, faultf(wire.FaultNotDir, "%s is not a folder, so nothing can be unpacked into it", s.virtual)
	}
	return s, fileFault(s.virtual, err)
}

// serveFinish is POST /v1/upload: all has come, and it goes to its place whole or
// not at all.
func (a *agent) serveFinish(w http.ResponseWriter, r *http.Request) error {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxFinishBody))
	if err != nil {
		return err
	}
	req, err := parseFinish(body)
	if err != nil {
		return err
	}
	if err := a.uploads.begin(req.ID); err != nil {
		return err
	}
	defer a.uploads.end(req.ID)
	s, err := a.uploadPlace(req.Path, req.Unpack)
	if err != nil {
		return err
	}
	came := spot{place: a.folders.home, rel: uploadPrefix + req.ID, virtual: "the upload"}
	f, info, err := openRegular(came)
	if err != nil {
		return fileFault(came.virtual, err)
	}
	defer f.Close()
	if info.Size() != req.Size {
		return faultf(wire.FaultChanged, "%d bytes have come, and %d are all of it", info.Size(), req.Size)
	}
	var out wire.Finished
	if req.Unpack {
		out.Imported, err = a.unpackUpload(r.Context(), s, req, f)
	} else {
		out.FileInfo, err = putUpload(came, s, req, f)
	}
	if err != nil {
		return fileFault(s.virtual, err)
	}
	out.Name, _ = cleanPath(req.Path)
	a.folders.home.root.Remove(came.rel) // gone already when it was renamed
	writeJSON(w, http.StatusOK, out)
	return nil
}

// putUpload gives an upload its name, by way of a copy on another disk.
func putUpload(came, s spot, r wire.FinishRequest, f *os.File) (wire.FileInfo, error) {
	var asked *fs.FileMode
	if r.Mode != 0 {
		m := fs.FileMode(r.Mode)
		asked = &m
	}
	mode, err := targetMode(s, asked)
	if err != nil {
		return wire.FileInfo{}, err
	}
	if s.place != came.place {
		info, err := replaceFile(s, mode, f, func() error { return nil })
		if err != nil {
			return wire.FileInfo{}, err
		}
		return fileInfo(info), nil
	}
	root := s.place.root
	err = errors.Join(root.MkdirAll(path.Dir(s.rel), 0o755), f.Chmod(mode), f.Sync())
	if err == nil {
		err = root.Rename(came.rel, s.rel)
	}
	info, serr := f.Stat()
	if err = errors.Join(err, serr); err != nil {
		return wire.FileInfo{}, err
	}
	return fileInfo(info), nil
}

// unpackUpload unpacks beside the home's files first, so that an archive that is
// refused changes nothing, and then brings each entry to its place.
func (a *agent) unpackUpload(ctx context.Context, s spot, r wire.FinishRequest, f *os.File) (wire.Imported, error) {
	home, name := a.folders.home.root, unpackedPrefix+r.ID
	archive, err := inflate(f)
	if err != nil {
		return wire.Imported{}, badRequest("the archive cannot be read: %v; send a tar or a tar.gz", err)
	}
	u := &unpacker{ctx: ctx, left: r.Max, limit: r.Max, what: "what is unpacked", own: wire.OwnPrefix}
	defer removeTree(home, name)
	if err := u.unpackInto(home, name, archive); err != nil {
		return wire.Imported{}, err
	}
	if err := mergeFolder(home, name, s.rel, true); err != nil {
		return wire.Imported{}, err
	}
	if err := home.MkdirAll(s.rel, 0o755); err != nil {
		return wire.Imported{}, err
	}
	if err := mergeFolder(home, name, s.rel, false); err != nil {
		return wire.Imported{}, err
	}
	root, err := home.OpenRoot(s.rel)
	if err != nil {
		return wire.Imported{}, err
	}
	defer root.Close()
	u.setModes(root)
	return u.out, nil
}

// mergeFolder moves what lies in one folder to another. Files and links are replaced,
// and a folder becomes one with that of the same name. With dry nothing moves, and
// what could not be is refused.
func mergeFolder(home *os.Root, from, to string, dry bool) error {
	entries, err := fs.ReadDir(home.FS(), from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		src, dst := path.Join(from, e.Name()), path.Join(to, e.Name())
		old, err := home.Lstat(dst)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return err
		case e.IsDir() && old.IsDir():
			if err := mergeFolder(home, src, dst, dry); err != nil {
				return err
			}
			continue
		case e.IsDir() || old.IsDir():
			return badRequest("%s is a folder in the archive and none in the pod, or the other way round; delete it first", path.Join(podHome, dst))
		case !old.Mode().IsRegular() && old.Mode()&fs.ModeSymlink == 0:
			return errSpecial(path.Join(podHome, dst))
		}
		if dry {
			continue
		}
		if err := home.Rename(src, dst); err != nil {
			return err
		}
	}
	return nil
}

// serveDrop is DELETE /v1/upload.
func (a *agent) serveDrop(w http.ResponseWriter, r *http.Request) error {
	q, err := parseReceive(r.URL.RawQuery)
	if err != nil {
		return err
	}
	if err := a.uploads.begin(q.ID); err != nil {
		return err
	}
	defer a.uploads.end(q.ID)
	if err := removeTree(a.folders.home.root, uploadPrefix+q.ID); err != nil {
		return fileFault(podHome, err)
	}
	writeJSON(w, http.StatusOK, wire.Received{})
	return nil
}
