package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"podgate/control"
	"podgate/internal/config"
)

// The page of settings shows all of them with where each came from, and of an
// address that may hold a secret only the host.
func TestShownSettings(t *testing.T) {
	t.Parallel()
	s := &config.Settings{}
	s.Notify.WebhookURL = "https://user:hidden@hooks.example.com/hidden?hidden=1"
	found := ""
	for _, line := range shownSettings(s) {
		if strings.Contains(line.Value, "hidden") {
			t.Errorf("%s is shown as %s", line.Key, line.Value)
		}
		if line.Key == "notify.webhook_url" {
			found = line.Value
		}
	}
	if found != "https://hooks.example.com/…" {
		t.Errorf("the address of the webhook is shown as %q", found)
	}
}

// A command says how the running server is, in its exit code too; without one it says
// that there is none.
func TestStatus(t *testing.T) {
	t.Parallel()
	srv := startServer(t)
	g := onMachine(t, srv)
	run, want := podsRun(t, srv), exitDone
	if !run {
		want = exitFailed
	}
	code, out, errs := g.give("", "status --json")
	var now control.Status
	if err := json.Unmarshal([]byte(out), &now); err != nil || code != want {
		t.Fatalf("%d %v %s%s", code, err, out, errs)
	}
	if now.Address != srv.Issuer || now.Version != version() || time.Since(now.Started) > time.Minute || (len(now.Problems) == 0) != run || len(now.Certificates) != 0 {
		t.Errorf("%+v", now)
	}
	if len(now.Regions) != 1 || now.Regions[0].Name != "local" || now.Regions[0].Runtime != "sandbox" || now.Regions[0].Works != run || (now.Regions[0].Fault == "") != run {
		t.Errorf("%+v", now.Regions)
	}
	if code, out, _ := g.give("", "status"); code != want || !strings.Contains(out, "ADDRESS  "+srv.Issuer) || !strings.Contains(out, "REGION   local (sandbox): ") {
		t.Errorf("%d %s", code, out)
	}
	giver{t: t, more: []string{"--data", t.TempDir()}}.refuses("no server runs from ", "status")
}
