package history_test

import (
	"strings"
	"testing"
	"time"

	"podgate/history"
	"podgate/store"
)

// The steps of «podgate doctor» are called so, and those of a client that only
// says to be it are not, once there is more to them than looking.
func TestDiagnoseDoctor(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		agents []string
		change func(*store.Attempt)
		want   bool
	}{
		"doctor":         {[]string{"podgate-doctor/1", "Claude-User podgate-doctor/1"}, nil, true},
		"a client":       {[]string{"Claude-User", "Claude-User"}, nil, false},
		"both":           {[]string{"podgate-doctor/1", "Claude-User"}, nil, false},
		"known client":   {[]string{"podgate-doctor/1", "podgate-doctor/1"}, func(a *store.Attempt) { a.Client = "c" }, false},
		"somebody's":     {[]string{"podgate-doctor/1", "podgate-doctor/1"}, func(a *store.Attempt) { a.User = "ada" }, false},
		"has connection": {[]string{"podgate-doctor/1", "podgate-doctor/1"}, func(a *store.Attempt) { a.Grant = "g" }, false},
	} {
		a := attempt("challenge, register!redirect_uri")
		for i := range a.Steps {
			a.Steps[i].Agent = c.agents[i]
		}
		if c.change != nil {
			c.change(&a)
		}
		if d := history.Diagnose(a, true, t0.Add(time.Hour)); strings.Contains(d.What, "podgate doctor") != c.want {
			t.Errorf("%s: %+v", name, d)
		}
	}
}
