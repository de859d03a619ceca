package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"podgate/internal/web"
)

// fakeSite is the router over routes that say their name.
func fakeSite(t *testing.T) http.Handler {
	t.Helper()
	route := func(method, path string, errors web.ErrorWriter, cors bool) web.Route {
		return web.Route{Method: method, Path: path, Errors: errors, CORS: cors, Page: !cors && path != "/assets/:name", Handler: func(w http.ResponseWriter, r *http.Request) error {
			if r.URL.Query().Has("panic") {
				panic("kaboom")
			}
			_, err := io.WriteString(w, method+" "+path)
			return err
		}}
	}
	mcp := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprintf(w, "mcp %s", r.Method)
	})
	routes := append(mcpRoutes(mcp),
		route("GET", "/", writePage, false), route("GET", "/sign-in", writePage, false), route("POST", "/sign-in", writePage, false),
		route("GET", "/assets/:name", writePage, false),
		route("GET", "/.well-known/doc", web.WriteJSONError, true), route("POST", "/api/oauth/token", web.WriteJSONError, true),
	)
	return newSite(testStacks, web.NewPageHost("http://localhost:8080"), routes, writePage)
}

func writePage(w http.ResponseWriter, _ *http.Request, e *web.Error) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(e.Status)
	fmt.Fprintf(w, "<p>%s", e.Message)
}

func TestRoutes(t *testing.T) {
	t.Parallel()
	site := fakeSite(t)
	const page, plain, isJSON = "text/html", "text/plain", "application/json"
	for _, c := range []struct {
		method, path string
		status       int
		kind, body   string
		allow        string
	}{
		{"GET", "/", 200, plain, "GET /", ""},
		{"HEAD", "/", 200, "", "", ""},
		{"GET", "/sign-in", 200, plain, "GET /sign-in", ""},
		{"POST", "/sign-in", 200, plain, "POST /sign-in", ""},
		{"HEAD", "/assets/style.css", 200, "", "", ""},
		{"HEAD", "/.well-known/doc", 200, "", "", ""},
		{"DELETE", "/sign-in", 405, page, "does not take DELETE", "GET, HEAD, OPTIONS, POST"},
		{"GET", "/api/oauth/token", 405, isJSON, "method_not_allowed", "OPTIONS, POST"},
		{"HEAD", "/api/oauth/token", 405, isJSON, "", "OPTIONS, POST"},
		{"OPTIONS", "/sign-in", 200, "", "", "GET, HEAD, OPTIONS, POST"},
		// No redirects to what was not asked for.
		{"GET", "/sign-in/", 404, page, "nothing at this address", ""},
		{"GET", "/SIGN-IN", 404, page, "nothing", ""},
		{"GET", "//sign-in", 404, page, "nothing", ""},
		{"GET", "/x/../sign-in", 404, page, "nothing", ""},
		{"GET", "/assets/a/b", 404, page, "nothing", ""},
		{"GET", "/absent", 404, page, "nothing", ""},
		// A discovery never gets a page.
		{"GET", "/.well-known/openid-configuration", 404, isJSON, "not_found", ""},
		{"GET", "/.well-known/doc/", 404, isJSON, "not_found", ""},
		{"GET", "/api/mcp/.well-known/oauth-protected-resource", 404, isJSON, "not_found", ""},
		{"GET", "/api/absent", 404, isJSON, "not_found", ""},
		{"POST", "/api/absent", 404, isJSON, "not_found", ""},
		// Every method meets the guard of the endpoint, with and without slash.
		{"POST", "/api/mcp", 401, "", "mcp POST", ""},
		{"POST", "/api/mcp/", 401, "", "mcp POST", ""},
		{"GET", "/api/mcp", 401, "", "mcp GET", ""},
		{"HEAD", "/api/mcp", 401, "", "", ""},
		{"DELETE", "/api/mcp/", 401, "", "mcp DELETE", ""},
		{"PUT", "/api/mcp", 401, "", "mcp PUT", ""},
		// A panic is a fault of that one request, in the form of its route.
		{"GET", "/sign-in?panic", 500, page, "Something went wrong", ""},
		{"POST", "/api/oauth/token?panic", 500, isJSON, "server_error", ""},
	} {
		server := httptest.NewRequest(c.method, "http://podgate.localhost:8080"+c.path, nil)
		w := httptest.NewRecorder()
		site.ServeHTTP(w, server)
		body := w.Body.String()
		if c.method == "HEAD" {
			body = "" // net/http drops it
		}
		if w.Code != c.status || !strings.HasPrefix(w.Header().Get("Content-Type"), c.kind) || !strings.Contains(body, c.body) || w.Header().Get("Allow") != c.allow {
			t.Errorf("%s %s: %d, %s, Allow %q: %s", c.method, c.path, w.Code, w.Header().Get("Content-Type"), w.Header().Get("Allow"), body)
		}
		if location := w.Header().Get("Location"); location != "" {
			t.Errorf("%s %s leads to %s", c.method, c.path, location)
		}
	}
}

// Scripts of any origin may call what has its authority in a header or body,
// and nothing that a cookie opens.
func TestCORS(t *testing.T) {
	t.Parallel()
	site := fakeSite(t)
	for _, c := range []struct {
		path, methods string
	}{
		{"/api/mcp", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"}, {"/api/mcp/", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"},
		{"/.well-known/doc", "GET"}, {"/api/oauth/token", "POST"}, {"/sign-in", ""}, {"/", ""},
	} {
		r := httptest.NewRequest("OPTIONS", "http://localhost:8080"+c.path, nil)
		r.Header.Set("Origin", "https://inspector.example")
		r.Header.Set("Access-Control-Request-Method", "POST")
		w := httptest.NewRecorder()
		site.ServeHTTP(w, r)
		if got := w.Header().Get("Access-Control-Allow-Methods"); got != c.methods {
			t.Errorf("preflight of %s allows %q, want %q", c.path, got, c.methods)
		}
		if open := w.Header().Get("Access-Control-Allow-Origin") == "*"; open != (c.methods != "") {
			t.Errorf("preflight of %s: %v", c.path, w.Header())
		}
	}
}

func TestPagesBelongToOneName(t *testing.T) {
	t.Parallel()
	site := fakeSite(t)
	for _, c := range []struct {
		method, path string
		status       int
		location     string
	}{
		{"GET", "/sign-in?next=%2Fa", 302, "http://podgate.localhost:8080/sign-in?next=%2Fa"}, {"HEAD", "/", 302, "http://podgate.localhost:8080/"},
		{"POST", "/sign-in", 200, ""}, // whose handler refuses it: a redirect would drop the form without a word
		{"GET", "/assets/style.css", 200, ""}, {"GET", "/absent", 404, ""}, {"GET", "/.well-known/doc", 200, ""}, {"GET", "/api/mcp", 401, ""},
	} {
		for _, name := range []string{"localhost", "127.0.0.1", "[::1]"} {
			w := httptest.NewRecorder()
			site.ServeHTTP(w, httptest.NewRequest(c.method, "http://"+name+":8080"+c.path, nil))
			if w.Code != c.status || w.Header().Get("Location") != c.location {
				t.Errorf("%s %s at %s: %d to %q, want %d to %q", c.method, c.path, name, w.Code, w.Header().Get("Location"), c.status, c.location)
			}
		}
	}
}

// A body that comes a byte at a time is given up on, and one that came in time
// does not cut off the answer that takes longer.
func TestSlowBodies(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ln := newPipeListener()
		slow := func(w http.ResponseWriter, r *http.Request) error {
			if _, err := io.ReadAll(r.Body); err != nil {
				return err
			}
			select {
			case <-r.Context().Done():
				return errors.New("the request was ended")
			case <-time.After(4 * bodyTime):
			}
			_, err := io.WriteString(w, "done")
			return err
		}
		routes := []web.Route{{Method: http.MethodPost, Path: "/", Handler: slow, Errors: web.WriteJSONError}}
		s := &http.Server{Handler: newSite(testStacks, web.NewPageHost("https://pods.example.com"), routes, writePage)}
		go s.Serve(ln)
		defer s.Close()
		if status := exchange(t, ln, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"); status != http.StatusOK {
			t.Errorf("a body in time is answered %d", status)
		}
		if status := exchange(t, ln, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhell"); status != http.StatusRequestTimeout {
			t.Errorf("a body that never ends is answered %d", status)
		}
	})
}

// A client that leaves in the middle of a body is no fault of the server's, and
// neither is one that sends what is no body.
func TestBrokenBodies(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ sent, status, level string }{
		"leaves":            {"Content-Length: 5\r\n\r\nhell", "status=499", "level=DEBUG"},
		"leaves in a chunk": {"Transfer-Encoding: chunked\r\n\r\n5\r\nhell", "status=499", "level=DEBUG"},
		"no chunk":          {"Transfer-Encoding: chunked\r\n\r\nno chunk\r\n", "status=400", "level=DEBUG"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log, ln := &syncBuffer{}, newPipeListener()
			stack := &web.Stack{Log: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})), Now: time.Now}
			read := func(_ http.ResponseWriter, r *http.Request) error {
				_, err := io.ReadAll(r.Body)
				return err
			}
			routes := []web.Route{{Method: http.MethodPost, Path: "/", Handler: read, Errors: web.WriteJSONError}}
			s := &http.Server{Handler: newSite(func(string) *web.Stack { return stack }, web.NewPageHost("https://pods.example.com"), routes, writePage)}
			go s.Serve(ln)
			defer s.Close()
			conn := ln.dial()
			if _, err := io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\n"+c.sent); err != nil {
				t.Fatal(err)
			}
			if c.status == "status=400" {
				if res, _ := readAnswer(t, conn); res.StatusCode != http.StatusBadRequest {
					t.Errorf("%d", res.StatusCode)
				}
			}
			_ = conn.Close()
			eventually(t, func() bool { return strings.Contains(log.String(), "msg=request") })
			if line := log.String(); !strings.Contains(line, c.status) || !strings.Contains(line, c.level) {
				t.Errorf("%s", line)
			}
		})
	}
}

// exchange sends raw bytes and returns the status of the answer.
func exchange(t *testing.T, ln *pipeListener, request string) int {
	t.Helper()
	conn := ln.dial()
	defer conn.Close()
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

// pipeListener hands out pipes instead of connections, for tests whose time is
// made up.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
}

func newPipeListener() *pipeListener {
	return &pipeListener{make(chan net.Conn), make(chan struct{})}
}

func (l *pipeListener) dial() net.Conn {
	ours, theirs := net.Pipe()
	l.conns <- theirs
	return ours
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { close(l.closed); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{} }
