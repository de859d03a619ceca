package ui

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"podgate/history"
	"podgate/internal/text"
	"podgate/internal/web"
	"podgate/store"
	"podgate/ui/page"
)

// The lengths of a page.
const (
	attemptsAPage = 20
	entriesAPage  = 50
)

// listPage is what the two lists of history share.
type listPage struct {
	Admin bool   // may choose between all and their own
	All   bool   // everybody's
	Newer string // the address of the first page; empty: this is it
	Older string // of the page that follows; empty: there is none
}

// activityPage is the content of activity.html.
type activityPage struct {
	listPage
	Connection string // the host of the only connection that is shown; may be empty
	Attempts   []attemptView
}

// Tabs are the lists beside this one.
func (v activityPage) Tabs() []tab { return historyTabs("activity", v.Admin, v.All, v.Connection) }

type attemptView struct {
	Title   string // the client's host, as far as it is known
	Here    bool   // that is a person's own computer, which says nothing of the client
	Name    string // what it calls itself
	Person  string // whose it is, for administrators
	Team    string
	State   history.State
	Last    time.Time
	What    string
	Next    string
	Usually string
	Steps   []stepView
	Dropped int
	Count   int // of steps, repetitions and dropped ones included
}

type stepView struct {
	Text    string
	Refused bool
	At      time.Time
	Last    time.Time
	Count   int
	SameDay bool   // as the step before
	From    string // address and User-Agent
}

// serveActivity is GET /activity: the attempts of clients to connect, with
// what became of them. Query: all=1 (administrators), connection, before.
func (s *Server) serveActivity(w http.ResponseWriter, r *http.Request, p page.Person) error {
	q := r.URL.Query()
	view := activityPage{listPage: listOf(p, q)}
	list, err := s.attempts(p, q, view.All)
	if err != nil {
		return oldPage(err)
	}
	names, err := s.namesOf(p, view.All)
	if err != nil {
		return err
	}
	for _, a := range list.Attempts {
		view.Attempts = append(view.Attempts, s.viewAttempt(a, names))
	}
	if q.Get("connection") != "" && len(list.Attempts) > 0 {
		first := s.viewAttempt(list.Attempts[0], names)
		view.Connection = clientLabel(first.Name, first.Title)
	}
	view.pages(r, list.Next)
	return s.render(w, r, page.Plain, http.StatusOK, "activity", page.Frame{Title: view.title("Activity"), Here: "activity", Page: view})
}

// attempts reads what the person may see.
func (s *Server) attempts(p page.Person, q url.Values, all bool) (history.AttemptPage, error) {
	before := q.Get("before")
	if all {
		return s.History.Attempts(store.AttemptQuery{Before: before, Limit: attemptsAPage})
	}
	return s.History.OwnAttempts(p.User.ID, store.GrantID(q.Get("connection")), before, attemptsAPage)
}

// listOf reads which list is wanted. Only administrators may see everybody's.
func listOf(p page.Person, q url.Values) listPage {
	return listPage{Admin: p.User.Admin, All: p.User.Admin && q.Get("all") == "1"}
}

// pages fills in where the pages before and after this one are.
func (l *listPage) pages(r *http.Request, next string) {
	q := r.URL.Query()
	address := func(before string) string {
		kept := url.Values{}
		for _, name := range []string{"all", "connection"} {
			if v := q.Get(name); v != "" {
				kept.Set(name, text.Cut(v, 64))
			}
		}
		if before != "" {
			kept.Set("before", before)
		}
		if len(kept) == 0 {
			return r.URL.Path
		}
		return r.URL.Path + "?" + kept.Encode()
	}
	if q.Get("before") != "" {
		l.Newer = address("")
	}
	if next != "" {
		l.Older = address(next)
	}
}

func (l *listPage) title(name string) string {
	if l.All {
		return name + " of everybody"
	}
	return name
}

// oldPage says what to do about an address whose page begins nowhere.
func oldPage(err error) error {
	if errors.Is(err, store.ErrCursor) {
		return web.Fault(http.StatusBadRequest, "invalid_request", "There is no such page of this list. Begin at its first page.", err)
	}
	return err
}

// namesByID are people and teams as the lists show them.
type namesByID struct {
	users map[store.UserID]string
	teams map[store.TeamID]string
}

// namesOf looks up the names that a page may show: everybody's, or those of the
// person's own teams.
func (s *Server) namesOf(p page.Person, all bool) (namesByID, error) {
	names := namesByID{map[store.UserID]string{}, map[store.TeamID]string{}}
	if !all {
		own, err := s.Account.TeamsOf(p.User.ID)
		for _, m := range own {
			names.teams[m.Team.ID] = text.Line(m.Team.Name, 80)
		}
		return names, err
	}
	teams, err := s.Account.Teams()
	if err != nil {
		return names, err
	}
	for _, t := range teams {
		names.teams[t.ID] = text.Line(t.Name, 80)
	}
	users, err := s.Account.Users()
	for _, u := range users {
		names.users[u.ID] = text.Line(u.Email, 254)
	}
	return names, err
}

func (s *Server) viewAttempt(a history.Attempt, names namesByID) attemptView {
	d := a.Diagnosis
	v := attemptView{
		Title: text.Line(orUnknown(a.Host), 255), Name: text.Line(a.ClientName, 60), Team: names.teams[a.Team],
		Person: names.users[a.User], State: d.State, Last: a.Last(), What: d.What, Next: d.Next, Usually: d.Usually, Dropped: a.Dropped,
	}
	if host, ok := documentHost(a.Client); ok && a.Host == "" {
		v.Title = host
	}
	if a.User != "" && v.Person == "" && len(names.users) > 0 {
		v.Person = "a removed account"
	}
	v.Here, v.Count = page.IsLocal(hostAlone(v.Title)), a.Dropped
	for i, step := range a.Steps {
		view := viewStep(step)
		view.SameDay = i > 0 && sameDay(a.Steps[i-1].At, step.At)
		v.Steps = append(v.Steps, view)
		v.Count += step.Count
	}
	return v
}

// sameDay compares days as the pages show them.
func sameDay(a, b time.Time) bool {
	return a.UTC().Format(time.DateOnly) == b.UTC().Format(time.DateOnly)
}

func orUnknown(host string) string {
	if host == "" {
		return "A client"
	}
	return host
}

// documentHost is the host of a client that is known by a document's address.
func documentHost(id store.ClientID) (string, bool) {
	u, err := url.Parse(string(id))
	if err != nil || u.Scheme != "https" {
		return "", false
	}
	return text.Line(u.Host, 255), true
}

func viewStep(step store.Step) stepView {
	v := stepView{
		Text: text.Line(history.Words(step), 400), Refused: step.Fault != "", At: step.At, Last: step.Last, Count: step.Count,
	}
	var from []string
	for _, part := range []string{text.Line(step.Addr, 60), agentName(step.Agent)} {
		if part != "" {
			from = append(from, part)
		}
	}
	v.From = strings.Join(from, " · ")
	return v
}

// agentName is a browser by its name and a client by its User-Agent.
func agentName(userAgent string) string {
	if userAgent == "" {
		return ""
	}
	if name := browserName(userAgent); strings.HasPrefix(userAgent, "Mozilla/") {
		return name
	}
	return text.Line(userAgent, 80)
}

// auditPage is the content of audit.html.
type auditPage struct {
	listPage
	Days []dayView
}

// Tabs are the lists beside this one.
func (v auditPage) Tabs() []tab { return historyTabs("audit", v.Admin, v.All, "") }

// dayView is what happened on one day, the latest first.
type dayView struct {
	Date    time.Time
	Entries []entryView
}

type entryView struct {
	What    string
	Actor   string // who did it; empty: the person who looks
	Through string // the connection's host, for a local one with what the client claims to be
	Team    string
	Object  string
	Tool    bool   // Object is a tool and what it was used on
	Failed  string // why it was refused
	At      time.Time
	Count   int
	Addr    string
}

// serveAudit is GET /audit: who did what. Query: all=1 (administrators),
// before.
func (s *Server) serveAudit(w http.ResponseWriter, r *http.Request, p page.Person) error {
	q := r.URL.Query()
	view := auditPage{listPage: listOf(p, q)}
	query := store.AuditQuery{Before: q.Get("before"), Limit: entriesAPage}
	if !view.All {
		query.User = p.User.ID
	}
	list, err := s.History.AuditList(query)
	if err != nil {
		return oldPage(err)
	}
	for _, e := range list.Entries {
		if n := len(view.Days); n == 0 || !sameDay(view.Days[n-1].Date, e.Last) {
			view.Days = append(view.Days, dayView{Date: e.Last})
		}
		day := &view.Days[len(view.Days)-1]
		day.Entries = append(day.Entries, viewEntry(e, list.Claimed(e), p.User.ID, view.All))
	}
	view.pages(r, list.Next)
	return s.render(w, r, page.Plain, http.StatusOK, "audit", page.Frame{Title: view.title("Audit list"), Here: "activity", Page: view})
}

// viewEntry shows an entry to its reader; claimed is what the client of its
// connection calls itself.
func viewEntry(e store.AuditEntry, claimed string, reader store.UserID, all bool) entryView {
	v := entryView{
		What: history.AuditWords(e), Actor: text.Line(e.ActorName, 254), Through: clientLabel(text.Line(claimed, 60), text.Line(e.Client, 255)), Team: text.Line(e.TeamName, 80),
		Object: text.Line(e.Object, 254), Tool: e.Action == history.AuditTool, At: e.Last, Count: e.Count, Addr: text.Line(e.Addr, 60),
	}
	if e.Outcome != store.AuditOK {
		v.Failed = text.Line(e.Outcome, 200)
	}
	switch {
	case e.Actor == reader && !all:
		v.Actor = ""
	case v.Actor == "" && e.Stranger && e.Action != store.AuditLost:
		v.Actor = "somebody"
	case v.Actor == "":
		v.Actor = "podgate"
	}
	return v
}

// tab is one of the lists of history.
type tab struct {
	Name, Href string
	Here       bool
}

// historyTabs are the lists that somebody may look at: the two kinds, then, for
// administrators, the way from everybody's to their own and back. A page of one
// connection is none of them.
func historyTabs(here string, admin, all bool, connection string) []tab {
	query, others := "", "?all=1"
	if all {
		query, others = others, query
	}
	list := []tab{
		{"Attempts", "/activity" + query, here == "activity" && connection == ""},
		{"Audit list", "/audit" + query, here == "audit"},
	}
	switch {
	case admin && all:
		list = append(list, tab{"Only mine", "/" + here + others, false})
	case admin:
		list = append(list, tab{"Everybody's", "/" + here + others, false})
	}
	return list
}
