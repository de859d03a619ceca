package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"podgate/control"
	"podgate/history"
)

// A connection made with the official SDK is one attempt that works, for the
// person, the administrator and the commands, while the server runs and after.
func TestAttemptOfAConnection(t *testing.T) {
	t.Parallel()
	srv := startServer(t)
	ada := setUp(t, srv)
	c := connect(t, srv, ada, connectOptions{})
	c.call(t, "list_pods", nil)
	timeline := func() control.Attempt {
		t.Helper()
		code, out, errs := srv.command("timeline", "end to end", "--json")
		if code != exitDone {
			t.Fatal(errs)
		}
		var list []control.Attempt
		if err := json.Unmarshal([]byte(out), &list); err != nil || len(list) != 1 {
			t.Fatalf("%v: %s", err, out)
		}
		return list[0]
	}
	a := timeline()
	var kinds []string
	for _, s := range a.Steps {
		kinds = append(kinds, s.Kind)
	}
	got := strings.Join(kinds, " ")
	if !strings.HasPrefix(got, "challenge discovery ") || !strings.HasSuffix(got, "register authorize consent approve code call") {
		t.Errorf("the steps are %s", got)
	}
	if a.Diagnosis.State != history.Works || a.User != ada.email || a.Team != "home" || a.Host != "127.0.0.1" || !a.Alive {
		t.Errorf("%+v", a)
	}
	if page := ada.Open(srv.Issuer + "/activity").Text(); !strings.Contains(page, "It works.") || !strings.Contains(page, "End to end") {
		t.Errorf("the activity page: %s", page)
	}
	if _, out, _ := srv.command("timeline", "no-such-client"); !strings.Contains(out, `No attempts of "no-such-client". The latest are of: End to end (127.0.0.1)`) {
		t.Errorf("a name that matches nothing: %s", out)
	}
	if _, out, _ := srv.command("connections"); !strings.Contains(out, "End to end") || !strings.Contains(out, "works") {
		t.Errorf("connections: %s", out)
	}
	if page := ada.Open(srv.Issuer+"/connections").Follow("Revoke “End to end” at 127.0.0.1, team Home").Press("Revoke", nil); page.Status != http.StatusOK {
		t.Fatal(page.Text())
	}
	_, out, _ := srv.command("audit")
	for _, want := range []string{"set this server up", "approved a connection", "got a token", "revoked a connection", "127.0.0.1 (End to end)"} {
		if !strings.Contains(out, want) {
			t.Errorf("the audit list lacks %q:\n%s", want, out)
		}
	}
	srv.Stop()
	if a := timeline(); a.Diagnosis.State != history.Ended || a.Alive {
		t.Errorf("after the end: %+v", a.Diagnosis)
	}
}

func TestParseSince(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for s, want := range map[string]time.Time{
		"30m": now.Add(-30 * time.Minute), "24h": now.Add(-24 * time.Hour), "7d": now.AddDate(0, 0, -7), "0d": now,
		"2026-02-03": time.Date(2026, 2, 3, 0, 0, 0, 0, time.UTC), "2026-02-03T04:05:06Z": time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC),
		"": {}, "-1h": {}, "-1d": {}, "99999d": {}, "soon": {}, "2026-13-01": {},
	} {
		if got, err := parseSince(s, now); !got.Equal(want) || (err == nil) == want.IsZero() {
			t.Errorf("%q: %v, %v, want %v", s, got, err, want)
		}
	}
}
