package oauth

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"podgate/history"
	"podgate/internal/text"
	"podgate/internal/web"
	"podgate/store"
)

// maxQuery bounds an authorization request in bytes. What it carries comes
// back in a Location header, and many a proxy stops at 8 KiB of headers.
const maxQuery = 6 << 10

// startOver is the advice for every request that no repair can save.
const startOver = "Go back to your assistant, remove the connector there and add it again."

// authorization is an authorization request (RFC 6749 section 4.1.1) whose
// parameters are sound in themselves.
type authorization struct {
	client      store.ClientID
	redirectURI string
	state       *string // nil: none was sent
	challenge   string
	scopes      []store.Scope
	offline     bool // a refresh token is asked for
}

// refusal is why an authorization request cannot go on.
type refusal struct {
	code    string // RFC 6749 section 4.1.2.1; empty: nowhere to send it
	title   string
	message string
	fault   string // the word of the timeline; empty: the client is not known
}

func (r *refusal) Error() string { return r.title }

// parseAuthorize reads an authorization request in the order in which its
// faults may be told. early is set when client or redirect URI are not even
// there, so that nobody but the person can be told. late is a fault of the
// rest; it is for whoever proves to own the redirect URI.
func parseAuthorize(q url.Values, ours audience) (a authorization, early, late *refusal) {
	if early = checkPresent(q); early != nil {
		return authorization{}, early, nil
	}
	a.client, a.redirectURI = store.ClientID(q.Get("client_id")), q.Get("redirect_uri")
	if state, repeated := one(q, "state"); !repeated && state != "" {
		a.state = &state
	}
	late = checkRest(q, ours)
	if late != nil {
		return a, nil, late
	}
	a.challenge = q.Get("code_challenge")
	a.scopes, a.offline = knownScopes(q.Get("scope")), asksOffline(q.Get("scope"))
	return a, nil, nil
}

// checkPresent wants the parameters without which there is no request.
func checkPresent(q url.Values) *refusal {
	var missing, repeated []string
	for _, name := range []string{"client_id", "redirect_uri", "response_type", "code_challenge"} {
		value, twice := one(q, name)
		switch {
		case twice:
			repeated = append(repeated, name)
		case value == "":
			missing = append(missing, name)
		}
	}
	if len(missing)+len(repeated) == 0 {
		return nil
	}
	var what []string
	if len(missing) > 0 {
		what = append(what, "Missing: "+strings.Join(missing, ", ")+".")
	}
	if len(repeated) > 0 {
		what = append(what, "Sent more than once: "+strings.Join(repeated, ", ")+".")
	}
	return &refusal{title: "Missing required OAuth parameters", message: strings.Join(what, " ") + " " + startOver, fault: history.FaultMissing}
}

// checkRest holds the request against RFC 6749 section 4.1.1, RFC 7636 section
// 4.3 and RFC 8707 section 2. Parameters that are not named here are borne.
func checkRest(q url.Values, ours audience) *refusal {
	for _, name := range []string{"state", "scope", "resource", "code_challenge_method"} {
		if _, repeated := one(q, name); repeated {
			return &refusal{codeInvalidRequest, "Malformed request", "The parameter " + name + " is sent more than once.", history.FaultMalformed}
		}
	}
	switch {
	case !utf8.ValidString(q.Get("state")):
		return &refusal{codeInvalidRequest, "Malformed request", "The parameter state is not text.", history.FaultMalformed}
	case q.Get("response_type") != "code":
		return &refusal{codeUnsupportedResponseType, "response_type must be code", "This server gives out authorization codes only.", history.FaultResponseType}
	case q.Get("code_challenge_method") != "S256":
		return &refusal{codeInvalidRequest, "code_challenge_method must be S256", "The app asked without PKCE, or with a method that does not protect the code. It has to use S256.", history.FaultPKCE}
	case !isChallenge(q.Get("code_challenge")):
		return &refusal{codeInvalidRequest, "code_challenge is not valid", "A code_challenge of the method S256 has 43 characters of base64url.", history.FaultPKCE}
	case q.Get("resource") != "" && !ours.names(q.Get("resource")):
		return &refusal{codeInvalidTarget, "Wrong resource", "The app asked for access to something that is not on this server. Here it is " + ours.resource + ".", history.FaultResource}
	}
	return nil
}

// serveAuthorize answers GET /oauth/authorize and GET /authorize: it checks the
// request, has the person sign in, and shows the consent page, always.
func (s *Server) serveAuthorize(w http.ResponseWriter, r *http.Request) error {
	if err := s.limitVisits(r); err != nil {
		return err
	}
	q, err := parseQuery(r.URL.RawQuery)
	if err != nil {
		return err
	}
	a, early, late := parseAuthorize(q, s.audience)
	if early != nil {
		return s.showRefusal(w, r, early)
	}
	session, user, signedIn := s.sessions.Current(r)
	client, goal, err := s.prove(r, a, signedIn)
	trailOf(r).of(client, goal.host)
	switch {
	case errors.Is(err, errSignInFirst):
		trailOf(r).note.Claimed = a.client
		return s.signInFirst(w, r)
	case errors.As(err, &early):
		return s.showRefusal(w, r, early)
	case err != nil:
		return err
	}
	if late != nil {
		return s.showReturn(w, r, late, a, goal)
	}
	if !signedIn {
		return s.signInFirst(w, r)
	}
	s.atBrowser(r, history.StepAuthorize, user.ID)
	return s.askConsent(w, r, a, client, session, user)
}

func parseQuery(raw string) (url.Values, error) {
	if len(raw) > maxQuery {
		return nil, web.Fault(http.StatusRequestURITooLong, codeInvalidRequest, fmt.Sprintf("The authorization request is longer than %d bytes. %s", maxQuery, startOver), nil)
	}
	q, err := url.ParseQuery(raw)
	if err != nil {
		return nil, badRequest(codeInvalidRequest, "The authorization request is not well-formed. "+startOver)
	}
	return q, nil
}

// prove finds the client and proves that the redirect URI is its own. Only
// after that is there somewhere to send an answer; the error is a *refusal
// when there is not.
func (s *Server) prove(r *http.Request, a authorization, signedIn bool) (store.Client, target, error) {
	client, err := s.client(r, a.client, signedIn)
	if err != nil {
		return store.Client{}, target{}, err
	}
	goal, ok := matchRedirect(client.RedirectURIs, a.redirectURI, s.schemes)
	if !ok {
		return client, target{}, &refusal{title: "Unknown redirect address", message: "The app wants the answer sent to an address (redirect_uri) that it has not registered. " + startOver, fault: history.FaultRedirect}
	}
	return client, goal, nil
}

// client finds the client of an authorization request. Errors as of
// [documents.client].
func (s *Server) client(r *http.Request, id store.ClientID, signedIn bool) (store.Client, error) {
	if isClientURL(id) {
		began := s.now()
		client, err := s.documents.client(r.Context(), id, s.addrKey(r), signedIn)
		if err == nil && !client.Document.Fetched.Before(began) {
			s.documentRead(r, client)
		}
		return client, err
	}
	client, err := s.db.Client(id)
	if errors.Is(err, store.ErrNotFound) {
		return store.Client{}, &refusal{title: "Unknown app", message: "This server does not know the app that sent you here; it may have forgotten it. " + startOver}
	}
	if err != nil {
		return store.Client{}, fmt.Errorf("find client: %w", err)
	}
	return client, nil
}

func (s *Server) showRefusal(w http.ResponseWriter, r *http.Request, f *refusal) error {
	s.refusedAt(r, f)
	return s.pages.AuthorizeError(w, r, AuthorizeError{Status: http.StatusBadRequest, Title: f.title, Message: f.message})
}

// showReturn shows a refusal with the way back to the app. The way is a link
// and not a redirect, because anybody can register an address (RFC 9700
// section 4.11.2).
func (s *Server) showReturn(w http.ResponseWriter, r *http.Request, f *refusal, a authorization, goal target) error {
	s.refusedAt(r, f)
	return s.pages.AuthorizeError(w, r, AuthorizeError{
		Status: http.StatusBadRequest, Title: f.title, Message: f.message, ReturnHost: goal.host,
		Return: respond(a.redirectURI, pair{"error", f.code}, pair{"error_description", describable(f.title + ". " + f.message)},
			pair{"state", orEmpty(a.state)}, pair{"iss", s.issuer}),
	})
}

func orEmpty(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// askConsent keeps the request for this browser session and shows the page.
func (s *Server) askConsent(w http.ResponseWriter, r *http.Request, a authorization, client store.Client, session store.Session, user store.User) error {
	now := s.now()
	if wait, ok := s.limits.authorize.Allow(session.Hash.String(), now); !ok {
		return web.TooMany(wait, "authorization requests from this browser")
	}
	handle, attempt := newSecret(), s.atBrowser(r, history.StepConsent, user.ID)
	req := store.AuthRequest{
		Handle: store.HashSecret(handle), Session: session.Hash, Client: client.ID, RedirectURI: a.redirectURI, State: a.state,
		Challenge: a.challenge, Scopes: a.scopes, Resource: s.resource, Offline: s.givesRefresh(client, a.offline), Created: now, Expires: now.Add(requestTTL),
		Attempt: attempt,
	}
	err := s.db.CreateAuthRequest(req)
	if errors.Is(err, store.ErrNotFound) {
		return s.showOver(w, r)
	}
	if err != nil {
		return fmt.Errorf("keep authorization request: %w", err)
	}
	live, err := s.db.GrantsOf(user.ID, client.ID, now)
	if err != nil {
		return fmt.Errorf("connections of the client: %w", err)
	}
	return s.showConsent(w, r, fillFirst(a.scopes, live).form(handle, ""), req, client, user, "")
}

// showConsent shows the consent page with the choices in f.
func (s *Server) showConsent(w http.ResponseWriter, r *http.Request, f form, req store.AuthRequest, client store.Client, user store.User, fault string) error {
	goal, err := parseRedirect(req.RedirectURI, s.schemes)
	if err != nil {
		return s.showOver(w, r) // its scheme was allowed when the request came in
	}
	teams, err := s.db.TeamsOf(user.ID)
	if err != nil {
		return fmt.Errorf("teams of user: %w", err)
	}
	slices.SortFunc(teams, func(a, b store.Membership) int { return strings.Compare(a.Team.Slug, b.Team.Slug) })
	live, err := s.db.GrantsOf(user.ID, client.ID, s.now())
	if err != nil {
		return fmt.Errorf("connections of the client: %w", err)
	}
	filled := fill(req.Scopes, live, f.filled)
	return s.pages.Consent(w, r, Consent{
		Handle: f.handle, User: user, ClientName: text.Line(client.Name, maxNameShown), DocumentHost: DocumentHost(client.ID), RedirectHost: goal.host, Loopback: goal.local,
		Teams: teams, Scopes: filled.consentScopes(f.scopes), AccessTTL: s.accessTTL, RefreshTTL: s.refreshShown(req), Fault: fault, Team: f.team,
		Filled: filled.team, Limits: f.fields, LimitFault: f.faultyField(fault),
	})
}

// showOver tells the person that this request cannot be decided any more.
func (s *Server) showOver(w http.ResponseWriter, r *http.Request) error {
	return s.showRefusal(w, r, &refusal{
		title:   "This request is over",
		message: "It was answered already, is older than 30 minutes, or belongs to another browser. Go back to your assistant and start connecting again.",
	})
}
