package account

import (
	"context"
	"errors"
	"strings"

	"podgate/internal/authz"
	"podgate/internal/text"
	"podgate/store"
)

// Clients returns a page of the applications that are known, with how they are used.
// Only for administrators: ErrForbidden. store.ErrCursor.
func (s *Service) Clients(by authz.Actor, q store.PageQuery) (store.Page[store.ClientUse], error) {
	if err := may(by, authz.Administer); err != nil {
		return store.Page[store.ClientUse]{}, err
	}
	return s.db.ClientsPage(q)
}

// BlockedClients is Clients for those that are blocked, the earliest block first.
func (s *Service) BlockedClients(by authz.Actor, q store.PageQuery) (store.Page[store.ClientUse], error) {
	if err := may(by, authz.Administer); err != nil {
		return store.Page[store.ClientUse]{}, err
	}
	return s.db.BlockedPage(q)
}

// Client returns one application, known or blocked. ErrForbidden, store.ErrNotFound.
func (s *Service) Client(by authz.Actor, id store.ClientID) (store.ClientUse, error) {
	if err := may(by, authz.Administer); err != nil {
		return store.ClientUse{}, err
	}
	u, err := s.db.ClientUse(id)
	return u, noClient(err, id)
}

func noClient(err error, id store.ClientID) error {
	return explain(err, store.ErrNotFound, "id", "There is no client %q.", text.Short(string(id), maxEcho))
}

// maxClientID is that of the address of a document.
const maxClientID = 2048

// BlockClient keeps an application out and ends all of its connections, which it
// returns. One that is not known yet is named by the address of its document.
// ErrForbidden, store.ErrNotFound, store.ErrFull.
func (s *Service) BlockClient(ctx context.Context, by authz.Actor, id store.ClientID) ([]store.Grant, error) {
	if err := errors.Join(ctx.Err(), may(by, authz.Administer)); err != nil {
		return nil, err
	}
	if _, err := s.db.ClientUse(id); errors.Is(err, store.ErrNotFound) && (!strings.HasPrefix(string(id), "https://") || len(id) > maxClientID || strings.ContainsRune(string(id), 0)) {
		return nil, noClient(err, id)
	}
	ended, err := s.db.BlockClient(store.Block{Client: id, By: by.By(), Since: s.now()})
	return ended, explain(err, store.ErrFull, "", "There are as many blocked clients as can be. Unblock some that are of no use any more.")
}

// UnblockClient lets an application in again. ErrForbidden, store.ErrNotFound.
func (s *Service) UnblockClient(ctx context.Context, by authz.Actor, id store.ClientID) error {
	if err := errors.Join(ctx.Err(), may(by, authz.Administer)); err != nil {
		return err
	}
	return explain(s.db.UnblockClient(id), store.ErrNotFound, "id", "That client is not blocked.")
}

// ForgetClient takes an application's registration away with its connections, which it
// returns. It may register again, unless it is blocked. ErrForbidden, store.ErrNotFound.
func (s *Service) ForgetClient(ctx context.Context, by authz.Actor, id store.ClientID) ([]store.Grant, error) {
	if err := errors.Join(ctx.Err(), may(by, authz.Administer)); err != nil {
		return nil, err
	}
	ended, err := s.db.ForgetClient(id)
	return ended, noClient(err, id)
}

// TeamConnections returns a page of the connections to the actor's team, the newest
// first. ErrForbidden, store.ErrCursor.
func (s *Service) TeamConnections(by authz.Actor, q store.PageQuery) (store.Page[store.GrantDetail], error) {
	if err := may(by, authz.SeeConnections); err != nil {
		return store.Page[store.GrantDetail]{}, err
	}
	return s.grants(by.Team.ID, q)
}

// ServerConnections is TeamConnections for all teams, for administrators.
func (s *Service) ServerConnections(by authz.Actor, q store.PageQuery) (store.Page[store.GrantDetail], error) {
	if err := may(by, authz.Administer); err != nil {
		return store.Page[store.GrantDetail]{}, err
	}
	return s.grants("", q)
}

func (s *Service) grants(team store.TeamID, q store.PageQuery) (store.Page[store.GrantDetail], error) {
	page, err := s.db.GrantsPage(team, q, s.now())
	for i := range page.List {
		page.List[i].Owner = public(page.List[i].Owner)
	}
	return page, err
}

// ConnectionFor returns a live connection to whoever may change and end it: its
// person, an owner of its team who acts in that team, an administrator. To everybody
// else it is absent: store.ErrNotFound.
func (s *Service) ConnectionFor(by authz.Actor, id store.GrantID) (store.GrantDetail, error) {
	d, err := s.db.GrantDetail(id, s.now())
	d.Owner = public(d.Owner)
	if err == nil && !mayChange(by, d) {
		d, err = store.GrantDetail{}, store.ErrNotFound
	}
	return d, explain(err, store.ErrNotFound, "", noConnection)
}

func mayChange(by authz.Actor, d store.GrantDetail) bool {
	own := by.Grant == "" && by.User != "" && by.User == d.User
	return own || by.Allow(authz.EndConnections, d.For.ID) == nil || by.Allow(authz.Administer, by.Team.ID) == nil
}

// RevokeFor ends a connection for whoever may, and returns it. Errors of ConnectionFor.
func (s *Service) RevokeFor(by authz.Actor, id store.GrantID) (store.GrantDetail, error) {
	d, err := s.ConnectionFor(by, id)
	if err != nil {
		return d, err
	}
	return d, s.Revoke(d.User, id)
}

// LimitFor is Limit for whoever may change the connection. Its person alone, and whoever
// owns the server, makes limits wider: others only take away. Errors of ConnectionFor
// and Limit.
func (s *Service) LimitFor(by authz.Actor, id store.GrantID, scopes []store.Scope, limits store.Limits) (store.GrantDetail, error) {
	d, err := s.ConnectionFor(by, id)
	if err != nil {
		return d, err
	}
	if by.User != d.User && !by.IsCommandLine() && !narrows(limits, d.Limits) {
		return d, invalid("limits", "Limits that somebody gave their own connection only they can make wider. Leave those that there are, or make them narrower.")
	}
	return d, s.Limit(d.User, id, scopes, limits)
}

// narrows reports whether limits allow nothing that those before did not.
func narrows(l, before store.Limits) bool {
	return (l.ReadOnly || !before.ReadOnly) && strings.HasPrefix(l.Prefix, before.Prefix) &&
		(before.MaxPods <= 0 || l.MaxPods > 0 && l.MaxPods <= before.MaxPods)
}

// SetNickname changes what people call a connection; an empty name takes it away.
// Errors of ConnectionFor; ErrInvalid.
func (s *Service) SetNickname(by authz.Actor, id store.GrantID, name string) (store.GrantDetail, error) {
	d, err := s.ConnectionFor(by, id)
	if err != nil {
		return d, err
	}
	if strings.TrimSpace(name) != "" {
		if name, err = CleanName("nickname", name); err != nil {
			return d, err
		}
	} else {
		name = ""
	}
	return d, explain(s.db.SetNickname(id, name), store.ErrNotFound, "", noConnection)
}
