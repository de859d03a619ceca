package podpages

import "time"

// For tests from outside.
var (
	Guides  = guides
	InPages = inPages
)

// PageNames are the templates, so that no page goes without a test.
func (s *Pages) PageNames() []string { return s.area.Names() }

// SetStall sets how long a stream waits for its reader.
func (s *Pages) SetStall(d time.Duration) { s.stall = d }

// Streams is how many answers go on.
func (s *Pages) Streams() int {
	s.streams.mu.Lock()
	defer s.streams.mu.Unlock()
	return s.streams.all
}
