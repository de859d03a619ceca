package pods_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"

	"podgate/pods"
	"podgate/store"
)

// Each death is told once, to whoever asks, and of one pod the newest only.
func TestDeaths(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		deaths := pods.NewDeaths()
		deaths.Add(pods.Death{ID: "a", Reason: "first"})
		deaths.Add(pods.Death{ID: "a", Reason: "second"})
		if d, err := deaths.Next(t.Context()); err != nil || d != (pods.Death{ID: "a", Reason: "second"}) {
			t.Errorf("%+v %v", d, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var (
			mu    sync.Mutex
			told  = map[store.PodID]int{}
			asked sync.WaitGroup
		)
		for range 3 {
			asked.Go(func() {
				for {
					d, err := deaths.Next(ctx)
					if err != nil {
						if !errors.Is(err, context.Canceled) {
							t.Error(err)
						}
						return
					}
					mu.Lock()
					told[d.ID]++
					mu.Unlock()
				}
			})
		}
		synctest.Wait() // all of them wait
		for _, id := range []store.PodID{"a", "b", "c", "d", "e"} {
			deaths.Add(pods.Death{ID: id})
		}
		synctest.Wait()
		cancel()
		asked.Wait()
		if len(told) != 5 || told["a"] != 1 || told["e"] != 1 {
			t.Errorf("told %v", told)
		}
	})
}
