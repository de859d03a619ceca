package pods_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"podgate/pods"
	"podgate/pods/podstest"
	"podgate/pods/wire"
	"podgate/store"
)

// clock is a time that tests move.
type clock struct{ at atomic.Int64 }

func newClock() *clock                   { c := &clock{}; c.at.Store(day.UnixNano()); return c }
func (c *clock) now() time.Time          { return time.Unix(0, c.at.Load()).UTC() }
func (c *clock) advance(d time.Duration) { c.at.Add(int64(d)) }
func (c *clock) config(cfg *pods.Config) { cfg.Now = c.now }

func (h *house) reconcile(t *testing.T) {
	t.Helper()
	if err := h.Reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// restarted is the same house after the server was killed: another service
// over another runtime on the same folder and store.
func (h *house) restarted(t *testing.T, dir string) *house {
	t.Helper()
	next := *h
	next.fake, next.script = podstest.OpenFake(dir), newScript()
	next.script.state.App = wire.AppStopped
	next.fake.SetAgent(next.script.serve)
	next.Service = podstest.ServiceOver(t, h.db, next.fake)
	return &next
}

func TestReconcileAfterTheServerWasKilled(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	dir := filepath.Dir(h.fake.Dir("x"))
	run, rest, doomed := h.create(t, "run").ID, h.create(t, "rest").ID, h.create(t, "doomed").ID
	if _, err := h.Stop(t.Context(), h.ann, "rest", nil); err != nil {
		t.Fatal(err)
	}
	if err := h.db.SetWant(doomed, store.WantGone); err != nil { // killed in the middle of a delete
		t.Fatal(err)
	}
	lost := filepath.Join(dir, "unknown", "home")
	if err := os.MkdirAll(lost, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	h = h.restarted(t, dir)
	h.reconcile(t)
	if p := h.status(t, "run"); p.Status != "running" {
		t.Errorf("run: %+v", p)
	}
	if p := h.status(t, "rest"); p.Status != "stopped" {
		t.Errorf("rest: %+v", p)
	}
	same(t, "the agents were asked to", h.script.actions(), []string{"start"})
	if h.script.asked[0].Welcome {
		t.Error("an old pod got a welcome page")
	}
	same(t, "the runtime was asked to", changes(h.fake), []string{"start " + string(run), "remove " + string(doomed)})
	if _, err := h.db.Pod(doomed); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the doomed pod's record: %v", err)
	}
	for _, kept := range []string{lost, h.fake.Dir(rest)} {
		if _, err := os.Stat(kept); err != nil {
			t.Errorf("files were deleted: %v", err)
		}
	}
	h.reconcile(t)
	if n := len(changes(h.fake)); n != 2 {
		t.Errorf("a second round did more: %v", changes(h.fake))
	}
}

// changes is what a runtime was asked to do to pods, in sorted kinds.
func changes(f *podstest.Fake) (list []string) {
	for _, kind := range []string{"start ", "stop ", "remove "} {
		for _, c := range f.Calls() {
			if len(c) > len(kind) && c[:len(kind)] == kind {
				list = append(list, c)
			}
		}
	}
	return list
}

func TestReconcileStopsWhatTheStoreDoesNotKnowAndKeepsItsFiles(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	orphan := pods.Spec{ID: store.PodID(store.NewID())}
	if err := h.fake.Start(t.Context(), orphan, func(string) {}); err != nil {
		t.Fatal(err)
	}
	h.reconcile(t)
	if _, err := h.fake.Dial(t.Context(), orphan.ID); !errors.Is(err, pods.ErrNotRunning) {
		t.Errorf("it still runs: %v", err)
	}
	if _, err := os.Stat(h.fake.Dir(orphan.ID)); err != nil {
		t.Errorf("its files are gone: %v", err)
	}
}

func TestReconcileStopsAPodThatShouldBeStopped(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	id := h.create(t, "shop").ID
	h.fake.FailStop(errors.New("stuck"))
	_, err := h.Stop(t.Context(), h.ann, "shop", nil)
	wants(t, err, pods.ErrNotAnswering, "goes on trying")
	h.fake.FailStop(nil)
	h.reconcile(t)
	if _, err := h.fake.Dial(t.Context(), id); !errors.Is(err, pods.ErrNotRunning) {
		t.Errorf("it still runs: %v", err)
	}
}

func TestReconcileBringsBackAPodThatEnded(t *testing.T) {
	t.Parallel()
	c := newClock()
	h := newHouse(t, c.config)
	id := h.create(t, "shop").ID
	c.advance(time.Hour)
	h.fake.Kill(id, "out of memory")
	if p := h.status(t, "shop"); p.Status != "starting" {
		t.Errorf("before reconcile: %+v", p)
	}
	h.script.set(func(s *script) { s.state.App = wire.AppStopped })
	h.reconcile(t)
	if p := h.status(t, "shop"); p.Status != "running" {
		t.Errorf("after reconcile: %+v", p)
	}
	same(t, "the agents were asked to", h.script.actions(), []string{"start", "start"})
}

func TestAPodThatKeepsEndingWaitsLonger(t *testing.T) {
	t.Parallel()
	c := newClock()
	h := newHouse(t, c.config)
	id := h.create(t, "shop").ID
	var waits []time.Duration
	for range 5 {
		h.fake.Kill(id, "out of memory")
		began, starts := c.now(), h.fake.Count("start")
		for h.reconcile(t); h.fake.Count("start") == starts; h.reconcile(t) {
			if p := h.status(t, "shop"); p.Status != "failed" || p.Reason != "the pod's environment ended by itself: out of memory" {
				t.Fatalf("while it waits: %+v", p)
			}
			_, err := h.Exec(t.Context(), h.ann, "shop", pods.ExecRequest{Command: "true"}, nil)
			wants(t, err, pods.ErrNotRunning, "out of memory", "action start")
			c.advance(time.Second)
		}
		waits = append(waits, c.now().Sub(began))
	}
	if waits[0] != 0 || waits[1] < time.Second || waits[4] < 2*waits[2] {
		t.Errorf("waited %v", waits)
	}
	h.fake.Kill(id, "again")
	h.reconcile(t)
	if p, err := h.Start(t.Context(), h.ann, "shop", nil); err != nil || p.Status != "running" {
		t.Errorf("asked for: %+v %v", p, err)
	}
}

func TestAPodThatCannotStartWaitsLonger(t *testing.T) {
	t.Parallel()
	c := newClock()
	h := newHouse(t, c.config)
	h.fake.FailStart(errors.New("no"))
	_, err := h.Create(t.Context(), h.ann, pods.CreateRequest{Name: "shop", Preset: "static"}, nil)
	wants(t, err, pods.ErrNotStarted)
	for range 100 {
		h.reconcile(t)
		c.advance(time.Second)
	}
	if n := h.fake.Count("start"); n < 4 || n > 8 {
		t.Errorf("%d starts in 100 s", n)
	}
	h.fake.FailStart(nil)
	c.advance(10 * time.Minute)
	h.reconcile(t)
	if p := h.status(t, "shop"); p.Status != "running" {
		t.Errorf("%+v", p)
	}
}

func TestNextCallBringsAPodBack(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	id := h.create(t, "shop").ID
	h.fake.Kill(id, "")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := h.Exec(t.Context(), h.ann, "shop", pods.ExecRequest{Command: "true"}, nil); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if p := h.status(t, "shop"); p.Status != "running" {
		t.Errorf("%+v", p)
	}
}

func TestRunHearsOfDeaths(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { h.Run(ctx); close(done) }()
	id := h.create(t, "shop").ID
	back := make(chan struct{}, 1)
	h.fake.OnStart(func(context.Context, pods.Spec, func(string)) error {
		select {
		case back <- struct{}{}:
		default:
		}
		return nil
	})
	h.fake.Kill(id, "")
	select {
	case <-back:
	case <-time.After(10 * time.Second): // far less than the timer
		t.Error("it did not come back")
	}
	cancel()
	<-done
}

func TestReconcileLeavesAPodToItsOperation(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.create(t, "shop")
	hold := make(chan struct{})
	h.script.set(func(s *script) { s.hold = hold })
	restarted := make(chan error, 1)
	go func() { _, err := h.Restart(t.Context(), h.ann, "shop", nil); restarted <- err }()
	<-h.script.held
	h.reconcile(t)
	close(hold)
	if err := <-restarted; err != nil {
		t.Error(err)
	}
	same(t, "the agent was asked to", h.script.actions(), []string{"start", "restart"})
}

func TestCloseEndsOperations(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	id := h.create(t, "shop").ID
	h.script.set(func(s *script) { s.hold = make(chan struct{}) })
	reloaded := make(chan error, 1)
	go func() { _, err := h.Reload(t.Context(), h.ann, "shop", nil); reloaded <- err }()
	<-h.script.held
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-reloaded; err == nil {
		t.Error("a reload survived Close")
	}
	if rec, err := h.db.Pod(id); err != nil || rec.Want != store.WantRunning {
		t.Errorf("what should be was changed: %+v %v", rec, err)
	}
	_, err := h.Start(t.Context(), h.ann, "shop", nil)
	wants(t, err, pods.ErrUnavailable, "stopping")
	if err := h.Close(); err != nil {
		t.Errorf("closed again: %v", err)
	}
}

func TestRegionThatIsDown(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.create(t, "shop")
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	h.Service = podstest.ServiceOver(t, h.db, nil, func(c *pods.Config) {
		c.Regions[0] = podstest.DownRegion("here", &pods.UnavailableError{Reason: "the kernel says no", Fix: "Say yes"})
	})
	h.reconcile(t)
	for method, call := range h.calls(t.Context()) {
		if method == "Get" || method == "Deploys" { // what the store knows
			continue
		}
		err := call(h.ann, "shop")
		wants(t, err, pods.ErrUnavailable, "the kernel says no. Say yes")
	}
	if p := h.status(t, "shop"); p.Status != "failed" || p.Reason != "pods cannot run on this server: the kernel says no. Say yes" {
		t.Errorf("%+v", p)
	}
	if list, err := h.List(t.Context(), h.ann); err != nil || len(list) != 1 {
		t.Errorf("%v %v", list, err)
	}
	if _, err := h.Presets(h.ann); err != nil {
		t.Error(err)
	}
}

func TestAgentThatIsSilent(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	id := h.create(t, "shop").ID
	h.fake.Kill(id, "")
	h.fake.RefuseDial(errors.New("dial unix /var/lib/podgate/secret: refused"))
	if p := h.status(t, "shop"); p.Status != "failed" || p.Reason == "" {
		t.Errorf("%+v", p)
	}
	_, err := h.Exec(t.Context(), h.ann, "shop", pods.ExecRequest{Command: "true"}, nil)
	wants(t, err, pods.ErrNotAnswering)
	if err != nil && err.Error() != "pod does not answer: its agent failed; try again, and if that does not help use manage_pod with action stop, then start" {
		t.Errorf("%v", err)
	}
}

// A name that was reserved after a pod got it stays the pod's: the rule is for
// new pods.
func TestPodKeepsANameThatIsReservedNow(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	old := store.Pod{ID: "old", Name: "openpgpkey", Team: h.ann.Team.ID, Preset: "static", Plan: "small", Region: "here", Want: store.WantRunning, CreatedBy: h.ann.User, Created: day}
	if err := h.db.CreatePod(old, day, func([]store.Pod) error { return nil }); err != nil {
		t.Fatal(err)
	}
	h.reconcile(t)
	if p := h.status(t, "openpgpkey"); p.Status != "running" {
		t.Errorf("%+v", p)
	}
	if _, err := h.Restart(t.Context(), h.ann, "openpgpkey", nil); err != nil {
		t.Error(err)
	}
	if err := h.Delete(t.Context(), h.ann, "openpgpkey", "openpgpkey"); err != nil {
		t.Error(err)
	}
	_, err := h.Create(t.Context(), h.ann, pods.CreateRequest{Name: "openpgpkey", Preset: "static"}, nil)
	wants(t, err, pods.ErrInvalidName, "openpgpkey-app")
}

// The agent ends the app before it puts a new home in place, so one that fails
// then, or whose caller leaves, must not stay without it.
func TestReconcileStartsTheAppAfterAnImportThatFailed(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.create(t, "shop")
	h.script.set(func(s *script) { s.fault = &wire.Fault{Code: wire.FaultFailed, Message: "the disk is full"} })
	_, err := h.ImportHome(t.Context(), h.ann, "shop", strings.NewReader("a tar"))
	wants(t, err, pods.ErrBadInput, "the disk is full")
	h.script.set(func(s *script) { s.fault = nil })
	h.reconcile(t)
	same(t, "the agent was asked to", h.script.actions(), []string{"start", "start"})
	if p := h.status(t, "shop"); p.Status != "running" {
		t.Errorf("it is %s", p.Status)
	}
	h.reconcile(t)
	same(t, "the agent was asked to, at last", h.script.actions(), []string{"start", "start"})
}
