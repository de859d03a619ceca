package ingress

import (
	"bufio"
	"context"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"
)

// exchange is one request on its way to an app, and the answer. The goroutine that serves
// the visitor writes the one and reads the other; only a body that the visitor sends has a
// goroutine of its own, as the app may answer before it is through.
type exchange struct {
	*link
	req      *http.Request
	patience time.Duration // as Config.AnswerTimeout
	unwatch  func() bool   // ends the wait for the visitor to leave

	upload  chan struct{} // closed when nothing more of the body is read or sent; nil: there is none
	invited chan bool     // whether the app wants the body; nil: it was not asked
	asked   bool          // something of the body was asked for; to be read once upload is closed
	visitor error         // why the body could not be read; the same

	mu    sync.Mutex
	whole bool  // the request was sent to its end
	heard bool  // the head of the answer is there
	cause error // why the connection was cut off
}

// link is a connection to an app. It has one exchange at a time.
type link struct {
	conn  net.Conn
	in    *bufio.Reader
	left  int64       // bytes that may still be read of conn
	quiet func() bool // reports whether nothing has come, and the app has not ended it
	stale bool        // it was idle when the idle ones were looked at last
}

var (
	errHead   = errors.New("ingress: the head of the app's answer is too large")
	errFlood  = errors.New("ingress: too many informational answers")
	errStatus = errors.New("ingress: the app's status is none")
	errLength = errors.New("ingress: the body is not as long as it was said to be")
)

func newLink(c net.Conn) *link {
	l := &link{conn: c, quiet: watch(c)}
	l.in = bufio.NewReader(l)
	return l
}

// Read implements io.Reader, within what the app may still say.
func (l *link) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, errHead
	}
	n, err := l.conn.Read(p[:min(int64(len(p)), l.left)])
	l.left -= int64(n)
	return n, err
}

// begin sends the head of a request over l, and has its body follow. finish ends it.
func begin(ctx context.Context, l *link, r *http.Request, head []byte, patience time.Duration) (*exchange, error) {
	x := &exchange{link: l, req: r, patience: patience}
	l.left = maxAnswerHeader
	x.unwatch = context.AfterFunc(ctx, func() { x.cut(context.Cause(ctx)) })
	if _, err := l.conn.Write(head); err != nil {
		return x, x.why(err)
	}
	if !hasBody(r) {
		x.sent()
		return x, nil
	}
	x.upload = make(chan struct{})
	if expectsContinue(r) {
		x.invited = make(chan bool, 1)
	}
	go x.send()
	return x, nil
}

// sent notes that the request is whole. From here on the app has its time.
func (x *exchange) sent() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.whole = true
	if !x.heard {
		_ = x.conn.SetReadDeadline(time.Now().Add(x.patience)) // one that is closed says so when it is read
	}
}

// cut ends the connection, and with it all that waits for the app.
func (x *exchange) cut(cause error) {
	x.mu.Lock()
	if x.cause == nil {
		x.cause = cause
	}
	x.mu.Unlock()
	_ = x.conn.Close() // nothing more is to be said
}

// why is what a failure of the connection comes from.
func (x *exchange) why(err error) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.cause != nil {
		return x.cause
	}
	return err
}

// send sends the body of the request, once the app wants it.
func (x *exchange) send() {
	defer close(x.upload)
	if x.invited != nil {
		wait := time.NewTimer(continueTimeout)
		defer wait.Stop()
		select {
		case wanted := <-x.invited:
			if !wanted {
				return
			}
		case <-wait.C:
		}
	}
	x.asked = true
	read, err := x.copyBody()
	switch {
	case err == nil:
		x.sent()
	case read:
		x.visitor = err
		x.cut(err)
	case errors.Is(err, os.ErrDeadlineExceeded):
		x.cut(err)
	}
	// Else the app takes no more, and its answer says why.
}

// copyBody sends the body with framing of our own: exactly as many bytes as the head has
// announced, or chunks (RFC 9112 section 7.1). read says that an error is the visitor's.
func (x *exchange) copyBody() (read bool, err error) {
	buf := buffers.Get().(*[copyBuffer]byte)
	defer buffers.Put(buf)
	const head, tail = 6, 7 // the room for "ffff\r\n" before a chunk, for "\r\n0\r\n\r\n" after it
	left := x.req.ContentLength
	for {
		n, err := x.req.Body.Read(buf[head : len(buf)-tail])
		if err != nil && err != io.EOF {
			return true, err
		}
		part := buf[head : head+n]
		if left >= 0 {
			if left -= int64(n); left < 0 || err != nil && left > 0 {
				return true, errLength
			}
		} else if n > 0 {
			size := append(strconv.AppendUint(nil, uint64(n), 16), '\r', '\n')
			copy(buf[head-len(size):], size)
			part = append(buf[head-len(size):head+n], '\r', '\n')
		}
		if left < 0 && err != nil {
			part = append(part, "0\r\n\r\n"...)
		}
		if len(part) > 0 {
			if _, err := x.conn.Write(part); err != nil {
				return false, err
			}
		}
		if err != nil {
			return false, nil
		}
	}
}

// invite says whether the app wants the body that it was asked about.
func (x *exchange) invite(wanted bool) {
	if x.invited == nil {
		return
	}
	select {
	case x.invited <- wanted:
	default: // it has been said
	}
}

// answer returns the head of the answer. Informational ones (RFC 9110 section 15.2) stay
// here: what 103 Early Hints brings along would be headers that nobody has looked at. Leave
// to go on (100) the server gives by itself when the body begins to be read.
func (x *exchange) answer() (*http.Response, error) {
	for informational := 0; ; {
		res, err := http.ReadResponse(x.in, x.req)
		switch {
		case err != nil:
			return nil, x.why(err)
		case res.StatusCode >= 200, res.StatusCode == http.StatusSwitchingProtocols:
			x.invite(false)
			x.mu.Lock()
			x.heard, x.left = true, math.MaxInt64
			_ = x.conn.SetReadDeadline(time.Time{}) // one that is closed says so when it is read
			x.mu.Unlock()
			return res, nil
		case res.StatusCode < 100:
			return nil, errStatus
		case res.StatusCode == http.StatusContinue:
			x.invite(true)
		}
		if informational++; informational > max1xx {
			return nil, errFlood
		}
		x.left = maxAnswerHeader
	}
}

// untouched reports whether the app has said nothing, and nobody here has cut it off: it
// may have ended an idle connection before the request came to it.
func (x *exchange) untouched() bool {
	return x.left == maxAnswerHeader && x.why(nil) == nil
}

// finish ends the exchange, and reports whether the connection can have another: the
// request and, as whole says, the answer have gone over it to their ends.
func (x *exchange) finish(whole bool) bool {
	x.invite(false)
	if x.upload != nil && whole {
		wait := time.NewTimer(restTime)
		select {
		case <-x.upload:
		case <-wait.C:
		}
		wait.Stop()
	}
	x.mu.Lock()
	again := whole && x.whole
	x.mu.Unlock()
	if again = x.unwatch() && again && x.in.Buffered() == 0; !again {
		x.cut(errOver)
	}
	return again
}

// errOver ends what still goes on when nobody wants it.
var errOver = errors.New("ingress: the exchange is over")

// buffers are those through which bodies go.
var buffers = sync.Pool{New: func() any { return new([copyBuffer]byte) }}
