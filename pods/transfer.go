package pods

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"podgate/internal/authz"
	"podgate/pods/wire"
	"podgate/store"
)

// stallTimeout is how long an agent may neither take nor give a byte of a
// transfer. How long the other side takes is for the caller's ctx.
const stallTimeout = time.Minute

var errStalled = fmt.Errorf("the agent did nothing for %s", stallTimeout)

// transfer is one file or home on its way. Its ctx ends when the agent stalls.
type transfer struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	agent  *time.Timer // runs while it is the agent's turn
}

func newTransfer(ctx context.Context) *transfer {
	ctx, cancel := context.WithCancelCause(ctx)
	return &transfer{ctx, cancel, time.AfterFunc(stallTimeout, func() { cancel(errStalled) })}
}

func (t *transfer) end() {
	t.agent.Stop()
	t.cancel(nil)
}

// source is what is sent to an agent. take hears how much is on its way, and may
// refuse it.
type source struct {
	*transfer
	r    io.Reader
	take func(n int) error

	// An answer may come while the rest is still read.
	mu  sync.Mutex
	err error // why it ended early
}

func (s *source) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	s.agent.Stop()
	n, err := s.r.Read(p)
	if ended := s.ctx.Err(); ended != nil { // meanwhile: neither what came nor its end goes on
		n, err = 0, errors.Join(ended, context.Cause(s.ctx))
	}
	if n > 0 {
		if terr := s.take(n); terr != nil {
			n, err = 0, terr
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	if s.ctx.Err() == nil {
		s.agent.Reset(stallTimeout)
	}
	return n, err
}

// failed returns why it ended early, if it did.
func (s *source) failed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// put sends a stream of size bytes, -1 when nobody knows, and decodes the answer.
// An error of the source comes back as it is.
func (c *client) put(src *source, path string, query url.Values, size int64, answer any) error {
	defer src.end()
	req, err := newRequest(src.ctx, http.MethodPut, path, query, src)
	if err != nil {
		return err
	}
	req.ContentLength = size
	req.Header.Set("Content-Type", "application/octet-stream")
	res, err := c.send(req)
	if err == nil {
		defer res.Body.Close()
	}
	if failed := src.failed(); failed != nil {
		return failed
	}
	if err != nil {
		return errors.Join(err, context.Cause(src.ctx))
	}
	return decode(res.Body, maxSmallAnswer, answer)
}

// download is what an agent sends, at most left bytes of it.
type download struct {
	*transfer
	res  *http.Response
	left int64
}

// pull opens a stream from the agent.
func (c *client) pull(ctx context.Context, path string, query url.Values) (*download, error) {
	t := newTransfer(ctx)
	res, err := c.request(t.ctx, http.MethodGet, path, query, nil, "")
	if err != nil {
		err = errors.Join(err, context.Cause(t.ctx))
		t.end()
		return nil, err
	}
	t.agent.Stop()
	return &download{transfer: t, res: res}, nil
}

var errOverSent = fmt.Errorf("%w: it sends more than there can be", errHostile)

func (d *download) Read(p []byte) (int, error) {
	d.agent.Reset(stallTimeout)
	defer d.agent.Stop()
	n, err := d.res.Body.Read(p)
	d.left -= int64(n)
	switch {
	case d.left < 0:
		return 0, errOverSent
	case errors.Is(err, io.EOF):
		return n, d.atEnd()
	case err != nil:
		err = errors.Join(err, context.Cause(d.ctx))
	}
	return n, err
}

// atEnd is what the end of the stream means: io.EOF, or the fault that was said
// after it.
func (d *download) atEnd() error {
	said := d.res.Trailer.Get(wire.TrailerFault)
	if said == "" {
		return io.EOF
	}
	var f wire.Fault
	if err := json.Unmarshal([]byte(said), &f); err != nil {
		return fmt.Errorf("%w: trailer: %v", errHostile, err)
	}
	return &f
}

func (d *download) Close() error {
	d.end()
	return d.res.Body.Close()
}

// Upload writes what content has to a file, whatever its size, as far as the
// plan allows. size is its length in bytes, -1 when it is not known. The file is
// there whole, or as it was before. When it is refused early, content may be read
// for a moment after the return.
func (s *Service) Upload(ctx context.Context, a authz.Actor, name, path string, mode uint32, size int64, content io.Reader) (wire.FileInfo, error) {
	if err := checkMode(mode); err != nil {
		return wire.FileInfo{}, err
	}
	return s.upload(ctx, a, name, path, fileQuery(path, mode), size, content)
}

// Absent is the version of a file that is not there.
const Absent = wire.Absent

// Version names what a file holds.
func Version(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// Replace is Upload in the place of that Version of the file, and of no other:
// ErrStale when it has become something else meanwhile, which is decided in the pod
// when the file takes its place.
func (s *Service) Replace(ctx context.Context, a authz.Actor, name, path, version string, size int64, content io.Reader) (wire.FileInfo, error) {
	query := fileQuery(path, 0)
	query.Set("was", version)
	return s.upload(ctx, a, name, path, query, size, content)
}

func (s *Service) upload(ctx context.Context, a authz.Actor, name, path string, query url.Values, size int64, content io.Reader) (wire.FileInfo, error) {
	if err := a.Allow(authz.WriteFiles, a.Team.ID); err != nil {
		return wire.FileInfo{}, err
	}
	if err := checkPath(path); err != nil {
		return wire.FileInfo{}, err
	}
	begun := false
	var info wire.FileInfo
	err := s.call(ctx, a, authz.WriteFiles, name, func(rec store.Pod, l *live) error {
		if begun {
			return refuse(ErrInterrupted, "the pod ended meanwhile; send the file again")
		}
		room, err := s.room(ctx, rec, l, max(0, size))
		if err != nil {
			return err
		}
		in := &incoming{live: l, left: max(0, size), room: room, known: size >= 0}
		defer in.end()
		src := &source{transfer: newTransfer(ctx), r: content, take: func(n int) error { begun = true; return in.take(n) }}
		query.Set("max", strconv.FormatInt(min(room, wire.MaxTransfer), 10))
		return l.client.put(src, wire.PathFile, query, size, &info)
	})
	return info, err
}

// incoming counts an upload on its way in what the pod's home is going to have.
type incoming struct {
	*live
	known bool  // left was counted when it began
	left  int64 // of a known size, still to come
	room  int64 // of an unknown one
}

// take counts n bytes that the agent is given now.
func (in *incoming) take(n int) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	size := int64(n)
	if in.known {
		size = min(size, in.left)
		in.left -= size
		in.coming -= size
	} else if in.room -= size; in.room < 0 {
		return refuse(ErrOverPlan, "the file is larger than what is left of the plan's disk; delete files first")
	}
	in.wrote.since += size
	return nil
}

// end takes back what did not come.
func (in *incoming) end() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.coming -= in.left
	in.left = 0
}

// Download is a file on its way out of a pod. Reading it gives Info.Size bytes
// or an error.
type Download struct {
	Info wire.FileInfo
	io.ReadCloser
}

// Download opens a file of any size. The caller closes it; it ends with ctx.
func (s *Service) Download(ctx context.Context, a authz.Actor, name, path string) (Download, error) {
	if err := a.Allow(authz.ReadFiles, a.Team.ID); err != nil {
		return Download{}, err
	}
	if err := checkPath(path); err != nil {
		return Download{}, err
	}
	var out Download
	err := s.call(ctx, a, authz.ReadFiles, name, func(rec store.Pod, l *live) error {
		d, err := l.client.pull(ctx, wire.PathFile, url.Values{"path": {path}, "whole": {"1"}})
		if err != nil {
			return err
		}
		info, err := fileHeader(d.res.Header)
		if err == nil && d.res.ContentLength != info.Size {
			err = fmt.Errorf("%w: a file of %d bytes with %d", errHostile, info.Size, d.res.ContentLength)
		}
		if err != nil {
			return errors.Join(err, d.Close())
		}
		info.Name, d.left = path, info.Size
		out = Download{info, &worded{d, s, ctx, rec}}
		return nil
	})
	return out, err
}

// worded is a stream whose errors are in the words of this package.
type worded struct {
	io.ReadCloser
	s   *Service
	ctx context.Context
	rec store.Pod
}

func (w *worded) Read(p []byte) (int, error) {
	n, err := w.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = w.s.fromAgent(w.ctx, w.rec, err)
	}
	return n, err
}

// ExportHome opens a tar of all that lies in a pod's home, as wire describes it.
// What comes is not to be trusted more than the pod: names in it can be anything.
// The caller closes it; it ends with ctx.
func (s *Service) ExportHome(ctx context.Context, a authz.Actor, name string) (io.ReadCloser, error) {
	if err := a.Allow(authz.ReadFiles, a.Team.ID); err != nil {
		return nil, err
	}
	var out io.ReadCloser
	err := s.call(ctx, a, authz.ReadFiles, name, func(rec store.Pod, l *live) error {
		plan := s.planOf(rec)
		d, err := l.client.pull(ctx, wire.PathHome, nil)
		if err != nil {
			return err
		}
		d.left = 2 * plan.Limits.Disk // the tar's own part, and a home that is over its plan
		out = &worded{d, s, ctx, rec}
		return nil
	})
	return out, err
}

// ImportHome puts what a tar holds in the place of all that lies in a pod's home,
// and starts the app anew. A tar that cannot be taken whole changes nothing. Where
// it fails later the app is started by Reconcile.
func (s *Service) ImportHome(ctx context.Context, a authz.Actor, name string, archive io.Reader) (Pod, error) {
	if err := a.Allow(authz.WriteFiles, a.Team.ID); err != nil {
		return Pod{}, err
	}
	return s.manage(ctx, a, name, "starting", turnWait, func(op *operation, rec store.Pod) error {
		if rec.Want != store.WantRunning {
			return errStopped
		}
		plan := s.planOf(rec)
		if err := s.startEnvironment(op, rec, nil); err != nil {
			return err
		}
		src := &source{transfer: newTransfer(op.ctx), r: archive, take: func(int) error { return nil }}
		query := url.Values{"max": {strconv.FormatInt(min(plan.Limits.Disk, wire.MaxTransfer), 10)}}
		if err := op.client.put(src, wire.PathHome, query, -1, new(wire.Imported)); err != nil {
			op.stopped() // the app may be, so Reconcile looks
			s.wake(rec.Region)
			return s.fromAgent(op.ctx, rec, err)
		}
		return s.direct(op, rec, wire.AppRequest{Action: "start", WaitMillis: millis(startWait)}, nil)
	})
}
