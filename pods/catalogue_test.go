package pods_test

import (
	"errors"
	"strings"
	"testing"

	"podgate/pods"
	"podgate/pods/podstest"
	"podgate/pods/wire"
)

// Presets differ by region, and each region says in its own words what it lacks.
func TestPresetsByRegion(t *testing.T) {
	t.Parallel()
	far := podstest.NewFake(t)
	h := newHouse(t, func(c *pods.Config) {
		c.Regions = append(c.Regions, podstest.Region("far", far), podstest.DownRegion("down", &pods.UnavailableError{Reason: "the kernel says no", Fix: "Say yes"}))
	})
	far.SetAgent(h.script.serve)
	h.fake.Lack("python3", "php")
	far.Lack("php")
	presets, err := h.Presets(h.ann)
	if err != nil || len(presets) != 6 {
		t.Fatalf("%v %v", presets, err)
	}
	for _, p := range presets {
		lacking := map[string][2]bool{"python": {true, false}, "php": {true, true}}[p.Name]
		if len(p.Regions) != 3 || (p.Regions[0].Reason != "") != lacking[0] || (p.Regions[1].Reason != "") != lacking[1] || p.Regions[2].Reason != "the kernel says no. Say yes" {
			t.Errorf("%+v", p)
		}
		if p.Available == lacking[1] || (p.Reason != "") != lacking[1] || p.Port == 0 || p.Description == "" {
			t.Errorf("%+v", p)
		}
	}
	create := func(region string) error {
		_, err := h.Create(t.Context(), h.ann, pods.CreateRequest{Name: "snake", Preset: "python", Region: region}, nil)
		return err
	}
	wants(t, create(""), pods.ErrPresetMissing, "the fake has no python3")
	wants(t, create("down"), pods.ErrUnavailable, "Say yes")
	if err := create("far"); err != nil {
		t.Error(err)
	}
}

// With one region there is nothing to tell apart.
func TestPresetsOfOneRegion(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.fake.Lack("php")
	presets, err := h.Presets(h.ann)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range presets {
		if missing := p.Name == "php"; p.Available == missing || strings.HasPrefix(p.Reason, "the fake has no php; to get it, install") != missing || p.Regions != nil {
			t.Errorf("%+v", p)
		}
	}
}

// A list says how pods are, and costs each pod one question; what it uses is said where
// that is shown.
func TestListIsWhole(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.script.set(func(s *script) {
		s.usage = wire.Usage{Memory: 5 << 20, CPU: 1.5, Processes: 3, Disk: 7 << 20}
		s.state.Started, s.state.Restarts = day, 2
	})
	h.create(t, "shop")
	h.script.set(func(s *script) { s.looks = 0 })
	list, err := h.List(t.Context(), h.ann)
	if err != nil || len(list) != 1 {
		t.Fatalf("%+v %v", list, err)
	}
	p := list[0]
	if p.Status != "running" || p.Limits.Memory != 256<<20 || p.Restarts != 2 || !p.Started.Equal(day) {
		t.Errorf("listed %+v", p)
	}
	h.script.set(func(s *script) {
		if s.looks != 1 {
			t.Errorf("the agent was asked %d times", s.looks)
		}
	})
	if p, want := h.status(t, "shop"), (pods.Usage{Memory: 5 << 20, CPU: 1.5, Processes: 3, Disk: 7 << 20}); p.Usage != want {
		t.Errorf("it is %+v", p)
	}
	if _, err := h.Stop(t.Context(), h.ann, "shop", nil); err != nil {
		t.Fatal(err)
	}
	if p := h.status(t, "shop"); p.Usage != (pods.Usage{}) || !p.Started.IsZero() || p.Limits.Memory == 0 {
		t.Errorf("stopped: %+v", p)
	}
}

func TestCatalogue(t *testing.T) {
	t.Parallel()
	h := newHouse(t, func(c *pods.Config) {
		c.Regions = append(c.Regions, podstest.DownRegion("down", errors.New("open /root/key: denied")))
	})
	plans, err := h.Plans(h.ann)
	if err != nil || len(plans) != 3 || plans[0].Name != "small" || plans[0].Limits.Memory != 256<<20 {
		t.Errorf("%v %v", plans, err)
	}
	regions, err := h.Regions(h.ann)
	if err != nil || len(regions) != 2 || regions[0].Name != "here" || regions[0].Err != nil {
		t.Fatalf("%v %v", regions, err)
	}
	wants(t, regions[1].Err, pods.ErrUnavailable)
	if strings.Contains(regions[1].Err.Error(), "key") {
		t.Errorf("the cause is shown: %v", regions[1].Err)
	}
}
