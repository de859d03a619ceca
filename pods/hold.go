package pods

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"podgate/store"
)

// Holder is a Runtime that can hold a pod still, for a copy of its files. One that
// cannot has its pods copied while they run.
type Holder interface {
	// Hold keeps everything of a pod from running, and the pod from being started,
	// stopped or removed, until release is called, and for HoldTime at most. A pod
	// that does not run is held as well. release may be called once, and returns
	// whether the pod was held until then.
	Hold(ctx context.Context, id store.PodID) (release func() bool, err error)
}

// HoldTime is how long a pod is held, whatever becomes of who holds it: as long as
// nobody notices who waits for its answers.
const HoldTime = 15 * time.Second

// Hold holds a pod still: see [Holder].
func (s *Service) Hold(ctx context.Context, id store.PodID) (release func() bool, err error) {
	p, err := s.cfg.DB.Pod(id)
	if err != nil {
		return nil, err
	}
	runtime, err := s.runtime(p.Region)
	if err != nil {
		return nil, err
	}
	holder, ok := runtime.(Holder)
	if !ok {
		return nil, fmt.Errorf("the region %s cannot hold pods still: %w", p.Region, errors.ErrUnsupported)
	}
	return holder.Hold(ctx, id)
}

// Rest has no operation begin, or lets them begin again, as before another server takes
// over: what goes on has its end then, whoever would like to begin something else.
func (s *Service) Rest(rest bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rests = rest
}

// Working says which operations on pods go on, each in words for a person: all of them
// would be cut off if the server ended now.
func (s *Service) Working() []string {
	s.mu.Lock()
	all := slices.Collect(maps.Values(s.pods))
	s.mu.Unlock()
	var list []string
	for _, l := range all {
		if len(l.slot) == 0 {
			continue
		}
		phase := cmp.Or(l.snapshot().phase, "being worked on")
		name := string(l.id)
		if rec, err := s.cfg.DB.Pod(l.id); err == nil { // else it is only being made
			name = rec.Name
		}
		list = append(list, fmt.Sprintf("the pod %s is %s", name, phase))
	}
	slices.Sort(list)
	return list
}
