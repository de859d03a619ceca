package mcp

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"

	"podgate/history"
	"podgate/internal/authz"
	"podgate/pods"
	"podgate/store"
)

type visitorKey struct{}

// withVisitor notes where a request came from when one of its calls will stand
// in the audit list.
func (e *endpoint) withVisitor(r *http.Request, calls []call) *http.Request {
	for _, c := range calls {
		if e.changes(c.Params.Name) {
			return r.WithContext(context.WithValue(r.Context(), visitorKey{}, e.cfg.History.Visitor(r)))
		}
	}
	return r
}

// changes reports whether there is a tool of that name that does more than
// read.
func (e *endpoint) changes(tool string) bool {
	action, ok := e.tools[tool]
	scope, _ := authz.Needs(action)
	return ok && scope != authz.ScopeRead
}

// audit records a call of a tool that changes something: which tool and pod and
// how it ended, never the other arguments.
func (e *endpoint) audit(ctx context.Context, t tool, arguments json.RawMessage, failed error) {
	if !e.changes(t.name) {
		return
	}
	a := authz.FromContext(ctx)
	from, _ := ctx.Value(visitorKey{}).(history.Visitor)
	name := "" // that of the user
	if a.IsCommandLine() {
		name = history.CommandLine
	}
	e.cfg.History.Audit(from, store.AuditEntry{
		Action: history.AuditTool, ActorName: name, Actor: a.By(), Grant: a.Grant, Team: a.Team.ID, TeamName: a.Team.Slug,
		Object: objectOf(t.name, arguments), Outcome: outcomeOf(failed), Pod: e.cfg.Pods.IDIn(a.Team.ID, podNamed(arguments)),
	})
}

// objectOf is the tool, what it was told to do in one word, and the pod, with a
// snapshot and a new pod where there is one.
func objectOf(tool string, arguments json.RawMessage) string {
	var in struct {
		Name   string `json:"name"`
		Action string `json:"action"`
		To     string `json:"new_name"`
		Of     string `json:"snapshot"`
	}
	// What cannot be read was refused for it.
	_ = json.Unmarshal(arguments, &in)
	text := tool
	if isWord(in.Action) {
		text += " " + in.Action
	}
	for _, word := range []string{in.Name, in.Of, in.To} {
		if isWord(word) {
			text += " " + word
		}
	}
	return text
}

// podNamed is the pod that the arguments name.
func podNamed(arguments json.RawMessage) string {
	var in struct {
		Name string `json:"name"`
	}
	_ = json.Unmarshal(arguments, &in) // what cannot be read was refused for it
	return in.Name
}

// isWord accepts what a pod's name or an action could be. Anything else was
// refused, and may be something that was never meant to be kept.
func isWord(s string) bool {
	for _, c := range s {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return s != "" && len(s) <= 63
}

// failures are the errors with which package pods tried what it was asked for.
// Its others are refusals.
var failures = []error{pods.ErrUnavailable, pods.ErrNotStarted, pods.ErrAppFailed, pods.ErrNotAnswering}

// outcomeOf is how a call ended in a word. The words of an error repeat
// arguments, so they are not kept.
func outcomeOf(err error) string {
	is := func(target error) bool { return errors.Is(err, target) }
	var denied *authz.Denied
	var shown *toolError
	switch {
	case err == nil:
		return store.AuditOK
	case errors.As(err, &denied):
		return "denied"
	case is(authz.ErrRevoked):
		return "revoked"
	case is(pods.ErrTimedOut):
		return "timed out"
	case is(pods.ErrInterrupted):
		return "interrupted"
	case slices.ContainsFunc(failures, is):
		return "failed"
	case errors.As(err, &shown), pods.IsPublic(err):
		return "refused"
	case is(context.Canceled):
		return "cancelled"
	case is(context.DeadlineExceeded):
		return "timed out"
	}
	return "failed"
}
