package history

// Remembered returns how many visitors are remembered.
func (r *Recorder) Remembered() int {
	r.correlator.mu.Lock()
	defer r.correlator.mu.Unlock()
	return len(r.correlator.visitors.young) + len(r.correlator.visitors.old)
}
