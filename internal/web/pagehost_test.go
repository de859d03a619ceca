package web_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"podgate/internal/web"
)

const (
	chrome  = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"
	firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"
	edge    = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36 Edg/140.0.0.0"
	safari  = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.4 Safari/605.1.15"
	webview = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)"
)

func visit(host, agent string) *http.Request {
	r := httptest.NewRequest("GET", "/a?b=c&d=%2F", nil)
	r.Host = host
	r.Header.Set("User-Agent", agent)
	return r
}

// On loopback the pages are at one name, and a browser that comes under another
// is sent there. Nobody is sent in circles.
func TestPageHost(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ issuer, host, agent, want string }{
		{"http://localhost:8080", "localhost:8080", chrome, "http://podgate.localhost:8080"},
		{"http://localhost:8080", "localhost:8080", firefox, "http://podgate.localhost:8080"},
		{"http://localhost:8080", "localhost:8080", edge, "http://podgate.localhost:8080"},
		{"http://localhost:8080", "localhost:8080", "curl/8.14.1", "http://podgate.localhost:8080"},
		{"http://localhost:8080", "localhost:8080", "", "http://podgate.localhost:8080"},
		{"http://localhost:8080", "127.0.0.1:8080", chrome, "http://podgate.localhost:8080"},
		{"http://localhost:8080", "[::1]:8080", chrome, "http://podgate.localhost:8080"},
		{"http://localhost:8080", "podgate.localhost.:8080", chrome, "http://podgate.localhost:8080"},
		{"http://localhost:8080", "localhost:9000", chrome, "http://podgate.localhost:9000"}, // through a tunnel
		{"http://localhost", "localhost", chrome, "http://podgate.localhost"},
		{"http://localhost:8080", "podgate.localhost:8080", chrome, ""},
		{"http://localhost:8080", "PODGATE.localhost:8080", chrome, ""},
		{"http://localhost:8080", "podgate.localhost:9000", chrome, ""},
		{"http://127.0.0.1:8080", "127.0.0.1:8080", chrome, "http://podgate.localhost:8080"},
		{"http://[::1]:8080", "[::1]:8080", chrome, "http://podgate.localhost:8080"},
		// Where the name may lead nowhere they are at localhost.
		{"http://localhost:8080", "localhost:8080", safari, ""},
		{"http://localhost:8080", "localhost:9000", webview, ""},
		{"http://localhost:8080", "127.0.0.1:8080", safari, "http://localhost:8080"},
		{"http://localhost:8080", "podgate.localhost:8080", safari, "http://localhost:8080"},
		// The name leads to other addresses than these, or has no certificate.
		{"http://127.0.0.5:8080", "127.0.0.5:8080", chrome, ""},
		{"https://localhost:8443", "localhost:8443", chrome, ""},
		{"https://localhost:8443", "127.0.0.1:8080", chrome, "https://localhost:8443"},
		// A proxy may not have passed a public name on.
		{"https://pods.example.com", "pods.example.com", chrome, ""},
		{"https://pods.example.com", "localhost:8080", chrome, ""},
	} {
		p, r, w := web.NewPageHost(c.issuer), visit(c.host, c.agent), httptest.NewRecorder()
		p.Only(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})).ServeHTTP(w, r)
		want := c.want
		if want != "" {
			want += "/a?b=c&d=%2F"
		}
		if got := w.Header().Get("Location"); got != want || p.Elsewhere(r) != (want != "") {
			t.Errorf("%s asked for as %s by %.60s leads to %q, want %q", c.issuer, c.host, c.agent, got, want)
		}
		if want != "" && p.Elsewhere(visit(c.want[len("http://"):], c.agent)) && c.want[:5] == "http:" {
			t.Errorf("%s sends %.60s on from %s", c.issuer, c.agent, c.want)
		}
	}
}

// A form counts when both it and the page that it is from are at the pages' host.
func TestPageHostSameOrigin(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		issuer, host, agent, origin, site string
		want                              bool
	}{
		{"http://localhost:8080", "podgate.localhost:8080", chrome, "http://podgate.localhost:8080", "same-origin", true},
		{"http://localhost:8080", "podgate.localhost:8080", chrome, "null", "same-origin", true},
		{"http://localhost:8080", "podgate.localhost:9000", chrome, "http://podgate.localhost:9000", "", true},
		{"http://localhost:8080", "podgate.localhost:8080", chrome, "http://podgate.localhost:9000", "same-site", false},
		{"http://localhost:8080", "podgate.localhost:8080", chrome, "http://localhost:8080", "cross-site", false},
		{"http://localhost:8080", "podgate.localhost:8080", chrome, "http://demo.localhost:8080", "cross-site", false},
		{"http://localhost:8080", "podgate.localhost:8080", chrome, "null", "cross-site", false},
		{"http://localhost:8080", "localhost:8080", chrome, "http://localhost:8080", "same-origin", false},
		{"http://localhost:8080", "localhost:8080", chrome, "http://podgate.localhost:8080", "cross-site", false},
		{"http://localhost:8080", "localhost:8080", safari, "http://localhost:8080", "same-origin", true},
		{"http://localhost:8080", "localhost:8080", safari, "http://localhost:9000", "same-site", false},
		{"http://localhost:8080", "podgate.localhost:8080", safari, "http://podgate.localhost:8080", "same-origin", false},
		{"https://pods.example.com", "localhost:8080", chrome, "https://pods.example.com", "same-origin", true},
		{"https://pods.example.com", "pods.example.com", chrome, "http://podgate.localhost:8080", "cross-site", false},
	} {
		r := visit(c.host, c.agent)
		r.Header.Set("Origin", c.origin)
		r.Header.Set("Sec-Fetch-Site", c.site)
		if err := web.NewPageHost(c.issuer).SameOrigin(r); (err == nil) != c.want {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestPageHostAddress(t *testing.T) {
	t.Parallel()
	for issuer, want := range map[string]string{
		"http://localhost:8080": "http://podgate.localhost:8080", "http://localhost": "http://podgate.localhost", "http://[::1]:8080": "http://podgate.localhost:8080",
		"http://127.0.0.1": "http://podgate.localhost", "http://[::1]": "http://podgate.localhost", "http://127.0.0.5:8080": "http://127.0.0.5:8080",
		"https://localhost:8443": "https://localhost:8443", "https://pods.example.com": "https://pods.example.com",
	} {
		if p := web.NewPageHost(issuer); p.Address() != want || p.Own() != (want != issuer) {
			t.Errorf("the pages of %s are at %s, want %s", issuer, p.Address(), want)
		}
	}
}
