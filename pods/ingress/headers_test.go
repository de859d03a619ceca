package ingress

import (
	"net/http"
	"strings"
	"testing"
)

func FuzzCleanRequest(f *testing.F) {
	f.Add("a=1; __Host-podgate=s3cret", "6.6.6.6")
	f.Add("=podgate=s3cret,b", "")
	f.Add("\"podgate\"=x;;", "for=x")
	f.Fuzz(func(t *testing.T, cookie, forwarded string) {
		h := http.Header{"Cookie": {cookie}, "X-Forwarded-For": {forwarded}, "X_forwarded_host": {forwarded}, "Accept": {"x"}}
		cleanRequest(h)
		if len(h["X-Forwarded-For"])+len(h["X_forwarded_host"]) > 0 || h.Get("Accept") != "x" {
			t.Errorf("%v", h)
		}
		// What servers of other languages make of the line: cut at ; or ,
		// and trimmed.
		for _, pair := range strings.FieldsFunc(h.Get("Cookie"), func(r rune) bool { return r == ';' || r == ',' }) {
			name, _, _ := strings.Cut(strings.ToLower(strings.TrimSpace(pair)), "=")
			if strings.HasPrefix(strings.Trim(name, "\" \t$"), "podgate") || strings.HasPrefix(name, "__host-podgate") {
				t.Errorf("%q left %q", cookie, h.Get("Cookie"))
			}
		}
	})
}

func FuzzHostOnly(f *testing.F) {
	f.Add("a=1; Path=/; Domain=example.com")
	f.Add("b;DOMAIN;domain =;\tDomain\t=x")
	f.Add("")
	f.Fuzz(func(t *testing.T, cookie string) {
		got := hostOnly(cookie)
		h := http.Header{"Set-Cookie": {got}}
		for _, c := range (&http.Response{Header: h}).Cookies() {
			if c.Domain != "" {
				t.Errorf("%q became %q, which is for %s", cookie, got, c.Domain)
			}
		}
		if first, _, _ := strings.Cut(cookie, ";"); !strings.HasPrefix(got, first) {
			t.Errorf("%q lost its value: %q", cookie, got)
		}
	})
}
