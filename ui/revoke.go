package ui

import (
	"errors"
	"net/http"

	"github.com/julienschmidt/httprouter"

	"podgate/account"
	"podgate/history"
	"podgate/internal/authz"
	"podgate/internal/text"
	"podgate/internal/web"
	"podgate/store"
	"podgate/ui/page"
)

// connectionOf finds the connection that a path names, and who acts on it: its
// person, an owner of its team, an administrator. To everybody else it is absent.
func (s *Server) connectionOf(r *http.Request, p page.Person) (store.GrantDetail, authz.Actor, error) {
	id := store.GrantID(httprouter.ParamsFromContext(r.Context()).ByName("id"))
	actors, err := s.ownedTeams(p)
	if err != nil {
		return store.GrantDetail{}, authz.Actor{}, err
	}
	for _, actor := range append(actors, authz.OfServer(p.User)) {
		d, found := s.Account.ConnectionFor(actor, id)
		if found == nil {
			return d, actor, nil
		}
		if err = found; !errors.Is(err, store.ErrNotFound) {
			break
		}
	}
	var words *account.Error
	if errors.As(err, &words) {
		err = web.Fault(http.StatusNotFound, "not_found", words.Message, err)
	}
	return store.GrantDetail{}, authz.Actor{}, err
}

// listOf is where the list is in which somebody found a connection.
func listWith(d store.GrantDetail, by authz.Actor) string {
	switch {
	case d.User == by.User:
		return "/connections"
	case by.Team.ID == d.For.ID:
		return "/connections?of=others"
	}
	return "/server/connections"
}

// connectionPage is the content of connection.html.
type connectionPage struct {
	connectionView
	Back  string
	Fault page.Fault
	Field string // the nickname as it was written
}

// serveConnection is GET /connection/:id.
func (s *Server) serveConnection(w http.ResponseWriter, r *http.Request, p page.Person) error {
	d, by, err := s.connectionOf(r, p)
	if err != nil {
		return err
	}
	return s.showConnection(w, r, p, http.StatusOK, d, by, d.Nickname, page.Fault{})
}

func (s *Server) showConnection(w http.ResponseWriter, r *http.Request, p page.Person, status int, d store.GrantDetail, by authz.Actor, field string, fault page.Fault) error {
	view := connectionPage{connectionView: viewDetail(d, p), Back: listWith(d, by), Fault: fault, Field: field}
	if view.Whose == "" {
		trouble, err := s.troubles(p)
		if err != nil {
			return err
		}
		view.State, view.Trouble = trouble[d.ID].State, trouble[d.ID].Text()
	}
	return s.render(w, r, page.Plain, status, "connection", page.Frame{Title: view.Title(), Here: "connections", Page: view})
}

// handleNickname is POST /connection/:id/name with nickname.
func (s *Server) handleNickname(w http.ResponseWriter, r *http.Request, p page.Person) error {
	d, by, err := s.connectionOf(r, p)
	if err != nil {
		return err
	}
	name := text.Cut(r.PostForm.Get("nickname"), 400)
	_, err = s.Account.SetNickname(by, d.ID, name)
	s.auditConnection(r, p, d, history.AuditNickname, name, err)
	if err != nil {
		fault, status, err := page.ForPerson(w, err)
		if err != nil {
			return err
		}
		return s.showConnection(w, r, p, status, d, by, name, fault)
	}
	s.SetNotice(w, "named", 0)
	return s.Redirect(w, listWith(d, by))
}

// serveRevoke is GET /connection/:id/revoke.
func (s *Server) serveRevoke(w http.ResponseWriter, r *http.Request, p page.Person) error {
	d, by, err := s.connectionOf(r, p)
	if err != nil {
		return err
	}
	v := viewDetail(d, p)
	whose := ""
	if v.Whose != "" {
		whose = " It is the connection of " + v.Whose + "."
	}
	return s.Confirm(w, r, "Revoke "+v.Host, "connections", page.Confirmation{
		Title: "Revoke this connection?", Text: v.Host + v.Claim() + " works with the pods of " + v.Team + "." + whose,
		After:  "It can do nothing here any more; what it is doing right now is broken off, commands included. Pods go on running. To let it in again, connect it again.",
		Action: "/connection/" + string(v.ID) + "/revoke", Button: "Revoke", Back: listWith(d, by),
	})
}

// handleRevoke is POST /connection/:id/revoke.
func (s *Server) handleRevoke(w http.ResponseWriter, r *http.Request, p page.Person) error {
	d, by, err := s.connectionOf(r, p)
	if err == nil {
		_, err = s.Account.RevokeFor(by, d.ID)
	}
	// One that is gone already is what the person wanted.
	if err != nil && !errors.Is(err, store.ErrNotFound) && !isAbsent(err) {
		return err
	}
	if err != nil {
		return s.Redirect(w, "/connections")
	}
	s.recordRevoked(r, p, history.AuditRevoke, []account.Connection{{Grant: d.Grant, Team: d.For}})
	s.SetNotice(w, "revoked", 0)
	return s.Redirect(w, listWith(d, by))
}

func isAbsent(err error) bool {
	var e *web.Error
	return errors.As(err, &e) && e.Status == http.StatusNotFound
}
