package pods

import (
	"context"
	"net"
	"net/url"
	"sync"
	"time"

	"podgate/pods/egress"
	"podgate/pods/preset"
	"podgate/pods/wire"
	"podgate/store"
)

// Protocol is the number of what server and agents say to each other. Where it is another
// than that of the server before, pods that were handed over are started anew.
const Protocol = wire.Protocol

// Runtime is a place where pods can run. An engine qualifies when it can start
// our binary in isolation and give byte streams to it; all that a pod does
// beyond that is the agent's work (see pods/agent). Implementations are safe
// for concurrent use, also on the same pod. podstest.Run is the contract as
// tests.
//
// A call ends soon after its ctx does, whatever the engine does meanwhile. The
// service gives every call a deadline but Start, whose time is the engine's to
// know: Start gives up by itself.
//
// There is no call for a pod's home: it is read and written through the agent,
// inside the pod's isolation and in the same way everywhere. The home of a
// stopped pod is reached by starting it, since Start starts no app.
type Runtime interface {
	// Start makes the pod's environment run with the agent inside, which has
	// started nothing yet, and returns when the agent answers. It is idempotent:
	// a running pod is left alone. The home survives Stop, Start and restarts of
	// the server. A failed Start leaves nothing running. say hears what takes
	// long, line by line, from one goroutine at a time and only before Start
	// returns; who says nothing for StartSilence is taken for stuck. A pod that was
	// made before and whose home is not there, or cannot be used, is a *FilesError:
	// nothing is put in its place.
	Start(ctx context.Context, spec Spec, say func(line string)) error
	// Provides returns nil when pods with these needs can run here, and otherwise
	// an error whose text tells a person why not and what to do about it. It
	// answers at once, from what the runtime knows.
	Provides(needs preset.Needs) error
	// Dial opens a stream to the pod's agent. ErrNotRunning when it does not
	// run.
	Dial(ctx context.Context, id store.PodID) (net.Conn, error)
	// Stop ends the pod. Nothing of it runs on return. nil when it did not run.
	Stop(ctx context.Context, id store.PodID) error
	// Remove stops the pod and deletes all it kept. nil when already gone.
	Remove(ctx context.Context, id store.PodID) error
	// List says what really runs, for reconcile. Pods whose files exist but do
	// not run are listed with Running false. Usage is left out.
	List(ctx context.Context) ([]Status, error)
	// Status is one pod with its Usage; one that is not known has only its ID.
	Status(ctx context.Context, id store.PodID) (Status, error)
	// Logs answers what the agent would to wire.PathLogs with query, from what the
	// pod's agents have kept, whether one runs or not. It trusts nothing that the
	// pod could have put there.
	Logs(ctx context.Context, id store.PodID, query url.Values) ([]wire.LogLine, error)
	// Ended waits for the next pod that ends without Stop, Remove, Detach or
	// Close, and tells each such death once. It returns an error when ctx ends
	// or the runtime is closed.
	Ended(ctx context.Context) (Death, error)
	// Detach hands over: it lets go of the runtime and leaves its pods running, for the
	// next one that is opened on the same place to find. A runtime whose pods cannot
	// outlive it changes nothing and returns errors.ErrUnsupported.
	Detach(ctx context.Context) error
	// Close ends: it ends every pod and frees what the runtime holds; homes stay. nil
	// when it is closed or detached already.
	Close(ctx context.Context) error
}

// Connector is a Runtime that can connect to apps without their agents.
type Connector interface {
	// Connect opens a connection to a port of a pod's own 127.0.0.1, over a socket that
	// nothing in the pod holds. An error says nothing of the app: the agent may reach it.
	// One that has a method Quiet() bool, which reports whether nothing has come that
	// nobody has read, not even the end, can be used for more than one request.
	Connect(ctx context.Context, id store.PodID, port int) (net.Conn, error)
}

// StartSilence is how long a Start may say nothing before it is given up.
const StartSilence = 2 * time.Minute

// Spec is what a runtime must know of a pod to start it.
type Spec struct {
	ID     store.PodID
	Number int    // no other pod of the region has it; from 1 up
	Name   string // a DNS label: the host name inside
	Made   bool   // it ran before, so its files must be there
	Needs  preset.Needs
	Limits Limits
	// Gate is the pod's way out; nil for a pod without network. It decides at
	// each connection, so a change needs no restart. A runtime whose machine
	// gives pods no network of their own starts them without.
	Gate *egress.Gate
}

// Limits is what a plan allows a pod.
type Limits struct {
	Memory    int64   // bytes
	CPUs      float64 // cores
	Disk      int64   // bytes of the home
	Processes int
	Network   int64 // bytes a second in both directions together; 0: no bound
}

// Status is one pod as its runtime sees it.
type Status struct {
	ID       store.PodID
	Running  bool
	Started  time.Time
	Exit     string   // why it ended, when it ended by itself
	Enforced []string // the limits that hold for it: memory, cpus, disk, processes, each with how, as "memory (cgroup v2)"
	Usage    Usage    // of a running pod
	// Kills is what was killed of it lately because of a limit, also in earlier runs,
	// and how those ended that did so by themselves. The newest is the last.
	Kills []Kill
	// NoNetwork is why a running pod has no network though it has a gate.
	NoNetwork string
}

// Usage is what a pod uses, counted from outside. What is not known is 0.
type Usage struct {
	Memory    int64   // bytes
	CPU       float64 // seconds since it was started
	Processes int
	Disk      int64 // bytes of the home; may be some seconds old
	DiskLeft  int64 // bytes that all pods may still write to the disk that the home is on, at least 1
}

// Kill is something that ended in a pod, or all of it, and not by itself.
type Kill struct {
	At     time.Time
	Reason string // for a person
}

// Death is the end of a pod that nobody asked for.
type Death struct {
	ID     store.PodID
	Reason string // for a person
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

// FilesError says what is wrong with a pod's files, in words that end in what a
// person must do before the pod is started again.
type FilesError struct{ Words string }

func (e *FilesError) Error() string { return e.Words }

// FilesGone is the error of a pod whose files were at path.
func FilesGone(path string) error {
	return &FilesError{"its files are gone from " + path + "; restore them and start it again, or delete the pod"}
}

// Deaths is Runtime.Ended for implementations that learn of deaths one by one.
// It holds the newest of each pod until somebody asks. Make one with NewDeaths.
type Deaths struct {
	more chan struct{} // holds a value while some wait

	mu      sync.Mutex
	waiting []Death
}

// NewDeaths returns an empty Deaths.
func NewDeaths() *Deaths {
	return &Deaths{more: make(chan struct{}, 1)}
}

// Add never blocks.
func (d *Deaths) Add(death Death) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range d.waiting {
		if d.waiting[i].ID == death.ID {
			d.waiting[i] = death
			return
		}
	}
	d.waiting = append(d.waiting, death)
	d.tell()
}

func (d *Deaths) tell() {
	select {
	case d.more <- struct{}{}:
	default:
	}
}

// Next is Runtime.Ended but for the closing of the runtime.
func (d *Deaths) Next(ctx context.Context) (Death, error) {
	for {
		if death, ok := d.take(); ok {
			return death, nil
		}
		select {
		case <-ctx.Done():
			return Death{}, ctx.Err()
		case <-d.more:
		}
	}
}

func (d *Deaths) take() (Death, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.waiting) == 0 {
		return Death{}, false
	}
	next := d.waiting[0]
	d.waiting = d.waiting[1:]
	if len(d.waiting) > 0 {
		d.tell()
	}
	return next, true
}
