package agent

import (
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"podgate/pods/wire"
)

// writePatience is how long a caller may leave an answer unread.
const writePatience = 30 * time.Second

const ndjson = "application/x-ndjson"

// eventStream writes events as they come. The status is sent with the first,
// so that a refusal before that can still have its own.
type eventStream struct {
	w      http.ResponseWriter
	rc     *http.ResponseController
	failed func() // called once when the caller cannot be reached any more

	mu   sync.Mutex
	sent bool
	err  error
}

func newEventStream(w http.ResponseWriter, failed func()) *eventStream {
	return &eventStream{w: w, rc: http.NewResponseController(w), failed: failed}
}

func (s *eventStream) send(e wire.Event) {
	b, err := json.Marshal(e)
	if err != nil {
		return
	}
	s.write(append(b, '\n'))
}

// begin sends the status before there is an event.
func (s *eventStream) begin() { s.write(nil) }

func (s *eventStream) write(b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return
	}
	if !s.sent {
		s.w.Header().Set("Content-Type", ndjson)
		s.w.WriteHeader(http.StatusOK)
		s.sent = true
	}
	s.rc.SetWriteDeadline(time.Now().Add(writePatience))
	if _, s.err = s.w.Write(b); s.err == nil {
		s.err = s.rc.Flush()
	}
	s.rc.SetWriteDeadline(time.Time{})
	if s.err != nil {
		s.failed()
	}
}

// started reports whether a status has gone out.
func (s *eventStream) started() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent
}
