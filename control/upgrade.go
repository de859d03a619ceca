package control

import (
	"context"
	"errors"
	"time"
)

const pathUpgrade = "/v1/upgrade"

// Upgrader has another program take over, or only looks whether one could.
type Upgrader func(ctx context.Context, check bool) (Upgrade, error)

// Upgrade is a program that took over, or was to.
type Upgrade struct {
	ID         string    `json:"id,omitempty"` // empty for one that was only checked
	State      string    `json:"state"`        // checked, going, done, failed
	By         string    `json:"by"`           // what asked for it: command, signal
	Program    string    `json:"program"`      // the path of its file
	From       string    `json:"from"`         // versions
	To         string    `json:"to"`
	FromFormat int       `json:"from_format"` // of the database
	ToFormat   int       `json:"to_format"`
	Restarts   bool      `json:"restarts_pods"`    // its pods are started anew: the agents in them speak another protocol
	Reason     string    `json:"reason,omitempty"` // why it failed
	Began      time.Time `json:"began"`
	// Took is for how long nobody was answered, in milliseconds. Who came meanwhile waited.
	Took int64 `json:"took_ms,omitempty"`
}

// The states of an upgrade.
const (
	UpgradeChecked = "checked"
	UpgradeGoing   = "going"
	UpgradeDone    = "done"
	UpgradeFailed  = "failed"
)

// What asks for an upgrade.
const (
	UpgradeByCommand = "command"
	UpgradeBySignal  = "signal"
)

type upgradeRequest struct {
	Check bool `json:"check"`
}

func (h *handler) upgrade(ctx context.Context, r upgradeRequest) (Upgrade, error) {
	if h.Upgrade == nil {
		return Upgrade{}, errNotRunning
	}
	u, err := h.Upgrade(ctx, r.Check)
	if err != nil {
		return Upgrade{}, notUpgraded{err}
	}
	return u, nil
}

// errNotUpgraded is of what is the program's fault that was to take over, and not the
// server's.
var errNotUpgraded = errors.New("control: the program cannot take over")

type notUpgraded struct{ error }

// Is makes it errNotUpgraded.
func (notUpgraded) Is(target error) bool { return target == errNotUpgraded }

// Upgrade has the program at the running server's path take over, or only checks it. It
// returns when that is found fit and begins; [Client.Status] says how it ends.
func (c *Client) Upgrade(ctx context.Context, check bool) (Upgrade, error) {
	return ask[Upgrade](ctx, c, pathUpgrade, upgradeRequest{check})
}
