package pods

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"podgate/internal/authz"
	"podgate/pods/wire"
	"podgate/store"
)

// UploadRequest asks for a link to which one file can be sent.
type UploadRequest struct {
	Path   string // empty: it is for a deploy, which deletes it, and a pod that is not there is made
	Unpack bool   // the file is a tar or tar.gz, and Path the folder for what is in it
	Mode   uint32 // of a file; 0: as it was, else 0644
	Bytes  int64  // of what is going to come; 0: not known
}

// CreateUpload makes a link for an upload. What could not be put at its path, or
// has no room, is refused now.
func (s *Service) CreateUpload(ctx context.Context, a authz.Actor, name string, r UploadRequest) (Link, error) {
	if err := a.Allow(authz.WriteFiles, a.Team.ID); err != nil {
		return Link{}, err
	}
	l := &link{id: store.NewID(), actor: a, action: authz.WriteFiles, name: name, path: r.Path, mode: r.Mode, unpack: r.Unpack}
	var err error
	if r.Path == "" {
		err = s.forDeploy(ctx, a, l)
	} else {
		err = errors.Join(checkPath(r.Path), checkMode(r.Mode))
	}
	if err != nil {
		return Link{}, err
	}
	var room int64
	err = s.call(ctx, a, authz.WriteFiles, name, func(rec store.Pod, on *live) (err error) {
		l.pod = rec.ID
		if _, err := on.client.received(ctx, l); err != nil {
			return err
		}
		room, err = s.room(ctx, rec, on, 0)
		if err == nil && r.Bytes > room {
			err = refuse(ErrOverPlan, "there is room for %d bytes more and the file has %d; delete files first", room, r.Bytes)
		}
		return err
	})
	if err != nil {
		return Link{}, err
	}
	secret, err := s.links.add(l, s.cfg.Now())
	return Link{ID: l.id, Secret: secret, Path: l.path, Expires: l.expires, Room: room}, err
}

// forDeploy makes of an upload one that a deploy takes and deletes, under a name that
// no other has: two people may send one at the same time.
func (s *Service) forDeploy(ctx context.Context, a authz.Actor, l *link) error {
	if l.unpack || l.mode != 0 {
		return refuse(ErrBadInput, "without a path the file is for deploy, which unpacks it; leave unpack and mode out, or give a path")
	}
	if err := a.Allow(authz.Deploy, a.Team.ID); err != nil {
		return err
	}
	l.path, l.spent = wire.ForDeploy(l.id), true
	_, _, err := s.podFor(ctx, a, DeployRequest{Name: l.name}, nil)
	return err
}

// Part is what is sent to a link of an upload.
type Part struct {
	Offset int64 // where it begins in the file
	Size   int64 // bytes; -1: not known
	Total  int64 // bytes of the whole file; -1: the part's end is the file's
	Body   io.Reader
}

// Uploaded is what has become of an upload.
type Uploaded struct {
	Path     string
	Received int64 // bytes of the file that have come
	Done     bool  // it is at its place
	Entries  int   // that were unpacked
	Skipped  int   // that were not, being neither files, folders nor links
}

// UploadOffset returns how much has come to a link so far.
func (s *Service) UploadOffset(ctx context.Context, secret string) (Uploaded, error) {
	var out Uploaded
	l, err := s.links.look(secret, authz.WriteFiles, s.cfg.Now())
	if err != nil {
		return out, err
	}
	_, err = s.asMaker(ctx, l, func(ctx context.Context, a authz.Actor, l *link) (bool, error) {
		return false, s.call(ctx, a, authz.WriteFiles, l.name, func(_ store.Pod, on *live) (err error) {
			out.Path = l.path
			out.Received, err = on.client.received(ctx, l)
			return err
		})
	})
	return out, err
}

// Receive takes a part of the file that comes to a link, and after the last one
// brings the file to its place. What came of a part that breaks off is kept.
func (s *Service) Receive(ctx context.Context, secret string, p Part) (Uploaded, error) {
	var out Uploaded
	err := s.useLink(ctx, secret, authz.WriteFiles, func(ctx context.Context, a authz.Actor, l *link) (bool, error) {
		out.Path = l.path
		err := s.call(ctx, a, authz.WriteFiles, l.name, func(rec store.Pod, on *live) (err error) {
			out.Received, err = s.receive(ctx, rec, on, l, p)
			if err != nil || p.Total >= 0 && out.Received != p.Total {
				return err
			}
			return s.finish(ctx, rec, on, l, &out)
		})
		return out.Done, err
	})
	return out, err
}

// receive hands a part to the pod and returns how much of the file is there.
func (s *Service) receive(ctx context.Context, rec store.Pod, on *live, l *link, p Part) (int64, error) {
	there, err := on.client.received(ctx, l)
	if err != nil {
		return 0, err
	}
	if p.Offset > there {
		return 0, refuse(ErrOffset, "%d bytes have come so far; go on there", there)
	}
	room, err := s.room(ctx, rec, on, max(0, p.Size))
	if err != nil {
		return 0, err
	}
	in := &incoming{live: on, left: max(0, p.Size), room: room, known: p.Size >= 0}
	defer in.end()
	src := &source{transfer: newTransfer(ctx), r: p.Body, take: in.take}
	query := l.query()
	query.Set("offset", strconv.FormatInt(p.Offset, 10))
	query.Set("max", strconv.FormatInt(min(room, wire.MaxTransfer), 10))
	var got wire.Received
	err = on.client.put(src, wire.PathUpload, query, p.Size, &got)
	var worded *fault
	if failed := src.failed(); errors.Is(err, ErrNotRunning) || failed != nil && !errors.As(failed, &worded) {
		// Not to be tried again here, as a part of the body is gone.
		err = &fault{word: ErrInterrupted, text: "it broke off; ask with HEAD how far it is (Upload-Offset), and go on there with Content-Range", cause: err}
	}
	return got.Size, err
}

// finishTime is how long the unpacking of an archive may take.
const finishTime = 10 * time.Minute

// finish brings the file to its place.
func (s *Service) finish(ctx context.Context, rec store.Pod, on *live, l *link, out *Uploaded) error {
	room, err := s.room(ctx, rec, on, 0)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, finishTime)
	defer cancel()
	var done wire.Finished
	r := wire.FinishRequest{ID: l.id, Path: l.path, Size: out.Received, Mode: l.mode, Unpack: l.unpack, Max: min(room, wire.MaxTransfer)}
	if err := on.client.postLong(ctx, wire.PathUpload, r, maxSmallAnswer, &done); err != nil {
		// It would be refused again, and is in the way of another file.
		return errors.Join(err, on.client.dropUpload(ctx, l))
	}
	out.Done, out.Entries, out.Skipped = true, done.Entries, done.Imported.Skipped
	return nil
}

// query names a link's upload to the agent.
func (l *link) query() url.Values {
	query := url.Values{"id": {l.id}, "path": {l.path}}
	flag(query, "unpack", l.unpack)
	return query
}

// received asks how much of an upload has come, and whether it can be put in its
// place.
func (c *client) received(ctx context.Context, l *link) (int64, error) {
	var r wire.Received
	err := c.get(ctx, wire.PathUpload, l.query(), maxSmallAnswer, &r)
	return max(0, r.Size), err
}

// forget deletes what an upload has left in its pod. A deploy may have done so before.
func (c *client) forget(ctx context.Context, l *link) error {
	if !l.done {
		return c.dropUpload(ctx, l)
	}
	_, err := c.delete(ctx, l.path, false)
	if f, ok := errors.AsType[*wire.Fault](err); ok && f.Code == wire.FaultNotFound {
		return nil
	}
	return err
}

func (c *client) dropUpload(ctx context.Context, l *link) error {
	ctx, cancel := context.WithTimeout(ctx, walkTimeout)
	defer cancel()
	res, err := c.request(ctx, http.MethodDelete, wire.PathUpload, url.Values{"id": {l.id}}, nil, "")
	if err != nil {
		return err
	}
	return res.Body.Close()
}

// CreateDownload makes a link for a file as it is, or a folder as tar.gz.
func (s *Service) CreateDownload(ctx context.Context, a authz.Actor, name, path string) (Link, error) {
	if err := a.Allow(authz.ReadFiles, a.Team.ID); err != nil {
		return Link{}, err
	}
	if err := checkPath(path); err != nil {
		return Link{}, err
	}
	l := &link{id: store.NewID(), actor: a, action: authz.ReadFiles, name: name, path: path}
	out := Link{ID: l.id, Path: path}
	err := s.call(ctx, a, authz.ReadFiles, name, func(rec store.Pod, on *live) error {
		l.pod = rec.ID
		part, err := on.client.read(ctx, path, 0, 1)
		var f *wire.Fault
		if errors.As(err, &f) && f.Code == wire.FaultIsDir {
			l.folder = true
			return nil
		}
		out.Size = part.Info.Size
		return err
	})
	if err != nil {
		return Link{}, err
	}
	out.Secret, err = s.links.add(l, s.cfg.Now())
	out.Expires, out.Folder = l.expires, l.folder
	return out, err
}

// Sent is what comes through a link of a download. Reading it gives Length bytes
// or, of a folder, as many as there are, or an error.
type Sent struct {
	io.Reader
	Path   string
	Folder bool  // tar.gz
	Offset int64 // where it begins in the file
	Length int64 // -1: not known
	Size   int64 // of the whole file
}

// Send opens what a link of a download is for, from offset on, and has take send
// it. take returns whether all of it arrived, which is the end of the link.
func (s *Service) Send(ctx context.Context, secret string, offset int64, take func(context.Context, Sent) (bool, error)) error {
	return s.useLink(ctx, secret, authz.ReadFiles, func(ctx context.Context, a authz.Actor, l *link) (done bool, err error) {
		var sent Sent
		var d *download
		err = s.call(ctx, a, authz.ReadFiles, l.name, func(rec store.Pod, on *live) (err error) {
			if sent, d, err = s.open(ctx, rec, on, l, offset); err == nil {
				sent.Reader = &worded{d, s, ctx, rec}
			}
			return err
		})
		if err != nil {
			return false, err
		}
		defer d.Close()
		return take(ctx, sent)
	})
}

func (s *Service) open(ctx context.Context, rec store.Pod, on *live, l *link, offset int64) (Sent, *download, error) {
	if l.folder {
		plan, err := s.plan(rec.Plan)
		if err != nil {
			return Sent{}, nil, err
		}
		d, err := on.client.pull(ctx, wire.PathTar, url.Values{"path": {l.path}})
		if err != nil {
			return Sent{}, nil, err
		}
		d.left = 2 * plan.Limits.Disk // the tar's own part, and a home that is over its plan
		return Sent{Path: l.path, Folder: true, Length: -1}, d, nil
	}
	d, err := on.client.pull(ctx, wire.PathFile, url.Values{"path": {l.path}, "whole": {"1"}, "offset": {strconv.FormatInt(offset, 10)}})
	if err != nil {
		return Sent{}, nil, err
	}
	info, err := fileHeader(d.res.Header)
	d.left = max(0, info.Size-offset)
	switch {
	case err == nil && offset > 0 && offset >= info.Size:
		err = refuse(ErrOffset, "the file has %d bytes", info.Size)
	case err == nil && d.res.ContentLength != d.left:
		err = fmt.Errorf("%w: a part of %d bytes with %d", errHostile, d.left, d.res.ContentLength)
	}
	if err != nil {
		return Sent{}, nil, errors.Join(err, d.Close())
	}
	return Sent{Path: l.path, Offset: offset, Length: d.left, Size: info.Size}, d, nil
}

// Name is what a download is called.
func (s Sent) Name() string {
	name := s.Path[strings.LastIndexByte(strings.TrimRight(s.Path, "/"), '/')+1:]
	if name = strings.Trim(name, "./"); name == "" {
		name = "app"
	}
	if s.Folder {
		name += ".tar.gz"
	}
	return name
}
