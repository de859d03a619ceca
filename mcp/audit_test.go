package mcp_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"podgate/pods"
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
	c.call("edit_file", args{"name": "shop", "path": "a-secret-path", "old": "a-secret-content", "new": "another-secret"})
	c.refused("edit_file", args{"name": "shop", "path": "a-secret-path", "old": "a-secret-word", "new": "another-secret"})
	c.call("move_file", args{"name": "shop", "from": "a-secret-path", "to": "a-secret-name"})
	c.call("delete_file", args{"name": "shop", "path": "a-secret-name"})
	c.call("create_upload", args{"name": "shop", "path": "a-secret-path"})
	c.call("set_env", args{"name": "shop", "set": args{"A_SECRET_NAME": "a-secret-value"}})
	c.refused("set_env", args{"name": "shop", "set": args{"PORT": "a-secret-value"}})
	c.call("exec_command", args{"name": "shop", "command": "echo a-secret-word"})
	c.refused("exec_command", args{"name": "absent", "command": "echo a-secret-word"})
	c.refused("manage_pod", args{"name": "shop", "action": "delete", "confirm": "a-secret-word"})
	c.refused("manage_pod", args{"name": "A secret in place of a name", "action": "stop"})
	c.refused("exec_command", args{"name": "shop", "command": "echo a-secret-word; sleep 60", "timeout": 1})
	// What was tried and did not work was not refused.
	if _, err := b.pods.Create(t.Context(), b.actor("ann"), pods.CreateRequest{Name: "app", Preset: "command"}, nil); err != nil {
		t.Fatal(err)
	}
	c.call("write_file", args{"name": "app", "path": "Procfile", "content": "web: exit 0\nrelease: echo a-secret-word; exit 9\n"})
	c.refused("manage_pod", args{"name": "app", "action": "reload"})
	c.call("manage_pod", args{"name": "shop", "action": "stop"})
	b.fake.FailStart(errors.New("a-secret-word"))
	c.refused("manage_pod", args{"name": "shop", "action": "start"})
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
		"create_upload shop: ok", "delete_file shop: ok", "edit_file shop: ok", "edit_file shop: refused", "exec_command absent: refused", "exec_command shop: ok", "exec_command shop: timed out", "manage_pod delete shop: refused",
		"manage_pod reload app: failed", "manage_pod start shop: failed", "manage_pod stop shop: ok", "manage_pod stop: refused",
		"move_file shop: ok", "set_env shop: ok", "set_env shop: refused",
		"write_file app: ok", "write_file shop: ok",
	}
	if !slices.Equal(got, want) {
		t.Errorf("the entries are %q, want %q", got, want)
	}
	if all := fmt.Sprint(page) + b.log.String(); strings.Contains(strings.ToLower(all), "secret") {
		t.Errorf("an argument was kept: %s", all)
	}
}
