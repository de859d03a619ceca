package ingress

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"podgate/internal/errorpage"
	"podgate/internal/ratelimit"
	"podgate/pods"
)

// Bounds on what one pod may ask of the server.
const (
	maxAnswerHeader = 64 << 10              // bytes of the head of an app's answer, or of each informational one
	max1xx          = 5                     // informational answers to one request
	answerTimeout   = 2 * time.Minute       // default of Config.AnswerTimeout
	idleTimeout     = 30 * time.Second      // of an unused connection to an app, which lasts at most twice as long
	maxIdle         = 64                    // unused connections to one app
	maxOpen         = 256                   // requests of one pod at a time, WebSockets included
	continueTimeout = 2 * time.Second       // for an app to say 100 Continue before the body is sent anyway
	restTime        = 50 * time.Millisecond // for a body to be through after its answer, so that the connection can be used again
	copyBuffer      = 64 << 10              // bytes
)

// Config is what an Ingress needs. All but Pods is optional.
type Config struct {
	Pods *pods.Service
	// ClientAddr gives the visitor's address; nil: that of the connection.
	ClientAddr func(*http.Request) netip.Addr
	// Scheme is how visitors reach this server, http (the default) or https.
	Scheme string
	// AnswerTimeout is how long an app may take from the end of a request to
	// the head of its answer, and to take the next part of what a visitor sends;
	// 0: two minutes.
	AnswerTimeout time.Duration
	// Lasts hears of a request that has become a connection which can go over to the next
	// program: nobody has to wait for its end. nil: nobody hears.
	Lasts func(context.Context)
	Log   *slog.Logger
}

// Ingress passes requests on to the apps of pods. It is safe for concurrent
// use.
type Ingress struct {
	cfg Config

	mu       sync.Mutex
	open     map[string]*requests // by pod
	lasting  map[*lasting]bool    // what can go over to the next program
	idle     map[string][]*link   // connections to the apps of pods; the one used last is the last
	sweeping bool                 // somebody will look at them
	closed   bool                 // no more of them are kept
}

// requests are those that a pod has open.
type requests struct {
	all  int
	each map[string]int // by the visitor's address
}

// New returns an Ingress. Close it to let go of its idle connections.
func New(cfg Config) *Ingress {
	if cfg.ClientAddr == nil {
		cfg.ClientAddr = peer
	}
	if cfg.Scheme == "" {
		cfg.Scheme = "http"
	}
	if cfg.AnswerTimeout <= 0 {
		cfg.AnswerTimeout = answerTimeout
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Lasts == nil {
		cfg.Lasts = func(context.Context) {}
	}
	return &Ingress{cfg: cfg, open: map[string]*requests{}, lasting: map[*lasting]bool{}, idle: map[string][]*link{}}
}

func peer(r *http.Request) netip.Addr {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap()
}

// Serve passes one request on to the app of the pod with that name, or answers
// with a page that says why it cannot. The name is one label of the request's
// Host; nothing here reads that again.
func (in *Ingress) Serve(w http.ResponseWriter, r *http.Request, name string) {
	if r.Method == http.MethodConnect { // would ask for a tunnel, not for a page
		w.Header().Set("Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	address := in.cfg.ClientAddr(r)
	visitor := ratelimit.AddrKey(address)
	if refusal := in.enter(name, visitor); refusal != nil {
		answer(w, r, *refusal)
		return
	}
	defer in.leave(name, visitor)
	wanted := upgradeWanted(r)
	head, err := in.head(r, address, wanted)
	if err != nil {
		answer(w, r, pageImproper)
		return
	}
	x, res, err := in.ask(r, name, head)
	switch {
	case err != nil:
		in.fail(w, r, x, err)
	case res.StatusCode == http.StatusSwitchingProtocols && (wanted == "" || !strings.EqualFold(res.Header.Get("Upgrade"), wanted)):
		x.finish(false)
		in.fail(w, r, x, errUninvited)
	case res.StatusCode == http.StatusSwitchingProtocols:
		in.upgrade(w, r, x, res, lasting{pod: name, visitor: visitor})
	default:
		in.pass(w, r, x, res, name)
	}
}

// ask has the app of a pod answer a request, of which the head is given. Where an error
// comes with an exchange, that is finished.
func (in *Ingress) ask(r *http.Request, name string, head []byte) (*exchange, *http.Response, error) {
	for anew := false; ; anew = true {
		l, used, err := in.connect(r.Context(), name, anew)
		if err != nil {
			return nil, nil, err
		}
		x, err := begin(r.Context(), l, r, head, in.cfg.AnswerTimeout)
		if err == nil {
			var res *http.Response
			if res, err = x.answer(); err == nil {
				return x, res, nil
			}
		}
		again := used && x.untouched() && maySendTwice(r)
		x.finish(false)
		if !again {
			return x, nil, err
		}
	}
}

// maySendTwice reports whether a request can be sent again when nobody knows what became of
// it (RFC 9110 section 9.2.2). Those that change something are left out, though some could
// be: an app may take them otherwise.
func maySendTwice(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return !hasBody(r)
	}
	return false
}

// pass sends the app's answer on to the visitor.
func (in *Ingress) pass(w http.ResponseWriter, r *http.Request, x *exchange, res *http.Response, name string) {
	if err := in.relay(w, x, res, name); err != nil {
		in.cfg.Log.Debug("an answer ended early", "host", r.Host, "error", err)
		panic(http.ErrAbortHandler) // so that the visitor sees that something is missing
	}
	if x.upload != nil {
		endUpload(w, r, x)
	}
}

// relay writes the answer of an exchange and finishes that.
func (in *Ingress) relay(w http.ResponseWriter, x *exchange, res *http.Response, name string) (err error) {
	whole := false
	defer func() {
		if x.finish(whole) {
			in.keepIdle(name, x.link)
		}
	}()
	dropHops(res.Header)
	cleanAnswer(res.Header)
	h := w.Header()
	for name, values := range res.Header {
		h[name] = append(h[name], values...)
	}
	control := http.NewResponseController(w)
	if x.upload != nil {
		// An app may answer while the visitor still sends. A connection that
		// cannot do that ends the request body at the answer, which is all it can.
		_ = control.EnableFullDuplex()
	}
	w.WriteHeader(res.StatusCode)
	err = x.copyAnswer(w, control, res.Body)
	whole = err == nil && !res.Close
	return err
}

// copyAnswer copies the body of an answer. An app decides when its bytes go out, not we: what
// has come is sent before more is waited for. The last part goes with the end of the handler.
func (x *exchange) copyAnswer(w io.Writer, control *http.ResponseController, body io.Reader) error {
	if body == http.NoBody {
		return nil
	}
	if x.in.Buffered() == 0 {
		_ = control.Flush() // the next write says what is wrong
	}
	buf := buffers.Get().(*[copyBuffer]byte)
	defer buffers.Put(buf)
	for {
		n, err := body.Read(buf[:])
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		_ = control.Flush() // the next write says what is wrong
		if err != nil {
			return x.why(err)
		}
	}
}

// endUpload ends the body of a request that is answered.
func endUpload(w http.ResponseWriter, r *http.Request, x *exchange) {
	select {
	case <-x.upload:
		if !x.asked {
			return // the visitor was never told to send it, and the server ends the connection
		}
	default:
		defer func() { <-x.upload }() // nobody reads a body whose handler is through
	}
	x.mu.Lock()
	whole := x.whole
	x.mu.Unlock()
	if !whole {
		_ = http.NewResponseController(w).Flush() // who has not sent all may wait for the answer
	}
	endBody(r)
}

// endBody takes what the app has left of the request body, up to what net/http
// is patient with. It would do so itself, but after it has stopped watching the
// connection; in full duplex the end of the body starts that anew, and the next
// request on the connection dies of it.
func endBody(r *http.Request) {
	if err := r.Body.Close(); err != nil {
		panic(http.ErrAbortHandler) // what is left must not be read as a request
	}
}

// enter counts a request. It returns the page for one that is too many: the pod
// has as many as it can have, or the visitor's address has as many as are left
// for all others. So whatever one does, another one gets in, and it takes many
// addresses to fill a pod.
func (in *Ingress) enter(name, visitor string) (refusal *errorpage.Page) {
	in.mu.Lock()
	defer in.mu.Unlock()
	pod := in.open[name]
	if pod == nil {
		pod = &requests{each: map[string]int{}}
		in.open[name] = pod
	}
	switch left := maxOpen - pod.all; {
	case left <= 0:
		return &pageBusy
	case pod.each[visitor] >= left:
		return &pageShare
	}
	pod.add(visitor)
	return nil
}

func (r *requests) add(visitor string) {
	r.all++
	r.each[visitor]++
}

// readmit counts a request that was let in by the program before, whatever share its
// visitor has; false when the pod has as many as it can have.
func (in *Ingress) readmit(name, visitor string) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	pod := in.open[name]
	if pod == nil {
		pod = &requests{each: map[string]int{}}
		in.open[name] = pod
	}
	if pod.all >= maxOpen {
		return false
	}
	pod.add(visitor)
	return true
}

func (in *Ingress) leave(name, visitor string) {
	in.mu.Lock()
	defer in.mu.Unlock()
	pod := in.open[name]
	if pod.each[visitor]--; pod.each[visitor] == 0 {
		delete(pod.each, visitor)
	}
	if pod.all--; pod.all == 0 {
		delete(in.open, name)
	}
}

// dialError carries the page that a failed dial leads to.
type dialError struct {
	page errorpage.Page
	err  error
}

func (e *dialError) Error() string { return e.err.Error() }
func (e *dialError) Unwrap() error { return e.err }

var errUninvited = errors.New("ingress: the app changes the protocol unasked")

// fail answers a request that got no answer from its app. x is finished, and nil where the
// app was not reached.
func (in *Ingress) fail(w http.ResponseWriter, r *http.Request, x *exchange, err error) {
	var dial *dialError
	var timeout net.Error
	var tooBig *http.MaxBytesError
	var uploading error
	if x != nil && x.upload != nil {
		<-x.upload // the answer of ours is to whoever has sent it
		uploading = x.visitor
	}
	switch {
	case errors.As(uploading, &tooBig):
		answer(w, r, pageTooLarge)
		return
	case errors.Is(uploading, os.ErrDeadlineExceeded):
		answer(w, r, pageStalled)
		return
	case r.Context().Err() != nil, uploading != nil:
		panic(http.ErrAbortHandler) // the visitor is gone
	case errors.As(err, &dial):
		answer(w, r, dial.page)
		return
	case errors.As(err, &timeout) && timeout.Timeout():
		answer(w, r, pageSilent)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		answer(w, r, pageFailed)
	default:
		answer(w, r, pageBroken)
	}
	in.cfg.Log.Debug("pod gave no answer", "host", r.Host, "error", err)
}
