package pods

import (
	"context"
	"time"
)

// Measure is one step in which what pods use is noted.
func (s *Service) Measure(ctx context.Context) error {
	_, err := s.measureAll(ctx, nil)
	return err
}

// SetPurgePause replaces the time for which a deleted pod is due before it goes.
func (s *Service) SetPurgePause(d time.Duration) { s.purgePause = d }
