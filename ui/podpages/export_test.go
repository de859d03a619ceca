package podpages

import "time"

// For tests from outside.
var (
	Guides  = guides
	InPages = inPages
)

// SetStall sets how long a stream waits for its reader.
func (s *Pages) SetStall(d time.Duration) { s.stall = d }

// SetBeat sets the time between two looks at what goes on.
func (s *Pages) SetBeat(d time.Duration) { s.beat = d }

// Streams is how many answers go on.
func (s *Pages) Streams() int {
	s.streams.mu.Lock()
	defer s.streams.mu.Unlock()
	return s.streams.all
}
