package main

import (
	"encoding/json"
	"strings"
	"testing"

	"podgate/control"
)

// Connections and the applications behind them are shown, narrowed, named, ended and
// kept out by commands while the server runs; each change counts for the next call and
// is noted.
func TestConnectionCommands(t *testing.T) {
	t.Parallel()
	srv := startServer(t)
	ada := setUp(t, srv)
	g := onMachine(t, srv)
	c := connect(t, srv, ada, connectOptions{})
	c.call(t, "list_pods", nil)
	var list []control.Connection
	if err := json.Unmarshal([]byte(g.must("connection list --json")), &list); err != nil || len(list) != 1 {
		t.Fatalf("%+v, %v", list, err)
	}
	id := string(list[0].ID)
	g.says("ada@example.com", "connection show "+id[:shownID])
	g.says("called My laptop", "connection nickname "+id, "My laptop")
	g.says(`"nickname": "My laptop"`, "connection nickname --json "+id, "My laptop")
	g.says("NICKNAME      My laptop", "connection show "+id)
	g.says("pods:read pods:write\n", "connection limit "+id+" --scope pods:read --scope pods:write --prefix web-")
	if words := c.refused(t, "create_pod", args{"name": "shop", "preset": "static"}); !strings.Contains(words, "web-") {
		t.Errorf("outside of the prefix: %s", words)
	}
	if got := c.call(t, "list_pods", nil)["limits"]; got == nil {
		t.Error("the connection does not hear of its limits")
	}
	g.says("LIMITS        -", "connection limit "+id+" --no-limits")
	g.says("read-only", "connection limit "+id+" --read-only")
	if code, out, _ := g.give("", "connection limit "+id+" --scope pods:exec"); code == exitDone && strings.Contains(out, "pods:exec") {
		t.Errorf("a right was given: %s", out)
	}

	var apps []control.App
	if err := json.Unmarshal([]byte(g.must("client list --json")), &apps); err != nil || len(apps) != 1 || apps[0].Connections != 1 || apps[0].Name != "End to end" {
		t.Fatalf("%+v, %v", apps, err)
	}
	client := string(apps[0].ID)
	g.says("Connections ended: 1", "client block "+client)
	if !c.dead(t) {
		t.Error("a blocked application goes on")
	}
	g.says("may connect again", "client unblock "+client)
	g.says(`"connections_ended": 0`, "client forget --json "+client)
	if got := g.must("client list --json"); got != "[]\n" {
		t.Errorf("afterwards: %s", got)
	}

	if page := ada.Open(srv.pages() + "/account"); page.HasButton("Sign in") {
		t.Fatal("she is signed out already")
	}
	g.says("Sessions of ada@example.com that ended: 1, connections: 0.", "user sign-out ada@example.com")
	if page := ada.Open(srv.pages() + "/account"); !page.HasButton("Sign in") {
		t.Errorf("after she was signed out: %s", page.Text())
	}

	var entries []control.Entry
	if err := json.Unmarshal([]byte(g.must("audit --json")), &entries); err != nil {
		t.Fatal(err)
	}
	noted := map[string]int{}
	for _, e := range entries {
		if e.Actor == "command line" {
			noted[string(e.Action)]++
			if e.Addr != "" {
				t.Errorf("a command has come from %q", e.Addr)
			}
		}
	}
	for _, action := range []string{"name_connection", "change_connection", "block_client", "revoke_connection", "unblock_client", "forget_client", "log_out_everywhere"} {
		if noted[action] == 0 {
			t.Errorf("%s is not noted", action)
		}
	}
}

// What commands do to pods comes from no address, and is of the pod's team.
func TestToolsByCommandAreNoted(t *testing.T) {
	t.Parallel()
	srv := startServer(t)
	setUp(t, srv)
	g := onMachine(t, srv)
	g.refuses("pod not found", "pod stop absent")
	var entries []control.Entry
	if err := json.Unmarshal([]byte(g.must("audit --json")), &entries); err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Action == "tool" {
			if e.Actor != "command line" || e.Addr != "" || e.Object != "manage_pod stop absent" || e.Outcome != "refused" || e.Team != "home" {
				t.Errorf("%+v", e)
			}
			return
		}
	}
	t.Errorf("nothing is noted: %+v", entries)
}
