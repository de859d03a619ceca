package oauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"podgate/history"
	"podgate/internal/text"
	"podgate/internal/trace"
	"podgate/internal/web"
	"podgate/store"
)

// grantType is one way to get an access token. The steps around parse and
// redeem are the same for all.
type grantType struct {
	name   string
	parse  func(url.Values, *tokenRequest) error
	redeem func(*Server, context.Context, tokenRequest, store.Client) (tokenAnswer, error)
}

const (
	grantCode    = "authorization_code"
	grantRefresh = "refresh_token"
)

// grantTypes lists what the token endpoint redeems, with or without refresh
// tokens. Metadata and registrations name exactly these.
func grantTypes(refresh bool) []grantType {
	list := []grantType{{grantCode, parseCode, (*Server).redeemCode}}
	if refresh {
		list = append(list, grantType{grantRefresh, parseRefresh, (*Server).redeemRefresh})
	}
	return list
}

func grantTypeNames(refresh bool) []string {
	var names []string
	for _, g := range grantTypes(refresh) {
		names = append(names, g.name)
	}
	return names
}

// refreshes reports whether this server has refresh tokens.
func (s *Server) refreshes() bool { return s.refreshTTL > 0 }

// tokenRequest is a token request whose parameters are sound in themselves.
type tokenRequest struct {
	grant       grantType
	client      store.ClientID
	resources   []string // every name of ours; nil when none was sent
	code        string
	redirectURI string
	verifier    string
	refresh     string
	scopes      []store.Scope // of a refresh; nil: all that was granted
}

// tokenAnswer is the answer of RFC 6749 section 5.1.
type tokenAnswer struct {
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type"`
	ExpiresIn    int64  `json:"expires_in"` // seconds
	RefreshToken string `json:"refresh_token,omitempty"`
	Scope        string `json:"scope"`

	connection *store.Redeemed // that it is about, as far as is known; also with an error
}

// newAnswer rounds to whole seconds, so that requests milliseconds apart can
// get the same answer.
func newAnswer(access string, left time.Duration, refresh string, scopes []store.Scope) tokenAnswer {
	return tokenAnswer{
		AccessToken: access, TokenType: "Bearer", ExpiresIn: int64(left.Round(time.Second).Seconds()), RefreshToken: refresh, Scope: joinScopes(scopes),
	}
}

// about says which connection an answer is about, and what it replaced.
func (a tokenAnswer) about(g store.Grant, replaced ...store.Grant) tokenAnswer {
	a.connection = &store.Redeemed{Grant: g, Replaced: replaced}
	return a
}

// parseToken reads a token request (RFC 6749 section 4.1.3, RFC 7636 section
// 4.5, RFC 8707 section 2.2) and its Authorization headers. Everything that a
// client could repair is found here, before anything is spent.
func parseToken(form url.Values, authorization []string, ours audience, grants []grantType) (tokenRequest, error) {
	var t tokenRequest
	var err error
	if t.grant, err = parseGrantType(form, grants); err != nil {
		return tokenRequest{}, err
	}
	if t.client, err = parseClient(form, authorization); err != nil {
		return tokenRequest{}, err
	}
	resource, err := optional(form, "resource")
	if err != nil {
		return tokenRequest{}, err
	}
	if resource != "" {
		if ours.named(resource) == nil {
			return tokenRequest{}, refuse(codeInvalidTarget, history.FaultResource, "Tokens of this server are for "+ours[0].resource+" only.")
		}
		t.resources = ours.resources()
	}
	if err := t.grant.parse(form, &t); err != nil {
		return tokenRequest{}, err
	}
	return t, nil
}

func parseGrantType(form url.Values, grants []grantType) (grantType, error) {
	name, err := required(form, "grant_type")
	if err != nil {
		return grantType{}, err
	}
	for _, g := range grants {
		if g.name == name {
			return g, nil
		}
	}
	return grantType{}, refuse(codeUnsupportedGrantType, history.FaultGrantType, "This grant_type is not supported. The metadata names those that are.")
}

// parseCode reads what an authorization code needs. There is no way around the
// verifier: a request without one is refused, whatever the code was issued for.
func parseCode(form url.Values, t *tokenRequest) (err error) {
	if t.code, err = required(form, "code"); err != nil {
		return err
	}
	if t.redirectURI, err = required(form, "redirect_uri"); err != nil {
		return err
	}
	if t.verifier, err = required(form, "code_verifier"); err != nil {
		return err
	}
	if !isVerifier(t.verifier) {
		return malformed("A code_verifier has 43 to 128 characters of A-Z, a-z, 0-9, -, ., _ and ~.")
	}
	return nil
}

// handleToken answers POST /api/oauth/token and POST /token.
func (s *Server) handleToken(w http.ResponseWriter, r *http.Request) error {
	answer, err := s.token(w, r)
	if err != nil {
		return s.limitFailures(r, err)
	}
	s.finish(recordOf(r))
	w.Header().Set("Cache-Control", "no-store")
	web.WriteJSON(w, http.StatusOK, answer)
	return nil
}

// limitFailures returns err, or 429 in its place when the address has failed too
// often. Requests that succeed never come here: the clients of many people
// come from the few addresses of their makers' servers, and each success was
// paid for with a person's approval.
func (s *Server) limitFailures(r *http.Request, err error) error {
	if web.AsError(err).Status >= http.StatusInternalServerError {
		return err
	}
	wait, ok := s.limits.fail.Allow(s.addrKey(r), s.now())
	if !ok {
		return tooMany(wait, "failed token requests")
	}
	return err
}

// failuresLimited slows the failures of a handler down.
func (s *Server) failuresLimited(h web.Handler) web.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := h(w, r); err != nil {
			return s.limitFailures(r, err)
		}
		return nil
	}
}

func (s *Server) token(w http.ResponseWriter, r *http.Request) (tokenAnswer, error) {
	form, err := readForm(w, r)
	if err != nil {
		return tokenAnswer{}, err
	}
	t, err := parseToken(form, r.Header.Values("Authorization"), s.audience, grantTypes(s.refreshes()))
	if err != nil {
		return tokenAnswer{}, err
	}
	client, err := s.knownClient(t.client)
	if err != nil {
		return tokenAnswer{}, err
	}
	recordOf(r).of(client, "")
	recordOf(r).sent(t)
	answer, err := t.grant.redeem(s, r.Context(), t, client)
	recordOf(r).connected(answer)
	if answer.connection != nil {
		s.replaced(r, answer.connection.Replaced)
	}
	return answer, err
}

// knownClient finds a client, with errors in the words of the token and revocation endpoints.
// invalid_client makes clients register again, which is what helps.
func (s *Server) knownClient(id store.ClientID) (store.Client, error) {
	if blocked, err := s.db.Blocked(id); err != nil {
		return store.Client{}, fmt.Errorf("look for a block: %w", err)
	} else if blocked {
		return store.Client{}, refuse(codeUnauthorizedClient, history.FaultBlockedClient, "An administrator of this server does not let this app connect.")
	}
	client, err := s.db.Client(id)
	if errors.Is(err, store.ErrNotFound) {
		return store.Client{}, invalidClient("The client is not known here. Register again.")
	}
	if err != nil {
		return store.Client{}, fmt.Errorf("find client: %w", err)
	}
	return client, nil
}

// redeemCode exchanges an authorization code (RFC 6749 section 4.1.3).
func (s *Server) redeemCode(ctx context.Context, t tokenRequest, client store.Client) (tokenAnswer, error) {
	// Only the host is wanted here. Whether it is the right URI is for the
	// store to say, in the transaction that notices a second use as well.
	target, err := parseRedirect(t.redirectURI, s.schemes)
	if err != nil {
		return tokenAnswer{}, wrongRedirect()
	}
	now, id := s.now(), store.GrantID(store.NewID())
	access := newAccessToken(id)
	first, refresh := s.firstRefresh(id, now)
	redemption := store.Redemption{
		Code: store.HashSecret(t.code), Client: client.ID, RedirectURI: t.redirectURI, Challenge: challengeOf(t.verifier), Resources: t.resources,
		ClientName: text.Line(client.Name, maxNameShown), RedirectHost: target.host,
		Grant: id, Access: store.HashSecret(access), Expires: now.Add(s.accessTTL), Refresh: first,
	}
	grant, err := trace.Do(ctx, "store redeem_code", func() (store.Redeemed, error) { return s.db.RedeemCode(redemption, now) })
	if err != nil {
		return tokenAnswer{}, s.refuseCode(err, client.ID)
	}
	s.log.Info("connection made", "connection", grant.ID, "client", client.ID, "user", grant.User, "team", grant.Team)
	if grant.Refresh == nil {
		refresh = "" // not asked for
	}
	return newAnswer(access, s.accessTTL, refresh, grant.Scopes).about(grant.Grant, grant.Replaced...), nil
}

// deadCode refuses a code that is worth nothing. The client does not hear why.
func deadCode(fault string) *web.Error {
	return refuse(codeInvalidGrant, fault, "The authorization code is unknown, expired, used or revoked. Start the authorization again.")
}

func wrongRedirect() *web.Error {
	return refuse(codeInvalidGrant, history.FaultRedirect, "The redirect_uri is not the one of the authorization request.")
}

func wrongResource() *web.Error {
	return refuse(codeInvalidTarget, history.FaultResource, "The resource is not the one of the authorization request.")
}

// refuseCode puts the store's reasons in the words of RFC 6749 section 5.2.
func (s *Server) refuseCode(err error, client store.ClientID) error {
	var mismatch *store.MismatchError
	switch {
	case errors.As(err, &mismatch):
		return refuseMismatch(mismatch)
	case errors.Is(err, store.ErrSpent):
		s.log.Warn("authorization code used twice; its connection is revoked", "client", client)
		return deadCode(history.FaultSpentCode)
	case errors.Is(err, store.ErrNotMember):
		return deadCode(history.FaultNotMember)
	case errors.Is(err, store.ErrExpired):
		return deadCode(history.FaultExpiredCode)
	case errors.Is(err, store.ErrNotFound):
		return deadCode(history.FaultUnknownCode)
	}
	return fmt.Errorf("redeem code: %w", err)
}

func refuseMismatch(m *store.MismatchError) error {
	switch m.Field {
	case "resource":
		return wrongResource()
	case "redirect_uri":
		return wrongRedirect()
	}
	return refuse(codeInvalidGrant, history.FaultVerifier, "The code_verifier does not match the code_challenge.")
}
