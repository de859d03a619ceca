package control

import (
	"context"
	"fmt"
	"strings"
	"time"

	"podgate/history"
	"podgate/internal/web"
	"podgate/store"
)

const (
	pathSessions   = "/v1/user/sessions"
	pathSessionEnd = "/v1/user/session/end"
	pathSignOut    = "/v1/user/sign-out"
)

// Session is a browser in which somebody is signed in.
type Session struct {
	ID       store.Hash `json:"id"`
	Agent    string     `json:"user_agent,omitempty"` // what the browser says it is
	Addr     string     `json:"addr,omitempty"`       // where it began
	Created  time.Time  `json:"created"`
	LastUsed time.Time  `json:"last_used"`
	Expires  time.Time  `json:"expires"`
}

// SignedOut is what a person had that has ended.
type SignedOut struct {
	User     string    `json:"user"` // address
	Sessions []Session `json:"sessions"`
	Ended    int       `json:"connections_ended"`
}

type sessionRequest struct {
	Email string `json:"email"`
	ID    string `json:"id"` // or its beginning
}

// sessionRoutes are the commands about browsers in which people are signed in.
func (h *handler) sessionRoutes() map[string]web.Handler {
	return map[string]web.Handler{
		pathSessions:   command(h.sessions),
		pathSessionEnd: audited(h, history.AuditEndSession, func(r sessionRequest) about { return about{email: r.Email} }, h.endSession),
		pathSignOut:    audited(h, history.AuditEverywhere, ofEmail, h.signOut),
	}
}

func (h *handler) sessions(_ context.Context, r emailRequest) ([]Session, error) {
	u, err := h.Accounts.UserByEmail(r.Email)
	if err != nil {
		return nil, err
	}
	found, err := h.Accounts.Sessions(u.ID)
	list := make([]Session, 0, len(found))
	for _, s := range found {
		list = append(list, Session{ID: s.Hash, Agent: s.UserAgent, Addr: s.Addr, Created: s.Created.UTC(), LastUsed: s.LastUsed.UTC(), Expires: s.Expires.UTC()})
	}
	return list, err
}

// endSession ends the one session whose id begins with what was typed.
func (h *handler) endSession(ctx context.Context, r sessionRequest) (SignedOut, error) {
	u, err := h.Accounts.UserByEmail(r.Email)
	if err != nil {
		return SignedOut{}, err
	}
	list, err := h.sessions(ctx, emailRequest{r.Email})
	if err != nil {
		return SignedOut{}, err
	}
	const least = 6
	var found []Session
	for _, s := range list {
		if len(r.ID) >= least && strings.HasPrefix(s.ID.String(), r.ID) {
			found = append(found, s)
		}
	}
	if len(found) != 1 {
		return SignedOut{}, wordsFor{store.ErrNotFound, fmt.Sprintf("%d sessions of %s are called that: write at least %d characters of the id. «podgate user sessions %s» shows them.", len(found), u.Email, least, u.Email)}
	}
	return SignedOut{User: u.Email, Sessions: found}, h.Accounts.EndSession(u.ID, found[0].ID)
}

// signOut ends all sessions and connections of somebody.
func (h *handler) signOut(ctx context.Context, r emailRequest) (SignedOut, error) {
	u, err := h.Accounts.UserByEmail(r.Email)
	if err != nil {
		return SignedOut{}, err
	}
	list, err := h.sessions(ctx, r)
	if err != nil {
		return SignedOut{}, err
	}
	_, ended, err := h.Accounts.LogOutEverywhere(u.ID)
	return SignedOut{User: u.Email, Sessions: list, Ended: ended}, err
}

// Sessions lists the browsers in which somebody is signed in, the last used first.
func (c *Client) Sessions(ctx context.Context, email string) ([]Session, error) {
	return ask[[]Session](ctx, c, pathSessions, emailRequest{email})
}

// EndSession ends one session of somebody, named by the beginning of its id.
func (c *Client) EndSession(ctx context.Context, email, id string) (SignedOut, error) {
	return ask[SignedOut](ctx, c, pathSessionEnd, sessionRequest{email, id})
}

// SignOut ends all sessions and connections of somebody.
func (c *Client) SignOut(ctx context.Context, email string) (SignedOut, error) {
	return ask[SignedOut](ctx, c, pathSignOut, emailRequest{email})
}
