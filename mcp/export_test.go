package mcp

import (
	"net/http"
	"sync/atomic"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"podgate/internal/authz"
)

// referenceTasks are the tools of the conformance suite that become tasks.
var referenceTasks = []string{"slow_compute", "failing_job", "protocol_error_job"}

// SetGrace sets how long a call is awaited before it becomes a task.
func SetGrace(e Endpoint, d time.Duration) { e.(*endpoint).grace = d }

// Held is how many bytes count as held by bodies.
func Held(e Endpoint) int64 {
	b := &e.(*endpoint).bodies
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all
}

// Over is New over a server of the test's own, which has no tools of podgate's.
func Over(cfg Config, server *sdk.Server) http.Handler {
	e := &endpoint{cfg: cfg, tools: map[string]authz.Action{}, asTask: map[string]bool{}, grace: taskGrace}
	server.AddReceivingMiddleware(e.withTasks)
	e.addTaskMethods(server)
	for _, tool := range referenceTasks {
		e.asTask[tool] = true
	}
	e.over(server)
	return e
}

// LongWay counts what goes through the SDK. With only, all does.
func LongWay(e Endpoint, only bool) *atomic.Int64 {
	n := new(atomic.Int64)
	long := e.(*endpoint)
	next := long.plain
	long.plain = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n.Add(1)
		next.ServeHTTP(w, r)
	})
	if only {
		long.declared = nil
	}
	return n
}

// Forms is how many forms are known.
func Forms(e Endpoint) int {
	f := &e.(*endpoint).forms
	f.mu.RLock()
	defer f.mu.RUnlock()
	return len(f.known)
}

// MaxForms bounds Forms.
const MaxForms = maxForms
