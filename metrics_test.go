package main

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"podgate/internal/webtest"
)

const metricsToken = "0123456789abcdef"

func tokenFile(t *testing.T, token string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// look asks for numbers, under a name and with a token when they are not empty.
func look(t *testing.T, address, host, token string) (status int, text string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// number is what stands behind a name with its labels; -1 when it is not there.
func number(t *testing.T, text, name string) float64 {
	t.Helper()
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	return -1
}

var metricsAddress = regexp.MustCompile(`msg=numbers address=(http://\S+)`)

// The numbers tell what happened, at an address of their own.
func TestMetrics(t *testing.T) {
	t.Parallel()
	srv := startServer(t, "[metrics]\nlisten = \"127.0.0.1:0\"\n")
	found := metricsAddress.FindStringSubmatch(srv.Log.String())
	if found == nil {
		t.Fatal(srv.Log)
	}
	ada := setUp(t, srv)
	wrong := newPerson(t, srv, ada.email).Open(srv.pages()+"/sign-in").Press("Sign in", webtest.Fields{"email": {ada.email}, "password": {"guessed wrongly"}})
	if wrong.Status != http.StatusForbidden {
		t.Fatalf("a wrong password: %d", wrong.Status)
	}
	srv.get("localhost", "/api/mcp")
	srv.get("localhost", "/nowhere/<\"")
	srv.get("stranger.example", "/")
	srv.get("blog.localhost", "/")
	c := connect(t, srv, ada, connectOptions{})
	c.call(t, "list_pods", nil)
	c.refused(t, "get_pod", args{"name": "absent"})

	status, text := look(t, found[1], "", "")
	if status != http.StatusOK {
		t.Fatalf("%d %s", status, text)
	}
	for name, least := range map[string]float64{
		`podgate_http_requests_total{class="mcp",code="401"}`:        1,
		`podgate_http_requests_total{class="mcp",code="200"}`:        2,
		`podgate_http_requests_total{class="unknown",code="404"}`:    1,
		`podgate_http_requests_total{class="refused",code="421"}`:    1,
		`podgate_http_requests_total{class="pods",code="404"}`:       1,
		`podgate_http_requests_total{class="discovery",code="200"}`:  1,
		`podgate_http_requests_total{class="oauth",code="200"}`:      1,
		`podgate_http_request_duration_seconds_count{class="pages"}`: 1,
		`podgate_tool_calls_total{outcome="ok",tool="list_pods"}`:    1,
		`podgate_tool_calls_total{outcome="refused",tool="get_pod"}`: 1,
		`podgate_tool_call_duration_seconds_count{tool="list_pods"}`: 1,
		`podgate_events_total{event="approve",outcome="ok"}`:         1,
		`podgate_events_total{event="issue_token",outcome="ok"}`:     1,
		`podgate_events_total{event="sign_in",outcome="refused"}`:    1,
		`podgate_build_info{version="` + version() + `"}`:            1,
		`podgate_pods{status="running"}`:                             0,
		`podgate_problems`:                                           0,
		`podgate_connections`:                                        0,
		`podgate_store_size_bytes`:                                   1,
		`podgate_store_commits_total`:                                1,
		`podgate_store_queue{queue="history"}`:                       0,
		`podgate_region_up{region="local"}`:                          0,
		`go_goroutines`:                                              1,
	} {
		if got := number(t, text, name); got < least {
			t.Errorf("%s is %v, at least %v was expected", name, got, least)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
	for _, secret := range []string{"nowhere", "stranger", ada.email, "absent"} {
		if strings.Contains(text, secret) {
			t.Errorf("%q is in the numbers", secret)
		}
	}
	// A page whose name leads here is told nothing, and there is nothing else.
	if status, text := look(t, found[1], "rebound.example:9464", ""); status != http.StatusMisdirectedRequest || strings.Contains(text, "podgate_") {
		t.Errorf("under another name: %d %s", status, text)
	}
	if status, _ := look(t, strings.TrimSuffix(found[1], metricsPath)+"/debug/pprof/", "", ""); status != http.StatusNotFound {
		t.Errorf("something else: %d", status)
	}
	if resp, _ := srv.get("localhost", metricsPath); resp.StatusCode != http.StatusNotFound {
		t.Errorf("at the public address: %d", resp.StatusCode)
	}
}

// What pods use is among the numbers.
func TestMetricsOfPods(t *testing.T) {
	t.Parallel()
	srv := startServer(t, "[metrics]\ntoken_file = "+strconv.Quote(tokenFile(t, metricsToken))+"\n")
	needSandbox(t, srv)
	c := connect(t, srv, setUp(t, srv), connectOptions{})
	c.call(t, "create_pod", args{"name": "blog", "preset": "static"})
	for _, token := range []string{"", "fedcba9876543210", metricsToken + "0", metricsToken[:15]} {
		if status, text := look(t, srv.URL+metricsPath, "localhost", token); status != http.StatusUnauthorized || strings.Contains(text, "podgate_") {
			t.Errorf("with the token %q: %d %s", token, status, text)
		}
	}
	var text string
	eventually(t, func() bool { // its agent may be asked anew only after two seconds
		_, text = look(t, srv.URL+metricsPath, "localhost", metricsToken)
		return number(t, text, `podgate_pods{status="running"}`) == 1
	})
	for _, name := range []string{
		`podgate_pod_memory_bytes{pod="blog",team="home"}`, `podgate_pod_cpu_seconds_total{pod="blog",team="home"}`, `podgate_pod_processes{pod="blog",team="home"}`,
		`podgate_pod_disk_bytes{pod="blog",team="home"}`, `podgate_pod_restarts{pod="blog",team="home"}`, `podgate_pod_network_bytes_total{direction="in",pod="blog",team="home"}`, `podgate_region_up{region="local"}`,
	} {
		if number(t, text, name) < 0 {
			t.Errorf("%s is not in\n%s", name, text)
		}
	}
}

func TestMetricsSettings(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"token_file = " + strconv.Quote(tokenFile(t, "short")):                                "at least 16 characters",
		"token_file = \"/nowhere/at/all\"":                                                    "metrics.token_file",
		"listen = \"localhost:0\"\ntoken_file = " + strconv.Quote(tokenFile(t, "short")) + "": "at least 16 characters",
	} {
		srv := newTestServer(t, t.TempDir())
		config := filepath.Join(t.TempDir(), "podgate.toml")
		if err := os.WriteFile(config, []byte("[metrics]\n"+text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		code, _, stderr := runCommand("--config", config, "--listen", "127.0.0.1:0", "--data", srv.DataDir)
		if code == exitDone || !strings.Contains(stderr, want) {
			t.Errorf("%q: %d %s", text, code, stderr)
		}
	}
}

// The document names every number, and so does the dashboard, and no other.
func TestMetricsAreDocumented(t *testing.T) {
	t.Parallel()
	srv := &server{numbers: newNumbers()}
	srv.sampled()
	want := srv.numbers.Names()
	slices.Sort(want)
	page, err := os.ReadFile(filepath.Join("docs", "metrics.md"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range regexp.MustCompile("(?m)^\\| `(podgate_[a-z_]+)`").FindAllStringSubmatch(string(page), -1) {
		got = append(got, m[1])
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("the document has\n%q\nand the program\n%q", got, want)
	}
	raw, err := os.ReadFile(filepath.Join("docs", "dashboard.json"))
	var board struct {
		Panels []struct {
			Type, Title string
			Targets     []struct{ Expr string }
		}
	}
	if err = errors.Join(err, json.Unmarshal(raw, &board)); err != nil {
		t.Fatal(err)
	}
	shown := map[string]bool{}
	for _, p := range board.Panels {
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("%s shows nothing", p.Title)
		}
		for _, target := range p.Targets {
			for _, name := range regexp.MustCompile(`\bpodgate_[a-z_]+`).FindAllString(target.Expr, -1) {
				shown[strings.TrimSuffix(name, "_bucket")] = true
			}
		}
	}
	for _, name := range want {
		if !shown[name] {
			t.Errorf("the dashboard does not show %s", name)
		}
		delete(shown, name)
	}
	if len(shown) > 0 {
		t.Errorf("the dashboard asks for %v, which is not there", shown)
	}
}
