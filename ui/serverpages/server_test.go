package serverpages_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"podgate/internal/authz"
	"podgate/store"
	"podgate/ui"
	"podgate/ui/pagetest"
	"podgate/ui/serverpages"
)

const hostileName = "<script>alert(1)</script> \u202egnp.exe \"'&amp;"

// machine is a server that has a bit of everything.
func machine(cfg *ui.Config) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	cfg.Machine = serverpages.Machine{
		Version: "v1.2.3", Started: now.Add(-3 * time.Hour),
		Problems: func() []string { return []string{"The disk that holds podgate's database is full. Make room on it."} },
		Settings: func() []serverpages.Setting {
			return []serverpages.Setting{{Key: "public_url", Value: `"https://pods.example.com"`, Source: "podgate.toml"}, {Key: "pods.plans", Value: hostileName, Source: "default"}, {Key: "egress.a.long.name", Value: strings.Repeat("long ", 60), Source: "PODGATE_LONG"}}
		},
		Certificates: func() []serverpages.Certificate {
			return []serverpages.Certificate{{Name: "pods.example.com", Expires: now.Add(60 * 24 * time.Hour)}, {Name: "*.pods.example.com", Problem: "The authority refused <b>it</b>.", At: now.Add(-time.Hour)}}
		},
		Backup: func() serverpages.Backup {
			return serverpages.Backup{State: "failed", Last: now.Add(-27 * time.Hour), Next: now.Add(time.Hour), Problem: "no room for " + hostileName, At: now.Add(-2 * time.Hour)}
		},
		Doctor: func(context.Context) (serverpages.Report, error) {
			return serverpages.Report{URL: "https://pods.example.com/api/mcp", Findings: []serverpages.Finding{{"certificate", "ok", "It is in force.", ""}, {"proxy", "fault", hostileName, "Pass the header Host on."}}}, nil
		},
	}
}

func admin(t *testing.T) (*pagetest.Site, store.User, *pagetest.Browser) {
	t.Helper()
	s := pagetest.New(t, machine)
	u := s.AddUser("ada@example.com", true)
	b := s.Browser()
	b.Enter("ada@example.com")
	return s, u, b
}

func want(t *testing.T, a pagetest.Answer, status int, words ...string) {
	t.Helper()
	main := pagetest.Text(a.All("main")[0])
	if a.StatusCode != status {
		t.Errorf("%s: %d, want %d", a.Request.URL, a.StatusCode, status)
	}
	if strings.Contains(a.HTML, "<script>alert") || strings.Contains(a.HTML, "<b>") {
		t.Errorf("%s: markup of others", a.Request.URL)
	}
	for _, w := range words {
		if !strings.Contains(main, w) {
			t.Errorf("%q is not in:\n%s", w, main)
		}
	}
}

func TestOverview(t *testing.T) {
	t.Parallel()
	_, _, b := admin(t)
	want(t, b.Get("/server"), http.StatusOK, "v1.2.3", "3 hours ago", "is full. Make room", "here works", "pods.example.com in force", "*.pods.example.com none in force", "The authority refused <b>it</b>.", "failed", "no room for", "2 hours ago")
	want(t, b.Post("/server/doctor", nil), http.StatusOK, "certificate ok It is in force.", "proxy fault", "Pass the header Host on.")
	want(t, b.Get("/server/settings"), http.StatusOK, "public_url", "PODGATE_LONG")
}

// For everybody else the pages are what an address is at which there is nothing.
func TestAbsentForOthers(t *testing.T) {
	t.Parallel()
	s := pagetest.New(t, machine)
	s.AddUser("max@example.com", false, "red")
	b := s.Browser()
	b.Enter("max@example.com")
	nothing := b.Get("/nowhere/at/all")
	for _, path := range []string{"/server", "/server/people", "/server/teams", "/server/connections", "/server/clients", "/server/settings", "/server/clients/block"} {
		if a := b.Get(path); a.StatusCode != http.StatusNotFound || a.HTML != nothing.HTML {
			t.Errorf("%s: %d\n%s", path, a.StatusCode, a.HTML)
		}
	}
	if strings.Contains(nothing.HTML, `href="/server"`) {
		t.Error("the navigation leads there")
	}
	want(t, b.Post("/server/doctor", nil), http.StatusNotFound)
}

func TestPeople(t *testing.T) {
	t.Parallel()
	s, ada, b := admin(t)
	want(t, b.Post("/server/people", url.Values{"email": {"grace@example.com"}, "name": {hostileName}, "password": {"short"}}), http.StatusUnprocessableEntity, "Add somebody")
	want(t, b.Post("/server/people", url.Values{"email": {"grace@example.com"}, "name": {hostileName}, "password": {pagetest.Password}, "admin": {"yes"}}), http.StatusOK, "The account is there.", "grace@example.com")
	want(t, b.Post("/server/people", url.Values{"email": {"grace@example.com"}, "password": {pagetest.Password}}), http.StatusConflict, "There is an account with the address grace@example.com already.")
	grace, err := s.DB.UserByEmail("grace@example.com")
	if err != nil {
		t.Fatal(err)
	}
	if grace.Admin {
		t.Error("added as an administrator")
	}
	demote := func(u store.User) pagetest.Answer {
		return b.Post("/server/people/no-admin", url.Values{"user": {string(u.ID)}})
	}
	want(t, demote(ada), http.StatusUnprocessableEntity, "A server needs an administrator.")
	promote := "/server/person/" + string(grace.ID) + "/admin"
	want(t, b.Get(promote), http.StatusOK, "grace@example.com", "make teams and administrators")
	for _, own := range []string{"", "guessed wrongly"} {
		want(t, b.Post(promote, url.Values{"own": {own}}), http.StatusForbidden, "That is not your present password. Nothing was changed.")
	}
	if u, err := s.DB.User(grace.ID); err != nil || u.Admin {
		t.Errorf("without the password: %v, %v", u.Admin, err)
	}
	want(t, b.Post(promote, url.Values{"own": {pagetest.Password}}), http.StatusOK, "administers this server from now on")
	want(t, demote(grace), http.StatusOK, "does not administer this server any more")

	hers := s.Browser()
	hers.Enter("grace@example.com")
	path := "/server/person/" + string(grace.ID)
	want(t, b.Get(path+"/password"), http.StatusOK, "All of their sessions, connections and passkeys end")
	set := func(own, password string) pagetest.Answer {
		return b.Post(path+"/password", url.Values{"own": {own}, "password": {password}})
	}
	want(t, set(pagetest.Password, "short"), http.StatusUnprocessableEntity, "The password is too short.")
	for _, own := range []string{"", "guessed wrongly"} {
		want(t, set(own, "another long sentence"), http.StatusForbidden, "That is not your present password. Nothing was changed.")
	}
	if a := hers.Get("/account"); a.H1() != "Account" {
		t.Errorf("what was refused ended her session: %s", a.H1())
	}
	want(t, set(pagetest.Password, "another long sentence"), http.StatusOK, "The password is set.")
	if a := hers.Get("/account"); a.H1() != "Sign in" {
		t.Errorf("her session goes on: %s", a.H1())
	}
	want(t, b.Get(path+"/remove"), http.StatusOK, "This ends every session, 0 memberships and 0 connections.", "nobody else then. This cannot be")
	for slug, owner := range map[string]bool{"hers": true, "red": false} {
		if _, err := s.Account.AddTeam(t.Context(), slug, slug+" <b>team</b>"); err != nil {
			t.Fatal(err)
		}
		if err := s.Account.AddMember(t.Context(), slug, "grace@example.com", owner); err != nil {
			t.Fatal(err)
		}
	}
	want(t, b.Get(path+"/remove"), http.StatusOK, "2 memberships", "Nobody will own hers <b>team</b> then: make somebody else an owner first")
	want(t, b.Post(path+"/remove", nil), http.StatusOK, "The account is removed")
	want(t, b.Post(path+"/remove", nil), http.StatusNotFound)
	if _, err := s.DB.User(grace.ID); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("still there: %v", err)
	}
	want(t, b.Post("/server/person/"+string(ada.ID)+"/remove", nil), http.StatusUnprocessableEntity, "is the only administrator")
	if n := strings.Count(b.Get("/audit").Text(), "grace@example.com"); n < 5 {
		t.Errorf("the audit list names her %d times", n)
	}
}

func TestLongListsOfTheServer(t *testing.T) {
	t.Parallel()
	s, _, b := admin(t)
	u := s.AddUser("max@example.com", false, "red")
	for i := range 60 {
		s.Connect(u, "red", fmt.Sprintf("App %02d", i), "claude.ai", authz.ScopeRead)
		if _, err := s.Account.AddTeam(t.Context(), fmt.Sprintf("team-%02d", i), ""); err != nil {
			t.Fatal(err)
		}
		if err := s.DB.CreateUser(store.User{ID: store.UserID(store.NewID()), Email: fmt.Sprintf("p%02d@example.com", i), Name: "P"}); err != nil {
			t.Fatal(err)
		}
	}
	count := func(a pagetest.Answer) (n int) {
		for _, li := range a.All("li") {
			if strings.HasPrefix(pagetest.Attr(li, "class"), "row") {
				n++
			}
		}
		return n
	}
	next := func(a pagetest.Answer) string {
		for _, link := range a.All("a") {
			if pagetest.Attr(link, "rel") == "next" {
				return pagetest.Attr(link, "href")
			}
		}
		return ""
	}
	for path, all := range map[string]int{"/server/people": 62, "/server/teams": 61, "/server/connections": 60, "/server/clients": 60} {
		first := b.Get(path)
		second := b.Get(next(first))
		if count(first) != 50 || count(second) != all-50 || next(second) != "" {
			t.Errorf("%s: %d rows, then %d, want %d in all", path, count(first), count(second), all)
		}
	}
	for path, want := range map[string]int{
		"/server/teams?q=TEAM-07": 1, "/server/teams?q=team": 50, "/server/teams?q=none": 0, "/server/connections?q=app+max+07": 1, "/server/connections?q=ada": 0,
		"/server/clients?q=app+07": 1, "/server/clients?q=claude.ai": 50, "/server/clients?list=blocked&q=app": 0,
	} {
		if a := b.Get(path); count(a) != want || want == 50 && !strings.Contains(next(a), "q=") {
			t.Errorf("%s: %d rows, want %d; then %s", path, count(a), want, next(a))
		}
	}
	if n := count(b.Get("/server/people?q=p07")); n != 1 {
		t.Errorf("%d people are found", n)
	}
	want(t, b.Get("/server/teams?after=nonsense!"), http.StatusBadRequest, "There is no such page of this list.")
}

func TestTeamsOfTheServer(t *testing.T) {
	t.Parallel()
	s, _, b := admin(t)
	want(t, b.Post("/server/teams", url.Values{"name": {"Analytical engines"}}), http.StatusOK, "The team is there.", "analytical-engines", "1 member · 0 of 10 pods")
	want(t, b.Post("/server/teams", url.Values{"name": {"Again"}, "slug": {"analytical-engines"}}), http.StatusConflict, "There is a team analytical-engines already.")
	const path = "/server/quota/analytical-engines"
	want(t, b.Post(path, url.Values{"pods": {"3"}, "memory": {"512"}}), http.StatusOK, "The quota is set.", "0 of 3 pods · up to 512 MB memory")
	for _, bad := range []string{"0", "-1", "many", "99999999999999999999"} {
		want(t, b.Post(path, url.Values{"pods": {bad}}), http.StatusUnprocessableEntity, "Write a whole number above 0")
	}
	want(t, b.Post(path, url.Values{"pods": {""}}), http.StatusOK, "0 of 10 pods")
	if team, err := s.DB.TeamBySlug("analytical-engines"); err != nil || team.Quota != (store.Quota{}) {
		t.Errorf("the quota: %+v, %v", team.Quota, err)
	}
}

// A client that an administrator blocks loses what it has, and its people read why.
func TestClients(t *testing.T) {
	t.Parallel()
	s, _, b := admin(t)
	max := s.AddUser("max@example.com", false, "red")
	g := s.Connect(max, "red", hostileName, "claude.ai", authz.ScopeRead)
	path := func(act string) string {
		return "/server/clients/" + act + "?client=" + url.QueryEscape(string(g.Client))
	}
	want(t, b.Get("/server/clients"), http.StatusOK, "registered itself for claude.ai · 1 connection")
	want(t, b.Get(path("block")), http.StatusOK, "This ends 1 connection of everybody who uses it.")
	want(t, b.Post(path("block"), nil), http.StatusOK, "The client is blocked, and 1 connection ended.")
	want(t, b.Get("/server/clients?list=blocked"), http.StatusOK, "blocked")
	if _, err := s.Account.Connection(max.ID, g.ID); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the connection: %v", err)
	}
	his := s.Browser()
	his.Enter("max@example.com")
	if audit := his.Get("/audit").Text(); !strings.Contains(audit, "ada@example.com") || !strings.Contains(audit, "with its client") {
		t.Errorf("he is not told: %s", audit)
	}
	want(t, b.Post(path("unblock"), nil), http.StatusOK, "The client is let in again.")
	want(t, b.Get(path("forget")), http.StatusOK, "It has no connection.")
	want(t, b.Post(path("forget"), nil), http.StatusOK, "The client is forgotten.")
	want(t, b.Post(path("forget"), nil), http.StatusNotFound)
	want(t, b.Get(path("dance")), http.StatusNotFound)
}

// Somebody whose rights as an administrator are taken away meanwhile has them no more.
func TestNoAdministratorAnyMore(t *testing.T) {
	t.Parallel()
	s, _, b := admin(t)
	grace := s.AddUser("grace@example.com", true)
	hers := s.Browser()
	hers.Enter("grace@example.com")
	want(t, hers.Get("/server"), http.StatusOK)
	b.Post("/server/people/no-admin", url.Values{"user": {string(grace.ID)}})
	want(t, hers.Get("/server"), http.StatusNotFound)
	want(t, hers.Post("/server/people", url.Values{"email": {"eve@example.com"}, "password": {pagetest.Password}, "admin": {"yes"}}), http.StatusNotFound)
	if _, err := s.Account.UserByEmail("eve@example.com"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("made by nobody: %v", err)
	}
}

// A second look from outside waits for nobody: it is refused while the first goes on.
func TestLookIsOneAtATime(t *testing.T) {
	t.Parallel()
	began, end := make(chan struct{}), make(chan struct{})
	s := pagetest.New(t, func(cfg *ui.Config) {
		cfg.Machine.Doctor = func(ctx context.Context) (serverpages.Report, error) {
			if _, bounded := ctx.Deadline(); !bounded {
				return serverpages.Report{}, errors.New("it could go on for ever")
			}
			close(began)
			<-end
			return serverpages.Report{}, nil
		}
	})
	s.AddUser("ada@example.com", true)
	b := s.Browser()
	b.Enter("ada@example.com")
	first := make(chan pagetest.Answer)
	go func() { first <- b.Post("/server/doctor", nil) }()
	<-began
	want(t, b.Post("/server/doctor", nil), http.StatusTooManyRequests, "Somebody has the server looked at right now.")
	close(end)
	want(t, <-first, http.StatusOK)
}
