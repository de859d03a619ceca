package store

import (
	"time"

	bolt "go.etcd.io/bbolt"
)

// User is a person who can sign in.
type User struct {
	ID       UserID    `json:"id"`
	Email    string    `json:"email"` // as account.NormalizeEmail leaves it; unique
	Name     string    `json:"name,omitempty"`
	Password string    `json:"password,omitempty"` // PHC string of argon2id; empty: cannot sign in with one
	Admin    bool      `json:"admin,omitempty"`
	Created  time.Time `json:"created"`
}

var users = &table[User]{
	name: "users",
	key:  func(u *User) []byte { return []byte(u.ID) },
	indexes: []index[User]{
		{"email", func(u *User) []byte { return []byte(u.Email) }},
		{"admin", func(u *User) []byte { // so that a start need not look at everybody
			if !u.Admin {
				return nil
			}
			return []byte(u.ID)
		}},
	},
}

// CreateUser inserts u and makes it a member of the given teams. ErrTaken when
// the address has an account, ErrNotFound when a team does not exist.
func (db *DB) CreateUser(u User, memberships ...Member) error {
	return db.update(func(tx *bolt.Tx) error {
		if err := users.insert(tx, &u); err != nil {
			return err
		}
		for _, m := range memberships {
			if _, err := teams.get(tx, []byte(m.Team)); err != nil {
				return err
			}
			if err := members.put(tx, &m); err != nil {
				return err
			}
		}
		return nil
	})
}

// User returns the user with that id, or ErrNotFound.
func (db *DB) User(id UserID) (u User, err error) {
	err = db.view(func(tx *bolt.Tx) error { return load(&u)(users.get(tx, []byte(id))) })
	return u, err
}

// UserByEmail returns the user with that normalized address, or ErrNotFound.
func (db *DB) UserByEmail(email string) (u User, err error) {
	err = db.view(func(tx *bolt.Tx) error { return load(&u)(users.byUnique(tx, "email", []byte(email))) })
	return u, err
}

// Users returns every user, in no particular order.
func (db *DB) Users() (list []User, err error) {
	err = db.view(func(tx *bolt.Tx) error { list, err = users.all(tx); return err })
	return list, err
}

// SetPassword stores a new password hash and ends every session of the user
// but keep, which may be zero, with the codes that were approved in them and not
// redeemed yet. It returns how many sessions ended.
func (db *DB) SetPassword(id UserID, phc string, keep Hash) (ended int, err error) {
	err = db.release(func(tx *bolt.Tx) error {
		ended = 0
		u, err := users.get(tx, []byte(id))
		if err != nil {
			return err
		}
		u.Password = phc
		if err := users.put(tx, u); err != nil {
			return err
		}
		for _, key := range sessions.keysBy(tx, "user", []byte(id)) {
			if string(key) == string(keep[:]) {
				continue
			}
			if err := endSession(tx, key); err != nil {
				return err
			}
			ended++
		}
		db.takesFrom(tx, id)
		return deleteWaitingCodes(tx, id, keep)
	})
	return ended, err
}

// deleteWaitingCodes deletes the user's codes that nobody has redeemed, but for
// those approved in the session keep. Spent ones stay, so that a second use is
// still noticed.
func deleteWaitingCodes(tx *bolt.Tx, user UserID, keep Hash) error {
	list, err := codes.by(tx, "user", []byte(user))
	if err != nil {
		return err
	}
	for _, c := range list {
		if c.Grant != "" || !keep.IsZero() && c.Session == keep {
			continue
		}
		if err := codes.delete(tx, c.Hash[:]); err != nil {
			return err
		}
	}
	return nil
}

// ResetPassword stores a new password hash and ends every session, connection,
// passkey and outstanding code of the user, in one transaction: whoever had the old
// password may have added a passkey of theirs. It returns how many sessions and connections
// ended; ErrNotFound when the user is gone.
func (db *DB) ResetPassword(id UserID, phc string) (ended, revoked int, err error) {
	err = db.release(func(tx *bolt.Tx) error {
		u, err := users.get(tx, []byte(id))
		if err != nil {
			return err
		}
		u.Password = phc
		if err := users.put(tx, u); err != nil {
			return err
		}
		if _, err := passkeys.deleteBy(tx, "user", []byte(id)); err != nil {
			return err
		}
		ended, revoked, err = db.endEverything(tx, id)
		return err
	})
	return ended, revoked, err
}

// RehashPassword replaces the stored hash if it is still old. Sessions stay:
// the password is the same, only its cost parameters changed.
func (db *DB) RehashPassword(id UserID, old, phc string) error {
	return db.update(func(tx *bolt.Tx) error {
		u, err := users.get(tx, []byte(id))
		if err != nil || u.Password != old {
			return err
		}
		u.Password = phc
		return users.put(tx, u)
	})
}

// DeleteUser removes the user with every session, passkey, membership,
// connection and code. ErrLastAdmin when nobody could administer podgate afterwards.
func (db *DB) DeleteUser(id UserID) error {
	return db.release(func(tx *bolt.Tx) error {
		u, err := users.get(tx, []byte(id))
		if err != nil {
			return err
		}
		if u.Admin && countAdmins(tx) == 1 {
			return ErrLastAdmin
		}
		if _, _, err := db.endEverything(tx, id); err != nil {
			return err
		}
		if _, err := passkeys.deleteBy(tx, "user", []byte(id)); err != nil {
			return err
		}
		if _, err := members.deleteBy(tx, "user", []byte(id)); err != nil {
			return err
		}
		return users.delete(tx, []byte(id))
	})
}

// SetAdmin makes a user an administrator, or takes that away. ErrNotFound;
// ErrLastAdmin when nobody could administer podgate afterwards.
func (db *DB) SetAdmin(id UserID, admin bool) error {
	return db.release(func(tx *bolt.Tx) error {
		u, err := users.get(tx, []byte(id))
		if err != nil {
			return err
		}
		if u.Admin && !admin && countAdmins(tx) == 1 {
			return ErrLastAdmin
		}
		db.takesFrom(tx, id)
		u.Admin = admin
		return users.put(tx, u)
	})
}

// countAdmins walks the administrators only.
func countAdmins(tx *bolt.Tx) (n int) {
	c := tx.Bucket([]byte("users_by_admin")).Cursor()
	for k, _ := c.First(); k != nil; k, _ = c.Next() {
		n++
	}
	return n
}

// HasAdmin reports whether podgate has been set up.
func (db *DB) HasAdmin() (yes bool, err error) {
	err = db.view(func(tx *bolt.Tx) error { yes = countAdmins(tx) > 0; return nil })
	return yes, err
}

// load adapts a (*T, error) result to a value that outlives the transaction.
func load[T any](dst *T) func(*T, error) error {
	return func(v *T, err error) error {
		if err != nil {
			return err
		}
		*dst = *v
		return nil
	}
}
