package mcp_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/jsonschema-go/jsonschema"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"podgate/pods"
	"podgate/pods/podstest"
)

// toolNames is the fixed order of the tools.
var toolNames = []string{
	"create_pod", "exec_command", "get_logs", "get_pod", "list_files", "list_plans", "list_pods", "list_presets", "list_regions",
	"manage_pod", "read_file", "write_file",
	// Those that came later, in the order in which they came.
	"deploy", "list_deploys", "rollback", "create_upload", "create_download", "set_env", "edit_file", "delete_file", "move_file", "search_files",
	"list_jobs", "get_job", "stop_job",
	"snapshot_pod", "list_snapshots", "restore_snapshot", "delete_snapshot", "clone_pod", "resize_pod",
}

// Every tool does its work for the SDK's own client, in both eras.
func TestTools(t *testing.T) {
	t.Parallel()
	for _, era := range eras {
		t.Run(era, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			c := b.connect("ann", era)
			if got := c.InitializeResult().ProtocolVersion; got != era {
				t.Errorf("speaks %s", got)
			}
			walkCatalogue(t, c)
			walkPod(t, c)
		})
	}
}

func walkCatalogue(t *testing.T, c *client) {
	presets := c.call("list_presets", nil)["presets"].([]any)
	if len(presets) != 6 || presets[0].(args)["available"] != true {
		t.Errorf("list_presets: %v", presets)
	}
	plans := c.call("list_plans", nil)["plans"].([]any)
	if len(plans) != 3 || plans[0].(args)["memory_bytes"] != float64(256<<20) || plans[0].(args)["default"] != true || plans[1].(args)["default"] != false {
		t.Errorf("list_plans: %v", plans)
	}
	regions := c.call("list_regions", nil)["regions"].([]any)
	if len(regions) != 1 || regions[0].(args)["name"] != "here" || regions[0].(args)["available"] != true {
		t.Errorf("list_regions: %v", regions)
	}
}

// Where there are several regions, a preset may be missing in one.
func TestPresetsByRegion(t *testing.T) {
	t.Parallel()
	far := podstest.NewFake(t)
	far.Lack("php")
	b := newBench(t, func(c *pods.Config) { c.Regions = append(c.Regions, podstest.Region("far", far)) })
	presets := b.connect("ann", eras[0]).call("list_presets", nil)["presets"].([]any)
	for _, p := range presets {
		p := p.(args)
		want := "map[available:true region:here] map[available:true region:far]"
		if p["name"] == "php" {
			want = "map[available:true region:here] map[available:false reason:the fake has no php; to get it, install"
		}
		if got := fmt.Sprint(p["regions"]); p["available"] != true || !strings.HasPrefix(got, "["+want) {
			t.Errorf("%s: %v", p["name"], got)
		}
	}
}

// A plan that bounds the network says so, and so does a pod of it.
func TestNetworkRateIsShown(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(c *pods.Config) {
		slow := pods.DefaultPlans()[0]
		slow.Name, slow.Limits.Network = "slow", 20<<20
		c.Plans = append(pods.DefaultPlans(), slow)
	})
	c := b.connect("ann", eras[0])
	plans := c.call("list_plans", nil)["plans"].([]any)
	if last := plans[len(plans)-1].(args); last["network_bytes_per_second"] != float64(20<<20) || plans[0].(args)["network_bytes_per_second"] != nil {
		t.Errorf("%v", plans)
	}
	if pod := c.call("create_pod", args{"name": "shop", "preset": "static", "plan": "slow"}); pod["network_limit_bytes_per_second"] != float64(20<<20) {
		t.Errorf("%v", pod)
	}
}

func walkPod(t *testing.T, c *client) {
	if list := c.call("list_pods", nil); len(list["pods"].([]any)) != 0 || list["team"].(args)["slug"] != "ann" {
		t.Errorf("list_pods at first: %v", list)
	}
	pod := c.call("create_pod", args{"name": "shop", "preset": "static", "env": args{"GREETING": "hello"}})
	if pod["status"] != "running" || pod["url"] != "http://shop.localhost:8080" || pod["plan"] != "small" || pod["region"] != "here" {
		t.Errorf("create_pod: %v", pod)
	}
	if list := fmt.Sprint(c.call("list_pods", nil)["pods"]); !strings.Contains(list, "name:shop") || !strings.Contains(list, "status:running") {
		t.Errorf("list_pods: %s", list)
	}
	wrote := c.call("write_file", args{"name": "shop", "path": "sub/run.sh", "content": "echo \"$GREETING\"\n", "mode": "0755"})
	if wrote["path"] != "/home/pod/app/sub/run.sh" || wrote["bytes"] != 17.0 || wrote["mode"] != "0755" {
		t.Errorf("write_file: %v", wrote)
	}
	c.call("write_file", args{"name": "shop", "path": "/tmp/b", "content": "AP8=", "encoding": "base64"})
	if got := c.call("read_file", args{"name": "shop", "path": "/tmp/b"}); got["content"] != "AP8=" || got["encoding"] != "base64" || got["size"] != 2.0 {
		t.Errorf("read_file of bytes: %v", got)
	}
	if got := c.call("read_file", args{"name": "shop", "path": "sub/run.sh", "offset": 5.0, "limit": 11}); got["content"] != `"$GREETING"` || got["cut"] != true || got["next_offset"] != 16.0 {
		t.Errorf("read_file of a part: %v", got)
	}
	if got := fmt.Sprint(c.call("list_files", args{"name": "shop", "path": "sub"})["entries"]); !strings.Contains(got, "mode:0755") || !strings.Contains(got, "name:run.sh") {
		t.Errorf("list_files: %s", got)
	}
	walkLinks(t, c)
	walkSearch(t, c)
	walkChanges(t, c)
	run := c.call("exec_command", args{"name": "shop", "command": "./run.sh; pwd >&2; exit 3", "workdir": "sub", "timeout": 20})
	if run["exit_code"] != 3.0 || run["stdout"] != "hello\n" || !strings.HasSuffix(run["stderr"].(string), "/app/sub\n") {
		t.Errorf("exec_command: %v", run)
	}
	if got := c.call("get_logs", args{"name": "shop", "source": "agent", "since": "1h", "lines": 5}); len(got["lines"].([]any)) == 0 {
		t.Errorf("get_logs: %v", got)
	}
	set := c.result("set_env", args{"name": "shop", "set": args{"TOKEN": "a-secret"}, "unset": []string{"OLD"}})
	if got := set.StructuredContent.(args); fmt.Sprint(got["env"]) != "[GREETING TOKEN]" || got["restarted"] != true || got["pod"].(args)["status"] != "running" || strings.Contains(fmt.Sprint(got)+text(set), "secret") {
		t.Errorf("set_env: %v %s", got, text(set))
	}
	if got := c.result("get_pod", args{"name": "shop"}); !strings.Contains(text(got), "environment variables: GREETING, TOKEN\n") || strings.Contains(fmt.Sprint(got.StructuredContent)+text(got), "secret") {
		t.Errorf("get_pod: %s", text(got))
	}
	if words := c.refused("set_env", args{"name": "shop", "unset": "TOKEN"}); !strings.Contains(words, "a list of text") {
		t.Errorf("set_env without a list: %s", words)
	}
	managePod(t, c)
}

func walkLinks(t *testing.T, c *client) {
	up := c.result("create_upload", args{"name": "shop", "path": "links/x", "mode": "0755", "bytes": 100})
	got := up.StructuredContent.(args)
	url, _ := got["url"].(string)
	if !strings.HasPrefix(url, "https://pods.example/api/uploads/") || len(url) < 70 || !strings.Contains(text(up), url) || got["command"] != "curl -fsS -T FILE '"+url+"'" || got["id"] == "" || got["max_bytes"].(float64) < 1<<20 {
		t.Errorf("create_upload: %v", got)
	}
	if words := c.refused("create_upload", args{"name": "shop", "path": "/etc/x"}); !strings.HasPrefix(words, "path not allowed") {
		t.Errorf("create_upload: %s", words)
	}
	if words := c.refused("create_upload", args{"name": "shop", "path": "x", "bytes": 1 << 40}); !strings.HasPrefix(words, "over the plan's limit") {
		t.Errorf("create_upload: %s", words)
	}
	down := c.result("create_download", args{"name": "shop", "path": "."})
	got = down.StructuredContent.(args)
	if url, _ := got["url"].(string); !strings.HasPrefix(url, "https://pods.example/api/downloads/") || got["folder"] != true || !strings.Contains(text(down), url) {
		t.Errorf("create_download: %v", got)
	}
}

func walkSearch(t *testing.T, c *client) {
	c.call("write_file", args{"name": "shop", "path": "deep/src/a.js", "content": "let a = 1\nlet Needle = 2\n"})
	c.call("write_file", args{"name": "shop", "path": "deep/node_modules/b.js", "content": "needle\n"})
	list := c.call("list_files", args{"name": "shop", "path": "deep", "recursive": true, "glob": "**/*.js"})
	if entries := list["entries"].([]any); len(entries) != 1 || entries[0].(args)["name"] != "src/a.js" || list["cut"] != false || fmt.Sprint(list["skipped"]) != "[node_modules]" {
		t.Errorf("list_files: %v", list)
	}
	found := c.call("search_files", args{"name": "shop", "path": "deep", "query": "needle", "case_insensitive": true})
	if got := fmt.Sprint(found["matches"]); got != "[map[line:2 path:src/a.js text:let Needle = 2]]" || found["files"] != 1.0 || found["cut"] != false {
		t.Errorf("search_files: %v", found)
	}
	with := args{"name": "shop", "path": "deep", "query": "^let", "regex": true, "limit": 1}
	first := c.result("search_files", with)
	cursor, _ := first.StructuredContent.(args)["cursor"].(string)
	if words := text(first); cursor == "" || !strings.Contains(words, "src/a.js:1: let a = 1\n") || !strings.Contains(words, "cursor \""+cursor+"\"") || !strings.Contains(words, "left out: node_modules") {
		t.Errorf("search_files that is cut: %s", words)
	}
	with["cursor"] = cursor
	if got := c.call("search_files", with); fmt.Sprint(got["matches"]) != "[map[line:2 path:src/a.js text:let Needle = 2]]" {
		t.Errorf("search_files that goes on: %v", got)
	}
	if words := c.refused("search_files", args{"name": "shop", "query": "a(?=b)", "regex": true}); !strings.Contains(words, "RE2") {
		t.Errorf("a look-ahead: %s", words)
	}
	// More than one answer holds.
	c.call("write_file", args{"name": "shop", "path": "deep/long", "content": strings.Repeat("long "+strings.Repeat("x", 280)+"\n", 600)})
	lines := 0
	with = args{"name": "shop", "path": "deep", "query": "long", "limit": 1000}
	for answers := 1; ; answers++ {
		got := c.call("search_files", with)
		lines += len(got["matches"].([]any))
		if with["cursor"] = got["cursor"]; got["cut"] != true {
			if lines != 600 || answers < 2 {
				t.Errorf("%d lines in %d answers", lines, answers)
			}
			break
		}
	}
	c.call("delete_file", args{"name": "shop", "path": "deep", "recursive": true})
}

func walkChanges(t *testing.T, c *client) {
	c.call("write_file", args{"name": "shop", "path": "text", "content": "one\ntwo\ntwo\n"})
	edited := c.call("edit_file", args{"name": "shop", "path": "text", "old": "two", "new": "2", "all": true})
	if edited["path"] != "/home/pod/app/text" || edited["bytes"] != 8.0 || edited["replaced"] != 2.0 || fmt.Sprint(edited["lines"]) != "[2 3]" {
		t.Errorf("edit_file: %v", edited)
	}
	if words := c.refused("edit_file", args{"name": "shop", "path": "text", "old": "2", "new": "two"}); !strings.Contains(words, "found 2 times") || !strings.Contains(words, "on lines 2, 3") {
		t.Errorf("edit_file of two places: %s", words)
	}
	c.call("write_file", args{"name": "shop", "path": "old/a", "content": "abc"})
	got := c.call("move_file", args{"name": "shop", "from": "old/a", "to": "new/b"})
	if got["from"] != "old/a" || got["path"] != "/home/pod/app/new/b" || got["type"] != "file" {
		t.Errorf("move_file: %v", got)
	}
	c.call("write_file", args{"name": "shop", "path": "old/a", "content": "other"})
	if words := c.refused("move_file", args{"name": "shop", "from": "old/a", "to": "new/b"}); !strings.Contains(words, "set overwrite") {
		t.Errorf("move_file over a file: %s", words)
	}
	c.call("move_file", args{"name": "shop", "from": "old/a", "to": "new/b", "overwrite": true})
	if got := c.call("read_file", args{"name": "shop", "path": "new/b"}); got["content"] != "other" {
		t.Errorf("after the second move: %v", got)
	}
	if words := c.refused("delete_file", args{"name": "shop", "path": "new"}); !strings.Contains(words, "set recursive") {
		t.Errorf("delete_file of a folder: %s", words)
	}
	if got := c.call("delete_file", args{"name": "shop", "path": "new", "recursive": true}); got["path"] != "/home/pod/app/new" || got["type"] != "dir" {
		t.Errorf("delete_file: %v", got)
	}
	if words := c.refused("delete_file", args{"name": "shop", "path": ".", "recursive": true}); !strings.HasPrefix(words, "path not allowed") {
		t.Errorf("delete_file of the app folder: %s", words)
	}
}

func managePod(t *testing.T, c *client) {
	for _, step := range []struct{ action, status string }{{"restart", "running"}, {"reload", "running"}, {"stop", "stopped"}, {"start", "running"}} {
		got := c.call("manage_pod", args{"name": "shop", "action": step.action})
		if pod, _ := got["pod"].(args); pod["status"] != step.status || got["deleted"] != false {
			t.Errorf("%s: %v", step.action, got)
		}
	}
	pod := c.call("get_pod", args{"name": "shop"})
	if pod["port"] != 8080.0 || pod["memory_limit_bytes"] != float64(256<<20) || pod["command"] == nil || pod["created"] == nil {
		t.Errorf("get_pod: %v", pod)
	}
	if got := c.call("manage_pod", args{"name": "shop", "action": "delete", "confirm": "shop"}); got["deleted"] != true || got["pod"] != nil {
		t.Errorf("delete: %v", got)
	}
	if words := c.refused("get_pod", args{"name": "shop"}); !strings.HasPrefix(words, "pod not found: ") {
		t.Errorf("after delete: %s", words)
	}
}

// A model sees names, descriptions and schemas and nothing else, so all of them
// are there, and every answer fits the schema that was promised.
func TestToolDeclarations(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.pod("shop")
	c := b.connect("ann", modern)
	for _, name := range []string{"old", "from", "edited"} {
		c.call("write_file", args{"name": "shop", "path": "/home/pod/" + name, "content": "x"})
	}
	job := c.call("exec_command", args{"name": "shop", "command": "echo a", "background": true})["job"].(args)["job"]
	list, err := c.ListTools(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, tool := range list.Tools {
		names = append(names, tool.Name)
		checkDeclaration(t, tool)
		if _, ok := examples[tool.Name]; ok {
			fits(t, tool, c.call(tool.Name, c.example(tool.Name, job)))
		} else {
			t.Errorf("%s has no example", tool.Name)
		}
	}
	if !slices.Equal(names, toolNames) {
		t.Errorf("the tools are %q", names)
	}
}

// examples are calls that work while there is a pod shop.
var examples = map[string]args{
	"list_pods": nil, "list_presets": nil, "list_plans": nil, "list_regions": nil,
	"get_pod":         {"name": "shop"},
	"create_pod":      {"name": "second", "preset": "command"},
	"manage_pod":      {"name": "shop", "action": "restart"},
	"exec_command":    {"name": "shop", "command": "echo a; kill -9 $$"},
	"write_file":      {"name": "shop", "path": "x", "content": "x"},
	"read_file":       {"name": "shop", "path": "index.html"},
	"list_files":      {"name": "shop"},
	"get_logs":        {"name": "shop"},
	"create_upload":   {"name": "shop", "path": "big.bin", "bytes": 10},
	"create_download": {"name": "shop", "path": "/home/pod/edited"},
	"set_env":         {"name": "shop", "set": args{"TOKEN": "x"}},
	"edit_file":       {"name": "shop", "path": "/home/pod/edited", "old": "x", "new": "y"},
	"delete_file":     {"name": "shop", "path": "/home/pod/old"},
	"deploy":          {"name": "shop", "files": args{"index.html": "one"}, "binary_files": args{"a.bin": "AAEC"}},
	"list_deploys":    {"name": "shop"},
	"rollback":        {"name": "shop"},
	"list_jobs":       {"name": "shop"},
	"get_job":         {"name": "shop", "job": "the one that the test started"},
	"stop_job":        {"name": "shop", "job": "the one that the test started"},
	"search_files":    {"name": "shop", "query": "html"},
	"move_file":       {"name": "shop", "from": "/home/pod/from", "to": "/home/pod/to"},

	"snapshot_pod": {"name": "shop", "note": "mine"}, "list_snapshots": {"name": "shop"},
	"restore_snapshot": {"name": "shop", "snapshot": "the one that the test took"},
	"delete_snapshot":  {"name": "shop", "snapshot": "the one that the test took"},
	"clone_pod":        {"name": "shop", "new_name": "copy"},
	"resize_pod":       {"name": "shop", "plan": "medium"},
}

// example is a call of a tool that works, with a job and a snapshot that are there.
func (c *client) example(tool string, job any) args {
	with := maps.Clone(examples[tool])
	if with["job"] != nil {
		with["job"] = job
	}
	if with["snapshot"] != nil {
		list := c.call("list_snapshots", args{"name": "shop"})["snapshots"].([]any)
		with["snapshot"] = list[0].(args)["id"]
	}
	return with
}

// openWorld are the tools that run what is in a pod.
var openWorld = []string{"clone_pod", "deploy", "exec_command", "manage_pod", "resize_pod", "restore_snapshot", "rollback", "set_env"}

func checkDeclaration(t *testing.T, tool *sdk.Tool) {
	t.Helper()
	if tool.Title == "" || len(tool.Description) < 40 || !strings.Contains(tool.Description, "pods:") {
		t.Errorf("%s: title %q, description %q", tool.Name, tool.Title, tool.Description)
	}
	a := tool.Annotations
	if a == nil || a.OpenWorldHint == nil || *a.OpenWorldHint != slices.Contains(openWorld, tool.Name) || a.ReadOnlyHint == (a.DestructiveHint != nil) {
		t.Errorf("%s: annotations %+v", tool.Name, a)
	}
	input, ok := tool.InputSchema.(args)
	if !ok || input["additionalProperties"] != false {
		t.Fatalf("%s: input schema %v", tool.Name, tool.InputSchema)
	}
	properties, _ := input["properties"].(args)
	for name, p := range properties {
		if p.(args)["description"] == "" || p.(args)["description"] == nil {
			t.Errorf("%s: %s is not described", tool.Name, name)
		}
	}
}

func fits(t *testing.T, tool *sdk.Tool, got any) {
	t.Helper()
	var schema jsonschema.Schema
	remarshal(t, tool.OutputSchema, &schema)
	resolved, err := schema.Resolve(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := resolved.Validate(got); err != nil {
		t.Errorf("%s: the answer is not what the schema promises: %v", tool.Name, err)
	}
}

// Two people at once, each in a team of their own: nobody ever acts as the
// other, whatever the interleaving.
func TestActorsStayApart(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.person("bob")
	var all sync.WaitGroup
	for _, name := range []string{"ann", "bob"} {
		for _, era := range eras {
			c := b.connect(name, era)
			for range 3 {
				all.Go(func() {
					for range 15 {
						res, err := c.CallTool(t.Context(), &sdk.CallToolParams{Name: "list_pods", Arguments: args{}})
						if err != nil {
							t.Error(err)
							return
						}
						if slug := res.StructuredContent.(args)["team"].(args)["slug"]; slug != name {
							t.Errorf("%s acts for team %v", name, slug)
						}
					}
				})
			}
		}
	}
	all.Wait()
}
