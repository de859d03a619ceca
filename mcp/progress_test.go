package mcp_test

import (
	"strings"
	"testing"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"podgate/pods"
)

// What an app prints while a restart waits for its port is told as it comes, and
// what comes between two notifications is in the later one.
func TestProgressTellsWhatTheAppPrints(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	c := b.connect("ann", "")
	if _, err := b.pods.Create(t.Context(), b.actor("ann"), pods.CreateRequest{Name: "shop", Preset: "command"}, nil); err != nil {
		t.Fatal(err)
	}
	c.call("write_file", args{"name": "shop", "path": "Procfile", "content": "web: for i in 1 2 3 4 5 6 7 8; do echo warming up $i; sleep 0.1; done; exit 9\n"})
	params := &sdk.CallToolParams{Name: "manage_pod", Arguments: args{"name": "shop", "action": "restart"}}
	params.SetProgressToken("p")
	res, err := c.CallTool(t.Context(), params)
	if err != nil || res.IsError {
		t.Fatalf("%v %v", res, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var told strings.Builder
	for _, p := range c.progress {
		told.WriteString(p.Message)
	}
	for _, want := range []string{"restart the app\n", "warming up 1\n", "warming up 2\n", "warming up 3\n"} {
		if !strings.Contains(told.String(), want) {
			t.Errorf("told %q in %d messages, without %q", told.String(), len(c.progress), want)
		}
	}
	if n := len(c.progress); n > 8 {
		t.Errorf("%d messages", n)
	}
}
