package store

import (
	"errors"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
)

// AuthRequest is an authorization request that passed every check and waits
// for the person's decision. It is bound to the browser session that saw it.
type AuthRequest struct {
	Handle      Hash      `json:"handle"`
	Session     Hash      `json:"session"`
	Client      ClientID  `json:"client"`
	Copied      string    `json:"copied,omitempty"` // why a copy stands in for the client's document, for the person
	RedirectURI string    `json:"redirect_uri"`
	State       *string   `json:"state,omitempty"` // nil: the client sent none
	Challenge   string    `json:"challenge"`       // S256 (RFC 7636)
	Scopes      []Scope   `json:"scopes"`          // what the client asks for
	Resource    string    `json:"resource"`
	Offline     bool      `json:"offline,omitempty"` // a refresh token is wanted
	Attempt     AttemptID `json:"attempt,omitempty"` // in the timeline
	Created     time.Time `json:"created"`
	Expires     time.Time `json:"expires"`
}

// maxRequestsPerSession bounds what one browser can pile up; the oldest gives
// way, because the newest is the one on the screen.
const maxRequestsPerSession = 20

var authRequests = &table[AuthRequest]{
	name: "requests",
	kind: 4,
	key:  func(r *AuthRequest) []byte { return r.Handle[:] },
	indexes: []index[AuthRequest]{
		{"session", func(r *AuthRequest) []byte { return join(r.Session[:], r.Handle[:]) }},
		{"client", func(r *AuthRequest) []byte { return join([]byte(r.Client), r.Handle[:]) }},
	},
	refs: func(r *AuthRequest) []ref {
		return []ref{{"sessions", r.Session[:]}, {"clients", []byte(r.Client)}}
	},
	expires: func(r *AuthRequest) time.Time { return r.Expires },
}

// CreateAuthRequest inserts r. ErrNotFound when the session or client is gone,
// ErrBlocked.
func (db *DB) CreateAuthRequest(r AuthRequest) error {
	return db.batch(func(tx *bolt.Tx) error {
		if _, err := sessions.get(tx, r.Session[:]); err != nil {
			return err
		}
		if _, err := clients.get(tx, []byte(r.Client)); err != nil {
			return err
		}
		if isBlocked(tx, r.Client) {
			return ErrBlocked
		}
		waiting, err := authRequests.by(tx, "session", r.Session[:])
		if err != nil {
			return err
		}
		slices.SortFunc(waiting, func(a, b AuthRequest) int { return a.Created.Compare(b.Created) })
		for len(waiting) >= maxRequestsPerSession {
			if err := authRequests.delete(tx, waiting[0].Handle[:]); err != nil {
				return err
			}
			waiting = waiting[1:]
		}
		return authRequests.insert(tx, &r)
	})
}

// AuthRequest returns the waiting request, if it belongs to that session:
// ErrNotFound, ErrExpired or ErrMismatch otherwise.
func (db *DB) AuthRequest(handle, session Hash, now time.Time) (r AuthRequest, err error) {
	err = db.view(func(tx *bolt.Tx) error { return load(&r)(waitingRequest(tx, handle, session, now)) })
	return r, err
}

func waitingRequest(tx *bolt.Tx, handle, session Hash, now time.Time) (*AuthRequest, error) {
	r, err := authRequests.live(tx, handle[:], now)
	if err != nil {
		return nil, err
	}
	if r.Session != session {
		return nil, ErrMismatch
	}
	return r, nil
}

// Approval is what the person decided.
type Approval struct {
	Handle       Hash
	Session      Hash
	Team         TeamID
	Scopes       []Scope // what was left ticked
	Limits       Limits
	RedirectHost string // where the code goes
	// Withheld are scopes that nobody may give the client there, so that they were
	// not the person's to untick.
	Withheld []Scope
	// Allow sees the membership inside the transaction and may refuse with an error
	// of its own; nil: nothing is refused.
	Allow func(Membership) error

	Replace bool // the Earlier connections end when the code is redeemed
	Code    Hash
	Expires time.Time // of the code
}

// Earlier returns those of list, connections of the person and the client that
// the request is about, which a new one for that team may take the place of:
// they lead to the same redirect host, and were there when the request came, so
// that the person has seen them.
func (r *AuthRequest) Earlier(list []Grant, team TeamID, redirectHost string) (earlier []Grant) {
	for _, g := range list {
		if g.Team == team && g.RedirectHost == redirectHost && !g.Created.After(r.Created) {
			earlier = append(earlier, g)
		}
	}
	return earlier
}

// Approve spends the request and inserts the code, in one transaction that
// also checks the session and the membership again. Every scope must be one
// that the client asks for or that it has for this team already. ErrNotFound,
// ErrExpired, ErrMismatch (another browser; a *MismatchError for scope),
// ErrNotMember, ErrBlocked, and what Allow refuses with.
func (db *DB) Approve(a Approval, now time.Time) (r AuthRequest, err error) {
	err = db.update(func(tx *bolt.Tx) error {
		req, err := waitingRequest(tx, a.Handle, a.Session, now)
		if err != nil {
			return err
		}
		s, err := sessions.get(tx, a.Session[:])
		if err != nil {
			return err
		}
		if err := a.allowed(tx, s.User); err != nil {
			return err
		}
		if isBlocked(tx, req.Client) {
			return ErrBlocked
		}
		live, err := grantsOf(tx, s.User, req.Client, now)
		if err != nil {
			return err
		}
		if !includes(slices.Concat(req.Scopes, held(live, a.Team)), a.Scopes) {
			return &MismatchError{Field: "scope"}
		}
		r = *req
		if err := authRequests.delete(tx, a.Handle[:]); err != nil {
			return err
		}
		return codes.insert(tx, &Code{
			Hash: a.Code, Client: req.Client, RedirectURI: req.RedirectURI, Challenge: req.Challenge,
			Scopes: a.Scopes, Declined: minus(req.Scopes, slices.Concat(a.Scopes, a.Withheld)), Limits: a.Limits, Resource: req.Resource, User: s.User, Team: a.Team, Offline: req.Offline,
			Created: now, Expires: a.Expires, Attempt: req.Attempt, Session: a.Session, Replaces: a.replaces(req, live),
		})
	})
	return r, err
}

// allowed looks at the membership as it is now.
func (a *Approval) allowed(tx *bolt.Tx, user UserID) error {
	m, err := members.get(tx, memberKey(a.Team, user))
	if err != nil {
		return ErrNotMember
	}
	if a.Allow == nil {
		return nil
	}
	t, err := teams.get(tx, []byte(a.Team))
	if err != nil {
		return err
	}
	return a.Allow(Membership{Team: *t, Role: m.Role})
}

// replaces names the connections, of those live at the approval, that the new
// one takes the place of.
func (a *Approval) replaces(r *AuthRequest, live []Grant) (ids []GrantID) {
	if !a.Replace {
		return nil
	}
	for _, g := range r.Earlier(live, a.Team, a.RedirectHost) {
		ids = append(ids, g.ID)
	}
	return ids
}

// Deny spends the request. Errors as of AuthRequest.
func (db *DB) Deny(handle, session Hash, now time.Time) (r AuthRequest, err error) {
	err = db.release(func(tx *bolt.Tx) error {
		if err := load(&r)(waitingRequest(tx, handle, session, now)); err != nil {
			return err
		}
		if _, err := sessions.get(tx, session[:]); errors.Is(err, ErrNotFound) {
			return err
		}
		return authRequests.delete(tx, handle[:])
	})
	return r, err
}
