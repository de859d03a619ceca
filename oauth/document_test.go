package oauth

import (
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"podgate/internal/text"
)

func TestParseClientURL(t *testing.T) {
	t.Parallel()
	for id, host := range map[string]string{
		"https://app.example.com/client.json":                 "app.example.com",
		"https://app.example.com/a/b?c=d&e":                   "app.example.com",
		"https://xn--bcher-kva.example/x":                     "xn--bcher-kva.example",
		"https://app.example.com/%41//x.y/...":                "app.example.com",
		"https://app.example.com/" + strings.Repeat("a", 488): "app.example.com",
	} {
		if got, err := parseClientURL(id); err != nil || got != host {
			t.Errorf("%s: %q, %v", id, got, err)
		}
	}
	for _, id := range []string{
		"", "x", "http://app.example.com/x", "HTTPS://app.example.com/x", "https:/app.example.com/x", "https://",
		"https://app.example.com", "https://app.example.com/", "https://app.example.com?x", "https://app.example.com/?x",
		"https://app.example.com:443/x", "https://app.example.com:/x", "https://app.example.com:8443/x",
		"https://user@app.example.com/x", "https://user:pass@app.example.com/x", "https://app.example.com%40evil.example/x",
		"https://App.example.com/x", "https://app.example.com./x", "https://.example.com/x", "https://app..example.com/x", "https:///x",
		"https://localhost/x", "https://intranet/x", "https://app.localhost%00/x",
		"https://127.0.0.1/x", "https://127.1/x", "https://0x7f.1/x", "https://2130706433/x", "https://8.8.8.8/x", "https://[::1]/x", "https://[2606:4700::1]/x",
		"https://app.example.com/.", "https://app.example.com/..", "https://app.example.com/a/../b", "https://app.example.com/./b",
		"https://app.example.com/%2e", "https://app.example.com/a/%2E%2e/b", "https://app.example.com/.%2e/b",
		"https://app.example.com/x#", "https://app.example.com/x#y", "https://app.example.com/x y", "https://app.example.com/x\n", "https://app.example.com/\\evil.example",
		"https://app.example.com/ü", "https://äpp.example.com/x", "https://app.example.com/%", "https://app.example.com/%0d%0a", "https://app.example.com/\"x",
		"https://app.example.com/" + strings.Repeat("a", 489),
	} {
		if host, err := parseClientURL(id); err == nil {
			t.Errorf("%q passes as a document of %s", id, host)
		} else if strings.Contains(err.Error(), "example") {
			t.Errorf("%q is quoted: %v", id, err)
		}
	}
}

// What passes has one meaning: a general parser finds the same host, which is
// a name, and what is asked for is the identifier byte for byte.
func FuzzClientURL(f *testing.F) {
	for _, id := range []string{appURL, "https://a.b/c?d#e", "https://a.b:1/%2e", "https://u@a.b/x", "https://[::1]/x", "https://1.2.3.4/x", "https://a.b/\x00"} {
		f.Add(id)
	}
	f.Fuzz(func(t *testing.T, id string) {
		host, err := parseClientURL(id)
		if err != nil {
			return
		}
		u, err := url.Parse(id)
		if err != nil || u.Host != host || u.Scheme != "https" || u.User != nil || u.Fragment != "" || len(u.Path) < 2 {
			t.Fatalf("%q: host %q, but %+v, %v", id, host, u, err)
		}
		if _, err := netip.ParseAddr(host); err == nil {
			t.Fatalf("%q: an address", id)
		}
		if asked := "https://" + u.Host + u.RequestURI(); asked != id {
			t.Fatalf("%q would be asked for as %q", id, asked)
		}
	})
}

// Whatever a document holds, what is kept of it is sound.
func FuzzDocument(f *testing.F) {
	f.Add([]byte(appDocument()))
	f.Add([]byte(appDocument(`redirect_uris=["http://127.0.0.1/","x:y",null]`, `grant_types=["refresh_token","authorization_code"]`, `scope="pods:read"`)))
	f.Add([]byte(appDocument(`token_endpoint_auth_methods_supported=["none"]`, `client_secret=null`, `client_name="\u202e\u0000"`)))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, body []byte) {
		d, err := parseDocument(body, appURL, []string{"cursor"})
		if err != nil {
			if strings.ContainsFunc(err.Error(), func(c rune) bool { return c < ' ' || c > '~' }) {
				t.Fatalf("the error quotes the document: %q", err)
			}
			return
		}
		if d.name == "" || d.name != text.Line(d.name, maxNameStored) || len(d.scopes) == 0 {
			t.Fatalf("%+v", d)
		}
		if n := len(d.redirectURIs); n == 0 || n > maxDocumentURIs {
			t.Fatalf("%d redirect URIs", n)
		}
		for _, uri := range d.redirectURIs {
			if _, err := parseRedirect(uri, []string{"cursor"}); err != nil {
				t.Fatalf("kept %q: %v", uri, err)
			}
		}
	})
}

func TestFreshFor(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		headers string // «Name: value», one a line
		want    time.Duration
	}{
		{"", time.Hour},
		{"Cache-Control: public", time.Hour},
		{"Cache-Control: max-age=600", 10 * time.Minute},
		{"Cache-Control: public, MAX-AGE = \"600\"", 10 * time.Minute},
		{"Cache-Control: max-age=600\nAge: 120", 8 * time.Minute},
		{"Cache-Control: max-age=600\nAge: nonsense", 10 * time.Minute},
		{"Cache-Control: max-age=1200, max-age=600", 10 * time.Minute},
		{"Cache-Control: max-age=1200\nCache-Control: max-age=600", 10 * time.Minute},
		{"Cache-Control: max-age=600\nExpires: Sun, 01 Mar 2026 20:00:00 GMT", 10 * time.Minute},
		{"Cache-Control: max-age=0", freshMin},
		{"Cache-Control: max-age=-1", freshMin},
		{"Cache-Control: max-age=nonsense", freshMin},
		{"Cache-Control: max-age", freshMin},
		{"Cache-Control: no-store", freshMin},
		{"Cache-Control: no-cache, max-age=600", freshMin},
		{"Cache-Control: private=\"x, max-age=900\", max-age=600", 10 * time.Minute},
		{"Cache-Control: x=\"\\\", max-age=900\", max-age=600", 10 * time.Minute},
		{"Cache-Control: max-age=86401", freshMax},
		{"Cache-Control: max-age=99999999999999999999999", freshMax},
		{"Cache-Control: max-age=9223372036", freshMax},
		{"Cache-Control: s-maxage=600", time.Hour},
		{"Expires: Sun, 01 Mar 2026 14:00:00 GMT", 2 * time.Hour},
		{"Expires: Sun, 01 Mar 2026 14:00:00 GMT\nDate: Sun, 01 Mar 2026 13:00:00 GMT", time.Hour},
		{"Expires: Sun, 01 Mar 2026 11:00:00 GMT", freshMin},
		{"Expires: 0", freshMin},
		{"Expires: Sun, 01 Mar 2426 11:00:00 GMT", freshMax},
	} {
		h := http.Header{}
		for line := range strings.Lines(c.headers) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
			h.Add(name, value)
		}
		if got := freshFor(h, now); got != c.want {
			t.Errorf("%q: %v, want %v", c.headers, got, c.want)
		}
	}
}

// No header makes a copy live shorter or longer than the bounds, and directives
// lose nothing of the header.
func FuzzFreshness(f *testing.F) {
	f.Add("max-age=600", "", "", "")
	f.Add(`private="x, max-age=1", max-age=99999999999`, "10", "Sun, 01 Mar 2026 14:00:00 GMT", "Sun, 01 Mar 2026 14:00:00 GMT")
	f.Add(`no-store, x="\"`, "-1", "0", "x")
	f.Fuzz(func(t *testing.T, control, age, expires, date string) {
		h := http.Header{"Cache-Control": {control}, "Age": {age}, "Expires": {expires}, "Date": {date}}
		if d := freshFor(h, time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)); d < freshMin || d > freshMax {
			t.Fatalf("%v: %v", h, d)
		}
		if got := strings.Join(directives(control), ","); got != control {
			t.Fatalf("%q became %q", control, got)
		}
	})
}
