package mcp_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"podgate/store"
)

// Tools that change something stand in the audit list with pod and outcome and
// without any other argument; tools that only read do not.
func TestToolsAreAudited(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.pod("shop")
	c := b.connect("ann", modern)
	c.call("list_pods", nil)
	c.call("get_pod", args{"name": "shop"})
	c.call("write_file", args{"name": "shop", "path": "a-secret-path", "content": "a-secret-content"})
	c.call("exec_command", args{"name": "shop", "command": "echo a-secret-word"})
	c.refused("exec_command", args{"name": "absent", "command": "echo a-secret-word"})
	c.refused("manage_pod", args{"name": "shop", "action": "delete", "confirm": "a-secret-word"})
	c.refused("manage_pod", args{"name": "A secret in place of a name", "action": "stop"})
	page, err := b.history.AuditList(store.AuditQuery{Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range page.Entries {
		got = append(got, e.Object+": "+e.Outcome)
		if e.Action != "tool" || e.Actor != b.actor("ann").User || e.TeamName != "ann" || e.ActorName != "ann@example.com" || e.Addr != "127.0.0.1" || e.Stranger {
			t.Errorf("%+v", e)
		}
	}
	slices.Sort(got)
	want := []string{
		"exec_command absent: refused", "exec_command shop: ok", "manage_pod delete shop: refused", "manage_pod stop: refused", "write_file shop: ok",
	}
	if !slices.Equal(got, want) {
		t.Errorf("the entries are %q, want %q", got, want)
	}
	if all := fmt.Sprint(page); strings.Contains(all, "secret") {
		t.Errorf("an argument was kept: %s", all)
	}
}
