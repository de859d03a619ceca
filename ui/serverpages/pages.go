package serverpages

import (
	"context"
	"embed"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/julienschmidt/httprouter"

	"podgate/internal/authz"
	"podgate/internal/text"
	"podgate/internal/web"
	"podgate/pods"
	"podgate/store"
	"podgate/ui/page"
)

// Machine is what only the program as a whole knows of the server.
type Machine struct {
	Version      string
	Started      time.Time
	Problems     func() []string                       // what keeps it from doing all that it is there for
	Settings     func() []Setting                      // without secrets
	Certificates func() []Certificate                  // of podgate's own names; nil: somebody else answers https
	Backup       func() Backup                         // of the backups that it makes by itself; nil: it makes none
	Doctor       func(context.Context) (Report, error) // looks from outside; nil: it cannot
}

// Backup is how the daily backups are.
type Backup struct {
	State   string    // ok, none (yet), late, failed
	Last    time.Time // zero: there is none yet
	Next    time.Time
	Problem string // of the last try
	At      time.Time
}

// Setting is one setting in force.
type Setting struct{ Key, Value, Source string }

// Certificate is how the certificate of a name is.
type Certificate struct {
	Name    string
	Expires time.Time // zero: there is none yet
	Problem string    // the last failure; may be empty
	At      time.Time // of that failure
}

// Report is what a look from outside found.
type Report struct {
	URL      string
	Findings []Finding
}

// Finding is what one check says.
type Finding struct{ Check, Level, Text, Advice string }

// Config is what Pages need beside the shell.
type Config struct {
	Pods    *pods.Service // nil: this server has none
	Machine Machine
}

// Pages serves the pages for administrators.
type Pages struct {
	*page.Shell
	cfg     Config
	area    *page.Area
	looking sync.Mutex // one look from outside at a time
}

//go:embed templates
var files embed.FS

// New returns the pages for administrators.
func New(shell *page.Shell, cfg Config) (*Pages, error) {
	s := &Pages{Shell: shell, cfg: cfg}
	var err error
	s.area, err = shell.NewArea(files, notices)
	return s, err
}

// notices are what these pages' forms say afterwards.
var notices = map[string]page.Notice{
	"person-added":     page.Says("", "", "The account is there. Take the person into a team, or invite them to one."),
	"person-admin":     page.Says("", "", "That person administers this server from now on."),
	"person-no-admin":  page.Says("", "", "That person does not administer this server any more."),
	"person-password":  page.Says("", "", "The password is set. All of that person's sessions, connections and passkeys ended."),
	"person-removed":   page.Says("", "", "The account is removed, with its sessions, memberships and connections."),
	"team-made":        page.Says("", "", "The team is there. You are its owner; invite others on its page."),
	"quota-set":        page.Says("", "", "The quota is set."),
	"client-unblocked": page.Says("", "", "The client is let in again. Its people have to connect it anew."),
	"client-blocked":   {Text: func(ended int) string { return "The client is blocked" + endedWords(ended) }},
	"client-forgotten": {Text: func(ended int) string { return "The client is forgotten" + endedWords(ended) }},
}

func endedWords(ended int) string {
	if ended == 0 {
		return "."
	}
	return ", and " + page.Plural(ended, "connection", "connections") + " ended."
}

// Names are the names of the pages, so that none goes without a test.
func (s *Pages) Names() []string { return s.area.Names() }

// Routes returns every route of these pages.
func (s *Pages) Routes() []web.Route {
	get := func(path string, h handler) web.Route { return s.Get(path, s.admin(h)) }
	post := func(path string, h handler) web.Route { return s.Post(path, s.admin(h)) }
	return []web.Route{
		get("/server", s.serveOverview),
		post("/server/doctor", s.handleDoctor),
		get("/server/people", s.servePeople),
		post("/server/people", s.handleAdd),
		post("/server/people/no-admin", s.handleNoAdmin),
		get("/server/person/:user/admin", s.serveMakeAdmin),
		post("/server/person/:user/admin", s.handleMakeAdmin),
		get("/server/person/:user/password", s.servePassword),
		post("/server/person/:user/password", s.handlePassword),
		get("/server/person/:user/remove", s.serveRemove),
		post("/server/person/:user/remove", s.handleRemove),
		get("/server/teams", s.serveTeams),
		post("/server/teams", s.handleMakeTeam),
		get("/server/quota/:slug", s.serveQuota),
		post("/server/quota/:slug", s.handleQuota),
		get("/server/connections", s.serveConnections),
		get("/server/clients", s.serveClients),
		get("/server/clients/:act", s.serveClientAct),
		post("/server/clients/:act", s.handleClientAct),
		get("/server/settings", s.serveSettings),
	}
}

// opened is the server in the hands of an administrator.
type opened struct {
	page.Person
	Actor authz.Actor
}

type handler func(http.ResponseWriter, *http.Request, opened) error

// admin lets administrators through. For others there is nothing.
func (s *Pages) admin(h handler) web.Handler {
	return s.SignedIn(func(w http.ResponseWriter, r *http.Request, p page.Person) error {
		actor := authz.OfServer(p.User)
		if actor.Allow(authz.Administer, actor.Team.ID) != nil {
			return page.Absent()
		}
		return h(w, r, opened{p, actor})
	})
}

type tab struct {
	Name, Href string
	Here       bool
}

func tabs(here string) []tab {
	list := []tab{{"Overview", "/server", false}, {"People", "/server/people", false}, {"Teams", "/server/teams", false}, {"Connections", "/server/connections", false}, {"Clients", "/server/clients", false}, {"Settings", "/server/settings", false}}
	for i := range list {
		list[i].Here = list[i].Name == here
	}
	return list
}

func (s *Pages) render(w http.ResponseWriter, r *http.Request, status int, name, title string, view any) error {
	return s.area.Render(w, r, page.Plain, status, name, page.Frame{Title: title, Here: "server", Page: view, Wide: true})
}

// record puts what an administrator did into the audit list.
func (s *Pages) record(r *http.Request, o opened, action store.AuditAction, object string, concerns store.UserID, failed error) {
	if concerns == o.User.ID {
		concerns = ""
	}
	s.Audit(r, o.Person, store.AuditEntry{Action: action, Object: object, Outcome: page.OutcomeOf(failed), Concerns: concerns})
}

func param(r *http.Request, name string) string {
	return httprouter.ParamsFromContext(r.Context()).ByName(name)
}

// search is the form above a list that is long.
type search struct {
	Action, Words string
	List          string // which of several lists of the page; empty: the first
}

// query is what of a list the address asks for. Query: q, after.
func query(r *http.Request) store.PageQuery {
	q := r.URL.Query()
	return store.PageQuery{After: q.Get("after"), Limit: page.Rows, Search: text.Line(q.Get("q"), maxSearch)}
}

const maxSearch = 100 // bytes of what is looked for

// turn is where the neighbours of a page of a long list are.
type turn struct{ Newer, Older string }

// turnOf makes them of a list that is read page by page.
func turnOf(r *http.Request, next string, kept ...string) turn {
	q, keep := r.URL.Query(), url.Values{}
	for _, name := range kept {
		if v := q.Get(name); v != "" {
			keep.Set(name, text.Cut(v, maxSearch))
		}
	}
	address := func(after string) string {
		if after != "" {
			keep.Set("after", after)
		}
		if len(keep) == 0 {
			return r.URL.Path
		}
		return r.URL.Path + "?" + keep.Encode()
	}
	var t turn
	if q.Get("after") != "" {
		t.Newer = address("")
	}
	if next != "" {
		t.Older = address(next)
	}
	return t
}
