package oauth

import (
	"net/http"
	"testing"
	"time"
)

// Whatever the clock does, what was used or ended opens nothing, and what lives by
// the clock opens.
func TestTokensWhenTheClockSteps(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		step time.Duration
		code bool // given out before the step, it is still good
		old  bool // so is the access token
	}{
		{-365 * 24 * time.Hour, true, true},
		{-5 * time.Second, true, true},
		{5 * time.Second, true, true},
		{time.Hour, false, true},
		{31 * 24 * time.Hour, false, false},
	} {
		f := newFixture(t)
		client, other := f.register(), f.register()
		access, refresh := f.connectBoth(client, "alice", "red")
		gone := f.connect(other, "bob", "blue")
		f.post("/api/oauth/revoke", values("client_id="+string(other), "token="+gone))
		spent := f.code(client, "bob", "blue")
		f.post("/token", exchange(client, spent))
		code := f.code(client, "bob", "blue")

		f.clock.advance(c.step)
		want := func(what string, got answer, good bool) {
			t.Helper()
			if (got.status == http.StatusOK) != good {
				t.Errorf("step of %v: %s: %d %s", c.step, what, got.status, got.body)
			}
		}
		want("the access token", f.call(access), c.old)
		want("the revoked one", f.call(gone), false)
		want("the code", f.post("/token", exchange(client, code)), c.code)
		want("the code again", f.post("/token", exchange(client, code)), false)
		want("the spent code", f.post("/token", exchange(client, spent)), false)
		renewed := f.refresh(client, refresh)
		want("the refresh token", renewed, true)
		if fresh, _ := f.tokens(renewed); fresh != access {
			want("the renewed access token", f.call(fresh), true)
		}

		f.clock.advance(-c.step) // and it is set right
		want("the revoked one, afterwards", f.call(gone), false)
		want("the spent code, afterwards", f.post("/token", exchange(client, spent)), false)
		f.must(f.db.Check())
	}
}
