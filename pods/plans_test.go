package pods_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"

	"podgate/pods"
)

// A plan that is taken out of the configuration costs nobody a pod: it runs on,
// says so, starts again with the limits of the first plan, and the log has a
// warning. New pods cannot have it.
func TestPlanThatIsGone(t *testing.T) {
	t.Parallel()
	small := pods.Plan{Name: "small", Limits: pods.Limits{Memory: 1 << 28, CPUs: 1, Disk: 1 << 30, Processes: 50}}
	large := pods.Plan{Name: "large", Limits: pods.Limits{Memory: 1 << 30, CPUs: 1, Disk: 1 << 31, Processes: 50}}
	var (
		log     strings.Builder
		started []pods.Spec
		cfg     pods.Config
	)
	h := newHouse(t, func(c *pods.Config) {
		c.Plans = []pods.Plan{small, large}
		c.Log = slog.New(slog.NewTextHandler(&log, nil))
		cfg = *c
	})
	h.fake.OnStart(func(_ context.Context, spec pods.Spec, _ func(string)) error {
		started = append(started, spec)
		return nil
	})
	if _, err := h.Create(t.Context(), h.ann, pods.CreateRequest{Name: "shop", Preset: "static", Plan: "large"}, nil); err != nil {
		t.Fatal(err)
	}
	cfg.Plans = []pods.Plan{small}
	if err := h.Reconfigure(cfg); err != nil {
		t.Fatal(err)
	}
	const gone = "its plan large is not in the configuration any more"
	if p := h.status(t, "shop"); p.Status != "running" || !strings.Contains(p.Reason, gone) || p.Plan != "large" {
		t.Errorf("it does not run on: %+v", p)
	}
	if !strings.Contains(log.String(), gone) || len(started) != 1 {
		t.Errorf("%d starts; the log has %s", len(started), log.String())
	}
	if _, err := h.Stop(t.Context(), h.ann, "shop", nil); err != nil {
		t.Fatal(err)
	}
	if p, err := h.Start(t.Context(), h.ann, "shop", nil); err != nil || p.Status != "running" || p.Limits != small.Limits {
		t.Errorf("started again: %+v, %v", p, err)
	}
	if len(started) != 2 || started[0].Limits != large.Limits || started[1].Limits != small.Limits {
		t.Errorf("started as %+v", started)
	}
	if _, err := h.Create(t.Context(), h.ann, pods.CreateRequest{Name: "more", Preset: "static", Plan: "large"}, nil); err == nil {
		t.Error("a new pod got the plan")
	}
}
