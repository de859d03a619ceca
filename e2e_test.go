package main

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/auth"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/modelcontextprotocol/go-sdk/oauthex"

	"podgate/internal/webtest"
)

// callback is the client's redirect URI. Nothing listens there: the browser
// stops before it, as the client would take over.
const callback = "http://127.0.0.1:7777/callback"

// person is somebody with a browser.
type person struct {
	*webtest.Browser
	email, password string
}

func newPerson(t testing.TB, srv *testServer, email string) *person {
	b := webtest.New(t, srv.roots)
	b.Stop = func(u *url.URL) bool { return strings.HasPrefix(u.String(), callback) }
	return &person{Browser: b, email: email, password: "correct horse " + email}
}

// setUp makes the first administrator, who owns the team «Home».
func setUp(t testing.TB, srv *testServer) *person {
	t.Helper()
	p := newPerson(t, srv, "ada@example.com")
	page := p.Open(srv.SetupURL).Press("Set up and sign in", webtest.Fields{
		"name": {"Ada"}, "email": {p.email}, "password": {p.password}, "team": {"Home"},
	})
	if page.Status != http.StatusOK || !strings.Contains(page.Text(), "Connect an assistant") {
		t.Fatalf("after setup: %d %s", page.Status, page.Text())
	}
	return p
}

// addPerson makes an account that owns a team of its own.
func addPerson(t testing.TB, srv *testServer, name string) *person {
	t.Helper()
	p := newPerson(t, srv, name+"@example.com")
	must := func(stdin string, args ...string) {
		t.Helper()
		var out, errs strings.Builder
		if code := run(context.Background(), process{Args: append(args, "--data", srv.DataDir), Stdin: strings.NewReader(stdin), Stdout: &out, Stderr: &errs}); code != exitDone {
			t.Fatalf("podgate %s: %d %s%s", strings.Join(args, " "), code, out.String(), errs.String())
		}
	}
	must(p.password+"\n", "user", "add", p.email, "--password-stdin")
	must("", "team", "add", name+"s")
	must("", "team", "member", "add", name+"s", p.email, "--owner")
	return p
}

func (p *person) signIn(page *webtest.Page) *webtest.Page {
	return page.Press("Sign in", webtest.Fields{"email": {p.email}, "password": {p.password}})
}

// recorder is a transport that remembers what passed, for the search of the
// log, and lets a test do without the SDK's handling of errors.
type recorder struct {
	next http.RoundTripper
	mu   sync.Mutex
	auth []string // Authorization headers
	code int      // last status of the MCP endpoint
}

func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := r.next.RoundTrip(req)
	r.mu.Lock()
	defer r.mu.Unlock()
	if h := req.Header.Get("Authorization"); h != "" && !slices.Contains(r.auth, h) {
		r.auth = append(r.auth, h)
	}
	if err == nil && req.URL.Path == "/api/mcp" {
		r.code = resp.StatusCode
	}
	return resp, err
}

func (r *recorder) token() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.auth) == 0 {
		return ""
	}
	return strings.TrimPrefix(r.auth[len(r.auth)-1], "Bearer ")
}

// connection is an assistant that a person connected, made of nothing but the
// official SDK and the URL.
type connection struct {
	*sdk.ClientSession
	wire      *recorder
	options   connectOptions // of the person's next decision
	authorize []string       // the URLs that the SDK opened a browser with
	results   []auth.AuthorizationResult
	progress  []string
	roots     *x509.CertPool // who vouches for the server over https; nil: the system's list
	mu        sync.Mutex
}

// connectOptions vary a connection; the zero value is the usual one.
type connectOptions struct {
	origin   string   // that the client was given; empty: the server's own
	team     string   // its name on the consent page; empty: the one team is chosen already
	asks     string   // the scopes that the client asks for at first; empty: those of the challenge
	scopes   []string // left ticked; nil: all
	protocol string   // handshake version; empty: the newest
	deny     bool
	limits   webtest.Fields                            // written into the fields of limits
	through  func(http.RoundTripper) http.RoundTripper // around the client's transport; may be nil
}

// connect takes the SDK through discovery, registration, the person's browser
// and the code to a session.
func connect(t testing.TB, srv *testServer, p *person, o connectOptions) *connection {
	t.Helper()
	c, err := tryConnect(t, srv, p, o)
	if err != nil {
		t.Fatalf("connect: %v\n%s", err, srv.Log)
	}
	return c
}

func tryConnect(t testing.TB, srv *testServer, p *person, o connectOptions) (*connection, error) {
	t.Helper()
	transport := webtest.Transport(srv.roots)
	t.Cleanup(transport.CloseIdleConnections)
	c := &connection{wire: &recorder{next: transport}, options: o, roots: srv.roots}
	client := &http.Client{Transport: c.wire}
	if o.through != nil {
		client.Transport = o.through(c.wire)
	}
	handler, err := auth.NewAuthorizationCodeHandler(&auth.AuthorizationCodeHandlerConfig{
		DynamicClientRegistrationConfig: &auth.DynamicClientRegistrationConfig{Metadata: &oauthex.ClientRegistrationMetadata{
			ClientName: "End to end", RedirectURIs: []string{callback}, GrantTypes: []string{"authorization_code", "refresh_token"},
			ResponseTypes: []string{"code"}, TokenEndpointAuthMethod: "none",
		}},
		RedirectURL: callback,
		AuthorizationCodeFetcher: func(_ context.Context, args *auth.AuthorizationArgs) (*auth.AuthorizationResult, error) {
			address := args.URL
			if len(c.authorize) == 0 && o.asks != "" {
				address = withScope(t, address, o.asks)
			}
			c.authorize = append(c.authorize, address)
			r, err := p.decide(address, c.options)
			if r != nil {
				c.results = append(c.results, *r)
			}
			return r, err
		},
		Client:                client,
		AcceptUnadvertisedIss: o.through != nil, // clients that read no metadata know of no iss and ignore it
	})
	if err != nil {
		t.Fatal(err)
	}
	mcpClient := sdk.NewClient(&sdk.Implementation{Name: "e2e", Version: "1"}, &sdk.ClientOptions{
		ProgressNotificationHandler: func(_ context.Context, r *sdk.ProgressNotificationClientRequest) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.progress = append(c.progress, r.Params.Message)
		},
	})
	c.ClientSession, err = mcpClient.Connect(t.Context(), &sdk.StreamableClientTransport{
		Endpoint: cmp.Or(o.origin, srv.Issuer) + "/api/mcp", HTTPClient: client, OAuthHandler: handler, DisableStandaloneSSE: true, MaxRetries: -1,
	}, &sdk.ClientSessionOptions{ProtocolVersion: o.protocol})
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = c.Close() }) // a session without state: nothing to lose
	return c, nil
}

// withScope returns the address of an authorization request for other scopes.
func withScope(t testing.TB, address, scope string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set("scope", scope)
	u.RawQuery = q.Encode()
	return u.String()
}

// decide is what the person does in the browser that the client opened.
func (p *person) decide(address string, o connectOptions) (*auth.AuthorizationResult, error) {
	page := p.Open(address)
	if page.HasButton("Sign in") {
		page = p.signIn(page)
	}
	fields := webtest.Fields{}
	if o.team != "" {
		fields["team"] = []string{o.team}
	}
	if o.scopes != nil {
		fields["scope"] = o.scopes
	}
	maps.Copy(fields, o.limits)
	button := "Approve"
	if o.deny {
		button = "Deny"
	}
	end := page.Press(button, fields)
	if end.Location == nil {
		return nil, errors.New("the browser stays at «" + end.Title() + "»: " + end.Text())
	}
	q := end.Location.Query()
	if e := q.Get("error"); e != "" {
		return nil, errors.New("authorization refused: " + e)
	}
	return &auth.AuthorizationResult{Code: q.Get("code"), State: q.Get("state"), Iss: q.Get("iss")}, nil
}

// args are the arguments of a tool.
type args = map[string]any

// call calls a tool that must work and returns its data.
func (c *connection) call(t testing.TB, tool string, a args) map[string]any {
	t.Helper()
	res, err := c.CallTool(t.Context(), &sdk.CallToolParams{Name: tool, Arguments: a})
	if err != nil {
		t.Fatalf("%s %v: %v", tool, a, err)
	}
	if res.IsError {
		t.Fatalf("%s %v: %s", tool, a, textOf(res))
	}
	raw, err := json.Marshal(res.StructuredContent)
	if err != nil {
		t.Fatal(err)
	}
	var data map[string]any
	if err := json.Unmarshal(raw, &data); err != nil {
		t.Fatalf("%s: %v: %s", tool, err, raw)
	}
	return data
}

// refused calls a tool that must answer a tool error and returns its words.
func (c *connection) refused(t testing.TB, tool string, a args) string {
	t.Helper()
	res, err := c.CallTool(t.Context(), &sdk.CallToolParams{Name: tool, Arguments: a})
	if err != nil {
		t.Fatalf("%s %v: %v", tool, a, err)
	}
	if !res.IsError {
		t.Fatalf("%s %v is allowed: %s", tool, a, textOf(res))
	}
	return textOf(res)
}

// dead calls a tool with a connection that must have ended: the SDK gets a 401
// and would open a browser again, which nobody answers.
func (c *connection) dead(t testing.TB) bool {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.endpoint(), strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"tools/list"}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+c.wire.token())
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	resp, err := c.wire.next.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.StatusCode == http.StatusUnauthorized && strings.Contains(resp.Header.Get("WWW-Authenticate"), "invalid_token")
}

func (c *connection) endpoint() string {
	u, _ := url.Parse(c.authorize[0]) // the SDK has just used it
	return u.Scheme + "://" + u.Host + "/api/mcp"
}

func textOf(res *sdk.CallToolResult) string {
	var parts []string
	for _, c := range res.Content {
		if text, ok := c.(*sdk.TextContent); ok {
			parts = append(parts, text.Text)
		}
	}
	return strings.Join(parts, "\n")
}

// needSandbox skips where pods cannot run, for the reason that the server
// itself gives, or fails when that is required.
func needSandbox(t testing.TB, srv *testServer) {
	t.Helper()
	if !podsRun(t, srv) {
		t.Skip("pods cannot run here")
	}
}

// podsRun reports whether pods can run, and logs why not. Where that is required
// the test fails.
func podsRun(t testing.TB, srv *testServer) bool {
	t.Helper()
	_, after, missing := strings.Cut(srv.Stdout.String(), "Pods cannot run in the region local yet. ")
	reason, _, _ := strings.Cut(after, "\n")
	if missing && strings.Contains(os.Getenv("PODGATE_REQUIRE"), "sandbox") {
		t.Fatalf("pods are required here: %s", reason)
	}
	if missing {
		t.Logf("pods cannot run here: %s", reason)
	}
	return !missing
}
