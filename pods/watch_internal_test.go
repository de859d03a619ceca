package pods

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"podgate/store"
	"podgate/store/storetest"
)

// BenchmarkViewers is a round in which nothing has changed for 200 people who look at
// 300 pods. There is one every two seconds, so it may take 100 ms.
func BenchmarkViewers(b *testing.B) {
	db := storetest.New(b)
	down := func(context.Context) (Runtime, error) { return nil, errors.New("down") }
	s, err := New(Config{DB: db, Regions: []Region{{Name: "here", Open: down}}})
	if err != nil {
		b.Fatal(err)
	}
	team := store.TeamID(store.NewID())
	if err := db.CreateTeam(store.Team{ID: team, Slug: "red", Name: "red"}); err != nil {
		b.Fatal(err)
	}
	for i := range 300 {
		p := store.Pod{
			ID: store.PodID(store.NewID()), Name: fmt.Sprintf("pod-%d", i), Team: team, Preset: "static", Plan: "small", Region: "here",
			Want: store.WantRunning, Created: time.Now(),
		}
		if err := db.CreatePod(p, time.Now(), func([]store.Pod) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
	var following []*Watch
	for range 200 {
		following = append(following, &Watch{teams: []store.TeamID{team}, service: s, more: make(chan struct{}, 1), waiting: map[string]Change{}})
	}
	var seen roundMemory
	last := s.watchRound(following, map[store.PodID]Change{}, &seen)
	for _, w := range following {
		w.Take()
	}
	for b.Loop() {
		last = s.watchRound(following, last, &seen)
	}
	for _, w := range following {
		if changes, list := w.Take(); len(changes) > 0 || list != "" {
			b.Fatalf("%d changes where nothing changed", len(changes))
		}
	}
}
