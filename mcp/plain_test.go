package mcp_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"podgate/internal/authz"
	"podgate/mcp"
	"podgate/pods"
	"podgate/store"
)

// ways are two endpoints over the same pods, one of which sends everything through the
// SDK, and what went through it.
type ways struct {
	*bench
	short, long mcp.Endpoint
	through     func() int64
}

func newWays(t testing.TB) ways {
	t.Helper()
	w := ways{bench: newBench(t, func(c *pods.Config) {
		c.URL = func(name string) string { return "https://" + name + ".pods.example/?a&b=<c>" }
	})}
	w.pod("shop")
	w.as("reader", authz.Actor{User: w.actor("ann").User, Team: w.actor("ann").Team, Role: store.RoleOwner, Scopes: []store.Scope{authz.ScopeRead}, Grant: "g"})
	made := func(only bool) (mcp.Endpoint, func() int64) {
		e, err := mcp.New(mcp.Config{Pods: w.pods, Issuer: "https://pods.example", Version: "1.2.3", Log: slog.New(slog.DiscardHandler), InsufficientScope: insufficient, Watch: unwatched})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = e.Close() })
		return e, mcp.LongWay(e, only).Load
	}
	short, through := made(false)
	long, _ := made(true)
	w.short, w.long, w.through = short, long, through
	return w
}

// ask returns what an endpoint answers to a body with headers.
func (w ways) ask(to http.Handler, token, body string, h http.Header) string {
	r := httptest.NewRequestWithContext(w.Context(), "POST", "/api/mcp", strings.NewReader(body))
	r.Header = h.Clone()
	r = r.WithContext(authz.WithActor(r.Context(), w.actor(token)))
	rec := httptest.NewRecorder()
	to.ServeHTTP(rec, r)
	answer := rec.Header()
	if length := answer.Get("Content-Length"); length != "" && length != fmt.Sprint(rec.Body.Len()) {
		w.Errorf("a length of %s for %d bytes", length, rec.Body.Len())
	}
	answer.Del("Content-Length") // the other way net/http adds it
	return fmt.Sprint(rec.Code, answer, use.ReplaceAllString(rec.Body.String(), "(use)"))
}

// use is what a pod uses, which is another thing a moment later.
var use = regexp.MustCompile(`uses: [^\\]*|"(memory_used_bytes|cpu_used_seconds|disk_used_bytes|processes)":[0-9.e-]+`)

// headersOf are those of a client of an era.
func headersOf(era, body string) http.Header {
	h := http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json, text/event-stream"}}
	addEra(h, era, body)
	return h
}

// callBody is a call as clients of an era write it.
func callBody(t *testing.T, era, id, tool, arguments string) string {
	m := ""
	if era == modern {
		m = "{meta}, "
	}
	if arguments != "" {
		arguments = `, "arguments": ` + arguments
	}
	return expand(t, fmt.Sprintf(`{"jsonrpc": "2.0", "id": %s, "method": "tools/call", "params": {%s"name": %q%s}}`, id, m, tool, arguments))
}

// The short way of a call answers with the bytes that the SDK would have sent, and only
// after the SDK has let the same form through.
func TestShortWay(t *testing.T) {
	t.Parallel()
	w := newWays(t)
	for _, era := range []string{"", "2025-03-26", "2025-06-18", legacy, modern} {
		first := true
		for _, id := range []string{"1", "0", "-7", "123456789012345", `"a"`, `""`, `"<&>"`} {
			for _, call := range [][2]string{
				{"list_pods", ""}, {"list_pods", "{}"}, {"list_pods", `{"team": 1}`},
				{"get_pod", `{"name": "shop"}`}, {"get_pod", `{"name": "nothing"}`}, {"get_pod", `{"name": "` + "é\u2028<\xff" + `"}`}, {"get_pod", `{"name": 1}`}, {"get_pod", ""},
				{"get_pod", `{"name": "shop", "name": "nothing"}`}, {"list_presets", "{}"}, {"list_plans", "{}"}, {"list_files", `{"name": "shop"}`},
				{"read_file", `{"name": "shop", "path": "/home/pod/app/index.html"}`}, {"get_logs", `{"name": "shop", "lines": 1e1}`},
			} {
				body := callBody(t, era, id, call[0], call[1])
				before := w.through()
				got, want := w.ask(w.short, "reader", body, headersOf(era, body)), w.ask(w.long, "reader", body, headersOf(era, body))
				if got != want {
					t.Errorf("era %q: %s\n%s\nwant\n%s", era, body, got, want)
				}
				if long := w.through() > before; long != first {
					t.Errorf("era %q: %s: through the SDK: %v", era, body, long)
				}
				first = false
			}
		}
	}
}

// What the SDK looks at is looked at each time.
func TestShortWayIsNarrow(t *testing.T) {
	t.Parallel()
	w := newWays(t)
	plain := callBody(t, legacy, "1", "list_pods", "{}")
	extended := callBody(t, modern, "1", "list_pods", "{}")
	for _, body := range []string{plain, extended} {
		era := legacy
		if body == extended {
			era = modern
		}
		w.ask(w.short, "ann", body, headersOf(era, body))
		before := w.through()
		w.ask(w.short, "ann", body, headersOf(era, body))
		if w.through() != before {
			t.Fatalf("era %s has no short way", era)
		}
		for name, change := range map[string]func(http.Header){
			"another type":     func(h http.Header) { h.Set("Content-Type", "text/plain") },
			"no type":          func(h http.Header) { h.Del("Content-Type") },
			"no events":        func(h http.Header) { h.Set("Accept", "application/json") },
			"nothing accepted": func(h http.Header) { h.Del("Accept") },
			"accepted in two":  func(h http.Header) { h["Accept"] = []string{"application/json, ", "text/event-stream"} },
			"another version":  func(h http.Header) { h.Set("Mcp-Protocol-Version", "2024-01-01") },
			"the other era": func(h http.Header) {
				h.Set("Mcp-Protocol-Version", map[string]string{legacy: modern, modern: legacy}[era])
			},
			"two versions":         func(h http.Header) { h.Add("Mcp-Protocol-Version", legacy) },
			"an event to go on at": func(h http.Header) { h.Set("Last-Event-Id", "") },
			"another method":       func(h http.Header) { h.Set("Mcp-Method", "tools/list") },
			"no method":            func(h http.Header) { h.Del("Mcp-Method") },
			"another name":         func(h http.Header) { h.Set("Mcp-Name", "get_pod") },
			"no name":              func(h http.Header) { h.Del("Mcp-Name") },
		} {
			h := headersOf(era, body)
			change(h)
			before := w.through()
			got, want := w.ask(w.short, "ann", body, h), w.ask(w.long, "ann", body, h)
			if got != want {
				t.Errorf("era %s, %s: %s\nwant %s", era, name, got, want)
			}
			ofBody := era == legacy && (strings.HasSuffix(name, "method") || strings.HasSuffix(name, "name")) // which that era does not know
			if (w.through() > before) == ofBody {
				t.Errorf("era %s, %s: through the SDK: %v", era, name, !ofBody)
			}
		}
		for _, other := range []string{
			strings.Replace(body, `"list_pods"`, `"nothing"`, 1),
			strings.Replace(body, `"name"`, `"_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}, "name"`, 1),
			strings.Replace(body, `"clientCapabilities": {}`, `"clientCapabilities": 1`, 1) + " ",
			strings.Replace(body, `"version": "0"`, `"version": 0`, 1) + "\n",
			"[" + body + "]", body + body, body + ",", strings.Replace(body, "1", "null", 1),
		} {
			if got, want := w.ask(w.short, "ann", other, headersOf(era, body)), w.ask(w.long, "ann", other, headersOf(era, body)); got != want {
				t.Errorf("era %s, %s: %s\nwant %s", era, other, got, want)
			}
		}
	}
	// What may go on as a task has no short way, and a scope is looked for on each.
	task := callBody(t, modern, "1", "exec_command", `{"name": "shop", "command": "true"}`)
	before := w.through()
	w.ask(w.short, "ann", task, headersOf(modern, task))
	if w.through() == before {
		t.Error("a task has a short way")
	}
	create := callBody(t, legacy, "1", "create_pod", `{"name": "more", "preset": "static"}`)
	if got := w.ask(w.short, "reader", create, headersOf(legacy, create)); !strings.HasPrefix(got, "403") || !strings.Contains(got, "pods:write") {
		t.Errorf("without the scope: %s", got)
	}
}

// The SDK has to have let a form through: it is not enough that it was sent.
func TestFormsAreLearned(t *testing.T) {
	t.Parallel()
	w := newWays(t)
	body := callBody(t, modern, "1", "list_pods", "{}")
	for range 2 {
		for _, h := range []http.Header{headersOf("2024-01-01", body), {}, headersOf(legacy, body)} {
			if got := w.ask(w.short, "ann", body, h); !strings.HasPrefix(got, "400") && !strings.HasPrefix(got, "415") {
				t.Errorf("%v: %s", h, got)
			}
		}
	}
	if n := mcp.Forms(w.short); n != 0 {
		t.Errorf("%d forms are known of refused calls", n)
	}
	for i := range mcp.MaxForms + 10 {
		body := strings.Replace(body, `"version": "0"`, fmt.Sprintf(`"version": "%d"`, i), 1)
		if got := w.ask(w.short, "ann", body, headersOf(modern, body)); !strings.HasPrefix(got, "200") {
			t.Fatal(got)
		}
	}
	if n := mcp.Forms(w.short); n != mcp.MaxForms {
		t.Errorf("%d forms are known, want %d", n, mcp.MaxForms)
	}
	long := strings.Replace(body, `"version": "0"`, `"version": "`+strings.Repeat("0", 5000)+`"`, 1)
	for range 2 {
		before := w.through()
		if w.ask(w.short, "ann", long, headersOf(modern, long)); w.through() == before {
			t.Error("a long form is remembered")
		}
	}
}

// Whoever loses the right to a call before it is answered gets no answer, on either way.
func TestShortWayHangsUp(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	var take context.CancelCauseFunc // what the call is watched with
	taken := false
	e, err := mcp.New(mcp.Config{
		Pods: b.pods, Log: slog.New(slog.DiscardHandler), InsufficientScope: insufficient,
		Watch: func(r *http.Request, _ func(authz.Actor) error) (*http.Request, func()) {
			ctx, cancel := context.WithCancelCause(r.Context())
			take = cancel
			return r.WithContext(ctx), func() { cancel(nil) }
		},
		Called: func(string, string, time.Duration) {
			if taken {
				take(authz.ErrRevoked)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	long := mcp.LongWay(e, false)
	body := callBody(t, legacy, "1", "list_pods", "{}")
	for i := range 3 {
		taken = i == 2
		r := httptest.NewRequestWithContext(t.Context(), "POST", "/api/mcp", strings.NewReader(body))
		r.Header = headersOf(legacy, body)
		rec := httptest.NewRecorder()
		func() {
			defer func() {
				if p := recover(); (p == http.ErrAbortHandler) != taken {
					t.Errorf("call %d: %v", i, p)
				}
			}()
			e.ServeHTTP(rec, r.WithContext(authz.WithActor(r.Context(), b.actor("ann"))))
		}()
		if answered := rec.Body.Len() > 0; answered == taken {
			t.Errorf("call %d: %s", i, rec.Body)
		}
	}
	if n := long.Load(); n != 1 {
		t.Errorf("%d calls went through the SDK", n)
	}
}
