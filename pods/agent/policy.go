package agent

import "time"

// The restart policy: back-off from 1 s, doubling, to 1 min; a life
// of 1 min clears it; the tenth death in a row is the last.
const (
	firstBackoff = time.Second
	lastBackoff  = time.Minute
	goodLife     = time.Minute
	maxDeaths    = 10
)

// restartPolicy decides what follows the death of an app. The zero value is a
// fresh start.
type restartPolicy struct{ deaths int }

// died takes how long the app lived and returns the pause before the next try,
// or false when there is none.
func (p *restartPolicy) died(lived time.Duration) (time.Duration, bool) {
	if lived >= goodLife {
		p.deaths = 0
	}
	p.deaths++
	if p.deaths >= maxDeaths {
		return 0, false
	}
	return min(firstBackoff<<(p.deaths-1), lastBackoff), true
}
