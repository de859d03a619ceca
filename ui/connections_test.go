package ui_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"podgate/history"
	"podgate/internal/authz"
	"podgate/store"
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
	b.Enter("ada@example.com")
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
	b.Enter("ada@example.com")
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
	b.Enter("ada@example.com")
	page := pagetest.Text(b.Get("/connections").All("ul")[0])
	if first, _, _ := strings.Cut(page, "Busy"); !strings.Contains(first, "Silent stuck silent.example The client got a token but never called.") {
		t.Errorf("in the list: %s", page)
	}
}

// A connection is called what people call it, which its client never learns.
func TestNicknames(t *testing.T) {
	t.Parallel()
	s := pagetest.New(t)
	u := s.AddUser("ada@example.com", false, "red")
	g := s.Connect(u, "red", "Claude", "claude.ai", authz.ScopeRead)
	b := s.Browser()
	b.Enter("ada@example.com")
	path := "/connection/" + string(g.ID) + "/name"
	a := b.Post(path, url.Values{"nickname": {"  The one at <b>work</b>\u202e "}})
	if main := pagetest.Text(a.All("main")[0]); !strings.Contains(main, "The one at <b>work</b> Claude · claude.ai") || strings.Contains(a.HTML, "<b>") || strings.Contains(a.HTML, "\u202e") {
		t.Errorf("named: %s", a.HTML)
	}
	if a := b.Post(path, url.Values{"nickname": {strings.Repeat("x", 81)}}); a.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(a.HTML, "too long") {
		t.Errorf("a long one: %d", a.StatusCode)
	}
	if a := b.Get("/connections?q=work"); !strings.Contains(a.HTML, string(g.ID)) {
		t.Error("it is not found by its name")
	}
	if a := b.Post(path, url.Values{"nickname": {" "}}); !strings.Contains(pagetest.Text(a.All("ul")[0]), "Claude claude.ai") {
		t.Errorf("without a name: %s", a.HTML)
	}
}

// An owner sees whose connections the others' are, and ends them; who owns no team
// sees their own alone.
func TestOwnersSeeOthersConnections(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	others := w.browsers["owner"].Get("/connections?of=others")
	list := pagetest.Text(others.All("main")[0])
	for _, of := range []string{"member", "viewer"} {
		if !strings.Contains(list, emailOf(of)) {
			t.Errorf("the connection of the %s is not in %s", of, list)
		}
	}
	if strings.Contains(list, emailOf("foreign")) || strings.Contains(list, "Claude of owner") {
		t.Errorf("also shown: %s", list)
	}
	for _, role := range []string{"member", "viewer", "admin"} {
		a := w.browsers[role].Get("/connections?of=others")
		if list := pagetest.Text(a.All("main")[0]); strings.Contains(list, "Claude of owner") || strings.Contains(a.HTML, "of=others") {
			t.Errorf("%s is shown %s", role, list)
		}
	}
	g := w.grants["member"]
	if a := w.browsers["owner"].Get(revokePath(g)); !strings.Contains(a.Text(), "It is the connection of "+emailOf("member")) {
		t.Errorf("asked: %s", a.Text())
	}
	w.browsers["owner"].Post(revokePath(g), nil)
	if _, err := w.Account.Connection(w.people["member"].ID, g.ID); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the connection: %v", err)
	}
	list = w.browsers["member"].Get("/audit").Text()
	if !strings.Contains(list, emailOf("owner")) {
		t.Errorf("its person is not told who ended it: %s", list)
	}
}
