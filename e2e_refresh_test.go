package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"
)

// hasty tells a client that its access token is about to end, so that it
// refreshes before each request.
type hasty struct{ next http.RoundTripper }

func (h hasty) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := h.next.RoundTrip(req)
	if err != nil || req.URL.Path != "/api/oauth/token" {
		return resp, err
	}
	defer resp.Body.Close()
	var answer map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return nil, err
	}
	answer["expires_in"] = 1
	raw, err := json.Marshal(answer)
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(raw)), int64(len(raw))
	resp.Header.Del("Content-Length")
	return resp, err
}

// An assistant renews its access by itself, also when the server was killed
// meanwhile; its person is asked once.
func TestAssistantRefreshes(t *testing.T) {
	t.Parallel()
	dir, port := t.TempDir(), freePort(t)
	public := fmt.Sprintf("public_url = %q\nlisten = \"127.0.0.1:%d\"", "http://localhost:"+port, portNumber(t, port))
	srv := startProcess(t, dir, public)
	ada := setUp(t, srv)
	c := connect(t, srv, ada, connectOptions{through: func(next http.RoundTripper) http.RoundTripper { return hasty{next} }})
	seen := map[string]bool{}
	use := func() {
		t.Helper()
		c.call(t, "list_pods", nil)
		if token := c.wire.token(); token == "" || seen[token] {
			t.Error("the token was not renewed")
		} else {
			seen[token] = true
		}
	}
	use()
	use()
	srv.Kill()
	srv = startProcess(t, dir, public)
	use()
	use()
	if len(c.authorize) != 1 {
		t.Errorf("the person was asked %d times, want once", len(c.authorize))
	}
	srv.Stop()
	if code, out, errs := srv.command("check"); code != exitDone {
		t.Errorf("check: %s%s", out, errs)
	}
}
