package main

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"podgate/internal/config"
	"podgate/internal/webtest"
)

// exchangeHTTP sends one request to the server, under its own name unless the
// header says another, and returns the answer with its body read.
func (s *testServer) exchangeHTTP(method, path, body string, header http.Header) (*http.Response, string) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.URL+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	_, req.Host, _ = strings.Cut(s.Issuer, "://")
	for name, values := range header {
		if name == "Host" {
			req.Host = values[0]
			continue
		}
		req.Header[name] = values
	}
	transport := webtest.Transport()
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp, string(raw)
}

// The paths that scripts of any origin may call, with the method they use.
var openPaths = map[string]string{
	"/.well-known/oauth-protected-resource": "GET", "/.well-known/oauth-protected-resource/api/mcp": "GET",
	"/.well-known/oauth-authorization-server": "GET", "/.well-known/oauth-authorization-server/api/mcp": "GET",
	"/api/oauth/register": "POST", "/register": "POST", "/api/oauth/token": "POST", "/token": "POST", "/api/oauth/revoke": "POST",
	"/api/mcp": "POST", "/api/mcp/": "POST",
}

// The paths that belong to a person's own browser.
var closedPaths = []string{"/", "/sign-in", "/setup", "/account", "/oauth/authorize", "/authorize", "/assets/style.css", "/absent", "/api/doctor"}

// Issuer and resource come from the configuration alone: what the request says
// of its way here changes no byte.
func TestDiscoveryDoesNotFollowTheRequest(t *testing.T) {
	t.Parallel()
	srv := startServer(t, `public_url = "https://pods.example.com"`, `trusted_proxies = ["127.0.0.1"]`)
	for _, document := range []string{"/.well-known/oauth-protected-resource", "/.well-known/oauth-authorization-server"} {
		_, want := srv.exchangeHTTP("GET", document, "", nil)
		for _, header := range []http.Header{
			{"Host": {"pods.example.com"}}, {"Host": {"PODS.example.com:8443"}}, {"Host": {"localhost:8080"}}, {"Host": {"[::1]"}},
			{"X-Forwarded-Host": {"evil.example"}, "X-Forwarded-Proto": {"http"}, "X-Forwarded-Port": {"81"}, "X-Forwarded-Prefix": {"/evil"}},
			{"Forwarded": {"host=evil.example;proto=http"}, "X-Original-Host": {"evil.example"}, "X-Original-Url": {"/evil"}, "X-Rewrite-Url": {"/evil"}},
			{"Accept": {"text/html"}, "Origin": {"https://evil.example"}, "Cookie": {"podgate=x"}},
		} {
			for _, form := range []string{"", "/api/mcp", "?x=1"} {
				resp, got := srv.exchangeHTTP("GET", document+form, "", header)
				if got != want || resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "application/json" || resp.Header.Get("Cache-Control") != "public, max-age=300" || strings.Contains(got, "evil") {
					t.Errorf("%s%s with %v: %d %v %s", document, form, header, resp.StatusCode, resp.Header, got)
				}
			}
		}
	}
	resp, _ := srv.exchangeHTTP("POST", "/api/mcp", "", http.Header{"X-Forwarded-Host": {"evil.example"}, "Host": {"localhost"}})
	if challenge := resp.Header.Get("WWW-Authenticate"); !strings.Contains(challenge, `resource_metadata="https://pods.example.com/.well-known/oauth-protected-resource/api/mcp"`) {
		t.Errorf("the challenge is %s", challenge)
	}
}

func hostOfURL(origin string) string {
	_, host, _ := strings.Cut(origin, "://")
	return host
}

// allows is what a browser does with the answer to a preflight (Fetch, CORS-
// preflight fetch), for a request with Authorization, which «*» does not cover.
func allows(resp *http.Response, method string, headers []string) bool {
	list := func(name string) []string {
		return strings.FieldsFunc(strings.ToLower(resp.Header.Get(name)), func(r rune) bool { return r == ',' || r == ' ' })
	}
	allowed := list("Access-Control-Allow-Headers")
	for _, h := range headers {
		if !slices.Contains(allowed, h) {
			return false
		}
	}
	simple := method == "GET" || method == "POST"
	return resp.StatusCode/100 == 2 && resp.Header.Get("Access-Control-Allow-Origin") == "*" && resp.Header.Get("Access-Control-Allow-Credentials") == "" &&
		(simple || slices.Contains(list("Access-Control-Allow-Methods"), strings.ToLower(method)))
}

func TestPreflightsOfBothEras(t *testing.T) {
	t.Parallel()
	srv := startServer(t)
	for name, headers := range map[string][]string{
		"handshake":  {"authorization", "content-type", "last-event-id", "mcp-protocol-version", "mcp-session-id"},
		"2026-07-28": {"authorization", "content-type", "mcp-method", "mcp-name", "mcp-param-region", "mcp-protocol-version", "traceparent"},
		"bare":       {"content-type"},
		"unasked":    nil,
	} {
		for path, method := range openPaths {
			methods := []string{method}
			if strings.HasPrefix(path, "/api/mcp") {
				methods = []string{"POST", "GET", "DELETE"} // whose refusal a page must be able to read
			}
			for _, method := range methods {
				resp, body := srv.exchangeHTTP("OPTIONS", path, "", http.Header{
					"Origin": {"https://inspector.example"}, "Access-Control-Request-Method": {method}, "Access-Control-Request-Headers": {strings.Join(headers, ",")},
				})
				if !allows(resp, method, headers) || body != "" || len(resp.Header["Set-Cookie"]) > 0 {
					t.Errorf("%s: preflight of %s %s: %d %v", name, method, path, resp.StatusCode, resp.Header)
				}
			}
		}
	}
}

// What a page gets to read: the answer, good or bad, and the headers that lead
// on.
func TestAnswersCanBeReadFromAnyOrigin(t *testing.T) {
	t.Parallel()
	srv := startServer(t)
	for path, method := range openPaths {
		for _, cookie := range []string{"", "podgate=abc; __Host-podgate=abc"} {
			resp, body := srv.exchangeHTTP(method, path, "{}", http.Header{"Origin": {"https://inspector.example"}, "Cookie": {cookie}, "Content-Type": {"application/json"}})
			exposed := strings.ToLower(resp.Header.Get("Access-Control-Expose-Headers"))
			if len(resp.Header["Access-Control-Allow-Origin"]) != 1 || resp.Header.Get("Access-Control-Allow-Origin") != "*" || resp.Header.Get("Access-Control-Allow-Credentials") != "" {
				t.Errorf("%s %s: %v", method, path, resp.Header)
			}
			for _, h := range []string{"www-authenticate", "mcp-session-id", "mcp-protocol-version", "retry-after"} {
				if !strings.Contains(exposed, h) {
					t.Errorf("%s %s hides %s", method, path, h)
				}
			}
			if len(resp.Header["Set-Cookie"]) > 0 || !strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") && resp.StatusCode != 200 {
				t.Errorf("%s %s: %d %v %s", method, path, resp.StatusCode, resp.Header, body)
			}
		}
	}
}

// Nothing that a cookie opens can be read by a page of another origin.
func TestPagesAreClosedToOtherOrigins(t *testing.T) {
	t.Parallel()
	srv := startServer(t)
	ada := setUp(t, srv)
	var cookies []string
	for _, c := range ada.Cookies(srv.pages()) {
		cookies = append(cookies, c.Name+"="+c.Value)
	}
	header := http.Header{
		"Host": {hostOfURL(srv.pages())}, "Origin": {"https://evil.example"}, "Cookie": {strings.Join(cookies, "; ")},
		"Access-Control-Request-Method": {"POST"}, "Access-Control-Request-Headers": {"content-type"},
	}
	for _, path := range closedPaths {
		for _, method := range []string{"GET", "HEAD", "POST", "OPTIONS"} {
			resp, _ := srv.exchangeHTTP(method, path, "", header)
			for name := range resp.Header {
				if strings.HasPrefix(name, "Access-Control-") {
					t.Errorf("%s %s sends %s", method, path, name)
				}
			}
			if method == "POST" && resp.StatusCode < 400 && path != "/api/doctor" {
				t.Errorf("POST %s from another origin: %d", path, resp.StatusCode)
			}
		}
	}
}

// Unknown documents are 404 and JSON, wherever a client looks for them, and a
// page can read that there is none.
func TestUnknownDocuments(t *testing.T) {
	t.Parallel()
	srv := startServer(t)
	for _, path := range []string{
		"/.well-known/openid-configuration", "/.well-known/openid-configuration/api/mcp", "/api/mcp/.well-known/openid-configuration",
		"/api/mcp/.well-known/oauth-protected-resource", "/api/mcp/.well-known/oauth-authorization-server", "/.well-known/oauth-protected-resource/",
		"/.well-known/oauth-protected-resource/api/mcp/", "/.well-known/oauth-protected-resource/other", "/.well-known/", "/.well-known/jwks.json", "/api/mcp/x",
	} {
		for _, method := range []string{"GET", "HEAD", "POST"} {
			resp, body := srv.exchangeHTTP(method, path, "", http.Header{"Accept": {"text/html"}, "Origin": {"https://inspector.example"}})
			if resp.StatusCode != 404 || resp.Header.Get("Content-Type") != "application/json" || method != "HEAD" && !strings.Contains(body, `"error":"not_found"`) ||
				resp.Header.Get("Access-Control-Allow-Origin") != "*" || resp.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s %s: %d %v %s", method, path, resp.StatusCode, resp.Header, body)
			}
		}
		headers := []string{"mcp-protocol-version"}
		resp, _ := srv.exchangeHTTP("OPTIONS", path, "", http.Header{"Origin": {"https://inspector.example"}, "Access-Control-Request-Method": {"GET"}, "Access-Control-Request-Headers": headers})
		if !allows(resp, "GET", headers) {
			t.Errorf("preflight of %s: %d %v", path, resp.StatusCode, resp.Header)
		}
	}
}

// The guard comes before everything, whatever the method; after it, what is
// not there is 405. Both addresses of the endpoint are one.
func TestGuardComesFirst(t *testing.T) {
	t.Parallel()
	srv := startServer(t)
	token := connect(t, srv, setUp(t, srv), connectOptions{}).wire.token()
	const call = `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`
	for _, path := range mcpPaths {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
			header := http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json, text/event-stream"}}
			resp, _ := srv.exchangeHTTP(method, path, call, header)
			if challenge := resp.Header.Get("WWW-Authenticate"); resp.StatusCode != 401 || !strings.HasPrefix(challenge, "Bearer resource_metadata=") || resp.Header.Get("Location") != "" {
				t.Errorf("%s %s without a token: %d %q", method, path, resp.StatusCode, challenge)
			}
			header.Set("Authorization", "bearer "+token) // the scheme in any case, RFC 9110 section 11.1
			resp, body := srv.exchangeHTTP(method, path, call, header)
			switch {
			case method == "POST" && (resp.StatusCode != 200 || !strings.Contains(body, "create_pod")):
				t.Errorf("POST %s with a token: %d %s", path, resp.StatusCode, body)
			case method != "POST" && (resp.StatusCode != 405 || resp.Header.Get("Allow") != "POST"):
				t.Errorf("%s %s with a token: %d %v", method, path, resp.StatusCode, resp.Header)
			}
		}
	}
}

// A session opens no endpoint, and a token no page, wherever either is put.
func TestSessionAndTokenStayApart(t *testing.T) {
	t.Parallel()
	srv := startServer(t)
	ada := setUp(t, srv)
	token := connect(t, srv, ada, connectOptions{}).wire.token()
	session := ada.Cookies(srv.pages())
	if len(session) != 2 || session[0].Name != "podgate" {
		t.Fatalf("cookies: %v", session)
	}
	device := session[1].Value
	const call = `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`
	for name, c := range map[string]struct {
		path   string
		header http.Header
	}{
		"session as cookie":        {"/api/mcp", http.Header{"Cookie": {session[0].String()}, "Origin": {srv.pages()}}},
		"session at the pages":     {"/api/mcp", http.Header{"Cookie": {session[0].String()}, "Host": {hostOfURL(srv.pages())}}},
		"session as token":         {"/api/mcp", http.Header{"Authorization": {"Bearer " + session[0].Value}}},
		"device as token":          {"/api/mcp", http.Header{"Authorization": {"Bearer " + device}}},
		"token as cookie":          {"/api/mcp", http.Header{"Cookie": {session[0].Name + "=" + token}}},
		"token in the query":       {"/api/mcp?access_token=" + token, nil},
		"token as Basic":           {"/api/mcp", http.Header{"Authorization": {"Basic " + token}}},
		"token in another header":  {"/api/mcp", http.Header{"X-Api-Key": {token}, "X-Authorization": {"Bearer " + token}}},
		"token behind another one": {"/api/mcp", http.Header{"Authorization": {"Bearer x", "Bearer " + token}}},
	} {
		if resp, body := srv.exchangeHTTP("POST", c.path, call, c.header); resp.StatusCode != 401 || len(resp.Header["Set-Cookie"]) > 0 {
			t.Errorf("%s: %d %s", name, resp.StatusCode, body)
		}
	}
	for _, header := range []http.Header{{"Authorization": {"Bearer " + token}}, {"Cookie": {session[0].Name + "=" + token}}, {"Cookie": {session[0].Name + "=" + device}}, {"Cookie": {session[1].String()}}} {
		header["Host"] = []string{hostOfURL(srv.pages())}
		for _, path := range []string{"/", "/account", "/?access_token=" + token} {
			if resp, body := srv.exchangeHTTP("GET", path, "", header); resp.StatusCode == 200 && !strings.Contains(body, "Sign in") || strings.Contains(body, "ada@example.com") {
				t.Errorf("%v opens %s: %d %s", header, path, resp.StatusCode, body)
			}
		}
	}
}

// The halves of one client come from different networks and call themselves
// different names; a token is bound to neither.
func TestTokenFromAnotherNetwork(t *testing.T) {
	t.Parallel()
	srv := startServer(t, `trusted_proxies = ["127.0.0.1"]`)
	token := connect(t, srv, setUp(t, srv), connectOptions{}).wire.token()
	for address, agent := range map[string]string{"198.51.100.7": "Claude-User", "2001:db8::7": "python-httpx/0.28.1", "203.0.113.9": ""} {
		resp, body := srv.exchangeHTTP("POST", "/api/mcp", `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`, http.Header{
			"Authorization": {"Bearer " + token}, "X-Forwarded-For": {address}, "User-Agent": {agent},
			"Content-Type": {"application/json"}, "Accept": {"application/json, text/event-stream"},
		})
		if resp.StatusCode != 200 {
			t.Errorf("from %s as %q: %d %s", address, agent, resp.StatusCode, body)
		}
	}
}

// withoutMetadata is the web as a client of 2025-03-26 sees it, which knows of
// no discovery documents and uses the default paths at the origin.
type withoutMetadata struct {
	next  http.RoundTripper
	paths *[]string
}

func (w withoutMetadata) RoundTrip(r *http.Request) (*http.Response, error) {
	*w.paths = append(*w.paths, r.Method+" "+r.URL.Path)
	if strings.HasPrefix(r.URL.Path, "/.well-known/") {
		return &http.Response{StatusCode: 404, Status: "404 Not Found", Header: http.Header{}, Body: http.NoBody, Request: r, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}, nil
	}
	return w.next.RoundTrip(r)
}

func TestDefaultPathsWithoutMetadata(t *testing.T) {
	t.Parallel()
	srv := startServer(t)
	var paths []string
	c := connect(t, srv, setUp(t, srv), connectOptions{
		protocol: "2025-03-26", through: func(next http.RoundTripper) http.RoundTripper { return withoutMetadata{next, &paths} },
	})
	tools, err := c.ListTools(context.WithoutCancel(t.Context()), &sdk.ListToolsParams{})
	if err != nil || len(tools.Tools) == 0 {
		t.Fatalf("%v, %v", tools, err)
	}
	if len(c.authorize) != 1 || !strings.HasPrefix(c.authorize[0], srv.Issuer+"/authorize?") || !slices.Contains(paths, "POST /register") || !slices.Contains(paths, "POST /token") {
		t.Errorf("took the way %v, %v", c.authorize, paths)
	}
}

// The configuration knows the engines of the table that opens them, and no others.
func TestEveryEngineCanBeOpened(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "podgate.toml")
	if err := os.WriteFile(file, []byte("[[region]]\nname = \"local\"\nruntime = \"abacus\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := config.Load(file, nil, nil)
	var faults *config.Error
	if !errors.As(err, &faults) || len(faults.Faults) != 1 {
		t.Fatal(err)
	}
	_, choices, _ := strings.Cut(faults.Faults[0].Message, "; write ")
	var known []string
	for _, m := range regexp.MustCompile(`"([^"]+)"`).FindAllStringSubmatch(choices, -1) {
		known = append(known, m[1])
	}
	slices.Sort(known)
	if table := slices.Sorted(maps.Keys(runtimes)); !slices.Equal(known, table) {
		t.Errorf("the configuration knows %v, the table has %v", known, table)
	}
}

func TestNamesThatLeadHere(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		host, domain string
		want         []string
	}{
		{"localhost", "localhost", nil},
		{"podgate.localhost", "localhost", nil},
		{"podgate.example.com", "pods.example.com", []string{"podgate.example.com", "pods.example.com", "podgate.pods.example.com"}},
		{"podgate.example.com", "example.com", []string{"podgate.example.com", "example.com"}},
		{"93.184.216.3", "localhost", []string{"93.184.216.3"}},
	} {
		if got := leads(c.host, c.domain); !slices.Equal(got, c.want) {
			t.Errorf("%s, %s: %v, want %v", c.host, c.domain, got, c.want)
		}
	}
}
