package mcp

import (
	"bytes"
	"encoding/json"
	"slices"

	"podgate/internal/authz"
	"podgate/store"
)

// missing returns all scopes that the tool calls in body need, when the actor
// lacks one of them, and nil otherwise. A connection with every scope, the
// usual one, does not pay for the look.
func (e *endpoint) missing(a authz.Actor, body []byte) []store.Scope {
	if hasAll(a, authz.Scopes()) {
		return nil
	}
	var needed []store.Scope
	for _, name := range calledTools(body) {
		if scope, ok := e.tools[name]; ok && !slices.Contains(needed, scope) {
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

// call is what calledTools wants to know of a JSON-RPC message.
type call struct {
	Method string `json:"method"`
	Params struct {
		Name string `json:"name"`
	} `json:"params"`
}

// calledTools returns the names of the tools that a JSON-RPC message, or batch
// of them, calls. A body that is none of these is left to the SDK to refuse:
// this look only makes a refusal friendlier, package pods enforces it.
func calledTools(body []byte) []string {
	var calls []call
	if trimmed := bytes.TrimLeft(body, " \t\r\n"); len(trimmed) > 0 && trimmed[0] == '[' {
		if json.Unmarshal(body, &calls) != nil {
			return nil
		}
	} else {
		calls = make([]call, 1)
		if json.Unmarshal(body, &calls[0]) != nil {
			return nil
		}
	}
	var names []string
	for _, c := range calls {
		if c.Method == "tools/call" {
			names = append(names, c.Params.Name)
		}
	}
	return names
}
