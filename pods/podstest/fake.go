package podstest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"podgate/pods"
	"podgate/store"
)

// AgentFunc is the agent of one pod: it serves the protocol of pods/agent on l
// until ctx ends. dir is the pod's own folder.
type AgentFunc func(ctx context.Context, dir string, l net.Listener) error

// Fake is a pods.Runtime without isolation. Its switches make it fail the way
// real ones do. Create one with NewFake.
type Fake struct {
	dir   string
	ended chan struct{}

	mu      sync.Mutex
	closed  bool
	agent   AgentFunc
	start   func(context.Context, store.Pod) error
	dialErr error
	stopErr error
	rmErr   error
	calls   []string
	pods    map[store.PodID]*env
}

// env is one environment that was started; it may have ended.
type env struct {
	listener *listener
	cancel   context.CancelFunc
	done     chan struct{} // closed when the agent has returned
	started  time.Time
	exit     string
}

var (
	_ pods.Runtime = (*Fake)(nil)
	_ pods.Watcher = (*Fake)(nil)
)

// NewFake returns a runtime whose pods end, at the latest, with the test.
func NewFake(t testing.TB) *Fake {
	t.Helper()
	f := OpenFake(t.TempDir())
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Errorf("close the fake runtime: %v", err)
		}
	})
	return f
}

// OpenFake returns a runtime that keeps its pods under dir. The caller closes
// it; another one on the same folder then finds the homes again.
func OpenFake(dir string) *Fake {
	return &Fake{dir: dir, ended: make(chan struct{}, 1), agent: realAgent, pods: map[store.PodID]*env{}}
}

// SetAgent replaces the agent of pods that are started from now on.
func (f *Fake) SetAgent(a AgentFunc) { f.set(func() { f.agent = a }) }

// OnStart runs hook in every Start that would start something; its error fails
// the Start. nil takes it away.
func (f *Fake) OnStart(hook func(context.Context, store.Pod) error) { f.set(func() { f.start = hook }) }

// FailStart makes Start fail with err until it is called with nil.
func (f *Fake) FailStart(err error) {
	f.OnStart(func(context.Context, store.Pod) error { return err })
}

// RefuseDial, FailStop and FailRemove make these calls fail with err until
// called with nil.
func (f *Fake) RefuseDial(err error) { f.set(func() { f.dialErr = err }) }
func (f *Fake) FailStop(err error)   { f.set(func() { f.stopErr = err }) }
func (f *Fake) FailRemove(err error) { f.set(func() { f.rmErr = err }) }

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
func (f *Fake) Dir(id store.PodID) string { return filepath.Join(f.dir, string(id)) }

// Kill ends a pod as if it had ended by itself.
func (f *Fake) Kill(id store.PodID, exit string) {
	f.end(id, exit)
	select {
	case f.ended <- struct{}{}:
	default:
	}
}

// Ended implements pods.Watcher.
func (f *Fake) Ended() <-chan struct{} { return f.ended }

func (f *Fake) note(format string, args ...any) {
	f.calls = append(f.calls, fmt.Sprintf(format, args...))
}

// Start implements pods.Runtime.
func (f *Fake) Start(ctx context.Context, pod store.Pod, _ pods.Limits) error {
	f.mu.Lock()
	f.note("start %s", pod.ID)
	e, hook, closed := f.pods[pod.ID], f.start, f.closed
	f.mu.Unlock()
	switch {
	case closed:
		return errors.New("the fake runtime is closed")
	case e != nil && e.running():
		return nil
	case hook != nil:
		if err := hook(ctx, pod); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, part := range []string{"home", "tmp", "logs"} {
		if err := os.MkdirAll(filepath.Join(f.Dir(pod.ID), part), 0o700); err != nil {
			return err
		}
	}
	f.launch(pod.ID)
	return nil
}

func (f *Fake) launch(id store.PodID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if e := f.pods[id]; e != nil && e.running() {
		return // another Start won
	}
	ctx, cancel := context.WithCancel(context.Background())
	e := &env{listener: newListener(), cancel: cancel, done: make(chan struct{}), started: time.Now()}
	serve := f.agent
	f.pods[id] = e
	go func() {
		defer close(e.done)
		if err := serve(ctx, f.Dir(id), e.listener); err != nil && ctx.Err() == nil {
			f.set(func() { e.exit = err.Error() })
		}
		e.listener.shut()
	}()
}

func (e *env) running() bool {
	select {
	case <-e.done:
		return false
	default:
		return true
	}
}

// Dial implements pods.Runtime.
func (f *Fake) Dial(ctx context.Context, id store.PodID) (net.Conn, error) {
	f.mu.Lock()
	f.note("dial %s", id)
	e, err := f.pods[id], f.dialErr
	f.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if e == nil || !e.running() {
		return nil, fmt.Errorf("fake: %w", pods.ErrNotRunning)
	}
	return e.listener.dial(ctx)
}

// Stop implements pods.Runtime.
func (f *Fake) Stop(_ context.Context, id store.PodID) error {
	f.mu.Lock()
	f.note("stop %s", id)
	err := f.stopErr
	f.mu.Unlock()
	if err != nil {
		return err
	}
	f.end(id, "")
	return nil
}

// end ends an environment and waits until nothing of it runs.
func (f *Fake) end(id store.PodID, exit string) {
	f.mu.Lock()
	e := f.pods[id]
	if e != nil {
		e.exit = exit
	}
	f.mu.Unlock()
	if e == nil {
		return
	}
	e.cancel()
	e.listener.shut()
	<-e.done
}

// Remove implements pods.Runtime.
func (f *Fake) Remove(_ context.Context, id store.PodID) error {
	f.mu.Lock()
	f.note("remove %s", id)
	err := f.rmErr
	f.mu.Unlock()
	if err != nil {
		return err
	}
	f.end(id, "")
	f.set(func() { delete(f.pods, id) })
	return os.RemoveAll(f.Dir(id))
}

// List implements pods.Runtime.
func (f *Fake) List(context.Context) ([]pods.Status, error) {
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []pods.Status
	for _, entry := range entries {
		st := pods.Status{ID: store.PodID(entry.Name())}
		if e := f.pods[st.ID]; e != nil {
			st.Running, st.Started, st.Exit = e.running(), e.started, e.exit
		}
		list = append(list, st)
	}
	return list, nil
}

// Close implements pods.Runtime.
func (f *Fake) Close() error {
	f.mu.Lock()
	f.closed = true
	var ids []store.PodID
	for id := range f.pods {
		ids = append(ids, id)
	}
	f.mu.Unlock()
	for _, id := range ids {
		f.end(id, "")
	}
	return nil
}
