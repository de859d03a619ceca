package main

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"podgate/control"
	"podgate/history"
	"podgate/internal/webtest"
	"podgate/store"
)

// Whatever people and clients are called, a line of the connections fits a
// terminal, and of a host the end is there. Usual names are not cut.
func TestConnectionsFit(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("long", 60)
	usual := control.Connection{
		ID: "4kq7xw2maaaaaaaaaaaaaaaaaa", User: "ada@example.com", Client: "localhost", Name: "Assistant", Team: "lab",
		Scopes: []store.Scope{"pods:read", "pods:write", "pods:exec"}, State: history.Diagnosis{State: history.Refused},
	}
	limited := usual
	limited.Limits.ReadOnly = true
	extreme := control.Connection{
		ID: usual.ID, User: long + "@example.com", Client: "claude.ai." + long + ".attacker.example", Name: "n" + long, Team: "t" + long, Scopes: usual.Scopes, State: usual.State,
		Limits: store.Limits{Prefix: long, MaxPods: 12345},
	}
	for _, c := range []struct {
		list []control.Connection
		want []string
	}{
		{[]control.Connection{usual}, []string{"4kq7xw2m  ada@example.com  localhost  Assistant  lab   read write exec  0001-01-01  refused\n"}},
		{[]control.Connection{limited}, []string{"lab   read    0001-01-01  refused\n"}},
		{[]control.Connection{usual, extreme}, []string{"lab  ", "longlo…  …", "er.example  nlonglo", "read write exec", "refused"}},
	} {
		var out strings.Builder
		if err := printTable(&out, narrowConnections(c.list)); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(out.String()) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 100 {
				t.Errorf("%d columns: %s", n, line)
			}
		}
		for _, part := range c.want {
			if !strings.Contains(out.String(), part) {
				t.Errorf("%q is missing:\n%s", part, &out)
			}
		}
	}
	var wide strings.Builder
	if err := printTable(&wide, wideConnections([]control.Connection{extreme})); err != nil || !strings.Contains(wide.String(), extreme.Client) || !strings.Contains(wide.String(), string(extreme.ID)) {
		t.Errorf("--wide: %v\n%s", err, &wide)
	}
}

// A connection ends when its id is given as the list shows it.
func TestConnectionRevokedByCommand(t *testing.T) {
	t.Parallel()
	srv := startServer(t)
	ada := setUp(t, srv)
	connect(t, srv, ada, connectOptions{}).call(t, "list_pods", nil)
	connect(t, srv, ada, connectOptions{limits: webtest.Fields{"replace": {}}}).call(t, "list_pods", nil) // beside the first
	_, list, _ := srv.command("connections")
	lines := strings.Split(list, "\n")
	if len(lines) != 4 {
		t.Fatal(list)
	}
	id := strings.Fields(lines[1])[0]
	code, out, errs := srv.command("connection", "revoke", id)
	if want := "Revoked what " + ada.email + " let 127.0.0.1 do for the team home.\n"; code != exitDone || out != want {
		t.Fatalf("%d %s%s, want %s", code, out, errs, want)
	}
	if _, left, _ := srv.command("connections"); left != lines[0]+"\n"+lines[2]+"\n" {
		t.Errorf("these are left:\n%sof\n%s", left, list)
	}
	code, out, errs = srv.command("connection", "revoke", strings.Fields(lines[2])[0], "--json")
	var was control.Connection
	if err := json.Unmarshal([]byte(out), &was); code != exitDone || err != nil || was.User != ada.email || was.Team != "home" {
		t.Errorf("as JSON: %d %v %s%s", code, err, out, errs)
	}
	if code, _, errs := srv.command("connection", "revoke", id); code != exitFailed || !strings.Contains(errs, "No live connection") {
		t.Errorf("again: %d %s", code, errs)
	}
}
