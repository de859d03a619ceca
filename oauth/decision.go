package oauth

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"podgate/internal/authz"
	"podgate/internal/trace"
	"podgate/store"
)

// form is the consent form as a person left it.
type form struct {
	handle string // in clear; the store has its hash
	team   store.TeamID
	scopes []store.Scope
	fields authz.LimitFields // as they were written
	filled store.TeamID      // the team whose connection the form came filled in from
	deny   bool

	replace bool // the earlier connections of the client for the team

	limits store.Limits      // what fields say
	fault  *authz.FieldFault // or what is wrong with them
}

const badForm = "The form is not the one that podgate showed. Go back to your assistant and start connecting again."

// maxFormScopes bounds the scopes of a form; there are far fewer.
const maxFormScopes = 32

// maxField bounds what somebody can write into a field, in bytes: it is shown
// again when it is wrong.
const maxField = 200

// parseDecision reads the consent form. Only the two words decide: a form that
// came without a button denies nothing and approves nothing. What is wrong with
// the limits the person can mend, so it is kept for the form to say.
func parseDecision(values url.Values) (form, error) {
	handle, errHandle := required(values, "request")
	decision, errDecision := required(values, "decision")
	team, errTeam := optional(values, "team")
	filled, errFilled := optional(values, "filled")
	replace, errReplace := optional(values, "replace")
	fields, errFields := parseLimitFields(values)
	err := errors.Join(errHandle, errDecision, errTeam, errFilled, errReplace, errFields)
	if err != nil || decision != "approve" && decision != "deny" || len(values["scope"]) > maxFormScopes {
		return form{}, malformed(badForm)
	}
	f := form{handle: handle, team: store.TeamID(team), filled: store.TeamID(filled), fields: fields, deny: decision == "deny", replace: replace != ""}
	if f.limits, err = fields.Parse(); err != nil {
		errors.As(err, &f.fault)
	}
	for _, scope := range values["scope"] {
		if s := store.Scope(scope); !slices.Contains(f.scopes, s) {
			f.scopes = append(f.scopes, s)
		}
	}
	return f, nil
}

// parseLimitFields reads the fields under «Limit this connection».
func parseLimitFields(values url.Values) (authz.LimitFields, error) {
	readOnly, errReadOnly := optional(values, "read_only")
	prefix, errPrefix := optional(values, "prefix")
	maxPods, errMaxPods := optional(values, "max_pods")
	err := errors.Join(errReadOnly, errPrefix, errMaxPods)
	if err == nil && len(prefix)+len(maxPods) > maxField {
		err = malformed(badForm)
	}
	return authz.LimitFields{ReadOnly: readOnly != "", Prefix: prefix, MaxPods: maxPods}, err
}

// handleDecision answers POST /oauth/authorize and POST /authorize, the consent
// form.
func (s *Server) handleDecision(w http.ResponseWriter, r *http.Request) error {
	if err := s.pageHost.SameOrigin(r); err != nil {
		return err
	}
	if err := s.limitVisits(r); err != nil {
		return err
	}
	values, err := readForm(w, r)
	if err != nil {
		return err
	}
	f, err := parseDecision(values)
	if err != nil {
		return err
	}
	session, user, ok := s.sessions.Current(r)
	if !ok {
		return requestOver()
	}
	req, err := s.db.AuthRequest(store.HashSecret(f.handle), session.Hash, s.now())
	if err != nil {
		return overOr(err, "find authorization request")
	}
	if f.deny {
		return s.deny(w, r, f, session)
	}
	return s.approve(w, r, f, req, session, user)
}

func (s *Server) deny(w http.ResponseWriter, r *http.Request, f form, session store.Session) error {
	req, err := trace.Do(r.Context(), "store deny", func() (store.AuthRequest, error) {
		return s.db.Deny(store.HashSecret(f.handle), session.Hash, s.now())
	})
	if err != nil {
		return overOr(err, "deny")
	}
	s.denied(r, req, session.User)
	s.log.Info("access denied by the user", "client", req.Client, "user", session.User)
	return s.sendBack(w, req, pair{"error", codeAccessDenied}, pair{"error_description", "The user denied access."})
}

// approve spends the request for a code. What the person can mend leaves the
// request alive and shows the form again.
func (s *Server) approve(w http.ResponseWriter, r *http.Request, f form, req store.AuthRequest, session store.Session, user store.User) error {
	client, err := s.db.Client(req.Client)
	if err != nil {
		return overOr(err, "find client")
	}
	v, err := s.review(req, client, user)
	if err != nil {
		return err
	}
	if again, why := v.incomplete(f); why != "" {
		return s.showConsent(w, r, v, again, why)
	}
	now, code := s.now(), newSecret()
	approval := store.Approval{
		Handle: store.HashSecret(f.handle), Session: session.Hash, Team: f.team, Scopes: inOrderOf(authz.Scopes(), f.scopes), Limits: f.limits,
		Withheld: v.withheldFrom(f.team), Allow: func(m store.Membership) error { return checkOffered(m, f.scopes) },
		RedirectHost: v.target.host, Replace: f.replace, Code: store.HashSecret(code), Expires: now.Add(s.codeTTL),
	}
	spent, err := trace.Do(r.Context(), "store approve", func() (store.AuthRequest, error) { return s.db.Approve(approval, now) })
	var mismatch *store.MismatchError
	switch {
	case errors.As(err, &mismatch):
		return malformed(badForm)
	case errors.Is(err, errWithheld):
		return s.askAgain(w, r, f, req, client, user)
	case errors.Is(err, store.ErrBlocked):
		return blockedApp()
	case errors.Is(err, store.ErrNotMember):
		return s.showConsent(w, r, v, f, "You are not a member of that team. Choose another.")
	case err != nil:
		return overOr(err, "approve")
	}
	s.approved(r, v, f)
	s.log.Info("access approved by the user", "client", spent.Client, "user", session.User, "team", f.team)
	return s.sendBack(w, spent, pair{"code", code})
}

// errWithheld is for scopes that nobody may give in a team.
var errWithheld = errors.New("oauth: a scope is not the person's to give")

func checkOffered(m store.Membership, scopes []store.Scope) error {
	withheld := withheldIn(m)
	if slices.ContainsFunc(scopes, func(s store.Scope) bool { return slices.Contains(withheld, s) }) {
		return errWithheld
	}
	return nil
}

// withheldIn returns what neither role nor policy lets a member give. Scopes that do
// not exist are no part of it: the store refuses them.
func withheldIn(m store.Membership) []store.Scope {
	return missingFrom(authz.Offered(m), authz.Scopes())
}

// withheldFrom returns what nobody may give the client in that team.
func (v review) withheldFrom(team store.TeamID) []store.Scope {
	for _, m := range v.teams {
		if m.Team.ID == team {
			return withheldIn(m)
		}
	}
	return nil
}

// askAgain shows the form once more to somebody whose role, or whose team's policy,
// was changed while they decided.
func (s *Server) askAgain(w http.ResponseWriter, r *http.Request, f form, req store.AuthRequest, client store.Client, user store.User) error {
	v, err := s.review(req, client, user)
	if err != nil {
		return err
	}
	again, why := v.notWithheld(f)
	return s.showConsent(w, r, v, again, why)
}

// notWithheld leaves out of a form what nobody may give the client in its team; no
// words when that is nothing.
func (v review) notWithheld(f form) (again form, why string) {
	withheld := v.withheldFrom(f.team)
	again = f
	again.scopes = missingFrom(withheld, f.scopes)
	if len(again.scopes) == len(f.scopes) {
		return f, ""
	}
	m, _ := v.place(f)
	return again, fmt.Sprintf("In %s the app cannot get all that was ticked. Check what is left and approve again.", m.Team.Name)
}

// incomplete returns the form to show again and what the person has to mend in
// it; no words when it can be approved.
func (v review) incomplete(f form) (again form, why string) {
	if f.team == "" {
		return f, "Choose the team that the app may work in."
	}
	if again, why := v.otherTeam(f); why != "" {
		return again, why
	}
	if again, why := v.notWithheld(f); why != "" {
		return again, why
	}
	switch {
	case len(f.scopes) == 0:
		return f, "Tick at least one thing that the app may do, or deny."
	case f.fault != nil:
		return f, f.fault.Message
	}
	return f, ""
}

// inOrderOf returns scopes in the order that they have in all. One that is not
// there stays, for the store to refuse.
func inOrderOf(all, scopes []store.Scope) []store.Scope {
	sorted := slices.Clone(scopes)
	slices.SortStableFunc(sorted, func(a, b store.Scope) int { return slices.Index(all, a) - slices.Index(all, b) })
	return sorted
}

// sendBack answers 303 to the client's redirect URI with the parameters, state
// (RFC 6749 section 4.1.2) and iss (RFC 9207 section 2). 303 makes the browser
// drop the form it has just posted (RFC 9700 section 4.12).
func (s *Server) sendBack(w http.ResponseWriter, req store.AuthRequest, params ...pair) error {
	params = append(params, pair{"state", orEmpty(req.State)}, pair{"iss", s.audience.meant(req.Resource).issuer})
	h := w.Header()
	h.Set("Location", respond(req.RedirectURI, params...))
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	w.WriteHeader(http.StatusSeeOther)
	return nil
}
