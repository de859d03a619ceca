package podstest

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"podgate/pods"
)

func testLifecycle(t *testing.T, r pods.Runtime) {
	pod, ctx := bare(), t.Context()
	dial := func() error {
		conn, err := r.Dial(ctx, pod.ID)
		if err != nil {
			return err
		}
		return conn.Close()
	}
	must(t, "start", r.Start(ctx, pod, limits()))
	must(t, "dial", dial())
	must(t, "start again", r.Start(ctx, pod, limits()))
	if st, ok := status(t, r, pod.ID); !ok || !st.Running || st.Started.IsZero() {
		t.Errorf("a running pod is listed as %+v", st)
	}
	must(t, "stop", r.Stop(ctx, pod.ID))
	must(t, "stop again", r.Stop(ctx, pod.ID))
	if err := dial(); !errors.Is(err, pods.ErrNotRunning) {
		t.Errorf("dial a stopped pod: %v", err)
	}
	if st, ok := status(t, r, pod.ID); ok && st.Running {
		t.Errorf("a stopped pod is listed as %+v", st)
	}
	must(t, "start after stop", r.Start(ctx, pod, limits()))
	must(t, "dial after the second start", dial())
	must(t, "remove", r.Remove(ctx, pod.ID))
	must(t, "remove again", r.Remove(ctx, pod.ID))
	if err := dial(); !errors.Is(err, pods.ErrNotRunning) {
		t.Errorf("dial a removed pod: %v", err)
	}
	if st, ok := status(t, r, pod.ID); ok {
		t.Errorf("a removed pod is listed as %+v", st)
	}
}

func testUnknown(t *testing.T, r pods.Runtime) {
	pod := bare()
	if _, err := r.Dial(t.Context(), pod.ID); !errors.Is(err, pods.ErrNotRunning) {
		t.Errorf("dial: %v", err)
	}
	must(t, "stop", r.Stop(t.Context(), pod.ID))
	must(t, "remove", r.Remove(t.Context(), pod.ID))
	if _, ok := status(t, r, pod.ID); ok {
		t.Error("it is listed")
	}
}

func testCancelledStart(t *testing.T, r pods.Runtime) {
	pod := bare()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Start(ctx, pod, limits()); err == nil {
		t.Error("a cancelled start worked")
	}
	if _, err := r.Dial(t.Context(), pod.ID); !errors.Is(err, pods.ErrNotRunning) {
		t.Errorf("dial: %v", err)
	}
	must(t, "start", r.Start(t.Context(), pod, limits()))
	must(t, "remove", r.Remove(t.Context(), pod.ID))
}

func testParallelStart(t *testing.T, r pods.Runtime) {
	pod := bare()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := r.Start(t.Context(), pod, limits()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if st, ok := status(t, r, pod.ID); !ok || !st.Running {
		t.Errorf("listed as %+v", st)
	}
	must(t, "stop", r.Stop(t.Context(), pod.ID))
	if st, _ := status(t, r, pod.ID); st.Running {
		t.Error("one start outlived the stop")
	}
	must(t, "remove", r.Remove(t.Context(), pod.ID))
}

func testPodsApart(t *testing.T, r pods.Runtime) {
	b := newBench(t, r)
	b.create("one", "static", nil)
	b.create("two", "static", nil)
	b.write("one", "mine", "secret")
	if out := b.run("two", `cat "$HOME/app/mine"`); out.Code == 0 {
		t.Errorf("two read %q", out.Stdout)
	}
	if _, err := b.Stop(t.Context(), b.actor, "one", nil); err != nil {
		t.Fatal(err)
	}
	if got := b.prints("two", "echo alive"); got != "alive\n" {
		t.Errorf("two said %q", got)
	}
	if _, err := b.Start(t.Context(), b.actor, "one", nil); err != nil {
		t.Fatal(err)
	}
	if got := b.read("one", "mine"); got != "secret" {
		t.Errorf("after stop and start the home holds %q", got)
	}
	must(t, "delete", b.Delete(t.Context(), b.actor, "one", "one"))
	b.create("one", "static", nil)
	if _, err := b.ReadFile(t.Context(), b.actor, "one", "mine", 0, 0); !errors.Is(err, pods.ErrNoFile) {
		t.Errorf("a new pod found the old one's file: %v", err)
	}
}

func testClose(t *testing.T, r pods.Runtime) {
	b := newBench(t, r)
	id := b.create("shop", "static", nil).ID
	begun, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		var once sync.Once
		_, err := b.Exec(t.Context(), b.actor, "shop", pods.ExecRequest{Command: "echo on; sleep 1000"}, func(string, []byte) { once.Do(func() { close(begun) }) })
		ended <- err
	}()
	<-begun
	must(t, "close", r.Close())
	if err := <-ended; err == nil {
		t.Error("a command outlived Close")
	}
	if conn, err := r.Dial(t.Context(), id); err == nil {
		t.Errorf("dialled %v after Close", conn.RemoteAddr())
	}
	if err := r.Start(t.Context(), bare(), limits()); err == nil {
		t.Error("a start worked after Close")
	}
}

func testReconcile(t *testing.T, open func() pods.Runtime) {
	b := newBench(t, open())
	b.create("run", "static", nil)
	b.create("rest", "static", nil)
	doomed := b.create("doomed", "static", nil).ID
	b.write("run", "kept", "still here")
	if _, err := b.Stop(t.Context(), b.actor, "rest", nil); err != nil {
		t.Fatal(err)
	}
	must(t, "close", b.Close())
	must(t, "cut a delete short", b.db.SetWant(doomed, "gone"))

	second := open()
	b.Service = ServiceOver(t, b.db, second)
	must(t, "reconcile", b.Reconcile(t.Context()))
	b.until("the pod runs again", func() bool {
		p, err := b.Get(t.Context(), b.actor, "run")
		return err == nil && p.Status == "running"
	})
	if got := b.read("run", "kept"); got != "still here" {
		t.Errorf("the home holds %q", got)
	}
	if p, err := b.Get(t.Context(), b.actor, "rest"); err != nil || p.Status != "stopped" {
		t.Errorf("rest: %+v %v", p, err)
	}
	if _, ok := status(t, second, doomed); ok {
		t.Error("the doomed pod is still there")
	}
}

// testNothingRemains leaves processes behind that try to outlive their pod and
// write to its home, then looks whether they still do.
func testNothingRemains(t *testing.T, open func() pods.Runtime) {
	b := newBench(t, open())
	b.create("shop", "static", nil)
	b.prints("shop", beating("stopped"))
	b.until("the first heart beats", func() bool { return b.run("shop", "test -s beat.stopped").Code == 0 })
	if _, err := b.Stop(t.Context(), b.actor, "shop", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Start(t.Context(), b.actor, "shop", nil); err != nil {
		t.Fatal(err)
	}
	if b.beats("shop", "stopped") {
		t.Error("a process outlived Stop")
	}
	b.prints("shop", beating("closed"))
	b.until("the second heart beats", func() bool { return b.run("shop", "test -s beat.closed").Code == 0 })
	must(t, "close", b.Close())
	b.Service = ServiceOver(t, b.db, open())
	must(t, "reconcile", b.Reconcile(t.Context()))
	if b.beats("shop", "closed") {
		t.Error("a process outlived Close")
	}
}

// beating is a command that leaves a process behind, in a session of its own
// and without its parent, that writes to beat.NAME again and again.
func beating(name string) string {
	loop := "trap '' HUP TERM INT; while :; do echo >> beat." + name + "; sleep 0.02; done"
	return `if command -v setsid >/dev/null; then s=setsid; fi; (($s sh -c "` + strings.ReplaceAll(loop, `"`, `\"`) + `" >/dev/null 2>&1 </dev/null &) &)`
}

// beats reports whether beat.NAME grows.
func (b *bench) beats(pod, name string) bool {
	b.t.Helper()
	return b.run(pod, "a=$(wc -c < beat."+name+"); sleep 0.3; b=$(wc -c < beat."+name+"); test $a != $b").Code == 0
}
