package mcp_test

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

// Some clients give their model only the text of an answer, some only the data. What
// follows holds the one to the other: every leaf of the data is in the text, and what the
// text tells is in the data.

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
	"cut":       "read on|to go on",
	"timed_out": "timed out",
	"folder":    "tar.gz",
	"read_only": "read-only",
	"more":      "cursor",
}

// forms are how a text says a number, and times a time.
func forms(v float64) []string {
	return []string{strconv.FormatFloat(v, 'f', -1, 64), fmt.Sprintf("%.1f", v), fmt.Sprintf("%.1f KiB", v/(1<<10)), fmt.Sprintf("%.1f MiB", v/(1<<20)), fmt.Sprintf("%.1f GiB", v/(1<<30))}
}

func times(at time.Time) []string {
	return []string{at.UTC().Format(time.RFC3339), at.UTC().Format("2006-01-02T15:04:05.000Z"), at.UTC().Format(time.DateTime)}
}

func anyIn(words string, forms []string) bool {
	return slices.ContainsFunc(forms, func(form string) bool { return strings.Contains(words, form) })
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
		said = !v || known && anyIn(words, strings.Split(meant, "|"))
	case float64:
		said = v == 0 || anyIn(words, forms(v))
	case string:
		said = strings.Contains(words, v)
		if at, err := time.Parse(time.RFC3339Nano, v); err == nil {
			said = said || anyIn(words, times(at))
		}
	case nil:
		said = true
	}
	if !said {
		t.Errorf("%s: the text does not say %s, which is %.100q:\n%.3000s", tool, path, fmt.Sprint(data), words)
	}
}

// facts are the words of a text that tell one answer from another: those with digits, and
// what says that something is missing.
var facts = regexp.MustCompile(`\b[0-9A-Za-z-]*[0-9][0-9A-Za-z-]*|\bcut\b|\bleft out\b`)

// leaves are all that the data says, in the forms that a text has it in.
func leaves(data any, all []string) []string {
	switch v := data.(type) {
	case map[string]any:
		for k, item := range v {
			if item != false {
				all = leaves(item, append(all, k))
			}
		}
	case []any:
		all = append(all, strconv.Itoa(len(v))) // how many there are
		for _, item := range v {
			all = leaves(item, all)
		}
	case float64:
		all = append(all, forms(v)...)
	case string:
		all = append(all, v)
		if at, err := time.Parse(time.RFC3339Nano, v); err == nil {
			all = append(all, times(at)...)
		}
	}
	return all
}

// saysNoMore reports each fact of words that data does not have, and each argument.
func saysNoMore(t *testing.T, tool string, with args, data any, words string) {
	t.Helper()
	all := strings.Join(leaves(data, nil), "\n")
	told := facts.FindAllString(words, -1)
	for _, v := range with {
		if s, ok := v.(string); ok && strings.Contains(words, s) {
			told = append(told, s)
		}
	}
	for _, fact := range told {
		if !strings.Contains(all, fact) {
			t.Errorf("%s: only the text says %.100q:\n%.3000s", tool, fact, words)
		}
	}
}

func carriesAll(t *testing.T, tool string, with args, res *sdk.CallToolResult) {
	t.Helper()
	if res.StructuredContent == nil {
		t.Errorf("%s: there is no data beside %s", tool, text(res))
	}
	var blocks []string
	for _, c := range res.Content {
		blocks = append(blocks, c.(*sdk.TextContent).Text)
	}
	words := strings.Join(blocks, "\n")
	carries(t, tool, "", res.StructuredContent, words)
	saysNoMore(t, tool, with, res.StructuredContent, words)
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
		carriesAll(t, tool, with, c.result(tool, with))
	}
	cuts := map[string]bool{}
	for range 20 {
		long := args{"name": "many", "preset": "command", "files": args{"Procfile": "release: seq -f %0500g 500; exit 1\nweb: sleep 100\n"}}
		carriesAll(t, "deploy", long, c.result("deploy", long))
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
		// What has no room in one answer.
		{"exec_command", args{"name": "shop", "command": "seq 100000; seq 100000 >&2"}},
		{"exec_command", args{"name": "shop", "workdir": "/home/pod", "command": "seq 100000 >long; mkdir many; cd many; seq 5000 | xargs touch"}},
		{"read_file", args{"name": "shop", "path": "/home/pod/long"}},
		{"read_file", args{"name": "shop", "path": "/home/pod/long", "offset": 500000}},
		{"list_files", args{"name": "shop", "path": "/home/pod/many"}},
		{"list_files", args{"name": "shop", "path": "/home/pod", "recursive": true}},
		{"search_files", args{"name": "shop", "path": "/home/pod", "query": "1"}},
		{"list_deploys", args{"name": "many"}},
		{"get_logs", args{"name": "many", "lines": 1000}},
		{"manage_pod", args{"name": "worker", "action": "delete", "confirm": "worker"}},
	} {
		res := c.result(more.tool, more.with)
		carriesAll(t, more.tool, more.with, res)
		if said := strings.Join(leaves(res.StructuredContent, nil), "\n"); strings.Contains(said, "cut") {
			cuts[more.tool] = true
		}
	}
	for _, tool := range []string{"exec_command", "read_file", "list_files", "search_files", "list_deploys", "get_logs"} {
		if !cuts[tool] {
			t.Errorf("%s: nothing was cut", tool)
		}
	}
}
