package tlsrecord

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"reflect"
	"testing"
	"time"

	_ "unsafe" // for linkname

	"podgate/internal/webtest"
)

// The suites that crypto/tls prefers, which are no setting of TLS 1.3. Whoever changes them
// is no parallel test.
//
//go:linkname withAES crypto/tls.defaultCipherSuitesTLS13
var withAES []uint16

//go:linkname withoutAES crypto/tls.defaultCipherSuitesTLS13NoAES
var withoutAES []uint16

// only has crypto/tls know one suite until the test ends.
func only(t *testing.T, suite uint16) {
	one, other := withAES, withoutAES
	withAES, withoutAES = []uint16{suite}, []uint16{suite}
	t.Cleanup(func() { withAES, withoutAES = one, other })
}

// shake has crypto/tls connect a client and a server over a pipe: what is written in one
// call is there at once, and not before somebody reads.
func shake(t *testing.T, version uint16) (server, client *tls.Conn) {
	t.Helper()
	here, there := net.Pipe()
	patience(t, here, there)
	server = tls.Server(here, &tls.Config{Certificates: []tls.Certificate{webtest.SelfSigned(t, "shop.test", time.Now().Add(-time.Hour), time.Now().Add(time.Hour))}, SessionTicketsDisabled: true, MaxVersion: version})
	client = tls.Client(there, &tls.Config{InsecureSkipVerify: true})
	failed := make(chan error, 1)
	go func() { failed <- client.Handshake() }()
	if err := errors.Join(server.Handshake(), <-failed); err != nil {
		t.Fatal(err)
	}
	return server, client
}

func patience(t *testing.T, conns ...net.Conn) {
	t.Helper()
	for _, c := range conns {
		t.Cleanup(func() { _ = c.Close() })
		if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
}

// resumed goes on with a connection of crypto/tls, whichever side it is.
func resumed(t *testing.T, c *tls.Conn) *Conn {
	t.Helper()
	p := peeled{conn: reflect.ValueOf(c).Elem()}
	s := p.state(c.ConnectionState().CipherSuite)
	if p.err != nil {
		t.Fatal(p.err)
	}
	return resume(t, c.NetConn(), s)
}

func resume(t *testing.T, below net.Conn, s State) *Conn {
	t.Helper()
	c, err := Resume(below, s)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// pair is both ends of a connection, as from the middle of it.
func pair(t *testing.T) (server, client *Conn) {
	t.Helper()
	here, there := net.Pipe()
	patience(t, here, there)
	in, out := Half{bytes.Repeat([]byte{1}, 32), 1000}, Half{bytes.Repeat([]byte{2}, 32), 2000}
	return resume(t, here, State{Suite: tls.TLS_AES_128_GCM_SHA256, In: in, Out: out}), resume(t, there, State{Suite: tls.TLS_AES_128_GCM_SHA256, In: out, Out: in})
}

// send has what one end writes come out of the other.
func send(t *testing.T, from io.Writer, to io.Reader, words []byte) {
	t.Helper()
	failed := make(chan error, 1)
	go func() {
		_, err := from.Write(words)
		failed <- err
	}()
	receive(t, to, words)
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
}

func receive(t *testing.T, c io.Reader, words []byte) {
	t.Helper()
	got := make([]byte, len(words))
	if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, words) {
		t.Fatalf("%d bytes, %.40q: %v", len(got), got, err)
	}
}

// interrupt has a read of c take what the other end writes, and ends it as a deadline does.
func interrupt(t *testing.T, c net.Conn, write func()) {
	t.Helper()
	failed := make(chan error, 1)
	go func() {
		n, err := c.Read(make([]byte, 1))
		if n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			failed <- errors.Join(errors.New("something was read"), err)
		}
		failed <- nil
	}()
	write()
	if err := c.SetReadDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
	if err := c.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
}

// record is what an end would send.
func record(t *testing.T, from *Conn, kind byte, content string) []byte {
	t.Helper()
	raw, err := from.out.seal(nil, kind, []byte(content))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func valueOf(it any) reflect.Value { return reflect.ValueOf(it).Elem() }
