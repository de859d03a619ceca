package ui

import (
	"net/http"
	"net/url"
	"strings"

	"podgate/account"
	"podgate/history"
	"podgate/internal/authz"
	"podgate/store"
	"podgate/ui/page"
)

// recordSetup records that the first administrator was made.
func (s *Server) recordSetup(r *http.Request, secret string) {
	session, user, err := s.Account.Authenticate(secret)
	if err != nil {
		s.Log.Error("the session of the setup could not be looked up", "error", err)
		return
	}
	s.Record(r, page.Person{Session: session, User: user}, history.AuditSetup, "the first administrator", nil)
}

// recordSignIn records the end of a sign-in, in the timeline too when a client
// waits behind it. The address of a failed one is kept only if it belongs to an
// account: people type passwords into the wrong field.
func (s *Server) recordSignIn(r *http.Request, next, email string, user store.User, failed error) {
	from := s.History.Visitor(r)
	e := store.AuditEntry{Action: history.AuditSignIn, Actor: user.ID, ActorName: user.Email, Outcome: page.OutcomeOf(failed)}
	if failed != nil {
		e.Actor, e.ActorName = "", ""
		if u, ok := s.Account.Whose(email); ok {
			e.Object, e.Concerns = u.Email, u.ID
		}
	}
	s.History.Audit(from, e)
	fault := ""
	if failed != nil {
		fault = history.FaultCredentials
	}
	if client, ok := waitingClient(next); ok {
		s.History.SignedIn(from, client, user.ID, fault)
	}
}

// waitingClient returns the client that an authorization request behind a
// sign-in names. Nothing about it is certain.
func waitingClient(next string) (store.ClientID, bool) {
	path, query, _ := strings.Cut(next, "?")
	if path != "/oauth/authorize" && path != "/authorize" {
		return "", false
	}
	q, err := url.ParseQuery(query)
	return store.ClientID(q.Get("client_id")), err == nil && len(q["client_id"]) == 1
}

// recordRevoked records the end of some of a person's connections.
func (s *Server) recordRevoked(r *http.Request, p page.Person, action store.AuditAction, ended []account.Connection) {
	from := s.History.Visitor(r)
	how := "on the page of connections"
	if action == history.AuditEverywhere {
		how = "logged out everywhere"
	}
	for _, c := range ended {
		s.History.Step(history.OfGrant(c.Grant, history.Note{Kind: history.StepRevoke, Detail: how, From: from}))
		s.History.Audit(from, store.AuditEntry{
			Concerns: concerned(c.User, p),
			Action:   history.AuditRevoke, Actor: p.User.ID, ActorName: p.User.Email, Grant: c.ID, Client: c.RedirectHost,
			Team: c.Grant.Team, TeamName: c.Team.Slug, Object: how,
		})
	}
}

// recordLimited records what a person now allows a connection.
func (s *Server) recordLimited(r *http.Request, p page.Person, c store.GrantDetail, scopes []store.Scope, limits store.Limits) {
	var allowed []string
	for _, scope := range scopes {
		allowed = append(allowed, string(scope))
	}
	s.auditConnection(r, p, c, history.AuditLimit, strings.Join(append(allowed, authz.LimitWords(limits)...), ", "), nil)
}

// auditConnection records what a person did to a connection, which may be somebody
// else's.
func (s *Server) auditConnection(r *http.Request, p page.Person, c store.GrantDetail, action store.AuditAction, object string, failed error) {
	s.Audit(r, p, store.AuditEntry{
		Action: action, Grant: c.ID, Client: c.RedirectHost, Team: c.For.ID, TeamName: c.For.Slug, Object: object, Outcome: page.OutcomeOf(failed), Concerns: concerned(c.User, p),
	})
}

// concerned is whose connection it was, where that is not who did it.
func concerned(owner store.UserID, p page.Person) store.UserID {
	if owner == p.User.ID {
		return ""
	}
	return owner
}
