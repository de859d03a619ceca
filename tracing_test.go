package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"podgate/internal/config"
)

// tracedSpan is what a collector is told.
type tracedSpan struct {
	TraceID      string `json:"traceId"`
	SpanID       string `json:"spanId"`
	ParentSpanID string `json:"parentSpanId"`
	Name         string `json:"name"`
	Status       struct {
		Code int `json:"code"`
	} `json:"status"`
}

// A request can be followed to its transactions and to what an agent was asked, and
// nothing secret is told. Who is not a trusted proxy has no say in it.
func TestTraces(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var raw strings.Builder
	keys := map[string]bool{}
	var spans []tracedSpan
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var got struct {
			ResourceSpans []struct {
				ScopeSpans []struct{ Spans []tracedSpan }
			}
		}
		if err != nil || json.Unmarshal(body, &got) != nil || len(got.ResourceSpans) != 1 {
			t.Errorf("%s, %v", body, err)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		raw.Write(body)
		keys[r.Header.Get("Api-Key")] = true
		spans = append(spans, got.ResourceSpans[0].ScopeSpans[0].Spans...)
	}))
	defer collector.Close()
	headers := filepath.Join(t.TempDir(), "headers")
	if err := os.WriteFile(headers, []byte("Api-Key: of the collector\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	srv := startServer(t, `trusted_proxies = ["127.0.0.2"]`, "[telemetry]", "endpoint = "+strconv.Quote(collector.URL), "headers_file = "+strconv.Quote(headers))
	ada := setUp(t, srv)
	again := newPerson(t, srv, ada.email)
	again.signIn(again.Open(srv.Issuer))
	c := connect(t, srv, ada, connectOptions{})
	c.call(t, "list_pods", nil)
	if srv.canRunPods() {
		c.call(t, "create_pod", args{"name": "blog", "preset": "static"})
	}
	const theirs = "0af7651916cd43dd8448eb211c80319c"
	req, err := http.NewRequest(http.MethodGet, srv.URL+"/healthz", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "localhost"
	req.Header.Set("Traceparent", "00-"+theirs+"-b7ad6b7169203331-01")
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if code := srv.Stop(); code != exitDone { // and sends what is left
		t.Errorf("the server ended with code %d\n%s", code, srv.Log)
	}

	byID, found := map[string]tracedSpan{}, map[string]int{}
	for _, s := range spans {
		byID[s.SpanID] = s
	}
	for _, s := range spans {
		way := s.Name
		for up, ok := byID[s.ParentSpanID]; ok; up, ok = byID[up.ParentSpanID] {
			if up.TraceID != s.TraceID {
				t.Errorf("%s is in another trace than %s", s.Name, up.Name)
			}
			way = up.Name + " > " + way
		}
		found[way]++
		if s.TraceID == theirs {
			t.Errorf("a stranger's trace is gone on with: %+v", s)
		}
	}
	want := []string{"POST api > store redeem_code", "POST pages > store create_session", "POST mcp > tool list_pods", "GET health"}
	if srv.canRunPods() {
		want = append(want, "POST mcp > tool create_pod > store create_pod", "POST mcp > tool create_pod > agent /v1/app")
	}
	for _, way := range want {
		if found[way] == 0 {
			t.Errorf("no span %q", way)
		}
	}
	if t.Failed() {
		t.Logf("%v", found)
	}
	if len(keys) != 1 || !keys["of the collector"] {
		t.Errorf("the keys are %v", keys)
	}
	for _, secret := range []string{ada.password, ada.email, "blog", "pgat_", "pgrt_", "code="} {
		if secret == "" || strings.Contains(raw.String(), secret) {
			t.Errorf("the collector hears of %q", secret)
		}
	}
}

// Only who is trusted with the address of visitors is with their traces.
func TestTraceOfAProxy(t *testing.T) {
	t.Parallel()
	srv := &server{settings: &config.Settings{}}
	srv.settings.Telemetry.Proxied = true
	srv.settings.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	for peer, want := range map[string]bool{"10.1.2.3:4": true, "[::ffff:10.1.2.3]:4": true, "11.1.2.3:4": false, "": false} {
		r := &http.Request{RemoteAddr: peer, Header: http.Header{"Traceparent": {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}}}
		if got := srv.parentOf(r); (got != nil) != want {
			t.Errorf("%s: %v", peer, got)
		}
		srv.settings.Telemetry.Proxied = false
		if got := srv.parentOf(r); got != nil {
			t.Errorf("%s, whose traces are not wanted: %v", peer, got)
		}
		srv.settings.Telemetry.Proxied = true
	}
}

func TestHeadersOf(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "headers")
	for text, want := range map[string]string{"A: b\nC: d\n": "b d", "A: b\r\nC: d": "b d", "": "error", "no header\n": "error", "A: b\n\nC: d\n": "b "} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got := "error"
		if h, err := headersOf(path); err == nil {
			got = h.Get("A") + " " + h.Get("C")
		}
		if got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	if err := os.WriteFile(path, []byte("the-key-alone"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := headersOf(path); err == nil || strings.Contains(err.Error(), "the-key-alone") {
		t.Errorf("%v", err)
	}
	if _, err := headersOf(filepath.Join(t.TempDir(), "absent")); err == nil {
		t.Error("a file that is not there has no headers")
	}
}
