package connlimit

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"podgate/internal/webtest"
)

// pipes is a listener that hands out pipes instead of connections, which hold
// nothing that was not read, for tests whose time is made up.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func newPipes() *pipes { return &pipes{make(chan net.Conn), make(chan struct{})} }

func (l *pipes) dial(from string) net.Conn {
	ours, theirs := net.Pipe()
	l.conns <- addressed{theirs, from}
	return ours
}

func (l *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipes) Close() error   { close(l.closed); return nil }
func (l *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// addressed is a connection that comes from an address.
type addressed struct {
	net.Conn
	from string
}

func (c addressed) RemoteAddr() net.Addr { return address(c.from) }

type address string

func (a address) Network() string { return "tcp" }
func (a address) String() string  { return string(a) }

const visitor = "198.51.100.1:1"

// served answers with the handler behind Deadlines and the bounds until the end
// of the test's bubble.
func served(t *testing.T, h http.HandlerFunc) *pipes {
	t.Helper()
	return servedWithin(t, &Bounds{}, h)
}

func servedWithin(t *testing.T, bounds *Bounds, h http.HandlerFunc) *pipes {
	t.Helper()
	l := newPipes()
	bounds.All, bounds.Each = 100, 100
	s := &http.Server{Handler: Deadlines(h), ConnState: bounds.ConnState}
	go func() { _ = s.Serve(bounds.Listener(l)) }()
	t.Cleanup(func() { _ = s.Close() })
	return l
}

// servedH2 is served over HTTP/2 and returns a client of it.
func servedH2(t *testing.T, h http.HandlerFunc) *http.Client {
	t.Helper()
	return servedH2Within(t, &Bounds{}, h)
}

func servedH2Within(t *testing.T, bounds *Bounds, h http.HandlerFunc) *http.Client {
	t.Helper()
	l, authority := newPipes(), webtest.NewAuthority(t)
	now := time.Now()
	bounds.All, bounds.Each = 100, 100
	s := &http.Server{Handler: Deadlines(h), ConnState: bounds.ConnState, TLSConfig: &tls.Config{
		Certificates: []tls.Certificate{authority.Sign("pods.example.com", now.Add(-time.Hour), now.Add(24*time.Hour))},
	}}
	go func() { _ = s.ServeTLS(bounds.Listener(l), "", "") }()
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: authority.Roots}, ForceAttemptHTTP2: true,
		DialContext: func(context.Context, string, string) (net.Conn, error) { return l.dial(visitor), nil },
	}
	t.Cleanup(func() { transport.CloseIdleConnections(); _ = s.Close() })
	return &http.Client{Transport: transport}
}

// visit is one connection of a visitor who speaks for himself.
type visit struct {
	net.Conn
	t *testing.T
	r *bufio.Reader
}

func (l *pipes) visit(t *testing.T, from ...string) *visit {
	t.Helper()
	c := l.dial(append(from, visitor)[0])
	t.Cleanup(func() { _ = c.Close() })
	return &visit{c, t, bufio.NewReader(c)}
}

func (v *visit) send(text string) {
	v.t.Helper()
	if _, err := io.WriteString(v.Conn, text); err != nil {
		v.t.Fatal(err)
	}
}

// answer reads one answer with its body.
func (v *visit) answer() *http.Response {
	v.t.Helper()
	res, err := http.ReadResponse(v.r, nil)
	if err != nil {
		v.t.Fatal(err)
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		v.t.Fatal(err)
	}
	return res
}

// ended waits until the server has closed the connection and returns how long
// that took.
func (v *visit) ended() time.Duration {
	v.t.Helper()
	start := time.Now()
	if n, err := io.Copy(io.Discard, v.r); err != nil || n > 0 {
		v.t.Fatalf("%d bytes more, %v", n, err)
	}
	return time.Since(start)
}
