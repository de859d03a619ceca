package pods_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"podgate/pods"
	"podgate/pods/wire"
)

// A pod that runs on after a reload that failed says so until one works, also
// to another server.
func TestReloadThatFailedIsRemembered(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	dir := filepath.Dir(h.fake.Dir("x"))
	h.create(t, "shop")
	reload := func() error { _, err := h.Reload(t.Context(), h.ann, "shop", nil); return err }
	fail := func(f *wire.Fault) { h.script.set(func(s *script) { s.fault = f }) }
	running := func(reason string) {
		t.Helper()
		list, err := h.List(t.Context(), h.ann)
		if p := h.status(t, "shop"); err != nil || p.Status != "running" || p.Reason != reason || list[0].Status != "running" || list[0].Reason != reason {
			t.Errorf("%s, %q, listed %+v, %v; want %q", p.Status, p.Reason, list, err, reason)
		}
	}
	running("")
	fail(&wire.Fault{Code: wire.FaultFailed, Message: "npm ci ended with 1"})
	wants(t, reload(), pods.ErrAppFailed, "reload: npm ci ended with 1")
	running("the last reload failed: npm ci ended with 1")
	fail(nil)
	if _, err := h.Restart(t.Context(), h.ann, "shop", nil); err != nil {
		t.Fatal(err)
	}
	running("the last reload failed: npm ci ended with 1")
	if _, err := h.Stop(t.Context(), h.ann, "shop", nil); err != nil {
		t.Fatal(err)
	}
	if p := h.status(t, "shop"); p.Status != "stopped" || p.Reason != "" {
		t.Errorf("stopped: %+v", p)
	}
	if _, err := h.Start(t.Context(), h.ann, "shop", nil); err != nil {
		t.Fatal(err)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	h = h.restarted(t, dir)
	h.reconcile(t)
	running("the last reload failed: npm ci ended with 1")
	if err := reload(); err != nil {
		t.Fatal(err)
	}
	running("")
}

// What ends a reload but its own failure is remembered as well: the app was not
// deployed.
func TestReloadThatWasCutOff(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.create(t, "shop")
	hold := make(chan struct{})
	h.script.set(func(s *script) { s.hold = hold })
	ctx, cancel := context.WithCancel(t.Context())
	reloaded := make(chan error, 1)
	go func() { _, err := h.Reload(ctx, h.ann, "shop", nil); reloaded <- err }()
	<-h.script.held
	cancel()
	if err := <-reloaded; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	close(hold)
	if p := h.status(t, "shop"); p.Status != "running" || p.Reason != "the last reload failed: it was cut off before it ended" {
		t.Errorf("%s, %q", p.Status, p.Reason)
	}
}

// A reason of the app's own comes first.
func TestReasonsOfAppAndReload(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.create(t, "shop")
	h.script.set(func(s *script) {
		s.fault = &wire.Fault{Code: wire.FaultFailed, Message: "no such package"}
		s.state.App, s.state.Reason = wire.AppFailed, "it ended 10 times"
	})
	if _, err := h.Reload(t.Context(), h.ann, "shop", nil); err == nil {
		t.Error("the reload worked")
	}
	if p := h.status(t, "shop"); p.Status != "failed" || p.Reason != "it ended 10 times; the last reload failed: no such package" {
		t.Errorf("%s, %q", p.Status, p.Reason)
	}
}
