package mcp_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"podgate/internal/authz"
	"podgate/store"
)

// A command in the background is started, looked at, waited for and stopped, in
// both eras.
func TestJobTools(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.pod("shop")
	for _, era := range eras {
		c := b.connect("ann", era)
		c.call("exec_command", args{"name": "shop", "command": "rm -f go; mkfifo go"})
		started := c.result("exec_command", args{"name": "shop", "command": "read x; echo \"$x é\"; read y <go; exit 3", "stdin": "in\n", "background": true})
		fits(t, b.tool("exec_command"), started.StructuredContent)
		job := started.StructuredContent.(args)["job"].(args)
		id, _ := job["job"].(string)
		if job["state"] != "running" || id == "" || !strings.Contains(text(started), "Job "+id+" runs") || started.StructuredContent.(args)["exit_code"] != nil {
			t.Fatalf("started: %v", started.StructuredContent)
		}
		at := args{"name": "shop", "job": id}
		var got args
		for got["output"] != "in é\n" {
			if got = c.call("get_job", at); got["state"] != "running" || got["exit_code"] != nil {
				t.Fatalf("while it runs: %v", got)
			}
			time.Sleep(5 * time.Millisecond)
		}
		c.call("exec_command", args{"name": "shop", "command": "echo > go"})
		got = c.call("get_job", args{"name": "shop", "job": id, "offset": 3, "wait": 60})
		if got["state"] != "exited" || got["exit_code"] != 3.0 || got["output"] != "é\n" || got["offset"] != 3.0 || got["next_offset"] != 6.0 || got["output_bytes"] != 6.0 {
			t.Errorf("at the end: %v", got)
		}
		if list := c.call("list_jobs", args{"name": "shop"})["jobs"].([]any); list[0].(args)["job"] != id {
			t.Errorf("list_jobs: %v", list)
		}
		second := c.call("exec_command", args{"name": "shop", "command": "sleep 1000", "background": true, "timeout": 86400})["job"].(args)["job"]
		stopped := c.call("stop_job", args{"name": "shop", "job": second})
		if stopped["state"] != "stopped" || stopped["reason"] == nil || stopped["signal"] != "SIGTERM" {
			t.Errorf("stop_job: %v", stopped)
		}
		if words := c.refused("get_job", args{"name": "shop", "job": "absent"}); !strings.HasPrefix(words, "job not found: ") {
			t.Errorf("no such job: %s", words)
		}
		if words := c.refused("exec_command", args{"name": "shop", "command": "true", "timeout": 281}); !strings.HasPrefix(words, "bad input: the timeout must be between 1 and 280 s, in the background 86400 s") {
			t.Errorf("too long: %s", words)
		}
		if words := c.refused("exec_command", args{"name": "shop", "command": "true", "background": "yes"}); !strings.Contains(words, "true or false") {
			t.Errorf("no flag: %s", words)
		}
	}
}

// A deploy and a reload in the background answer with a job, which says in text and in
// data what it is, and ends with stop_job.
func TestDeploysAreJobs(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.pod("shop")
	c := b.connect("ann", modern)
	slow := args{"Procfile": "release: echo installing; sleep 1000\nweb: exec sleep 1000\n"}
	res := c.result("deploy", args{"name": "shop", "preset": "command", "files": slow, "background": true})
	fits(t, b.tool("deploy"), res.StructuredContent)
	if got := res.StructuredContent.(args)["job"]; got != "deploy-1" || !strings.Contains(text(res), "as job deploy-1: get_job") {
		t.Fatalf("a deploy: %v\n%s", got, text(res))
	}
	at := args{"name": "shop", "job": "deploy-1"}
	var got args
	for got == nil || !strings.Contains(got["output"].(string), "installing\n") {
		if got = c.call("get_job", at); got["state"] != "running" || got["command"] != "deploy of 1 file" {
			t.Fatalf("while it goes on: %v", got)
		}
		time.Sleep(5 * time.Millisecond)
	}
	if list := c.call("list_jobs", args{"name": "shop"})["jobs"].([]any); len(list) != 1 || list[0].(args)["job"] != "deploy-1" {
		t.Errorf("list_jobs: %v", list)
	}
	if got := c.call("stop_job", at); got["state"] != "stopped" || got["exit_code"] != 1.0 || got["reason"] != "it was stopped with stop_job" {
		t.Errorf("stop_job: %v", got)
	}
	res = c.result("manage_pod", args{"name": "shop", "action": "reload", "background": true})
	fits(t, b.tool("manage_pod"), res.StructuredContent)
	if got := res.StructuredContent.(args)["job"]; got != "deploy-2" || !strings.Contains(text(res), "The reload of pod shop goes on as job deploy-2") {
		t.Errorf("a reload: %v\n%s", got, text(res))
	}
	if got := c.call("get_job", args{"name": "shop", "job": "deploy-2", "wait": 60}); got["state"] != "exited" || got["exit_code"] != 0.0 {
		t.Errorf("its end: %v", got)
	}
	if words := c.refused("manage_pod", args{"name": "shop", "action": "stop", "background": true}); !strings.Contains(words, "background is for reload") {
		t.Errorf("a stop in the background: %s", words)
	}
}

// What a job printed can be read on and on, with the characters whole, until all
// of it was read.
func TestJobOutputInParts(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.pod("shop")
	c := b.connect("ann", modern)
	const count = 60_000 // of 3 bytes, so that no bound of a part falls between two
	id := c.call("exec_command", args{"name": "shop", "command": fmt.Sprintf("printf x; yes € | head -n %d | tr -d '\\n'", count), "background": true})["job"].(args)["job"]
	got := c.call("get_job", args{"name": "shop", "job": id, "wait": 60})
	newest := got["output"].(string)
	if strings.Trim(newest, "€") != "" || got["offset"].(float64)+float64(len(newest)) != 1+3*count || got["next_offset"] != got["output_bytes"] {
		t.Errorf("the newest: %d bytes from %v, %.20q", len(newest), got["offset"], newest)
	}
	var whole strings.Builder
	for at := 0.0; at < 1+3*count; {
		part := c.call("get_job", args{"name": "shop", "job": id, "offset": at})
		if part["offset"] != at || part["next_offset"].(float64) <= at {
			t.Fatalf("from %v: %v to %v", at, part["offset"], part["next_offset"])
		}
		whole.WriteString(part["output"].(string))
		at = part["next_offset"].(float64)
	}
	if whole.String() != "x"+strings.Repeat("€", count) {
		t.Errorf("%d bytes in parts", whole.Len())
	}
}

// Output that is not kept any more is said to be missing.
func TestJobOutputThatIsGone(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.pod("shop")
	c := b.connect("ann", modern)
	id := c.call("exec_command", args{"name": "shop", "command": "head -c 3000000 /dev/zero | tr '\\0' x", "background": true})["job"].(args)["job"]
	c.call("get_job", args{"name": "shop", "job": id, "wait": 60})
	res := c.result("get_job", args{"name": "shop", "job": id, "offset": 1_000_000})
	got := res.StructuredContent.(args)
	if skipped := got["skipped_bytes"].(float64); skipped <= 0 || got["offset"] != 1_000_000+skipped || !strings.Contains(text(res), "are not kept any more") {
		t.Errorf("%v skipped, from %v", got["skipped_bytes"], got["offset"])
	}
}

// Jobs are the team's: another connection of it sees them, whoever started them
// may be gone; to start and stop one needs the scope for commands.
func TestJobsAreTheTeams(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.pod("shop")
	id := b.connect("ann", modern).call("exec_command", args{"name": "shop", "command": "sleep 1000", "background": true})["job"].(args)["job"]
	b.kept("reader", []store.Scope{authz.ScopeExec}, authz.ScopeRead)
	reader := b.connect("reader", modern)
	if got := reader.call("get_job", args{"name": "shop", "job": id}); got["state"] != "running" {
		t.Errorf("%v", got)
	}
	for tool, with := range map[string]args{"stop_job": {"name": "shop", "job": id}, "exec_command": {"name": "shop", "command": "true", "background": true}} {
		if words := reader.refused(tool, with); !strings.Contains(words, "pods:exec") {
			t.Errorf("%s: %s", tool, words)
		}
	}
	if list := reader.call("list_jobs", args{"name": "shop"})["jobs"].([]any); len(list) != 1 {
		t.Errorf("a refused call started a job: %v", list)
	}
	b.person("bob")
	if words := b.connect("bob", modern).refused("get_job", args{"name": "shop", "job": id}); !strings.HasPrefix(words, "pod not found: ") {
		t.Errorf("another team: %s", words)
	}
}
