package main

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"podgate/internal/web"
)

func testStack() *web.Stack {
	return &web.Stack{Log: slog.New(slog.DiscardHandler), Now: time.Now}
}

func testStacks(string) *web.Stack { return testStack() }

func TestHostName(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]string{
		"pods.example.com": "pods.example.com", "PODS.Example.COM": "pods.example.com", "pods.example.com.": "pods.example.com",
		"pods.example.com:8443": "pods.example.com", "pods.example.com.:8443": "pods.example.com", "pods.example.com:": "pods.example.com",
		"localhost": "localhost", "127.0.0.1:8080": "127.0.0.1", "[::1]": "::1", "[::1]:8080": "::1", "[0:0:0:0:0:0:0:1]:1": "::1",
		"[::ffff:127.0.0.1]": "127.0.0.1", "a": "a",
		"": "", ".": "", "..": "", "a..b": "", ".a": "", "a b": "", "a/b": "", "a@b": "", "a:b": "", "a:1:2": "", "::1": "", "[::1": "", "[::1]x": "",
		"[::1]:x": "", "[fe80::1%eth0]": "", "[127.0.0.1]": "", "[]": "", "a\x00b": "", "a\tb": "", "ä.example": "", "-a": "", "a-": "", "a_b": "",
		"a.." + "": "", strings.Repeat("a", 64): "", strings.Repeat("a.", 130) + "a": "", "[": "", ":80": "",
	} {
		got, ok := hostName(host)
		if ok != (want != "") || ok && got != want {
			t.Errorf("%q: %q, %v, want %q", host, got, ok, want)
		}
	}
}

func FuzzHostName(f *testing.F) {
	for _, seed := range []string{"pods.example.com:443", "[::1]:80", "LOCALHOST.", "a:b:c", "[::ffff:1.2.3.4]"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, host string) {
		name, ok := hostName(host)
		if !ok {
			return
		}
		if strings.ContainsAny(name, " /@[]%\\\x00") || name != strings.ToLower(name) || strings.HasSuffix(name, ".") {
			t.Errorf("%q gives %q", host, name)
		}
		wrapped := name
		if strings.Contains(name, ":") {
			wrapped = "[" + name + "]"
		}
		if again, ok := hostName(wrapped); !ok || again != name {
			t.Errorf("%q gives %q, which gives %q", host, name, again)
		}
	})
}

// Which part of podgate answers to which name. Everything else is refused: a
// page of a stranger whose name resolves to this machine gets nowhere.
func TestHostRouter(t *testing.T) {
	t.Parallel()
	says := func(text string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, text) })
	}
	router := func(public, domain string) *hostRouter {
		return &hostRouter{
			publicHost: public, localPages: public == "localhost", podsDomain: domain, site: says("site"), refuse: says("refused"),
			pods: func(w http.ResponseWriter, _ *http.Request, name string) { io.WriteString(w, "pod "+name) },
		}
	}
	local, remote := router("localhost", "localhost"), router("pods.example.com", "apps.example.com")
	below, mixed := router("example.com", "example.com"), router("pods.example.com", "localhost")
	for _, c := range []struct {
		router *hostRouter
		host   string
		want   string
	}{
		{local, "localhost:8080", "site"}, {local, "LOCALHOST", "site"}, {local, "localhost.:8080", "site"}, {local, "127.0.0.1:8080", "site"},
		{local, "127.1.2.3", "site"}, {local, "[::1]:8080", "site"}, {local, "[::ffff:127.0.0.1]", "site"},
		{local, "demo.localhost:8080", "pod demo"}, {local, "DEMO.localhost.", "pod demo"}, {local, "demo.localhost:1", "pod demo"},
		{local, "a.demo.localhost", "refused"}, {local, ".localhost", "refused"}, {local, "evil.example", "refused"}, {local, "", "refused"},
		{local, "localhost.evil.example", "refused"}, {local, "evillocalhost", "refused"}, {local, "0.0.0.0:8080", "refused"}, {local, "[::]:8080", "refused"},
		{local, "192.168.1.7:8080", "refused"}, {local, "127.1", "refused"}, {local, "2130706433", "refused"}, {local, "localhost:80:80", "refused"},
		{local, "127.0.0.1.nip.io", "refused"}, {local, "localhost@evil.example", "refused"},
		{remote, "pods.example.com", "site"}, {remote, "Pods.Example.Com:443", "site"}, {remote, "pods.example.com.", "site"}, {remote, "localhost:8080", "site"},
		{remote, "demo.apps.example.com", "pod demo"}, {remote, "apps.example.com", "refused"}, {remote, "x.pods.example.com", "refused"},
		{remote, "demo.localhost", "refused"}, {remote, "pods.example.com.evil.example", "refused"}, {remote, "www.example.com", "refused"},
		// The name of local pages is never a pod's.
		{local, "podgate.localhost:8080", "site"}, {local, "PODGATE.localhost.", "site"}, {local, "x.podgate.localhost", "refused"},
		{mixed, "podgate.localhost:8080", "refused"}, {mixed, "demo.localhost:8080", "pod demo"}, {remote, "podgate.localhost", "refused"},
		{below, "example.com", "site"}, {below, "demo.example.com", "pod demo"},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Host = c.host
		r.Header.Set("X-Forwarded-Host", "localhost") // counts for nothing
		w := httptest.NewRecorder()
		c.router.ServeHTTP(w, r)
		if got := w.Body.String(); got != c.want {
			t.Errorf("public %s, pods %s: %q goes to %s, want %s", c.router.publicHost, c.router.podsDomain, c.host, got, c.want)
		}
	}
}

// Pods that can be seen on this machine only cannot be asked for from elsewhere,
// whatever Host says.
func TestLocalPodsAreForThisMachine(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		domain, host, scheme, forwarded string
		reached                         bool
	}{
		{"localhost", "demo.localhost:8080", "http", "", true},
		{"localhost", "demo.localhost", "http", "127.0.0.1, ::1", true},
		{"localhost", "demo.localhost", "https", "", false},
		{"localhost", "demo.localhost", "http", "203.0.113.9", false},
		{"localhost", "demo.localhost", "http", "127.0.0.1, 203.0.113.9", false},
		{"localhost", "demo.localhost", "http", "unknown", false},
		{"apps.localhost", "demo.apps.localhost", "https", "", false},
		{"apps.example.com", "demo.apps.example.com", "https", "203.0.113.9", true},
	} {
		reached := false
		d := &hostRouter{
			publicHost: "pods.example.com", podsDomain: c.domain, site: http.NotFoundHandler(), refuse: http.NotFoundHandler(),
			pods: func(http.ResponseWriter, *http.Request, string) { reached = true },
		}
		r := httptest.NewRequest("GET", c.scheme+"://"+c.host+"/", nil)
		if c.forwarded != "" {
			r.Header.Set("X-Forwarded-For", c.forwarded)
		}
		if d.ServeHTTP(httptest.NewRecorder(), r); reached != c.reached {
			t.Errorf("%+v: reached %v", c, reached)
		}
	}
}

func TestRefusedHostHearsWhereToGo(t *testing.T) {
	t.Parallel()
	h := testStack().Handle(refuseHost("https://pods.example.com"), writeUnrouted)
	const browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
	for _, c := range []struct{ accept, kind, says string }{
		{browser, "text/html", "<h1>Not this address</h1>"}, {"application/json, Text/HTML;q=0.5", "text/html", "</html>"},
		{"", "text/plain", ""}, {"*/*", "text/plain", ""}, {"application/json, text/event-stream", "text/plain", ""}, {"text/html+x", "text/plain", ""},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Host = "<script>evil"
		r.Header.Set("Accept", c.accept)
		r.Header.Set("Cookie", "podgate=evil")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		body := w.Body.String()
		if w.Code != http.StatusMisdirectedRequest || !strings.HasPrefix(w.Header().Get("Content-Type"), c.kind) || !strings.Contains(body, c.says) {
			t.Errorf("%q: %d %v %s", c.accept, w.Code, w.Header(), body)
		}
		if !strings.Contains(body, "https://pods.example.com") || !strings.Contains(body, "public_url") || strings.Contains(body, "evil") {
			t.Errorf("%q: %s", c.accept, body)
		}
		if w.Header().Get("Vary") != "Accept" || w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("Set-Cookie") != "" {
			t.Errorf("%q: %v", c.accept, w.Header())
		}
	}
}
