package mcp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"github.com/google/jsonschema-go/jsonschema"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"podgate/internal/authz"
	"podgate/internal/text"
	"podgate/internal/trace"
	"podgate/internal/web"
	"podgate/pods"
	"podgate/store"
)

// A tool is one tool's declaration.
type tool struct {
	name, title, description string
	action                   authz.Action // decides the scope; pods checks the finer ones
	hints                    sdk.ToolAnnotations
	task                     bool                           // a call that takes long may go on as a task
	open                     bool                           // runs what is in a pod, which reaches whatever its network lets it
	later                    bool                           // listed after those that were there first, in the order of declaration
	refine                   func(input *jsonschema.Schema) // bounds and enumerations; may be nil
}

// request is what a tool's function gets beside its arguments.
type request struct {
	actor    authz.Actor
	progress pods.Progress
}

// answer is what a tool's function gives: the text for reading and the same
// facts as data.
type answer[Out any] struct {
	text   string
	blocks []string // more text, each a block of its own
	data   Out
	failed error // not nil: text and data tell of a failure, and this is for the audit list

	made *reply // not nil: the whole answer, made before
}

// reply encodes the answer.
func (a answer[Out]) reply() (*reply, error) {
	if a.made != nil {
		return a.made, nil
	}
	data, err := json.Marshal(a.data)
	if err != nil {
		return nil, err
	}
	return &reply{text: a.text, blocks: a.blocks, data: data, failed: a.failed != nil}, nil
}

// add declares a tool on the server. fn's error becomes a tool error. A wrong
// declaration panics, which every start of the server would meet.
//
// The SDK's own generic AddTool would check every answer against its schema
// with two more rounds of JSON, and word refused arguments for programmers.
func add[In, Out any](e *endpoint, s *sdk.Server, t tool, fn func(context.Context, request, In) (answer[Out], error)) {
	scope, ok := authz.Needs(t.action)
	if !ok {
		panic(fmt.Sprintf("mcp: tool %s has the unknown action %q", t.name, t.action))
	}
	e.tools[t.name] = t.action
	e.asTask[t.name] = t.task
	if t.later {
		e.later = append(e.later, t.name)
	}
	input, output := schemaOf[In](t.name), schemaOf[Out](t.name)
	if t.refine != nil {
		t.refine(input)
	}
	arguments, err := newArguments(input)
	if err != nil {
		panic(fmt.Sprintf("mcp: tool %s: %v", t.name, err))
	}
	hints := t.hints
	hints.OpenWorldHint = &t.open
	def := &sdk.Tool{
		Name: t.name, Title: t.title, Description: t.description + " Needs the scope " + string(scope) + ".",
		Annotations: &hints, InputSchema: input, OutputSchema: output,
	}
	call := func(ctx context.Context, given json.RawMessage, progress pods.Progress) reply {
		began := time.Now()
		ctx, span := trace.Start(ctx, "tool "+t.name, trace.Internal)
		out, err := run(ctx, arguments, given, progress, fn)
		if err != nil && revoked(ctx) {
			out, err = nil, authz.ErrRevoked // whatever it was that noticed first
		}
		span.End(err)
		e.audit(ctx, t, given, err)
		if e.cfg.Called != nil {
			e.cfg.Called(t.name, outcomeOf(err), time.Since(began))
		}
		if out == nil {
			return reply{text: e.public(ctx, t.name, err), failed: true}
		}
		return *out
	}
	e.declared[t.name] = call
	s.AddTool(def, func(ctx context.Context, req *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
		if c, known := ctx.Value(callerKey{}).(*caller); known {
			e.forms.learn(c.form)
		}
		ctx, cancel := withCaller(ctx)
		defer cancel()
		return call(ctx, req.Params.Arguments, progressOf(ctx, req)).result(), nil
	})
}

func schemaOf[T any](tool string) *jsonschema.Schema {
	schema, err := jsonschema.For[T](nil)
	if err != nil {
		panic(fmt.Sprintf("mcp: tool %s: %v", tool, err))
	}
	return schema
}

// run is one call of a tool. A reply that comes with an error tells of it in its
// own way. It makes an error of a panic: the SDK runs tools on goroutines of its
// own, where one would end the server.
func run[In, Out any](ctx context.Context, arguments *arguments, given json.RawMessage, progress pods.Progress, fn func(context.Context, request, In) (answer[Out], error)) (_ *reply, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	var in In
	if err := arguments.read(given, &in); err != nil {
		return nil, err
	}
	a, err := fn(ctx, request{actor: authz.FromContext(ctx), progress: progress}, in)
	if err != nil {
		return nil, err
	}
	out, err := a.reply()
	if err != nil {
		return nil, err
	}
	return out, a.failed
}

// public returns what the model may see of an error: the words of package pods
// as they are, and of everything else only that it went wrong and the id under
// which the log tells more.
func (e *endpoint) public(ctx context.Context, tool string, err error) string {
	var denied *authz.Denied
	var shown *toolError
	switch {
	case errors.As(err, &shown):
		return shown.text
	case pods.IsPublic(err):
		start, _ := text.Start(text.Valid(err.Error()), maxRefusal)
		return start
	case errors.Is(err, store.ErrDiskFull):
		e.cfg.Log.ErrorContext(ctx, "tool failed", "tool", tool, "error", err)
		return web.DiskFull
	case errors.Is(err, store.ErrDiskFailed):
		e.cfg.Log.ErrorContext(ctx, "tool failed", "tool", tool, "error", err)
		return web.DiskFailed
	case errors.As(err, &denied) && denied.Limit == authz.LimitReadOnly:
		return fmt.Sprintf("this connection is read-only: it may not %s. Asking for more permissions does not help; the person who connected you can change it on podgate's page of connections", denied.Action)
	case errors.As(err, &denied) && denied.Limit == authz.LimitPolicy:
		return fmt.Sprintf("no connection of this team may %s: its owners do not allow it. Asking for more permissions does not help; an owner of the team can change it on podgate's page of the team", denied.Action)
	case errors.As(err, &denied) && denied.Limit == authz.LimitRole:
		return fmt.Sprintf("this connection may not %s, because the person who connected you only looks in this team (viewer). Asking for more permissions does not help; an owner of the team can give that person another role", denied.Action)
	case errors.As(err, &denied) && denied.Scope != "" && slices.Contains(authz.FromContext(ctx).Taken, denied.Scope):
		return e.taken(denied)
	case errors.As(err, &denied) && denied.Scope != "":
		return fmt.Sprintf("insufficient scope: this connection may not %s; it needs %s. Reconnect and leave that permission ticked", denied.Action, denied.Scope)
	case errors.As(err, &denied):
		return "not a member of this team: reconnect and choose a team that you belong to"
	case errors.Is(err, authz.ErrRevoked):
		return "revoked: the access was taken away while the call ran"
	case errors.Is(err, context.Canceled):
		return "cancelled: the caller went away before the answer"
	case errors.Is(err, context.DeadlineExceeded):
		return "timed out: the pod did not answer in time. Try again, or look at get_pod and get_logs"
	}
	id := web.RequestID(ctx)
	e.cfg.Log.ErrorContext(ctx, "tool failed", "tool", tool, "id", id, "error", err)
	return fmt.Sprintf("internal error: something went wrong on the podgate server. Try again; if it happens again, give its administrator the request id %s", id)
}

// maxRefusal bounds the words of a refusal, in characters: some repeat what
// they refuse.
const maxRefusal = 10_000

// toolError is a refusal that this package words itself.
type toolError struct{ text string }

func (t *toolError) Error() string { return t.text }

var readOnly = sdk.ToolAnnotations{ReadOnlyHint: true, IdempotentHint: true}

// changes returns hints for a tool that changes things.
func changes(destroys, idempotent bool) sdk.ToolAnnotations {
	return sdk.ToolAnnotations{DestructiveHint: &destroys, IdempotentHint: idempotent}
}

// Helpers that narrow an inferred schema. A property that does not exist is a
// mistake in a declaration, which every start of the server would meet.

func enum(s *jsonschema.Schema, property string, values ...any) {
	s.Properties[property].Enum = values
}

func between(s *jsonschema.Schema, property string, low, high float64) {
	s.Properties[property].Minimum, s.Properties[property].Maximum = &low, &high
}

func longest(s *jsonschema.Schema, property string, high int) {
	s.Properties[property].MaxLength = &high
}

func notEmpty(s *jsonschema.Schema, property string) {
	shortest := 1
	s.Properties[property].MinLength = &shortest
}

const podNamePattern = `^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`
