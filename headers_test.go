package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"podgate/internal/acmetest"
	"podgate/internal/webtest"
)

// cookieFlood is what a hostile page can have a browser send along: so many
// cookies of 4 KiB.
func cookieFlood(n int) string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf("c%03d=%s", i, strings.Repeat("x", 4091)))
	}
	return strings.Join(all, "; ")
}

// Whoever sends too much is told so in the form of the address. Only podgate's
// own pages have cookies deleted, and only for who is on the way there.
func TestOversizedHeaders(t *testing.T) {
	t.Parallel()
	const own = "pods.example.com"
	flood, words := cookieFlood(30), "sent more cookies"
	for name, c := range map[string]struct {
		host, path string
		header     map[string]string
		cleared    bool
		words      string
	}{
		"own page":                  {own, "/sign-in", map[string]string{"Cookie": flood, "Sec-Fetch-Mode": "navigate"}, true, words},
		"own page, port":            {own + ":8443", "/", map[string]string{"Cookie": flood}, true, words},
		"loopback":                  {"localhost:8080", "/", map[string]string{"Cookie": flood}, true, words},
		"pages on loopback":         {"podgate.localhost:8080", "/", map[string]string{"Cookie": flood}, true, words},
		"loaded by another page":    {own, "/", map[string]string{"Cookie": flood, "Sec-Fetch-Mode": "no-cors"}, false, "64 KiB"},
		"fetched":                   {own, "/account", map[string]string{"Cookie": flood, "Sec-Fetch-Mode": "cors"}, false, "64 KiB"},
		"not the cookies":           {own, "/", map[string]string{"Cookie": "a=1", "X-Large": flood}, false, "64 KiB"},
		"cookies and more":          {own, "/", map[string]string{"Cookie": flood, "X-Large": flood}, false, "64 KiB"},
		"for programs":              {own, "/api/mcp", map[string]string{"Cookie": flood}, false, `"error":"header_too_large"`},
		"discovery":                 {own, "/.well-known/oauth-authorization-server", map[string]string{"X-Large": flood}, false, `"error":"header_too_large"`},
		"a pod":                     {"shop." + own, "/", map[string]string{"Cookie": flood, "Sec-Fetch-Mode": "navigate"}, false, "64 KiB"},
		"another host":              {"evil.example", "/", map[string]string{"Cookie": flood}, false, "64 KiB"},
		"no host":                   {"..", "/", map[string]string{"Cookie": flood}, false, "64 KiB"},
		"a long address":            {own, "/" + strings.Repeat("x", maxHeader), nil, false, "64 KiB"},
		"a large header, as always": {own, "/", map[string]string{"Cookie": cookieFlood(15)}, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reached := false
			h := boundHeaders(testStack(), own, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
			r := httptest.NewRequest("GET", "https://"+own+c.path, nil)
			r.Host = c.host
			for key, value := range c.header {
				r.Header.Set(key, value)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if reached != (c.words == "") {
				t.Errorf("passed on: %v", reached)
			}
			if c.words == "" {
				return
			}
			if w.Code != http.StatusRequestHeaderFieldsTooLarge || !strings.Contains(w.Body.String(), c.words) || len(r.Header) > 0 {
				t.Errorf("%d %s; %d fields are kept", w.Code, w.Body, len(r.Header))
			}
			if got := w.Header().Get("Clear-Site-Data"); (got == `"cookies"`) != c.cleared || got != "" && !c.cleared {
				t.Errorf("Clear-Site-Data: %s", got)
			}
		})
	}
}

// All that a browser keeps for a domain is read, and more ends the connection.
func TestCookieFloodIsAnswered(t *testing.T) {
	t.Parallel()
	srv := startServer(t)
	ask := func(cookies int) (*http.Response, string) {
		t.Helper()
		conn, err := net.Dial("tcp", strings.TrimPrefix(srv.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		go fmt.Fprintf(conn, "GET /sign-in HTTP/1.1\r\nHost: podgate.localhost\r\nCookie: %s\r\n\r\n", cookieFlood(cookies))
		return readAnswer(t, conn)
	}
	if res, body := ask(180); res.StatusCode != 431 || res.Header.Get("Clear-Site-Data") != `"cookies"` || !strings.Contains(body, "reload the page") {
		t.Errorf("%d %v %.200s", res.StatusCode, res.Header, body)
	}
	if res, _ := ask(1); res.StatusCode != http.StatusOK {
		t.Errorf("afterwards %d", res.StatusCode)
	}
	if res, body := ask(300); res.StatusCode != 431 || !res.Close {
		t.Errorf("beyond all: %d %s", res.StatusCode, body)
	}
}

// Browsers speak HTTP/2 over https, where a header has another form and the same
// bounds.
func TestCookieFloodOverHTTP2(t *testing.T) {
	t.Parallel()
	dir, port := t.TempDir(), freePort(t)
	certificate, key := acmetest.SelfSigned(t, time.Now().Add(-time.Hour), time.Now().Add(time.Hour), "flood.test")
	for name, raw := range map[string][]byte{"cert.pem": certificate, "key.pem": key} {
		if err := os.WriteFile(filepath.Join(dir, name), raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	startServer(t, fmt.Sprintf("public_url = \"https://flood.test:%s\"\nlisten = \"127.0.0.1:0\"\n[tls]\nmode = \"files\"\nlisten = \"127.0.0.1:%s\"\nhttp_listen = \"\"\ncert_files = [%q]\nkey_files = [%q]\n[pods]\ndomain = \"localhost\"",
		port, port, filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")))
	transport := webtest.Transport()
	defer transport.CloseIdleConnections()
	transport.TLSClientConfig.InsecureSkipVerify = true
	for cookies, want := range map[int]int{1: 200, 15: 200, 30: 431, 180: 431} {
		req := mustRequest(t, "https://flood.test:"+port+"/sign-in")
		req.Header.Set("Cookie", cookieFlood(cookies))
		res, err := transport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if cleared := res.Header.Get("Clear-Site-Data") != ""; res.ProtoMajor != 2 || res.StatusCode != want || cleared != (want == 431) {
			t.Errorf("%d cookies: %s %d, cleared %v", cookies, res.Proto, res.StatusCode, cleared)
		}
	}
}

// A real browser is out of reach of podgate by cookies that another page set,
// and back after a reload.
func TestBrowserRecoversFromCookieFlood(t *testing.T) {
	t.Parallel()
	ctx := webtest.StartChromium(t)
	srv := startServer(t)
	hostile := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<!doctype html><title>hostile</title>")
	}))
	t.Cleanup(hostile.Close)
	// Cookies do not know ports, so another port stands for another host of the
	// domain.
	browse(t, ctx, chromedp.Navigate(strings.Replace(hostile.URL, "127.0.0.1", "localhost", 1)))
	set := script[int](t, ctx, `(async () => {
		for (let i = 0; i < 100; i++) document.cookie = "c" + i + "=" + "x".repeat(4000) + "; path=/; max-age=86400"
		return document.cookie.length
	})()`)
	if set < 100*4000 {
		t.Fatalf("the browser keeps %d bytes of cookies only", set)
	}
	podgate := strings.Replace(srv.URL, "127.0.0.1", "localhost", 1) + "/sign-in"
	for i, want := range []string{"sent more cookies", "no administrator yet"} {
		res, err := chromedp.RunResponse(ctx, chromedp.Navigate(podgate))
		if err != nil {
			t.Fatal(err)
		}
		if text := script[string](t, ctx, `Promise.resolve(document.body.innerText)`); !strings.Contains(text, want) {
			t.Errorf("visit %d: %d %s", i+1, res.Status, text)
		}
	}
}
