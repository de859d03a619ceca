package agent

import (
	"errors"
	"io"
	"io/fs"
	"net/http"
	"path"
	"strings"

	"podgate/pods/wire"
)

// serveDelete is DELETE /v1/file.
func (a *agent) serveDelete(w http.ResponseWriter, r *http.Request) error {
	q, err := parseDelete(r.URL.RawQuery)
	if err != nil {
		return err
	}
	s, err := a.folders.resolveName(q.Path)
	if err != nil {
		return err
	}
	info, err := deleteName(s, q.Recursive)
	if err != nil {
		return fileFault(s.virtual, err)
	}
	writeNamed(w, q.Path, info)
	return nil
}

// deleteName deletes what has the name s. It never follows a link, so that only
// what lies below s goes, whatever changes meanwhile.
func deleteName(s spot, recursive bool) (fs.FileInfo, error) {
	root := s.place.root
	info, err := root.Lstat(s.rel)
	switch {
	case err != nil:
		return nil, err
	case !info.IsDir():
		return info, root.Remove(s.rel)
	case !recursive:
		return nil, faultf(wire.FaultIsDir, "%s is a folder; to delete it with all that lies in it, set recursive", s.virtual)
	}
	return info, root.RemoveAll(s.rel)
}

// serveMove is POST /v1/move.
func (a *agent) serveMove(w http.ResponseWriter, r *http.Request) error {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxMoveBody))
	if err != nil {
		return err
	}
	req, err := parseMove(body)
	if err != nil {
		return err
	}
	info, err := a.folders.move(req)
	if err != nil {
		return err
	}
	writeNamed(w, req.To, info)
	return nil
}

// writeNamed answers with a file under the name that it was asked for by.
func writeNamed(w http.ResponseWriter, asked string, info fs.FileInfo) {
	answer := fileInfo(info)
	answer.Name, _ = cleanPath(asked)
	writeJSON(w, http.StatusOK, answer)
}

func (f *folders) move(r wire.MoveRequest) (fs.FileInfo, error) {
	from, err := f.resolveName(r.From)
	if err != nil {
		return nil, err
	}
	to, err := f.resolveName(r.To)
	if err != nil {
		return nil, err
	}
	if from.place != to.place {
		return nil, badRequest("nothing can be moved between %s and %s, which are two disks; copy it with a command, then delete it", podHome, podTmp)
	}
	root := from.place.root
	info, err := root.Lstat(from.rel)
	if err != nil {
		return nil, fileFault(from.virtual, err)
	}
	if err := mayMove(info, from, to, r); err != nil {
		return nil, fileFault(to.virtual, err)
	}
	if err := root.MkdirAll(path.Dir(to.rel), 0o755); err != nil {
		return nil, fileFault(to.virtual, err)
	}
	return info, fileFault(to.virtual, root.Rename(from.rel, to.rel))
}

// mayMove looks at what the new name is now. What takes it between this and the
// move is replaced if it is a file; never a folder that holds something.
func mayMove(info fs.FileInfo, from, to spot, r wire.MoveRequest) error {
	if _, inside := below(from.virtual, to.virtual); inside && info.IsDir() {
		return badRequest("%s cannot be moved into itself", from.virtual)
	}
	if strings.HasSuffix(r.To, "/") && !info.IsDir() {
		return faultf(wire.FaultIsDir, "%s names a folder; give the new name of the file in it", r.To)
	}
	old, err := to.place.root.Lstat(to.rel)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case old.IsDir():
		return faultf(wire.FaultIsDir, "%s is a folder; give the new name in it, or delete it first", to.virtual)
	case !r.Overwrite:
		return faultf(wire.FaultExists, "%s exists; set overwrite to replace it", to.virtual)
	case info.IsDir():
		return faultf(wire.FaultExists, "%s is not a folder, so no folder can take its place; delete it first", to.virtual)
	case !old.Mode().IsRegular() && old.Mode()&fs.ModeSymlink == 0:
		return errSpecial(to.virtual)
	}
	return nil
}
