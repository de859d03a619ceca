package web_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"podgate/internal/web"
	"podgate/store"
)

var t0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// serve runs one request through a stack and returns the answer and the log.
func serve(t *testing.T, h web.Handler, r *http.Request) (*httptest.ResponseRecorder, string) {
	t.Helper()
	var log bytes.Buffer
	s := &web.Stack{Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})), Now: func() time.Time { return t0 }}
	w := httptest.NewRecorder()
	s.Handle(h, web.WriteJSONError).ServeHTTP(w, r)
	return w, log.String()
}

func TestErrorsShowOnlyTheirPublicHalf(t *testing.T) {
	const private = "the cause nobody outside may see"
	cause := errors.New(private)
	for name, c := range map[string]struct {
		err    error
		status int
		body   string
	}{
		"public":        {web.Fault(http.StatusTeapot, "teapot", "Use a kettle.", cause), http.StatusTeapot, `{"error":"teapot","error_description":"Use a kettle."}`},
		"wrapped":       {fmt.Errorf("%s: %w", private, web.Fault(http.StatusConflict, "c", "m", nil)), http.StatusConflict, `"error":"c"`},
		"unknown":       {cause, http.StatusInternalServerError, "Its log says what."},
		"not found":     {fmt.Errorf("%s: %w", private, store.ErrNotFound), http.StatusNotFound, "nothing here"},
		"taken":         {store.ErrTaken, http.StatusConflict, "taken"},
		"disk full":     {&store.DiskFullError{Path: private, Err: syscall.ENOSPC}, http.StatusInsufficientStorage, "make room"},
		"too large":     {&http.MaxBytesError{Limit: 12}, http.StatusRequestEntityTooLarge, "12 bytes"},
		"deadline":      {context.DeadlineExceeded, http.StatusGatewayTimeout, "too long"},
		"client is off": {context.Canceled, 499, "cancelled"},
	} {
		w, log := serve(t, func(http.ResponseWriter, *http.Request) error { return c.err }, httptest.NewRequest("GET", "/x?secret=1", nil))
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.body) {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
		if strings.Contains(w.Body.String(), private) {
			t.Errorf("%s: the cause reached the client: %s", name, w.Body)
		}
		if strings.Contains(log, "secret=1") {
			t.Errorf("%s: the query reached the log: %s", name, log)
		}
		if errors.Is(c.err, cause) && !strings.Contains(log, private) {
			t.Errorf("%s: the cause is not in the log: %s", name, log)
		}
	}
}

func TestPanicBecomesAnError(t *testing.T) {
	w, log := serve(t, func(http.ResponseWriter, *http.Request) error { panic("kaboom") }, httptest.NewRequest("GET", "/", nil))
	if w.Code != 500 || strings.Contains(w.Body.String(), "kaboom") || !strings.Contains(log, "kaboom") || !strings.Contains(log, "level=ERROR") {
		t.Errorf("%d %s\n%s", w.Code, w.Body, log)
	}
	defer func() {
		if recover() != http.ErrAbortHandler {
			t.Error("a wish to hang up was swallowed")
		}
	}()
	serve(t, func(http.ResponseWriter, *http.Request) error { panic(http.ErrAbortHandler) }, httptest.NewRequest("GET", "/", nil))
}

func TestNothingIsWrittenOverAnAnswer(t *testing.T) {
	w, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) error {
		_, err := io.WriteString(w, "done")
		return errors.Join(err, errors.New("too late"))
	}, httptest.NewRequest("GET", "/", nil))
	if w.Code != 200 || w.Body.String() != "done" {
		t.Errorf("%d %q", w.Code, w.Body)
	}
}

func TestErrorHeadersAndRequestID(t *testing.T) {
	var id string
	w, log := serve(t, func(_ http.ResponseWriter, r *http.Request) error {
		id = web.RequestID(r.Context())
		return web.TooMany(90*time.Second, "tries")
	}, httptest.NewRequest("GET", "/", nil))
	if w.Code != 429 || w.Header().Get("Retry-After") != "90" || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	if id == "" || w.Header().Get("X-Request-Id") != id || !strings.Contains(log, id) {
		t.Errorf("id %q, header %q, log %s", id, w.Header().Get("X-Request-Id"), log)
	}
}

// Whoever counts hears of every answer once, and which of them are streams.
func TestCounted(t *testing.T) {
	for name, c := range map[string]struct {
		serve web.Handler
		want  string
	}{
		"page":    {func(w http.ResponseWriter, _ *http.Request) error { _, err := io.WriteString(w, "x"); return err }, "200 2s false"},
		"nothing": {func(http.ResponseWriter, *http.Request) error { return nil }, "200 2s false"},
		"fault":   {func(http.ResponseWriter, *http.Request) error { return web.TooMany(time.Second, "tries") }, "429 2s false"},
		"panic":   {func(http.ResponseWriter, *http.Request) error { panic("x") }, "500 2s false"},
		"stream": {func(w http.ResponseWriter, _ *http.Request) error {
			w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
			w.WriteHeader(http.StatusOK)
			return nil
		}, "200 2s true"},
		"upgrade": {func(w http.ResponseWriter, _ *http.Request) error {
			w.WriteHeader(http.StatusSwitchingProtocols)
			return nil
		}, "101 2s true"},
	} {
		now, got := t0, []string{}
		s := &web.Stack{
			Log: slog.New(slog.DiscardHandler), Now: func() time.Time { now = now.Add(2 * time.Second); return now },
			Ended: func(status int, took time.Duration, stream bool) { got = append(got, fmt.Sprint(status, took, stream)) },
		}
		s.Handle(c.serve, web.WriteJSONError).ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), "GET", "/", nil))
		if len(got) != 1 || got[0] != c.want {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// What others serve is counted and left as it is.
// A connection whose protocol was changed is told as one, and its life is no answer's time.
func TestHijackedConnectionsAreStreams(t *testing.T) {
	t.Parallel()
	type ended struct {
		status int
		stream bool
	}
	told := make(chan ended, 1)
	s := &web.Stack{Log: slog.New(slog.DiscardHandler), Now: time.Now, Ended: func(status int, _ time.Duration, stream bool) { told <- ended{status, stream} }}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.Pass(w, r, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			_ = conn.Close()
		}))
	}))
	defer server.Close()
	if _, err := http.Get(server.URL); err == nil {
		t.Error("there was an answer")
	}
	if e := <-told; e != (ended{http.StatusSwitchingProtocols, true}) {
		t.Errorf("%+v", e)
	}
}

func TestPass(t *testing.T) {
	var got []int
	s := &web.Stack{Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return t0 }, Ended: func(status int, _ time.Duration, _ bool) { got = append(got, status) }}
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
	s.Pass(w, r, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusTeapot)
		_, _ = io.WriteString(w, "x")
	}))
	if len(got) != 1 || got[0] != http.StatusTeapot || w.Code != http.StatusTeapot || w.Body.String() != "x" || len(w.Header()) != 0 {
		t.Errorf("counted %v, answered %d %q %v", got, w.Code, w.Body, w.Header())
	}
}

func TestStreamsPassTheRecorder(t *testing.T) {
	release := make(chan struct{})
	s := &web.Stack{Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return t0 }}
	srv := httptest.NewServer(s.Handle(func(w http.ResponseWriter, r *http.Request) error {
		_, _ = io.WriteString(w, "first")
		w.(http.Flusher).Flush()
		<-release
		return nil
	}, web.WriteJSONError))
	defer srv.Close()
	resp, err := srv.Client().Get(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	defer close(release)
	if got, err := io.ReadAll(io.LimitReader(resp.Body, 5)); string(got) != "first" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestSameOrigin(t *testing.T) {
	const ours = "https://podgate.example"
	for name, c := range map[string]struct {
		origin, site string
		want         bool
	}{
		"our page":                 {ours, "same-origin", true},
		"our page, old browser":    {ours, "", true},
		"no-referrer page":         {"null", "same-origin", true},
		"another site":             {"https://evil.example", "cross-site", false},
		"a pod":                    {"https://pod.podgate.example", "same-site", false},
		"http twin":                {"http://podgate.example", "same-site", false},
		"sandboxed frame":          {"null", "cross-site", false},
		"null without a voucher":   {"null", "", false},
		"nothing at all":           {"", "", false},
		"origin wins over voucher": {"https://evil.example", "same-origin", false},
		"typed address":            {"", "none", false},
	} {
		r := httptest.NewRequest("POST", "/", nil)
		r.Header.Set("Origin", c.origin)
		r.Header.Set("Sec-Fetch-Site", c.site)
		if err := web.SameOrigin(r, ours); (err == nil) != c.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCORS(t *testing.T) {
	h := web.CORS("POST", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }))
	ask := func(method string, headers map[string]string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, "/api/mcp", nil)
		for k, v := range headers {
			r.Header.Set(k, v)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	w := ask("OPTIONS", map[string]string{"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,mcp-param-x"})
	allowed := w.Header().Get("Access-Control-Allow-Headers")
	if w.Code != 204 || w.Header().Get("Access-Control-Allow-Origin") != "*" || !strings.Contains(allowed, "Authorization") || !strings.Contains(allowed, "mcp-param-x") {
		t.Errorf("preflight: %d %v", w.Code, w.Header())
	}
	w = ask("POST", nil)
	if w.Code != 401 || !strings.Contains(w.Header().Get("Access-Control-Expose-Headers"), "WWW-Authenticate") {
		t.Errorf("request: %d %v", w.Code, w.Header())
	}
	if w.Header().Get("Access-Control-Allow-Credentials") != "" {
		t.Error("cookies are invited")
	}
	w = ask("OPTIONS", map[string]string{"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": strings.Repeat("x", 2000)})
	if len(w.Header().Get("Access-Control-Allow-Headers")) > 1000 {
		t.Error("an endless list of headers came back")
	}
}

func TestClientAddr(t *testing.T) {
	trusted := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("203.0.113.7/32")}
	for name, c := range map[string]struct {
		peer, forwarded, want string
		trusted               []netip.Prefix
	}{
		"direct":                {"192.0.2.1:99", "", "192.0.2.1", trusted},
		"untrusted peer lies":   {"192.0.2.1:99", "198.51.100.9", "192.0.2.1", trusted},
		"nobody is trusted":     {"127.0.0.1:99", "198.51.100.9", "127.0.0.1", nil},
		"behind a proxy":        {"127.0.0.1:99", "198.51.100.9", "198.51.100.9", trusted},
		"client prepends a lie": {"127.0.0.1:99", "10.0.0.1, 198.51.100.9", "198.51.100.9", trusted},
		"two proxies":           {"127.0.0.1:99", "198.51.100.9, 203.0.113.7", "198.51.100.9", trusted},
		"garbage":               {"127.0.0.1:99", "unknown", "127.0.0.1", trusted},
		"mapped IPv4":           {"[::ffff:192.0.2.1]:99", "", "192.0.2.1", trusted},
		"three proxies":         {"127.0.0.1:99", "6.6.6.6, 198.51.100.9, 127.0.0.3, 203.0.113.7", "198.51.100.9", trusted},
		"a stranger between":    {"127.0.0.1:99", "198.51.100.9, 203.0.113.8", "203.0.113.8", trusted},
		"with a port":           {"127.0.0.1:99", "198.51.100.9:4711", "198.51.100.9", trusted},
		"IPv6":                  {"127.0.0.1:99", "2001:db8::9", "2001:db8::9", trusted},
		"IPv6 with a port":      {"127.0.0.1:99", "[2001:db8::9]:4711", "2001:db8::9", trusted},
		"IPv6 in brackets":      {"127.0.0.1:99", "[2001:db8::9]", "2001:db8::9", trusted},
		"lie behind garbage":    {"127.0.0.1:99", "198.51.100.9, unknown, 203.0.113.7", "203.0.113.7", trusted},
		"a trusted peer lies":   {"[::1]:99", "198.51.100.9", "::1", trusted},
		"nothing there":         {"127.0.0.1:99", " , ", "127.0.0.1", trusted},
		"all trusted":           {"127.0.0.1:99", "127.0.0.2", "127.0.0.2", trusted},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = c.peer
		if c.forwarded != "" {
			r.Header.Set("X-Forwarded-For", c.forwarded)
		}
		if got := web.ClientAddr(r, c.trusted).String(); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}
