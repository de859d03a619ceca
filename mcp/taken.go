package mcp

import (
	"context"
	"errors"
	"fmt"
	"slices"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"podgate/internal/authz"
)

// listWithoutTaken leaves out of the list of tools those whose scope the person
// keeps from the connection, and those that neither the person's role nor the
// team's policy allows: what is not there no model calls. A tool whose scope
// the client never asked for stays, because a client that steps up asks for it
// when its tool is called.
func (e *endpoint) listWithoutTaken(next sdk.MethodHandler) sdk.MethodHandler {
	return func(ctx context.Context, method string, r sdk.Request) (sdk.Result, error) {
		result, err := next(ctx, method, r)
		list, ok := result.(*sdk.ListToolsResult)
		if !ok || err != nil {
			return result, err
		}
		a := authz.FromContext(ctx)
		list.Tools = slices.DeleteFunc(slices.Clone(list.Tools), func(t *sdk.Tool) bool {
			scope, _ := authz.Needs(e.tools[t.Name])
			var denied *authz.Denied
			barred := errors.As(a.Allow(e.tools[t.Name], a.Team.ID), &denied) && (denied.Limit == authz.LimitRole || denied.Limit == authz.LimitPolicy)
			return barred || slices.Contains(a.Taken, scope)
		})
		return list, nil
	}
}

// listInOrder puts the tools that came later behind those that were there, which
// the SDK sorts by name: what models have cached of the list stays its beginning.
func (e *endpoint) listInOrder(next sdk.MethodHandler) sdk.MethodHandler {
	return func(ctx context.Context, method string, r sdk.Request) (sdk.Result, error) {
		result, err := next(ctx, method, r)
		if list, ok := result.(*sdk.ListToolsResult); ok && err == nil {
			list.Tools = slices.SortedStableFunc(slices.Values(list.Tools), func(a, b *sdk.Tool) int {
				return slices.Index(e.later, a.Name) - slices.Index(e.later, b.Name)
			})
		}
		return result, err
	}
}

// taken says who keeps a scope from the connection, and where that is changed.
func (e *endpoint) taken(d *authz.Denied) string {
	return fmt.Sprintf("this connection may not %s: the person who connected you took the permission %s away from it. Only that person can give it back, by connecting you again and leaving it ticked; podgate's page of connections (%s/connections) shows what the connection may do", d.Action, d.Scope, e.cfg.Issuer)
}
