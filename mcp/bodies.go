package mcp

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
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

// read reads a request's body. release gives back what it holds, which is nothing
// after an error, and is never nil. A body whose length is known has its place before
// any of it is read, so one that was let in is not given up half-way.
func (b *bodies) read(w http.ResponseWriter, r *http.Request) (body []byte, release func(), err error) {
	h := &held{bodies: b, user: authz.FromContext(r.Context()).User, from: http.MaxBytesReader(w, r.Body, maxRequest)}
	release = func() { b.release(h.user, h.bytes); h.bytes = 0 }
	defer func() {
		if err != nil {
			release()
		}
	}()
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

const (
	// maxUnwanted is how much of a body that is refused is taken before the answer and
	// thrown away, in bytes, and once more after it.
	maxUnwanted = 64 << 20

	// lingerTime is how long that may take after the answer.
	lingerTime = 5 * time.Second
)

// refuseBody answers to a body that was not read, in the protocol's own form, since it
// is the model that can do something about it. Most clients send all of a body before
// they read, and one that cannot would see a broken pipe in place of the answer. So
// what is left is taken, up to maxUnwanted. Of a longer one as much is taken after the
// answer, which ends the connection: by then the other side may have begun to read.
// It holds no memory, and time and pauses are bounded as those of every body.
func refuseBody(w http.ResponseWriter, r *http.Request, err error) {
	answer, status := rpcRefusal(w, err)
	// One that asks first is told without.
	asks := strings.EqualFold(r.Header.Get("Expect"), "100-continue")
	if asks || tookRest(r) || r.ProtoMajor > 1 {
		answer.write(w, status)
		return
	}
	control := http.NewResponseController(w)
	w.Header().Set("Connection", "close")
	_ = control.EnableFullDuplex() // one that cannot has taken the rest already
	answer.write(w, status)
	_ = control.Flush() // nobody is there: nothing is left to take either
	_ = control.SetReadDeadline(time.Now().Add(lingerTime))
	tookRest(r)
}

// tookRest takes what is left of a body and reports whether nothing of it is to come.
func tookRest(r *http.Request) bool {
	_, err := io.CopyN(io.Discard, r.Body, maxUnwanted)
	return err != nil
}

// rpcRefusal is what is answered to a body that was not read.
func rpcRefusal(w http.ResponseWriter, err error) (answer *rpcError, status int) {
	var tooBig *http.MaxBytesError
	if errors.As(err, &tooBig) {
		words := fmt.Sprintf("the message has more than %d bytes; send large files in parts, or to the address that create_upload gives", tooBig.Limit)
		return &rpcError{Code: codeInvalidRequest, Message: words}, http.StatusRequestEntityTooLarge
	}
	refusal := web.AsError(err)
	maps.Copy(w.Header(), refusal.Header)
	w.Header().Set("Cache-Control", "no-store")
	code := codeBusy
	if refusal.Status == http.StatusBadRequest {
		code = codeInvalidRequest
	}
	return &rpcError{Code: code, Message: refusal.Message}, refusal.Status
}
