package ui

import (
	"cmp"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"podgate/account"
	"podgate/history"
	"podgate/internal/authz"
	"podgate/internal/text"
	"podgate/oauth"
	"podgate/store"
	"podgate/ui/page"
)

type connectionView struct {
	ID                store.GrantID
	Nickname          string // what people call it; may be empty
	Name, Host        string
	Whose             string // somebody else's address; empty: the reader's own
	Here              bool   // the host is a person's own computer, which says nothing of the app
	Document          string // the host that describes the client; empty: it registered itself
	Team, Slug        string
	Scopes            []string
	Limits            []string
	Created, LastUsed time.Time
	Expires           time.Time
	State             history.State // stuck or refused; empty: the timeline knows of no trouble
	Trouble           string
}

func viewConnection(c account.Connection) connectionView {
	v := connectionView{
		ID: c.ID, Nickname: text.Line(c.Nickname, 80), Name: text.Line(c.ClientName, 60), Host: text.Line(c.RedirectHost, 255), Document: oauth.DocumentHost(c.Client), Team: c.Team.Name, Slug: c.Team.Slug,
		Limits: authz.LimitWords(c.Limits), Created: c.Created, LastUsed: c.LastUsed, Expires: c.Expires,
	}
	v.Here = page.IsLocal(hostAlone(v.Host))
	for _, scope := range c.Scopes {
		// What it may not use is not said as if it might.
		if !c.Limits.ReadOnly || scope == authz.ScopeRead {
			v.Scopes = append(v.Scopes, scopeWords(scope))
		}
	}
	return v
}

// Title is what a list calls the connection: what people call it, or what the
// client calls itself. That is a claim, so what is certain stands beneath it.
func (c connectionView) Title() string { return cmp.Or(c.Nickname, c.Name, c.Host) }

// hostAlone is a host without its port.
func hostAlone(host string) string {
	if alone, _, err := net.SplitHostPort(host); err == nil {
		return alone
	}
	return host
}

// Label tells a connection from others in a few words.
func (c connectionView) Label() string { return clientLabel(c.Name, c.Host) }

// clientLabel is the host of a client, with its name where the host tells
// nothing: that is only a claim, but all programs of one computer share its
// address.
func clientLabel(name, host string) string {
	if page.IsLocal(hostAlone(host)) && name != "" {
		return "“" + name + "” at " + host
	}
	return host
}

// Claim is what the client says of itself, as part of a sentence.
func (c connectionView) Claim() string {
	switch {
	case c.Name == "":
		return ""
	case c.Document != "":
		return ", described by " + c.Document + " as “" + c.Name + "”,"
	}
	return ", which calls itself “" + c.Name + "”,"
}

// scopeWords is a scope in two or three words; the consent page says it at
// length.
func scopeWords(scope store.Scope) string {
	switch scope {
	case authz.ScopeRead:
		return "see pods"
	case authz.ScopeWrite:
		return "change pods"
	case authz.ScopeExec:
		return "run commands"
	}
	return text.Line(string(scope), 40)
}

// connectionsPage is the content of connections.html.
type connectionsPage struct {
	page.Part
	Connections []connectionView
	Any         bool   // there are some, whether or not they are shown
	Search      string // as it was written
	Others      bool   // those of other people, in teams that the reader owns
	Tabs        []tab  // none for who owns no team
	Team        string // the slug that is chosen; empty: all
	Teams       []store.Team
}

// Filters reports whether there is enough to look for something.
func (v connectionsPage) Filters() bool {
	return v.Search != "" || v.Team != "" || v.All > searchFrom || len(v.Teams) > 1
}

const (
	// searchFrom is the length of a list from which on people search.
	searchFrom = 8
	// maxSearch bounds what is looked for, in bytes.
	maxSearch = 100
)

// serveConnections is GET /connections. Query: of=others, q, team, page.
func (s *Server) serveConnections(w http.ResponseWriter, r *http.Request, p page.Person) error {
	q := r.URL.Query()
	owned, err := s.ownedTeams(p)
	if err != nil {
		return err
	}
	others := len(owned) > 0 && q.Get("of") == "others"
	var all []connectionView
	if others {
		all, err = s.othersConnections(p, owned)
	} else {
		all, err = s.connections(p)
	}
	if err != nil {
		return err
	}
	view := connectionsPage{Others: others, Any: len(all) > 0, Search: text.Line(q.Get("q"), maxSearch), Team: text.Cut(q.Get("team"), maxSearch), Teams: teamsOf(all)}
	all = slices.DeleteFunc(all, func(c connectionView) bool {
		return view.Team != "" && c.Slug != view.Team || !c.matches(view.Search)
	})
	if len(owned) > 0 {
		view.Tabs = []tab{{"Yours", "/connections", !others}, {"Other people's", "/connections?of=others", others}}
	}
	view.Connections, view.Part = page.Cut(r, all, "of", "q", "team")
	return s.render(w, r, page.Plain, http.StatusOK, "connections", page.Frame{Title: "Connections", Here: "connections", Page: view, Wide: true})
}

// matches reports whether every word of a search is somewhere in what the list
// shows of a connection.
func (c connectionView) matches(search string) bool {
	shown := strings.ToLower(strings.Join([]string{c.Nickname, c.Name, c.Whose, c.Host, c.Document, c.Team, c.Slug}, " "))
	for word := range strings.FieldsSeq(strings.ToLower(search)) {
		if !strings.Contains(shown, word) {
			return false
		}
	}
	return true
}

// teamsOf are the teams of connections, by name.
func teamsOf(list []connectionView) []store.Team {
	var teams []store.Team
	for _, c := range list {
		if !slices.ContainsFunc(teams, func(t store.Team) bool { return t.Slug == c.Slug }) {
			teams = append(teams, store.Team{Slug: c.Slug, Name: c.Team})
		}
	}
	slices.SortFunc(teams, func(a, b store.Team) int { return strings.Compare(a.Name+"\x00"+a.Slug, b.Name+"\x00"+b.Slug) })
	return teams
}

// connections are a person's connections: those with trouble first, then the
// most recently used.
func (s *Server) connections(p page.Person) ([]connectionView, error) {
	list, err := s.Account.Connections(p.User.ID)
	if err != nil {
		return nil, err
	}
	trouble, err := s.troubles(p)
	if err != nil {
		return nil, err
	}
	views := make([]connectionView, 0, len(list))
	for _, c := range list {
		v := viewConnection(c)
		d := trouble[c.ID]
		v.State, v.Trouble = d.State, d.What
		views = append(views, v)
	}
	rank := func(v connectionView) int {
		if v.State != "" {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(views, func(a, b connectionView) int { return rank(a) - rank(b) })
	return views, nil
}

// ownedTeams are the teams whose connections a person may see and end, as who acts
// in each.
func (s *Server) ownedTeams(p page.Person) (owned []authz.Actor, err error) {
	list, err := s.Account.TeamsOf(p.User.ID)
	for _, m := range list {
		if actor := authz.Of(p.User, m.Team, m.Role); actor.Allow(authz.SeeConnections, m.Team.ID) == nil {
			owned = append(owned, actor)
		}
	}
	return owned, err
}

// maxOthers bounds how many connections of a team are looked through.
const maxOthers = 1000

// othersConnections are those of other people to a person's teams, the newest
// first in each.
func (s *Server) othersConnections(p page.Person, owned []authz.Actor) ([]connectionView, error) {
	var views []connectionView
	for _, actor := range owned {
		list, err := s.Account.TeamConnections(actor, store.PageQuery{Limit: maxOthers})
		if err != nil {
			return nil, err
		}
		for _, d := range list.List {
			if d.User != p.User.ID {
				views = append(views, viewDetail(d, p))
			}
		}
	}
	return views, nil
}

// viewDetail shows a connection to somebody who need not be its person.
func viewDetail(d store.GrantDetail, p page.Person) connectionView {
	v := viewConnection(account.Connection{Grant: d.Grant, Team: d.For})
	if d.User != p.User.ID {
		v.Whose = text.Line(d.Owner.Email, 254)
	}
	return v
}

// maxAttempts is how far back the timeline is asked about a person's connections:
// it has no more of one person.
const maxAttempts = 200

// troubles are the connections of a person that the timeline knows not to work.
func (s *Server) troubles(p page.Person) (map[store.GrantID]history.Diagnosis, error) {
	list, err := s.History.OwnAttempts(p.User.ID, "", "", maxAttempts)
	found := map[store.GrantID]history.Diagnosis{}
	seen := map[store.GrantID]bool{"": true}
	for _, a := range list.Attempts { // the latest first
		if seen[a.Grant] {
			continue
		}
		seen[a.Grant] = true
		if s := a.Diagnosis.State; s == history.Stuck || s == history.Refused {
			found[a.Grant] = a.Diagnosis
		}
	}
	return found, err
}
