package oauth

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"podgate/history"
	"podgate/internal/text"
	"podgate/internal/trace"
	"podgate/store"
)

// review is everything that one authorization request is decided from. It is
// read once for each time that a person sees or sends the form.
type review struct {
	request store.AuthRequest
	client  store.Client
	target  target
	user    store.User
	teams   []store.Membership // by slug
	live    []store.Grant      // connections of that user and client, the newest first
}

// review reads what a request is decided from; a *refusal when it cannot be.
func (s *Server) review(req store.AuthRequest, client store.Client, user store.User) (v review, err error) {
	v = review{request: req, client: client, user: user}
	if v.target, err = parseRedirect(req.RedirectURI, s.schemes); err != nil {
		return v, requestOver() // its scheme was allowed when the request came in
	}
	if v.teams, err = s.db.TeamsOf(user.ID); err != nil {
		return v, fmt.Errorf("teams of user: %w", err)
	}
	slices.SortFunc(v.teams, func(a, b store.Membership) int { return strings.Compare(a.Team.Slug, b.Team.Slug) })
	if v.live, err = s.db.GrantsOf(user.ID, client.ID, s.now()); err != nil {
		return v, fmt.Errorf("connections of the client: %w", err)
	}
	return v, nil
}

// askConsent keeps the request for this browser session and shows the page.
func (s *Server) askConsent(w http.ResponseWriter, r *http.Request, a authorization, session store.Session, user store.User) error {
	now := s.now()
	if wait, ok := s.limits.authorize.Allow(session.Hash.String(), now); !ok {
		return tooMany(wait, "authorization requests from this browser")
	}
	handle, attempt := newSecret(), s.atBrowser(r, history.StepConsent, user.ID)
	req := store.AuthRequest{
		Handle: store.HashSecret(handle), Session: session.Hash, Client: a.client.ID, Copied: a.client.copied, RedirectURI: a.redirectURI, State: a.state,
		Challenge: a.challenge, Scopes: a.scopes, Resource: a.server.resource, Offline: s.givesRefresh(a.client.Client, a.offline), Created: now, Expires: now.Add(requestTTL),
		Attempt: attempt,
	}
	err := trace.Run(r.Context(), "store create_auth_request", func() error { return s.db.CreateAuthRequest(req) })
	if errors.Is(err, store.ErrNotFound) {
		return requestOver()
	}
	if errors.Is(err, store.ErrBlocked) {
		return blockedApp()
	}
	if err != nil {
		return fmt.Errorf("keep authorization request: %w", err)
	}
	v, err := s.review(req, a.client.Client, user)
	if err != nil {
		return err
	}
	return s.showConsent(w, r, v, v.firstOffer().form(handle, ""), "")
}

// showConsent shows the consent page with the choices in f and, if there is
// one, what the person has to mend in them.
func (s *Server) showConsent(w http.ResponseWriter, r *http.Request, v review, f form, fault string) error {
	o := v.offer(f.filled)
	withheld, limits := v.withhold(&o, f)
	return s.pages.Consent(w, r, Consent{
		Handle: f.handle, User: v.user, ClientName: text.Line(v.client.Name, maxNameShown), DocumentHost: DocumentHost(v.client.ID), DocumentCopied: v.request.Copied,
		RedirectHost: v.target.host, Loopback: v.target.local, Teams: v.teams, Scopes: o.consentScopes(f.scopes),
		AccessTTL: s.accessTTL, RefreshTTL: s.refreshShown(v.request), Fault: fault, Team: f.team,
		Filled: o.team, Earlier: o.replaceable(f.replace), Limits: f.fields, LimitFault: f.faultyField(fault),
		Withheld: withheld, TeamLimits: limits,
	})
}
