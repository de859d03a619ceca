package mcp_test

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"strings"
	"testing"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"podgate/pods/wire"
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

// timesOut is an agent whose commands all write and then run out of time. That it is
// so is package agent's to try: a machine with much to do may need all of a short time
// to start a shell.
func timesOut(ctx context.Context, _ string, l net.Listener) error {
	mux := http.NewServeMux()
	says := func(path string, events ...wire.Event) {
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/x-ndjson")
			for _, e := range events {
				_ = json.NewEncoder(w).Encode(e) // who asked may be gone
			}
		})
	}
	says(wire.PathApp, wire.Event{State: &wire.State{App: wire.AppRunning, Port: 8080}})
	says(wire.PathExec, wire.Event{Stream: "stdout", Data: []byte("to out\n")}, wire.Event{Stream: "stderr", Data: []byte("to err\n")},
		wire.Event{Exit: &wire.Exit{Code: 137, Signal: "SIGKILL", TimedOut: true, Millis: 1234}})
	srv := &http.Server{Handler: mux}
	defer context.AfterFunc(ctx, func() { _ = srv.Close() })()
	_ = srv.Serve(l) // it ends with ctx
	return nil
}

// A command whose time is up fails, and its answer has what one that ended has,
// as text and as data.
func TestTimedOutCommand(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.fake.SetAgent(timesOut)
	b.pod("shop")
	for _, era := range eras {
		c := b.connect("ann", era)
		res := c.result("exec_command", args{"name": "shop", "command": "sleep 60", "timeout": 1})
		got, _ := res.StructuredContent.(args)
		if !res.IsError || got["timed_out"] != true || got["exit_code"] != 137.0 || got["signal"] != "SIGKILL" || got["stdout"] != "to out\n" || got["stderr"] != "to err\n" || got["seconds"] != 1.234 {
			t.Errorf("%s: %v %v", era, res.IsError, got)
		}
		for _, words := range []string{"command timed out: ", "exit code 137 (SIGKILL) after 1.2 s\n", "--- stdout\nto out\n", "--- stderr\nto err\n"} {
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
