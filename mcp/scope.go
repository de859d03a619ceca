package mcp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"podgate/internal/authz"
	"podgate/internal/text"
	"podgate/internal/web"
	"podgate/store"
)

// missing returns all scopes that the tools called in a body need, when the
// actor lacks one of them and asking for it would help, and nil otherwise. What a
// read-only connection may not do no scope allows, and what its person took away
// no client gets by asking: such a call goes on to a refusal in words, because a
// client that is told of a scope asks for it over and over. It only makes a refusal friendlier: package pods enforces the rules.
func (e *endpoint) missing(a authz.Actor, calls []call) []store.Scope {
	if hasAll(a, authz.Scopes()) {
		return nil
	}
	var needed []store.Scope
	for _, c := range calls {
		action, ok := e.tools[c.Params.Name]
		if !ok || c.Method != "tools/call" {
			continue
		}
		scope, _ := authz.Needs(action)
		var denied *authz.Denied
		hopeless := errors.As(a.Allow(action, a.Team.ID), &denied) && (denied.Scope == "" || slices.Contains(a.Taken, denied.Scope))
		if !hopeless && !slices.Contains(needed, scope) {
			needed = append(needed, scope)
		}
	}
	if hasAll(a, needed) {
		return nil
	}
	return needed
}

func hasAll(a authz.Actor, scopes []store.Scope) bool {
	for _, s := range scopes {
		if !slices.Contains(a.Scopes, s) {
			return false
		}
	}
	return true
}

// call is what is looked at of a JSON-RPC message before the SDK reads it.
type call struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params struct {
		Name          string `json:"name"`
		TaskID        string `json:"taskId"`
		Notifications struct {
			TaskIDs []string `json:"taskIds"`
		} `json:"notifications"`
	} `json:"params"`
}

// maxBatch bounds a batch (revision 2025-03-26), whose calls run side by side.
const maxBatch = 20

// peek returns the messages in a body, one or a batch of them. What is JSON but
// no message is left to the SDK to refuse; what is not one JSON value, or too
// many, is refused here. The SDK would take the first of two values.
func peek(body []byte) ([]call, error) {
	calls := make([]call, 1)
	var into any = &calls[0]
	if trimmed := bytes.TrimLeft(body, " \t\r\n"); len(trimmed) > 0 && trimmed[0] == '[' {
		into = &calls
	}
	err := json.Unmarshal(body, into)
	var wrongType *json.UnmarshalTypeError
	switch {
	case err != nil && !errors.As(err, &wrongType):
		return nil, &rpcError{Code: codeParse, Message: "the body is not one JSON value"}
	case len(calls) > maxBatch:
		return nil, &rpcError{Code: codeInvalidRequest, Message: fmt.Sprintf("a batch may hold at most %d messages", maxBatch)}
	}
	if err := exactNames(body); err != nil {
		return nil, err
	}
	return calls, nil
}

// exactNames refuses messages with a member whose name is only nearly one of call's.
// encoding/json would take it for that one, and the SDK does not: they would see two
// different calls, and a watch would ask about the wrong one.
func exactNames(body []byte) error {
	var messages []map[string]json.RawMessage
	if json.Unmarshal(body, &messages) != nil {
		messages = make([]map[string]json.RawMessage, 1)
		_ = json.Unmarshal(body, &messages[0]) // what is no object has no members
	}
	for _, message := range messages {
		within := message
		for _, level := range []struct {
			names []string
			next  string
		}{{[]string{"id", "method", "params"}, "params"}, {[]string{"name", "taskId", "notifications"}, "notifications"}, {[]string{"taskIds"}, ""}} {
			for name := range within {
				for _, known := range level.names {
					if name != known && strings.EqualFold(name, known) {
						return &rpcError{Code: codeInvalidRequest, Message: fmt.Sprintf("a message has «%s» where it should have «%s»", text.Short(name, 20), known)}
					}
				}
			}
			next := within[level.next]
			within = nil
			_ = json.Unmarshal(next, &within) // likewise
		}
	}
	return nil
}

// The codes of JSON-RPC 2.0, section 5.1, that are used here. The last is of those that
// are left to servers.
const (
	codeParse          = -32700
	codeInvalidRequest = -32600
	codeBusy           = -32000
)

// rpcError is a refusal of a whole body.
type rpcError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`

	id json.RawMessage // of the request, if there is one
}

func (e *rpcError) Error() string { return e.Message }

// write answers with the error.
func (e *rpcError) write(w http.ResponseWriter, status int) {
	web.WriteJSON(w, status, struct {
		Version string    `json:"jsonrpc"`
		ID      any       `json:"id"`
		Error   *rpcError `json:"error"`
	}{"2.0", e.id, e})
}
