package mcp

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"podgate/internal/authz"
	"podgate/internal/web"
	"podgate/store"
)

// maxRequest bounds a request's body, in bytes: the largest file that a tool
// writes, in base64, and room for the rest.
const maxRequest = 16 << 20

// maxBodies bounds the bodies of all requests that are being answered, in bytes.
// While one is decoded it costs some times its size.
const maxBodies = 64 << 20

// retryBody is when to come again with a body that had no place.
const retryBody = 2 * time.Second

// bodies counts what requests hold.
type bodies struct {
	mu   sync.Mutex
	all  int64
	each map[store.UserID]int64
}

// hold counts n bytes more for a person, whose connections share what they have: as
// many as are left for all others, which is two of the largest for the first one. So
// nobody keeps the others out.
func (b *bodies) hold(user store.UserID, n int64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if mine := b.each[user]; mine+n > maxBodies-(b.all+n) {
		if mine > 0 {
			return web.TooMany(retryBody, "large requests of one person at once")
		}
		return web.Fault(http.StatusServiceUnavailable, "busy", "The server has as many large requests as it can hold. Try again in a moment.", nil).
			With("Retry-After", strconv.Itoa(int(retryBody.Seconds())))
	}
	if b.each == nil {
		b.each = map[store.UserID]int64{}
	}
	b.all += n
	b.each[user] += n
	return nil
}

func (b *bodies) release(user store.UserID, n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n == 0 {
		return
	}
	b.all -= n
	if b.each[user] -= n; b.each[user] == 0 {
		delete(b.each, user)
	}
}

// read reads a request's body. release gives back what it holds, and is never
// nil. A body whose length is known has its place before any of it is read, so
// one that was let in is not given up half-way.
func (b *bodies) read(w http.ResponseWriter, r *http.Request) (body []byte, release func(), err error) {
	h := &held{bodies: b, user: authz.FromContext(r.Context()).User, from: http.MaxBytesReader(w, r.Body, maxRequest)}
	release = func() { b.release(h.user, h.bytes) }
	if r.ContentLength > maxRequest {
		return nil, release, &http.MaxBytesError{Limit: maxRequest} // before a client sends all of it
	}
	if err := h.upTo(r.ContentLength); err != nil {
		return nil, release, err
	}
	body, err = io.ReadAll(h)
	var public *web.Error
	var tooBig *http.MaxBytesError
	if err != nil && !errors.As(err, &tooBig) && !errors.As(err, &public) {
		err = web.Fault(http.StatusBadRequest, "invalid_request", "The request body could not be read to its end.", err)
	}
	return body, release, err
}

// held is a body that is counted as it comes.
type held struct {
	bodies *bodies
	user   store.UserID
	from   io.Reader
	read   int64
	bytes  int64 // counted
}

// Read implements io.Reader.
func (h *held) Read(p []byte) (int, error) {
	n, err := h.from.Read(p)
	h.read += int64(n)
	if over := h.upTo(h.read); over != nil {
		return 0, over
	}
	return n, err
}

// upTo counts the body as at least n bytes.
func (h *held) upTo(n int64) error {
	if n <= h.bytes {
		return nil
	}
	if err := h.bodies.hold(h.user, n-h.bytes); err != nil {
		return err
	}
	h.bytes = n
	return nil
}
