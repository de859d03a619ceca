package pods_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"podgate/pods"
	"podgate/pods/podstest"
	"podgate/pods/wire"
	"podgate/store/storetest"
)

// bell is an alarm that notes what it hears.
type bell struct {
	mu     sync.Mutex
	off    bool
	failed []pods.Pod
	done   []func(bool)
	well   []string
}

func (b *bell) PodFailed(p pods.Pod, done func(bool)) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.off {
		return false
	}
	b.failed, b.done = append(b.failed, p), append(b.done, done)
	return true
}

func (b *bell) PodRecovered(p pods.Pod) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.well = append(b.well, p.Name)
}

// watched is a house whose clock and alarm are the test's.
type watched struct {
	*house
	bell *bell
	dir  string
	mu   sync.Mutex
	now  time.Time
}

func watch(t *testing.T) *watched {
	t.Helper()
	w := &watched{bell: &bell{}, dir: t.TempDir(), now: day}
	w.house = &house{db: storetest.New(t), script: newScript()}
	w.ann = actor(t, w.db, "ann")
	w.serve(t)
	w.create(t, "shop")
	return w
}

func (w *watched) configure(c *pods.Config) {
	c.Alarm = w.bell
	c.Now = func() time.Time { w.mu.Lock(); defer w.mu.Unlock(); return w.now }
}

// serve puts a server over the store and the homes.
func (w *watched) serve(t *testing.T) {
	t.Helper()
	w.fake = podstest.OpenFake(w.dir)
	w.fake.SetAgent(w.script.serve)
	w.Service = podstest.ServiceOver(t, w.db, w.fake, w.configure)
}

// restart ends the server, which ends the pods, and starts another.
func (w *watched) restart(t *testing.T) {
	t.Helper()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	w.serve(t)
}

func (w *watched) app(s wire.State) { w.script.set(func(script *script) { script.state = s }) }

// pass lets time go by, with a look every half minute, and returns what was heard.
func (w *watched) pass(t *testing.T, d time.Duration) (failed, well int) {
	t.Helper()
	for ; d >= 0; d -= 30 * time.Second {
		if err := w.Reconcile(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.mu.Lock()
		w.now = w.now.Add(30 * time.Second)
		w.mu.Unlock()
	}
	return len(w.bell.failed), len(w.bell.well)
}

var (
	looping = wire.State{App: wire.AppWaiting, Deaths: 4, Reason: "the app exited with code 1"}
	givenUp = wire.State{App: wire.AppFailed, Deaths: 10, Reason: "the app exited with code 1; that was the tenth time"}
)

// A crash loop is told once, however long it lasts, also after a restart of the
// server, and again only when the pod had run well for a while.
func TestAlarmOnce(t *testing.T) {
	t.Parallel()
	w := watch(t)
	w.app(looping)
	if failed, _ := w.pass(t, 0); failed != 0 {
		t.Fatal("told at the first look")
	}
	if failed, _ := w.pass(t, 10*time.Minute); failed != 1 || w.bell.failed[0].Reason != looping.Reason || w.bell.failed[0].Name != "shop" {
		t.Fatalf("%+v", w.bell.failed)
	}
	w.bell.done[0](true)
	w.app(wire.State{App: wire.AppRunning, Deaths: 4, Started: w.now})
	w.pass(t, time.Minute)
	w.app(givenUp)
	if failed, _ := w.pass(t, 10*time.Minute); failed != 1 {
		t.Fatalf("told %d times", failed)
	}
	w.restart(t)
	w.app(looping)
	if failed, well := w.pass(t, 10*time.Minute); failed != 1 || well != 0 {
		t.Fatalf("after a restart of the server: told %d times, %d times well", failed, well)
	}
	w.app(wire.State{App: wire.AppRunning, Started: w.now})
	if _, well := w.pass(t, 4*time.Minute); well != 0 {
		t.Error("well again too early")
	}
	if _, well := w.pass(t, 4*time.Minute); well != 1 {
		t.Errorf("%d times well again", well)
	}
	w.app(givenUp)
	if failed, _ := w.pass(t, 10*time.Minute); failed != 2 {
		t.Errorf("the next failure: told %d times", failed)
	}
}

// A person who starts a pod anew hears of it when that fails too.
func TestAlarmAfterStart(t *testing.T) {
	t.Parallel()
	for name, act := range map[string]func(*watched) error{
		"restart": func(w *watched) error { _, err := w.Restart(t.Context(), w.ann, "shop", nil); return err },
		"reload":  func(w *watched) error { _, err := w.Reload(t.Context(), w.ann, "shop", nil); return err },
		"env": func(w *watched) error {
			_, err := w.SetEnv(t.Context(), w.ann, "shop", map[string]string{"A": "b"}, nil, nil)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := watch(t)
			w.app(givenUp)
			w.pass(t, time.Minute)
			w.bell.done[0](true)
			if err := act(w); err != nil {
				t.Fatal(err)
			}
			w.app(givenUp)
			if failed, _ := w.pass(t, time.Minute); failed != 2 {
				t.Errorf("told %d times", failed)
			}
		})
	}
}

// What could not be told is handed over again; what is on its way is not, and what
// arrives after somebody started the pod anew counts for nothing.
func TestAlarmThatReachesNobody(t *testing.T) {
	t.Parallel()
	w := watch(t)
	w.bell.off = true
	w.app(givenUp)
	w.pass(t, 2*time.Minute)
	w.bell.off = false
	if failed, _ := w.pass(t, 2*time.Minute); failed != 1 {
		t.Fatalf("told %d times", failed)
	}
	w.bell.done[0](false)
	if failed, _ := w.pass(t, 2*time.Minute); failed != 2 {
		t.Fatalf("after it did not arrive: told %d times", failed)
	}
	if _, err := w.Restart(t.Context(), w.ann, "shop", nil); err != nil {
		t.Fatal(err)
	}
	w.bell.done[1](true)
	w.app(givenUp)
	if failed, _ := w.pass(t, 2*time.Minute); failed != 3 {
		t.Errorf("after a fresh start: told %d times", failed)
	}
}

// Who mends a pod at once, stops it, or has one that runs, is left alone.
func TestAlarmStaysSilent(t *testing.T) {
	t.Parallel()
	w := watch(t)
	w.app(wire.State{App: wire.AppWaiting, Deaths: 1})
	w.pass(t, 2*time.Minute)
	w.app(givenUp)
	w.pass(t, 0)
	w.app(wire.State{App: wire.AppRunning, Started: w.now})
	w.pass(t, 0)
	w.app(givenUp)
	w.pass(t, 0)
	if _, err := w.Stop(t.Context(), w.ann, "shop", nil); err != nil {
		t.Fatal(err)
	}
	if failed, well := w.pass(t, 10*time.Minute); failed != 0 || well != 0 {
		t.Errorf("told %d times, %d times well", failed, well)
	}
}

// A pod that cannot be started is told with the reason, and looking at it does not
// have the rounds follow each other without a pause.
func TestAlarmOfAPodThatDoesNotStart(t *testing.T) {
	t.Parallel()
	w := watch(t)
	if _, err := w.Stop(t.Context(), w.ann, "shop", nil); err != nil {
		t.Fatal(err)
	}
	w.fake.FailStart(errors.New("no room"))
	_, err := w.Start(t.Context(), w.ann, "shop", nil)
	wants(t, err, pods.ErrNotStarted)
	if failed, _ := w.pass(t, 10*time.Minute); failed != 1 || !strings.Contains(w.bell.failed[0].Reason, "could not be started") || w.bell.failed[0].Name != "shop" {
		t.Errorf("%+v", w.bell.failed)
	}
	before := w.fake.Count("list")
	ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
	defer cancel()
	w.Run(ctx)
	if n := w.fake.Count("list") - before; n > 1 {
		t.Errorf("%d rounds in two seconds", n)
	}
}

// How many pods failed is counted by what their agents said last, without waiting.
func TestCountFailed(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.create(t, "shop")
	count := func() int {
		t.Helper()
		n, err := h.CountFailed(t.Context(), h.ann.User, time.Now().Add(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	h.script.set(func(s *script) { s.state = looping })
	if _, err := h.Front(t.Context(), h.ann.User, time.Now()); err != nil {
		t.Fatal(err)
	}
	if n := count(); n != 1 {
		t.Errorf("%d failed", n)
	}
	if n, err := h.CountFailed(t.Context(), h.bob.User, time.Now()); n != 0 || err != nil {
		t.Errorf("%d of another team's failed, %v", n, err)
	}
}
