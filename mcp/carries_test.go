package mcp_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

// Some clients give their model only the text of an answer, some only the data. What
// follows holds the one to the other: every leaf of the data is in the text.

// inWords are keys whose true is said with other words than the key's own; what is not
// true needs none.
var inWords = map[string]string{
	"available": "", // what is not says why
	"running":   "running now",
	"live":      "live",
	"kept":      "can be rolled back to",
	"created":   "The pod was made for it",
	"deleted":   "deleted",
	"restarted": "was restarted",
	"default":   "the default",
	"cut":       "read on",
	"timed_out": "timed out",
	"folder":    "tar.gz",
	"read_only": "read-only",
	"more":      "cursor",
}

// carries reports each leaf of data that text does not say.
func carries(t *testing.T, tool, path string, data any, words string) {
	t.Helper()
	key := path[strings.LastIndexByte(path, '.')+1:]
	said := false
	switch v := data.(type) {
	case map[string]any:
		for k, item := range v {
			carries(t, tool, path+"."+k, item, words)
		}
		return
	case []any:
		for _, item := range v {
			carries(t, tool, path, item, words)
		}
		return
	case bool:
		meant, known := inWords[key]
		said = !v || known && strings.Contains(words, meant)
	case float64:
		for _, form := range []string{strconv.FormatFloat(v, 'f', -1, 64), fmt.Sprintf("%.1f", v), fmt.Sprintf("%.1f KiB", v/(1<<10)), fmt.Sprintf("%.1f MiB", v/(1<<20)), fmt.Sprintf("%.1f GiB", v/(1<<30))} {
			said = said || strings.Contains(words, form)
		}
		said = said || v == 0
	case string:
		said = strings.Contains(words, v)
		if at, err := time.Parse(time.RFC3339Nano, v); err == nil {
			said = said || strings.Contains(words, at.UTC().Format(time.RFC3339)) || strings.Contains(words, at.UTC().Format("2006-01-02T15:04:05.000Z")) || strings.Contains(words, at.UTC().Format(time.DateTime))
		}
	case nil:
		said = true
	}
	if !said {
		t.Errorf("%s: the text does not say %s, which is %.100q:\n%.3000s", tool, path, fmt.Sprint(data), words)
	}
}

func carriesAll(t *testing.T, tool string, res *sdk.CallToolResult) {
	t.Helper()
	if res.StructuredContent == nil {
		t.Errorf("%s: there is no data beside %s", tool, text(res))
	}
	carries(t, tool, "", res.StructuredContent, text(res))
}

func TestTextCarriesAll(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.pod("shop")
	c := b.connect("ann", modern)
	for _, name := range []string{"old", "from", "edited"} {
		c.call("write_file", args{"name": "shop", "path": "/home/pod/" + name, "content": "x"})
	}
	job := c.call("exec_command", args{"name": "shop", "command": "echo a", "background": true})["job"].(args)["job"]
	for _, tool := range toolNames {
		with := c.example(tool, job)
		carriesAll(t, tool, c.result(tool, with))
	}
	for _, more := range []struct {
		tool string
		with args
	}{
		{"get_pod", args{"name": "shop"}}, // after a deploy
		{"manage_pod", args{"name": "shop", "action": "stop"}},
		{"get_pod", args{"name": "shop"}},
		{"list_deploys", args{"name": "shop"}},
		{"deploy", args{"name": "shop", "preset": "command", "files": args{"Procfile": "web: echo broken; exit 3\n"}}},
		{"deploy", args{"name": "shop", "preset": "command", "files": args{"Procfile": "release: echo no such package; exit 1\nweb: sleep 100\n"}}},
		{"list_deploys", args{"name": "shop"}},
		{"get_pod", args{"name": "shop"}},
		{"write_file", args{"name": "shop", "path": "Procfile", "content": "release: exit 1\nweb: sleep 100\n"}},
		{"deploy", args{"name": "worker", "preset": "command", "files": args{"Procfile": "w: sleep 100\nd: nothing-there\ncron: @daily true\n"}}},
		{"get_pod", args{"name": "worker"}},
		{"write_file", args{"name": "worker", "path": "Procfile", "content": "release: echo no such package; exit 1\nw: sleep 100\n"}},
		{"manage_pod", args{"name": "worker", "action": "reload"}},
	} {
		carriesAll(t, more.tool, c.result(more.tool, more.with))
	}
}
