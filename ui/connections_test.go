package ui_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"podgate/history"
	"podgate/internal/authz"
	"podgate/ui/pagetest"
)

// The list of connections says who described an app, as the consent page did.
func TestListSaysWhoDescribesAConnection(t *testing.T) {
	t.Parallel()
	s := pagetest.New(t)
	u := s.AddUser("ada@example.com", true, "red")
	team, err := s.DB.TeamBySlug("red")
	if err != nil {
		t.Fatal(err)
	}
	s.ConnectClient("https://claude.ai/oauth/claude-code-client-metadata", u, team, "Claude Code", "localhost", authz.ScopeRead)
	s.Connect(u, "red", "Cursor", "www.cursor.com", authz.ScopeRead)
	b := s.Browser()
	b.SignIn("ada@example.com")
	main := pagetest.Text(b.Get("/connections").All("main")[0])
	for _, want := range []string{"Claude Code a program on your computer (localhost) · described by claude.ai", "Cursor www.cursor.com"} {
		if !strings.Contains(main, want) {
			t.Errorf("%q is missing in:\n%s", want, main)
		}
	}
}

// A list that is long has pages, a search and a filter, which are addresses.
func TestConnectionsAreFound(t *testing.T) {
	t.Parallel()
	s := pagetest.New(t)
	u := s.AddUser("ada@example.com", false, "red", "blue")
	for i := range 60 {
		s.Connect(u, "red", fmt.Sprintf("App %02d", i), fmt.Sprintf("host-%02d.example", i), authz.ScopeRead)
		s.Clock.Advance(time.Minute)
	}
	s.Connect(u, "blue", hostileName, "127.0.0.1:9", authz.ScopeRead)
	b := s.Browser()
	b.SignIn("ada@example.com")
	count := func(a pagetest.Answer) (n int) {
		for _, li := range a.All("li") {
			if strings.Contains(pagetest.Attr(li, "class"), "row") {
				n++
			}
		}
		return n
	}
	for path, want := range map[string]int{
		"/connections": 50, "/connections?page=2": 11, "/connections?page=9999999999999999999": 50, "/connections?page=3": 11, "/connections?page=-1": 50,
		"/connections?q=app+host-07": 1, "/connections?q=app+nothing": 0, "/connections?team=blue": 1, "/connections?team=red": 50, "/connections?team=red&page=2": 10,
		"/connections?q=" + url.QueryEscape("<SCRIPT>"): 1, "/connections?team=other": 0,
	} {
		a := b.Get(path)
		if got := count(a); a.StatusCode != http.StatusOK || got != want {
			t.Errorf("%s: %d rows, want %d (%d)", path, got, want, a.StatusCode)
		}
		if strings.Contains(a.HTML, "<script>alert") || strings.Contains(a.HTML, "<SCRIPT>") {
			t.Errorf("%s: markup of others", path)
		}
	}
	if a := b.Get("/connections?team=red&q=app"); !strings.Contains(a.HTML, `href="/connections?page=2&amp;q=app&amp;team=red"`) {
		t.Errorf("the next page is not of the same search:\n%s", a.HTML)
	}
}

// What does not work comes first, with what happened.
func TestConnectionsInTroubleComeFirst(t *testing.T) {
	t.Parallel()
	s := pagetest.New(t)
	u := s.AddUser("ada@example.com", false, "red")
	g := s.Connect(u, "red", "Silent", "silent.example", authz.ScopeRead)
	s.History.Step(history.OfGrant(g, history.Note{Kind: history.StepCode}))
	s.Clock.Advance(time.Hour)
	s.Connect(u, "red", "Busy", "busy.example", authz.ScopeRead)
	b := s.Browser()
	b.SignIn("ada@example.com")
	page := pagetest.Text(b.Get("/connections").All("ul")[0])
	if first, _, _ := strings.Cut(page, "Busy"); !strings.Contains(first, "Silent stuck silent.example The client got a token but never called.") {
		t.Errorf("in the list: %s", page)
	}
}
