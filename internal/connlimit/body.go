package connlimit

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"time"
)

// body is a request's body whose reads have a time. The proxy reads it in one
// goroutine and closes it in another.
type body struct {
	io.ReadCloser
	control *http.ResponseController
	invited bool // reading asks the visitor to send: Expect: 100-continue

	mu    sync.Mutex
	until time.Time // for the whole; zero: no end
	done  bool      // read to its end: net/http watches the connection from here on, and a deadline would end the request
	left  bool      // nobody wants the rest

	closing sync.Once
	closed  error // what came of it, for whoever closes it again
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	b.await(idleTime)
	n, err := b.ReadCloser.Read(p)
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil {
		b.done = b.done || errors.Is(err, io.EOF)
	} else if !b.left {
		_ = b.control.SetReadDeadline(b.until) // the pause counts while somebody reads
	}
	return n, err
}

// Close implements io.Closer. It takes what is left as long as that may still
// come; an error says that the connection cannot go on.
func (b *body) Close() error {
	b.linger()
	b.closing.Do(func() { b.closed = b.ReadCloser.Close() })
	return b.closed
}

// await gives the visitor d to send more, unless the body is through.
func (b *body) await(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.done || b.left {
		return
	}
	t := time.Now().Add(d)
	if !b.until.IsZero() && b.until.Before(t) {
		t = b.until
	}
	// What cannot set a deadline is no connection, so nothing is held.
	_ = b.control.SetReadDeadline(t)
}

// linger gives the visitor its last time. From here on nothing extends it.
func (b *body) linger() {
	b.await(lingerTime)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left = true
}

// end sets when the whole body has to be there.
func (b *body) end(t time.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.until = t
	if b.done || b.left {
		return nil
	}
	return b.control.SetReadDeadline(t)
}

// settle takes what is left of the body if that is there or about to come, and
// reports whether it was; if not, the connection has to end.
func (b *body) settle() bool {
	b.mu.Lock()
	done := b.done
	b.mu.Unlock()
	if done {
		return true
	}
	if !b.invited {
		b.await(settleTime)
		if _, err := io.CopyN(io.Discard, b.ReadCloser, maxUnread); errors.Is(err, io.EOF) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.done = true
			return true
		}
	}
	b.linger()
	b.closing.Do(func() {}) // net/http does that, after the answer
	return false
}
