package control

import (
	"context"
	"time"
)

const pathStatus = "/v1/status"

// Status is how a running server is.
type Status struct {
	Address      string        `json:"address"`
	Version      string        `json:"version"`
	Started      time.Time     `json:"started"`
	Problems     []string      `json:"problems"` // what keeps it from doing all that it is there for
	Regions      []Region      `json:"regions"`  // the default first
	Certificates []Certificate `json:"certificates"`
	Backup       *Backup       `json:"backup,omitempty"`  // nil: the settings want none
	Upgrade      *Upgrade      `json:"upgrade,omitempty"` // the last; nil: none yet
	Undoable     *Undoable     `json:"undoable,omitempty"`
}

// Undoable is what could be undone, and the bytes that it takes.
type Undoable struct {
	Snapshots       int   `json:"snapshots"`
	SnapshotBytes   int64 `json:"snapshot_bytes"`
	DeletedPods     int   `json:"deleted_pods"`
	DeletedPodBytes int64 `json:"deleted_pod_bytes"`
}

// Backup is how the backups are that the server makes by itself.
type Backup struct {
	State   string    `json:"state"` // ok, none (yet), late, failed
	Last    time.Time `json:"last,omitzero"`
	Next    time.Time `json:"next"`
	Problem string    `json:"problem,omitempty"` // of the last try
	At      time.Time `json:"failed_at,omitzero"`
}

// Region is a place for pods to run.
type Region struct {
	Name    string `json:"name"`
	Runtime string `json:"runtime"`
	Works   bool   `json:"works"`
	Fault   string `json:"fault,omitempty"` // why it does not
}

// Certificate is that of a name of podgate's own.
type Certificate struct {
	Name    string    `json:"name"`
	State   string    `json:"state"` // running: in force; failing: soon over or refused; failed: none in force
	Expires time.Time `json:"expires,omitzero"`
	Problem string    `json:"problem,omitempty"` // the last failure
	At      time.Time `json:"failed_at,omitzero"`
}

func (h *handler) status(ctx context.Context, _ empty) (Status, error) {
	if h.Status == nil {
		return Status{}, errNotRunning
	}
	return h.Status(ctx)
}

// Status says how the running server is.
func (c *Client) Status(ctx context.Context) (Status, error) {
	return ask[Status](ctx, c, pathStatus, empty{})
}
