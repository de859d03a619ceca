package ingress

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// asks begins an exchange with an app that has the other end of a pipe.
func asks(t *testing.T, r *http.Request, app func(net.Conn)) *exchange {
	t.Helper()
	near, far := net.Pipe()
	go func() {
		defer far.Close()
		app(far)
	}()
	head, err := (&Ingress{}).head(r, netip.Addr{}, "")
	if err != nil {
		t.Fatal(err)
	}
	x, err := begin(r.Context(), newLink(near), r, head, answerTimeout)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// slowly is a body that comes in parts, each after a while.
type slowly struct {
	parts int
	each  time.Duration
}

func (s *slowly) Read(p []byte) (int, error) {
	if s.parts--; s.parts < 0 {
		return 0, io.EOF
	}
	time.Sleep(s.each)
	return copy(p, "x"), nil
}

// The app has its time from the end of the request to the head of its answer: neither a
// visitor who is slow nor an answer that is long counts against it.
func TestTimes(t *testing.T) {
	t.Parallel()
	t.Run("silent", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			const sending = 3 * answerTimeout
			began := time.Now()
			x := asks(t, httptest.NewRequestWithContext(t.Context(), "POST", "/", &slowly{6, sending / 6}), func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
			_, err := x.answer()
			if took := time.Since(began); !errors.Is(err, os.ErrDeadlineExceeded) || took != sending+answerTimeout {
				t.Errorf("%v after %v", err, took)
			}
			x.finish(false)
			<-x.upload
		})
	})
	t.Run("a long answer", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			x := asks(t, httptest.NewRequestWithContext(t.Context(), "GET", "/", nil), func(c net.Conn) {
				asks := bufio.NewReader(c)
				_, _ = http.ReadRequest(asks)
				time.Sleep(answerTimeout - 1)
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
				for range 2 {
					time.Sleep(2 * answerTimeout)
					_, _ = io.WriteString(c, "x")
				}
			})
			res, err := x.answer()
			if err != nil {
				t.Fatal(err)
			}
			if body, err := io.ReadAll(res.Body); err != nil || string(body) != "xx" {
				t.Errorf("%q %v", body, err)
			}
			if !x.finish(true) {
				t.Error("it cannot be used again")
			}
			_ = x.conn.Close()
		})
	})
	t.Run("leave to send", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := httptest.NewRequestWithContext(t.Context(), "POST", "/", strings.NewReader("body"))
			r.Header.Set("Expect", "100-continue")
			began := time.Now()
			x := asks(t, r, func(c net.Conn) {
				req, err := http.ReadRequest(bufio.NewReader(c))
				if err != nil {
					t.Error(err)
				}
				body, err := io.ReadAll(req.Body)
				if took := time.Since(began); err != nil || string(body) != "body" || took != continueTimeout {
					t.Errorf("%q after %v, %v", body, took, err)
				}
				_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n")
			})
			if _, err := x.answer(); err != nil || !x.finish(true) {
				t.Error(err)
			}
			_ = x.conn.Close()
		})
	})
	t.Run("the rest of a body", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			for late, again := range map[time.Duration]bool{restTime / 2: true, 2 * restTime: false} {
				x := asks(t, httptest.NewRequestWithContext(t.Context(), "POST", "/", &slowly{1, late}), func(c net.Conn) {
					go func() { _, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n") }()
					_, _ = io.Copy(io.Discard, c)
				})
				if _, err := x.answer(); err != nil || x.finish(true) != again {
					t.Errorf("after %v: %v, again %v", late, err, !again)
				}
				<-x.upload
				_ = x.conn.Close()
			}
		})
	})
	t.Run("who leaves", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, leave := context.WithCancel(t.Context())
			x := asks(t, httptest.NewRequestWithContext(ctx, "GET", "/", nil), func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
			time.AfterFunc(time.Second, leave)
			if _, err := x.answer(); !errors.Is(err, context.Canceled) || x.finish(true) {
				t.Error(err)
			}
		})
	})
}

// A body is as long as its head says, whatever it is read from.
func TestBodiesAreAsLongAsTheySay(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second) // the app waits for the end
	defer cancel()
	for _, length := range []int64{3, 5} {
		r := httptest.NewRequestWithContext(ctx, "POST", "/", struct{ io.Reader }{strings.NewReader("body")})
		r.ContentLength = length
		got := make(chan []byte, 1)
		x := asks(t, r, func(c net.Conn) {
			_, body, _ := bytes.Cut(read(c), []byte("\r\n\r\n"))
			got <- body
		})
		_, err := x.answer()
		x.finish(false)
		<-x.upload
		if body := <-got; !errors.Is(err, errLength) || !errors.Is(x.visitor, errLength) || int64(len(body)) > length {
			t.Errorf("%d: %q, %v, %v", length, body, err, x.visitor)
		}
	}
}

func read(c net.Conn) []byte {
	all, _ := io.ReadAll(c) // until it is cut off
	return all
}

// resting is a connection of which one knows that it rests.
type resting struct {
	net.Conn
	ended atomic.Bool
}

func (c *resting) Quiet() bool { return !c.ended.Load() }

func (c *resting) Close() error {
	c.ended.Store(true)
	return nil
}

// Connections that nobody uses are few, and go in time.
func TestIdleConnections(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		in := New(Config{})
		var all []*resting
		for range maxIdle + 1 {
			c := new(resting)
			all = append(all, c)
			in.keepIdle("shop", newLink(c))
		}
		if !all[maxIdle].ended.Load() || all[maxIdle-1].ended.Load() || len(in.idle["shop"]) != maxIdle {
			t.Errorf("%d are kept", len(in.idle["shop"]))
		}
		if in.takeIdle("other") != nil {
			t.Error("one pod has the connection of another")
		}
		time.Sleep(idleTimeout)
		synctest.Wait()
		l, used, err := in.connect(t.Context(), "shop", false)
		if err != nil || !used || l.conn != net.Conn(all[maxIdle-1]) {
			t.Fatalf("%v, %v", used, err)
		}
		in.keepIdle("shop", l)
		all[maxIdle-2].ended.Store(true) // by its app
		time.Sleep(idleTimeout)
		synctest.Wait()
		for i, c := range all[:maxIdle-1] {
			if !c.ended.Load() {
				t.Errorf("the connection %d is still there", i)
			}
		}
		if all[maxIdle-1].ended.Load() {
			t.Error("what was used has ended")
		}
		time.Sleep(2 * idleTimeout)
		synctest.Wait()
		if len(in.idle) != 0 || in.sweeping || !all[maxIdle-1].ended.Load() {
			t.Errorf("%v, %v", in.idle, in.sweeping)
		}
		c := new(resting)
		in.keepIdle("shop", newLink(c))
		in.Close()
		if !c.ended.Load() {
			t.Error("it is still there")
		}
		c = new(resting)
		in.keepIdle("shop", newLink(c))
		if !c.ended.Load() || len(in.idle) != 0 {
			t.Error("it is kept after the end")
		}
		time.Sleep(2 * idleTimeout) // for the last look
	})
}

// pair is two ends of one connection.
func pair(t *testing.T, network, address string) (near, far net.Conn) {
	t.Helper()
	ln, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if far, err = net.Dial(network, ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if near, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []net.Conn{near, far} {
		t.Cleanup(func() { _ = c.Close() })
		if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	return near, far
}

// Whether a connection rests can be told of a socket, and of nothing else.
func TestWatch(t *testing.T) {
	t.Parallel()
	for network, address := range map[string]string{"tcp": "127.0.0.1:0", "unix": filepath.Join(t.TempDir(), "s")} {
		for _, speaks := range []bool{true, false} {
			near, far := pair(t, network, address)
			quiet := watch(newTap(near))
			if !quiet() {
				t.Errorf("%s does not rest", network)
			}
			if speaks {
				_, _ = io.WriteString(far, "x")
			} else {
				_ = far.Close()
			}
			for quiet() {
				time.Sleep(time.Millisecond) // until the kernel has brought it
			}
			_ = near.Close()
			if quiet() {
				t.Errorf("%s rests when it is closed", network)
			}
			_ = os.Remove(address)
		}
	}
	near, _ := net.Pipe()
	if watch(near) != nil {
		t.Error("a pipe is watched")
	}
}

// FuzzHead has visitors make up requests. What goes to an app is one request and nothing
// else, with the framing of the body that is there.
func FuzzHead(f *testing.F) {
	f.Add("GET", "/", "q=1", "shop", "X-A", "b", int64(0))
	f.Add("POST", "//x", "", "shop:80", "Content_Length", "5", int64(-1))
	f.Add("PUT", "/ HTTP/1.1", "a b", "shop", "Transfer-Encoding", "chunked", int64(7))
	f.Add("GET\r\n", "/\r\n", "\n", "a\r\nb", "X\r\n", "y\r\nz", int64(1))
	f.Fuzz(func(t *testing.T, method, path, query, host, name, value string, length int64) {
		r := &http.Request{Method: method, URL: &url.URL{Path: path, RawQuery: query}, Host: host, Header: http.Header{name: {value}}, ContentLength: max(length, -1), Body: io.NopCloser(strings.NewReader(""))}
		raw, err := (&Ingress{cfg: Config{Scheme: "http"}}).head(r, netip.Addr{}, "")
		if err != nil {
			return
		}
		in := bufio.NewReader(io.MultiReader(bytes.NewReader(raw), strings.NewReader("0\r\n\r\n")))
		got, err := http.ReadRequest(in)
		if err != nil {
			if strings.Contains(err.Error(), "malformed Host header") || strings.Contains(err.Error(), "parse ") {
				return // net/http is stricter, and reads no more
			}
			t.Fatalf("%q: %v", raw, err)
		}
		if got.Method != method || got.ContentLength != max(length, -1) || (length < 0) != (len(got.TransferEncoding) == 1) || len(got.Trailer) > 0 {
			t.Errorf("%q: %s, %d, %v", raw, got.Method, got.ContentLength, got.TransferEncoding)
		}
		if bytes.Count(raw, []byte("\r\n\r\n")) != 1 || !bytes.HasSuffix(raw, []byte("\r\n\r\n")) || strings.Count(string(raw), "\n") != strings.Count(string(raw), "\r\n") {
			t.Errorf("%q", raw)
		}
	})
}

// FuzzAnswer has apps say anything at all, and holds what is made of it against what
// net/http's own client makes of it.
func FuzzAnswer(f *testing.F) {
	for _, s := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokmore", "HTTP/1.0 200 OK\r\n\r\nok", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
		"HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 204 No\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "HTTP/1.1 101 Up\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", "HTTP/1.1 000 x\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nx",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n", "HTTP/1.1 304 x\r\nContent-Length: 5\r\n\r\nhello", "\r\nHTTP/1.1 200 OK\r\n\r\n", "",
	} {
		for _, head := range []bool{false, true} {
			f.Add([]byte(s), head)
		}
	}
	f.Fuzz(func(t *testing.T, said []byte, head bool) {
		app := func(c net.Conn) {
			defer c.Close()
			if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
				_, _ = c.Write(said)
			}
		}
		method := map[bool]string{false: "GET", true: "HEAD"}[head]
		r := httptest.NewRequestWithContext(t.Context(), method, "http://shop/", nil)
		x := asks(t, r, app)
		ours, err := x.answer()

		r = r.Clone(t.Context())
		r.RequestURI = ""
		client := http.Transport{DisableCompression: true, DisableKeepAlives: true, MaxResponseHeaderBytes: maxAnswerHeader, DialContext: func(context.Context, string, string) (net.Conn, error) {
			near, far := net.Pipe()
			go app(far)
			return near, nil
		}}
		defer client.CloseIdleConnections()
		theirs, err2 := client.RoundTrip(r)
		if err2 == nil {
			defer theirs.Body.Close()
		}
		if err2 == nil && theirs.StatusCode < 100 {
			if !errors.Is(err, errStatus) {
				t.Errorf("%q: %v", said, err)
			}
			return
		}
		if (err == nil) != (err2 == nil) && !errors.Is(err, errFlood) {
			t.Fatalf("%q: %v, and net/http: %v", said, err, err2)
		}
		if err != nil || ours.StatusCode == http.StatusSwitchingProtocols {
			x.finish(false)
			return
		}
		body, err := io.ReadAll(ours.Body)
		body2, err2 := io.ReadAll(theirs.Body)
		if ours.StatusCode != theirs.StatusCode || !bytes.Equal(body, body2) || (err == nil) != (err2 == nil) || ours.ContentLength != theirs.ContentLength {
			t.Errorf("%q: %d %q %v, and net/http: %d %q %v", said, ours.StatusCode, body, err, theirs.StatusCode, body2, err2)
		}
		for name, values := range theirs.Header {
			if strings.Join(ours.Header[name], "|") != strings.Join(values, "|") {
				t.Errorf("%q: %s is %q, and for net/http %q", said, name, ours.Header[name], values)
			}
		}
		more := x.in.Buffered() > 0
		if x.finish(err == nil && !ours.Close) && more {
			t.Errorf("%q: what is left is kept for the next request", said)
		}
		_ = x.conn.Close()
	})
}
