package podstest

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"podgate/pods"
	"podgate/pods/copies"
	"podgate/store"
)

var _ pods.Copier = (*Fake)(nil)

func (f *Fake) shelf() *copies.Shelf {
	return &copies.Shelf{Dir: f.engine.dir, Remove: removeTree, Measure: measureTree}
}

// removeTree deletes a tree with folders that may not be written to.
func removeTree(path string) error {
	// What cannot be changed is told by the deletion.
	_ = filepath.WalkDir(path, func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			_ = os.Chmod(name, 0o700)
		}
		return nil
	})
	return os.RemoveAll(path)
}

func measureTree(path string) (sum int64, err error) {
	err = filepath.WalkDir(path, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil {
			sum += max(info.Sys().(*syscall.Stat_t).Blocks*512, 4096)
		}
		return err
	})
	return sum, err
}

// SetShort has the disk that homes are on be nearly full.
func (f *Fake) SetShort(short bool) { f.set(func() { f.short = short }) }

// FailCopies makes Snapshot and Fill fail with err until called with nil.
func (f *Fake) FailCopies(err error) { f.set(func() { f.copyErr = err }) }

func (f *Fake) failing() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.copyErr
}

// Snapshot implements pods.Copier. A fake cannot hold its pods still.
func (f *Fake) Snapshot(ctx context.Context, id store.PodID, to store.SnapshotID, most int64) (pods.Copied, error) {
	if err := f.enter(ctx, "snapshot", id); err != nil {
		return pods.Copied{}, err
	}
	if err := f.failing(); err != nil {
		return pods.Copied{}, err
	}
	return f.shelf().Snapshot(ctx, id, to, most, nil)
}

// Fill implements pods.Copier.
func (f *Fake) Fill(ctx context.Context, to pods.Fill) (pods.Filled, error) {
	if err := f.enter(ctx, "fill", to.Pod); err != nil {
		return pods.Filled{}, err
	}
	if err := f.failing(); err != nil {
		return pods.Filled{}, err
	}
	return f.shelf().Fill(ctx, to, 0, nil, func() error { f.engine.end(to.Pod, ""); return nil })
}

// Keep implements pods.Copier.
func (f *Fake) Keep(_ context.Context, id store.PodID, keep []store.SnapshotID) error {
	return f.shelf().Keep(id, keep)
}

// Snapshots implements pods.Copier.
func (f *Fake) Snapshots(context.Context) (map[store.PodID][]store.SnapshotID, error) {
	return f.shelf().List()
}

// Size implements pods.Copier.
func (f *Fake) Size(_ context.Context, id store.PodID) (int64, error) { return f.shelf().Size(id) }

// Short implements pods.Copier.
func (f *Fake) Short() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.short
}
