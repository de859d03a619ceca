package store

import (
	"errors"
	"maps"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Session is one signed-in browser.
type Session struct {
	Hash      Hash      `json:"hash"` // of the cookie's secret
	User      UserID    `json:"user"`
	UserAgent string    `json:"user_agent,omitempty"` // shown to the user; decides nothing
	Addr      string    `json:"addr,omitempty"`       // where it began; binds the session to nothing
	Created   time.Time `json:"created"`
	LastUsed  time.Time `json:"last_used"`
	Expires   time.Time `json:"expires"`
	Proved    time.Time `json:"proved,omitzero"` // when the person last proved who they are, other than by signing in
}

// ProvedAt is when the person last proved who they are.
func (s Session) ProvedAt() time.Time {
	if s.Proved.After(s.Created) {
		return s.Proved
	}
	return s.Created
}

const (
	// SessionTTL is how long a session lives after its last use.
	SessionTTL = 30 * 24 * time.Hour
	// SessionMaxAge is how long it lives at most, however much it is used.
	SessionMaxAge = 180 * 24 * time.Hour
	// maxSessionsPerUser bounds how many browsers one person is signed in with.
	maxSessionsPerUser = 20
)

// Use notes a use at now and puts the end of the session off.
func (s *Session) Use(now time.Time) {
	s.LastUsed, s.Expires = now, now.Add(SessionTTL)
	if end := s.Created.Add(SessionMaxAge); end.Before(s.Expires) {
		s.Expires = end
	}
}

var sessions = &table[Session]{
	name:    "sessions",
	kind:    1,
	key:     func(s *Session) []byte { return s.Hash[:] },
	indexes: []index[Session]{{"user", func(s *Session) []byte { return join([]byte(s.User), s.Hash[:]) }}},
	refs:    func(s *Session) []ref { return []ref{{"users", []byte(s.User)}} },
	expires: func(s *Session) time.Time { return s.Expires },
}

// CreateSession inserts s. ErrNotFound when the user is gone.
func (db *DB) CreateSession(s Session) error {
	return db.batch(func(tx *bolt.Tx) error {
		if _, err := users.get(tx, []byte(s.User)); err != nil {
			return err
		}
		return db.insertSession(tx, &s)
	})
}

// insertSession inserts s, for which the session makes room that was not used
// for the longest time where there are too many.
func (db *DB) insertSession(tx *bolt.Tx, s *Session) error {
	list, err := sessions.by(tx, "user", []byte(s.User))
	if err != nil {
		return err
	}
	for i := range list {
		db.useOf(&list[i])
	}
	slices.SortFunc(list, func(a, b Session) int { return a.LastUsed.Compare(b.LastUsed) })
	for ; len(list) >= maxSessionsPerUser; list = list[1:] {
		db.takesFrom(tx, s.User)
		if err := endSession(tx, list[0].Hash[:]); err != nil {
			return err
		}
	}
	return sessions.insert(tx, s)
}

// CreateSessionWith is CreateSession for a sign-in with the password whose hash
// is phc. ErrMismatch when the user has another one by now: checking a password
// takes a while, and a session must not outlive a change made meanwhile.
func (db *DB) CreateSessionWith(s Session, phc string) error {
	return db.batch(func(tx *bolt.Tx) error {
		u, err := users.get(tx, []byte(s.User))
		if err != nil {
			return err
		}
		if u.Password != phc {
			return &MismatchError{Field: "password"}
		}
		return db.insertSession(tx, &s)
	})
}

// Session returns the live session with that hash and its user. ErrNotFound
// or ErrExpired otherwise.
func (db *DB) Session(hash Hash, now time.Time) (s Session, u User, err error) {
	err = db.view(func(tx *bolt.Tx) error {
		if err := load(&s)(sessions.get(tx, hash[:])); err != nil {
			return err
		}
		db.useOf(&s)
		if !now.Before(s.Expires) {
			return ErrExpired
		}
		return load(&u)(users.get(tx, []byte(s.User)))
	})
	return s, u, err
}

// Sessions returns the user's sessions that are live at now.
func (db *DB) Sessions(user UserID, now time.Time) (list []Session, err error) {
	err = db.view(func(tx *bolt.Tx) error {
		found, err := sessions.by(tx, "user", []byte(user))
		list = nil
		for _, s := range found {
			db.useOf(&s)
			if now.Before(s.Expires) {
				list = append(list, s)
			}
		}
		return err
	})
	return list, err
}

// AllSessions returns every session, ended ones that the sweeper has not met
// included, in no particular order. It walks them all and is meant for a start.
func (db *DB) AllSessions() (list []Session, err error) {
	err = db.view(func(tx *bolt.Tx) error { list, err = sessions.all(tx); return err })
	for i := range list {
		db.useOf(&list[i])
	}
	return list, err
}

// DeleteSession ends one session; nil when it is gone already.
func (db *DB) DeleteSession(hash Hash) error {
	return db.release(func(tx *bolt.Tx) error {
		s, err := sessions.get(tx, hash[:])
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		db.takesFrom(tx, s.User)
		return endSession(tx, hash[:])
	})
}

// endSession deletes a session and the authorization requests bound to it.
func endSession(tx *bolt.Tx, key []byte) error {
	if _, err := authRequests.deleteBy(tx, "session", key); err != nil {
		return err
	}
	return sessions.delete(tx, key)
}

// EndEverything ends every session, connection and outstanding code of the
// user in one transaction and says how many sessions and connections it met.
func (db *DB) EndEverything(user UserID) (ended, revoked int, err error) {
	err = db.release(func(tx *bolt.Tx) error {
		if _, err := users.get(tx, []byte(user)); err != nil {
			return err
		}
		ended, revoked, err = db.endEverything(tx, user)
		return err
	})
	return ended, revoked, err
}

func (db *DB) endEverything(tx *bolt.Tx, user UserID) (ended, revoked int, err error) {
	db.takesFrom(tx, user)
	for _, key := range sessions.keysBy(tx, "user", []byte(user)) {
		if err := endSession(tx, key); err != nil {
			return 0, 0, err
		}
		ended++
	}
	for _, key := range grants.keysBy(tx, "user", []byte(user)) {
		if err := db.revokeGrant(tx, GrantID(key)); err != nil {
			return 0, 0, err
		}
		revoked++
	}
	_, err = codes.deleteBy(tx, "user", []byte(user))
	return ended, revoked, err
}

// NoteSessionUse remembers that the session was used at now. It costs no
// transaction; Flush writes it.
func (db *DB) NoteSessionUse(hash Hash, now time.Time) {
	db.usedMu.Lock()
	db.usedSessions[hash] = wall(now)
	db.usedMu.Unlock()
}

// useOf puts into the record what Flush has yet to write.
func (db *DB) useOf(s *Session) {
	db.usedMu.Lock()
	defer db.usedMu.Unlock()
	if at, ok := db.usedSessions[s.Hash]; ok && at.After(s.LastUsed) {
		s.Use(at)
	}
}

// Flush writes the noted last-used times in one transaction, none when there
// are none. It is called once a minute and by Close; a crash loses at most a
// minute of them. They stay noted until they are on disk.
func (db *DB) Flush() error {
	db.usedMu.Lock()
	usedGrants, usedSessions := maps.Clone(db.usedGrants), maps.Clone(db.usedSessions)
	db.usedMu.Unlock()
	if len(usedGrants)+len(usedSessions) == 0 {
		return nil
	}
	// Straight to bbolt: a last-used time changes nobody's rights, so the
	// access cache may stay.
	err := db.adding(func() error {
		return db.bolt.Update(func(tx *bolt.Tx) error {
			for hash, at := range usedSessions {
				if err := touch(tx, sessions, hash[:], func(s *Session) { s.Use(at) }); err != nil {
					return err
				}
			}
			for id, at := range usedGrants {
				if err := touch(tx, grants, []byte(id), func(g *Grant) { g.use(at) }); err != nil {
					return err
				}
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	db.usedMu.Lock()
	defer db.usedMu.Unlock()
	forget(db.usedGrants, usedGrants)
	forget(db.usedSessions, usedSessions)
	return nil
}

// forget removes from noted what was written and has not changed since.
func forget[K, V comparable](noted, written map[K]V) {
	for k, v := range written {
		if noted[k] == v {
			delete(noted, k)
		}
	}
}

func touch[T any](tx *bolt.Tx, t *table[T], key []byte, change func(*T)) error {
	v, err := t.get(tx, key)
	if errors.Is(err, ErrNotFound) {
		return nil // ended since it was used
	}
	if err != nil {
		return err
	}
	change(v)
	return t.put(tx, v)
}
