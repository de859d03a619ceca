package store_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"podgate/store"
	"podgate/store/storetest"
)

func TestNetworkOfTeamsAndPods(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	now := time.Now()
	w := storetest.Populate(t, db, "ann", now)
	p := store.Pod{ID: "p1", Name: "shop", Team: w.Team.ID, Region: "local", Want: store.WantRunning, Created: now}
	if err := db.CreatePod(p, now, func([]store.Pod) error { return nil }); err != nil {
		t.Fatal(err)
	}
	n := store.Network{Mode: "names", Names: []string{"a.example.com", "@packages"}}
	if err := errors.Join(db.SetTeamNetwork(w.Team.ID, n), db.SetPodNetwork(p.ID, n)); err != nil {
		t.Fatal(err)
	}
	team, err := db.Team(w.Team.ID)
	if err != nil || team.Network.Mode != "names" || !slices.Equal(team.Network.Names, n.Names) || team.Slug != w.Team.Slug {
		t.Errorf("%+v, %v", team, err)
	}
	pod, err := db.Pod(p.ID)
	if err != nil || pod.Network.Mode != "names" || !slices.Equal(pod.Network.Names, n.Names) || pod.Name != "shop" {
		t.Errorf("%+v, %v", pod, err)
	}
	if err := db.SetTeamNetwork(w.Team.ID, store.Network{}); err != nil {
		t.Fatal(err)
	}
	if team, err := db.Team(w.Team.ID); err != nil || !team.Network.IsZero() {
		t.Errorf("%+v, %v", team, err)
	}
	for _, err := range []error{db.SetTeamNetwork("absent", n), db.SetPodNetwork("absent", n)} {
		if !errors.Is(err, store.ErrNotFound) {
			t.Error(err)
		}
	}
	if err := db.Check(); err != nil {
		t.Error(err)
	}
}
