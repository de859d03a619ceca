package serverpages

import (
	"errors"
	"net/http"
	"net/url"
	"time"

	"podgate/history"
	"podgate/internal/authz"
	"podgate/internal/text"
	"podgate/internal/web"
	"podgate/oauth"
	"podgate/store"
	"podgate/ui/page"
)

// connectionsPage is the content of server_connections.html.
type connectionsPage struct {
	Tabs        []tab
	Turn        turn
	Search      search
	Connections []connectionView
}

type connectionView struct {
	ID                store.GrantID
	Title, Name, Host string
	Document          string
	Whose, Team       string
	Limits            []string
	Created, LastUsed time.Time
}

// serveConnections is GET /server/connections. Query: q, after.
func (s *Pages) serveConnections(w http.ResponseWriter, r *http.Request, o opened) error {
	q := query(r)
	list, err := s.Account.ServerConnections(o.Actor, q)
	if err != nil {
		return oldPage(err)
	}
	view := connectionsPage{Tabs: tabs("Connections"), Turn: turnOf(r, list.Next, "q"), Search: search{Action: "/server/connections", Words: q.Search}}
	for _, d := range list.List {
		view.Connections = append(view.Connections, viewConnection(d))
	}
	return s.render(w, r, http.StatusOK, "server_connections", "Connections of the server", view)
}

func viewConnection(d store.GrantDetail) connectionView {
	v := connectionView{
		ID: d.ID, Name: text.Line(d.ClientName, 60), Host: text.Line(d.RedirectHost, 255), Document: oauth.DocumentHost(d.Client), Whose: text.Line(d.Owner.Email, 254),
		Team: d.For.Name, Limits: authz.LimitWords(d.Limits), Created: d.Created, LastUsed: d.LastUsed,
	}
	for _, title := range []string{text.Line(d.Nickname, 80), v.Name, v.Host} {
		if v.Title == "" {
			v.Title = title
		}
	}
	return v
}

// clientsPage is the content of server_clients.html.
type clientsPage struct {
	Tabs, Lists []tab
	Turn        turn
	Search      search
	Clients     []clientView
	Blocked     bool
}

type clientView struct {
	ID          string // as it is shown
	Key         store.ClientID
	Name        string // what it calls itself
	Host        string // of its document, or of its first redirect URI
	Document    bool   // it is described by a document
	Connections int
	Created     time.Time
	Blocked     time.Time // zero: it is not
	Forgotten   bool
	Query       string // its id, for an address
}

// serveClients is GET /server/clients. Query: list=blocked, q, after.
func (s *Pages) serveClients(w http.ResponseWriter, r *http.Request, o opened) error {
	blocked := r.URL.Query().Get("list") == "blocked"
	read := s.Account.Clients
	if blocked {
		read = s.Account.BlockedClients
	}
	q := query(r)
	list, err := read(o.Actor, q)
	if err != nil {
		return oldPage(err)
	}
	view := clientsPage{
		Tabs: tabs("Clients"), Lists: []tab{{"Known", "/server/clients", !blocked}, {"Blocked", "/server/clients?list=blocked", blocked}}, Blocked: blocked, Turn: turnOf(r, list.Next, "list", "q"),
		Search: search{Action: "/server/clients", Words: q.Search},
	}
	if blocked {
		view.Search.List = "blocked"
	}
	for _, c := range list.List {
		view.Clients = append(view.Clients, viewClient(c))
	}
	return s.render(w, r, http.StatusOK, "server_clients", "Clients", view)
}

func viewClient(c store.ClientUse) clientView {
	v := clientView{
		ID: text.Line(string(c.ID), 255), Key: c.ID, Name: text.Line(c.Name, 60), Host: oauth.DocumentHost(c.ID), Connections: c.Connections,
		Created: c.Created, Forgotten: c.Forgotten, Query: url.QueryEscape(string(c.ID)),
	}
	if v.Document = v.Host != ""; !v.Document && len(c.RedirectURIs) > 0 {
		if u, err := url.Parse(c.RedirectURIs[0]); err == nil {
			v.Host = text.Line(u.Host, 255)
		}
	}
	if c.Blocked != nil {
		v.Blocked = c.Blocked.Since
	}
	return v
}

// Title is what a list calls the client.
func (v clientView) Title() string {
	for _, title := range []string{v.Name, v.Host} {
		if title != "" {
			return title
		}
	}
	return v.ID
}

// serveClientAct is GET /server/clients/:act with client in the query: block or
// forget, once more.
func (s *Pages) serveClientAct(w http.ResponseWriter, r *http.Request, o opened) error {
	c, err := s.client(r, o)
	if err != nil {
		return err
	}
	v := viewClient(c)
	ends := "It has no connection. "
	if c.Connections > 0 {
		ends = "This ends " + page.Plural(c.Connections, "connection", "connections") + " of everybody who uses it. "
	}
	confirm := page.Confirmation{Text: v.Title() + " (" + v.Host + "). " + ends, Back: "/server/clients"}
	switch param(r, "act") {
	case "block":
		confirm.Title, confirm.Button = "Block this client?", "Block"
		confirm.After = "It can neither ask for access nor be given any until you let it in again. An application that registers itself can come back under another id: this is a sign on the door, not a wall."
	case "forget":
		confirm.Title, confirm.Button = "Forget this client?", "Forget"
		confirm.After = "It has to register again, and its people have to connect it anew. A client that is blocked stays so."
	default:
		return page.Absent()
	}
	confirm.Action = "/server/clients/" + param(r, "act") + "?client=" + v.Query
	return s.Confirm(w, r, confirm.Button+" "+v.Title(), "server", confirm)
}

func (s *Pages) client(r *http.Request, o opened) (store.ClientUse, error) {
	c, err := s.Account.Client(o.Actor, store.ClientID(r.URL.Query().Get("client")))
	if errors.Is(err, store.ErrNotFound) {
		return c, web.Fault(http.StatusNotFound, "not_found", "There is no such client any more.", err)
	}
	return c, err
}

// handleClientAct is POST /server/clients/:act with client in the query: block,
// unblock or forget.
func (s *Pages) handleClientAct(w http.ResponseWriter, r *http.Request, o opened) error {
	c, err := s.client(r, o)
	if err != nil {
		return err
	}
	var ended []store.Grant
	var action store.AuditAction
	var word string
	switch param(r, "act") {
	case "block":
		action, word = history.AuditClientBlock, "client-blocked"
		ended, err = s.Account.BlockClient(r.Context(), o.Actor, c.ID)
	case "unblock":
		action, word = history.AuditClientUnblock, "client-unblocked"
		err = s.Account.UnblockClient(r.Context(), o.Actor, c.ID)
	case "forget":
		action, word = history.AuditClientForget, "client-forgotten"
		ended, err = s.Account.ForgetClient(r.Context(), o.Actor, c.ID)
	default:
		return page.Absent()
	}
	s.record(r, o, action, viewClient(c).Title(), "", err)
	if err != nil {
		fault, status, err := page.ForPerson(w, err)
		if err != nil {
			return err
		}
		return web.Fault(status, "refused", fault.Message, nil)
	}
	s.recordEnded(r, o, ended)
	s.SetNotice(w, word, len(ended))
	return s.Redirect(w, "/server/clients")
}

// recordEnded tells the people of connections that ended with their client.
func (s *Pages) recordEnded(r *http.Request, o opened, ended []store.Grant) {
	for _, g := range ended {
		s.History.Step(history.OfGrant(g, history.Note{Kind: history.StepRevoke, Detail: "by an administrator", From: s.History.Visitor(r)}))
		s.Audit(r, o.Person, store.AuditEntry{Action: history.AuditRevoke, Grant: g.ID, Client: g.RedirectHost, Team: g.Team, Object: "with its client", Outcome: store.AuditOK, Concerns: g.User})
	}
}
