package control

import (
	"context"
	"errors"
	"strings"
	"time"

	"podgate/history"
	"podgate/internal/authz"
	"podgate/internal/web"
	"podgate/store"
)

const (
	pathConnection = "/v1/connection/show"
	pathLimit      = "/v1/connection/limit"
	pathNickname   = "/v1/connection/nickname"
	pathClients    = "/v1/client/list"
	pathBlock      = "/v1/client/block"
	pathUnblock    = "/v1/client/unblock"
	pathForget     = "/v1/client/forget"
)

// App is an application that is known, or kept out.
type App struct {
	ID          store.ClientID `json:"id"`
	Name        string         `json:"name,omitempty"` // what it calls itself
	Hosts       []string       `json:"redirect_uris"`
	Document    bool           `json:"document"` // it is described by one, and did not register
	Connections int            `json:"connections"`
	Created     time.Time      `json:"created,omitzero"`
	Blocked     time.Time      `json:"blocked,omitzero"` // since when
}

// Narrowing is what is left of a connection's rights.
type Narrowing struct {
	ID     string        `json:"id"` // or its beginning
	Scopes []store.Scope `json:"scopes,omitempty"`
	Limits *store.Limits `json:"limits,omitempty"` // nil: as they are
}

type nicknameRequest struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

type clientRequest struct {
	ID store.ClientID `json:"id"`
}

// ChangedApp is an application after it was let in or kept out, or as it was when it
// was forgotten.
type ChangedApp struct {
	App
	Ended int `json:"connections_ended"`
}

// clientRoutes are the commands about connections and the applications behind them.
func (h *handler) clientRoutes() map[string]web.Handler {
	return map[string]web.Handler{
		pathConnection: command(h.connection),
		pathLimit:      command(h.limit),    // each writes its own entry,
		pathNickname:   command(h.nickname), // which names the connection
		pathClients:    command(h.clients),
		pathBlock:      audited(h, history.AuditClientBlock, ofClient, h.block),
		pathUnblock:    audited(h, history.AuditClientUnblock, ofClient, h.unblock),
		pathForget:     audited(h, history.AuditClientForget, ofClient, h.forget),
	}
}

func ofClient(r clientRequest) about { return about{more: string(r.ID)} }

func (h *handler) connection(_ context.Context, r connectionRequest) (Connection, error) {
	c, err := h.Accounts.FindConnection(r.ID)
	if err != nil {
		return Connection{}, err
	}
	return h.showConnection(c)
}

// limit narrows a connection. What its scopes are not asked to be stays.
func (h *handler) limit(ctx context.Context, n Narrowing) (Connection, error) {
	c, err := h.Accounts.FindConnection(n.ID)
	if err != nil {
		return Connection{}, err
	}
	scopes, limits := c.Scopes, c.Limits
	if len(n.Scopes) > 0 {
		scopes = n.Scopes
	}
	if n.Limits != nil {
		limits = *n.Limits
	}
	d, err := h.Accounts.LimitFor(authz.CommandLine(store.Team{}), c.ID, scopes, limits)
	if err != nil {
		return Connection{}, err
	}
	h.auditConnection(history.AuditLimit, d, strings.Join(authz.LimitWords(limits), ", "))
	return h.connection(ctx, connectionRequest{string(c.ID)})
}

func (h *handler) nickname(ctx context.Context, r nicknameRequest) (Connection, error) {
	c, err := h.Accounts.FindConnection(r.ID)
	if err != nil {
		return Connection{}, err
	}
	d, err := h.Accounts.SetNickname(authz.CommandLine(store.Team{}), c.ID, r.Name)
	if err != nil {
		return Connection{}, err
	}
	h.auditConnection(history.AuditNickname, d, r.Name)
	return h.connection(ctx, connectionRequest{string(c.ID)})
}

func (h *handler) auditConnection(action store.AuditAction, d store.GrantDetail, object string) {
	h.History.Audit(history.Visitor{}, store.AuditEntry{
		Action: action, ActorName: history.CommandLine, Concerns: d.User, Grant: d.ID, Client: d.RedirectHost,
		Team: d.For.ID, TeamName: d.For.Slug, Object: object,
	})
}

func (h *handler) clients(context.Context, empty) ([]App, error) {
	by, list := authz.CommandLine(store.Team{}), []App{}
	seen := map[store.ClientID]bool{}
	for _, page := range []func(authz.Actor, store.PageQuery) (store.Page[store.ClientUse], error){h.Accounts.BlockedClients, h.Accounts.Clients} {
		for q := (store.PageQuery{Limit: listStep}); len(list) < maxListed; {
			found, err := page(by, q)
			if err != nil {
				return nil, err
			}
			for _, u := range found.List {
				if !seen[u.ID] {
					list = append(list, showApp(u))
				}
				seen[u.ID] = true
			}
			if q.After = found.Next; q.After == "" {
				break
			}
		}
	}
	return list, nil
}

func showApp(u store.ClientUse) App {
	a := App{ID: u.ID, Name: u.Name, Hosts: append([]string{}, u.RedirectURIs...), Document: u.Document != nil, Connections: u.Connections, Created: u.Created.UTC()}
	if u.Forgotten {
		a.Created = time.Time{}
	}
	if u.Blocked != nil {
		a.Blocked = u.Blocked.Since.UTC()
	}
	return a
}

func (h *handler) block(ctx context.Context, r clientRequest) (ChangedApp, error) {
	ended, err := h.Accounts.BlockClient(ctx, authz.CommandLine(store.Team{}), r.ID)
	if err != nil {
		return ChangedApp{}, err
	}
	h.noteEnded(ended)
	now, err := h.app(r.ID)
	return ChangedApp{now, len(ended)}, err
}

// forget returns what was known.
func (h *handler) forget(ctx context.Context, r clientRequest) (ChangedApp, error) {
	was, err := h.app(r.ID)
	if err != nil {
		return ChangedApp{}, err
	}
	ended, err := h.Accounts.ForgetClient(ctx, authz.CommandLine(store.Team{}), r.ID)
	h.noteEnded(ended)
	return ChangedApp{was, len(ended)}, err
}

// unblock returns what is known of a client that may connect again: no more than its id
// when it has no registration.
func (h *handler) unblock(ctx context.Context, r clientRequest) (ChangedApp, error) {
	if err := h.Accounts.UnblockClient(ctx, authz.CommandLine(store.Team{}), r.ID); err != nil {
		return ChangedApp{}, err
	}
	now, err := h.app(r.ID)
	if errors.Is(err, store.ErrNotFound) {
		return ChangedApp{App: App{ID: r.ID, Hosts: []string{}}}, nil
	}
	return ChangedApp{App: now}, err
}

func (h *handler) app(id store.ClientID) (App, error) {
	u, err := h.Accounts.Client(authz.CommandLine(store.Team{}), id)
	if err != nil {
		return App{}, err
	}
	return showApp(u), nil
}

// noteEnded records the connections that ended with a client.
func (h *handler) noteEnded(list []store.Grant) {
	for _, g := range list {
		d := store.GrantDetail{Grant: g}
		if t, err := h.DB.Team(g.Team); err == nil {
			d.For = t
		}
		h.History.Step(history.OfGrant(g, history.Note{Kind: history.StepRevoke, Detail: "by the command line"}))
		h.auditConnection(history.AuditRevoke, d, "")
	}
}

// Connection shows the live connection whose id begins with prefix.
func (c *Client) Connection(ctx context.Context, prefix string) (Connection, error) {
	return ask[Connection](ctx, c, pathConnection, connectionRequest{prefix})
}

// LimitConnection takes rights from a connection, at once.
func (c *Client) LimitConnection(ctx context.Context, n Narrowing) (Connection, error) {
	return ask[Connection](ctx, c, pathLimit, n)
}

// NameConnection changes what people call a connection.
func (c *Client) NameConnection(ctx context.Context, prefix, name string) (Connection, error) {
	return ask[Connection](ctx, c, pathNickname, nicknameRequest{prefix, name})
}

// Apps lists the applications that are known or blocked, those that are blocked first.
func (c *Client) Apps(ctx context.Context) ([]App, error) {
	return ask[[]App](ctx, c, pathClients, empty{})
}

// BlockApp keeps an application out, and ends its connections.
func (c *Client) BlockApp(ctx context.Context, id string) (ChangedApp, error) {
	return ask[ChangedApp](ctx, c, pathBlock, clientRequest{store.ClientID(id)})
}

// UnblockApp lets an application in again.
func (c *Client) UnblockApp(ctx context.Context, id string) (ChangedApp, error) {
	return ask[ChangedApp](ctx, c, pathUnblock, clientRequest{store.ClientID(id)})
}

// ForgetApp takes an application's registration away, and ends its connections.
func (c *Client) ForgetApp(ctx context.Context, id string) (ChangedApp, error) {
	return ask[ChangedApp](ctx, c, pathForget, clientRequest{store.ClientID(id)})
}
