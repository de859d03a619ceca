package mcp

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/jsonschema-go/jsonschema"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"podgate/internal/authz"
	"podgate/internal/web"
	"podgate/pods"
)

// A tool is one tool's declaration.
type tool struct {
	name, title, description string
	action                   authz.Action // decides the scope; pods checks the finer ones
	hints                    sdk.ToolAnnotations
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
}

// add declares a tool on the server. fn's error becomes a tool error.
func add[In, Out any](e *endpoint, s *sdk.Server, t tool, fn func(context.Context, request, In) (answer[Out], error)) {
	scope, ok := authz.Needs(t.action)
	if !ok {
		panic(fmt.Sprintf("mcp: tool %s has the unknown action %q", t.name, t.action))
	}
	e.tools[t.name] = scope
	input, err := jsonschema.For[In](nil)
	if err != nil {
		panic(fmt.Sprintf("mcp: tool %s: %v", t.name, err))
	}
	if t.refine != nil {
		t.refine(input)
	}
	hints := t.hints
	closed := false // a pod is all that a tool reaches
	hints.OpenWorldHint = &closed
	def := &sdk.Tool{Name: t.name, Title: t.title, Description: t.description + " Needs the scope " + string(scope) + ".", Annotations: &hints, InputSchema: input}
	sdk.AddTool(s, def, func(ctx context.Context, req *sdk.CallToolRequest, in In) (*sdk.CallToolResult, Out, error) {
		ctx, cancel := withCaller(ctx)
		defer cancel()
		p := newReporter(ctx, req)
		a, err := fn(ctx, request{actor: authz.FromContext(ctx), progress: p.progress()}, in)
		if err != nil {
			var none Out
			return nil, none, e.public(ctx, t.name, err)
		}
		return &sdk.CallToolResult{Content: blocks(a.text, a.blocks)}, a.data, nil
	})
}

func blocks(first string, more []string) []sdk.Content {
	content := []sdk.Content{&sdk.TextContent{Text: first}}
	for _, text := range more {
		content = append(content, &sdk.TextContent{Text: text})
	}
	return content
}

// public returns the error as the model may see it: the words of package pods
// as they are, and of everything else only that it went wrong and the id under
// which the log tells more.
func (e *endpoint) public(ctx context.Context, tool string, err error) error {
	var denied *authz.Denied
	var shown *toolError
	switch {
	case errors.As(err, &shown):
		return shown
	case pods.IsPublic(err):
		return errors.New(validText(err.Error()))
	case errors.As(err, &denied) && denied.Scope != "":
		return fmt.Errorf("insufficient scope: this connection may not %s; it needs %s. Reconnect and leave that permission ticked", denied.Action, denied.Scope)
	case errors.As(err, &denied):
		return errors.New("not a member of this team: reconnect and choose a team that you belong to")
	case errors.Is(err, context.Canceled):
		return errors.New("cancelled: the caller went away before the answer")
	case errors.Is(err, context.DeadlineExceeded):
		return errors.New("timed out: the pod did not answer in time. Try again, or look at get_pod and get_logs")
	}
	id := web.RequestID(ctx)
	e.cfg.Log.ErrorContext(ctx, "tool failed", "tool", tool, "id", id, "error", err)
	return fmt.Errorf("internal error: something went wrong on the podgate server. Try again; if it happens again, give its administrator the request id %s", id)
}

// toolError is an error that this package words itself.
type toolError struct{ text string }

func (t *toolError) Error() string { return t.text }

var (
	readOnly = sdk.ToolAnnotations{ReadOnlyHint: true, IdempotentHint: true}
)

// destructive returns hints for a tool that changes things.
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

const podNamePattern = `^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`
