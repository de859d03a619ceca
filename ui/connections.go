package ui

import (
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/julienschmidt/httprouter"

	"podgate/account"
	"podgate/history"
	"podgate/internal/authz"
	"podgate/internal/text"
	"podgate/internal/web"
	"podgate/oauth"
	"podgate/store"
	"podgate/ui/page"
)

type connectionView struct {
	ID                store.GrantID
	Name, Host        string
	Here              bool   // the host is a person's own computer, which says nothing of the app
	Document          string // the host that describes the client; empty: it registered itself
	Team              string
	Scopes            []string
	Limits            []string
	Created, LastUsed time.Time
	Expires           time.Time
}

func connectionViews(list []account.Connection) []connectionView {
	var views []connectionView
	for _, c := range list {
		views = append(views, viewConnection(c))
	}
	return views
}

func viewConnection(c account.Connection) connectionView {
	v := connectionView{
		ID: c.ID, Name: text.Line(c.ClientName, 60), Host: text.Line(c.RedirectHost, 255), Document: oauth.DocumentHost(c.Client), Team: c.Team.Name,
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
	return s.Confirm(w, r, "Revoke "+v.Host, "home", page.Confirmation{
		Title: "Revoke this connection?", Text: v.Host + v.Claim() + " works with the pods of " + v.Team + ".",
		After:  "It can do nothing here any more; what it is doing right now is broken off, commands included. Pods go on running. To let it in again, connect it again.",
		Action: "/connection/" + string(v.ID) + "/revoke", Button: "Revoke", Back: "/#connections",
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
	return s.Redirect(w, "/#connections")
}
