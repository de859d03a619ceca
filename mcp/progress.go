package mcp

import (
	"context"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"podgate/internal/text"
	"podgate/pods"
)

const (
	progressEvery = 250 * time.Millisecond // at most one notification in this time
	progressChars = 500                    // of the newest output in one
	progressBytes = 4 * progressChars      // that they may take
)

// reporter sends what a long call does as progress notifications. A pod that
// prints without end costs four short messages a second.
type reporter struct {
	ctx   context.Context
	req   *sdk.CallToolRequest
	token any
	steps float64
	sent  time.Time
	fresh []byte // the end of what came since
}

func newReporter(ctx context.Context, req *sdk.CallToolRequest) *reporter {
	return &reporter{ctx: ctx, req: req, token: req.Params.GetProgressToken()}
}

// progress returns the function to hand to package pods; nil when the client
// did not ask for progress.
func (r *reporter) progress() pods.Progress {
	if r.token == nil {
		return nil
	}
	return r.report
}

func (r *reporter) report(_ string, data []byte) {
	r.fresh = append(r.fresh, data[max(0, len(data)-progressBytes):]...)
	r.fresh = r.fresh[max(0, len(r.fresh)-progressBytes):]
	now := time.Now()
	if now.Sub(r.sent) < progressEvery {
		return
	}
	r.sent = now
	r.steps++
	message, _ := text.End(text.Valid(string(r.fresh)), progressChars)
	r.fresh = r.fresh[:0]
	// A client that cannot take it any more ends the request itself.
	_ = r.req.Session.NotifyProgress(r.ctx, &sdk.ProgressNotificationParams{ProgressToken: r.token, Progress: r.steps, Message: message})
}
