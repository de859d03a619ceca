package main

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"podgate/internal/webtest"
)

// streamed begins a command with progress as events and returns its answer when
// the command has printed something.
func (c *connection) streamed(t testing.TB, pod, command string) *bufio.Reader {
	t.Helper()
	body := fmt.Sprintf(`{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "exec_command", "arguments": {"name": %q, "command": %q}, "_meta": {"progressToken": 1}}}`, pod, command)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.endpoint(), strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = http.Header{
		"Authorization": {"Bearer " + c.wire.token()}, "Content-Type": {"application/json"}, "Accept": {"application/json, text/event-stream"},
		"Mcp-Protocol-Version": {"2025-11-25"},
	}
	resp, err := c.wire.next.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	events := bufio.NewReader(resp.Body)
	for {
		line, err := events.ReadString('\n')
		if err != nil {
			t.Fatalf("%d, before the first progress: %v", resp.StatusCode, err)
		}
		if strings.Contains(line, "notifications/progress") {
			return events
		}
	}
}

// Revoking a connection breaks off the call that it has running, and in the
// sandbox everything dies that the call's command started: of the pipe that they
// hold open another connection reads the end.
func TestRevokedInMidCall(t *testing.T) {
	t.Parallel()
	srv := startServer(t)
	needSandbox(t, srv)
	ada := setUp(t, srv)
	c := connect(t, srv, ada, connectOptions{})
	c.call(t, "create_pod", args{"name": "shop", "preset": "static"})
	c.call(t, "exec_command", args{"name": "shop", "command": "mkfifo alive"})
	_, list, _ := srv.command("connections")
	id := strings.Fields(strings.Split(list, "\n")[1])[0]

	witness := connect(t, srv, ada, connectOptions{limits: webtest.Fields{"replace": {}}})
	end := make(chan string, 1)
	go func() {
		res, err := witness.CallTool(t.Context(), &sdk.CallToolParams{Name: "exec_command", Arguments: args{"name": "shop", "command": "cat alive"}})
		if err != nil {
			end <- err.Error()
			return
		}
		end <- textOf(res)
	}()
	events := c.streamed(t, "shop", "exec 3>alive; setsid sleep 1000 & echo on; sleep 1000")
	if code, out, errs := srv.command("connection", "revoke", id); code != exitDone {
		t.Fatalf("%d %s%s", code, out, errs)
	}
	if rest, err := io.ReadAll(events); err == nil {
		t.Errorf("the call was answered: %s", rest)
	}
	if got := <-end; !strings.HasPrefix(got, "exit code 0 ") {
		t.Errorf("the other connection: %s", got)
	}
	if !c.dead(t) {
		t.Error("the token still opens")
	}
}
