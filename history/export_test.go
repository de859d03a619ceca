package history

// Remembered returns how many visitors are remembered.
func (r *Recorder) Remembered() int {
	r.threads.mu.Lock()
	defer r.threads.mu.Unlock()
	return len(r.threads.visitors.young) + len(r.threads.visitors.old)
}
