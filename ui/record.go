package ui

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"podgate/account"
	"podgate/history"
	"podgate/internal/authz"
	"podgate/store"
)

// record puts what a person did into the audit list.
func (s *Server) record(r *http.Request, p who, action store.AuditAction, object string, failed error) {
	s.history.Audit(s.history.Visitor(r), store.AuditEntry{
		Action: action, Actor: p.user.ID, ActorName: p.user.Email, Object: object, Outcome: outcomeOf(failed),
	})
}

// outcomeOf is why something was refused, in few words.
func outcomeOf(err error) string {
	switch {
	case err == nil:
		return store.AuditOK
	case errors.Is(err, account.ErrCredentials):
		return "wrong password"
	case errors.Is(err, account.ErrTooMany):
		return "too many tries"
	case errors.Is(err, account.ErrBusy):
		return "busy"
	case errors.Is(err, account.ErrInvalid):
		return "refused"
	}
	return "failed"
}

// recordSetup records that the first administrator was made.
func (s *Server) recordSetup(r *http.Request, secret string) {
	session, user, err := s.account.Authenticate(secret)
	if err != nil {
		s.log.Error("the session of the setup could not be looked up", "error", err)
		return
	}
	s.record(r, who{session, user}, history.AuditSetup, "the first administrator", nil)
}

// recordSignIn records the end of a sign-in, in the timeline too when a client
// waits behind it. The address of a failed one is kept only if it belongs to an
// account: people type passwords into the wrong field.
func (s *Server) recordSignIn(r *http.Request, next, email string, user store.User, failed error) {
	from := s.history.Visitor(r)
	e := store.AuditEntry{Action: history.AuditSignIn, Actor: user.ID, ActorName: user.Email, Outcome: outcomeOf(failed)}
	if failed != nil {
		e.Actor, e.ActorName = "", ""
		if u, ok := s.account.Whose(email); ok {
			e.Object, e.Concerns = u.Email, u.ID
		}
	}
	s.history.Audit(from, e)
	fault := ""
	if failed != nil {
		fault = history.FaultCredentials
	}
	if client, ok := waitingClient(next); ok {
		s.history.SignedIn(from, client, user.ID, fault)
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
func (s *Server) recordRevoked(r *http.Request, p who, action store.AuditAction, ended []account.Connection) {
	from := s.history.Visitor(r)
	how := "on the home page"
	if action == history.AuditEverywhere {
		how = "logged out everywhere"
	}
	for _, c := range ended {
		s.history.Step(history.OfGrant(c.Grant, history.Note{Kind: history.StepRevoke, Detail: how, From: from}))
		s.history.Audit(from, store.AuditEntry{
			Action: history.AuditRevoke, Actor: p.user.ID, ActorName: p.user.Email, Grant: c.ID, Client: c.RedirectHost,
			Team: c.Grant.Team, TeamName: c.Team.Slug, Object: how,
		})
	}
}

// recordLimited records what a person now allows a connection.
func (s *Server) recordLimited(r *http.Request, p who, c account.Connection, scopes []store.Scope, limits store.Limits) {
	var allowed []string
	for _, scope := range scopes {
		allowed = append(allowed, string(scope))
	}
	s.history.Audit(s.history.Visitor(r), store.AuditEntry{
		Action: history.AuditLimit, Actor: p.user.ID, ActorName: p.user.Email, Grant: c.ID, Client: c.RedirectHost,
		Team: c.Grant.Team, TeamName: c.Team.Slug, Object: strings.Join(append(allowed, authz.LimitWords(limits)...), ", "),
	})
}
