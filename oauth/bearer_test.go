package oauth

import (
	"net/http/httptest"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/oauthex"

	"podgate/store"
)

// The official SDK reads from every challenge what it needs.
func TestChallengesParse(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	w := httptest.NewRecorder()
	f.InsufficientScope(w, httptest.NewRequest("POST", "/api/mcp", nil), []store.Scope{"pods:exec"})
	for _, c := range []struct{ challenge, code, scope string }{
		{f.challenges.absent, "", defaultScopes()},
		{f.challenges.invalid, "invalid_token", defaultScopes()},
		{w.Header().Get("WWW-Authenticate"), "insufficient_scope", "pods:exec"},
	} {
		list, err := oauthex.ParseWWWAuthenticate([]string{c.challenge})
		if err != nil || len(list) != 1 {
			t.Fatalf("%s: %v, %v", c.challenge, list, err)
		}
		p := list[0].Params
		if list[0].Scheme != "bearer" || p["error"] != c.code || p["scope"] != c.scope || p["resource_metadata"] != testIssuer+"/.well-known/oauth-protected-resource/api/mcp" {
			t.Errorf("%s reads %+v", c.challenge, list[0])
		}
	}
}
