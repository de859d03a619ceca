package mcp

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"podgate/store"
)

// finish ends a task with a text.
func (ts *tasks) finish(t *task, text string) {
	ts.end(context.Background(), t, &sdk.CallToolResult{Content: []sdk.Content{&sdk.TextContent{Text: text}}}, nil)
}

func ownedBy(grant, team string) owner {
	return owner{"ann", store.GrantID(grant), store.TeamID(team)}
}

// A connection and a team have so many tasks and no more, and what one has is no
// reason to give up what another one has.
func TestTasksAreBounded(t *testing.T) {
	t.Parallel()
	ts := &tasks{}
	first := ownedBy("first", "team")
	var running []*task
	for range maxRunningTasks {
		running = append(running, ts.begin(first, func() {}))
	}
	if ts.begin(first, func() {}) != nil {
		t.Error("more run than may")
	}
	oldest := running[0]
	for _, t := range running {
		ts.finish(t, "x")
	}
	for range maxTasks - maxRunningTasks {
		ts.finish(ts.begin(first, func() {}), "x")
	}
	if len(ts.all) != maxTasks || ts.find(first, oldest.id) == nil {
		t.Fatalf("%d tasks", len(ts.all))
	}
	ts.finish(ts.begin(first, func() {}), "x")
	if len(ts.all) != maxTasks || ts.find(first, oldest.id) != nil {
		t.Errorf("%d tasks, with the oldest", len(ts.all))
	}
	for range maxTeamTasks - maxTasks {
		ts.finish(ts.begin(ownedBy("second", "team"), func() {}), "x")
	}
	if ts.begin(ownedBy("third", "team"), func() {}) != nil {
		t.Error("the team has more than it may")
	}
	if len(ts.all) != maxTeamTasks {
		t.Errorf("%d tasks", len(ts.all))
	}
	if other := ts.begin(ownedBy("fourth", "other"), func() {}); other == nil {
		t.Error("another team has no place")
	} else {
		ts.finish(other, "x")
	}
	ts.close()
}

// What results hold is counted, and given back with them.
func TestResultsOfTasksAreBounded(t *testing.T) {
	t.Parallel()
	ts := &tasks{}
	large, of := ts.begin(ownedBy("a", "a"), func() {}), ownedBy("b", "b")
	ts.finish(large, strings.Repeat("x", maxTaskBytes))
	if ts.begin(of, func() {}) != nil {
		t.Error("results hold more than they may")
	}
	ts.remove(large)
	if ts.bytes != 0 {
		t.Errorf("%d bytes are still counted", ts.bytes)
	}
	ts.remove(large)
	next := ts.begin(of, func() {})
	if next == nil || ts.bytes != 0 {
		t.Errorf("no place in %d bytes", ts.bytes)
	}
	ts.finish(next, "x")
	ts.close()
}

// A result is kept for an hour after its end, as its time to live says.
func TestTasksAreForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ts := &tasks{}
		of := ownedBy("a", "a")
		one := ts.begin(of, func() {})
		time.Sleep(10 * time.Minute)
		ts.finish(one, "x")
		if got := one.look(); got.TTL != (10*time.Minute+keepTask).Milliseconds() || !got.Updated.Equal(time.Now()) {
			t.Errorf("%+v", got)
		}
		time.Sleep(keepTask - time.Second)
		synctest.Wait()
		if ts.find(of, one.id) == nil {
			t.Error("gone before its time")
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if ts.find(of, one.id) != nil || ts.bytes != 0 {
			t.Error("there after its time")
		}
		ts.close()
	})
}

// What goes wrong below the tools is a failed task, without what the log tells.
func TestTaskFails(t *testing.T) {
	t.Parallel()
	ts := &tasks{}
	one := ts.begin(ownedBy("a", "a"), func() {})
	ts.end(context.Background(), one, nil, errors.New("secret"))
	if got := one.look(); got.Status != taskFailed || got.Fault == nil || got.Fault.Code != -32603 || strings.Contains(got.Fault.Message+got.Message, "secret") || got.Result != nil {
		t.Errorf("%+v", got)
	}
	ts.close()
}

// What a body holds is given back once its request and all its tasks are done.
func TestBodyIsHeldForTasks(t *testing.T) {
	t.Parallel()
	released := 0
	c := &caller{release: func() { released++ }}
	c.holders.Store(2)
	c.done()
	if released != 0 {
		t.Error("given back while the task runs")
	}
	c.done()
	if released != 1 {
		t.Errorf("given back %d times", released)
	}
}

// Progress of a task is its newest output, bounded, and fit to show.
func TestTaskMessage(t *testing.T) {
	t.Parallel()
	ts := &tasks{}
	one := ts.begin(ownedBy("a", "a"), func() {})
	one.report("", []byte("first\n"))
	one.report("", []byte("second\x00\n"))
	if got := one.look().Message; got != "first\nsecond\uFFFD\n" {
		t.Errorf("%q", got)
	}
	one.report("", []byte(strings.Repeat("é", 1<<20)))
	if got := one.look().Message; len([]rune(got)) != progressChars {
		t.Errorf("%d characters", len([]rune(got)))
	}
	ts.finish(one, "x")
	ts.close()
}

// Any _meta can be looked at.
func FuzzDeclaresTasks(f *testing.F) {
	f.Add([]byte(`{"params": {"taskId": "x", "notifications": {"taskIds": ["a"]}, "_meta": {"io.modelcontextprotocol/clientCapabilities": {"extensions": {"io.modelcontextprotocol/tasks": {}}}}}}`))
	f.Add([]byte(`{"params": {"notifications": {"taskIds": 3}, "_meta": {"io.modelcontextprotocol/clientCapabilities": {"extensions": []}}}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		calls, err := peek(body)
		if err == nil && len(calls) > maxBatch {
			t.Error("too many")
		}
		(&caller{calls: calls}).wantsTasks()
		var m struct {
			Params struct {
				Meta sdk.Meta `json:"_meta"`
			} `json:"params"`
		}
		if json.Unmarshal(body, &m) == nil {
			declaresTasks(m.Params.Meta)
		}
	})
}
