package ui

import (
	"errors"
	"net/http"

	"github.com/julienschmidt/httprouter"

	"podgate/account"
	"podgate/history"
	"podgate/internal/web"
	"podgate/store"
	"podgate/ui/page"
)

// connectionOf finds the connection that a path names, of the person who asks.
func (s *Server) connectionOf(r *http.Request, p page.Person) (account.Connection, error) {
	id := httprouter.ParamsFromContext(r.Context()).ByName("id")
	c, err := s.Account.Connection(p.User.ID, store.GrantID(id))
	var words *account.Error
	if errors.As(err, &words) {
		return c, web.Fault(http.StatusNotFound, "not_found", words.Message, err)
	}
	return c, err
}

// serveRevoke is GET /connection/:id/revoke.
func (s *Server) serveRevoke(w http.ResponseWriter, r *http.Request, p page.Person) error {
	c, err := s.connectionOf(r, p)
	if err != nil {
		return err
	}
	v := viewConnection(c)
	return s.Confirm(w, r, "Revoke "+v.Host, "connections", page.Confirmation{
		Title: "Revoke this connection?", Text: v.Host + v.Claim() + " works with the pods of " + v.Team + ".",
		After:  "It can do nothing here any more; what it is doing right now is broken off, commands included. Pods go on running. To let it in again, connect it again.",
		Action: "/connection/" + string(v.ID) + "/revoke", Button: "Revoke", Back: "/connections",
	})
}

// handleRevoke is POST /connection/:id/revoke.
func (s *Server) handleRevoke(w http.ResponseWriter, r *http.Request, p page.Person) error {
	c, err := s.connectionOf(r, p)
	if err == nil {
		err = s.Account.Revoke(p.User.ID, c.ID)
	}
	// One that is gone already is what the person wanted.
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if err == nil {
		s.recordRevoked(r, p, history.AuditRevoke, []account.Connection{c})
		s.SetNotice(w, "revoked", 0)
	}
	return s.Redirect(w, "/connections")
}
