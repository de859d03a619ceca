package ui_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"podgate/ui"
	"podgate/ui/pagetest"
)

const password = pagetest.Password

// serve calls one route of a server directly, at the origin that the header names.
func serve(t *testing.T, server *ui.Server, method, path string, form url.Values, header http.Header, cookies ...*http.Cookie) *httptest.ResponseRecorder {
	t.Helper()
	for _, route := range server.Routes() {
		if route.Method != method || route.Path != path {
			continue
		}
		r := httptest.NewRequest(method, path, strings.NewReader(form.Encode()))
		for name, values := range header {
			r.Header[name] = values
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		_, r.Host, _ = strings.Cut(header.Get("Origin"), "://")
		for _, c := range cookies {
			r.AddCookie(c)
		}
		w := httptest.NewRecorder()
		if err := route.Handler(w, r); err != nil {
			t.Fatal(err)
		}
		return w
	}
	t.Fatalf("no route %s %s", method, path)
	return nil
}
