package main

import (
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"

	"podgate/control"
	"podgate/history"
	"podgate/internal/config"
	"podgate/pods"
	"podgate/store"
	"podgate/store/storetest"
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
	if code, out, _ := g.give("", "status"); code != want || !strings.Contains(out, "ADDRESS  "+srv.Issuer) || !strings.Contains(out, "REGION   local (sandbox): ") || !strings.Contains(out, "UNDO     snapshots: 0, 0 bytes; deleted pods: 0, 0 bytes") {
		t.Errorf("%d %s", code, out)
	}
	giver{t: t, more: []string{"--data", t.TempDir()}}.refuses("no server runs from ", "status")
}

// What goes for good to make room stands in the audit list as what the server did, among
// the entries that strangers cannot push out, and whoever made the pod may see it.
func TestEvictionsAreAudited(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	srv := &server{history: history.New(history.Config{DB: db, Log: slog.New(slog.DiscardHandler), Now: time.Now})}
	pod := store.Pod{ID: "p", Name: "shop", Team: "t", CreatedBy: "u"}
	srv.noteEvicted(pods.Evicted{Pod: pod, Snapshot: "s", Why: "a newer one took its room"})
	srv.noteEvicted(pods.Evicted{Pod: pod, Why: "the disk is nearly full"})
	for _, q := range []store.AuditQuery{{Pod: "p", Limit: 9}, {User: "u", Limit: 9}} {
		page, err := db.Audit(q, time.Now())
		if err != nil || len(page.Entries) != 2 {
			t.Fatalf("%+v, %v", page, err)
		}
		for i, want := range []string{"podgate gave up a deleted pod for good, to make room: shop: the disk is nearly full", "podgate deleted a snapshot, to make room: s of shop: a newer one took its room"} {
			e := page.Entries[i]
			if got := e.ActorName + " " + history.AuditWords(e) + ": " + e.Object; got != want || e.Stranger {
				t.Errorf("%q, a stranger's %v; want %q", got, e.Stranger, want)
			}
		}
	}
}
