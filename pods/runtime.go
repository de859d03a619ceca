package pods

import (
	"context"
	"net"
	"time"

	"podgate/store"
)

// Runtime is a place where pods can run. An engine qualifies when it can start
// our binary in isolation and give byte streams to it; all that a pod does
// beyond that is the agent's work (see pods/agent). Implementations are safe
// for concurrent use, also on the same pod. podstest.Run is the contract as
// tests.
type Runtime interface {
	// Start makes the pod's environment run with the agent inside and returns
	// when the agent answers. It is idempotent: a running pod is left alone.
	// The home survives Stop, Start and restarts of the server. A failed Start
	// leaves nothing running.
	Start(ctx context.Context, pod store.Pod, limits Limits) error
	// Dial opens a stream to the pod's agent. ErrNotRunning when it does not
	// run.
	Dial(ctx context.Context, id store.PodID) (net.Conn, error)
	// Stop ends the pod. Nothing of it runs on return. nil when it did not run.
	Stop(ctx context.Context, id store.PodID) error
	// Remove stops the pod and deletes all it kept. nil when already gone.
	Remove(ctx context.Context, id store.PodID) error
	// List says what really runs, for reconcile. Pods whose files exist but do
	// not run are listed with Running false.
	List(ctx context.Context) ([]Status, error)
	// Close ends every pod and frees what the runtime holds; homes stay.
	Close() error
}

// Limits is what a plan allows a pod.
type Limits struct {
	Memory    int64   // bytes
	CPUs      float64 // cores
	Disk      int64   // bytes of the home
	Processes int
}

// Status is one pod as its runtime sees it.
type Status struct {
	ID       store.PodID
	Running  bool
	Started  time.Time
	Exit     string   // why it ended, when it ended by itself
	Enforced []string // the limits that hold for it: memory, cpus, disk, processes, each with how, as "memory (cgroup v2)"
}

// UnavailableError says why a runtime cannot run pods on this machine, in
// words for the person who owns it.
type UnavailableError struct {
	Reason string // what the kernel or the engine refused
	Fix    string // what to do about it
	Err    error
}

func (e *UnavailableError) Error() string { return e.Reason + ". " + e.Fix }

func (e *UnavailableError) Unwrap() error { return e.Err }

// Watcher is a Runtime that can tell when pods end by themselves, so that the
// service need not wait for its timer.
type Watcher interface {
	// Ended delivers a value some time after pods ended without Stop, Remove
	// or Close. One value may stand for several pods, so senders never block.
	Ended() <-chan struct{}
}
