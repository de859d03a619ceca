package control

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"podgate/account"
	"podgate/history"
	"podgate/store"
)

const (
	pathConnections = "/v1/connections"
	pathRevoke      = "/v1/connection/revoke"
	pathTimeline    = "/v1/timeline"
	pathAudit       = "/v1/audit"

	// maxListed bounds the lists of history.
	maxListed = 10_000
	// listStep is how many records one transaction reads of them.
	listStep = 200
)

// Connection is a live connection as commands show one.
type Connection struct {
	ID       store.GrantID     `json:"id"`
	User     string            `json:"user"` // address
	Client   string            `json:"client"`
	Name     string            `json:"name,omitempty"`     // what the client calls itself
	Nickname string            `json:"nickname,omitempty"` // what people call it
	Team     string            `json:"team"`               // slug
	Scopes   []store.Scope     `json:"scopes"`
	Limits   store.Limits      `json:"limits,omitzero"`
	Created  time.Time         `json:"created"`
	LastUsed time.Time         `json:"last_used"`
	Expires  time.Time         `json:"expires"`
	State    history.Diagnosis `json:"state"`
}

// Attempt is one client's way to a connection as commands show it.
type Attempt struct {
	ID        store.AttemptID   `json:"id"`
	Client    store.ClientID    `json:"client_id,omitempty"`
	Name      string            `json:"name,omitempty"`
	Host      string            `json:"host,omitempty"`
	User      string            `json:"user,omitempty"` // address, or id of a removed account
	Team      string            `json:"team,omitempty"` // slug, or id of a removed team
	Grant     store.GrantID     `json:"connection,omitempty"`
	Alive     bool              `json:"alive"` // the connection is live
	Diagnosis history.Diagnosis `json:"diagnosis"`
	Steps     []Step            `json:"steps"`
	Dropped   int               `json:"dropped,omitempty"`
}

// Step is one step of an attempt.
type Step struct {
	Kind  string    `json:"kind"`
	Fault string    `json:"fault,omitempty"`
	Text  string    `json:"text"`
	At    time.Time `json:"at"`
	Last  time.Time `json:"last"`
	Count int       `json:"count"`
	Addr  string    `json:"addr,omitempty"`
	Agent string    `json:"agent,omitempty"`
	Loose bool      `json:"loose,omitempty"` // tied to the attempt by address and User-Agent alone
}

// Entry is an entry of the audit list.
type Entry struct {
	At      time.Time         `json:"at"`
	Last    time.Time         `json:"last"`
	Count   int               `json:"count"`
	Actor   string            `json:"actor,omitempty"` // address, «command line», or empty for a stranger
	Action  store.AuditAction `json:"action"`
	Object  string            `json:"object,omitempty"`
	Client  string            `json:"client,omitempty"`
	Name    string            `json:"name,omitempty"` // what the client calls itself, as far as it is known
	Grant   store.GrantID     `json:"connection,omitempty"`
	Team    string            `json:"team,omitempty"` // slug
	Outcome string            `json:"outcome"`
	Addr    string            `json:"addr,omitempty"`
}

// ListRequest says what of a list of history is wanted.
type ListRequest struct {
	Client string    `json:"client,omitempty"` // of the timeline: id, or part of name, host or person's address
	Pod    string    `json:"pod,omitempty"`    // of the audit list: its name
	Since  time.Time `json:"since,omitzero"`
	Limit  int       `json:"limit"`
}

type connectionRequest struct {
	ID string `json:"id"` // or its beginning
}

func (l ListRequest) limit() int { return min(max(l.Limit, 1), maxListed) }

// Connections lists every live connection, by person.
func (c *Client) Connections(ctx context.Context) ([]Connection, error) {
	return ask[[]Connection](ctx, c, pathConnections, empty{})
}

// RevokeConnection ends the live connection whose id begins with prefix, and
// returns what it was.
func (c *Client) RevokeConnection(ctx context.Context, prefix string) (Connection, error) {
	return ask[Connection](ctx, c, pathRevoke, connectionRequest{prefix})
}

// Timeline lists attempts of clients to connect, the newest first.
func (c *Client) Timeline(ctx context.Context, r ListRequest) ([]Attempt, error) {
	return ask[[]Attempt](ctx, c, pathTimeline, r)
}

// Audit lists who did what, the newest first.
func (c *Client) Audit(ctx context.Context, r ListRequest) ([]Entry, error) {
	return ask[[]Entry](ctx, c, pathAudit, r)
}

func (h *handler) connections(context.Context, empty) ([]Connection, error) {
	all, err := h.Accounts.AllConnections()
	if err != nil {
		return nil, err
	}
	list := make([]Connection, 0, len(all))
	for _, c := range all {
		shown, err := h.showConnection(c)
		if err != nil {
			return nil, err
		}
		list = append(list, shown)
	}
	return list, nil
}

// revoke ends a connection and returns what it was.
func (h *handler) revoke(_ context.Context, r connectionRequest) (Connection, error) {
	c, err := h.Accounts.FindConnection(r.ID)
	if err != nil {
		return Connection{}, err
	}
	shown, err := h.showConnection(c)
	if err == nil {
		err = h.Accounts.Revoke(c.User.ID, c.ID)
	}
	if err == nil {
		h.auditEnded([]account.Connection{c.Connection}, c.User.ID)
	}
	return shown, err
}

func (h *handler) showConnection(c account.PersonConnection) (Connection, error) {
	shown := Connection{
		ID: c.ID, User: c.User.Email, Client: c.RedirectHost, Name: c.ClientName, Nickname: c.Nickname, Team: c.Team.Slug, Scopes: c.Scopes, Limits: c.Limits,
		Created: c.Created.UTC(), LastUsed: c.LastUsed.UTC(), Expires: c.Expires.UTC(),
		State: history.Diagnosis{State: history.Works, What: "Nothing is known of its way here."},
	}
	told, err := h.History.Attempts(store.AttemptQuery{Grant: c.ID, Limit: 1})
	if len(told.Attempts) > 0 {
		shown.State = told.Attempts[0].Diagnosis
	}
	return shown, err
}

func (h *handler) timeline(_ context.Context, r ListRequest) ([]Attempt, error) {
	names, err := h.names()
	if err != nil {
		return nil, err
	}
	list, q := []Attempt{}, store.AttemptQuery{Limit: listStep}
	for {
		page, err := h.History.Attempts(q)
		if err != nil {
			return nil, err
		}
		for _, s := range page.Attempts {
			if s.Last().Before(r.Since) || len(list) >= r.limit() {
				return list, nil
			}
			if a := showAttempt(s, names); a.matches(r.Client) {
				list = append(list, a)
			}
		}
		if page.Next == "" {
			return list, nil
		}
		q.Before = page.Next
	}
}

// matches reports whether an attempt is of the client that somebody asks for.
func (a Attempt) matches(client string) bool {
	wanted := strings.ToLower(client)
	return client == "" || string(a.Client) == client || slices.ContainsFunc([]string{a.Name, a.Host, a.User, string(a.Client)}, func(s string) bool {
		return strings.Contains(strings.ToLower(s), wanted)
	})
}

// names are addresses of people and slugs of teams by their ids.
type names struct {
	users map[store.UserID]string
	teams map[store.TeamID]string
}

func (h *handler) names() (names, error) {
	n := names{map[store.UserID]string{}, map[store.TeamID]string{}}
	users, err := h.Accounts.Users()
	if err != nil {
		return n, err
	}
	for _, u := range users {
		n.users[u.ID] = u.Email
	}
	teams, err := h.DB.Teams()
	for _, t := range teams {
		n.teams[t.ID] = t.Slug
	}
	return n, err
}

func showAttempt(s history.Attempt, n names) Attempt {
	a := Attempt{
		ID: s.ID, Client: s.Client, Name: s.ClientName, Host: s.Host, User: cmp.Or(n.users[s.User], string(s.User)), Team: cmp.Or(n.teams[s.Team], string(s.Team)),
		Grant: s.Grant, Alive: s.Alive, Diagnosis: s.Diagnosis, Steps: []Step{}, Dropped: s.Dropped,
	}
	for _, step := range s.Steps {
		a.Steps = append(a.Steps, Step{
			Kind: step.Kind, Fault: step.Fault, Text: history.Words(step), At: step.At.UTC(), Last: step.Last.UTC(), Count: step.Count,
			Addr: step.Addr, Agent: step.Agent, Loose: step.Loose,
		})
	}
	return a
}

func (h *handler) auditList(_ context.Context, r ListRequest) ([]Entry, error) {
	list, q := []Entry{}, store.AuditQuery{Since: r.Since, Limit: listStep}
	if r.Pod != "" {
		p, err := h.pod(r.Pod)
		if err != nil {
			return nil, err
		}
		q.Pod = p.ID // a pod that had the name before is another one
	}
	for {
		page, err := h.History.AuditList(q)
		if err != nil {
			return nil, err
		}
		for _, e := range page.Entries {
			if len(list) >= r.limit() {
				return list, nil
			}
			list = append(list, Entry{
				At: e.At.UTC(), Last: e.Last.UTC(), Count: e.Count, Actor: e.ActorName, Action: e.Action, Object: e.Object,
				Client: e.Client, Name: page.Claimed(e), Grant: e.Grant, Team: e.TeamName, Outcome: e.Outcome, Addr: e.Addr,
			})
		}
		if page.Next == "" {
			return list, nil
		}
		q.Before = page.Next
	}
}
