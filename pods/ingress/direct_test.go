package ingress_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"podgate/internal/connlimit"
	"podgate/pods/ingress"
	"podgate/pods/podstest"
	"podgate/store"
)

// direct is a runtime whose apps are reached without an agent, over connections of which one
// can see whether they rest.
type direct struct {
	*podstest.Fake
	path string
}

func (d direct) Connect(ctx context.Context, _ store.PodID, _ int) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "unix", d.path)
}

// newDirectSite is a site whose app gets each connection with its number, from 1 up, and
// which says how many there were.
func newDirectSite(t *testing.T, app func(n int, c net.Conn), change ...func(*ingress.Config)) (*site, *atomic.Int64) {
	t.Helper()
	dir, err := os.MkdirTemp("", "app") // a name that is short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "s")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	count := new(atomic.Int64)
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			n := int(count.Add(1))
			all.Go(func() { app(n, c) })
		}
	})
	s := &site{fake: podstest.NewFake(t)}
	s.fake.SetAgent(appAgent(t, nil))
	t.Cleanup(func() {
		if err := errors.Join(ln.Close(), os.RemoveAll(dir)); err != nil {
			t.Error(err)
		}
		all.Wait()
	})
	s.open(t, direct{s.fake, path}, change...) // ends before its app does
	return s, count
}

// asked reads one request with its body; nil at the end of the connection.
func asked(r *bufio.Reader) *http.Request {
	req, err := http.ReadRequest(r)
	if err != nil {
		return nil
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil
	}
	req.Body = io.NopCloser(strings.NewReader(string(body)))
	return req
}

const okay = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// A connection to an app is used again when request and answer have gone over it to their
// ends, and never otherwise: what is left over must not be the answer to the next visitor.
func TestConnectionsAreUsedAgain(t *testing.T) {
	t.Parallel()
	const poison = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
	for name, c := range map[string]struct {
		method, body, answer, want string
		end                        bool // the app hangs up
		again                      bool
	}{
		"length":                  {answer: okay, want: "ok", again: true},
		"chunks":                  {answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX: y\r\n\r\n", want: "ok", again: true},
		"nothing":                 {answer: "HTTP/1.1 204 No Content\r\n\r\n", again: true},
		"not modified":            {answer: "HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n", again: true},
		"HEAD":                    {method: "HEAD", answer: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", again: true},
		"POST":                    {method: "POST", body: "body", answer: okay, want: "ok", again: true},
		"informational":           {answer: "HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n" + okay, want: "ok", again: true},
		"says that it closes":     {answer: "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", want: "ok"},
		"HTTP/1.0":                {answer: "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", want: "ok"},
		"until the end":           {answer: "HTTP/1.1 200 OK\r\n\r\nok", want: "ok", end: true},
		"hangs up":                {answer: okay, want: "ok", end: true},
		"one more answer":         {answer: okay + poison, want: "ok"},
		"a body after HEAD":       {method: "HEAD", answer: poison},
		"a body after 304":        {answer: "HTTP/1.1 304 Not Modified\r\n\r\n" + poison},
		"a body of no content":    {answer: "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n" + poison},
		"too long for its length": {answer: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more", want: "ok"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, count := newDirectSite(t, func(n int, conn net.Conn) {
				defer conn.Close()
				for r := bufio.NewReader(conn); asked(r) != nil; {
					if _, err := io.WriteString(conn, c.answer); err != nil || c.end {
						return
					}
				}
			})
			method := c.method
			if method == "" {
				method = "GET"
			}
			for range 3 {
				if _, body := s.ask(t, method, "/", strings.NewReader(c.body)); body != c.want {
					t.Errorf("%q, want %q", body, c.want)
				}
			}
			if n := count.Load(); (n == 1) != c.again {
				t.Errorf("%d connections", n)
			}
		})
	}
}

// What an app says unasked, after the answer that it owed, goes to nobody.
func TestUnaskedAnswers(t *testing.T) {
	t.Parallel()
	said := make(chan struct{}, 1)
	s, count := newDirectSite(t, func(n int, conn net.Conn) {
		defer conn.Close()
		r := bufio.NewReader(conn)
		for first := n == 1; asked(r) != nil; first = false {
			_, _ = io.WriteString(conn, okay)
			if first {
				<-said // the answer is with its visitor
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
				said <- struct{}{}
			}
		}
	})
	if _, body := s.ask(t, "GET", "/", nil); body != "ok" {
		t.Errorf("%q", body)
	}
	said <- struct{}{}
	for len(said) > 0 { // the app has not taken it yet
		time.Sleep(time.Millisecond)
	}
	<-said // on a unix socket what was written is there
	if _, body := s.ask(t, "GET", "/", nil); body != "ok" || count.Load() != 2 {
		t.Errorf("%q over %d connections", body, count.Load())
	}
}

// A request over a connection that the app has just given up is sent once more where that
// changes nothing, and only then.
func TestRequestsAreSentTwice(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		method, body, last string
		first              bool // already the first connection ends without an answer
		status, requests   int
	}{
		"GET":              {method: "GET", status: 200, requests: 3},
		"HEAD":             {method: "HEAD", status: 200, requests: 3},
		"GET with a body":  {method: "GET", body: "x", status: 502, requests: 2},
		"POST":             {method: "POST", status: 502, requests: 2},
		"DELETE":           {method: "DELETE", status: 502, requests: 2},
		"a begun answer":   {method: "GET", last: "H", status: 502, requests: 2},
		"a new connection": {method: "GET", first: true, status: 502, requests: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var requests atomic.Int64
			s, _ := newDirectSite(t, func(n int, conn net.Conn) {
				defer conn.Close()
				r := bufio.NewReader(conn)
				for asked(r) != nil {
					if number := requests.Add(1); n == 1 && (number > 1 || c.first) {
						_, _ = io.WriteString(conn, c.last)
						return
					}
					_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
				}
			})
			if !c.first {
				s.ask(t, "GET", "/", nil)
			}
			res, _ := s.ask(t, c.method, "/", strings.NewReader(c.body))
			if n := requests.Load(); res.StatusCode != c.status || int(n) != c.requests {
				t.Errorf("%d after %d requests, want %d after %d", res.StatusCode, n, c.status, c.requests)
			}
		})
	}
}

// An app that answers before it has read all is heard, and what the visitor still sends ends
// in an order that leaves the answer with him.
func TestRefusedByTheApp(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"closes":     "HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno",
		"only stops": "HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno",
	} {
		for _, h2 := range []bool{false, true} {
			t.Run(fmt.Sprint(name, " h2 ", h2), func(t *testing.T) {
				t.Parallel()
				s, count := newDirectSite(t, func(_ int, conn net.Conn) {
					defer conn.Close()
					r := bufio.NewReader(conn)
					if _, err := http.ReadRequest(r); err != nil {
						t.Error(err)
					}
					_, _ = io.WriteString(conn, answer)
					if name == "only stops" {
						_, _ = io.Copy(io.Discard, r) // until it is hung up on
					}
				})
				server := s.Server
				if h2 {
					server = secureSite(t, s)
				}
				body, end := io.Pipe()
				defer end.Close()
				go func() { _, _ = end.Write(make([]byte, 100)) }() // and then nothing, and no end
				req, err := http.NewRequestWithContext(t.Context(), "POST", server.URL, body)
				if err != nil {
					t.Fatal(err)
				}
				res, err := server.Client().Transport.RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				text, err := io.ReadAll(res.Body)
				if err != nil || res.StatusCode != 413 || string(text) != "no" || h2 != (res.ProtoMajor == 2) {
					t.Errorf("%s %d %q %v", res.Proto, res.StatusCode, text, err)
				}
				_ = res.Body.Close()
				if count.Load() != 1 {
					t.Errorf("%d connections", count.Load())
				}
			})
		}
	}
}

// secureSite serves the same pod over HTTP/2.
func secureSite(t *testing.T, s *site) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(connlimit.Deadlines(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.in.Serve(w, r, "shop") })))
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

// Over HTTP/2 everything is as over HTTP/1.1.
func TestHTTP2(t *testing.T) {
	t.Parallel()
	s := newSite(t, handled(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			_ = http.NewResponseController(w).EnableFullDuplex()
		}
		w.Header().Set("X-Query", r.URL.RawQuery)
		_, _ = io.Copy(w, r.Body)
	}))
	server := secureSite(t, s)
	for name, body := range map[string]io.Reader{"length": strings.NewReader(strings.Repeat("x", 1<<20)), "none": struct{ io.Reader }{strings.NewReader(strings.Repeat("x", 1<<20))}} {
		req, err := http.NewRequestWithContext(t.Context(), "POST", server.URL+"/?a=b", body)
		if err != nil {
			t.Fatal(err)
		}
		req.URL.RawQuery = "a=b HTTP/1.1"
		res, err := server.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, res.Body)
		if err != nil || n != 1<<20 || res.ProtoMajor != 2 || res.Header.Get("X-Query") != "a=b%20HTTP/1.1" {
			t.Errorf("%s: %s, %d bytes, %v, %v", name, res.Proto, n, res.Header, err)
		}
		_ = res.Body.Close()
	}
}

// An app that does not want a body which it was asked about does not get it, and the visitor
// is not told to send it.
func TestUnwantedBodies(t *testing.T) {
	t.Parallel()
	read := make(chan string, 1)
	s, _ := newDirectSite(t, func(_ int, conn net.Conn) {
		defer conn.Close()
		r := bufio.NewReader(conn)
		if _, err := http.ReadRequest(r); err != nil {
			t.Error(err)
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno")
		rest, _ := io.ReadAll(r)
		read <- string(rest)
	})
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "PUT / HTTP/1.1\r\nHost: shop\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != 401 || string(text) != "no" || !res.Close {
		t.Errorf("%d %q, closes %v, %v", res.StatusCode, text, res.Close, err)
	}
	if rest := <-read; rest != "" {
		t.Errorf("the app got %q", rest)
	}
}

// Who leaves ends what the app was asked.
func TestVisitorsWhoLeave(t *testing.T) {
	t.Parallel()
	for name, request := range map[string]string{"waits": "GET / HTTP/1.1\r\nHost: shop\r\n\r\n", "sends": "POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 9\r\n\r\nx"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			there, gone := make(chan struct{}), make(chan struct{})
			s, _ := newDirectSite(t, func(_ int, conn net.Conn) {
				defer close(gone)
				defer conn.Close()
				r := bufio.NewReader(conn)
				if _, err := http.ReadRequest(r); err != nil {
					t.Error(err)
				}
				close(there)
				_, _ = io.Copy(io.Discard, r)
			})
			conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprint(conn, request)
			<-there
			if err := conn.Close(); err != nil {
				t.Error(err)
			}
			<-gone
		})
	}
}

// Where a request ends, and what its lines are, is decided here, whatever a visitor writes.
func TestFramingIsOurs(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ sent, want, body string }{
		"length":          {"POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 2\r\n\r\nhi", "Content-Length: 2", "hi"},
		"chunks":          {"POST / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n1\r\nh\r\n1;ext=1\r\ni\r\n0\r\nX: y\r\n\r\n", "Transfer-Encoding: chunked", "hi"},
		"both":            {"POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", "Transfer-Encoding: chunked", "hi"},
		"an empty POST":   {"POST / HTTP/1.1\r\nHost: shop\r\n\r\n", "Content-Length: 0", ""},
		"a plain GET":     {"GET / HTTP/1.1\r\nHost: shop\r\n\r\n", "", ""},
		"other spellings": {"GET / HTTP/1.1\r\nHost: shop\r\nContent_Length: 5\r\nTransfer_Encoding: chunked\r\n\r\n", "", ""},
		"of a connection": {"POST / HTTP/1.1\r\nHost: shop\r\nConnection: Content-Length, Host\r\nContent-Length: 2\r\n\r\nhi", "Content-Length: 2", "hi"},
		"a whole address": {"GET http://shop/?q HTTP/1.1\r\nHost: other\r\n\r\n", "", ""},
		"HTTP/1.0":        {"POST / HTTP/1.0\r\nHost: shop\r\nContent-Length: 2\r\n\r\nhi", "Content-Length: 2", "hi"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := make(chan string, 1)
			s, _ := newDirectSite(t, func(_ int, conn net.Conn) {
				defer conn.Close()
				var head strings.Builder
				r := bufio.NewReader(io.TeeReader(conn, &head))
				req := asked(r)
				if req == nil {
					t.Errorf("the app got %q", head.String())
					return
				}
				body, _ := io.ReadAll(req.Body)
				if r.Buffered() > 0 || string(body) != c.body || req.Host != "shop" {
					t.Errorf("%s: %q, and %d bytes more", req.Host, body, r.Buffered())
				}
				got <- head.String()
				_, _ = io.WriteString(conn, okay)
			})
			conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			fmt.Fprint(conn, c.sent)
			if body := finalAnswer(t, bufio.NewReader(conn)); body != "ok" {
				t.Fatalf("%q", body)
			}
			var framing []string
			head, _, _ := strings.Cut(<-got, "\r\n\r\n")
			for line := range strings.SplitSeq(head, "\r\n") {
				if name := strings.ToLower(strings.ReplaceAll(line, "_", "-")); strings.HasPrefix(name, "content-length") || strings.HasPrefix(name, "transfer-encoding") || strings.HasPrefix(name, "trailer") {
					framing = append(framing, line)
				}
			}
			if strings.Join(framing, "|") != c.want {
				t.Errorf("%q, want %q", framing, c.want)
			}
		})
	}
}

// What cannot be a request of one head reaches no app.
func TestImproperRequests(t *testing.T) {
	t.Parallel()
	s, count := newDirectSite(t, func(_ int, conn net.Conn) { _ = conn.Close() })
	for name, change := range map[string]func(*http.Request){
		"method":       func(r *http.Request) { r.Method = "GET / HTTP/1.1\r\nX:" },
		"two words":    func(r *http.Request) { r.Method = "GET /x" },
		"host":         func(r *http.Request) { r.Host = "shop\r\nX: y" },
		"host's space": func(r *http.Request) { r.Host = "shop x" },
		"query":        func(r *http.Request) { r.URL.RawQuery = "a\r\nX: y" },
		"opaque":       func(r *http.Request) { r.URL.Opaque = "shop:80" },
		"header name":  func(r *http.Request) { r.Header["X y"] = []string{"z"} },
		"no name":      func(r *http.Request) { r.Header[""] = []string{"z"} },
		"header value": func(r *http.Request) { r.Header["X"] = []string{"y\r\nZ: z"} },
		"bare return":  func(r *http.Request) { r.Header["X"] = []string{"y\rZ: z"} },
		"NUL":          func(r *http.Request) { r.Header["X"] = []string{"y\x00"} },
	} {
		r := httptest.NewRequestWithContext(t.Context(), "GET", "http://shop/", nil)
		change(r)
		w := httptest.NewRecorder()
		s.in.Serve(w, r, "shop")
		if w.Code != http.StatusBadRequest {
			t.Errorf("%s: %d", name, w.Code)
		}
	}
	if count.Load() != 0 {
		t.Errorf("%d connections", count.Load())
	}
}

// What either side says along with its part of the change of protocols is not lost, and
// HTTP/2 is no such protocol: nobody would look at what is asked over it.
func TestUpgrades(t *testing.T) {
	t.Parallel()
	for protocol, upgraded := range map[string]bool{"chat": true, "h2c": false, "x, H2C": false} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			s, _ := newDirectSite(t, func(_ int, conn net.Conn) {
				defer conn.Close()
				r := bufio.NewReader(conn)
				req, err := http.ReadRequest(r)
				if err != nil {
					t.Error(err)
					return
				}
				if req.Header.Get("Upgrade") == "" {
					_, _ = io.WriteString(conn, okay)
					return
				}
				_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\nSet-Cookie: a=1; Domain=x\r\nContent-Length: 7\r\n\r\nearly,")
				_, _ = io.Copy(conn, r) // an echo
			})
			conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: shop\r\nConnection: keep-alive, Upgrade\r\nUpgrade: %s\r\n\r\nhello", protocol)
			if !upgraded {
				if body := finalAnswer(t, bufio.NewReader(conn)); body != "ok" {
					t.Errorf("%q", body)
				}
				return
			}
			said := make([]byte, 1)
			if _, err := io.ReadFull(conn, said); err != nil { // until then who ends his half has left
				t.Fatal(err)
			}
			if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
				t.Error(err)
			}
			more, err := io.ReadAll(conn)
			said = append(said, more...)
			head, rest, _ := strings.Cut(string(said), "\r\n\r\n")
			if err != nil || rest != "early,hello" || !strings.HasPrefix(head, "HTTP/1.1 101 ") || !strings.Contains(head, "Upgrade: chat") || strings.Contains(head, "Domain") || strings.Contains(head, "Content-Length") {
				t.Errorf("%q %v", said, err)
			}
		})
	}
}
