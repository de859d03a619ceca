package mcp_test

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"podgate/internal/authz"
	"podgate/store"
)

// restricted makes token stand for ann with fewer scopes and with limits.
func (b *bench) restricted(token string, limits store.Limits, scopes ...store.Scope) {
	a := b.actor("ann")
	a.Limits, a.Scopes = limits, scopes
	b.as(token, a)
}

// post sends one message and returns the answer with its body.
func (b *bench) post(token string, body []byte, header http.Header) (*http.Response, string) {
	b.Helper()
	req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, b.url, bytes.NewReader(body))
	if err != nil {
		b.Fatal(err)
	}
	req.Header = header.Clone()
	req.Header.Set("Authorization", "Bearer "+token)
	transport := http.DefaultTransport.(*http.Transport).Clone()
	b.Cleanup(transport.CloseIdleConnections)
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.Fatal(err)
	}
	return resp, string(text)
}

// scopeOf is what each tool needs, written a second time.
func scopeOf(tool string) store.Scope {
	switch tool {
	case "create_pod", "manage_pod", "deploy", "rollback", "write_file", "create_upload", "set_env", "edit_file", "delete_file", "move_file",
		"snapshot_pod", "restore_snapshot", "delete_snapshot", "clone_pod", "resize_pod":
		return authz.ScopeWrite
	case "exec_command", "stop_job":
		return authz.ScopeExec
	}
	return authz.ScopeRead
}

// Each tool is answered 403 with its scope before it runs when just that scope
// is missing, in both eras; the same call on a read-only connection is refused
// in words, because no scope would help.
func TestScopesOfTools(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.pod("shop")
	b.restricted("read-only", store.Limits{ReadOnly: true}, authz.ScopeRead)
	for _, scope := range authz.Scopes() {
		b.restricted("without "+string(scope), store.Limits{}, slices.DeleteFunc(authz.Scopes(), func(s store.Scope) bool { return s == scope })...)
	}
	for _, era := range eras {
		for tool, with := range examples {
			if with == nil {
				with = args{}
			}
			scope := scopeOf(tool)
			body, header := message(era, "tools/call", args{"name": tool, "arguments": with})
			resp, text := b.post("without "+string(scope), body, header)
			if resp.StatusCode != http.StatusForbidden || resp.Header.Get("Needed") != fmt.Sprint([]store.Scope{scope}) || text != "" {
				t.Errorf("%s %s without %s: %d needs %s: %.200s", era, tool, scope, resp.StatusCode, resp.Header.Get("Needed"), text)
			}
			resp, text = b.post("read-only", body, header)
			if refused := strings.Contains(text, "this connection is read-only: it may not"); resp.StatusCode != http.StatusOK || refused != (scope != authz.ScopeRead) {
				t.Errorf("%s %s on a read-only connection: %d %.300s", era, tool, resp.StatusCode, text)
			}
		}
	}
	if list, err := b.pods.List(t.Context(), b.actor("ann")); err != nil || len(list) != 1 || list[0].Restarts != 0 {
		t.Errorf("a refused call changed something: %+v, %v", list, err)
	}
}

// A batch is asked for all that its calls need, without what asking for would
// not give.
func TestScopesOfABatch(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.pod("shop")
	call := func(tool string) string {
		return `{"jsonrpc":"2.0","id":"` + tool + `","method":"tools/call","params":{"name":"` + tool + `","arguments":{"name":"shop","command":"true"}}}`
	}
	batch := []byte("[" + call("get_pod") + "," + call("exec_command") + "]")
	_, header := message("2025-03-26", "tools/call", args{})
	for token, c := range map[string]struct {
		limits store.Limits
		scopes []store.Scope
		needed string
	}{
		"reads":            {store.Limits{}, []store.Scope{authz.ScopeRead}, "[pods:read pods:exec]"},
		"read-only writes": {store.Limits{ReadOnly: true}, []store.Scope{authz.ScopeWrite}, "[pods:read]"},
		"read-only reads":  {store.Limits{ReadOnly: true}, []store.Scope{authz.ScopeRead}, ""},
	} {
		b.restricted(token, c.limits, c.scopes...)
		resp, text := b.post(token, batch, header)
		if got := resp.Header.Get("Needed"); got != c.needed {
			t.Errorf("%s: %d needs %q: %.300s", token, resp.StatusCode, got, text)
		}
	}
}

// In every tool a pod outside the prefix is answered like an absent one.
func TestPrefixInEveryTool(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.pod("shop")
	b.pod("web-1")
	b.restricted("limited", store.Limits{Prefix: "web-", MaxPods: 1}, authz.Scopes()...)
	for _, era := range eras {
		c := b.connect("limited", era)
		for _, tool := range slices.Sorted(maps.Keys(examples)) {
			if examples[tool]["name"] != "shop" {
				continue
			}
			absent := clone(examples[tool])
			absent["name"] = "web-absent"
			outside, none := c.refused(tool, examples[tool]), c.refused(tool, absent)
			if tool == "deploy" { // which makes a pod that is absent
				if !strings.Contains(outside, "whose name begins with web-") {
					t.Errorf("%s: outside %q", tool, outside)
				}
				continue
			}
			if outside != none || !strings.HasPrefix(outside, "pod not found: ") {
				t.Errorf("%s: outside %q, absent %q", tool, outside, none)
			}
		}
		list := c.result("list_pods", nil)
		if words := text(list); strings.Contains(words, "shop") || !strings.Contains(words, "limited: only pods whose name begins with web-, at most 1 pod.") ||
			!strings.Contains(words, "has 1 pods with such a name") || fmt.Sprint(list.StructuredContent.(args)["limits"]) != "map[max_pods:1 name_prefix:web-]" {
			t.Errorf("list_pods: %s %v", words, list.StructuredContent)
		}
		if words := c.refused("create_pod", args{"name": "blog", "preset": "static"}); !strings.HasPrefix(words, "this connection is limited: it may only work with pods whose name begins with web-") {
			t.Errorf("create_pod outside: %s", words)
		}
		if words := c.refused("create_pod", args{"name": "web-2", "preset": "static"}); !strings.HasPrefix(words, "this connection is limited: the number of its pods is limited to 1") {
			t.Errorf("create_pod beyond the number: %s", words)
		}
	}
	if list := b.connect("ann", modern).call("list_pods", nil); list["limits"] != nil || len(list["pods"].([]any)) != 2 {
		t.Errorf("without limits: %v", list)
	}
}
