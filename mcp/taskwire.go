package mcp

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"podgate/internal/authz"
)

// This file is the wire of the extension io.modelcontextprotocol/tasks of
// revision 2026-07-28 (SEP-2663), of which the SDK knows nothing.

const (
	tasksExtension = "io.modelcontextprotocol/tasks"
	tasksRevision  = "2026-07-28" // the first that has it
)

// taskState is a task on the wire: alone as the answer of tasks/get, and with
// the result type «task» in place of the answer of a call.
type taskState struct {
	sdk.ResultBase
	ResultType string          `json:"resultType"`
	ID         string          `json:"taskId"`
	Status     string          `json:"status"`
	Message    string          `json:"statusMessage,omitempty"`
	Created    time.Time       `json:"createdAt"`
	Updated    time.Time       `json:"lastUpdatedAt"`
	TTL        int64           `json:"ttlMs"` // from Created
	Poll       int64           `json:"pollIntervalMs"`
	Result     json.RawMessage `json:"result,omitempty"`
	Fault      *jsonrpc.Error  `json:"error,omitempty"`
}

type taskParams struct {
	sdk.ParamsBase
	ID string `json:"taskId"`
}

// taskAck answers tasks/update and tasks/cancel.
type taskAck struct {
	sdk.ResultBase
	ResultType string `json:"resultType"`
}

// acknowledged is made anew for each request: the SDK adds to it.
func acknowledged() sdk.Result { return &taskAck{ResultType: "complete"} }

// taskMethods are what clients ask of tasks.
var taskMethods = []string{"tasks/get", "tasks/update", "tasks/cancel"}

// addTaskMethods adds taskMethods.
func (e *endpoint) addTaskMethods(s *sdk.Server) {
	for i, do := range []func(*task) sdk.Result{
		func(t *task) sdk.Result { return t.look() },
		func(*task) sdk.Result { return acknowledged() }, // nothing was asked for, so nothing is taken
		func(t *task) sdk.Result { t.stop(); return acknowledged() },
	} {
		method := taskMethods[i]
		err := sdk.AddReceivingCustomMethod(s, method, func(ctx context.Context, _ *sdk.ServerSession, p *taskParams) (sdk.Result, error) {
			switch {
			case p == nil || !stateless(p.Meta):
				return nil, &jsonrpc.Error{Code: jsonrpc.CodeMethodNotFound, Message: fmt.Sprintf("method not found: %q", method)}
			case !declaresTasks(p.Meta):
				return nil, missingTasks()
			}
			t := e.tasks.find(ownerOf(ctx), p.ID)
			if t == nil {
				return nil, &jsonrpc.Error{Code: jsonrpc.CodeInvalidParams, Message: "Task not found: this connection has none of that id. Results are kept for an hour; list_jobs and get_pod show what goes on in a pod"}
			}
			return do(t), nil
		})
		if err != nil {
			panic("mcp: " + err.Error()) // of our own declaration
		}
	}
}

// stateless reports whether a request is of a revision that has extensions: one
// that says its version itself.
func stateless(meta sdk.Meta) bool {
	version, _ := meta[sdk.MetaKeyProtocolVersion].(string) // of what is none the SDK takes no notice
	return version != ""
}

// declaresTasks reports whether a request says that its client knows tasks.
func declaresTasks(meta sdk.Meta) bool {
	capabilities, _ := meta[sdk.MetaKeyClientCapabilities].(map[string]any)
	extensions, _ := capabilities["extensions"].(map[string]any)
	_, ok := extensions[tasksExtension]
	return ok && stateless(meta)
}

// missingTasks is the refusal of a request that only makes sense with the
// extension.
func missingTasks() error {
	data, err := json.Marshal(map[string]any{"requiredCapabilities": map[string]any{"extensions": map[string]any{tasksExtension: struct{}{}}}})
	if err != nil {
		return err
	}
	return &jsonrpc.Error{Code: sdk.CodeMissingRequiredClientCapabilities, Message: "Missing required client capability: " + tasksExtension, Data: data}
}

// checkTaskHeader refuses a request about a task whose Mcp-Name is not that task:
// what lies between has sent it here by that name (Tasks extension, «Routing
// Headers»). The SDK knows the names of tools only.
func checkTaskHeader(r *http.Request, calls []call) error {
	for _, c := range calls {
		about := slices.Contains(taskMethods, c.Method) && r.Header.Get("Mcp-Protocol-Version") >= tasksRevision
		if about && r.Header.Get("Mcp-Name") != c.Params.TaskID {
			return &rpcError{Code: sdk.CodeHeaderMismatch, Message: "the header Mcp-Name must be the taskId of the request", id: c.ID}
		}
	}
	return nil
}

// callerKey carries the HTTP request to a call that may outlive it.
type callerKey struct{}

// caller is an HTTP request as a task needs it.
type caller struct {
	request *http.Request
	came    authz.Actor
	calls   []call
	plain   *plainCall   // what it asks for, when that is plain
	form    string       // in which, while nobody knows whether the SDK lets that through
	release func()       // gives back what its body holds
	holders atomic.Int32 // of that: the request itself, and its tasks
}

// done says that one does not need the body any more.
func (c *caller) done() {
	if c.holders.Add(-1) == 0 {
		c.release()
	}
}

// withTasks lets the calls of clients that know tasks go on as one when they
// take long. Its place is next to the tools.
func (e *endpoint) withTasks(next sdk.MethodHandler) sdk.MethodHandler {
	return func(ctx context.Context, method string, r sdk.Request) (sdk.Result, error) {
		c, known := ctx.Value(callerKey{}).(*caller)
		if !known {
			return next(ctx, method, r)
		}
		if call, ok := r.(*sdk.CallToolRequest); ok && e.asTask[call.Params.Name] && declaresTasks(call.Params.Meta) {
			return e.callAsTask(ctx, c, func(ctx context.Context) (sdk.Result, error) { return next(ctx, method, r) })
		}
		if method == "subscriptions/listen" && c.wantsTasks() && !declaresTasks(r.GetParams().GetMeta()) {
			return nil, missingTasks()
		}
		result, err := next(ctx, method, r)
		if hello, ok := result.(*sdk.InitializeResult); ok && err == nil {
			hello.Capabilities.Extensions = nil // of a revision that has no tasks
		}
		return result, err
	}
}

// wantsTasks reports whether a subscription names tasks. That is granted to
// nobody, as the extension allows: clients look with tasks/get.
func (c *caller) wantsTasks() bool {
	for _, call := range c.calls {
		if len(call.Params.Notifications.TaskIDs) > 0 {
			return true
		}
	}
	return false
}

// callAsTask runs a call that goes on without its request: as long as what it may
// do is not taken away. A caller that leaves before it has heard of the task ends
// the call.
func (e *endpoint) callAsTask(ctx context.Context, c *caller, run func(context.Context) (sdk.Result, error)) (sdk.Result, error) {
	detached, cancel := context.WithTimeout(context.WithoutCancel(ctx), taskTime)
	t := e.tasks.begin(ownerOf(ctx), cancel)
	if t == nil {
		cancel()
		return run(ctx)
	}
	c.holders.Add(1)
	var result sdk.Result
	var err error
	go func() {
		defer c.done()
		watched, stop := e.cfg.Watch(c.request.WithContext(detached), func(now authz.Actor) error { return e.mayGoOn(c.came, now, c.calls) })
		defer stop()
		running := context.WithValue(watched.Context(), requestKey{}, watched.Context())
		result, err = run(context.WithValue(running, taskKey{}, t))
		e.tasks.end(running, t, result, err)
	}()
	grace := time.NewTimer(e.grace)
	defer grace.Stop()
	select {
	case <-t.done:
		e.tasks.remove(t)
		return result, err
	case <-ctx.Done():
	case <-requestOf(ctx).Done():
	case <-grace.C:
		state := t.look()
		state.ResultType = "task"
		state.Result, state.Fault = nil, nil
		return state, nil
	}
	t.cancel()
	<-t.done
	e.tasks.remove(t)
	return result, err
}

// requestOf returns the context of the HTTP request that a call came with.
func requestOf(ctx context.Context) context.Context {
	if request, ok := ctx.Value(requestKey{}).(context.Context); ok {
		return request
	}
	return ctx
}
