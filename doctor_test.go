package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"podgate/doctor"
	"podgate/internal/webtest"
)

const doctored = "https://pods.example.com"

// bad is a proxy in front of podgate that does one thing wrong.
type bad struct {
	before func(w http.ResponseWriter, r *http.Request) bool // true: it has answered
	after  func(*http.Response)
	check  string // what must find it
	level  doctor.Level
	words  string // in text or advice
}

// visitors makes every proxy's visitor another one, since what one may do in a
// short time is limited.
var visitors atomic.Uint32

// front is a proxy with a certificate for the name of the server.
type front struct {
	*httptest.Server
	authority *webtest.Authority
	client    *httptest.Server // has a client's metadata document
}

func newFront(t *testing.T, authority *webtest.Authority, target string, b bad) *front {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	transport := webtest.Transport()
	t.Cleanup(transport.CloseIdleConnections)
	visitor := fmt.Sprintf("198.51.100.%d", visitors.Add(1)%250)
	proxy := &httputil.ReverseProxy{
		Transport: transport, ErrorLog: log.New(io.Discard, "", 0),
		Rewrite: func(pr *httputil.ProxyRequest) {
			pr.Out.URL.Scheme, pr.Out.URL.Host, pr.Out.Host = u.Scheme, u.Host, pr.In.Host
			pr.Out.Header.Set("X-Forwarded-For", visitor)
			if pr.In.Header.Get("Test-Anonymous") != "" {
				pr.Out.Header.Del("X-Forwarded-For")
			}
		},
		ModifyResponse: func(resp *http.Response) error {
			if b.after != nil {
				b.after(resp)
			}
			return nil
		},
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if b.before == nil || !b.before(w, r) {
			proxy.ServeHTTP(w, r)
		}
	})
	document := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "{}") })
	good := b.check == "" // what answers on the bare connection needs HTTP/1.1
	return &front{serveTLS(t, authority, "pods.example.com", good, handler), authority, serveTLS(t, authority, "client.example.com", good, document)}
}

func serveTLS(t *testing.T, authority *webtest.Authority, name string, http2 bool, handler http.Handler) *httptest.Server {
	t.Helper()
	srv := httptest.NewUnstartedServer(handler)
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{authority.Sign(name, time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour))}}
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.EnableHTTP2 = http2
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return srv
}

// examine runs every check against the proxy, as if its name led to it.
func (f *front) examine(t *testing.T) doctor.Report {
	t.Helper()
	target, err := doctor.ParseTarget(doctored)
	if err != nil {
		t.Error(err) // not always the test's own goroutine
	}
	return doctor.Run(t.Context(), doctor.Options{
		Target: target, Roots: f.authority.Roots, Now: time.Now, PodsDomain: "apps.example.com",
		Documents: []string{"https://client.example.com/metadata.json"},
		Lookup: func(_ context.Context, host string) ([]netip.Addr, error) {
			if host == "client.example.com" {
				return []netip.Addr{netip.MustParseAddr("203.0.113.8")}, nil
			}
			return []netip.Addr{netip.MustParseAddr("203.0.113.7")}, nil
		},
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			real, found := map[string]net.Listener{"203.0.113.7:443": f.Listener, "203.0.113.8:443": f.client.Listener}[address]
			if !found {
				return nil, syscall.ECONNREFUSED
			}
			return (&net.Dialer{}).DialContext(ctx, network, real.Addr().String())
		},
	})
}

func report(t *testing.T, r doctor.Report) string {
	t.Helper()
	var b strings.Builder
	if err := r.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func startDoctored(t *testing.T, extra ...string) *testServer {
	t.Helper()
	return startServer(t, append([]string{`public_url = "` + doctored + `"`}, append(extra, "[pods]", `domain = "apps.example.com"`)...)...)
}

// A podgate behind a proxy as it should be: nothing to remark.
func TestDoctorFindsNothing(t *testing.T) {
	t.Parallel()
	srv := startDoctored(t, `trusted_proxies = ["127.0.0.1"]`)
	r := newFront(t, webtest.NewAuthority(t), srv.URL, bad{}).examine(t)
	if !r.OK || r.Count(doctor.OK) != len(r.Findings) || len(r.Findings) < 30 || r.URL != doctored+"/api/mcp" {
		t.Errorf("%s", report(t, r))
	}
	if text := report(t, r); !strings.Contains(text, "0 warnings, 0 faults. Clients can connect.") || strings.Contains(text, "not looked at") {
		t.Errorf("%s", text)
	}
}

// A proxy that podgate was not told of.
func TestDoctorNamesAnUntrustedProxy(t *testing.T) {
	t.Parallel()
	r := newFront(t, webtest.NewAuthority(t), startDoctored(t).URL, bad{}).examine(t)
	if text := report(t, r); !r.OK || r.Count(doctor.Warning) != 1 || !strings.Contains(text, "trusted_proxies") {
		t.Errorf("%s", text)
	}
}

// Each proxy breaks one thing, and that one is named, and no other.
func TestDoctorNamesWhatIsBroken(t *testing.T) {
	t.Parallel()
	authority, all := webtest.NewAuthority(t), badProxies()
	// Most of an examination is waiting, so several go side by side; more of
	// them would meet the limits of one server.
	for names := range slices.Chunk(slices.Sorted(maps.Keys(all)), 7) {
		srv := startDoctored(t, `trusted_proxies = ["127.0.0.1"]`)
		reports := make([]doctor.Report, len(names))
		var group sync.WaitGroup
		for i, name := range names {
			f := newFront(t, authority, srv.URL, all[name])
			group.Go(func() { reports[i] = f.examine(t) })
		}
		group.Wait()
		for i, name := range names {
			t.Run(name, func(t *testing.T) { all[name].compare(t, reports[i]) })
		}
	}
}

func (b bad) compare(t *testing.T, r doctor.Report) {
	t.Helper()
	if !slices.ContainsFunc(r.Findings, func(f doctor.Finding) bool { return f.Check == b.check }) {
		t.Errorf("there is no check %q", b.check)
	}
	for _, f := range r.Findings {
		switch {
		case f.Check == b.check && (f.Level != b.level || !strings.Contains(f.Text+" → "+f.Advice, b.words)):
			t.Errorf("found %s: %s → %s; want %s: %s", f.Level, f.Text, f.Advice, b.level, b.words)
		case f.Check == b.check && f.Advice == "":
			t.Errorf("%s without advice", f.Text)
		case f.Check != b.check && (f.Level == doctor.Fault || f.Level == doctor.Warning):
			t.Errorf("and also %s %s: %s", f.Level, f.Check, f.Text)
		}
	}
	if r.OK != (b.level != doctor.Fault) {
		t.Errorf("OK is %v", r.OK)
	}
}

func badProxies() map[string]bad {
	const docs = "/.well-known/oauth-"
	at := func(method, path string) func(*http.Request) bool {
		return func(r *http.Request) bool {
			return (method == "" || r.Method == method) && strings.HasPrefix(r.URL.Path, path)
		}
	}
	status := func(when func(*http.Request) bool, code int, header ...string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if !when(r) {
				return false
			}
			for i := 0; i < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(code)
			io.WriteString(w, "<!doctype html><title>Hello</title>")
			return true
		}
	}
	set := func(when func(*http.Request) bool, header ...string) func(*http.Response) {
		return func(resp *http.Response) {
			for i := 0; when(resp.Request) && i < len(header); i += 2 {
				resp.Header.Set(header[i], header[i+1])
			}
		}
	}
	rewrite := func(when func(*http.Request) bool, old, new string) func(*http.Response) {
		return func(resp *http.Response) {
			if when(resp.Request) {
				edit(resp, func(b []byte) []byte { return bytes.ReplaceAll(b, []byte(old), []byte(new)) })
			}
		}
	}
	always := at("", "/")
	return map[string]bad{
		// Nothing, or something else, answers.
		"podgate does not run":     {status(always, 502), nil, "resource document", doctor.Fault, "cannot reach podgate"},
		"a page for everything":    {status(always, 200), nil, "resource document", doctor.Fault, "pass every path"},
		"sign-in of its own":       {status(always, 401, "WWW-Authenticate", `Basic realm="x"`), nil, "resource document", doctor.Fault, "sign-in of its own"},
		"bot protection":           {status(always, 403, "Server", "cloudflare"), nil, "resource document", doctor.Fault, "(by cloudflare)"},
		"everything moved":         {status(always, 301, "Location", "https://www.example.com/"), nil, "resource document", doctor.Fault, "301 Moved Permanently to https://www.example.com/"},
		"another name for podgate": {func(_ http.ResponseWriter, r *http.Request) bool { r.Host = "wrong.example.com"; return false }, nil, "resource document", doctor.Fault, "public_url = \"" + doctored + "\""},

		// Discovery.
		"path form is not passed on": {status(at("", docs+"protected-resource/api/mcp"), 404), nil, "resource document", doctor.Fault, "404"},
		"one form is kept":           {nil, rewrite(at("", docs+"authorization-server/api/mcp"), "S256", "plain"), "server document", doctor.Fault, "differs"},
		"documents cut short": {nil, func(r *http.Response) {
			if at("", docs+"authorization")(r.Request) {
				edit(r, func(b []byte) []byte { return b[:len(b)/2] })
			}
		}, "server document", doctor.Fault, "not the document"},
		"documents as text":          {nil, set(at("", docs+"authorization"), "Content-Type", "text/plain"), "server document", doctor.Fault, "as «text/plain»"},
		"resource rewritten":         {nil, rewrite(at("", docs+"protected"), `"resource": "https://`, `"resource": "http://`), "resource", doctor.Fault, "says to be http://pods.example.com/api/mcp"},
		"authorization server moved": {nil, rewrite(at("", docs+"protected"), "\n    \"https://pods", "\n    \"http://pods"), "resource", doctor.Fault, "another authorization server"},
		"issuer rewritten":           {nil, rewrite(at("", docs+"authorization"), `"issuer": "https://`, `"issuer": "http://`), "issuer", doctor.Fault, "the issuer is http://"},
		"endpoints rewritten":        {nil, rewrite(at("", docs+"authorization"), `"token_endpoint": "https://`, `"token_endpoint": "http://`), "endpoints", doctor.Fault, "token_endpoint is elsewhere: http://"},
		"abilities taken out":        {nil, rewrite(at("", docs+"authorization"), "S256", "plain"), "abilities", doctor.Fault, "S256"},
		"registration taken out":     {nil, rewrite(at("", docs+"authorization"), `"registration_endpoint"`, `"x"`), "abilities", doctor.Warning, "may not register"},
		"another program":            {nil, rewrite(at("", docs+"protected"), `"resource_name": "podgate"`, `"resource_name": "other"`), "podgate", doctor.Warning, "«other»"},
		"a page for unknown paths":   {status(func(r *http.Request) bool { return strings.Contains(r.URL.Path, "openid-configuration") }, 200), nil, "unknown paths", doctor.Fault, "instead of 404"},
		"its own page for 404":       {status(at("", "/.well-known/podgate-doctor"), 404), nil, "unknown paths", doctor.Warning, "not podgate's own 404"},
		"keeps what it must not":     {keeper(at("GET", "/api/mcp")), nil, "caching", doctor.Fault, "no-store"},
		"keeps documents for a year": {nil, set(at("", docs), "Cache-Control", "max-age=31536000"), "caching", doctor.Warning, "31536000"},
		"documents asked for by gzip": {nil, func(r *http.Response) {
			if r.Request.Method == "GET" && r.Request.Header.Get("Accept-Encoding") == "gzip" {
				r.Header.Set("Content-Encoding", "gzip")
			}
		}, "answers unchanged", doctor.Warning, "broken"},

		// The challenge and what follows it.
		"strips WWW-Authenticate": {nil, func(r *http.Response) { r.Header.Del("WWW-Authenticate") }, "challenge", doctor.Fault, "WWW-Authenticate is missing"},
		"challenge rewritten": {nil, func(r *http.Response) {
			r.Header.Set("WWW-Authenticate", strings.Replace(r.Header.Get("WWW-Authenticate"), "https:", "http:", 1))
		}, "challenge", doctor.Fault, "leads to http://"},
		"POST redirected":     {status(at("POST", "/api/mcp"), 308, "Location", "/mcp"), nil, "challenge", doctor.Fault, "Permanent Redirect to /mcp"},
		"sign-in for the API": {status(at("POST", "/api/"), 401, "WWW-Authenticate", `Basic realm="x"`), nil, "challenge", doctor.Fault, "sign-in of its own"},
		"an open endpoint":    {status(at("POST", "/api/mcp"), 200), nil, "challenge", doctor.Fault, "without a token"},
		"no GET":              {status(func(r *http.Request) bool { return r.Method == "GET" && r.URL.Path == "/api/mcp" }, 405), nil, "first GET", doctor.Fault, "405"},
		"slash redirected":    {status(at("POST", "/api/mcp/"), 301, "Location", "/api/mcp"), nil, "slash at the end", doctor.Warning, "without the slash"},
		"eats Authorization":  {func(_ http.ResponseWriter, r *http.Request) bool { r.Header.Del("Authorization"); return false }, nil, "bearer token", doctor.Fault, "Signing in works then, and nothing after it"},
		"reads Authorization": {status(func(r *http.Request) bool { return r.Header.Get("Authorization") != "" }, 401, "WWW-Authenticate", "Basic"), nil, "bearer token", doctor.Fault, "other than podgate"},
		"no robots":           {status(func(r *http.Request) bool { return strings.HasPrefix(r.UserAgent(), "python") }, 403), nil, "user agents", doctor.Fault, "as «python-httpx"},
		"answers HTTP/1.0":    {oldHTTP(at("POST", "/api/mcp/")), nil, "answers unchanged", doctor.Warning, "HTTP/1.0"},
		"wrong clock":         {nil, set(always, "Date", time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat)), "clock", doctor.Fault, "1h0m"},
		"clock a little off":  {nil, set(always, "Date", time.Now().Add(2*time.Minute).UTC().Format(http.TimeFormat)), "clock", doctor.Warning, "differ by"},

		// Clients in a browser.
		"strips CORS": {nil, func(r *http.Response) { r.Header.Del("Access-Control-Allow-Origin") }, "browser clients", doctor.Fault, "Access-Control-Allow-Origin is missing"},
		"CORS twice":  {nil, func(r *http.Response) { r.Header.Add("Access-Control-Allow-Origin", "*") }, "browser clients", doctor.Fault, "«*, *»"},
		"no OPTIONS":  {status(at("OPTIONS", "/api/oauth/token"), 405), nil, "browser clients", doctor.Fault, "the preflight of /api/oauth/token fails"},
		"headers not allowed": {nil, func(r *http.Response) {
			if r.Header.Get("Access-Control-Allow-Headers") != "" {
				r.Header.Set("Access-Control-Allow-Headers", "content-type")
			}
		}, "browser clients", doctor.Fault, "header authorization"},
		"challenge is hidden": {nil, func(r *http.Response) { r.Header.Del("Access-Control-Expose-Headers") }, "browser clients", doctor.Fault, "hides WWW-Authenticate"},

		// The authorization server.
		"no registration":    {status(at("POST", "/api/oauth/register"), 403), nil, "registration", doctor.Fault, "firewall"},
		"no token endpoint":  {status(at("POST", "/api/oauth/token"), 404), nil, "token endpoint", doctor.Fault, "pass every path"},
		"tokens may be kept": {nil, set(at("POST", "/api/oauth/token"), "Cache-Control", "max-age=60"), "token endpoint", doctor.Warning, "no-store"},
		"single sign-on":     {status(at("GET", "/oauth/authorize"), 302, "Location", "https://sso.example.com/"), nil, "sign-in page", doctor.Fault, "https://sso.example.com/"},
		"leads to itself":    {status(at("GET", "/oauth/authorize"), 302, "Location", doctored+"/oauth/authorize"), nil, "sign-in page", doctor.Fault, "leads to itself"},
		"policy of its own":  {nil, set(at("", "/oauth/"), "Content-Security-Policy", "default-src 'self'; form-action 'self'; frame-ancestors 'none'"), "sign-in page", doctor.Fault, "form-action"},
		"policy lost":        {nil, func(r *http.Response) { r.Header.Del("Content-Security-Policy") }, "sign-in page", doctor.Warning, "frame"},

		// Bodies and streams.
		"bodies up to 1 MiB": {status(func(r *http.Request) bool { return r.ContentLength > 1<<20 }, 413, "Server", "nginx"), nil, "body of 1 MiB", doctor.Fault, "413 (by nginx)"},
		"bodies up to 10 MB": {status(func(r *http.Request) bool { return r.ContentLength > 10e6 }, 413), nil, "body of 12 MiB", doctor.Warning, "client_max_body_size"},
		"bodies cut":         {hangUp(func(r *http.Request) bool { return r.ContentLength > 10e6 }), nil, "body of 12 MiB", doctor.Warning, "does not get through"},
		"collects streams": {nil, func(r *http.Response) {
			if strings.HasPrefix(r.Header.Get("Content-Type"), "text/event-stream") {
				edit(r, func(b []byte) []byte { return b })
			}
		}, "streaming", doctor.Fault, "all at once"},
		"empties streams": {nil, func(r *http.Response) {
			if strings.HasPrefix(r.Header.Get("Content-Type"), "text/event-stream") {
				edit(r, func([]byte) []byte { return nil })
			}
		}, "streaming", doctor.Fault, "empty"},
		"another Host":     {func(_ http.ResponseWriter, r *http.Request) bool { r.Host = "localhost:8080"; return false }, nil, "forwarding", doctor.Warning, "proxy_set_header Host"},
		"names nobody":     {func(_ http.ResponseWriter, r *http.Request) bool { r.Header.Set("Test-Anonymous", "1"); return false }, nil, "forwarding", doctor.Warning, "does not name the client"},
		"adds a cookie":    {nil, set(at("POST", "/api/mcp"), "Set-Cookie", "lb=1"), "answers unchanged", doctor.Warning, "sets a cookie"},
		"squeezes unasked": {nil, squeeze(at("POST", "/api/mcp")), "answers unchanged", doctor.Warning, "compressed"},
	}
}

// edit changes the body of an answer, all of which it waits for.
func edit(resp *http.Response, change func([]byte) []byte) {
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return // the client is gone
	}
	body = change(body)
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	resp.Header.Set("Content-Length", strconv.Itoa(len(body)))
}

func squeeze(when func(*http.Request) bool) func(*http.Response) {
	return func(resp *http.Response) {
		if !when(resp.Request) {
			return
		}
		resp.Header.Set("Content-Encoding", "gzip")
		edit(resp, func(b []byte) []byte {
			var packed bytes.Buffer
			w := gzip.NewWriter(&packed)
			w.Write(b)
			w.Close()
			return packed.Bytes()
		})
	}
}

// keeper answers every request after the first with the first's answer.
func keeper(when func(*http.Request) bool) func(http.ResponseWriter, *http.Request) bool {
	var once sync.Once
	kept := httptest.NewRecorder()
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !when(r) {
			return false
		}
		once.Do(func() {
			kept.Header().Set("X-Request-Id", "kept")
			kept.Header().Set("WWW-Authenticate", `Bearer resource_metadata="`+doctored+`/.well-known/oauth-protected-resource/api/mcp"`)
			kept.Header().Set("Content-Type", "application/json")
			kept.WriteHeader(http.StatusUnauthorized)
		})
		if strings.Contains(r.URL.Path, ".well-known") {
			return false
		}
		for name, values := range kept.Header() {
			w.Header()[name] = values
		}
		w.WriteHeader(kept.Code)
		return true
	}
}

// raw answers on the bare connection.
func raw(when func(*http.Request) bool, text string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !when(r) {
			return false
		}
		conn, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err) // HTTP/1.1 can
		}
		defer conn.Close()
		buf.WriteString(text)
		buf.Flush()
		return true
	}
}

func hangUp(when func(*http.Request) bool) func(http.ResponseWriter, *http.Request) bool {
	return raw(when, "")
}

func oldHTTP(when func(*http.Request) bool) func(http.ResponseWriter, *http.Request) bool {
	return raw(when, "HTTP/1.0 401 Unauthorized\r\nContent-Type: application/json\r\n\r\n{}")
}

// The command finds the running server by its data folder.
func TestDoctorCommand(t *testing.T) {
	t.Parallel()
	srv := startServer(t)
	code, out, errs := srv.command("doctor", "--local", "--json")
	var r doctor.Report
	if err := json.Unmarshal([]byte(out), &r); err != nil || code != exitDone || errs != "" || !r.OK || r.URL != srv.Issuer+"/api/mcp" {
		t.Fatalf("%d %v %s\n%s", code, err, errs, out)
	}
	if r.Count(doctor.Fault) != 0 || r.Count(doctor.Warning) != 0 {
		t.Errorf("%s", out)
	}
	// The timeline takes it for no client. Notes are written once a second.
	eventually(t, func() bool {
		code, out, errs := srv.command("timeline", "--json")
		if code != exitDone {
			t.Fatalf("%d %s", code, errs)
		}
		if strings.Contains(out, "did nothing more") || strings.Contains(out, "too old") {
			t.Fatalf("%s", out)
		}
		return strings.Count(out, "«podgate doctor» looked at this server") >= 2
	})
}

// Under another name than its own the server is not what was typed, and that
// is all that is wrong.
func TestDoctorUnderAnotherName(t *testing.T) {
	t.Parallel()
	srv := startServer(t, `public_url = "http://localhost:9"`)
	code, out, _ := srv.command("doctor", "--local", "--json", srv.URL)
	var r doctor.Report
	if err := json.Unmarshal([]byte(out), &r); err != nil || code != exitFailed || r.OK || r.Count(doctor.Fault) != 1 {
		t.Fatalf("%d %v\n%s", code, err, out)
	}
	for _, f := range r.Findings {
		if f.Check == "resource" && (f.Level != doctor.Fault || !strings.Contains(f.Text, "says to be "+srv.Issuer+"/api/mcp") || !strings.Contains(f.Advice, "Give clients "+srv.Issuer+"/api/mcp,") || !strings.Contains(f.Advice, srv.URL)) {
			t.Errorf("%+v", f)
		}
	}
}

// Without a public URL the names of loopback are as good as each other.
func TestDoctorUnderALoopbackName(t *testing.T) {
	t.Parallel()
	srv := startServer(t)
	if code, out, _ := srv.command("doctor", "--local", srv.URL); code != exitDone || !strings.Contains(out, "Clients can connect.") {
		t.Errorf("%d %s", code, out)
	}
}
