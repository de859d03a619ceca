package connlimit

import (
	"bufio"
	"net"
	"net/http"
	"strings"
	"time"
)

const (
	// stallTime is how long a reader may take to let piece bytes pass, which is
	// how a paused film and a stranger who reads nothing differ from a slow line.
	stallTime = time.Minute
	piece     = 16 << 10

	// idleTime is how long a body may pause between two reads.
	idleTime = 30 * time.Second

	// settleTime is what the answer waits for a body that the handler has not
	// read: one that is there or under way is taken, and the connection goes on.
	// lingerTime is how long the rest is taken and thrown away after the answer
	// of a connection that ends, so that whoever sends before reading hears it.
	// maxUnread bounds both in bytes, as net/http does.
	settleTime = 100 * time.Millisecond
	lingerTime = 5 * time.Second
	maxUnread  = 256 << 10
)

// Deadlines returns a handler that answers as next does and waits for the
// visitor only as long as the constants of this package say.
//
// A handler may set an end for the whole body with
// [http.ResponseController.SetReadDeadline]; it counts beside the pauses. One that
// enables full duplex closes the body itself, which takes as long as the rest may
// still come, and hangs up when that fails: what is left would be read as the
// next request.
func Deadlines(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		answer := &writer{ResponseWriter: w, control: control, shared: r.ProtoMajor > 1}
		if r.Body != nil && r.Body != http.NoBody {
			answer.body = &body{ReadCloser: r.Body, control: control, invited: strings.EqualFold(r.Header.Get("Expect"), "100-continue")}
			// A copy: net/http looks at the body of its own request to know
			// whether the connection can go on.
			r = r.WithContext(r.Context())
			r.Body = answer.body
		}
		defer answer.finish()
		next.ServeHTTP(answer, r)
		answer.begin()
	})
}

// writer is an answer whose every part has a time.
type writer struct {
	http.ResponseWriter
	control  *http.ResponseController
	body     *body // nil: none
	shared   bool  // the connection has other streams, and each has its own deadlines: HTTP/2
	begun    bool  // the head was written
	duplex   bool  // the handler reads on after that
	hijacked bool
}

// begin is called before the head of the answer is written. A body that nobody
// will read must not hold the connection: what net/http does with it, it would
// do without a deadline, and before the answer.
func (w *writer) begin() {
	if w.begun || w.hijacked {
		return
	}
	w.begun = true
	if w.body != nil && !w.shared && !w.duplex && !w.body.settle() {
		w.Header().Set("Connection", "close")
	}
}

// finish is called when the handler is through, also by a panic. What net/http
// still does then has its time, too.
func (w *writer) finish() {
	if w.hijacked {
		return
	}
	if w.body != nil {
		w.body.linger()
	}
	w.await()
}

// await gives the reader of one stream its time to take what is written next; a
// connection that is no shared one does so itself. What cannot set a deadline is
// no connection, so nothing is held.
func (w *writer) await() {
	if w.shared {
		_ = w.control.SetWriteDeadline(time.Now().Add(stallTime))
	}
}

// rest takes the deadline away: a stream would end at it even if nobody writes.
func (w *writer) rest() {
	if w.shared {
		_ = w.control.SetWriteDeadline(time.Time{})
	}
}

// WriteHeader implements http.ResponseWriter.
func (w *writer) WriteHeader(status int) {
	if status >= 200 {
		w.begin()
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements io.Writer.
func (w *writer) Write(p []byte) (int, error) {
	w.begin()
	if !w.shared {
		return w.ResponseWriter.Write(p)
	}
	defer w.rest()
	for sent := 0; ; { // a stream that was late once is over, so each piece has its own time
		w.await()
		n, err := w.ResponseWriter.Write(p[sent:min(sent+piece, len(p))])
		if sent += n; err != nil || sent >= len(p) {
			return sent, err
		}
	}
}

// FlushError is for http.ResponseController, Flush for libraries that look for
// http.Flusher.
func (w *writer) FlushError() error {
	w.begin()
	w.await()
	defer w.rest()
	return w.control.Flush()
}

// Flush implements http.Flusher.
func (w *writer) Flush() { _ = w.FlushError() } // the next write says what is wrong

// EnableFullDuplex is for http.ResponseController.
func (w *writer) EnableFullDuplex() error {
	w.duplex = true
	return w.control.EnableFullDuplex()
}

// SetReadDeadline is for http.ResponseController: the end of the whole body.
func (w *writer) SetReadDeadline(t time.Time) error {
	if w.body == nil {
		return w.control.SetReadDeadline(t)
	}
	return w.body.end(t)
}

// Hijack is for http.ResponseController. The connection's own writes have their
// time, see [Bounds.Listener]; its reads have none, as the other side may have
// nothing to say.
func (w *writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := w.control.Hijack()
	w.hijacked = err == nil
	return conn, buffered, err
}

// Unwrap is for http.ResponseController.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }
