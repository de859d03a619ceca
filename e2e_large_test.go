package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// A client that sends all of a body before it reads hears what is wrong with a
// message that is far too large: no broken pipe.
func TestLargeMessageIsAnswered(t *testing.T) {
	t.Parallel()
	srv := startServer(t)
	c := connect(t, srv, setUp(t, srv), connectOptions{})
	u, err := url.Parse(c.endpoint())
	if err != nil {
		t.Fatal(err)
	}
	const size = 40 << 20
	for _, framing := range []string{fmt.Sprintf("Content-Length: %d", size), "Transfer-Encoding: chunked"} {
		conn, err := net.Dial("tcp", u.Host)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		end := ""
		head := "POST /api/mcp HTTP/1.1\r\nHost: " + u.Host + "\r\nAuthorization: Bearer " + c.wire.token() + "\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\n" + framing + "\r\n\r\n"
		if framing == "Transfer-Encoding: chunked" {
			head += fmt.Sprintf("%x\r\n", size)
			end = "\r\n0\r\n\r\n"
		}
		if _, err := io.WriteString(conn, head); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write(append(bytes.Repeat([]byte(" "), size), end...)); err != nil {
			t.Errorf("%s: sending: %v", framing, err)
		}
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Errorf("%s: %v", framing, err)
			continue
		}
		raw, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != http.StatusRequestEntityTooLarge || !strings.HasPrefix(string(raw), `{"jsonrpc":"2.0","id":null,"error":{"code":-32600,`) {
			t.Errorf("%s: %d %s %v", framing, res.StatusCode, raw, err)
		}
	}
}
