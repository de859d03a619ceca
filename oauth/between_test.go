package oauth

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"podgate/store"
)

// An owner who takes rights away at any instant between the form and the transaction
// that approves it takes them from the approval: the transaction looks for itself.
// The instants are those at which the server looks at its clock.
func TestTakenAwayWhileApproving(t *testing.T) {
	t.Parallel()
	for instant := 1; ; instant++ {
		var looks int
		at := func() {}
		f := newFixture(t, func(c *Config) {
			clock := c.Now
			c.Now = func() time.Time { looks++; at(); return clock() }
		})
		client := f.register()
		form := f.filledIn(f.authorize(request(client), "alice"))
		form.Set("team", "blue")
		looks = 0
		waiting := false
		at = func() {
			if looks != instant {
				return
			}
			_, err := f.db.AuthRequest(store.HashSecret(form.Get("request")), store.HashSecret("alice"), f.clock.Now())
			if waiting = err == nil; waiting {
				f.must(f.db.SetRole("blue", "alice", store.RoleViewer))
			}
		}
		a := f.decide(form, "alice")
		at = func() {}
		if !waiting {
			if instant < 4 {
				t.Errorf("there were only %d instants", instant-1)
			}
			return
		}
		if a.status == http.StatusSeeOther {
			t.Errorf("taken away at instant %d: a code was given, and it opens %s", instant, strings.TrimSpace(f.redeem(client, a)))
		}
	}
}
