package control

import (
	"bytes"
	"context"
	"net/http"
	"runtime/pprof"
	"slices"
	"strings"
	"time"

	"podgate/internal/web"
)

const pathProfile = "/v1/debug/profile"

// ProfileKinds are the profiles of a running server: cpu is taken over some time, the
// others show the moment.
var ProfileKinds = []string{"cpu", "heap", "allocs", "goroutine"}

// maxProfileSeconds bounds how long the time of the CPU is looked at.
const maxProfileSeconds = 120

type profileRequest struct {
	Kind    string `json:"kind"`
	Seconds int    `json:"seconds"` // for cpu
}

type profileAnswer struct {
	Profile []byte `json:"profile"`
}

func (h *handler) profile(ctx context.Context, r profileRequest) (profileAnswer, error) {
	if h.Status == nil {
		return profileAnswer{}, errNotRunning
	}
	var out bytes.Buffer
	if !slices.Contains(ProfileKinds, r.Kind) {
		return profileAnswer{}, web.Fault(http.StatusBadRequest, "bad_request", "There is no such profile. The kinds are "+strings.Join(ProfileKinds, ", ")+".", nil)
	}
	if r.Kind != "cpu" {
		err := pprof.Lookup(r.Kind).WriteTo(&out, 0)
		return profileAnswer{out.Bytes()}, err
	}
	if r.Seconds < 1 || r.Seconds > maxProfileSeconds {
		return profileAnswer{}, web.Fault(http.StatusBadRequest, "bad_request", "A profile of the CPU takes 1 to 120 seconds.", nil)
	}
	if err := pprof.StartCPUProfile(&out); err != nil {
		return profileAnswer{}, web.Fault(http.StatusConflict, "busy", "A profile of the CPU is being taken already. Wait until it is there.", err)
	}
	timer := time.NewTimer(time.Duration(r.Seconds) * time.Second)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	pprof.StopCPUProfile()
	return profileAnswer{out.Bytes()}, ctx.Err()
}

// Profile returns a profile of the running server, as «go tool pprof» reads it.
func (c *Client) Profile(ctx context.Context, kind string, seconds int) ([]byte, error) {
	a, err := ask[profileAnswer](ctx, c, pathProfile, profileRequest{kind, seconds})
	return a.Profile, err
}
