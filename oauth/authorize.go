package oauth

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"podgate/history"
	"podgate/internal/web"
	"podgate/store"
)

// maxQuery bounds an authorization request in bytes. What it carries comes
// back in a Location header, and many a proxy stops at 8 KiB of headers.
const maxQuery = 6 << 10

// startOver is the advice for every request that no repair can save.
const startOver = "Go back to your assistant, remove the connector there and add it again."

// authorization is an authorization request (RFC 6749 section 4.1.1). The steps
// of check fill it in, in the order in which faults may be told: what the
// request claims, what of that is proved, and the rest.
type authorization struct {
	clientID    store.ClientID
	redirectURI string
	state       *string // nil: none was sent

	client found
	target target
	server *identity // whose resource is asked for, and who answers

	challenge string
	scopes    []store.Scope
	offline   bool // a refresh token is asked for
}

// refusal is why an authorization request cannot go on, for the person at the
// browser and, if there is a way back, for the client.
type refusal struct {
	code    string // RFC 6749 section 4.1.2.1; empty: it never leads back
	title   string
	message string
	fault   string // the word of the timeline

	// returnURI is where «Return to HOST» leads, and returnHost its host. Both
	// are empty until client and redirect URI are proved.
	returnURI, returnHost string
}

func (r *refusal) Error() string { return r.title }

// returning is the refusal with the way back to a client that is proved. The
// way is a link and not a redirect, because anybody can register an address
// (RFC 9700 section 4.11.2).
func (r *refusal) returning(a authorization) *refusal {
	with := *r
	with.returnHost = a.target.host
	with.returnURI = respond(a.redirectURI, pair{"error", r.code}, pair{"error_description", describable(r.title + ". " + r.message)},
		pair{"state", orEmpty(a.state)}, pair{"iss", a.server.issuer})
	return &with
}

// requestOver is the refusal of a request that cannot be decided any more.
func requestOver() *refusal {
	return &refusal{
		title:   "This request is over",
		message: "It was answered already, is older than 30 minutes, or belongs to another browser. Go back to your assistant and start connecting again.",
		fault:   history.FaultRequestOver,
	}
}

// overOr is requestOver for an error that says so, and err otherwise, with what
// was being done.
func overOr(err error, doing string) error {
	if isGone(err) {
		return requestOver()
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// parseClaims reads who the client says it is and where it wants the answer. A
// fault here is for the person alone.
func parseClaims(q url.Values) (authorization, error) {
	if refused := checkPresent(q); refused != nil {
		return authorization{}, refused
	}
	a := authorization{clientID: store.ClientID(q.Get("client_id")), redirectURI: q.Get("redirect_uri")}
	if state, repeated := one(q, "state"); !repeated && state != "" {
		a.state = &state
	}
	return a, nil
}

// parseRest reads the rest of a request. A fault here may be told to whoever
// proves to own the redirect URI.
func (a *authorization) parseRest(q url.Values, ours audience) *refusal {
	if refused := checkRest(q, ours); refused != nil {
		return refused
	}
	a.challenge = q.Get("code_challenge")
	a.scopes, a.offline = knownScopes(q.Get("scope")), asksOffline(q.Get("scope"))
	return nil
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

// refuseBack is a refusal that the client may be told as well.
func refuseBack(code, fault, title, message string) *refusal {
	return &refusal{code: code, fault: fault, title: title, message: message}
}

// checkRest holds the request against RFC 6749 section 4.1.1, RFC 7636 section
// 4.3 and RFC 8707 section 2. Parameters that are not named here are borne.
func checkRest(q url.Values, ours audience) *refusal {
	for _, name := range []string{"state", "scope", "resource", "code_challenge_method"} {
		if _, repeated := one(q, name); repeated {
			return refuseBack(codeInvalidRequest, history.FaultMalformed, "Malformed request", "The parameter "+name+" is sent more than once.")
		}
	}
	switch {
	case !utf8.ValidString(q.Get("state")):
		return refuseBack(codeInvalidRequest, history.FaultMalformed, "Malformed request", "The parameter state is not text.")
	case q.Get("response_type") != "code":
		return refuseBack(codeUnsupportedResponseType, history.FaultResponseType, "response_type must be code", "This server gives out authorization codes only.")
	case q.Get("code_challenge_method") != "S256":
		return refuseBack(codeInvalidRequest, history.FaultPKCE, "code_challenge_method must be S256", "The app asked without PKCE, or with a method that does not protect the code. It has to use S256.")
	case !isChallenge(q.Get("code_challenge")):
		return refuseBack(codeInvalidRequest, history.FaultPKCE, "code_challenge is not valid", "A code_challenge of the method S256 has 43 characters of base64url.")
	case q.Get("resource") != "" && ours.named(q.Get("resource")) == nil:
		return refuseBack(codeInvalidTarget, history.FaultResource, "Wrong resource", "The app asked for access to something that is not on this server. Here it is "+ours[0].resource+".")
	}
	return nil
}

// navigationsOnly refuses what a browser sends to show something other than a
// page of its own: an image, a frame, a script's fetch, a prefetch. A page of a
// neighbour, such as a pod's, can make any number of those with the person's
// cookie, and each would push a request that waits out. The check comes before
// everything else, so they use up no visits either and leave no trace. Browsers
// without these headers (Fetch Metadata), and programs, are let through.
func navigationsOnly(h web.Handler) web.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		mode, dest, purpose := r.Header.Get("Sec-Fetch-Mode"), r.Header.Get("Sec-Fetch-Dest"), r.Header.Get("Sec-Purpose")
		if mode != "" && mode != "navigate" || dest != "" && dest != "document" || strings.Contains(purpose, "prefetch") {
			return web.Fault(http.StatusForbidden, codeAccessDenied, "This address has to be opened as a page of its own, in a window.", nil)
		}
		return h(w, r)
	}
}

// serveAuthorize answers GET /oauth/authorize and GET /authorize: it checks the
// request, has the person sign in, and shows the consent page, always.
func (s *Server) serveAuthorize(w http.ResponseWriter, r *http.Request) error {
	if err := s.limitVisits(r); err != nil {
		return err
	}
	session, user, signedIn := s.sessions.Current(r)
	a, err := s.check(r, signedIn)
	recordOf(r).of(a.client.Client, a.target.host)
	switch {
	case errors.Is(err, errSignInFirst):
		recordOf(r).note.Claimed = a.clientID
		return s.signInFirst(w, r)
	case err != nil:
		return err
	case !signedIn:
		return s.signInFirst(w, r)
	}
	s.atBrowser(r, history.StepAuthorize, user.ID)
	return s.askConsent(w, r, a, session, user)
}

// atPages sends a browser that comes under a name at which there are no pages on
// to them. The name was the client's choice, and iss has to be that of the answer
// (RFC 9207 section 2.4), so a request that does not name its resource is for the
// one under this name.
func (s *Server) atPages(h web.Handler) web.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if !s.pageHost.Elsewhere(r) {
			return h(w, r)
		}
		target := r.URL.RequestURI()
		if asked := s.audience.at(r); asked != s.identity && r.URL.RawQuery != "" && !r.URL.Query().Has("resource") {
			target += "&resource=" + url.QueryEscape(asked.resource)
		}
		s.pageHost.SendOn(w, r, target)
		return nil
	}
}

// check takes a request through the checks of the authorization endpoint. The
// error is a *refusal, errSignInFirst, a 429 or a fault here; with any, a holds
// what was read and proved before it.
func (s *Server) check(r *http.Request, signedIn bool) (a authorization, err error) {
	q, err := parseQuery(r.URL.RawQuery)
	if err != nil {
		return a, err
	}
	if a, err = parseClaims(q); err != nil {
		return a, err
	}
	if err := s.prove(r, &a, signedIn); err != nil {
		return a, err
	}
	a.server = s.audience.meant(q.Get("resource"))
	if refused := a.parseRest(q, s.audience); refused != nil {
		return a, refused.returning(a)
	}
	return a, nil
}

// showingRefusals answers a *refusal of h as a page.
func (s *Server) showingRefusals(h web.Handler) web.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		err := h(w, r)
		var refused *refusal
		if !errors.As(err, &refused) {
			return err
		}
		s.refusedAt(r, refused)
		return s.pages.AuthorizeError(w, r, AuthorizeError{
			Status: http.StatusBadRequest, Title: refused.title, Message: refused.message, Return: refused.returnURI, ReturnHost: refused.returnHost,
		})
	}
}

func parseQuery(raw string) (url.Values, error) {
	if len(raw) > maxQuery {
		return nil, web.Fault(http.StatusRequestURITooLong, codeInvalidRequest, fmt.Sprintf("The authorization request is longer than %d bytes. %s", maxQuery, startOver), reason(history.FaultMalformed))
	}
	q, err := url.ParseQuery(raw)
	if err != nil {
		return nil, malformed("The authorization request is not well-formed. " + startOver)
	}
	return q, nil
}

// prove finds the client and proves that the redirect URI is its own. Only
// after that is there somewhere to send an answer.
func (s *Server) prove(r *http.Request, a *authorization, signedIn bool) (err error) {
	// Before a document is fetched: of a blocked app nothing is wanted.
	if blocked, err := s.db.Blocked(a.clientID); err != nil {
		return fmt.Errorf("look for a block: %w", err)
	} else if blocked {
		return blockedApp()
	}
	if a.client, err = s.client(r, a.clientID, signedIn); err != nil {
		return err
	}
	target, ok := matchRedirect(a.client.RedirectURIs, a.redirectURI, s.schemes)
	if !ok {
		return unknownRedirect(a.client)
	}
	a.target = target
	return nil
}

// blockedApp is told to the person alone, like an app that is not known.
func blockedApp() *refusal {
	return &refusal{title: "This app is blocked", message: "An administrator of this server does not let this app connect. Ask them if you need it.", fault: history.FaultBlockedClient}
}

// unknownRedirect is for a person who may be locked out by a copy that is not
// what the document says today: connecting anew does not help them.
func unknownRedirect(c found) *refusal {
	message := "The app wants the answer sent to an address (redirect_uri) that it has not registered. " + startOver
	if c.copied != "" {
		message = "The app wants the answer sent to an address (redirect_uri) that the description of it does not name. " + c.copied + " The document itself may name the address: try again when this server can fetch it."
	}
	return &refusal{title: "Unknown redirect address", message: message, fault: history.FaultRedirect}
}

// client finds the client of an authorization request. Errors as of
// [documents.client].
func (s *Server) client(r *http.Request, id store.ClientID, signedIn bool) (found, error) {
	if isClientURL(id) {
		began := s.now()
		client, err := s.documents.client(r.Context(), id, s.addrKey(r), signedIn)
		if err == nil && (client.copied != "" || !client.Document.Fetched.Before(began)) {
			s.documentRead(r, client)
		}
		return client, err
	}
	client, err := s.db.Client(id)
	if errors.Is(err, store.ErrNotFound) {
		return found{}, &refusal{title: "Unknown app", message: "This server does not know the app that sent you here; it may have forgotten it. " + startOver, fault: history.FaultUnknownClient}
	}
	if err != nil {
		return found{}, fmt.Errorf("find client: %w", err)
	}
	return found{Client: client}, nil
}

func orEmpty(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
