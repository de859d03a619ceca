package ingress

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/http/httputil"
	"net/netip"
	"net/textproto"
	"os"
	"strings"
	"sync"
	"time"

	"podgate/internal/connlimit"
	"podgate/internal/errorpage"
	"podgate/internal/ratelimit"
	"podgate/pods"
)

// Bounds on what one pod may ask of the server.
const (
	maxAnswerHeader = 64 << 10         // bytes of an app's answer, 1xx included
	max1xx          = 5                // informational answers to one request
	answerTimeout   = 2 * time.Minute  // default of Config.AnswerTimeout
	idleTimeout     = 30 * time.Second // of an unused stream to an app
	maxIdle         = 64               // unused streams to one app
	maxOpen         = 256              // requests of one pod at a time, WebSockets included
	continueTimeout = 2 * time.Second  // for an app to say 100 Continue before the body is sent anyway
	copyBuffer      = 64 << 10         // bytes
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
	cfg       Config
	proxy     *httputil.ReverseProxy
	transport *http.Transport

	mu      sync.Mutex
	open    map[string]*requests // by pod
	lasting map[*lasting]bool    // what can go over to the next program
}

// requests are those that a pod has open.
type requests struct {
	all  int
	each map[string]int // by the visitor's address
}

// New returns an Ingress. Close it to let go of its idle streams.
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
	in := &Ingress{cfg: cfg, open: map[string]*requests{}, lasting: map[*lasting]bool{}}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	in.transport = &http.Transport{
		DialContext:            in.dial,
		Protocols:              protocols,
		DisableCompression:     true,
		MaxIdleConnsPerHost:    maxIdle,
		IdleConnTimeout:        idleTimeout,
		ResponseHeaderTimeout:  cfg.AnswerTimeout,
		ExpectContinueTimeout:  continueTimeout,
		MaxResponseHeaderBytes: maxAnswerHeader,
	}
	in.proxy = &httputil.ReverseProxy{
		Rewrite:        in.rewrite,
		Transport:      answers{in.transport},
		ModifyResponse: func(res *http.Response) error { cleanAnswer(res.Header); return nil },
		ErrorHandler:   in.fail,
		ErrorLog:       slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug),
		FlushInterval:  -1, // an app decides when its bytes go out, not we
		BufferPool:     &buffers{},
	}
	return in
}

// Close lets go of idle streams.
func (in *Ingress) Close() { in.transport.CloseIdleConnections() }

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
	visitor := ratelimit.AddrKey(in.cfg.ClientAddr(r))
	if refusal := in.enter(name, visitor); refusal != nil {
		answer(w, r, *refusal)
		return
	}
	defer in.leave(name, visitor)
	ctx := context.WithValue(r.Context(), nameKey{}, name)
	out := &appAnswer{ResponseWriter: w}
	out.lasts = func(front, back *tap) {
		l := &lasting{name, visitor, front, back}
		in.keep(l)
		out.over = func() { in.forget(l) }
		in.cfg.Lasts(ctx)
	}
	trace := limit1xx()
	trace.GotConn = func(info httptrace.GotConnInfo) { out.back, _ = info.Conn.(*tap) }
	r = r.WithContext(httptrace.WithClientTrace(ctx, trace))
	if r.Body != nil && r.Body != http.NoBody {
		out.upload = &upload{r.Body, make(chan error, 1)}
		r.Body = out.upload
	}
	defer func() {
		if out.over != nil {
			out.over()
		}
	}()
	in.proxy.ServeHTTP(out, r)
	if out.begun {
		endBody(r)
	}
}

// upload is the body that a visitor sends. Its failures are the visitor's, and
// not the app's.
type upload struct {
	io.ReadCloser
	failed chan error // the first failure
}

// Read implements io.Reader.
func (u *upload) Read(p []byte) (int, error) {
	n, err := u.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		select {
		case u.failed <- err:
		default:
		}
	}
	return n, err
}

// failure returns why the body ended early, if it did. A read that fails ends the
// request too, so the transport may say that and not why; it has waited for the
// read in either case.
func (u *upload) failure() error {
	if u == nil {
		return nil
	}
	select {
	case err := <-u.failed:
		return err
	default:
		return nil
	}
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

type nameKey struct{}

// podName is the name that Serve was given. The transport keeps a request's
// values for the dial that it causes.
func podName(ctx context.Context) string {
	name, _ := ctx.Value(nameKey{}).(string)
	return name
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

var errFlood = errors.New("ingress: too many informational answers")

// limit1xx ends a request whose app sends informational answers without end:
// as the proxy asks for them, the transport no longer counts them.
func limit1xx() *httptrace.ClientTrace {
	seen := 0
	return &httptrace.ClientTrace{Got1xxResponse: func(int, textproto.MIMEHeader) error {
		if seen++; seen > max1xx {
			return errFlood
		}
		return nil
	}}
}

// appAnswer keeps an app's informational answers (RFC 9110 section 15.2) from
// the visitor: what 103 Early Hints brings along would be headers that
// cleanAnswer never saw. Leave to go on (100) is given by the server itself when
// the app's side of the connection begins to read the body, and 101 does not come
// this way.
type appAnswer struct {
	http.ResponseWriter
	upload *upload // nil: none
	begun  bool    // the head of the app's answer was passed on

	back  *tap                   // to the app
	lasts func(front, back *tap) // hears that the protocol was changed
	over  func()                 // to be called at the end; nil: nothing is
}

// WriteHeader implements http.ResponseWriter.
func (a *appAnswer) WriteHeader(status int) {
	if status < 200 {
		return
	}
	a.begun = true
	// An app may answer while the visitor still sends. A connection that
	// cannot do that ends the request body at the answer, which is all it can.
	_ = http.NewResponseController(a.ResponseWriter).EnableFullDuplex()
	a.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (a *appAnswer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// rewrite makes the request that the app gets. Its address is the pod's name, so
// that idle streams are kept by pod.
func (in *Ingress) rewrite(pr *httputil.ProxyRequest) {
	pr.Out.URL.Scheme, pr.Out.URL.Host = "http", podName(pr.In.Context())
	pr.Out.URL.RawQuery = pr.In.URL.RawQuery // the app parses it, not we
	pr.Out.Host = pr.In.Host
	pr.Out.Trailer = nil
	h := pr.Out.Header
	cleanRequest(h)
	if a := in.cfg.ClientAddr(pr.In); a.IsValid() {
		h.Set("X-Forwarded-For", a.String())
	}
	h.Set("X-Forwarded-Host", pr.In.Host)
	h.Set("X-Forwarded-Proto", in.cfg.Scheme)
}

// dialError carries the page that a failed dial leads to.
type dialError struct {
	page errorpage.Page
	err  error
}

func (e *dialError) Error() string { return e.err.Error() }
func (e *dialError) Unwrap() error { return e.err }

func (in *Ingress) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	conn, pod, err := in.cfg.Pods.DialApp(ctx, podName(ctx))
	if err != nil {
		return nil, &dialError{pageFor(err, pod.Status), err}
	}
	return newTap(connlimit.Timed(conn, in.cfg.AnswerTimeout)), nil
}

// answers is the transport with what an answer must not bring along taken off.
type answers struct{ http.RoundTripper }

var errStatus = errors.New("ingress: the app's status is none")

// RoundTrip refuses a status that net/http cannot send on, and returns a copy
// of the answer without trailers: those that come after the body are written
// to the original, where nobody passes them on past cleanAnswer.
func (a answers) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := a.RoundTripper.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if res.StatusCode < 200 && res.StatusCode != http.StatusSwitchingProtocols {
		return nil, errors.Join(errStatus, res.Body.Close())
	}
	bare := *res
	bare.Trailer = nil
	return &bare, nil
}

// fail answers a request that got no answer from its app.
func (in *Ingress) fail(w http.ResponseWriter, r *http.Request, err error) {
	var dial *dialError
	var timeout net.Error
	var tooBig *http.MaxBytesError
	var uploading error
	if out, ok := w.(*appAnswer); ok {
		w, uploading = out.ResponseWriter, out.upload.failure() // this answer is ours
	}
	switch {
	case errors.As(err, &tooBig):
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
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), strings.Contains(err.Error(), "connection reset"):
		answer(w, r, pageFailed)
	default:
		answer(w, r, pageBroken)
	}
	in.cfg.Log.Debug("pod gave no answer", "host", r.Host, "error", err)
}

// buffers keeps copy buffers for reuse.
type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte {
	if p, ok := b.pool.Get().(*[]byte); ok {
		return *p
	}
	return make([]byte, copyBuffer)
}

func (b *buffers) Put(p []byte) { b.pool.Put(&p) }
