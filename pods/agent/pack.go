package agent

import (
	"archive/tar"
	"compress/gzip"
	"net/http"

	"podgate/pods/wire"
)

// serveTar is GET /v1/tar: a folder as tar.gz.
func (a *agent) serveTar(w http.ResponseWriter, r *http.Request) error {
	q, err := parseQuery(r.URL.RawQuery, "path")
	if err != nil {
		return err
	}
	s, err := a.folders.dir(q["path"])
	if err != nil {
		return err
	}
	root, err := s.place.root.OpenRoot(s.rel)
	if err != nil {
		return fileFault(s.virtual, err)
	}
	defer root.Close()
	w.Header().Set("Content-Type", "application/gzip")
	w.Header().Set("Trailer", wire.TrailerFault)
	packed := gzip.NewWriter(w)
	x := &exporter{ctx: r.Context(), tar: tar.NewWriter(packed), names: map[uint64]string{}}
	err = x.folder(root, ".", 0)
	if err == nil {
		err = x.tar.Close()
	}
	if err == nil {
		err = packed.Close()
	}
	if err != nil {
		w.Header().Set(wire.TrailerFault, trailer(asFault(err)))
	}
	return nil
}
