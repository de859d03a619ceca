package web

import (
	"bufio"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
	"time"
)

// Handler serves a request or returns why it could not. It returns an error
// only before it has written anything.
type Handler func(http.ResponseWriter, *http.Request) error

// ErrorWriter writes the public half of an error in the form of its route.
type ErrorWriter func(http.ResponseWriter, *http.Request, *Error)

// Stack turns Handlers into http.Handlers. One is shared by all routes.
type Stack struct {
	Log *slog.Logger
	Now func() time.Time
	// Ended hears of every request that was answered: with which status, after how
	// long, and whether it was a stream, which lasts as long as somebody reads. nil:
	// nobody counts.
	Ended func(status int, took time.Duration, stream bool)
	// Begun hears of every request before it is served, and may put something into its
	// context. What it returns hears of the status in the end. nil: nobody asks.
	Begun func(context.Context, *http.Request) (context.Context, func(status int))
}

// Handle gives h a request id, recovers its panics, logs the outcome at debug
// level (server faults at error level) and lets write answer its errors. The
// log holds method, path, status and time, and never a query, a header or a
// body: those carry secrets.
func (s *Stack) Handle(h Handler, write ErrorWriter) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := s.Now()
		id := rand.Text()[:16]
		ctx, told := s.begun(context.WithValue(r.Context(), requestIDKey{}, id), r)
		r = r.WithContext(ctx)
		rec := &recorder{ResponseWriter: w}
		rec.Header().Set("X-Request-Id", id)
		rec.Header().Set("X-Content-Type-Options", "nosniff")
		err := s.serve(h, rec, r)
		if err != nil && !rec.wrote {
			e := AsError(err)
			for key, values := range e.Header {
				rec.Header()[key] = values
			}
			write(rec, r, e)
		}
		took := s.Now().Sub(start)
		s.log(r, rec, err, took)
		s.ended(rec, took, told)
	})
}

// Pass tells Begun and Ended of a request that is served by others, to which it adds
// nothing.
func (s *Stack) Pass(w http.ResponseWriter, r *http.Request, serve http.Handler) {
	start, rec := s.Now(), &recorder{ResponseWriter: w}
	ctx, told := s.begun(r.Context(), r)
	defer func() { s.ended(rec, s.Now().Sub(start), told) }() // also of one that hangs up by a panic
	if ctx != r.Context() {
		r = r.WithContext(ctx)
	}
	serve.ServeHTTP(rec, r)
}

func (s *Stack) begun(ctx context.Context, r *http.Request) (context.Context, func(status int)) {
	if s.Begun == nil {
		return ctx, nil
	}
	return s.Begun(ctx, r)
}

func (s *Stack) ended(rec *recorder, took time.Duration, told func(status int)) {
	status := cmp.Or(rec.status, http.StatusOK)
	if told != nil {
		told(status)
	}
	if s.Ended != nil {
		s.Ended(status, took, rec.status == http.StatusSwitchingProtocols || strings.HasPrefix(rec.Header().Get("Content-Type"), "text/event-stream"))
	}
}

// serve runs h and makes an error of a panic, so that one bad request never
// takes the server down or leaks a stack to the client.
func (s *Stack) serve(h Handler, w http.ResponseWriter, r *http.Request) (err error) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		if p == http.ErrAbortHandler { // net/http's own way to hang up
			panic(p)
		}
		err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
	}()
	return h(w, r)
}

func (s *Stack) log(r *http.Request, rec *recorder, err error, took time.Duration) {
	level := slog.LevelDebug
	if rec.status >= 500 || err != nil && AsError(err).Status >= 500 {
		level = slog.LevelError
	}
	if !s.Log.Enabled(r.Context(), level) {
		return
	}
	attrs := []slog.Attr{
		slog.String("id", RequestID(r.Context())), slog.String("method", r.Method), slog.String("path", shownPath(r.URL.Path)),
		slog.Int("status", rec.status), slog.Duration("took", took),
	}
	if err != nil {
		attrs = append(attrs, slog.Any("error", err))
	}
	s.Log.LogAttrs(r.Context(), level, "request", attrs...)
}

// The paths that go on with a secret, which is all that it takes to use them.
const (
	UploadPath   = "/api/uploads/"
	DownloadPath = "/api/downloads/"
)

// shownPath is a path without the secret that it has.
func shownPath(path string) string {
	for _, prefix := range []string{UploadPath, DownloadPath} {
		if strings.HasPrefix(path, prefix) {
			return prefix + "…"
		}
	}
	return path
}

type requestIDKey struct{}

// RequestID returns the id that Handle gave the request, or "".
func RequestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

// recorder remembers the status. Unwrap keeps flushing, hijacking and
// deadlines working through http.ResponseController; Flush is there for
// libraries that ask for http.Flusher directly.
type recorder struct {
	http.ResponseWriter
	status int
	wrote  bool
}

func (r *recorder) WriteHeader(status int) {
	if !r.wrote && status >= 200 || status == http.StatusSwitchingProtocols {
		r.status, r.wrote = status, true
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(p []byte) (int, error) {
	if !r.wrote {
		r.status, r.wrote = http.StatusOK, true
	}
	return r.ResponseWriter.Write(p)
}

// Hijack is for http.ResponseController. Whoever takes a connection over changes its protocol.
func (r *recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(r.ResponseWriter).Hijack()
	if err == nil {
		r.status, r.wrote = http.StatusSwitchingProtocols, true
	}
	return conn, buffered, err
}

func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

func (r *recorder) Flush() {
	// A connection that cannot flush has nothing buffered to wait for.
	if err := http.NewResponseController(r.ResponseWriter).Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		r.wrote = true
	}
}

// WriteJSON writes v with the status. A failure to write means that the client
// is gone, so there is nobody to tell.
func WriteJSON(w http.ResponseWriter, status int, v any) {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("web: answer does not encode: %v", err)) // our own types; a bug
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(raw, '\n'))
}

// WriteJSONError answers {"error": code, "error_description": message}, the
// form of RFC 6749 section 5.2, which the plain JSON routes share.
func WriteJSONError(w http.ResponseWriter, _ *http.Request, e *Error) {
	w.Header().Set("Cache-Control", "no-store")
	WriteJSON(w, e.Status, map[string]string{"error": e.Code, "error_description": e.Message})
}
