package mcp

import (
	"context"
	"errors"
	"net/http"

	"podgate/internal/authz"
)

// mayGoOn decides what becomes of calls under way when their connection loses
// something: they end unless what is left allows them too. It does not look for
// the pods that they name: a prefix that is no part of the one they came with may
// be in the way of any.
func (e *endpoint) mayGoOn(came, now authz.Actor, calls []call) error {
	if !now.Sees(came.Bounds().Prefix) {
		return &authz.Denied{Action: authz.ReadPod, Limit: authz.LimitPrefix}
	}
	for _, c := range calls {
		action, ok := e.tools[c.Params.Name]
		if !ok || c.Method != "tools/call" {
			continue
		}
		if err := now.Allow(action, came.Team.ID); err != nil {
			return err
		}
	}
	return nil
}

// hangUp breaks the connection off in place of an answer when the access of the
// request was taken away: its client must not take what there is of one for whole,
// and hears why with its next request.
func hangUp(r *http.Request) {
	if errors.Is(context.Cause(r.Context()), authz.ErrRevoked) {
		panic(http.ErrAbortHandler)
	}
}
