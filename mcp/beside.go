package mcp

import (
	"fmt"
	"strings"
	"time"

	"podgate/internal/text"
	"podgate/pods"
)

// besideInfo is what runs beside an app.
type besideInfo struct {
	Workers []workerInfo `json:"workers,omitempty" jsonschema:"the processes that the Procfile keeps running beside the app"`
	Crons   []cronInfo   `json:"crons,omitempty" jsonschema:"the commands that the Procfile's cron lines run"`
}

// workerInfo is a process that runs beside an app.
type workerInfo struct {
	Name     string    `json:"name"`
	State    string    `json:"state" jsonschema:"running, waiting for its next try, or failed"`
	Reason   string    `json:"reason,omitempty" jsonschema:"how it ended last"`
	Restarts int       `json:"restarts"`
	Started  time.Time `json:"started,omitzero"`
	NextTry  time.Time `json:"next_try,omitzero"`
}

// cronInfo is a command that runs at times.
type cronInfo struct {
	When      string    `json:"when" jsonschema:"in UTC"`
	Command   string    `json:"command"`
	Running   bool      `json:"running"`
	Next      time.Time `json:"next,omitzero"`
	LastBegan time.Time `json:"last_began,omitzero"`
	LastEnded time.Time `json:"last_ended,omitzero"`
	Last      string    `json:"last_result,omitempty" jsonschema:"how it ended last"`
}

func besideOf(p pods.Pod) (b besideInfo) {
	for _, w := range p.Workers {
		b.Workers = append(b.Workers, workerInfo{text.Valid(w.Name), text.Valid(w.State), text.Valid(w.Reason), w.Restarts, w.Started, w.NextTry})
	}
	for _, c := range p.Crons {
		info := cronInfo{When: text.Valid(c.When), Command: text.Valid(c.Command), Running: c.Running, Next: c.Next}
		if c.Last != nil {
			info.LastBegan, info.LastEnded, info.Last = c.Last.Began, c.Last.Ended, text.Valid(c.Last.Result)
		}
		b.Crons = append(b.Crons, info)
	}
	return b
}

// write describes it for reading.
func (d besideInfo) write(b *strings.Builder) {
	for _, w := range d.Workers {
		fmt.Fprintf(b, "worker %s: %s, restarted %d times", w.Name, w.State, w.Restarts)
		if w.Reason != "" {
			fmt.Fprintf(b, ": %s", w.Reason)
		}
		if !w.Started.IsZero() {
			fmt.Fprintf(b, ", started %s", moment(w.Started))
		}
		if !w.NextTry.IsZero() {
			fmt.Fprintf(b, ", next try %s", moment(w.NextTry))
		}
		b.WriteByte('\n')
	}
	for i, c := range d.Crons {
		fmt.Fprintf(b, "cron %d: %s %s: ", i+1, c.When, c.Command)
		if c.Running {
			b.WriteString("running now, ")
		}
		if c.Last != "" {
			fmt.Fprintf(b, "began last %s, %s, ended %s, ", moment(c.LastBegan), c.Last, moment(c.LastEnded))
		}
		fmt.Fprintf(b, "next %s\n", moment(c.Next))
	}
}
