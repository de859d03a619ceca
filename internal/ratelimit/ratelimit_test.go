package ratelimit_test

import (
	"fmt"
	"testing"
	"time"

	"podgate/internal/ratelimit"
)

var t0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestKeysAreLimitedApart(t *testing.T) {
	l := ratelimit.New(3, time.Minute, 1000, time.Millisecond)
	for i := range 3 {
		if _, ok := l.Allow("a", t0); !ok {
			t.Fatalf("event %d of the burst was refused", i)
		}
	}
	wait, ok := l.Allow("a", t0)
	if ok || wait <= 0 || wait > time.Minute {
		t.Errorf("beyond the burst: %v, %v", wait, ok)
	}
	if _, ok := l.Allow("b", t0); !ok {
		t.Error("another key suffers")
	}
	if _, ok := l.Allow("a", t0.Add(wait)); !ok {
		t.Error("refused after the wait that was promised")
	}
}

func TestTotal(t *testing.T) {
	l := ratelimit.New(100, time.Millisecond, 5, time.Minute)
	for i := range 5 {
		if _, ok := l.Allow(fmt.Sprint(i), t0); !ok {
			t.Fatalf("event %d was refused", i)
		}
	}
	if wait, ok := l.Allow("fresh", t0); ok || wait <= 0 {
		t.Errorf("beyond the total: %v, %v", wait, ok)
	}
}

// A flood of keys does not grow memory without bound, and a key that has used
// its share up is not freed by the flood.
func TestMemoryIsBounded(t *testing.T) {
	l := ratelimit.New(1, time.Hour, 1_000_000, time.Nanosecond)
	l.Allow("greedy", t0)
	for i := range 30_000 {
		l.Allow(fmt.Sprint(i), t0)
	}
	if n := l.Keys(); n > 10_000 {
		t.Errorf("%d keys are kept", n)
	}
	if _, ok := l.Allow("greedy", t0); ok {
		t.Error("a flood of other keys freed a blocked one")
	}
	later := t0.Add(2 * time.Hour)
	l.Allow("after", later)
	if n := l.Keys(); n > 1 {
		t.Errorf("%d keys are kept after all are full again", n)
	}
}
