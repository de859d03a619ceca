package ingress_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"podgate/pods/ingress"
)

// byHeader takes the visitor's address from the header From.
func byHeader(c *ingress.Config) {
	c.ClientAddr = func(r *http.Request) netip.Addr { return netip.MustParseAddr(r.Header.Get("From")) }
}

// crowd opens requests that do not end until leave.
type crowd struct {
	*site
	held chan struct{} // one for each request that has reached the app
	free chan struct{}
	wg   sync.WaitGroup
	once sync.Once
}

func newCrowd(t *testing.T) *crowd {
	c := &crowd{held: make(chan struct{}, 1000), free: make(chan struct{})}
	c.site = newSite(t, handled(t, func(http.ResponseWriter, *http.Request) { c.held <- struct{}{}; <-c.free }), byHeader)
	t.Cleanup(c.leave)
	return c
}

func (c *crowd) leave() { c.once.Do(func() { close(c.free) }); c.wg.Wait() }

// open opens a request from an address and waits until the app has it.
func (c *crowd) open(t *testing.T, from string) {
	c.wg.Go(func() {
		if res, _ := c.ask(t, "GET", "/", nil, "From", from); res.StatusCode != 200 {
			t.Errorf("%s: %d", from, res.StatusCode)
		}
	})
	<-c.held
}

// refused opens a request that does not reach the app, and returns its answer.
func (c *crowd) refused(t *testing.T, from string) (res *http.Response, body string) {
	t.Helper()
	answered := make(chan struct{})
	c.wg.Go(func() {
		res, body = c.ask(t, "GET", "/", nil, "From", from)
		close(answered)
	})
	select {
	case <-answered:
	case <-c.held:
		t.Fatalf("one more, from %s, reached the app", from)
	}
	return res, body
}

func TestOnePodCannotHoldAllRequests(t *testing.T) {
	t.Parallel()
	c := newCrowd(t)
	for i := range 256 {
		c.open(t, fmt.Sprintf("198.51.%d.1", i))
	}
	res, _ := c.refused(t, "203.0.113.1")
	if res.StatusCode != 503 || res.Header.Get("Retry-After") == "" {
		t.Errorf("%d %v", res.StatusCode, res.Header)
	}
	c.leave()
	if res, _ := c.ask(t, "GET", "/", nil, "From", "203.0.113.1"); res.StatusCode != 200 {
		t.Errorf("afterwards %d", res.StatusCode)
	}
}

// Whatever one address opens, another one gets in.
func TestOneVisitorCannotHoldAPod(t *testing.T) {
	t.Parallel()
	c := newCrowd(t)
	for i, share := range []int{128, 64, 32, 16} { // half of what is left, each
		for n := range share {
			c.open(t, fmt.Sprintf("2001:db8:0:%d::%d", i, n+1)) // of one /64
		}
		res, body := c.refused(t, fmt.Sprintf("2001:db8:0:%d::ffff", i))
		if res.StatusCode != http.StatusTooManyRequests || res.Header.Get("Retry-After") == "" || !strings.Contains(body, "Close other windows") {
			t.Errorf("more of one address: %d %s", res.StatusCode, body)
		}
	}
	c.open(t, "198.51.100.1")
	c.leave()
	if res, _ := c.ask(t, "GET", "/", nil, "From", "2001:db8::1"); res.StatusCode != 200 {
		t.Errorf("afterwards %d", res.StatusCode)
	}
}

// Whoever announces a body, and does not send it, is answered at once when there
// is no app to read it, and the connection ends.
func TestRefusedUploadsAreAnswered(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	for _, body := range []string{"Content-Length: 50\r\n\r\nhel", "Content-Length: 5000000\r\n\r\nhel", "Transfer-Encoding: chunked\r\n\r\n5\r\nhel"} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(4 * time.Second)); err != nil { // less than the server lingers
			t.Fatal(err)
		}
		fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: shop\r\n"+body)
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Errorf("%q: %v", body, err)
			continue
		}
		page, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != http.StatusBadGateway || !res.Close || !strings.HasSuffix(strings.TrimSpace(string(page)), "</html>") {
			t.Errorf("%q: %d, closes %v, %v\n%s", body, res.StatusCode, res.Close, err, page)
		}
		_ = res.Body.Close()
	}
}

// A visitor whose upload pauses is told so; it is not the app that was slow.
func TestStalledUploads(t *testing.T) {
	t.Parallel()
	s := newSite(t, handled(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.ReadAll(r.Body) }))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		s.in.Serve(w, r, "shop")
	}))
	defer server.Close()
	conn, err := net.Dial("tcp", strings.TrimPrefix(server.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 50\r\n\r\nhel")
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if page, err := io.ReadAll(res.Body); err != nil || res.StatusCode != http.StatusRequestTimeout || !strings.Contains(string(page), "Send it again") {
		t.Errorf("%d %v\n%s", res.StatusCode, err, page)
	}
}

// late is a body whose failure ends the request before it is told, as those of
// net/http do.
type late struct{ end context.CancelFunc }

func (l late) Read([]byte) (int, error) {
	l.end()
	time.Sleep(50 * time.Millisecond) // so that the end of the request is seen first
	return 0, os.ErrDeadlineExceeded
}

func TestStalledUploadEndsItsRequest(t *testing.T) {
	t.Parallel()
	s := newSite(t, handled(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.ReadAll(r.Body) }))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w := httptest.NewRecorder()
	s.in.Serve(w, httptest.NewRequestWithContext(ctx, "POST", "http://shop/", late{cancel}), "shop")
	if w.Code != http.StatusRequestTimeout || !strings.Contains(w.Body.String(), "Send it again") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// An app that takes nothing of what a visitor sends does not hold him.
func TestAppsThatReadNothing(t *testing.T) {
	t.Parallel()
	deaf := func(c net.Conn) {
		defer c.Close()
		if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
			t.Error(err)
		}
		<-t.Context().Done()
	}
	s := newSite(t, deaf, func(c *ingress.Config) { c.AnswerTimeout = 200 * time.Millisecond })
	res, body := s.ask(t, "POST", "/", strings.NewReader(strings.Repeat("x", 1<<20)))
	if res.StatusCode != http.StatusGatewayTimeout || !strings.Contains(body, "took too long") {
		t.Errorf("%d %s", res.StatusCode, body)
	}
}
