package podpages

import (
	"context"
	"errors"
	"net/http"
	"slices"
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
// Whoever lost the right to it while their form came begins nothing, and what goes on
// ends when the person leaves the team or has another role there. Signing out ends
// nothing that was begun before.
func (s *Pages) soon(r *http.Request, actor authz.Actor, do func(context.Context) error, after func(error)) (done bool, err error) {
	if lost := context.Cause(r.Context()); errors.Is(lost, authz.ErrRevoked) {
		return false, lost
	}
	leave, ok := s.slots.enter(actor.User)
	if !ok {
		return false, web.Fault(http.StatusServiceUnavailable, "busy", "Much is being done on this server at the moment. Wait a little and press the button again.", nil)
	}
	ended := make(chan error, 1)
	limited, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), soonLimit)
	ctx, end := s.whileMember(limited, actor)
	go func() {
		defer leave()
		defer cancel()
		defer end()
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

// whileMember is ctx until the actor's role in the team changes.
func (s *Pages) whileMember(ctx context.Context, actor authz.Actor) (_ context.Context, end func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	look := func() {
		memberships, err := s.Account.TeamsOf(actor.User)
		if err != nil || !slices.ContainsFunc(memberships, func(m store.Membership) bool { return m.Team.ID == actor.Team.ID && m.Role == actor.Role }) {
			cancel(authz.ErrRevoked)
		}
	}
	stop := s.Account.OnLossOf(actor.User, look)
	look() // for what was taken before that
	return ctx, func() { stop(); cancel(nil) }
}
