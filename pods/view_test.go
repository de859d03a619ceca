package pods

import (
	"testing"
	"time"
)

// What the runtime killed is the reason of the app's death when both came together,
// and of the last exit when nothing has ended since.
func TestBlame(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	at := func(seconds int) time.Time { return now.Add(time.Duration(seconds) * time.Second) }
	const exit, full = "the app was killed (SIGKILL)", "disk full"
	for name, c := range map[string]struct {
		pod            Pod
		kills          []Kill
		reason, exited string
		when           time.Time
	}{
		"nothing":            {},
		"by itself":          {pod: Pod{Reason: exit, LastExit: Kill{at(0), exit}}, reason: exit, exited: exit, when: at(0)},
		"for the limit":      {Pod{Reason: exit, LastExit: Kill{at(0), exit}}, []Kill{{at(-60), "old"}, {at(-1), full}}, exit + "; " + full, exit + "; " + full, at(0)},
		"noted late":         {Pod{LastExit: Kill{at(0), exit}}, []Kill{{at(1), full}}, "", exit + "; " + full, at(0)},
		"something else":     {Pod{LastExit: Kill{at(-60), exit}}, []Kill{{at(0), full}}, "", full, at(0)},
		"nothing of the app": {Pod{}, []Kill{{at(0), full}}, "", full, at(0)},
		"long ago":           {Pod{Reason: exit, LastExit: Kill{at(0), exit}}, []Kill{{at(-60), full}}, exit, exit, at(0)},
		"runs again":         {Pod{Reason: "", LastExit: Kill{at(0), exit}}, []Kill{{at(0), full}}, "", exit + "; " + full, at(0)},
	} {
		c.pod.blame(c.kills)
		if p := c.pod; p.Reason != c.reason || p.LastExit.Reason != c.exited || !p.LastExit.At.Equal(c.when) {
			t.Errorf("%s: reason %q, last exit %+v", name, p.Reason, p.LastExit)
		}
	}
}
