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
