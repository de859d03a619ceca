package account

import (
	"context"
	"sync/atomic"
	"time"
)

const (
	// hashesAtOnce bounds memory: each takes defaultCost.memory. It is the default of
	// Config.HashesAtOnce.
	hashesAtOnce = 2
	// hashesWaiting bounds the queue. At about 50 ms each the last in it waits
	// less than a second.
	hashesWaiting = 32
	hashPatience  = 5 * time.Second
)

// semaphore lets a few in at once and a few more wait.
type semaphore struct {
	slots    chan struct{}
	waiting  atomic.Int64
	most     int64
	patience time.Duration
	acquired atomic.Int64 // how many ever went in: what tests count instead of time
}

func newSemaphore(atOnce, waiting int, patience time.Duration) *semaphore {
	return &semaphore{slots: make(chan struct{}, atOnce), most: int64(waiting), patience: patience}
}

// acquire waits for a slot, which release gives back. ErrBusy when too many wait
// already or patience ends; the context's error when that ends first.
func (s *semaphore) acquire(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case s.slots <- struct{}{}:
		s.acquired.Add(1)
		return nil
	default:
	}
	if s.waiting.Add(1) > s.most {
		s.waiting.Add(-1)
		return busy()
	}
	defer s.waiting.Add(-1)
	timer := time.NewTimer(s.patience)
	defer timer.Stop()
	select {
	case s.slots <- struct{}{}:
		s.acquired.Add(1)
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return busy()
	}
}

func (s *semaphore) release() { <-s.slots }

func busy() error {
	return &Error{Message: "Many people are signing in at this moment. Wait a few seconds and try again.", Wait: 5 * time.Second, Err: ErrBusy}
}
