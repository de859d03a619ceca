//go:build linux && (amd64 || arm64)

package sandbox

import (
	"context"

	"podgate/pods"
	"podgate/pods/copies"
	"podgate/store"
)

var _ pods.Copier = (*Runtime)(nil)

const (
	// copySpare is what copies leave on the disk that homes are on, in bytes: so much
	// more than diskFloor that none of them is why pods may not write.
	copySpare = 4 * diskFloor
	// copyShort is what is left of it when what can be spared has to go.
	copyShort = 2 * diskFloor
)

func (r *Runtime) shelf() *copies.Shelf {
	return &copies.Shelf{Dir: r.cfg.Dir, Spare: copySpare, Remove: removeTree, Measure: func(path string) (int64, error) {
		bytes, _, err := measureTree(path)
		return bytes, err
	}}
}

// holder is Hold of one pod.
func (r *Runtime) holder(id store.PodID) copies.Hold {
	return func(ctx context.Context) (func() bool, error) { return r.Hold(ctx, id) }
}

// Snapshot implements pods.Copier.
func (r *Runtime) Snapshot(ctx context.Context, id store.PodID, to store.SnapshotID, most int64) (pods.Copied, error) {
	ctx, cancel := r.bounded(ctx)
	defer cancel()
	return r.shelf().Snapshot(ctx, id, to, most, r.holder(id))
}

// bounded ends ctx with the runtime.
func (r *Runtime) bounded(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(r.life, cancel)
	return ctx, func() { stop(); cancel() }
}

// Fill implements pods.Copier.
func (r *Runtime) Fill(ctx context.Context, f pods.Fill) (pods.Filled, error) {
	_, release, err := r.take(ctx, f.Pod)
	if err != nil {
		return pods.Filled{}, err
	}
	defer release()
	owner := 0
	if r.root {
		if owner, err = r.hostID(f.Number); err != nil {
			return pods.Filled{}, err
		}
	}
	var hold copies.Hold
	if f.From.Snapshot == "" {
		hold = r.holder(f.From.Pod)
	}
	ctx, cancel := r.bounded(ctx)
	defer cancel()
	return r.shelf().Fill(ctx, f, owner, hold, func() error { return r.stop(ctx, f.Pod) })
}

// Keep implements pods.Copier.
func (r *Runtime) Keep(_ context.Context, id store.PodID, keep []store.SnapshotID) error {
	return r.shelf().Keep(id, keep)
}

// Snapshots implements pods.Copier.
func (r *Runtime) Snapshots(context.Context) (map[store.PodID][]store.SnapshotID, error) {
	return r.shelf().List()
}

// Size implements pods.Copier.
func (r *Runtime) Size(_ context.Context, id store.PodID) (int64, error) { return r.shelf().Size(id) }

// Short implements pods.Copier.
func (r *Runtime) Short() bool {
	left, err := leftOn(r.cfg.Dir)
	return err == nil && left.bytes < copyShort
}
