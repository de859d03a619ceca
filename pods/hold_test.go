package pods_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"podgate/pods"
	"podgate/pods/podstest"
	"podgate/store"
	"podgate/store/storetest"
)

// holding is a runtime that can hold pods still.
type holding struct {
	pods.Runtime
	held store.PodID
}

func (h *holding) Hold(_ context.Context, id store.PodID) (func() bool, error) {
	h.held = id
	return func() bool { return true }, nil
}

// A pod is held by the runtime of its region, if that can, and otherwise by none.
func TestHoldByRuntime(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	w := storetest.Populate(t, db, "ada", time.Now())
	for _, region := range []string{"here", "plain", "down"} {
		p := store.Pod{ID: store.PodID(region), Name: region, Team: w.Team.ID, Preset: "static", Plan: "small", Region: region, Want: store.WantStopped}
		if err := db.CreatePod(p, time.Now(), func([]store.Pod) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	here := &holding{Runtime: podstest.NewFake(t)}
	s := podstest.ServiceOver(t, db, here, func(c *pods.Config) {
		c.Regions = append(c.Regions, podstest.Region("plain", podstest.NewFake(t)), podstest.DownRegion("down", errors.New("down")))
	})
	if release, err := s.Hold(t.Context(), "here"); err != nil || here.held != "here" || !release() {
		t.Errorf("%v, held %q", err, here.held)
	}
	for id, want := range map[store.PodID]error{"plain": errors.ErrUnsupported, "down": pods.ErrUnavailable, "none": store.ErrNotFound} {
		if release, err := s.Hold(t.Context(), id); !errors.Is(err, want) || release != nil {
			t.Errorf("%s: %v, want %v", id, err, want)
		}
	}
}
