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

	"podgate/internal/webtest"
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

// A file goes into a pod and comes out again through the program as it runs, with
// nothing but the addresses, which no log has.
func TestLinksThroughTheServer(t *testing.T) {
	t.Parallel()
	srv := startServer(t)
	needSandbox(t, srv)
	c := connect(t, srv, setUp(t, srv), connectOptions{})
	c.call(t, "create_pod", args{"name": "shop", "preset": "static"})
	send := func(method, address string, body io.Reader, header ...string) (int, http.Header, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, address, body)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		transport := webtest.Transport()
		defer transport.CloseIdleConnections()
		res, err := transport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		raw, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, res.Header, string(raw)
	}
	content := strings.Repeat("0123456789abcdef", 3<<16) // 3 MiB
	up, _ := c.call(t, "create_upload", args{"name": "shop", "path": "big.txt"})["url"].(string)
	if status, _, body := send("PUT", up, strings.NewReader(content[:1<<20]), "Content-Range", fmt.Sprintf("bytes 0-%d/%d", 1<<20-1, len(content))); status != http.StatusAccepted {
		t.Errorf("the first part: %d %s", status, body)
	}
	if status, h, _ := send("HEAD", up, nil); status != http.StatusOK || h.Get("Upload-Offset") != fmt.Sprint(1<<20) {
		t.Errorf("%d %v", status, h)
	}
	if status, _, body := send("PUT", up, strings.NewReader(content[1<<20:]), "Content-Range", fmt.Sprintf("bytes %d-%d/%d", 1<<20, len(content)-1, len(content))); status != http.StatusCreated {
		t.Errorf("the rest: %d %s", status, body)
	}
	for _, method := range []string{"GET", "POST", "DELETE"} {
		if status, h, body := send(method, up, nil); status != http.StatusMethodNotAllowed || strings.Contains(h.Get("Content-Type"), "html") {
			t.Errorf("%s: %d %v %s", method, status, h, body)
		}
	}
	send("PUT", up+"/more", strings.NewReader("x"))
	down, _ := c.call(t, "create_download", args{"name": "shop", "path": "big.txt"})["url"].(string)
	if status, h, body := send("GET", down, nil); status != http.StatusOK || body != content || !strings.HasPrefix(h.Get("Content-Disposition"), "attachment") {
		t.Errorf("%d %v, %d bytes", status, h, len(body))
	}
	if !strings.Contains(srv.Log.String(), "path=/api/uploads/…") {
		t.Error("the log has no uploads, so it proves nothing")
	}
	for _, address := range []string{up, down} {
		if secret := address[strings.LastIndex(address, "/")+1:]; strings.Contains(srv.Log.String(), secret) {
			t.Errorf("the secret of %s is in the log", address)
		}
	}
}
