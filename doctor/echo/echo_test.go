package echo_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"podgate/doctor/echo"
	"podgate/internal/web"
)

func handler(t *testing.T) http.Handler {
	t.Helper()
	routes, err := echo.Routes(echo.Config{
		Issuers: []string{"https://pods.example.com", "http://[::1]:8080"}, Proxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.7/32")}, Now: time.Now,
	})
	if err != nil || len(routes) != 1 || routes[0].Method != "POST" || routes[0].Path != "/api/doctor" || routes[0].CORS {
		t.Fatalf("%+v, %v", routes, err)
	}
	stack := &web.Stack{Log: slog.New(slog.DiscardHandler), Now: time.Now}
	return stack.Handle(routes[0].Handler, routes[0].Errors)
}

func ask(h http.Handler, body io.Reader, peer string, header map[string]string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("POST", "https://pods.example.com/api/doctor", body)
	r.RemoteAddr = peer
	for name, value := range header {
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestCounts(t *testing.T) {
	t.Parallel()
	h := handler(t)
	w := ask(h, strings.NewReader(strings.Repeat("x", 100_000)), "198.51.100.1:1", nil)
	if w.Code != 200 || w.Body.String() != "{\"received\":100000}\n" || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
}

// endless is a body without a length that never ends.
type endless struct{ read int }

func (e *endless) Read(b []byte) (int, error) { e.read += len(b); return len(b), nil }

func TestBodyIsBounded(t *testing.T) {
	t.Parallel()
	h := handler(t)
	body := &endless{}
	if w := ask(h, body, "198.51.100.1:1", nil); w.Code != http.StatusRequestEntityTooLarge || body.read > echo.MaxBody+1<<20 {
		t.Errorf("%d after %d bytes", w.Code, body.read)
	}
	// One that says its length is refused before it is read.
	r := httptest.NewRequest("POST", "/api/doctor", body)
	r.ContentLength, body.read = echo.MaxBody+1, 0
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != http.StatusRequestEntityTooLarge || body.read > 0 {
		t.Errorf("%d after %d bytes", w.Code, body.read)
	}
}

func TestStream(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h, start := handler(t), time.Now()
		w := ask(h, nil, "198.51.100.1:1", nil)
		if took := time.Since(start); took != 400*time.Millisecond {
			t.Errorf("the stream takes %v", took)
		}
		if w.Header().Get("Content-Type") != "text/event-stream" || w.Header().Get("X-Accel-Buffering") != "no" || !w.Flushed || strings.Count(w.Body.String(), "data: ") != 5 {
			t.Errorf("%v %s", w.Header(), w.Body)
		}
	})
}

func TestStreamEndsWithItsReader(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
		defer cancel()
		r := httptest.NewRequestWithContext(ctx, "POST", "/api/doctor", nil)
		w, start := httptest.NewRecorder(), time.Now()
		handler(t).ServeHTTP(w, r)
		if took := time.Since(start); took != 150*time.Millisecond {
			t.Errorf("the stream goes on for %v", took)
		}
	})
}

func TestPassage(t *testing.T) {
	t.Parallel()
	h := handler(t)
	for want, c := range map[string]struct {
		peer, host string
		forwarded  string
	}{
		`{"host":true,"forwarded":false,"trusted":false}`:  {"198.51.100.1:1", "PODS.example.com:443", ""},
		`{"host":true,"forwarded":true,"trusted":false}`:   {"198.51.100.2:1", "pods.example.com", "203.0.113.9"},
		`{"host":true,"forwarded":true,"trusted":true}`:    {"192.0.2.7:1", "[::1]:9090", "203.0.113.9"},
		`{"host":false,"forwarded":true,"trusted":true}`:   {"192.0.2.7:1", "localhost:8080", "203.0.113.9"},
		`{"host":false,"forwarded":false,"trusted":false}`: {"198.51.100.3:1", "%zz", ""},
	} {
		r := httptest.NewRequest("POST", "/api/doctor", nil)
		r.RemoteAddr, r.Host = c.peer, c.host
		if c.forwarded != "" {
			r.Header.Set("X-Forwarded-For", c.forwarded)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		first, err := bufio.NewReader(w.Body).ReadString('\n')
		if err != nil || first != "data: "+want+"\n" {
			t.Errorf("%+v: %q, %v, want %s", c, first, err, want)
		}
		if all := first + w.Body.String(); strings.Contains(all, "203.0.113") || strings.Contains(all, "192.0.2") {
			t.Errorf("an address is given away: %s", all)
		}
	}
}

func TestFloods(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := handler(t)
		refused := 0
		for range 40 {
			if w := ask(h, strings.NewReader("x"), "198.51.100.1:1", nil); w.Code == http.StatusTooManyRequests && w.Header().Get("Retry-After") != "" {
				refused++
			}
		}
		if refused != 25 {
			t.Errorf("%d of 40 from one address are refused", refused)
		}
		if w := ask(h, strings.NewReader("x"), "198.51.100.2:1", nil); w.Code != 200 {
			t.Errorf("another address: %d", w.Code)
		}
	})
}

// Of many at the same time only a few are held, and of one address fewer, so
// that it cannot keep the others out.
func TestAtOnce(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ addresses, answered int }{"one address": {1, 2}, "a neighbour": {2, 4}, "many": {6, 8}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := handler(t)
				codes := make(chan int, 12)
				for i := range 12 {
					go func() { codes <- ask(h, nil, fmt.Sprintf("198.51.100.%d:1", i%c.addresses), nil).Code }()
				}
				count := map[int]int{}
				for range 12 {
					count[<-codes]++
				}
				if count[200] != c.answered || count[429] != 12-c.answered {
					t.Errorf("%v, want %d answered", count, c.answered)
				}
				if w := ask(h, nil, "198.51.100.1:1", nil); w.Code != 200 {
					t.Errorf("afterwards: %d", w.Code)
				}
			})
		})
	}
}
