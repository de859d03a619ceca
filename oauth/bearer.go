package oauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"podgate/history"
	"podgate/internal/authz"
	"podgate/internal/web"
	"podgate/store"
)

// challenges are the WWW-Authenticate values of RFC 6750 section 3 with the
// parameter of RFC 9728 section 5.1. They never change, so they are built once.
type challenges struct {
	metadata string // resource_metadata="…"
	absent   string // no token was sent
	invalid  string // one was, and it opens nothing
}

func newChallenges(issuer string) challenges {
	metadata := `resource_metadata="` + issuer + "/.well-known/oauth-protected-resource" + resourcePath + `"`
	scope := `scope="` + defaultScopes() + `"`
	return challenges{
		metadata: metadata,
		absent:   "Bearer " + metadata + ", " + scope,
		invalid:  `Bearer error="` + codeInvalidToken + `", error_description="` + deadToken + `", ` + metadata + ", " + scope,
	}
}

const (
	noToken   = "This address needs an access token. Connect to it from an MCP client, which will ask you to sign in."
	deadToken = "The access token is unknown, expired or revoked. Connect again."
)

// Bearer lets a request through to next only with a live access token for this
// resource, and puts the actor it stands for into the context. Everything else
// is answered 401 before a byte of the body is read (RFC 6750 section 3.1).
// Tokens in the URL or in a body are not looked at.
func (s *Server) Bearer(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, sent := bearerToken(r.Header["Authorization"])
		if !sent {
			s.history.Step(history.Note{Kind: history.StepChallenge, Detail: s.askedElsewhere(r), From: s.history.Visitor(r)})
			refuseBearer(w, s.audience.at(r).challenges.absent, noToken)
			return
		}
		access, fault, err := s.access(token)
		if err != nil {
			s.log.Error("look up access token", "error", err)
			writeError(w, r, web.AsError(err))
			return
		}
		if access == nil {
			s.refusedToken(r, token, fault)
			refuseBearer(w, s.audience.at(r).challenges.invalid, deadToken)
			return
		}
		s.history.Called(&access.Grant, r)
		next.ServeHTTP(w, r.WithContext(authz.WithActor(r.Context(), authz.Connection(access))))
	})
}

// access returns what the token opens; when that is nothing, nil and the word of
// the timeline for why, which the client does not hear.
func (s *Server) access(token string) (access *store.Access, fault string, err error) {
	sent, ok := accessToken(token)
	if !ok {
		return nil, history.FaultUnknownToken, nil
	}
	now := s.now()
	access, err = s.db.Access(sent, now)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, history.FaultUnknownToken, nil
	case errors.Is(err, store.ErrExpired):
		return nil, history.FaultExpiredToken, nil
	case errors.Is(err, store.ErrNotMember):
		return nil, history.FaultNotMember, nil
	case err != nil:
		return nil, "", err
	case !s.audience.holds(access.Grant.Resource):
		return nil, history.FaultResource, nil // issued when this server had another address
	}
	if err := s.db.NoteGrantUse(access, now); err != nil {
		return nil, "", fmt.Errorf("note the use of a connection: %w", err)
	}
	return access, "", nil
}

// bearerToken returns the credentials of an Authorization header of the scheme
// Bearer (RFC 6750 section 2.1); false when none was sent. Two headers are
// taken for a token that is not valid: what stands between us and the client
// may have looked at the other one.
func bearerToken(headers []string) (token string, sent bool) {
	for _, h := range headers {
		scheme, credentials, _ := strings.Cut(h, " ")
		if strings.EqualFold(scheme, "Bearer") {
			token, sent = strings.TrimLeft(credentials, " "), true
		}
	}
	if len(headers) > 1 {
		return "", sent
	}
	return token, sent
}

func refuseBearer(w http.ResponseWriter, challenge, message string) {
	h := w.Header()
	h.Set("WWW-Authenticate", challenge)
	h.Set("Cache-Control", "no-store")
	web.WriteJSON(w, http.StatusUnauthorized, map[string]string{"error": "unauthorized", "error_description": message})
}

// InsufficientScope answers 403 for a token that lacks a scope (RFC 6750
// section 3.1). needed is everything that the operation needs. The challenge
// names what the connection has as well, so that a client which asks for just
// what it reads there loses nothing (MCP authorization, scope selection).
func (s *Server) InsufficientScope(w http.ResponseWriter, r *http.Request, needed []store.Scope) {
	s.lackedScope(r, needed)
	has := authz.FromContext(r.Context()).Scopes
	ask := slices.DeleteFunc(authz.Scopes(), func(scope store.Scope) bool {
		return !slices.Contains(needed, scope) && !slices.Contains(has, scope)
	})
	message := "This needs the scope " + joinScopes(needed) + ". Connect again and allow it."
	h := w.Header()
	h.Set("WWW-Authenticate", `Bearer error="`+codeInsufficientScope+`", error_description="`+message+`", scope="`+joinScopes(ask)+`", `+s.audience.at(r).challenges.metadata)
	h.Set("Cache-Control", "no-store")
	web.WriteJSON(w, http.StatusForbidden, map[string]string{"error": codeInsufficientScope, "error_description": message})
}

// Watch is the bearer check for as long as a request that passed it is being
// answered. watched has the actor as it is now, and a context that ends because
// of [authz.ErrRevoked] when the token or its connection is ended by somebody, or
// when mayGoOn refuses the actor that is left after scopes or limits were taken
// away. That is before whoever takes it hears that it is done. stop ends the watch.
func (s *Server) Watch(r *http.Request, mayGoOn func(authz.Actor) error) (watched *http.Request, stop func()) {
	ctx, cancel := context.WithCancelCause(r.Context())
	token, _ := bearerToken(r.Header["Authorization"])
	sent, _ := accessToken(token)
	look := func() (authz.Actor, error) {
		// A token that runs out in mid-call was good when it came, so the time
		// does not matter any more.
		access, err := s.db.Access(sent, time.Time{})
		if err != nil {
			return authz.Actor{}, err
		}
		return authz.Connection(access), nil
	}
	unwatch := s.db.OnLoss(authz.FromContext(ctx).Grant, func() {
		actor, err := look()
		if err == nil {
			err = mayGoOn(actor)
		}
		if err != nil {
			cancel(fmt.Errorf("%w: %w", authz.ErrRevoked, err))
		}
	})
	// What was taken since the check and before the watch is seen here.
	actor, err := look()
	if err != nil {
		cancel(fmt.Errorf("%w: %w", authz.ErrRevoked, err))
	}
	return r.WithContext(authz.WithActor(ctx, actor)), func() { unwatch(); cancel(nil) }
}
