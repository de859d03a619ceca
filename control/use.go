package control

import (
	"context"
	"time"

	"podgate/store"
)

const pathPodUse = "/v1/pod/use"

// PodUse is what a pod used during the last day, as far as somebody measured.
type PodUse struct {
	Pod    string     `json:"pod"`
	Step   int        `json:"step_seconds"` // what each point is of
	Points []UsePoint `json:"points"`       // the oldest first
}

// UsePoint is what a pod used in one step.
type UsePoint struct {
	At       time.Time `json:"at"` // when the step began
	Memory   int64     `json:"memory_bytes"`
	CPU      int64     `json:"cpu_milliseconds"`
	Received int64     `json:"received_bytes"`
	Sent     int64     `json:"sent_bytes"`
}

func (h *handler) podUse(_ context.Context, r nameRequest) (PodUse, error) {
	p, err := h.pod(r.Name)
	if err != nil {
		return PodUse{}, err
	}
	used, err := h.DB.Usage(p.ID)
	if err != nil {
		return PodUse{}, err
	}
	shown := PodUse{Pod: p.Name, Step: int(store.UsageStep.Seconds()), Points: []UsePoint{}}
	dayAgo := h.Now().Add(-24 * time.Hour)
	for i, u := range used.Points {
		at := used.Newest.Add(store.UsageStep * time.Duration(i+1-len(used.Points))).UTC()
		if u.Known && at.After(dayAgo) {
			shown.Points = append(shown.Points, UsePoint{At: at, Memory: u.Memory, CPU: u.CPU, Received: u.In, Sent: u.Out})
		}
	}
	return shown, nil
}

// PodUse says what a pod used during the last day.
func (c *Client) PodUse(ctx context.Context, name string) (PodUse, error) {
	return ask[PodUse](ctx, c, pathPodUse, nameRequest{name})
}
