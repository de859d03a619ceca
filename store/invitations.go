package store

import (
	"errors"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Invitation lets whoever has its secret become a member of a team, once.
type Invitation struct {
	Hash    Hash      `json:"hash"`
	Team    TeamID    `json:"team"`
	Role    Role      `json:"role"`
	Email   string    `json:"email,omitempty"` // normalized; only the account with it may accept. Empty: any
	By      UserID    `json:"by,omitempty"`    // may be gone since; empty: a command line
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
}

const (
	// InvitationTTL is how long an invitation can be accepted.
	InvitationTTL = 7 * 24 * time.Hour
	// MaxInvitations bounds those of one team that wait.
	MaxInvitations = 100
)

var invitations = &table[Invitation]{
	name:    "invitations",
	kind:    9,
	key:     func(i *Invitation) []byte { return i.Hash[:] },
	indexes: []index[Invitation]{{"team", func(i *Invitation) []byte { return join([]byte(i.Team), i.Hash[:]) }}},
	refs:    func(i *Invitation) []ref { return []ref{{"teams", []byte(i.Team)}} },
	expires: func(i *Invitation) time.Time { return i.Expires },
}

// Invited is an invitation with what it is to, as it is now.
type Invited struct {
	Invitation
	Team Team
	By   User // the zero User: a command line, or somebody who is gone
}

// CreateInvitation inserts i. ErrNotFound when the team is gone, ErrNotMember when
// who invites may not, and ErrFull beyond MaxInvitations.
func (db *DB) CreateInvitation(i Invitation) error {
	return db.update(func(tx *bolt.Tx) error {
		if !teams.has(tx, []byte(i.Team)) {
			return ErrNotFound
		}
		if !mayInvite(tx, &i) {
			return ErrNotMember
		}
		if len(invitations.keysBy(tx, "team", []byte(i.Team))) >= MaxInvitations {
			return ErrFull
		}
		return invitations.insert(tx, &i)
	})
}

// mayInvite reports whether who made an invitation may still make it: a command
// line, an owner of the team, an administrator.
func mayInvite(tx *bolt.Tx, i *Invitation) bool {
	if i.By == "" {
		return true
	}
	u, err := users.get(tx, []byte(i.By))
	if err != nil {
		return false
	}
	m, err := members.get(tx, memberKey(i.Team, i.By))
	return u.Admin || err == nil && m.Role == RoleOwner
}

// InvitationsOf returns the invitations of a team that can be accepted at now or
// could be if who made them still might, the newest first.
func (db *DB) InvitationsOf(team TeamID, now time.Time) (list []Invited, err error) {
	err = db.view(func(tx *bolt.Tx) error {
		list = nil
		found, err := invitations.by(tx, "team", []byte(team))
		if err != nil {
			return err
		}
		for _, i := range found {
			if !now.Before(i.Expires) {
				continue
			}
			shown, err := invited(tx, &i)
			if err != nil {
				return err
			}
			list = append(list, shown)
		}
		return nil
	})
	slices.SortFunc(list, func(a, b Invited) int { return b.Created.Compare(a.Created) })
	return list, err
}

func invited(tx *bolt.Tx, i *Invitation) (Invited, error) {
	t, err := teams.get(tx, []byte(i.Team))
	if err != nil {
		return Invited{}, err
	}
	shown := Invited{Invitation: *i, Team: *t}
	by, err := users.get(tx, []byte(i.By))
	if err == nil {
		shown.By = *by
	} else if !errors.Is(err, ErrNotFound) {
		return Invited{}, err
	}
	return shown, nil
}

// Invitation returns an invitation that can be accepted. ErrNotFound for an unknown,
// used or withdrawn one, and where who made it may invite no more; ErrExpired.
func (db *DB) Invitation(hash Hash, now time.Time) (i Invited, err error) {
	err = db.view(func(tx *bolt.Tx) error { i, err = acceptable(tx, hash, now); return err })
	return i, err
}

func acceptable(tx *bolt.Tx, hash Hash, now time.Time) (Invited, error) {
	i, err := invitations.live(tx, hash[:], now)
	if err != nil {
		return Invited{}, err
	}
	if !mayInvite(tx, i) {
		return Invited{}, ErrNotFound
	}
	return invited(tx, i)
}

// WithdrawInvitation deletes an invitation of that team and returns it. ErrNotFound
// when there is none, also when it is another team's.
func (db *DB) WithdrawInvitation(team TeamID, hash Hash) (i Invitation, err error) {
	err = db.release(func(tx *bolt.Tx) error {
		if err := load(&i)(invitations.get(tx, hash[:])); err != nil {
			return err
		}
		if i.Team != team {
			return ErrNotFound
		}
		return invitations.delete(tx, hash[:])
	})
	return i, err
}

// AcceptInvitation spends an invitation and makes the user a member, in one
// transaction: of any number of tries one wins. Errors of Invitation; ErrMismatch when
// it is for another address; ErrTaken, with the invitation unspent, when the user is a
// member already.
func (db *DB) AcceptInvitation(hash Hash, user UserID, now time.Time) (i Invited, err error) {
	err = db.update(func(tx *bolt.Tx) error {
		u, err := users.get(tx, []byte(user))
		if err != nil {
			return err
		}
		i, err = accept(tx, hash, u, now)
		return err
	})
	return i, err
}

// AcceptInvitationWith is AcceptInvitation for an account that begins with it: u and
// its session s come into being with the membership, or nothing does. ErrTaken when
// the address has an account.
func (db *DB) AcceptInvitationWith(hash Hash, u User, s Session, now time.Time) (i Invited, err error) {
	err = db.update(func(tx *bolt.Tx) error {
		if err := users.insert(tx, &u); err != nil {
			return err
		}
		if i, err = accept(tx, hash, &u, now); err != nil {
			return err
		}
		return sessions.insert(tx, &s)
	})
	return i, err
}

func accept(tx *bolt.Tx, hash Hash, u *User, now time.Time) (Invited, error) {
	i, err := acceptable(tx, hash, now)
	switch {
	case err != nil:
		return Invited{}, err
	case i.Email != "" && i.Email != u.Email:
		return Invited{}, &MismatchError{Field: "email"}
	case members.has(tx, memberKey(i.Invitation.Team, u.ID)):
		return Invited{}, ErrTaken
	}
	if err := members.insert(tx, &Member{Team: i.Invitation.Team, User: u.ID, Role: i.Role, Created: now}); err != nil {
		return Invited{}, err
	}
	return i, invitations.delete(tx, hash[:])
}
