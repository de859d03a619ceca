package mcp_test

import (
	"strings"
	"testing"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

// What a command reads is text of the call, as it is, and bounded.
func TestStdin(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.pod("shop")
	c := b.connect("ann", modern)
	for _, in := range []string{"", "one line", "é\n\t\"two\"\n"} {
		got := c.call("exec_command", args{"name": "shop", "command": "cat; echo; echo end", "stdin": in})
		if got["stdout"] != in+"\nend\n" || got["exit_code"] != 0.0 {
			t.Errorf("%q: %v", in, got)
		}
	}
	most := strings.Repeat("x", 1<<20)
	if got := c.call("exec_command", args{"name": "shop", "command": "wc -c", "stdin": most}); strings.TrimSpace(got["stdout"].(string)) != "1048576" {
		t.Errorf("the most: %v", got)
	}
	if words := c.refused("exec_command", args{"name": "shop", "command": "touch ran", "stdin": most + "x"}); !strings.HasPrefix(words, "bad input: the input has 1048577 bytes") {
		t.Errorf("more: %s", words)
	}
	if words := c.refused("read_file", args{"name": "shop", "path": "ran"}); !strings.HasPrefix(words, "file not found") {
		t.Errorf("the refused command: %s", words)
	}
}

// A command whose time is up fails, and its answer has what one that ended has,
// as text and as data.
func TestTimedOutCommand(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.pod("shop")
	for _, era := range eras {
		c := b.connect("ann", era)
		res := c.result("exec_command", args{"name": "shop", "command": "echo to out; echo to err >&2; sleep 60", "timeout": 1})
		got, _ := res.StructuredContent.(args)
		if !res.IsError || got["timed_out"] != true || got["exit_code"] != 137.0 || got["signal"] != "SIGKILL" || got["stdout"] != "to out\n" || got["stderr"] != "to err\n" || got["seconds"].(float64) < 1 {
			t.Errorf("%s: %v %v", era, res.IsError, got)
		}
		for _, words := range []string{"command timed out: ", "exit code 137 (SIGKILL) after 1.", "--- stdout\nto out\n", "--- stderr\nto err\n"} {
			if !strings.Contains(text(res), words) {
				t.Errorf("%s: no %q in %s", era, words, text(res))
			}
		}
		fits(t, b.tool("exec_command"), res.StructuredContent)
	}
}

// tool is a tool's declaration.
func (b *bench) tool(name string) *sdk.Tool {
	b.Helper()
	list, err := b.connect("ann", modern).ListTools(b.Context(), nil)
	if err != nil {
		b.Fatal(err)
	}
	for _, tool := range list.Tools {
		if tool.Name == name {
			return tool
		}
	}
	b.Fatalf("there is no tool %s", name)
	return nil
}
