package store

import (
	"time"

	bolt "go.etcd.io/bbolt"
)

// Setup is the one outstanding link that can make the first administrator.
type Setup struct {
	Hash    Hash      `json:"hash"`
	Expires time.Time `json:"expires"`
}

var setupKey = []byte("setup")

var setups = &table[Setup]{
	name:    "setup",
	kind:    2,
	key:     func(*Setup) []byte { return setupKey },
	expires: func(s *Setup) time.Time { return s.Expires },
}

// PutSetup replaces the setup link, so that only the newest works. ErrSetUp
// when an administrator exists.
func (db *DB) PutSetup(s Setup) error {
	return db.update(func(tx *bolt.Tx) error {
		if countAdmins(tx) > 0 {
			return ErrSetUp
		}
		return setups.put(tx, &s)
	})
}

// CheckSetup reports whether the link with that hash still works: ErrSetUp,
// ErrNotFound (also for a replaced link) or ErrExpired when it does not.
func (db *DB) CheckSetup(hash Hash, now time.Time) error {
	return db.view(func(tx *bolt.Tx) error { return checkSetup(tx, hash, now) })
}

func checkSetup(tx *bolt.Tx, hash Hash, now time.Time) error {
	if countAdmins(tx) > 0 {
		return ErrSetUp
	}
	s, err := setups.live(tx, setupKey, now)
	if err != nil {
		return err
	}
	if s.Hash != hash {
		return ErrNotFound
	}
	return nil
}

// CompleteSetup spends the link and makes the first administrator, the first
// team with that user as owner, and a session, all in one transaction.
func (db *DB) CompleteSetup(hash Hash, u User, t Team, s Session, now time.Time) error {
	return db.update(func(tx *bolt.Tx) error {
		if err := checkSetup(tx, hash, now); err != nil {
			return err
		}
		if err := setups.delete(tx, setupKey); err != nil {
			return err
		}
		u.Admin = true
		if err := users.insert(tx, &u); err != nil {
			return err
		}
		if err := teams.insert(tx, &t); err != nil {
			return err
		}
		if err := putMember(tx, Member{Team: t.ID, User: u.ID, Role: RoleOwner, Created: now}); err != nil {
			return err
		}
		return sessions.insert(tx, &s)
	})
}
