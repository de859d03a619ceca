package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"podgate/internal/webtest"
)

// A person limits an assistant when approving it, then changes the limits on
// the page of the connection. Every change counts for the next call, none of
// them sends anybody through consent in vain, and a step-up keeps them.
func TestConnectionLimits(t *testing.T) {
	t.Parallel()
	srv := startServer(t)
	needSandbox(t, srv)
	ada := setUp(t, srv)
	c := connect(t, srv, ada, connectOptions{limits: webtest.Fields{"prefix": {"web-"}, "max_pods": {"1"}}})
	c.options.limits = nil // from here on the page is approved as it comes
	if words := c.refused(t, "create_pod", args{"name": "blog", "preset": "static"}); !strings.Contains(words, "name begins with web-") {
		t.Errorf("another name: %s", words)
	}
	c.call(t, "create_pod", args{"name": "web-1", "preset": "static"})
	if words := c.refused(t, "create_pod", args{"name": "web-2", "preset": "static"}); !strings.HasPrefix(words, "this connection is limited") {
		t.Errorf("one more: %s", words)
	}

	change := func(fields webtest.Fields) {
		t.Helper()
		home := ada.Open(srv.Issuer+"/connections").Follow("Limits").Press("Save", fields)
		if home.Status != http.StatusOK || !strings.Contains(home.Text(), "The limits are changed.") {
			t.Fatalf("%d %s", home.Status, home.Text())
		}
	}
	change(webtest.Fields{"read_only": {"yes"}})
	if words := c.refused(t, "exec_command", args{"name": "web-1", "command": "true"}); !strings.HasPrefix(words, "this connection is read-only") || len(c.authorize) != 1 {
		t.Errorf("read-only: %s after %d authorizations", words, len(c.authorize))
	}
	if got := c.call(t, "list_pods", nil); fmt.Sprint(got["limits"]) != "map[max_pods:1 name_prefix:web- read_only:true]" {
		t.Errorf("list_pods: %v", got)
	}
	change(webtest.Fields{"read_only": {}, "max_pods": {""}, "scope": {"pods:read", "pods:exec"}})
	c.call(t, "exec_command", args{"name": "web-1", "command": "true"})

	// Writing was taken away, and no asking brings it back.
	write := args{"name": "web-1", "path": "x", "content": "x"}
	if words := c.refused(t, "write_file", write); !strings.Contains(words, "took the permission pods:write away") || len(c.authorize) != 1 {
		t.Errorf("after %d authorizations: %s", len(c.authorize), words)
	}

	// An app that did not ask for it does so now; all it has comes along.
	c = connect(t, srv, ada, connectOptions{asks: "pods:read pods:exec", limits: webtest.Fields{"prefix": {"web-"}}})
	c.options.limits = nil
	if got := c.call(t, "write_file", write); got["bytes"] != 1.0 || len(c.authorize) != 2 {
		t.Errorf("after %d authorizations: %v", len(c.authorize), got)
	}
	c.call(t, "exec_command", args{"name": "web-1", "command": "true"})
	c.call(t, "create_pod", args{"name": "web-2", "preset": "static"})
	if words := c.refused(t, "create_pod", args{"name": "blog", "preset": "static"}); !strings.Contains(words, "name begins with web-") {
		t.Errorf("the step-up lost the prefix: %s", words)
	}
}

// The connection that stays small beside one that is not: neither sees more or
// less for the other.
func TestLimitsAreOfOneConnection(t *testing.T) {
	t.Parallel()
	srv := startServer(t)
	needSandbox(t, srv)
	ada := setUp(t, srv)
	all := connect(t, srv, ada, connectOptions{})
	small := connect(t, srv, ada, connectOptions{limits: webtest.Fields{"prefix": {"web-"}, "replace": {}}})
	all.call(t, "create_pod", args{"name": "web-1", "preset": "static"})
	all.call(t, "create_pod", args{"name": "secret", "preset": "static"})
	if list := fmt.Sprint(small.call(t, "list_pods", nil)["pods"]); !strings.Contains(list, "web-1") || strings.Contains(list, "secret") {
		t.Errorf("the small one sees %s", list)
	}
	if list := all.call(t, "list_pods", nil); len(list["pods"].([]any)) != 2 {
		t.Errorf("the other sees %v", list)
	}
	outside, err := small.CallTool(t.Context(), &sdk.CallToolParams{Name: "get_logs", Arguments: args{"name": "secret"}})
	if err != nil || !outside.IsError || !strings.HasPrefix(textOf(outside), "pod not found") {
		t.Errorf("%v, %v", outside, err)
	}
}
