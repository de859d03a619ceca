package oauth

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"podgate/internal/web"
)

func TestNewRefusesBadConfig(t *testing.T) {
	t.Parallel()
	good := newFixture(t)
	for name, c := range map[string]struct {
		change func(*Config)
		word   string
	}{
		"no issuer":       {func(c *Config) { c.Issuer = "" }, "issuer"},
		"trailing slash":  {func(c *Config) { c.Issuer = "https://pods.example.com/" }, "issuer"},
		"path":            {func(c *Config) { c.Issuer = "https://pods.example.com/x" }, "issuer"},
		"query":           {func(c *Config) { c.Issuer = "https://pods.example.com?x" }, "issuer"},
		"fragment":        {func(c *Config) { c.Issuer = "https://pods.example.com#x" }, "issuer"},
		"user":            {func(c *Config) { c.Issuer = "https://u@pods.example.com" }, "issuer"},
		"scheme":          {func(c *Config) { c.Issuer = "ftp://pods.example.com" }, "issuer"},
		"no scheme":       {func(c *Config) { c.Issuer = "pods.example.com" }, "issuer"},
		"quote":           {func(c *Config) { c.Issuer = `https://pods"x` }, "issuer"},
		"negative":        {func(c *Config) { c.AccessTTL = -1 }, "negative"},
		"registration":    {func(c *Config) { c.Registration = "closed" }, "open, known or off"},
		"javascript":      {func(c *Config) { c.RedirectSchemes = []string{"JavaScript"} }, "javascript"},
		"https as scheme": {func(c *Config) { c.RedirectSchemes = []string{"https"} }, "https"},
		"colon":           {func(c *Config) { c.RedirectSchemes = []string{"cursor:"} }, "without the colon"},
		"no store":        {func(c *Config) { c.DB = nil }, "DB"},
	} {
		config := Config{Issuer: testIssuer, DB: good.db, Pages: good.pages, Sessions: good.sessions, Log: good.log, Now: good.now}
		c.change(&config)
		if _, err := New(config); err == nil || !strings.Contains(err.Error(), c.word) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := New(Config{Issuer: "x", Registration: "y", RedirectSchemes: []string{"data"}})
	if err == nil || strings.Count(err.Error(), "oauth:") != 4 {
		t.Errorf("not every fault is named at once: %v", err)
	}
}

// The defaults are those that people are told.
func TestDefaults(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	if f.accessTTL.Hours() != 30*24 || f.codeTTL.Minutes() != 10 || !f.open || f.Resource() != testIssuer+"/api/mcp" {
		t.Errorf("%v %v %v %v", f.accessTTL, f.codeTTL, f.open, f.Resource())
	}
}

// A refresh token is offered exactly when one can be redeemed.
func TestOfflineAccess(t *testing.T) {
	t.Parallel()
	for _, refresh := range []bool{true, false} {
		f := newFixture(t, func(c *Config) {
			if !refresh {
				c.RefreshTTL = 0
			}
		})
		var d serverDocument
		f.must(json.Unmarshal(f.serverMetadata, &d))
		if slices.Contains(d.Scopes, "offline_access") != refresh || slices.Contains(d.GrantTypes, "refresh_token") != refresh {
			t.Errorf("with refresh tokens %v: %v, %v", refresh, d.Scopes, d.GrantTypes)
		}
		if strings.Contains(string(f.resourceMetadata)+fmt.Sprint(f.challenges), "offline_access") {
			t.Error("the resource asks for offline_access")
		}
	}
}

// Routes covers each path once a method, lets scripts of other origins in
// where no cookie counts and nowhere else, and leaves no method to chance.
func TestRoutes(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	seen := map[string]bool{}
	paths := map[string]bool{}
	for _, r := range f.Routes() {
		key := r.Method + " " + r.Path
		if seen[key] || r.Handler == nil || r.Errors == nil {
			t.Errorf("%s stands twice or without handler", key)
		}
		seen[key], paths[r.Path] = true, true
		if r.CORS == strings.HasSuffix(r.Path, "authorize") {
			t.Errorf("%s: CORS %v", key, r.CORS)
		}
	}
	if len(paths) != 11 {
		t.Errorf("%d paths: %v", len(paths), paths)
	}
}

// An answer's page that fails to be written still reaches the person.
func TestErrorPageFails(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.Server.pages = failingPages{f.pages}
	a := f.send("PUT", "/oauth/authorize", "")
	if a.status != http.StatusMethodNotAllowed || a.header.Get("Allow") == "" || !strings.Contains(a.body, "Use GET, POST") {
		t.Errorf("%d %v %s", a.status, a.header, a.body)
	}
}

// Errors from outside the protocol come out in its words and characters.
func TestWriteError(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		status     int
		code, want string
	}{
		{http.StatusRequestEntityTooLarge, "too_large", "invalid_request"},
		{http.StatusInternalServerError, "whatever", "server_error"},
		{http.StatusBadRequest, "invalid_grant", "invalid_grant"},
	} {
		w := httptest.NewRecorder()
		writeError(w, httptest.NewRequest("POST", "/", nil), web.Fault(c.status, c.code, "a \"b\" \\ «c»\n", nil))
		var got map[string]string
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != c.status || got["error"] != c.want || got["error_description"] != "a 'b' ' 'c''" || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %v %v", c.code, w.Code, got, err)
		}
	}
}

type failingPages struct{ *fakePages }

func (failingPages) AuthorizeError(http.ResponseWriter, *http.Request, AuthorizeError) error {
	return web.Fault(http.StatusInternalServerError, "x", "template", nil)
}
