package oauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"podgate/history"
	"podgate/internal/authz"
	"podgate/internal/text"
	"podgate/internal/web"
	"podgate/store"
)

// requestRecord is what the timeline is to know of one request. Handlers fill in
// what they learn; traced records it when they are done.
type requestRecord struct {
	note history.Note
	code store.Hash // of the authorization code that was sent
	// refresh is the refresh token that was sent, in clear: it is gone with the
	// request.
	refresh string
	told    bool // it is recorded
}

type recordKey struct{}

// recordOf returns the record of a request. Outside traced it is one that
// nobody reads.
func recordOf(r *http.Request) *requestRecord {
	if rec, ok := r.Context().Value(recordKey{}).(*requestRecord); ok {
		return rec
	}
	return &requestRecord{}
}

// of says which client a request is from, which must be known here, and where
// it wants its answer. The zero Client says nothing.
func (rec *requestRecord) of(c store.Client, host string) {
	rec.note.Client, rec.note.ClientName, rec.note.Host = c.ID, text.Line(c.Name, maxNameShown), host
	rec.note.Public = isClientURL(c.ID)
}

// sent says what a token request brought.
func (rec *requestRecord) sent(req tokenRequest) {
	if req.code != "" {
		rec.code = store.HashSecret(req.code)
	}
	if req.grant.name == grantRefresh {
		rec.note.Kind, rec.refresh = history.StepRefresh, req.refresh
	}
}

// connected says which connection a token request was about, if any, and which
// token it gave out.
func (rec *requestRecord) connected(a tokenAnswer) {
	if g := a.connection; g != nil && g.ID != "" {
		rec.note = history.OfGrant(g.Grant, rec.note)
	}
	if a.AccessToken != "" {
		rec.note.Token = store.HashSecret(a.AccessToken)
	}
}

// traced records the step of a handler: refused when it returns an error, which is
// before that is written. A handler that answers itself calls finish before it
// does, or the client's next step could come before this one. The authorization
// endpoint answers with pages and records those itself.
func (s *Server) traced(kind string, h web.Handler) web.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		rec := &requestRecord{note: history.Note{Kind: kind, From: s.history.Visitor(r)}}
		err := h(w, r.WithContext(context.WithValue(r.Context(), recordKey{}, rec)))
		if err != nil {
			rec.note.Fault, rec.note.Detail = faultOf(err), web.AsError(err).Message
		}
		if err != nil || kind != history.StepAuthorize {
			s.finish(rec)
		}
		return err
	}
}

// finish records a request, in the attempt that its code was given out in or in
// its connection's, if that is known.
func (s *Server) finish(rec *requestRecord) {
	if rec.told {
		return
	}
	rec.told = true
	if rec.note.Grant == "" && rec.note.Client != "" && rec.refresh != "" {
		s.ofRefresh(rec)
	}
	if rec.note.Attempt == "" && rec.note.Client != "" && !rec.code.IsZero() {
		id, user, err := s.db.AttemptOfCode(rec.code, rec.note.Client)
		if err != nil {
			s.log.Error("find the attempt of a code", "error", err)
		}
		rec.note.Attempt, rec.note.User = id, user
	}
	s.history.Step(rec.note)
	s.auditToken(rec.note)
}

// ofRefresh finds the attempt of a renewal that was refused. Where the connection is
// gone its attempt remembers the family. A token of another client tells of that one
// nothing, and is said to be foreign.
func (s *Server) ofRefresh(rec *requestRecord) {
	g, live := s.connectionOf(rec.refresh)
	if live && g.Client == rec.note.Client {
		rec.connected(tokenAnswer{}.about(g))
		return
	}
	_, family, ok := refreshFamily(rec.refresh)
	if !ok || rec.note.Fault != history.FaultUnknownRefresh {
		return
	}
	a, err := s.db.AttemptOfFamily(family)
	switch {
	case err == nil && a.Client == rec.note.Client:
		rec.note.Attempt = a.ID
	case live, err == nil:
		rec.note.Fault = history.FaultForeignRefresh
	case !errors.Is(err, store.ErrNotFound):
		s.log.Error("find the attempt of a refresh token", "error", err)
	}
}

// auditToken puts what became of a token request into the audit list. Refusals
// are in the timeline; only a second use is more than a client's mistake. Nobody
// knows who made that, so it concerns the person and is not laid at their door.
func (s *Server) auditToken(n history.Note) {
	e := store.AuditEntry{Actor: n.User, Grant: n.Grant, Team: n.Team, Client: n.Host, Concerns: n.User}
	switch {
	case n.Kind == history.StepCode && n.Fault == "" && n.Grant != "":
		e.Action = history.AuditToken
	case n.Kind == history.StepRefresh && n.Fault == "" && n.Grant != "":
		e.Action = history.AuditRefresh
	case n.Fault == history.FaultSpentCode:
		e.Actor, e.Action, e.Object = "", history.AuditReusedCode, "the connection is revoked"
	case n.Fault == history.FaultReusedRefresh:
		e.Actor, e.Action, e.Object = "", history.AuditReusedRefresh, "the connection is revoked"
	default:
		return
	}
	s.history.Audit(n.From, e)
}

// serverDocumentName is what the timeline calls the metadata of RFC 8414.
const serverDocumentName = "authorization server document"

// discovered records the reading of a discovery document.
func (s *Server) discovered(document string, h web.Handler) web.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		form := " (root form)"
		if strings.HasSuffix(r.URL.Path, resourcePath) {
			form = " (path form)"
		}
		detail := document + form
		if document == serverDocumentName && !s.open {
			detail += " " + history.DetailNoRegistration
		}
		if elsewhere := s.askedElsewhere(r); elsewhere != "" {
			detail += " " + elsewhere
		}
		s.history.Step(history.Note{Kind: history.StepDiscovery, Detail: detail, From: s.history.Visitor(r)})
		return h(w, r)
	}
}

// askedElsewhere says under which name a client came that will not find what it
// looks for, because what it reads here names another. Nobody knows that of a
// request which a proxy has passed on.
func (s *Server) askedElsewhere(r *http.Request) string {
	for _, name := range []string{"Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host"} {
		if r.Header.Get(name) != "" {
			return ""
		}
	}
	if s.audience.called(r.Host) != nil {
		return ""
	}
	return history.Elsewhere(r.Host, s.resource)
}

// refusedAt records that the authorization request of r goes no further. Who is
// signed in may see it among their own.
func (s *Server) refusedAt(r *http.Request, refused *refusal) {
	n := recordOf(r).note
	n.Kind, n.Fault, n.From = history.StepAuthorize, refused.fault, s.history.Visitor(r)
	if refused.fault == history.FaultMetadata {
		n.Kind = history.StepMetadata
	}
	n.Detail = strings.TrimSuffix(strings.TrimSuffix(refused.message, startOver), " ")
	if _, user, ok := s.sessions.Current(r); ok {
		n.User = user.ID
	}
	s.history.Step(n)
}

// atBrowser records a step of the person's browser on the way to a decision and
// returns its attempt.
func (s *Server) atBrowser(r *http.Request, kind string, user store.UserID) store.AttemptID {
	n := recordOf(r).note
	n.Kind, n.User, n.From = kind, user, s.history.Visitor(r)
	return s.history.Step(n)
}

// signInFirst sends the browser to sign in.
func (s *Server) signInFirst(w http.ResponseWriter, r *http.Request) error {
	s.atBrowser(r, history.StepAuthorize, "")
	s.atBrowser(r, history.StepSignIn, "")
	return s.pages.SignIn(w, r)
}

// documentRead records that a client's metadata document was fetched for r, or
// what was used in its place.
func (s *Server) documentRead(r *http.Request, c found) {
	n := history.Note{Kind: history.StepMetadata, Detail: c.copied, From: s.history.Visitor(r), Client: c.ID, Public: true, ClientName: text.Line(c.Name, maxNameShown)}
	if _, user, ok := s.sessions.Current(r); ok {
		n.User = user.ID
	}
	s.history.Step(n)
}

// connectionOf returns the connection of a token of either kind, whether or not
// it has expired; false when it is unknown.
func (s *Server) connectionOf(token string) (store.Grant, bool) {
	var g store.Grant
	err := store.ErrNotFound
	if sent, ok := accessToken(token); ok {
		g, err = s.db.TokenGrant(sent)
	} else if _, family, ok := refreshFamily(token); ok {
		g, err = s.db.FamilyGrant(family)
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		s.log.Error("find the connection of a token", "error", err)
	}
	return g, err == nil
}

// denied records that the person said no.
func (s *Server) denied(r *http.Request, req store.AuthRequest, user store.UserID) {
	s.decided(r, req, history.Note{Kind: history.StepDeny, User: user}, store.AuditEntry{Action: history.AuditDeny})
}

// approved records what the person allowed.
func (s *Server) approved(r *http.Request, v review, f form) {
	scopes := joinScopes(f.scopes)
	allowed := append([]string{scopes}, authz.LimitWords(f.limits)...)
	if f.replace && len(v.offer(f.team).earlier) > 0 {
		allowed = append(allowed, "in place of the earlier connection")
	}
	s.decided(r, v.request, history.Note{Kind: history.StepApprove, Detail: scopes, User: v.user.ID, Team: f.team},
		store.AuditEntry{Action: history.AuditApprove, Team: f.team, Object: strings.Join(allowed, ", ")})
}

// decided records a decision with what both kinds have in common.
func (s *Server) decided(r *http.Request, req store.AuthRequest, n history.Note, e store.AuditEntry) {
	if target, err := parseRedirect(req.RedirectURI, s.schemes); err == nil {
		n.Host, e.Client = target.host, target.host
	}
	if c, err := s.db.Client(req.Client); err == nil {
		n.ClientName = text.Line(c.Name, maxNameShown)
		e.Claimed = n.ClientName
	}
	n.From, n.Attempt, n.Client, n.Public = s.history.Visitor(r), req.Attempt, req.Client, isClientURL(req.Client)
	e.Actor = n.User
	s.history.Step(n)
	s.history.Audit(n.From, e)
}

// refusedToken records a call with a token that opens nothing, in the attempt of
// the connection that it is of or was of.
func (s *Server) refusedToken(r *http.Request, token, fault string) {
	n := history.Note{Kind: history.StepCall, Fault: fault, From: s.history.Visitor(r)}
	if sent, ok := accessToken(token); ok {
		if g, ok := s.connectionOf(token); ok {
			n = history.OfGrant(g, n)
		} else if a, err := s.db.AttemptOfToken(sent); err == nil {
			n.Attempt, n.Fault = a.ID, history.DeadToken(a) // the token is gone, its attempt remembers
		}
	}
	s.history.Step(n)
}

// lackedScope records a call that needs more than the connection was given.
func (s *Server) lackedScope(r *http.Request, needed []store.Scope) {
	a := authz.FromContext(r.Context())
	s.history.Step(history.Note{
		Kind: history.StepCall, Fault: history.FaultInsufficientScope, Detail: joinScopes(needed),
		From: s.history.Visitor(r), Grant: a.Grant, User: a.User,
	})
}

// revokedBy records that a client ended its own token.
func (s *Server) revokedBy(r *http.Request, g store.Grant) {
	from := s.history.Visitor(r)
	s.history.Step(history.OfGrant(g, history.Note{Kind: history.StepRevoke, Detail: "by the client", From: from}))
	s.history.Audit(from, store.AuditEntry{Action: history.AuditTokenRevoke, Actor: g.User, Grant: g.ID, Team: g.Team, Client: g.RedirectHost, Object: "by the client"})
}

// replaced records the end of connections in the place of which the person
// wanted another.
func (s *Server) replaced(r *http.Request, ended []store.Grant) {
	from := s.history.Visitor(r)
	for _, g := range ended {
		s.log.Info("connection replaced", "connection", g.ID, "client", g.Client, "user", g.User, "team", g.Team)
		s.history.Step(history.OfGrant(g, history.Note{Kind: history.StepRevoke, Detail: history.DetailReplaced, From: from}))
		s.history.Audit(from, store.AuditEntry{Action: history.AuditRevoke, Actor: g.User, Grant: g.ID, Team: g.Team, Client: g.RedirectHost, Object: history.DetailReplaced})
	}
}

// describeRegistration says what was kept, and what was not and why.
func describeRegistration(reg registration) string {
	var hosts []string
	for _, uri := range reg.redirectURIs {
		hosts = append(hosts, hostShown(uri))
	}
	text := "kept " + strings.Join(hosts, ", ")
	if reg.dropped > 0 {
		text += fmt.Sprintf("; dropped %d: %v", reg.dropped, reg.why)
	}
	return text
}

// hostShown is the host of a redirect URI that was kept, with its port, or the
// private-use scheme in its place. A query can hold secrets, so none is shown.
func hostShown(uri string) string {
	scheme, rest, _ := strings.Cut(uri, ":")
	if scheme = strings.ToLower(scheme); scheme != "https" && scheme != "http" {
		return scheme + ":"
	}
	host, _ := splitAuthority(strings.TrimPrefix(rest, "//"))
	return host
}
