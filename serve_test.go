package main

import (
	"net/http"
	"strings"
	"testing"
)

func TestServeAnswers(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	if !strings.HasPrefix(s.SetupURL, s.Issuer+"/setup?token=") {
		t.Errorf("the setup link is %q\n%s", s.SetupURL, s.Stdout)
	}
	if strings.Contains(s.Log.String(), "pgsetup_") {
		t.Errorf("the setup token is in the log:\n%s", s.Log)
	}
	resp, body := s.get(strings.TrimPrefix(s.Issuer, "http://"), "/sign-in")
	if resp.StatusCode != http.StatusOK || !strings.Contains(body, "<form") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
}
