package pods_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"podgate/pods"
	"podgate/pods/podstest"
	"podgate/pods/wire"
	"podgate/store"
)

// TestRegionThatHangs lets each call to one region hang and looks what that
// costs the other: nothing, and the calls to itself some time.
func TestRegionThatHangs(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"start", "dial", "stop", "remove", "list", "status", "ended", "detach", "close"} {
		t.Run(method, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { hang(t, method) })
		})
	}
}

func hang(t *testing.T, method string) {
	far := podstest.NewFake(t)
	h := newHouse(t, func(c *pods.Config) { c.Regions = append(c.Regions, podstest.Region("far", far)) })
	far.SetAgent(h.script.serve)
	near := h.create(t, "near").ID
	if _, err := h.Create(t.Context(), h.ann, pods.CreateRequest{Name: "away", Preset: "static", Region: "far"}, nil); err != nil {
		t.Fatal(err)
	}
	away, err := h.db.PodByName("away")
	if err != nil {
		t.Fatal(err)
	}
	far.Hang(method)
	defer far.Hang()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { h.Run(ctx); close(done) }()

	far.Kill(away.ID, "lost") // so that there is something to do in both
	h.script.set(func(s *script) { s.state.App = wire.AppStopped })
	h.fake.Kill(near, "lost")
	time.Sleep(5 * time.Second)
	if p := h.status(t, "near"); p.Status != "running" {
		t.Errorf("the pod in the good region: %s, %s", p.Status, p.Reason)
	}
	within(t, "list", 5*time.Second, func() {
		if list, err := h.List(t.Context(), h.ann); err != nil || len(list) != 2 || list[1].Status != "running" {
			t.Errorf("listed %+v, %v", list, err)
		}
	})
	within(t, "exec", 5*time.Second, func() {
		if _, err := h.Exec(t.Context(), h.ann, "near", pods.ExecRequest{Command: "true"}, nil); err != nil {
			t.Error(err)
		}
	})
	for call, do := range map[string]func() error{
		"start": func() error { _, err := h.Start(t.Context(), h.ann, "away", nil); return err },
		"exec": func() error {
			_, err := h.Exec(t.Context(), h.ann, "away", pods.ExecRequest{Command: "true"}, nil)
			return err
		},
		"get":     func() error { _, err := h.Get(t.Context(), h.ann, "away"); return err },
		"visit":   func() error { _, _, err := h.DialApp(t.Context(), "away"); return err },
		"restart": func() error { _, err := h.Restart(t.Context(), h.ann, "away", nil); return err },
	} {
		answers(t, call, do)
	}
	far.Hang() // what waits now has to give up before anything can go on
	time.Sleep(pods.StartSilence + time.Minute)
	if p := h.status(t, "away"); p.Status != "running" {
		t.Errorf("once its region works again: %s, %s", p.Status, p.Reason)
	}
	far.Hang(method)
	answers(t, "stop", func() error { _, err := h.Stop(t.Context(), h.ann, "away", nil); return err })
	answers(t, "delete", func() error { return h.Delete(t.Context(), h.ann, "away", "away") })
	far.Hang()
	time.Sleep(pods.StartSilence + time.Minute)
	if st, err := far.Status(t.Context(), away.ID); err != nil || st.Running {
		t.Errorf("the deleted pod is %+v, %v", st, err)
	}
	if rec, err := h.db.Pod(away.ID); err != nil || rec.Deleted.IsZero() {
		t.Errorf("its record: %+v, %v", rec, err)
	}
	far.Hang(method)
	within(t, "the end of Run", time.Second, func() { cancel(); <-done })
	within(t, "close", 2*time.Minute, func() {
		if err := h.Close(); (err != nil) != (method == "close" || method == "detach") {
			t.Errorf("close: %v", err)
		}
	})
	if _, err := h.fake.Dial(t.Context(), near); !errors.Is(err, pods.ErrNotRunning) {
		t.Errorf("the good region was not closed: %v", err)
	}
}

// answers has a call to a region that hangs end in time and in words.
func answers(t *testing.T, call string, do func() error) {
	t.Helper()
	within(t, call, pods.StartSilence+2*time.Minute, func() {
		if err := do(); err != nil && !pods.IsPublic(err) {
			t.Errorf("%s: %v", call, err)
		}
	})
}

func within(t *testing.T, what string, limit time.Duration, do func()) {
	t.Helper()
	began := time.Now()
	do()
	if took := time.Since(began); took > limit {
		t.Errorf("%s took %s", what, took)
	}
}

// TestSlowStart is one that takes longer than any other call may, and says what
// it does.
func TestSlowStart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.fake.OnStart(func(ctx context.Context, spec pods.Spec, say func(string)) error {
			if spec.Name != "shop" || spec.Limits.Memory == 0 || spec.ID == "" {
				t.Errorf("asked to start %+v", spec)
			}
			for range 10 {
				say("pulling")
				select {
				case <-ctx.Done():
					return ctx.Err()
				case <-time.After(pods.StartSilence - time.Second):
				}
			}
			return nil
		})
		heard := 0
		listen := func(stream string, data []byte) {
			if stream == "status" && string(data) == "pulling\n" {
				heard++
			}
		}
		p, err := h.Create(t.Context(), h.ann, pods.CreateRequest{Name: "shop", Preset: "static"}, listen)
		if err != nil || p.Status != "running" || heard != 10 {
			t.Errorf("%+v, %v, heard %d times", p, err, heard)
		}
	})
}

func TestSilentStart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.fake.Hang("start")
		within(t, "giving up", pods.StartSilence+time.Second, func() {
			_, err := h.Create(t.Context(), h.ann, pods.CreateRequest{Name: "shop", Preset: "static"}, nil)
			wants(t, err, pods.ErrNotStarted, "took too long")
		})
		h.fake.Hang()
		if p, err := h.Start(t.Context(), h.ann, "shop", nil); err != nil || p.Status != "running" {
			t.Errorf("%+v %v", p, err)
		}
	})
}

// TestRegionThatOpensLater is a region that cannot be opened at first.
func TestRegionThatOpensLater(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		far := podstest.NewFake(t)
		var tries atomic.Int32
		var room atomic.Bool
		h := newHouse(t, func(c *pods.Config) {
			c.Regions = append(c.Regions, pods.Region{Name: "far", Kind: "fake", Open: func(ctx context.Context) (pods.Runtime, error) {
				tries.Add(1)
				if !room.Load() {
					return nil, &pods.UnavailableError{Reason: "the disk is full", Fix: "Delete something"}
				}
				return far, nil
			}})
		})
		far.SetAgent(h.script.serve)
		go h.Run(t.Context())
		create := func() error {
			_, err := h.Create(t.Context(), h.ann, pods.CreateRequest{Name: "shop", Preset: "static", Region: "far"}, nil)
			return err
		}
		wants(t, create(), pods.ErrUnavailable, "the disk is full. Delete something")
		if states := h.RegionStates(); states[0].Err != nil || states[1].Err == nil {
			t.Errorf("regions %+v", states)
		}
		time.Sleep(10 * time.Minute)
		if n := tries.Load(); n < 10 || n > 20 {
			t.Errorf("%d tries in ten minutes", n)
		}
		room.Store(true)
		time.Sleep(time.Minute + time.Second)
		if err := create(); err != nil {
			t.Error(err)
		}
		if states := h.RegionStates(); states[1].Err != nil {
			t.Errorf("regions %+v", states)
		}
		rec, err := h.db.PodByName("shop")
		if err != nil {
			t.Fatal(err)
		}
		far.Kill(rec.ID, "lost") // its deaths are heard of
		time.Sleep(5 * time.Second)
		if p := h.status(t, "shop"); p.Status != "running" {
			t.Errorf("after a death: %+v", p)
		}
		if n := tries.Load(); n > 30 {
			t.Errorf("an open region was opened %d times", n)
		}
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestCloseHandsOver keeps pods that can live without the server.
func TestCloseHandsOver(t *testing.T) {
	t.Parallel()
	engine := podstest.NewEngine(t.TempDir())
	t.Cleanup(engine.End)
	h := newHouse(t)
	first := engine.Open()
	first.SetAgent(h.script.serve)
	h.Service = podstest.ServiceOver(t, h.db, first)
	id := h.create(t, "shop").ID
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := first.Dial(t.Context(), id); !errors.Is(err, pods.ErrNotRunning) {
		t.Errorf("a detached runtime dials: %v", err)
	}
	second := engine.Open()
	h.Service = podstest.ServiceOver(t, h.db, second)
	if p := h.status(t, "shop"); p.Status != "running" {
		t.Errorf("before reconcile: %+v", p)
	}
	h.reconcile(t)
	if n := len(h.script.actions()); n != 1 {
		t.Errorf("the app was asked %d times", n)
	}
	if rec, err := h.db.Pod(id); err != nil || rec.Want != store.WantRunning {
		t.Errorf("%+v %v", rec, err)
	}
}
