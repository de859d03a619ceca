package store

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
)

// MaxPasskeys bounds the passkeys of one person.
const MaxPasskeys = 20

// Passkey is a key with which one person signs in (WebAuthn Level 3, section 4,
// «Credential Record»). Its private part is in a device of theirs.
type Passkey struct {
	ID        []byte    `json:"id"`     // as the authenticator chose it
	Handle    []byte    `json:"handle"` // under which authenticators know the person; one for all passkeys of theirs
	User      UserID    `json:"user"`
	Site      string    `json:"site"`           // the host that it was made for, where alone it works
	Name      string    `json:"name,omitempty"` // what the person calls it
	PublicKey []byte    `json:"public_key"`     // COSE (RFC 9052 section 7)
	Counter   uint32    `json:"counter,omitempty"`
	Synced    bool      `json:"synced,omitempty"` // it may be on several devices: «backup eligible»
	Created   time.Time `json:"created"`
	LastUsed  time.Time `json:"last_used,omitzero"`
}

// PasskeyKey is the key of the passkey with that id: ids can be longer than what is worth
// having in keys and addresses.
func PasskeyKey(id []byte) Hash { return sha256.Sum256(id) }

func (p *Passkey) key() []byte { h := PasskeyKey(p.ID); return h[:] }

var passkeys = &table[Passkey]{
	name:    "passkeys",
	key:     (*Passkey).key,
	indexes: []index[Passkey]{{"user", func(p *Passkey) []byte { return join([]byte(p.User), p.key()) }}},
	refs:    func(p *Passkey) []ref { return []ref{{"users", []byte(p.User)}} },
}

// AddPasskey inserts p, which the person of a session has made. ErrNotFound when the
// session is gone, ErrTaken when there is a passkey with that id, whoever has it,
// ErrFull beyond MaxPasskeys, and a *MismatchError when the person's others have another
// handle.
func (db *DB) AddPasskey(p Passkey, session Hash, now time.Time) error {
	return db.update(func(tx *bolt.Tx) error {
		s, err := sessions.live(tx, session[:], now)
		if err != nil || s.User != p.User {
			return ErrNotFound
		}
		list, err := passkeys.by(tx, "user", []byte(p.User))
		switch {
		case err != nil:
			return err
		case len(list) >= MaxPasskeys:
			return ErrFull
		case len(list) > 0 && !bytes.Equal(list[0].Handle, p.Handle):
			return &MismatchError{Field: "handle"}
		}
		return passkeys.insert(tx, &p)
	})
}

// Passkey returns the passkey with that key, or ErrNotFound.
func (db *DB) Passkey(key Hash) (p Passkey, err error) {
	err = db.view(func(tx *bolt.Tx) error { return load(&p)(passkeys.get(tx, key[:])) })
	return p, err
}

// Passkeys returns the passkeys of a person, the oldest first.
func (db *DB) Passkeys(user UserID) (list []Passkey, err error) {
	err = db.view(func(tx *bolt.Tx) error { list, err = passkeys.by(tx, "user", []byte(user)); return err })
	slices.SortFunc(list, func(a, b Passkey) int { return a.Created.Compare(b.Created) })
	return list, err
}

// passkeyOf is the passkey of that person; ErrNotFound for an unknown one and for
// somebody else's.
func passkeyOf(tx *bolt.Tx, user UserID, key Hash) (*Passkey, error) {
	p, err := passkeys.get(tx, key[:])
	if err == nil && p.User != user {
		return nil, ErrNotFound
	}
	return p, err
}

// NamePasskey gives a passkey of that person a name. ErrNotFound.
func (db *DB) NamePasskey(user UserID, key Hash, name string) error {
	return db.update(func(tx *bolt.Tx) error {
		p, err := passkeyOf(tx, user, key)
		if err != nil {
			return err
		}
		p.Name = name
		return passkeys.put(tx, p)
	})
}

// DeletePasskey deletes a passkey of that person and returns it. ErrNotFound.
func (db *DB) DeletePasskey(user UserID, key Hash) (gone Passkey, err error) {
	err = db.release(func(tx *bolt.Tx) error {
		if err := load(&gone)(passkeyOf(tx, user, key)); err != nil {
			return err
		}
		return passkeys.delete(tx, key[:])
	})
	return gone, err
}

// PasskeyUse is one answer of a passkey.
type PasskeyUse struct {
	Key     Hash
	Counter uint32    // as the authenticator says
	Asked   time.Time // when it was asked
}

// note notes a use of the person's passkey at now. A counter that does not grow is that
// of a copy (WebAuthn Level 3, section 6.1.1): ErrSpent, also when two answers with one
// counter come at once. Most authenticators count nothing, which is 0 for ever. What was
// asked before the last use was answered by it, or in another window: ErrExpired. A
// clock that was set back since then, by more than two answers can be apart that are on
// their way at once, keeps nobody out.
func (u PasskeyUse) note(tx *bolt.Tx, user UserID, now time.Time) error {
	p, err := passkeyOf(tx, user, u.Key)
	switch {
	case err != nil:
		return err
	case (u.Counter != 0 || p.Counter != 0) && u.Counter <= p.Counter:
		return ErrSpent
	case !u.Asked.After(p.LastUsed) && !p.LastUsed.After(now.Add(time.Minute)):
		return ErrExpired
	}
	p.Counter, p.LastUsed = u.Counter, now
	return passkeys.put(tx, p)
}

// CreateSessionByPasskey is CreateSession for a sign-in with a passkey. ErrNotFound when
// the passkey is gone meanwhile, ErrSpent when its counter does not grow, ErrExpired when
// it was asked before its last use.
func (db *DB) CreateSessionByPasskey(s Session, use PasskeyUse) error {
	return db.batch(func(tx *bolt.Tx) error {
		if err := use.note(tx, s.User, s.Created); err != nil {
			return err
		}
		return db.insertSession(tx, &s)
	})
}

// ProveSession notes that the person of a session has just proved anew who they are, by
// the password whose hash is phc. ErrNotFound when the session is over, a *MismatchError
// when they have another password by now.
func (db *DB) ProveSession(session Hash, phc string, now time.Time) error {
	return db.prove(session, now, func(tx *bolt.Tx, user UserID) error {
		u, err := users.get(tx, []byte(user))
		if err == nil && u.Password != phc {
			err = &MismatchError{Field: "password"}
		}
		return err
	})
}

// ProveSessionByPasskey is ProveSession with a passkey; errors of it as of
// CreateSessionByPasskey.
func (db *DB) ProveSessionByPasskey(session Hash, use PasskeyUse, now time.Time) error {
	return db.prove(session, now, func(tx *bolt.Tx, user UserID) error { return use.note(tx, user, now) })
}

func (db *DB) prove(session Hash, now time.Time, by func(*bolt.Tx, UserID) error) error {
	return db.update(func(tx *bolt.Tx) error {
		s, err := sessions.live(tx, session[:], now)
		if errors.Is(err, ErrExpired) {
			return ErrNotFound
		}
		if err != nil {
			return err
		}
		if err := by(tx, s.User); err != nil {
			return err
		}
		s.Proved = now
		return sessions.put(tx, s)
	})
}
