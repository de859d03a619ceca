package pods

import "context"

// Measure is one step in which what pods use is noted.
func (s *Service) Measure(ctx context.Context) error {
	_, err := s.measureAll(ctx, nil)
	return err
}
