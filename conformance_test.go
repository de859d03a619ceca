package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"

	"podgate/internal/conformance"
	"podgate/internal/webtest"
)

const suiteTime = 2 * time.Minute // for one run of the suite

// Why the suite cannot look at something here. It does in package mcp, where its
// own fixture stands behind the same transport.
const (
	noFixture    = "it takes a tool of the suite's own"
	neverChanges = "podgate's lists change only with the program"
)

func TestConformanceAuthorizationServer(t *testing.T) {
	t.Parallel()
	suite := conformance.Installed(t)
	srv := startServer(t)
	ada := setUp(t, srv)
	ada.Stop = nil // the suite listens at the callback
	port := freePort(t)
	id := registerClient(t, srv, "http://127.0.0.1:"+port+"/callback")
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), suiteTime)
	defer cancel()
	cmd := suite.Command(ctx, "authorization", "--url", srv.Issuer, "--client-id", id, "--resource", srv.Issuer+"/api/mcp", "--port", port, "-o", dir)
	out := &syncBuffer{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	// How it ended is what the verdict says in more words.
	_ = attend(t, ada, out, ended)
	conformance.Judge(t, conformance.Read(t, dir), []string{"authorization-server-metadata-endpoint", "authorization-code-grant"}, nil, out.String())
}

func registerClient(t *testing.T, srv *testServer, redirect string) string {
	t.Helper()
	body := fmt.Sprintf(`{"client_name":"Conformance","redirect_uris":[%q],"token_endpoint_auth_method":"none"}`, redirect)
	resp, err := http.Post(srv.URL+"/api/oauth/register", "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var client struct {
		ID string `json:"client_id"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&client); err != nil || client.ID == "" {
		t.Fatalf("registration: %d, %v", resp.StatusCode, err)
	}
	return client.ID
}

// suited are the scenarios that suit any server, and what of them podgate
// cannot have.
var suited = map[string]struct {
	scenarios []string
	baseline  conformance.Baseline
}{
	conformance.Stateless: {
		[]string{
			"server-stateless", "tools-list", "prompts-list", "resources-list", "server-sse-multiple-streams", "dns-rebinding-protection",
			"caching", "http-header-validation", "input-required-result-unsupported-methods", "sep-2164-resource-not-found",
		},
		conformance.Baseline{
			"server-stateless:sep-2575-server-rejects-undeclared-capability":              noFixture,
			"server-stateless:sep-2575-missing-capability-http-400":                       noFixture,
			"server-stateless:sep-2575-http-server-no-independent-requests-on-stream":     noFixture,
			"server-stateless:sep-2575-server-no-log-without-loglevel":                    noFixture,
			"server-stateless:sep-2575-server-sends-prompts-list-changed-on-subscription": neverChanges,
			"server-stateless:sep-2575-server-sends-tools-list-changed-on-subscription":   neverChanges,
			"caching:sep-2549-resources-read-caching-hints":                               "podgate offers an empty list of resources",
		},
	},
	// Not server-session-lifecycle, server-sse-multiple-streams and
	// server-sse-polling: they look at sessions with an id, which a server
	// without state has not.
	conformance.Handshake: {
		[]string{"server-initialize", "ping", "tools-list", "prompts-list", "resources-list", "dns-rebinding-protection"},
		conformance.Baseline{},
	},
}

// The whole program with its own tools, behind the real sign-in.
func TestConformanceServer(t *testing.T) {
	t.Parallel()
	suite := conformance.Installed(t)
	srv := startServer(t)
	c := connect(t, srv, setUp(t, srv), connectOptions{})
	// The suite cannot bring a token, so a proxy adds it. Host and Origin pass
	// as the suite forges them.
	target, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	// Other tests close what the default transport has open when they end.
	transport := webtest.Transport()
	defer transport.CloseIdleConnections()
	proxy := httptest.NewServer(&httputil.ReverseProxy{Transport: transport, FlushInterval: -1, Rewrite: func(pr *httputil.ProxyRequest) {
		pr.Out.URL.Scheme, pr.Out.URL.Host = target.Scheme, target.Host
		pr.Out.Host = pr.In.Host
		pr.Out.Header.Set("Authorization", "Bearer "+c.wire.token())
	}})
	defer proxy.Close()
	for revision, s := range suited {
		t.Run(revision, func(t *testing.T) {
			suite.Server(t, proxy.URL+"/api/mcp", revision, s.scenarios, s.baseline)
		})
	}
}
