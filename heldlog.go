package main

import (
	"io"
	"sync"
	"time"
)

// longestHold is for how long the log waits for the banner. A start that takes
// longer may need its log to be understood.
const longestHold = 5 * time.Second

// heldLog keeps what is logged while the server starts, so that the banner comes
// first at a terminal, where both are seen.
type heldLog struct {
	mu       sync.Mutex
	to       io.Writer
	held     []byte
	released bool

	priorities bool // to leads into the journal, which wants one before each line
}

// holdLog returns a writer to w that waits for release, at most for the time
// given.
func holdLog(w io.Writer, most time.Duration) *heldLog {
	h := &heldLog{to: w}
	time.AfterFunc(most, h.release)
	return h
}

// Write implements io.Writer.
func (h *heldLog) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.released {
		return h.to.Write(p)
	}
	h.held = append(h.held, p...)
	return len(p), nil
}

// release writes what was held; from here on nothing waits. It may be called
// again.
func (h *heldLog) release() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.released {
		return
	}
	h.released = true
	_, _ = h.to.Write(h.held) // a log that cannot be written cannot say so
	h.held = nil
}
