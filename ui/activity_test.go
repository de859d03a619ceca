package ui_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"podgate/history"
	"podgate/store"
	"podgate/ui/pagetest"
)

// visitor is a request from elsewhere, as the recorder sees it.
func visitor(s *pagetest.Site, addr, agent string) history.Visitor {
	r := httptest.NewRequest("GET", "/", nil)
	r.RemoteAddr = addr + ":99"
	r.Header.Set("User-Agent", agent)
	return s.History.Visitor(r)
}

const firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"

// seedAttempts lets several clients fare well and badly: the user's own, another
// person's, and strangers'.
func seedAttempts(s *pagetest.Site, u store.User, slug string) {
	s.T.Helper()
	team, err := s.DB.TeamBySlug(slug)
	if err != nil {
		s.T.Fatal(err)
	}
	take := func(wait time.Duration, notes ...history.Note) (id store.AttemptID) {
		for _, n := range notes {
			id = s.History.Step(n)
			s.Clock.Advance(wait)
		}
		return id
	}
	cloud, browser, local := visitor(s, "203.0.113.9", "Claude-User/1.0"), visitor(s, "198.51.100.7", firefox), visitor(s, "198.51.100.7", "codex-cli/0.40")
	// Works.
	take(time.Second, history.Note{Kind: history.StepChallenge, From: cloud},
		history.Note{Kind: history.StepDiscovery, Detail: "resource document (path form)", From: cloud},
		history.Note{Kind: history.StepDiscovery, Detail: "authorization server document (root form)", From: cloud},
		history.Note{Kind: history.StepRegister, Client: "c1", ClientName: hostileName, From: cloud, Detail: "kept claude.ai"},
		history.Note{Kind: history.StepAuthorize, Client: "c1", Host: "claude.ai", From: browser},
		history.Note{Kind: history.StepSignIn, Client: "c1", From: browser})
	s.History.SignedIn(browser, "c1", u.ID, "")
	id := take(time.Second, history.Note{Kind: history.StepConsent, Client: "c1", From: browser, User: u.ID})
	grant := s.Connect(u, slug, "Claude", "claude.ai", "pods:read")
	take(time.Minute, history.Note{Kind: history.StepApprove, Client: "c1", Attempt: id, User: u.ID, Team: team.ID, Detail: "pods:read pods:write", From: browser},
		history.Note{Kind: history.StepCode, Client: "c1", Attempt: id, User: u.ID, Team: team.ID, Grant: grant.ID, From: cloud},
		history.Note{Kind: history.StepCall, Client: "c1", Attempt: id, User: u.ID, Grant: grant.ID, From: cloud},
		history.Note{Kind: history.StepCall, Client: "c1", Attempt: id, User: u.ID, Grant: grant.ID, From: cloud})
	// Stuck.
	id = take(time.Second, history.Note{Kind: history.StepConsent, Client: "c2", Host: "127.0.0.1:43112", ClientName: "Codex", From: browser, User: u.ID})
	take(time.Hour, history.Note{Kind: history.StepApprove, Client: "c2", Attempt: id, User: u.ID, Team: team.ID, From: browser})
	// Refused.
	take(time.Second, history.Note{Kind: history.StepAuthorize, Fault: history.FaultUnknownClient, Detail: "This server does not know the app that sent you here; it may have forgotten it.", From: browser, User: u.ID})
	// Strangers and somebody else.
	take(time.Hour, history.Note{Kind: history.StepChallenge, From: visitor(s, "192.0.2.77", hostileName)})
	take(time.Second, history.Note{Kind: history.StepConsent, Client: "c3", Host: "other.example", ClientName: "Other", From: visitor(s, "192.0.2.9", firefox), User: "somebody-else"})
	// Waiting.
	take(time.Second, history.Note{Kind: history.StepDiscovery, Detail: "resource document (path form)", From: local},
		history.Note{Kind: history.StepAuthorize, Client: "https://chatgpt.com/client.json", Public: true, From: browser, User: u.ID})
	s.History.Audit(cloud, store.AuditEntry{Action: history.AuditTool, Actor: u.ID, Grant: grant.ID, Team: team.ID, Object: "manage_pod restart blog"})
	s.History.Audit(cloud, store.AuditEntry{Action: history.AuditTool, Actor: u.ID, Grant: grant.ID, Team: team.ID, Object: "exec_command blog", Outcome: "denied"})
	s.History.Audit(visitor(s, "192.0.2.66", hostileName), store.AuditEntry{Action: history.AuditSignIn, Object: u.Email, Concerns: u.ID, Outcome: "wrong password"})
	s.History.Audit(history.Visitor{}, store.AuditEntry{Action: history.AuditTeamAdd, ActorName: history.CommandLine, TeamName: "navy", Object: hostileName})
}

// People see their own attempts, administrators everybody's too.
func TestActivity(t *testing.T) {
	t.Parallel()
	s := pagetest.New(t)
	ada, bob := s.AddUser("ada@example.com", true, "red"), s.AddUser("bob@example.com", false, "red")
	seedAttempts(s, ada, "red")
	a, b := s.Browser(), s.Browser()
	a.Enter("ada@example.com")
	b.Enter("bob@example.com")
	own := a.Get("/activity").Text()
	for _, want := range []string{
		"claude.ai works", "It works.", "Read the resource document (path form)", "Registered itself: kept claude.ai", "2 times",
		"Codex stuck a program on the person's computer (127.0.0.1:43112)", "never came for its token", "no longer knows. Remove the connector in the assistant and add it again.", "refused", "chatgpt.com waiting",
		"team red", "Firefox on Linux",
	} {
		if !strings.Contains(own, want) {
			t.Errorf("the person's page lacks %q:\n%s", want, own)
		}
	}
	// A loose step of their own attempt comes without its origin.
	if strings.Contains(own, "codex-cli/0.40") || strings.Count(own, "Claude-User/1.0") != 3 {
		t.Errorf("origins of loose steps are shown:\n%s", own)
	}
	for _, foreign := range []string{"other.example", "192.0.2.77", "removed account"} {
		if strings.Contains(own, foreign) {
			t.Errorf("the person's page shows %q", foreign)
		}
	}
	all := a.Get("/activity?all=1").Text()
	for _, want := range []string{"other.example", "192.0.2.77", "a removed account", "ada@example.com", "codex-cli/0.40", "strips that header"} {
		if !strings.Contains(all, want) {
			t.Errorf("the administrator's page lacks %q:\n%s", want, all)
		}
	}
	for _, path := range []string{"/activity", "/activity?all=1", "/activity?connection=" + string(firstGrant(t, s, ada))} {
		if page := b.Get(path); page.StatusCode != http.StatusOK || strings.Contains(page.Text(), "claude.ai") || !strings.Contains(page.Text(), "Nothing yet") {
			t.Errorf("%s shows %s to somebody else:\n%s", path, bob.Email, page.Text())
		}
	}
	one := a.Get("/activity?connection=" + string(firstGrant(t, s, ada)))
	if text := one.Text(); !strings.Contains(text, "How claude.ai fared") || strings.Contains(text, "127.0.0.1:43112") {
		t.Errorf("the page of one connection: %s", text)
	}
	if out := s.Browser().Get("/activity"); !strings.Contains(out.H1(), "Sign in") {
		t.Errorf("a stranger sees %s", out.Text())
	}
}

func firstGrant(t *testing.T, s *pagetest.Site, u store.User) store.GrantID {
	t.Helper()
	list, err := s.Account.Connections(u.ID)
	if err != nil || len(list) == 0 {
		t.Fatal(list, err)
	}
	return list[0].ID
}

// The audit list says a day once, above what happened on it.
func TestAuditListGoesByDay(t *testing.T) {
	t.Parallel()
	s := pagetest.New(t)
	u := s.AddUser("ada@example.com", false, "red")
	b := s.Browser()
	b.SignIn("ada@example.com")
	s.Clock.Advance(11*time.Hour + 59*time.Minute)
	b.Post("/sign-out", nil)
	s.Clock.Advance(2 * time.Minute) // past midnight
	b.SignIn(u.Email)
	b.Post("/account/password", url.Values{"old": {"wrong"}, "password": {"another long password"}, "again": {"another long password"}})
	a := b.Get("/audit")
	var days []string
	for _, section := range a.All("section") {
		days = append(days, fmt.Sprintf("%s, labelled %s", pagetest.Text(section), pagetest.Attr(section, "aria-labelledby")))
	}
	if len(days) != 2 || !strings.HasPrefix(days[0], "2 March 2026 You ") || !strings.HasPrefix(days[1], "1 March 2026 You signed out 23:59:00 ") ||
		!strings.Contains(days[1], "You signed in 12:00:00") || !strings.HasSuffix(days[0], "labelled day-2026-03-02") {
		t.Errorf("%d days:\n%s", len(days), strings.Join(days, "\n"))
	}
}

// The connection's row leads to its activity.
func TestConnectionLeadsToActivity(t *testing.T) {
	t.Parallel()
	s := pagetest.New(t)
	u := s.AddUser("ada@example.com", false, "red")
	g := s.Connect(u, "red", "Claude", "claude.ai", "pods:read")
	b := s.Browser()
	b.Enter("ada@example.com")
	if list := b.Get("/connections"); !strings.Contains(list.HTML, `href="/activity?connection=`+string(g.ID)+`"`) {
		t.Error("no link to the activity of the connection")
	}
}

func TestListsArePaged(t *testing.T) {
	t.Parallel()
	s := pagetest.New(t)
	u := s.AddUser("ada@example.com", true, "red")
	for i := range 60 {
		s.History.Step(history.Note{Kind: history.StepConsent, Client: store.ClientID(fmt.Sprint("c", i)), Host: fmt.Sprintf("host-%02d.example", i), User: u.ID, From: visitor(s, "192.0.2.9", firefox)})
		s.History.Audit(history.Visitor{}, store.AuditEntry{Action: history.AuditTool, Actor: u.ID, Object: fmt.Sprintf("host-%02d.example", i)})
		s.History.Audit(history.Visitor{}, store.AuditEntry{Action: history.AuditTool, Actor: u.ID, Object: "between"})
		s.Clock.Advance(time.Second)
	}
	b := s.Browser()
	b.Enter("ada@example.com")
	for path, want := range map[string]int{"/activity": 3, "/activity?all=1": 3, "/audit": 3, "/audit?all=1": 3} {
		seen, pages := "", 0
		for next := path; next != "" && pages < 10; pages++ {
			page := b.Get(next)
			seen += page.Text()
			if (pages > 0) != links(page, "Newest") {
				t.Errorf("%s: page %d leads to the newest: %v", path, pages, links(page, "Newest"))
			}
			next = href(page, "Older")
		}
		if pages != want || strings.Count(seen, "host-") != 60 || !strings.Contains(seen, "host-00.") {
			t.Errorf("%s: %d pages, %d of 60 seen", path, pages, strings.Count(seen, "host-"))
		}
	}
	for _, path := range []string{"/activity?before=!", "/audit?before=%00", "/audit?all=1&before=" + strings.Repeat("A", 2000)} {
		if page := b.Get(path); page.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %d", path, page.StatusCode)
		}
	}
}

func href(a pagetest.Answer, label string) string {
	for _, n := range a.All("a") {
		if pagetest.Text(n) == label {
			return pagetest.Attr(n, "href")
		}
	}
	return ""
}

func links(a pagetest.Answer, label string) bool { return href(a, label) != "" }

// Every form that changes something leaves an entry that its person sees.
func TestFormsAreAudited(t *testing.T) {
	t.Parallel()
	s := pagetest.New(t)
	token, err := s.Account.SetupLink(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b := s.Browser()
	b.Get("/setup?token=" + token)
	b.Post("/setup", url.Values{"email": {"ada@example.com"}, "name": {"Ada"}, "password": {password}, "team": {"Red"}})
	u, err := s.DB.UserByEmail("ada@example.com")
	if err != nil {
		t.Fatal(err)
	}
	other := s.Browser()
	other.Post("/sign-in", url.Values{"email": {"ada@example.com"}, "password": {"wrong"}})
	other.Post("/sign-in", url.Values{"email": {"my secret password"}, "password": {"ada@example.com"}})
	other.SignIn("ada@example.com")
	sessions, err := s.Account.Sessions(u.ID)
	if err != nil || len(sessions) != 2 {
		t.Fatal(sessions, err)
	}
	for _, session := range sessions {
		if session.Hash.String() != store.HashSecret(b.Cookie("podgate")).String() {
			b.Post("/account/end-session", url.Values{"session": {session.Hash.String()}})
		}
	}
	b.Post("/account/password", url.Values{"old": {"wrong"}, "password": {"a new and long sentence"}, "again": {"a new and long sentence"}})
	b.Post("/account/password", url.Values{"old": {password}, "password": {"a new and long sentence"}, "again": {"a new and long sentence"}})
	g := s.Connect(u, "red", "Claude", "claude.ai", "pods:read")
	s.Connect(u, "red", "Codex", "127.0.0.1:9", "pods:read")
	b.Post("/connection/"+string(g.ID)+"/limits", url.Values{"scope": {"pods:read"}, "prefix": {"web-"}})
	b.Post(revokePath(g), nil)
	b.Post(revokePath(g), nil)
	b.Post("/sign-out", nil)
	b.Post("/sign-in", url.Values{"email": {"ada@example.com"}, "password": {"a new and long sentence"}})
	b.Post("/account/log-out-everywhere", nil)
	page, err := s.History.AuditList(store.AuditQuery{User: u.ID, Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range page.Entries {
		entry := string(e.Action)
		if e.Client != "" {
			entry += " " + e.Client
		}
		if e.Outcome != store.AuditOK {
			entry += " (" + e.Outcome + ")"
		}
		got = append(got, entry)
		if e.Addr == "" {
			t.Errorf("%s has no address", entry)
		}
	}
	slices.Reverse(got)
	want := []string{
		"setup", "sign_in (wrong password)", "sign_in", "end_session", "change_password (wrong password)", "change_password",
		"change_connection claude.ai", "revoke_connection claude.ai", "sign_out", "sign_in", "log_out_everywhere", "revoke_connection 127.0.0.1:9",
	}
	slices.Sort(got) // all of it happens at one instant
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("the entries are\n%q\nwant\n%q", got, want)
	}
	everything, err := s.History.AuditList(store.AuditQuery{Limit: 100})
	if err != nil || strings.Contains(fmt.Sprint(everything), "secret password") {
		t.Errorf("what was typed into the wrong field was kept: %+v, %v", everything, err)
	}
	reader := s.Browser()
	reader.Post("/sign-in", url.Values{"email": {"ada@example.com"}, "password": {"a new and long sentence"}})
	if text := reader.Get("/audit").Text(); !strings.Contains(text, "through “Codex” at 127.0.0.1:9") || !strings.Contains(text, "through claude.ai") {
		t.Errorf("the list names apps otherwise: %s", text)
	}
	attempts, err := s.History.OwnAttempts(u.ID, "", "", 10)
	if err != nil || len(attempts.Attempts) != 2 {
		t.Fatalf("%+v, %v", attempts, err)
	}
	for _, attempt := range attempts.Attempts {
		if attempt.Diagnosis.State != history.Ended || attempt.Steps[len(attempt.Steps)-1].Kind != history.StepRevoke {
			t.Errorf("%+v", attempt)
		}
	}
}

// That some of a flood was not kept is podgate's own remark, wherever it stands.
func TestLostEntriesAreTold(t *testing.T) {
	t.Parallel()
	s := pagetest.New(t)
	s.AddUser("ada@example.com", true, "red")
	b := s.Browser()
	b.Enter("ada@example.com")
	b.Get("/audit") // what was noted so far is written
	for i := range 300 {
		s.History.Audit(history.Visitor{}, store.AuditEntry{Action: history.AuditSignIn, Outcome: fmt.Sprint("wrong ", i)})
	}
	if a := b.Get("/audit?all=1"); !strings.Contains(a.Text(), "podgate could not keep everything") {
		t.Errorf("%s", a.Text())
	}
}
