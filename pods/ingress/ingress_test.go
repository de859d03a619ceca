package ingress_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"podgate/internal/authz"
	"podgate/internal/connlimit"
	"podgate/pods"
	"podgate/pods/ingress"
	"podgate/pods/podstest"
	"podgate/pods/wire"
	"podgate/store"
	"podgate/store/storetest"
)

// site is a server that passes everything on to one pod, called shop, whose app
// is a function over the bare connection.
type site struct {
	*httptest.Server
	in    *ingress.Ingress
	pods  *pods.Service
	fake  *podstest.Fake
	actor authz.Actor
	id    store.PodID
}

func newSite(t *testing.T, app func(net.Conn), change ...func(*ingress.Config)) *site {
	t.Helper()
	s := &site{fake: podstest.NewFake(t)}
	s.fake.SetAgent(appAgent(t, app))
	s.open(t, s.fake, change...)
	return s
}

// open has a runtime run the pod.
func (s *site) open(t *testing.T, runtime pods.Runtime, change ...func(*ingress.Config)) {
	t.Helper()
	db := storetest.New(t)
	s.pods = podstest.ServiceOver(t, db, runtime)
	w := storetest.Populate(t, db, "ann", time.Now())
	s.actor = authz.Person(w.User.ID, store.Membership{Team: w.Team, Role: store.RoleOwner})
	p, err := s.pods.Create(t.Context(), s.actor, pods.CreateRequest{Name: "shop", Preset: "static"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	s.id = p.ID
	cfg := ingress.Config{Pods: s.pods}
	for _, c := range change {
		c(&cfg)
	}
	s.in = ingress.New(cfg)
	shop := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.in.Serve(w, r, "shop") })
	s.Server = httptest.NewServer(connlimit.Deadlines(shop))
	t.Cleanup(func() { s.Close(); s.in.Close() })
}

// appAgent is an agent that hands each dialled stream to app.
func appAgent(t *testing.T, app func(net.Conn)) podstest.AgentFunc {
	return func(ctx context.Context, _ string, l net.Listener) error {
		mux := http.NewServeMux()
		mux.HandleFunc("GET "+wire.PathState, func(w http.ResponseWriter, _ *http.Request) {
			_ = json.NewEncoder(w).Encode(wire.State{App: wire.AppFailed, Reason: "it hides a secret"})
		})
		mux.HandleFunc("GET "+wire.PathUsage, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") })
		mux.HandleFunc("POST "+wire.PathApp, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/x-ndjson")
			_, _ = io.WriteString(w, `{"state":{"app":"running"}}`+"\n")
		})
		mux.HandleFunc("GET "+wire.PathDial, func(w http.ResponseWriter, r *http.Request) {
			if app == nil {
				w.WriteHeader(http.StatusBadGateway)
				_ = json.NewEncoder(w).Encode(wire.Fault{Code: wire.FaultNotListening, Message: "nothing listens"})
				return
			}
			if port := r.URL.Query().Get("port"); port != "8080" {
				t.Errorf("dialled port %s", port)
			}
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: podgate-tcp\r\nConnection: Upgrade\r\n\r\n")
			app(conn)
		})
		srv := &http.Server{Handler: mux}
		defer context.AfterFunc(ctx, func() { _ = srv.Close() })()
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	}
}

// handled is an app that is a proper HTTP server.
func handled(t *testing.T, h http.HandlerFunc) func(net.Conn) {
	l := &queue{make(chan net.Conn), make(chan struct{})}
	srv := &http.Server{Handler: h}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	t.Cleanup(func() { close(l.gone); _ = srv.Close(); <-done })
	return func(c net.Conn) { l.conns <- c }
}

type queue struct {
	conns chan net.Conn
	gone  chan struct{}
}

func (q *queue) Accept() (net.Conn, error) {
	select {
	case c := <-q.conns:
		return c, nil
	case <-q.gone:
		return nil, net.ErrClosed
	}
}
func (q *queue) Close() error   { return nil }
func (q *queue) Addr() net.Addr { return &net.UnixAddr{Name: "app", Net: "unix"} }

// raw is an app that reads the head of one request and then writes bytes.
func raw(write func(net.Conn)) func(net.Conn) {
	return func(c net.Conn) {
		defer c.Close()
		r := bufio.NewReader(c)
		if req, err := http.ReadRequest(r); err == nil {
			go func() { _, _ = io.Copy(io.Discard, req.Body) }()
			write(c)
		}
	}
}

func says(text string) func(net.Conn) {
	return raw(func(c net.Conn) { _, _ = io.WriteString(c, text) })
}

func floods(head, chunk string) func(net.Conn) {
	chunk = strings.Repeat(chunk, 1+32<<10/len(chunk))
	return raw(func(c net.Conn) {
		_, err := io.WriteString(c, head)
		for err == nil {
			_, err = io.WriteString(c, chunk)
		}
	})
}

// ask makes a request and returns the answer with its body read. No redirect
// is followed.
func (s *site) ask(t *testing.T, method, path string, body io.Reader, header ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	res, err := s.Client().Transport.RoundTrip(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Logf("body: %v", err)
	}
	return res, string(text)
}

func TestPassesRequestsOn(t *testing.T) {
	t.Parallel()
	s := newSite(t, handled(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-App", "yes")
		w.WriteHeader(http.StatusTeapot)
		fmt.Fprintf(w, "%s %s %s %s", r.Method, r.RequestURI, r.Host, body)
	}))
	host := strings.TrimPrefix(s.URL, "http://")
	for _, c := range [][2]string{{"GET", "/"}, {"POST", "/a%2Fb/../c?x=1;y=2&z=%zz"}, {"DELETE", "//double"}, {"PURGE", "/?"}} {
		res, body := s.ask(t, c[0], c[1], strings.NewReader("body"))
		if want := c[0] + " " + c[1] + " " + host + " body"; body != want || res.StatusCode != http.StatusTeapot || res.Header.Get("X-App") != "yes" {
			t.Errorf("%d %q, want %q", res.StatusCode, body, want)
		}
	}
}

func TestForwardingHeadersAreSetAnew(t *testing.T) {
	t.Parallel()
	var got http.Header
	s := newSite(t, handled(t, func(_ http.ResponseWriter, r *http.Request) { got = r.Header }), func(c *ingress.Config) { c.Scheme = "https" })
	s.ask(t, "GET", "/", nil, "X-Forwarded-For", "6.6.6.6", "X-Forwarded-Host", "bank", "X-Forwarded-Proto", "gopher", "X-Forwarded-Prefix", "/x",
		"X_Forwarded_For", "6.6.6.6", "X-Real-IP", "6.6.6.6", "Forwarded", "for=6.6.6.6", "Connection", "X-Hop, X-Forwarded-For", "X-Hop", "1",
		"Proxy-Authorization", "x", "X-Mine", "stays")
	want := map[string]string{"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": strings.TrimPrefix(s.URL, "http://"), "X-Forwarded-Proto": "https", "X-Mine": "stays",
		"X-Forwarded-Prefix": "", "X_forwarded_for": "", "X-Real-Ip": "", "Forwarded": "", "X-Hop": "", "Proxy-Authorization": "", "Connection": ""}
	for name, value := range want {
		if v := strings.Join(got[name], "|"); v != value {
			t.Errorf("%s: %q, want %q", name, v, value)
		}
	}
}

func TestPodgatesOwnSecretsStay(t *testing.T) {
	t.Parallel()
	var got http.Header
	s := newSite(t, handled(t, func(_ http.ResponseWriter, r *http.Request) { got = r.Header }))
	for sent, want := range map[string]string{
		"__Host-podgate=s3cret":                            "",
		"a=1; __Host-podgate=s3cret; b=2":                  "a=1; b=2",
		"podgate=s3cret;b=2":                               "b=2",
		"PODGATE_csrf=s3cret":                              "",
		"a=1,__host-PODGATE=s3cret":                        "a=1",
		"=podgate=s3cret; c=3":                             "c=3",
		"$podgate=s3cret":                                  "",
		"\t podgate=s3cret ;;; d=4":                        "d=4",
		"mypodgate=fine":                                   "mypodgate=fine",
		"q=\"x y\"; podgate-session=\"s3cret\"; r=podgate": "q=\"x y\"; r=podgate",
	} {
		s.ask(t, "GET", "/", nil, "Cookie", sent)
		if v := strings.Join(got["Cookie"], "|"); v != want {
			t.Errorf("Cookie %q arrived as %q, want %q", sent, v, want)
		}
	}
	s.ask(t, "GET", "/", nil, "Cookie", "a=1", "Cookie", "podgate=s3cret", "Authorization", "Bearer pgat_s3cret")
	if strings.Contains(fmt.Sprint(got), "s3cret") || got.Get("Cookie") != "a=1" {
		t.Errorf("%v", got)
	}
	s.ask(t, "GET", "/", nil, "Authorization", "Basic YTpi")
	if got.Get("Authorization") != "Basic YTpi" {
		t.Errorf("the app's own sign-in was taken: %v", got)
	}
}

func TestAnswersReachOnlyTheirOwnHost(t *testing.T) {
	t.Parallel()
	s := newSite(t, handled(t, func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		for _, c := range []string{"a=1; Path=/; Domain=example.com; HttpOnly", "b=2;DOMAIN =.example.com", "c=3;\tdomain\t=x;domain=y; Secure", "d=domain; SameSite=Lax"} {
			h.Add("Set-Cookie", c)
		}
		h.Set("Clear-Site-Data", `"cookies"`)
		h.Set("X-Accel-Redirect", "/internal")
		h.Set("X-Sendfile", "/etc/passwd")
		h.Set("Alt-Svc", `h3=":1"`)
		h.Set("X-Accel-Buffering", "no")
		h.Set("Trailer", "Set-Cookie, X-Sum")
		_, _ = io.WriteString(w, "x")
		h.Set("X-Sum", "1")
		h.Set("Set-Cookie", "t=1; Domain=example.com")
		h.Set(http.TrailerPrefix+"Clear-Site-Data", `"cookies"`)
	}))
	res, _ := s.ask(t, "GET", "/", nil)
	want := "a=1; Path=/; HttpOnly|b=2|c=3; Secure|d=domain; SameSite=Lax"
	if got := strings.Join(res.Header["Set-Cookie"], "|"); got != want {
		t.Errorf("cookies %q, want %q", got, want)
	}
	for _, name := range []string{"Clear-Site-Data", "X-Accel-Redirect", "X-Sendfile", "Alt-Svc"} {
		if v := res.Header.Get(name); v != "" {
			t.Errorf("%s: %s", name, v)
		}
	}
	if len(res.Trailer) != 0 || res.Header.Get("X-Accel-Buffering") != "no" {
		t.Errorf("trailers %v, headers %v", res.Trailer, res.Header)
	}
}

func TestHeadRangesAndContinue(t *testing.T) {
	t.Parallel()
	s := newSite(t, handled(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			n, _ := io.Copy(io.Discard, r.Body)
			fmt.Fprint(w, n, " ", r.Header.Get("Expect"))
			return
		}
		http.ServeContent(w, r, "x.txt", time.Unix(1e9, 0), strings.NewReader("0123456789"))
	}))
	if res, body := s.ask(t, "HEAD", "/", nil); res.ContentLength != 10 || body != "" {
		t.Errorf("HEAD: %d %q", res.ContentLength, body)
	}
	if res, body := s.ask(t, "GET", "/", nil, "Range", "bytes=2-4"); res.StatusCode != 206 || body != "234" {
		t.Errorf("range: %d %q", res.StatusCode, body)
	}
	if res, _ := s.ask(t, "GET", "/", nil, "If-Modified-Since", res2date()); res.StatusCode != 304 {
		t.Errorf("conditional: %d", res.StatusCode)
	}
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "PUT / HTTP/1.1\r\nHost: shop\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
	r := bufio.NewReader(conn)
	if line, _ := r.ReadString('\n'); !strings.Contains(line, "100 Continue") {
		t.Fatalf("no leave to go on but %q", line)
	}
	fmt.Fprint(conn, "hello")
	for line := "x"; strings.TrimSpace(line) != ""; {
		line, _ = r.ReadString('\n') // the empty line that ends the 100, or what stands before it
	}
	if body := finalAnswer(t, r); body != "5 100-continue" {
		t.Errorf("%q", body)
	}
}

// finalAnswer reads the answer behind any number of informational ones, and
// returns its body. The server and the app may both give leave to go on.
func finalAnswer(t *testing.T, r *bufio.Reader) string {
	t.Helper()
	for {
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		if err := errors.Join(err, res.Body.Close()); err != nil {
			t.Fatal(err)
		}
		if res.StatusCode >= 200 {
			return string(body)
		}
	}
}

// TestAnswerBeforeTheBody has the app answer before the visitor has sent all,
// and the visitor use the connection again.
func TestAnswerBeforeTheBody(t *testing.T) {
	t.Parallel()
	s := newSite(t, handled(t, func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		w.Header().Set("Content-Length", "3")
		if err := errors.Join(control.EnableFullDuplex(), control.Flush()); err != nil {
			t.Error(err)
		}
		fmt.Fprint(w, r.Method)
		_ = control.Flush()
		_, _ = io.Copy(io.Discard, r.Body)
	}))
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(40 * time.Second)); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(conn)
	for range 3 {
		fmt.Fprint(conn, "PUT / HTTP/1.1\r\nHost: shop\r\nContent-Length: 5\r\n\r\nhe")
		if body := finalAnswer(t, r); body != "PUT" {
			t.Errorf("%q", body)
		}
		fmt.Fprint(conn, "llo")
	}
}

func res2date() string { return time.Unix(1e9, 0).UTC().Format(http.TimeFormat) }

func TestStreamsAsTheAppWrites(t *testing.T) {
	t.Parallel()
	next := make(chan string)
	s := newSite(t, handled(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/echo" {
			_ = http.NewResponseController(w).EnableFullDuplex()
			w.WriteHeader(200)
			_ = http.NewResponseController(w).Flush()
			_, _ = io.Copy(flushing{w}, r.Body)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		for e := range next {
			fmt.Fprintf(w, "data: %s\n\n", e)
			_ = http.NewResponseController(w).Flush()
		}
	}))
	req, _ := http.NewRequestWithContext(t.Context(), "GET", s.URL, nil)
	go func() { next <- "first" }()
	res, err := s.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	r := bufio.NewReader(res.Body)
	for _, e := range []string{"first", "second", "third"} {
		if e != "first" {
			next <- e
		}
		if line, err := r.ReadString('\n'); line != "data: "+e+"\n" {
			t.Fatalf("%q %v", line, err)
		}
		_, _ = r.ReadString('\n')
	}
	close(next)
}

type flushing struct{ w http.ResponseWriter }

func (f flushing) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	return n, errors.Join(err, http.NewResponseController(f.w).Flush())
}

func TestLargeBodiesBothWays(t *testing.T) {
	t.Parallel()
	s := newSite(t, handled(t, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		_, _ = io.Copy(w, r.Body)
	}))
	sent := bytes.Repeat([]byte("0123456789abcdef"), 256<<10)
	if _, body := s.ask(t, "POST", "/", struct{ io.Reader }{bytes.NewReader(sent)}); body != string(sent) {
		t.Errorf("sent %d bytes, got %d", len(sent), len(body))
	}
}

func TestWebSocket(t *testing.T) {
	t.Parallel()
	ended := make(chan struct{})
	s := newSite(t, handled(t, func(w http.ResponseWriter, r *http.Request) {
		defer close(ended)
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		for {
			kind, data, err := c.Read(r.Context())
			if err != nil {
				return
			}
			if err := c.Write(r.Context(), kind, append([]byte("echo "), data...)); err != nil {
				t.Error(err)
			}
		}
	}))
	c, _, err := websocket.Dial(t.Context(), s.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := c.Write(t.Context(), websocket.MessageText, []byte("hi")); err != nil {
			t.Fatal(err)
		}
		if _, data, err := c.Read(t.Context()); err != nil || string(data) != "echo hi" {
			t.Fatalf("%q %v", data, err)
		}
	}
	_ = c.CloseNow() // a visitor who just goes
	<-ended
}

func TestPagesWhenNothingAnswers(t *testing.T) {
	t.Parallel()
	check := func(t *testing.T, res *http.Response, body string, status int, words string) {
		t.Helper()
		if res.StatusCode != status || !strings.Contains(body, words) || strings.Contains(body, "secret") {
			t.Errorf("%d, want %d with %q:\n%s", res.StatusCode, status, words, body)
		}
		if csp := res.Header.Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none'; style-src 'sha256-") || res.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("headers %v", res.Header)
		}
	}
	t.Run("app does not listen", func(t *testing.T) {
		t.Parallel()
		s := newSite(t, nil)
		res, body := s.ask(t, "GET", "/", nil)
		check(t, res, body, 502, "does not answer")
		if res, body := s.ask(t, "HEAD", "/", nil); res.StatusCode != 502 || body != "" {
			t.Errorf("HEAD: %d %q", res.StatusCode, body)
		}
	})
	t.Run("stopped", func(t *testing.T) {
		t.Parallel()
		s := newSite(t, nil)
		if _, err := s.pods.Stop(t.Context(), s.actor, "shop", nil); err != nil {
			t.Fatal(err)
		}
		res, body := s.ask(t, "POST", "/", strings.NewReader("x"))
		check(t, res, body, 503, "stopped")
	})
	t.Run("ended by itself", func(t *testing.T) {
		t.Parallel()
		s := newSite(t, nil)
		s.fake.Kill(s.id, "killed")
		res, body := s.ask(t, "GET", "/", nil)
		check(t, res, body, 503, "starting")
		if res.Header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	})
	t.Run("deleted", func(t *testing.T) {
		t.Parallel()
		s := newSite(t, nil)
		if err := s.pods.Delete(t.Context(), s.actor, "shop", "shop"); err != nil {
			t.Fatal(err)
		}
		res, gone := s.ask(t, "GET", "/", nil)
		check(t, res, gone, 404, "No pod here")
		in := ingress.New(ingress.Config{Pods: s.pods})
		defer in.Close()
		for _, name := range []string{"never", "NO", "a.b", strings.Repeat("x", 64)} {
			w := httptest.NewRecorder()
			in.Serve(w, httptest.NewRequest("GET", "/", nil), name)
			if w.Code != 404 || w.Body.String() != gone {
				t.Errorf("%q: %d, other bytes than for a deleted pod: %s", name, w.Code, w.Body)
			}
		}
	})
}

func TestHostileApps(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		app  func(net.Conn)
		want int
	}{
		"endless headers":     {floods("HTTP/1.1 200 OK\r\n", "X-A: b\r\n"), 502},
		"endless header line": {floods("HTTP/1.1 200 OK\r\nX: ", "aaaaaaaa"), 502},
		"endless status line": {floods("HTTP/1.1 200 ", "aaaaaaaa"), 502},
		"flood of 103":        {floods("", "HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n"), 502},
		"flood of 100":        {floods("", "HTTP/1.1 100 Continue\r\n\r\n"), 502},
		"hangs up":            {raw(func(net.Conn) {}), 502},
		"no HTTP":             {says("220 mail ready\r\n\r\n"), 502},
		"two lengths":         {says("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"), 502},
		"length and chunks":   {says("HTTP/1.1 200 OK\r\nContent-Length: 100\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"), 200},
		"uninvited upgrade":   {says("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n"), 502},
		"split header":        {says("HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: x\r\n\r\n"), 502},
		"huge trailer":        {says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n" + strings.Repeat("X-T: y\r\n", 10_000) + "\r\n"), 200},
		"negative length":     {says("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nok"), 502},
		"length with a plus":  {says("HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok"), 502},
		"huge length":         {says("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nok"), 502},
		"unknown coding":      {says("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"), 502},
		"space before colon":  {says("HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok"), 200},              // which names no header
		"header on and on":    {says("HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nok"), 200}, // as net/http takes it
		"no end of header":    {says("HTTP/1.1 200 OK\r\nX: a\r\n"), 502},
		"old and odd":         {says("HTTP/9.9 200 OK\r\nContent-Length: 2\r\n\r\nok"), 200},
		"status 0x1":          {says("HTTP/1.1 0x1 OK\r\n\r\n"), 502},
		"101 of another kind": {says("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n"), 502},
		"control in cookie":   {says("HTTP/1.1 200 OK\r\nSet-Cookie: a=1; \x01Domain=x\r\n\r\n"), 502},
		"status 000":          {says("HTTP/1.1 000 Nothing\r\n\r\n"), 502},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, c.app, func(c *ingress.Config) { c.AnswerTimeout = 20 * time.Second }) // for what is without an end
			res, body := s.ask(t, "GET", "/", nil)
			if res.StatusCode != c.want {
				t.Errorf("%d, want %d: %.100s", res.StatusCode, c.want, body)
			}
			if res.Header.Get("Set-Cookie") != "" {
				t.Errorf("%v", res.Header)
			}
		})
	}
}

func TestSlowApps(t *testing.T) {
	t.Parallel()
	impatient := func(c *ingress.Config) { c.AnswerTimeout = 200 * time.Millisecond }
	for name, app := range map[string]func(net.Conn){
		"silent": raw(func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }),
		"drips": raw(func(c net.Conn) {
			for _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\n"); err == nil; _, err = io.WriteString(c, "X: y\r\n") {
				time.Sleep(10 * time.Millisecond) // the attack itself, not a wait for something
			}
		}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			res, body := newSite(t, app, impatient).ask(t, "GET", "/", nil)
			if res.StatusCode != 504 || !strings.Contains(body, "took too long") {
				t.Errorf("%d %s", res.StatusCode, body)
			}
		})
	}
}

func TestNoTunnels(t *testing.T) {
	t.Parallel()
	s := newSite(t, says("HTTP/1.1 200 OK\r\n\r\ntunnel"))
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "CONNECT shop:80 HTTP/1.1\r\nHost: shop:80\r\n\r\n")
	if line, _ := bufio.NewReader(conn).ReadString('\n'); !strings.Contains(line, "405") {
		t.Errorf("%q", line)
	}
}

// An app's informational answers would pass a cookie for the whole domain, and
// orders to browsers and proxies, before its answer is looked at.
func TestInformationalAnswersStay(t *testing.T) {
	t.Parallel()
	const early = "Set-Cookie: podgate=x; Domain=example.com\r\nClear-Site-Data: \"cookies\"\r\nAlt-Svc: h3=\":1\"\r\nLink: </x.css>; rel=preload\r\n\r\n"
	for _, line := range []string{"100 Continue", "102 Processing", "103 Early Hints", "199 Odd"} {
		s := newSite(t, says("HTTP/1.1 "+line+"\r\n"+early+"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
		var heard []int
		trace := &httptrace.ClientTrace{Got1xxResponse: func(code int, _ textproto.MIMEHeader) error { heard = append(heard, code); return nil }}
		req, err := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), trace), "GET", s.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := s.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		if err := errors.Join(err, res.Body.Close()); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"Set-Cookie", "Clear-Site-Data", "Alt-Svc", "Link"} {
			if res.Header.Get(name) != "" {
				t.Errorf("%s: %v in the answer", line, res.Header)
			}
		}
		if len(heard) > 0 || string(body) != "ok" {
			t.Errorf("%s: the visitor heard %v, then %q", line, heard, body)
		}
	}
}
