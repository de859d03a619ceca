package clocktest_test

import (
	"testing"
	"time"

	"podgate/internal/clocktest"
)

func TestStepped(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for _, seconds := range []int64{-3600, -1, 0, 1, 3600} {
		later := clocktest.Stepped(now, time.Minute, seconds)
		if d := later.Sub(now); d != time.Minute {
			t.Errorf("set by %d s, a minute is %v", seconds, d)
		}
		if d := later.Round(0).Sub(now.Round(0)); d != time.Minute+time.Duration(seconds)*time.Second {
			t.Errorf("set by %d s, the wall clock went on by %v", seconds, d)
		}
	}
}
