package mcp_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"podgate/internal/authz"
	"podgate/mcp"
	"podgate/store"
)

// knowsTasks is the _meta of a client that declares the Tasks extension.
func knowsTasks() args {
	return args{"io.modelcontextprotocol/clientCapabilities": args{"extensions": args{"io.modelcontextprotocol/tasks": args{}}}}
}

// reply is a JSON-RPC answer.
type reply struct {
	status int
	Result args `json:"result"`
	Error  struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
		Data    args   `json:"data"`
	} `json:"error"`
}

// ask posts one request of the newest revision.
func (b *bench) ask(ctx context.Context, token, method string, params args) (reply, error) {
	body, header := message(modern, method, params)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, b.url, bytes.NewReader(body))
	if err != nil {
		return reply{}, err
	}
	req.Header = header
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return reply{}, err
	}
	a := reply{status: resp.StatusCode}
	return a, json.Unmarshal(raw, &a)
}

// asks is ask for a request that must be answered.
func (b *bench) asks(token, method string, params args) reply {
	b.Helper()
	a, err := b.ask(b.Context(), token, method, params)
	if err != nil {
		b.Fatalf("%s: %v", method, err)
	}
	return a
}

// callAsTask calls a tool as a client that knows tasks.
func (b *bench) callAsTask(token, tool string, with args) args {
	b.Helper()
	return b.asks(token, "tools/call", args{"name": tool, "arguments": with, "_meta": knowsTasks()}).Result
}

// ofTask asks something of a task.
func (b *bench) ofTask(token, method string, id any) reply {
	b.Helper()
	return b.asks(token, method, args{"taskId": id, "_meta": knowsTasks()})
}

// untilTask looks at a task until it no longer works.
func (b *bench) untilTask(token string, id any) args {
	b.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if got := b.ofTask(token, "tasks/get", id).Result; got["status"] != "working" {
			return got
		}
	}
	b.Fatal("the task does not end")
	return nil
}

// A call that takes long goes on as a task: it shows what it prints, and in the
// end what the call would have answered.
func TestTask(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.pod("shop")
	c := b.connect("ann", modern)
	c.call("exec_command", args{"name": "shop", "command": "mkfifo go"})
	begun := b.callAsTask("ann", "exec_command", args{"name": "shop", "command": "echo begun; read x <go; echo done; exit 3"})
	id := begun["taskId"]
	created, err := time.Parse(time.RFC3339, fmt.Sprint(begun["createdAt"]))
	if begun["resultType"] != "task" || begun["status"] != "working" || id == nil || begun["content"] != nil || begun["ttlMs"] != 7_200_000.0 || begun["pollIntervalMs"] != 2_000.0 || err != nil || time.Since(created) > time.Minute {
		t.Fatalf("begun: %v, %v", begun, err)
	}
	working := b.ofTask("ann", "tasks/get", id).Result
	if working["resultType"] != "complete" || working["status"] != "working" || working["statusMessage"] != "begun\n" || working["result"] != nil || working["createdAt"] != begun["createdAt"] {
		t.Errorf("while it works: %v", working)
	}
	if ack := b.ofTask("ann", "tasks/update", id); ack.status != http.StatusOK || ack.Result["resultType"] != "complete" {
		t.Errorf("tasks/update: %+v", ack)
	}
	c.call("exec_command", args{"name": "shop", "command": "echo > go"})
	ended := b.untilTask("ann", id)
	result, _ := ended["result"].(args)
	data, _ := result["structuredContent"].(args)
	if ended["status"] != "completed" || ended["resultType"] != "complete" || data["exit_code"] != 3.0 || data["stdout"] != "begun\ndone\n" || result["content"] == nil || ended["error"] != nil {
		t.Errorf("at the end: %v", ended)
	}
	// Once it has ended a cancel changes nothing.
	b.ofTask("ann", "tasks/cancel", id)
	if again := b.ofTask("ann", "tasks/get", id).Result; again["status"] != "completed" {
		t.Errorf("after a late cancel: %v", again)
	}
}

// A deploy and a reload, which install what an app needs, are tasks as commands are.
func TestTasksThatInstall(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	c := b.connect("ann", modern)
	c.call("create_pod", args{"name": "shop", "preset": "command"})
	const procfile = "release: echo begun; read x <$HOME/go; echo broken; exit 1\nweb: true\n"
	c.call("exec_command", args{"name": "shop", "command": "mkfifo $HOME/go"})
	c.call("write_file", args{"name": "shop", "path": "Procfile", "content": procfile})
	for _, call := range []struct {
		tool string
		with args
	}{
		{"manage_pod", args{"name": "shop", "action": "reload"}},
		{"deploy", args{"name": "shop", "files": args{"Procfile": procfile}}},
	} {
		begun := b.callAsTask("ann", call.tool, call.with)
		if begun["resultType"] != "task" || begun["status"] != "working" || begun["content"] != nil {
			t.Fatalf("%s: %v", call.tool, begun)
		}
		c.call("exec_command", args{"name": "shop", "command": "echo >$HOME/go"})
		ended := b.untilTask("ann", begun["taskId"])
		result, _ := ended["result"].(args)
		if ended["status"] != "completed" || result["isError"] != true || !strings.Contains(fmt.Sprint(result["content"]), "broken") {
			t.Errorf("%s: %v", call.tool, ended)
		}
	}
}

// What fails as a tool fails is a completed task with that failure.
func TestTaskOfAFailure(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.pod("shop")
	begun := b.callAsTask("ann", "exec_command", args{"name": "shop", "command": "echo so far; sleep 60", "timeout": 2})
	ended := b.untilTask("ann", begun["taskId"])
	result, _ := ended["result"].(args)
	if data, _ := result["structuredContent"].(args); ended["status"] != "completed" || result["isError"] != true || data["timed_out"] != true || data["stdout"] != "so far\n" {
		t.Errorf("%v", ended)
	}
	if page, err := b.history.AuditList(store.AuditQuery{Limit: 10}); err != nil || len(page.Entries) == 0 || page.Entries[0].Outcome != "timed out" {
		t.Errorf("the audit list: %+v %v", page.Entries, err)
	}
}

// A quick call, a tool that is never long, and a client that does not know tasks
// are answered as always.
func TestCallsThatAreNoTasks(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.pod("shop")
	if got := b.callAsTask("ann", "exec_command", args{"name": "shop", "command": "echo quick"}); got["resultType"] != "complete" || got["structuredContent"].(args)["stdout"] != "quick\n" {
		t.Errorf("a quick call: %v", got)
	}
	id := b.connect("ann", modern).call("exec_command", args{"name": "shop", "command": "sleep 1.5", "background": true})["job"].(args)["job"]
	if got := b.callAsTask("ann", "get_job", args{"name": "shop", "job": id, "wait": 20}); got["resultType"] != "complete" || got["structuredContent"].(args)["state"] != "exited" {
		t.Errorf("another tool: %v", got)
	}
	long := args{"name": "exec_command", "arguments": args{"name": "shop", "command": "sleep 1.5; echo slow"}}
	if got := b.asks("ann", "tools/call", long); got.Result["resultType"] != "complete" || got.Result["structuredContent"].(args)["stdout"] != "slow\n" {
		t.Errorf("without the extension: %+v", got)
	}
}

// For everybody but the connection that made it, a task is one that never was.
func TestTasksBelongToTheirConnection(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.pod("shop")
	b.person("bob")
	other := b.actor("ann")
	other.Grant = "another"
	b.as("another of ann's", other)
	id := b.callAsTask("ann", "exec_command", args{"name": "shop", "command": "sleep 1000"})["taskId"]
	for _, token := range []string{"bob", "another of ann's"} {
		for _, method := range []string{"tasks/get", "tasks/update", "tasks/cancel"} {
			foreign, absent := b.ofTask(token, method, id), b.ofTask(token, method, "absent")
			if foreign.status != http.StatusBadRequest || foreign.Error.Code != -32602 || !strings.HasPrefix(foreign.Error.Message, "Task not found") || fmt.Sprint(foreign) != fmt.Sprint(absent) {
				t.Errorf("%s of %s: %+v, of an absent one %+v", method, token, foreign, absent)
			}
		}
	}
	if got := b.ofTask("ann", "tasks/get", id).Result; got["status"] != "working" {
		t.Errorf("afterwards: %v", got)
	}
}

// alive is a command that holds a pipe open with all that it starts.
const alive = "exec 3>alive; sleep 1000 & sleep 1000"

// pipe makes the pipe for alive in a new pod. What it returns opens the pipe,
// which waits for the command, and returns a channel that is closed when
// everything that the command started is gone.
func (b *bench) pipe() (open func() <-chan struct{}) {
	b.Helper()
	path := filepath.Join(b.fake.Dir(b.pod("shop").ID), "home", "app", "alive")
	if err := syscall.Mkfifo(path, 0o666); err != nil {
		b.Fatal(err)
	}
	return func() <-chan struct{} {
		gone := make(chan struct{})
		f, err := os.Open(path)
		if err != nil {
			b.Fatal(err)
		}
		go func() {
			defer close(gone)
			defer f.Close()
			_, _ = io.ReadAll(f)
		}()
		return gone
	}
}

// Cancelling a task kills what it runs.
func TestTaskIsCancelled(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	open := b.pipe()
	id := b.callAsTask("ann", "exec_command", args{"name": "shop", "command": alive})["taskId"]
	gone := open()
	if mcp.Held(b.endpoint) == 0 {
		t.Error("what the call holds does not count any more")
	}
	if ack := b.ofTask("ann", "tasks/cancel", id); ack.status != http.StatusOK || ack.Result["resultType"] != "complete" || ack.Result["status"] != nil {
		t.Errorf("the answer: %+v", ack)
	}
	<-gone
	if got := b.untilTask("ann", id); got["status"] != "cancelled" || got["result"] != nil || got["error"] != nil {
		t.Errorf("%v", got)
	}
}

// A client that leaves before it could hear of the task ends the call.
func TestCallerLeavesBeforeTheTask(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	mcp.SetGrace(b.endpoint, time.Minute)
	open := b.pipe()
	ctx, leave := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := b.ask(ctx, "ann", "tools/call", args{"name": "exec_command", "arguments": args{"name": "shop", "command": alive}, "_meta": knowsTasks()})
		ended <- err
	}()
	gone := open()
	leave()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("answered: %v", err)
	}
	<-gone
}

// Close ends the tasks that run, and nothing is left of any.
func TestCloseEndsTasks(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	open := b.pipe()
	id := b.callAsTask("ann", "exec_command", args{"name": "shop", "command": alive})["taskId"]
	gone := open()
	if err := b.endpoint.Close(); err != nil {
		t.Fatal(err)
	}
	<-gone
	if got := b.ofTask("ann", "tasks/get", id); got.Error.Code != -32602 {
		t.Errorf("%+v", got)
	}
	if got := b.callAsTask("ann", "exec_command", args{"name": "shop", "command": "sleep 1.2; echo late"}); got["resultType"] != "complete" {
		t.Errorf("a task began after the end: %v", got)
	}
}

// A task ends, and leaves nothing, when the access of its connection is taken
// away, in each of the ways in which that happens.
func TestTakenAwayInMidTask(t *testing.T) {
	t.Parallel()
	for name := range (&guarded{TB: t}).takes() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGuarded(t)
			r := g.runAs(modern, args{"name": "exec_command", "arguments": args{"name": "shop", "command": command}, "_meta": knowsTasks()})
			begun := <-r.answer
			_, after, found := strings.Cut(begun, `"taskId":"`)
			if !found {
				t.Fatalf("no task: %s", begun)
			}
			id, _, _ := strings.Cut(after, `"`)
			if err := g.takes()[name](); err != nil {
				t.Fatal(err)
			}
			if left, err := io.ReadAll(r.alive); err != nil || len(left) > 0 {
				t.Errorf("%q, %v", left, err)
			}
			g.audited("revoked")
			got := g.send(modern, "tasks/get", args{"taskId": id, "_meta": knowsTasks()})
			if !strings.HasPrefix(got, "401 ") && !strings.Contains(got, "Task not found") {
				t.Errorf("the task afterwards: %s", got)
			}
		})
	}
}

// What a connection keeps its right to goes on, as a task too.
func TestWhatLeavesATaskAlone(t *testing.T) {
	t.Parallel()
	g := newGuarded(t)
	r := g.runAs(modern, args{"name": "exec_command", "arguments": args{"name": "shop", "command": command}, "_meta": knowsTasks()})
	_, after, _ := strings.Cut(<-r.answer, `"taskId":"`)
	id, _, _ := strings.Cut(after, `"`)
	if _, err := g.db.LimitGrant(g.grant.ID, g.grant.User, authz.Scopes(), store.Limits{Prefix: "s"}, g.world.Now); err != nil {
		t.Fatal(err)
	}
	if got := g.send(modern, "tasks/get", args{"taskId": id, "_meta": knowsTasks()}); !strings.Contains(got, `"status":"working"`) {
		t.Errorf("%s", got)
	}
}
