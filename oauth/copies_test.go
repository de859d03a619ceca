package oauth

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"podgate/history"
	"podgate/store"
)

const copilot = "https://github.com/copilot/cli/client-metadata.json"

// copilotAsks is an authorization request of Copilot CLI.
func copilotAsks(redirect string) map[string][]string {
	return with(request(copilot), "redirect_uri="+redirect)
}

// Where a copy stands in for a document, page and timeline say which one and why,
// also when the form is shown again.
func TestCopyOfADocumentIsTold(t *testing.T) {
	t.Parallel()
	f, n := onlineFixture(t, func(c *Config) { c.History = history.New(history.Config{DB: c.DB, Now: c.Now}) })
	if a := f.authorize(asApp(), "alice"); strings.Contains(a.body, "copied:") {
		t.Errorf("the document itself: %s", a.body)
	}
	n.set(true)
	f.clock.advance(freshDefault)
	for want, q := range map[string]map[string][]string{
		"The app's document could not be fetched (app.example.com cannot be reached from this server); the copy of 1 March 2026, 12:00 UTC was used.": asApp(),
		"The app's document could not be fetched (github.com cannot be reached from this server); the copy that comes with podgate was used.":         copilotAsks("http://127.0.0.1:46853/callback"),
	} {
		for range 2 { // asked for, and remembered
			page := f.authorize(q, "alice")
			if !strings.Contains(page.body, "copied: "+want+"\n") {
				t.Errorf("%s", page.body)
			}
			again := approval(f.handle(page), "red")
			again.Del("scope")
			if a := f.decide(again, "alice"); !strings.Contains(a.body, "fault: Tick at least one thing") || !strings.Contains(a.body, "copied: "+want+"\n") {
				t.Errorf("shown again: %s", a.body)
			}
		}
		if told := f.timelineWords(); !strings.Contains(told, strings.TrimSuffix(want, ".")+"\n") {
			t.Errorf("the timeline: %s", told)
		}
	}
}

// timelineWords is the timeline of alice in words.
func (f *fixture) timelineWords() string {
	f.Helper()
	page, err := f.history.OwnAttempts("alice", "", "", 20)
	f.must(err)
	var b strings.Builder
	for _, a := range page.Attempts {
		for _, s := range a.Steps {
			b.WriteString(history.Words(s) + "\n")
		}
	}
	return b.String()
}

// Whom a copy locks out is told that it is a copy, because connecting anew does
// not help.
func TestRedirectThatACopyLacks(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a := f.authorize(copilotAsks("http://127.0.0.1:46853/elsewhere"), "alice")
	if a.status != http.StatusBadRequest || !strings.Contains(a.body, "the copy that comes with podgate was used") || strings.Contains(a.body, startOver) {
		t.Errorf("%d %s", a.status, a.body)
	}
	a = f.authorize(with(request(f.register()), "redirect_uri=http://127.0.0.1:46853/elsewhere"), "alice")
	if a.status != http.StatusBadRequest || strings.Contains(a.body, "copy") || !strings.Contains(a.body, startOver) {
		t.Errorf("registered: %d %s", a.status, a.body)
	}
}

// A copy that an earlier podgate kept gives way to the one that comes with this,
// but not where the document's host has said that there is none.
func TestEarlierBuiltInCopy(t *testing.T) {
	t.Parallel()
	for name, gone := range map[string]bool{"there": false, "gone": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			_, err := f.db.PutDocument(store.Client{
				ID: copilot, Name: "GitHub Copilot CLI", RedirectURIs: []string{"http://127.0.0.1:33418/"}, Created: f.now(), Expires: f.now().Add(time.Hour), Document: &store.Document{Known: true},
			}, f.now())
			f.must(err)
			if gone {
				f.must(f.db.MarkDocumentGone(copilot))
			}
			if a := f.authorize(copilotAsks("http://127.0.0.1:46853/callback"), "alice"); (a.status == http.StatusBadRequest) != gone {
				t.Errorf("%d %s", a.status, a.body)
			}
		})
	}
}
