package pods

import (
	"context"

	"podgate/store"
)

// Copier is a Runtime that can copy the files of pods. Its snapshots cost what they
// cost on the disk that homes are on, and no pod can reach them. Remove deletes those of
// its pod. A refusal is a *FilesError; pods and snapshots are as before it.
type Copier interface {
	// Snapshot makes a copy of a pod's files, of at most so many bytes, whole or not at
	// all. A pod that runs goes on but for the last moment of it.
	Snapshot(ctx context.Context, id store.PodID, to store.SnapshotID, most int64) (Copied, error)
	// Fill copies what is at another place, ends the pod, and makes the copy its files.
	// What these were before becomes one of its snapshots. One that was cut off is
	// finished by another call with the same arguments, before the pod is started. An
	// error that says that there were files before comes after that step, any other in
	// front of it, with the pod as it was.
	Fill(ctx context.Context, f Fill) (Filled, error)
	// Keep deletes what there is of a pod's snapshots but those, also such as were not
	// finished. Nothing else is done with the pod's snapshots meanwhile.
	Keep(ctx context.Context, id store.PodID, keep []store.SnapshotID) error
	// Snapshots returns what there is of snapshots by pod, also such as are not whole.
	Snapshots(ctx context.Context) (map[store.PodID][]store.SnapshotID, error)
	// Size is what a pod's files take now, in bytes as the limit of a plan's disk counts
	// them, whether it runs or not.
	Size(ctx context.Context, id store.PodID) (int64, error)
	// Short reports whether what can be spared has to go, as the disk is nearly full.
	Short() bool
}

// Place is where files of a pod are: its home, or a snapshot of it.
type Place struct {
	Pod      store.PodID
	Snapshot store.SnapshotID // empty: the home
}

// Copied is what a copy came to.
type Copied struct {
	Bytes   int64    // as the limit of a plan's disk counts them
	LeftOut int      // files that are not in it: no plain ones, or such as cannot be read
	Such    []string // the first of these, with reasons, as the pod has named them
	Moving  bool     // it is not of one moment: too much changed for the pod to be held so long
}

// Fill says how a pod gets its files.
type Fill struct {
	Pod    store.PodID
	Number int // as in Spec
	From   Place
	Old    store.SnapshotID // what its present files become; empty: it has none
	Most   int64            // bytes
}

// Filled is what became of the files that were there before.
type Filled struct {
	Had   bool  // there were some
	Bytes int64 // of them
}
