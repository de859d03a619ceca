package podpages

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"podgate/store"
)

// Nobody has more than their share, however they come; what is left is there again.
func TestPlaces(t *testing.T) {
	t.Parallel()
	p := newPlaces(3, 2)
	var leave []func()
	for i, step := range []struct {
		user store.UserID
		ok   bool
	}{{"ada", true}, {"ada", true}, {"ada", false}, {"bob", true}, {"eve", false}} {
		end, ok := p.enter(step.user)
		if ok != step.ok {
			t.Errorf("step %d: %s gets a place: %v", i, step.user, ok)
		}
		if ok {
			leave = append(leave, end)
		}
	}
	for _, end := range leave {
		end()
	}
	if _, ok := p.enter("eve"); !ok || p.all != 1 || len(p.of) != 1 {
		t.Errorf("%d places of %v are taken", p.all, p.of)
	}
}

// Who waits for a place gets it when it is given back, and waits no longer than they
// have patience or are there.
func TestPlacesAreAwaited(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPlaces(3, 1)
		leave, _ := p.enter("ada")
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if _, ok := p.await(gone, "ada", time.Minute); ok {
			t.Error("a place for somebody who is gone")
		}
		if _, ok := p.await(t.Context(), "ada", time.Second); ok {
			t.Error("a second place")
		}
		time.AfterFunc(time.Second, leave)
		if leave, ok := p.await(t.Context(), "ada", time.Minute); !ok {
			t.Error("the place that was given back is not had")
		} else {
			leave()
		}
		if p.all != 0 || len(p.of) != 0 {
			t.Errorf("%d places of %v are taken", p.all, p.of)
		}
	})
}
