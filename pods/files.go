package pods

import (
	"context"

	"podgate/internal/authz"
	"podgate/pods/wire"
	"podgate/store"
)

// DeleteFile deletes a file or a link and, when recursive, a folder with all
// that lies in it; never /home/pod, /tmp or the app folder itself. It returns
// what was deleted.
func (s *Service) DeleteFile(ctx context.Context, a authz.Actor, name, path string, recursive bool) (wire.FileInfo, error) {
	return s.change(ctx, a, name, []string{path}, func(ctx context.Context, c *client) (wire.FileInfo, error) {
		return c.delete(ctx, path, recursive)
	})
}

// MakeFolder makes a folder that is not there, and those on the way to it.
func (s *Service) MakeFolder(ctx context.Context, a authz.Actor, name, path string) (wire.FileInfo, error) {
	return s.change(ctx, a, name, []string{path}, func(ctx context.Context, c *client) (wire.FileInfo, error) {
		return c.makeFolder(ctx, path)
	})
}

// MoveFile gives a file, folder or link another name. It replaces nothing, or
// only a file when overwrite is set.
func (s *Service) MoveFile(ctx context.Context, a authz.Actor, name, from, to string, overwrite bool) (wire.FileInfo, error) {
	return s.change(ctx, a, name, []string{from, to}, func(ctx context.Context, c *client) (info wire.FileInfo, err error) {
		err = c.post(ctx, wire.PathMove, wire.MoveRequest{From: from, To: to, Overwrite: overwrite}, maxSmallAnswer, &info)
		return info, err
	})
}

// change has an agent change files at paths.
func (s *Service) change(ctx context.Context, a authz.Actor, name string, paths []string, do func(context.Context, *client) (wire.FileInfo, error)) (wire.FileInfo, error) {
	if err := a.Allow(authz.WriteFiles, a.Team.ID); err != nil {
		return wire.FileInfo{}, err
	}
	for _, path := range paths {
		if err := checkPath(path); err != nil {
			return wire.FileInfo{}, err
		}
	}
	var info wire.FileInfo
	err := s.call(ctx, a, authz.WriteFiles, name, func(_ store.Pod, l *live) (err error) {
		info, err = do(ctx, l.client)
		return err
	})
	return info, err
}

// MaxPiece bounds each of the two pieces of an edit, in bytes.
const MaxPiece = wire.MaxPiece

// EditFile replaces the piece old of a text file, which must stand there exactly
// once, or with all at least once.
func (s *Service) EditFile(ctx context.Context, a authz.Actor, name, path, old, replacement string, all bool) (wire.Edited, error) {
	if err := a.Allow(authz.WriteFiles, a.Team.ID); err != nil {
		return wire.Edited{}, err
	}
	if err := checkPath(path); err != nil {
		return wire.Edited{}, err
	}
	if !isText(old) || !isText(replacement) {
		return wire.Edited{}, refuse(ErrBadInput, "old and new must be text (no NUL, valid UTF-8)")
	}
	var out wire.Edited
	err := s.call(ctx, a, authz.WriteFiles, name, func(rec store.Pod, l *live) error {
		room, err := s.room(ctx, rec, l, 0)
		if err != nil {
			return err
		}
		r := wire.EditRequest{Path: path, Old: old, New: replacement, All: all, Grow: room}
		if err := l.client.post(ctx, wire.PathEdit, r, maxSmallAnswer, &out); err != nil {
			return err
		}
		l.count(min(out.Size, wire.MaxFile))
		return nil
	})
	return out, err
}

// count notes bytes that a call wrote. Those that it freed are left to the next
// measurement.
func (l *live) count(bytes int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wrote.since += max(0, bytes)
}
