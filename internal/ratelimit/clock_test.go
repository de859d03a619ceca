package ratelimit_test

import (
	"testing"
	"time"

	"podgate/internal/clocktest"
	"podgate/internal/ratelimit"
)

// A clock that is set opens no limit and locks nobody out: what counts is the
// time that went by.
func TestLimitsWhenTheClockSteps(t *testing.T) {
	t.Parallel()
	for _, seconds := range []int64{-86400, -5, 5, 86400} {
		l := ratelimit.New(2, time.Minute, 1000, time.Millisecond)
		now := time.Now()
		l.Allow("a", now)
		l.Allow("a", now)
		wait, ok := l.Allow("a", clocktest.Stepped(now, time.Second, seconds))
		if ok || wait <= 0 || wait > time.Minute {
			t.Errorf("set by %d s, a second later: %v, %v", seconds, wait, ok)
		}
		if _, ok := l.Allow("a", clocktest.Stepped(now, time.Second+wait, seconds)); !ok {
			t.Errorf("set by %d s, refused after the wait that was promised", seconds)
		}
	}
}
