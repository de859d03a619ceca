package podpages

import (
	"testing"

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
