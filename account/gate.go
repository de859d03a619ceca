package account

import (
	"context"
	"sync/atomic"
	"time"
)

const (
	// hashesAtOnce bounds memory: each takes defaultCost.memory.
	hashesAtOnce = 2
	// hashesWaiting bounds the queue. At about 50 ms each the last in it waits
	// less than a second.
	hashesWaiting = 32
	hashPatience  = 5 * time.Second
)

// gate lets a few in at once and a few more wait.
type gate struct {
	slots    chan struct{}
	waiting  atomic.Int64
	most     int64
	patience time.Duration
	entered  atomic.Int64 // how many ever went in: what tests count instead of time
}

func newGate(atOnce, waiting int, patience time.Duration) *gate {
	return &gate{slots: make(chan struct{}, atOnce), most: int64(waiting), patience: patience}
}

// enter waits for a slot, which leave gives back. ErrBusy when too many wait
// already or patience ends; the context's error when that ends first.
func (g *gate) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case g.slots <- struct{}{}:
		g.entered.Add(1)
		return nil
	default:
	}
	if g.waiting.Add(1) > g.most {
		g.waiting.Add(-1)
		return busy()
	}
	defer g.waiting.Add(-1)
	timer := time.NewTimer(g.patience)
	defer timer.Stop()
	select {
	case g.slots <- struct{}{}:
		g.entered.Add(1)
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return busy()
	}
}

func (g *gate) leave() { <-g.slots }

func busy() error {
	return &Error{Message: "Many people are signing in at this moment. Wait a few seconds and try again.", Wait: 5 * time.Second, Err: ErrBusy}
}
