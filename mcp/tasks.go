package mcp

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"podgate/internal/authz"
	"podgate/internal/text"
	"podgate/pods"
	"podgate/store"
)

const (
	// taskGrace is how long a call is awaited before its client gets a task in
	// place of an answer: a quick one costs no further requests.
	taskGrace = 500 * time.Millisecond
	taskTime  = time.Hour       // that one may run
	keepTask  = time.Hour       // after its end
	pollTask  = 2 * time.Second // between two looks at one, as is proposed to clients

	maxRunningTasks = 8        // of one connection
	maxTasks        = 32       // of one connection, with those that have ended
	maxTeamTasks    = 64       // of one team, likewise
	maxTaskBytes    = 64 << 20 // of all results that are kept
)

// The states of a task (Tasks extension, «Task Status»). No tool asks its caller
// for anything, so input_required is not among them.
const (
	taskWorking   = "working"
	taskCompleted = "completed"
	taskFailed    = "failed"
	taskCancelled = "cancelled"
)

// tasks are the calls whose clients do not wait for the answer. Where there is no
// place for one more, a call is answered as always.
type tasks struct {
	running sync.WaitGroup

	mu     sync.Mutex
	closed bool
	all    []*task // in the order of their beginnings
	bytes  int64   // of all results
}

// owner is whose a task is. For everybody else it does not exist.
type owner struct {
	user  store.UserID
	grant store.GrantID
	team  store.TeamID
}

func ownerOf(ctx context.Context) owner {
	a := authz.FromContext(ctx)
	return owner{a.User, a.Grant, a.Team.ID}
}

// task is one call while it runs and its result after that.
type task struct {
	id      string
	owner   owner
	cancel  context.CancelFunc
	done    chan struct{} // closed when the call is over
	created time.Time
	forget  *time.Timer // nil until the call is over

	mu        sync.Mutex
	status    string
	message   string // the newest output, or how the call failed
	updated   time.Time
	cancelled bool // its client asked for its end
	result    json.RawMessage
	fault     *jsonrpc.Error
}

// begin makes a task, or returns nil when there is no place for one more.
func (ts *tasks) begin(of owner, cancel context.CancelFunc) *task {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	running, own, team := 0, 0, 0
	var oldest *task // of those of this owner that have ended
	for _, t := range ts.all {
		if t.owner.team == of.team {
			team++
		}
		if t.owner != of {
			continue
		}
		own++
		if t.look().Status == taskWorking {
			running++
		} else if oldest == nil {
			oldest = t
		}
	}
	if own >= maxTasks && oldest != nil {
		ts.removeLocked(oldest)
		team--
	}
	if ts.closed || running >= maxRunningTasks || team >= maxTeamTasks || ts.bytes >= maxTaskBytes {
		return nil
	}
	now := time.Now()
	t := &task{id: rand.Text(), owner: of, cancel: cancel, done: make(chan struct{}), created: now, updated: now, status: taskWorking}
	ts.all = append(ts.all, t)
	ts.running.Add(1)
	return t
}

// find returns a task of an owner.
func (ts *tasks) find(of owner, id string) *task {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	for _, t := range ts.all {
		if t.owner == of && t.id == id {
			return t
		}
	}
	return nil
}

func (ts *tasks) remove(t *task) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	ts.removeLocked(t)
}

func (ts *tasks) removeLocked(t *task) {
	for i, o := range ts.all {
		if o == t {
			ts.all = append(ts.all[:i:i], ts.all[i+1:]...)
			ts.bytes -= int64(len(t.result))
		}
	}
	if t.forget != nil {
		t.forget.Stop()
	}
}

// end notes how the call of a task went. A result that came in spite of a wish to
// cancel is one; what was taken away leaves nothing.
func (ts *tasks) end(ctx context.Context, t *task, result sdk.Result, err error) {
	defer ts.running.Done()
	defer close(t.done)
	defer t.cancel()
	raw, failed := outcome(result, err)
	tool, _ := result.(*sdk.CallToolResult)
	ts.mu.Lock()
	defer ts.mu.Unlock()
	t.mu.Lock()
	t.updated = time.Now()
	switch {
	case t.cancelled && (failed != nil || tool != nil && tool.IsError):
		t.status, t.message = taskCancelled, "cancelled at the client's request"
	case failed != nil:
		t.status, t.message, t.fault = taskFailed, failed.Message, failed
	default:
		t.status, t.message, t.result = taskCompleted, "", raw
	}
	t.mu.Unlock()
	ts.bytes += int64(len(t.result))
	if ts.closed || revoked(ctx) {
		ts.removeLocked(t)
		return
	}
	t.forget = time.AfterFunc(keepTask, func() { ts.remove(t) })
}

// outcome is what a call came to, in the words of the protocol.
func outcome(result sdk.Result, err error) (json.RawMessage, *jsonrpc.Error) {
	if err == nil {
		raw, failed := json.Marshal(result)
		if failed == nil {
			return raw, nil
		}
		err = failed
	}
	var known *jsonrpc.Error
	if errors.As(err, &known) {
		return nil, known
	}
	return nil, &jsonrpc.Error{Code: jsonrpc.CodeInternalError, Message: "the call failed inside podgate; try again"}
}

// close ends all tasks and waits for that.
func (ts *tasks) close() {
	ts.mu.Lock()
	ts.closed = true
	for _, t := range ts.all {
		t.cancel()
		if t.forget != nil {
			t.forget.Stop()
		}
	}
	ts.mu.Unlock()
	ts.running.Wait()
}

// stop asks for the end of the call.
func (t *task) stop() {
	t.mu.Lock()
	t.cancelled = true
	t.mu.Unlock()
	t.cancel()
}

// report keeps the newest output for whoever looks at the task meanwhile.
func (t *task) report(_ string, data []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fresh := t.message + string(data[max(0, len(data)-progressBytes):])
	t.message, _ = text.End(text.Valid(fresh), progressChars)
	t.updated = time.Now()
}

// look returns the task as the protocol shows it.
func (t *task) look() *taskState {
	t.mu.Lock()
	defer t.mu.Unlock()
	lasts := taskTime + keepTask
	if t.status != taskWorking {
		lasts = t.updated.Sub(t.created) + keepTask
	}
	return &taskState{
		ResultType: "complete", ID: t.id, Status: t.status, Message: t.message,
		Created: t.created.UTC(), Updated: t.updated.UTC(), TTL: lasts.Milliseconds(), Poll: pollTask.Milliseconds(),
		Result: t.result, Fault: t.fault,
	}
}

type taskKey struct{}

// progressOf returns where a call's progress goes: to its task, or to the client
// that asked for it.
func progressOf(ctx context.Context, req *sdk.CallToolRequest) pods.Progress {
	if t, ok := ctx.Value(taskKey{}).(*task); ok {
		return t.report
	}
	return progressOfCall(ctx, req)
}
