package oauth

import (
	"net/http"
	"testing"
)

func TestFlow(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	token := f.connect(f.register(), "alice", "red")
	got := f.call(token)
	if got.status != http.StatusOK || got.body != "user alice team red role owner scopes pods:read pods:exec\n" {
		t.Errorf("%d %s", got.status, got.body)
	}
}
