package podpages

import (
	"context"
	"errors"
	"net/http"
	"time"

	"podgate/internal/authz"
	"podgate/internal/web"
	"podgate/store"
)

// Bounds of what is begun at a page and goes on after its answer.
const (
	soonWait  = 2 * time.Second  // for what is quick, and for what is quick to fail
	soonLimit = 25 * time.Minute // of what is not: longer than any deploy
	soonMost  = 32               // at a time
	soonEach  = 8                // of one person
)

// soon runs do and waits for it for a moment. What takes longer goes on, also when the
// person leaves, and is seen in the state of the pod; done says whether it has ended,
// with err. after, which may be nil, hears of the end in either case.
//
// Whoever lost the right to it while their form came begins nothing.
func (s *Pages) soon(r *http.Request, user store.UserID, do func(context.Context) error, after func(error)) (done bool, err error) {
	if lost := context.Cause(r.Context()); errors.Is(lost, authz.ErrRevoked) {
		return false, lost
	}
	leave, ok := s.slots.enter(user)
	if !ok {
		return false, web.Fault(http.StatusServiceUnavailable, "busy", "Much is being done on this server at the moment. Wait a little and press the button again.", nil)
	}
	ended := make(chan error, 1)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), soonLimit)
	go func() {
		defer leave()
		defer cancel()
		err := do(ctx)
		if after != nil {
			after(err)
		}
		ended <- err
	}()
	timer := time.NewTimer(soonWait)
	defer timer.Stop()
	select {
	case err := <-ended:
		return true, err
	case <-timer.C:
		return false, nil
	}
}
