package store

import (
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Limits narrow a connection beyond its scopes. What they forbid is decided in
// internal/authz. The zero value forbids nothing.
type Limits struct {
	ReadOnly bool   `json:"read_only,omitempty"` // nothing that changes or runs anything
	Prefix   string `json:"prefix,omitempty"`    // of the names of the pods that there are for it; empty: all
	MaxPods  int    `json:"max_pods,omitempty"`  // as many of those pods may exist when it makes one; 0: any number
}

// GrantOf returns one live connection of that user. ErrNotFound for an unknown
// or expired one and, in the same words, for somebody else's.
func (db *DB) GrantOf(id GrantID, user UserID, now time.Time) (g Grant, err error) {
	err = db.view(func(tx *bolt.Tx) error { return load(&g)(ownGrant(tx, id, user, now)) })
	return g, err
}

func ownGrant(tx *bolt.Tx, id GrantID, user UserID, now time.Time) (*Grant, error) {
	g, err := grants.get(tx, []byte(id))
	if err != nil {
		return nil, err
	}
	if g.User != user || !now.Before(g.Expires) {
		return nil, ErrNotFound
	}
	return g, nil
}

// LimitGrant gives a connection of that user other limits and takes away the
// scopes that are not in scopes. It adds none: a *MismatchError for scope when
// scopes holds one that the connection lacks, which is looked at in the same
// transaction. Otherwise errors as of GrantOf. It counts from the next call
// with one of the connection's tokens.
func (db *DB) LimitGrant(id GrantID, user UserID, scopes []Scope, limits Limits, now time.Time) (g Grant, err error) {
	err = db.release(func(tx *bolt.Tx) error {
		old, err := ownGrant(tx, id, user, now)
		if err != nil {
			return err
		}
		if !includes(old.Scopes, scopes) {
			return &MismatchError{Field: "scope"}
		}
		g = *old
		g.Limits, g.Scopes, g.Revoked = limits, nil, slices.Clone(old.Revoked)
		for _, s := range old.Scopes {
			if slices.Contains(scopes, s) {
				g.Scopes = append(g.Scopes, s)
			} else {
				g.Revoked = append(g.Revoked, s)
			}
		}
		db.takes(tx, id)
		return grants.replace(tx, old, &g)
	})
	return g, err
}

// SetNickname changes what people call a connection. ErrNotFound when there is none.
func (db *DB) SetNickname(id GrantID, name string) error {
	return db.update(func(tx *bolt.Tx) error {
		g, err := grants.get(tx, []byte(id))
		if err != nil {
			return err
		}
		g.Nickname = name
		return grants.put(tx, g)
	})
}

// mayAskFor reports whether a refresh may name these scopes: they were granted
// (RFC 6749 section 6), and not all of them are taken away since. A client that
// names what it got at first does not know of the ones that were, and loses
// nothing else for it; what its token opens is decided by Scopes alone.
func (g *Grant) mayAskFor(scopes []Scope) bool {
	if len(scopes) == 0 {
		return true
	}
	left := slices.ContainsFunc(scopes, func(s Scope) bool { return slices.Contains(g.Scopes, s) })
	return left && includes(slices.Concat(g.Scopes, g.Revoked), scopes)
}

// includes reports whether every one of scopes is in have.
func includes(have, scopes []Scope) bool {
	return len(minus(scopes, have)) == 0
}

// minus returns those of scopes that are not in others; nil when there are none.
func minus(scopes, others []Scope) (left []Scope) {
	for _, s := range scopes {
		if !slices.Contains(others, s) {
			left = append(left, s)
		}
	}
	return left
}

// GrantsOf returns the connections of that user and client which are live at
// now, the newest first.
func (db *DB) GrantsOf(user UserID, client ClientID, now time.Time) (list []Grant, err error) {
	err = db.view(func(tx *bolt.Tx) error { list, err = grantsOf(tx, user, client, now); return err })
	return list, err
}

func grantsOf(tx *bolt.Tx, user UserID, client ClientID, now time.Time) ([]Grant, error) {
	list, err := grants.by(tx, "user", []byte(user))
	list = slices.DeleteFunc(list, func(g Grant) bool { return g.Client != client || !now.Before(g.Expires) })
	slices.SortFunc(list, func(a, b Grant) int { return b.Created.Compare(a.Created) })
	return list, err
}

// held returns the scopes that connections have for a team.
func held(list []Grant, team TeamID) (scopes []Scope) {
	for _, g := range list {
		if g.Team == team {
			scopes = append(scopes, g.Scopes...)
		}
	}
	return scopes
}
