package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// Whatever is refused is answered before the body has come, and the connection
// ends: a stranger holds none by announcing what is never sent.
func TestRefusalsHoldNoConnection(t *testing.T) {
	t.Parallel()
	srv := startServer(t)
	for _, c := range []struct {
		request, host, header string
		want                  int
	}{
		{"POST /", "evil.example", "", http.StatusMisdirectedRequest},
		{"POST /", "..", "", http.StatusMisdirectedRequest},
		{"POST /", "absent.localhost", "", http.StatusNotFound},
		{"CONNECT absent.localhost:80", "absent.localhost", "", http.StatusMethodNotAllowed},
		{"POST /.well-known/acme-challenge/x", "absent.localhost", "", http.StatusNotFound},
		{"POST /api/mcp", "localhost", "", http.StatusUnauthorized},
		{"POST /api/mcp", "localhost", "Authorization: Bearer pgat_nothing\r\n", http.StatusUnauthorized},
		{"POST /nothing", "localhost", "", http.StatusNotFound},
		{"PUT /.well-known/oauth-authorization-server", "localhost", "", http.StatusMethodNotAllowed},
		{"POST /sign-in", "localhost", "Origin: https://evil.example\r\n", http.StatusForbidden},
		{"POST /api/doctor", "localhost", "", http.StatusRequestEntityTooLarge},
		{"GET /healthz", "localhost", "", http.StatusOK},
	} {
		name := c.request + " of " + c.host
		conn, err := net.Dial("tcp", strings.TrimPrefix(srv.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.SetDeadline(time.Now().Add(40 * time.Second)); err != nil { // as slow as a machine may be
			t.Fatal(err)
		}
		length := 50 // which net/http would wait for
		if c.want == http.StatusRequestEntityTooLarge {
			length = 17 << 20
		}
		fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: %s\r\n%sContent-Length: %d\r\n\r\n{", c.request, c.host, c.header, length)
		res, _ := readAnswer(t, conn)
		if res.StatusCode != c.want || !res.Close {
			t.Errorf("%s: %d, the connection ends: %v", name, res.StatusCode, res.Close)
		}
		_ = conn.Close()
	}
}

// readAnswer reads one answer, and its body, from a connection.
func readAnswer(t *testing.T, conn io.Reader) (*http.Response, string) {
	t.Helper()
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}

// A proxy and this machine bring many people; everybody else is one address.
func TestConnectionBounds(t *testing.T) {
	t.Parallel()
	shared := connectionBounds([]netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}).Shared
	for a, want := range map[string]bool{"127.0.0.1": true, "127.9.9.9": true, "::1": true, "192.0.2.7": true, "192.0.3.7": false, "10.0.0.1": false, "2001:db8::1": false} {
		if got := shared(netip.MustParseAddr(a)); got != want {
			t.Errorf("%s stands for many: %v", a, got)
		}
	}
}
