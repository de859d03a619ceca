package mcp

import (
	"context"
	"fmt"
	"sync"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"podgate/internal/text"
	"podgate/pods"
)

const (
	progressEvery = 250 * time.Millisecond // at most one notification in this time
	progressLeast = 15 * time.Second       // and at least one in this
	progressChars = 500                    // of the newest output in one
	progressBytes = 4 * progressChars      // that they may take
)

// reporter sends what a long call does as progress notifications. A pod that
// prints without end costs four short messages a second.
type reporter struct {
	notify func(step float64, message string)

	mu    sync.Mutex
	steps float64
	sent  time.Time
	fresh []byte // the end of what came since
}

// progressOfCall returns the function to hand to package pods; nil when the client
// did not ask for progress. Until ctx ends, which it does with the call, a sign of
// life goes out when there is nothing else to tell: installs can be silent for long,
// and clients and proxies give up a call of which they hear nothing for a minute.
func progressOfCall(ctx context.Context, req *sdk.CallToolRequest) pods.Progress {
	token := req.Params.GetProgressToken()
	if token == nil {
		return nil
	}
	r := &reporter{notify: func(step float64, message string) {
		// A client that cannot take it any more ends the request itself.
		_ = req.Session.NotifyProgress(ctx, &sdk.ProgressNotificationParams{ProgressToken: token, Progress: step, Message: message})
	}}
	go r.keepAlive(ctx)
	return r.report
}

func (r *reporter) report(_ string, data []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fresh = append(r.fresh, data[max(0, len(data)-progressBytes):]...)
	r.fresh = r.fresh[max(0, len(r.fresh)-progressBytes):]
	if time.Since(r.sent) >= progressEvery {
		r.send()
	}
}

// keepAlive sends what has not been sent, or that there is nothing.
func (r *reporter) keepAlive(ctx context.Context) {
	began := time.Now()
	tick := time.NewTicker(progressLeast)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			r.alive(now.Sub(began))
		}
	}
}

func (r *reporter) alive(after time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.sent) < progressLeast && len(r.fresh) == 0 {
		return
	}
	if len(r.fresh) == 0 {
		r.fresh = fmt.Appendf(r.fresh, "going on for %v\n", after.Round(time.Second))
	}
	r.send()
}

// send sends the newest of what came. r.mu is held.
func (r *reporter) send() {
	r.sent = time.Now()
	r.steps++
	message, _ := text.End(text.Valid(string(r.fresh)), progressChars)
	r.fresh = r.fresh[:0]
	r.notify(r.steps, message)
}
