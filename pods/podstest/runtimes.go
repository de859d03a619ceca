package podstest

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"podgate/pods"
)

func testLifecycle(t *testing.T, r pods.Runtime) {
	spec, ctx := bare(), t.Context()
	dial := func() error {
		conn, err := r.Dial(ctx, spec.ID)
		if err != nil {
			return err
		}
		return conn.Close()
	}
	must(t, "start", r.Start(ctx, spec, quiet))
	must(t, "dial", dial())
	must(t, "start again", r.Start(ctx, spec, quiet))
	if st, ok := status(t, r, spec.ID); !ok || !st.Running || st.Started.IsZero() || st.Exit != "" {
		t.Errorf("a running pod is listed as %+v", st)
	}
	if st := look(t, r, spec.ID); !st.Running || st.Started.IsZero() || st.Exit != "" {
		t.Errorf("a running pod is %+v", st)
	}
	must(t, "stop", r.Stop(ctx, spec.ID))
	must(t, "stop again", r.Stop(ctx, spec.ID))
	if err := dial(); !errors.Is(err, pods.ErrNotRunning) {
		t.Errorf("dial a stopped pod: %v", err)
	}
	if st, ok := status(t, r, spec.ID); ok && (st.Running || st.Exit != "") {
		t.Errorf("a stopped pod is listed as %+v", st)
	}
	if st := look(t, r, spec.ID); st.Running || st.Exit != "" || st.Usage != (pods.Usage{}) {
		t.Errorf("a stopped pod is %+v", st)
	}
	must(t, "start after stop", r.Start(ctx, spec, quiet))
	must(t, "dial after the second start", dial())
	must(t, "remove", r.Remove(ctx, spec.ID))
	must(t, "remove again", r.Remove(ctx, spec.ID))
	if err := dial(); !errors.Is(err, pods.ErrNotRunning) {
		t.Errorf("dial a removed pod: %v", err)
	}
	if st, ok := status(t, r, spec.ID); ok {
		t.Errorf("a removed pod is listed as %+v", st)
	}
}

func testUnknown(t *testing.T, r pods.Runtime) {
	spec := bare()
	if _, err := r.Dial(t.Context(), spec.ID); !errors.Is(err, pods.ErrNotRunning) {
		t.Errorf("dial: %v", err)
	}
	must(t, "stop", r.Stop(t.Context(), spec.ID))
	must(t, "remove", r.Remove(t.Context(), spec.ID))
	if _, ok := status(t, r, spec.ID); ok {
		t.Error("it is listed")
	}
	if st := look(t, r, spec.ID); st.Running || st.Exit != "" || !st.Started.IsZero() {
		t.Errorf("it is %+v", st)
	}
}

// testFilesGone starts a pod that ran before and of which nothing is there.
func testFilesGone(t *testing.T, r pods.Runtime) {
	spec := bare()
	spec.Made = true
	var gone *pods.FilesError
	if err := r.Start(t.Context(), spec, quiet); !errors.As(err, &gone) || !strings.Contains(gone.Words, "gone from") {
		t.Errorf("start: %v", err)
	}
	if _, ok := status(t, r, spec.ID); ok {
		t.Error("something was put in its place")
	}
	must(t, "remove", r.Remove(t.Context(), spec.ID))
	spec.Made = false
	must(t, "start as a new one", r.Start(t.Context(), spec, quiet))
	must(t, "stop", r.Stop(t.Context(), spec.ID))
	spec.Made = true
	must(t, "start again", r.Start(t.Context(), spec, quiet))
}

// testCancelled calls everything for nobody.
func testCancelled(t *testing.T, r pods.Runtime) {
	spec := bare()
	must(t, "start", r.Start(t.Context(), spec, quiet))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	began := time.Now()
	if _, err := r.Ended(ctx); err == nil {
		t.Error("it was told of a death")
	}
	// The others may do what they are there for or give up.
	_, _ = r.List(ctx)
	_, _ = r.Status(ctx, spec.ID)
	if conn, err := r.Dial(ctx, spec.ID); err == nil {
		_ = conn.Close()
	}
	_ = r.Stop(ctx, spec.ID)
	if took := time.Since(began); took > patience/2 {
		t.Errorf("cancelled calls took %s", took)
	}
	must(t, "stop", r.Stop(t.Context(), spec.ID))
	if st := look(t, r, spec.ID); st.Running {
		t.Error("it still runs")
	}
	must(t, "remove", r.Remove(t.Context(), spec.ID))
}

// testEnded ends pods on purpose and not.
func testEnded(t *testing.T, r pods.Runtime, kill Kill) {
	stopped, removed, killed := bare(), bare(), bare()
	for _, spec := range []pods.Spec{stopped, removed, killed} {
		must(t, "start", r.Start(t.Context(), spec, quiet))
	}
	must(t, "stop", r.Stop(t.Context(), stopped.ID))
	must(t, "remove", r.Remove(t.Context(), removed.ID))
	kill(t, r, killed.ID)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	death, err := r.Ended(ctx)
	if err != nil || death.ID != killed.ID || death.Reason == "" {
		t.Errorf("told of %+v, %v; want %s", death, err, killed.ID)
	}
	for _, st := range []pods.Status{look(t, r, killed.ID), listed(t, r, killed.ID)} {
		if st.Running || st.Exit != death.Reason || st.Usage != (pods.Usage{}) {
			t.Errorf("the dead pod is %+v, and was said to have ended by %q", st, death.Reason)
		}
	}
	if _, err := r.Dial(t.Context(), killed.ID); !errors.Is(err, pods.ErrNotRunning) {
		t.Errorf("dial: %v", err)
	}
	must(t, "start again", r.Start(t.Context(), killed, quiet))
	if st := look(t, r, killed.ID); !st.Running || st.Exit != "" {
		t.Errorf("after the new start: %+v", st)
	}
	must(t, "stop", r.Stop(t.Context(), killed.ID))
	soon, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if death, err := r.Ended(soon); err == nil {
		t.Errorf("told of %+v as well", death)
	}
	for _, spec := range []pods.Spec{stopped, killed} {
		must(t, "remove", r.Remove(t.Context(), spec.ID))
	}
}

func testCancelledStart(t *testing.T, r pods.Runtime) {
	spec := bare()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Start(ctx, spec, quiet); err == nil {
		t.Error("a cancelled start worked")
	}
	if _, err := r.Dial(t.Context(), spec.ID); !errors.Is(err, pods.ErrNotRunning) {
		t.Errorf("dial: %v", err)
	}
	must(t, "start", r.Start(t.Context(), spec, quiet))
	must(t, "remove", r.Remove(t.Context(), spec.ID))
}

func testParallelStart(t *testing.T, r pods.Runtime) {
	spec := bare()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := r.Start(t.Context(), spec, quiet); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if st, ok := status(t, r, spec.ID); !ok || !st.Running {
		t.Errorf("listed as %+v", st)
	}
	must(t, "stop", r.Stop(t.Context(), spec.ID))
	if st, _ := status(t, r, spec.ID); st.Running {
		t.Error("one start outlived the stop")
	}
	must(t, "remove", r.Remove(t.Context(), spec.ID))
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
	must(t, "close", r.Close(t.Context()))
	if err := <-ended; err == nil {
		t.Error("a command outlived Close")
	}
	if conn, err := r.Dial(t.Context(), id); err == nil {
		t.Errorf("dialled %v after Close", conn.RemoteAddr())
	}
	if err := r.Start(t.Context(), bare(), quiet); err == nil {
		t.Error("a start worked after Close")
	}
}

// testDetach lets go of a running pod. What that leads to is the runtime's to
// say, but it must be true.
func testDetach(t *testing.T, open func() pods.Runtime) {
	first := open()
	b := newBench(t, first)
	id := b.create("shop", "static", nil).ID
	b.prints("shop", beating("on"))
	b.until("the heart beats", func() bool { return b.run("shop", "test -s beat.on").Code == 0 })
	if got := b.listed("shop"); got != "running" { // its agent is listened to from here on
		t.Errorf("it is listed as %s", got)
	}
	before := look(t, first, id)
	err := first.Detach(t.Context())
	if errors.Is(err, errors.ErrUnsupported) {
		if now := look(t, first, id); !now.Running || now.Started != before.Started || !b.beats("shop", "on") {
			t.Errorf("nothing was to change, but the pod was %+v and is %+v", before, now)
		}
		must(t, "close", first.Close(t.Context()))
		if st := look(t, open(), id); st.Running {
			t.Errorf("it was to end: %+v", st)
		}
		return
	}
	must(t, "detach", err)
	must(t, "close what is detached", first.Close(t.Context()))
	began := time.Now()
	must(t, "close", b.Close())
	if took := time.Since(began); took > patience/2 {
		t.Errorf("the close took %s, with a stream open", took)
	}
	second := open()
	if now := look(t, second, id); !now.Running || !now.Started.Equal(before.Started) {
		t.Errorf("the pod was %+v and is %+v", before, now)
	}
	b.Service = ServiceOver(t, b.db, second)
	must(t, "reconcile", b.Reconcile(t.Context()))
	if !b.beats("shop", "on") {
		t.Error("its processes did not live on")
	}
	if got := b.listed("shop"); got != "running" {
		t.Errorf("after the hand-over it is listed as %s", got)
	}
	must(t, "close at last", second.Close(t.Context()))
	if st := look(t, open(), id); st.Running {
		t.Errorf("it outlived Close: %+v", st)
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
	first := open()
	b := newBench(t, first)
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
	must(t, "close the runtime", first.Close(t.Context()))
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
