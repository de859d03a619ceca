package podstest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"podgate/pods"
	"podgate/pods/agent"
	"podgate/pods/copies"
	"podgate/pods/preset"
	"podgate/pods/wire"
	"podgate/store"
)

// AgentFunc is the agent of one pod: it serves the protocol of pods/agent on l
// until ctx ends. dir is the pod's own folder.
type AgentFunc func(ctx context.Context, dir string, l net.Listener) error

// Fake is a pods.Runtime without isolation. Its switches make it fail the way
// real ones do. Create one with NewFake.
type Fake struct {
	engine   *Engine
	outlived bool // by its pods, when it is detached
	life     context.Context
	endLife  context.CancelFunc

	mu      sync.Mutex
	agent   AgentFunc
	start   func(context.Context, pods.Spec, func(string)) error
	dialErr error
	stopErr error
	rmErr   error
	copyErr error
	stop    func()
	short   bool
	lacks   []string
	left    int64
	apart   string
	hung    map[string]bool
	calls   []string
}

var _ pods.Runtime = (*Fake)(nil)

// NewFake returns a runtime whose pods end, at the latest, with the test.
func NewFake(t testing.TB) *Fake {
	t.Helper()
	f := OpenFake(t.TempDir())
	t.Cleanup(func() {
		if err := f.Close(context.Background()); err != nil {
			t.Errorf("close the fake runtime: %v", err)
		}
	})
	return f
}

// OpenFake returns a runtime that keeps its pods under dir and that they do not
// outlive. The caller closes it; another one on the same folder then finds the
// homes again.
func OpenFake(dir string) *Fake {
	f := NewEngine(dir).Open()
	f.outlived = false
	return f
}

// SetAgent replaces the agent of pods that are started from now on.
func (f *Fake) SetAgent(a AgentFunc) { f.set(func() { f.agent = a }) }

// OnStart runs hook in every Start that would start something; its error fails
// the Start. nil takes it away.
func (f *Fake) OnStart(hook func(ctx context.Context, spec pods.Spec, say func(line string)) error) {
	f.set(func() { f.start = hook })
}

// FailStart makes Start fail with err until it is called with nil.
func (f *Fake) FailStart(err error) {
	f.OnStart(func(context.Context, pods.Spec, func(string)) error { return err })
}

// RefuseDial, FailStop and FailRemove make these calls fail with err until
// called with nil.
func (f *Fake) RefuseDial(err error) { f.set(func() { f.dialErr = err }) }
func (f *Fake) FailStop(err error)   { f.set(func() { f.stopErr = err }) }
func (f *Fake) FailRemove(err error) { f.set(func() { f.rmErr = err }) }

// OnStop runs hook in every Stop before it stops anything. nil takes it away.
func (f *Fake) OnStop(hook func()) { f.set(func() { f.stop = hook }) }

// SetDiskLeft is what there is room for on the disk that homes are on; 0: not
// known.
func (f *Fake) SetDiskLeft(bytes int64) { f.set(func() { f.left = bytes }) }

// SetNoNetwork has pods say that they have no way out, for this reason. Without it the
// fake lets others believe that they have one.
func (f *Fake) SetNoNetwork(reason string) { f.set(func() { f.apart = reason }) }

// Lack takes these programs away from pods, and gives back those taken before.
func (f *Fake) Lack(tools ...string) { f.set(func() { f.lacks = tools }) }

// Hang makes these methods (start, dial, stop, remove, list, status, ended,
// detach, close) wait until their context ends, until it is called with others.
func (f *Fake) Hang(methods ...string) {
	f.set(func() {
		clear(f.hung)
		for _, m := range methods {
			f.hung[m] = true
		}
	})
}

func (f *Fake) set(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
}

// Calls returns what was asked of the runtime so far, as "start ID".
func (f *Fake) Calls() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.calls)
}

// Count returns how many calls were made of one kind, such as "start".
func (f *Fake) Count(kind string) (n int) {
	for _, c := range f.Calls() {
		if strings.HasPrefix(c, kind+" ") {
			n++
		}
	}
	return n
}

// Dir returns the folder of a pod: home, tmp and logs are in it.
func (f *Fake) Dir(id store.PodID) string { return f.engine.folder(id) }

// Kill ends a pod as if it had ended by itself.
func (f *Fake) Kill(id store.PodID, exit string) {
	f.engine.end(id, exit)
	f.engine.deaths.Add(pods.Death{ID: id, Reason: exit})
}

// enter begins every call: it notes it, and waits for ctx when the method hangs.
func (f *Fake) enter(ctx context.Context, method string, id store.PodID) error {
	f.mu.Lock()
	f.calls = append(f.calls, strings.TrimSpace(method+" "+string(id)))
	hung := f.hung[method]
	f.mu.Unlock()
	if hung {
		<-ctx.Done()
	}
	return ctx.Err()
}

// Start implements pods.Runtime.
func (f *Fake) Start(ctx context.Context, spec pods.Spec, say func(string)) error {
	if err := f.enter(ctx, "start", spec.ID); err != nil {
		return err
	}
	f.mu.Lock()
	hook, agent := f.start, f.agent
	f.mu.Unlock()
	switch {
	case f.life.Err() != nil:
		return errors.New("the fake runtime is closed")
	case f.engine.running(spec.ID) != nil:
		return nil
	case hook != nil:
		if err := hook(ctx, spec, say); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return f.engine.launch(spec, agent)
}

// Provides implements pods.Runtime.
func (f *Fake) Provides(needs preset.Needs) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if slices.Contains(f.lacks, needs.Tool) {
		return fmt.Errorf("the fake has no %s; to get it, %s", needs.Tool, needs.Get)
	}
	return nil
}

// Dial implements pods.Runtime.
func (f *Fake) Dial(ctx context.Context, id store.PodID) (net.Conn, error) {
	if err := f.enter(ctx, "dial", id); err != nil {
		return nil, err
	}
	f.mu.Lock()
	err := f.dialErr
	f.mu.Unlock()
	if err != nil {
		return nil, err
	}
	run := f.engine.running(id)
	if run == nil || f.life.Err() != nil {
		return nil, fmt.Errorf("fake: %w", pods.ErrNotRunning)
	}
	return run.listener.dial(ctx)
}

// Stop implements pods.Runtime.
func (f *Fake) Stop(ctx context.Context, id store.PodID) error {
	if err := f.enter(ctx, "stop", id); err != nil {
		return err
	}
	f.mu.Lock()
	err, hook := f.stopErr, f.stop
	f.mu.Unlock()
	if hook != nil {
		hook()
	}
	if err == nil {
		f.engine.end(id, "")
	}
	return err
}

// Remove implements pods.Runtime.
func (f *Fake) Remove(ctx context.Context, id store.PodID) error {
	if err := f.enter(ctx, "remove", id); err != nil {
		return err
	}
	f.mu.Lock()
	err := f.rmErr
	f.mu.Unlock()
	if err != nil {
		return err
	}
	f.engine.end(id, "")
	f.engine.mu.Lock()
	delete(f.engine.pods, id)
	f.engine.mu.Unlock()
	return errors.Join(os.RemoveAll(f.Dir(id)), f.shelf().Keep(id, nil))
}

// List implements pods.Runtime.
func (f *Fake) List(ctx context.Context) ([]pods.Status, error) {
	if err := f.enter(ctx, "list", ""); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(f.engine.dir)
	var list []pods.Status
	for _, entry := range entries {
		if !copies.IsPod(entry.Name()) {
			continue
		}
		list = append(list, f.engine.status(store.PodID(entry.Name())))
	}
	return list, err
}

// Status implements pods.Runtime. There is no kernel here that counts, so it
// asks the agent.
func (f *Fake) Status(ctx context.Context, id store.PodID) (pods.Status, error) {
	if err := f.enter(ctx, "status", id); err != nil {
		return pods.Status{}, err
	}
	st := f.engine.status(id)
	if run := f.engine.running(id); run != nil {
		var u wire.Usage
		if err := ask(ctx, run.listener.dial, wire.PathUsage, &u); err != nil {
			return st, nil // it ends just now
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		st.NoNetwork = f.apart
		st.Usage = pods.Usage{Memory: u.Memory, CPU: u.CPU, Processes: u.Processes, Disk: u.Disk, DiskLeft: f.left}
	}
	return st, nil
}

// Logs implements pods.Runtime.
func (f *Fake) Logs(ctx context.Context, id store.PodID, query url.Values) ([]wire.LogLine, error) {
	if err := f.enter(ctx, "logs", id); err != nil {
		return nil, err
	}
	return agent.StoredLogs(filepath.Join(f.Dir(id), "logs"), query.Encode())
}

// Ended implements pods.Runtime.
func (f *Fake) Ended(ctx context.Context) (pods.Death, error) {
	if err := f.enter(ctx, "ended", ""); err != nil {
		return pods.Death{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(f.life, cancel)()
	return f.engine.deaths.Next(ctx)
}

// Detach implements pods.Runtime.
func (f *Fake) Detach(ctx context.Context) error {
	if err := f.enter(ctx, "detach", ""); err != nil {
		return err
	}
	if !f.outlived {
		return errors.ErrUnsupported
	}
	f.endLife()
	return nil
}

// Close implements pods.Runtime.
func (f *Fake) Close(ctx context.Context) error {
	if err := f.enter(ctx, "close", ""); err != nil {
		return err
	}
	if f.life.Err() == nil {
		f.endLife()
		f.engine.End()
	}
	return nil
}
