package store

import (
	"errors"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Block keeps a client out: it can neither ask for authorization nor be given a
// token. It outlives the client's registration.
type Block struct {
	Client ClientID  `json:"client"`
	Name   string    `json:"name,omitempty"` // as the client called itself then
	By     UserID    `json:"by,omitempty"`   // may be gone since; empty: a command line
	Since  time.Time `json:"since"`
}

// maxBlocks bounds the clients that are blocked, as administrators can only name so
// many in earnest.
const maxBlocks = 10_000

var blocks = &table[Block]{
	name:    "blocked",
	key:     func(b *Block) []byte { return []byte(b.Client) },
	indexes: []index[Block]{{"since", func(b *Block) []byte { return append(bigTime(b.Since), b.Client...) }}},
}

func isBlocked(tx *bolt.Tx, id ClientID) bool { return blocks.has(tx, []byte(id)) }

// Blocked reports whether a client is blocked.
func (db *DB) Blocked(id ClientID) (yes bool, err error) {
	err = db.view(func(tx *bolt.Tx) error { yes = isBlocked(tx, id); return nil })
	return yes, err
}

// BlockClient keeps a client out from now on, and ends its connections with what
// waits for a decision or for its coming, in one transaction. It returns the
// connections. The client need not be known yet. ErrFull.
func (db *DB) BlockClient(b Block) (ended []Grant, err error) {
	err = db.release(func(tx *bolt.Tx) error {
		c, err := clients.get(tx, []byte(b.Client))
		if err == nil {
			b.Name = c.Name
		} else if !errors.Is(err, ErrNotFound) {
			return err
		}
		if blocks.bucket(tx).Stats().KeyN >= maxBlocks {
			return ErrFull
		}
		if ended, err = db.cutClient(tx, b.Client); err != nil {
			return err
		}
		return blocks.put(tx, &b)
	})
	return ended, err
}

// cutClient ends all that a client has and waits for.
func (db *DB) cutClient(tx *bolt.Tx, id ClientID) (ended []Grant, err error) {
	var all []GrantID
	for _, key := range grants.keysBy(tx, "client", []byte(id)) {
		all = append(all, GrantID(key))
	}
	if ended, err = db.revokeGrants(tx, all); err != nil {
		return nil, err
	}
	if _, err := authRequests.deleteBy(tx, "client", []byte(id)); err != nil {
		return nil, err
	}
	_, err = codes.deleteBy(tx, "client", []byte(id))
	return ended, err
}

// UnblockClient lets a client in again. ErrNotFound when it was not blocked.
func (db *DB) UnblockClient(id ClientID) error {
	return db.update(func(tx *bolt.Tx) error {
		if !isBlocked(tx, id) {
			return ErrNotFound
		}
		return blocks.delete(tx, []byte(id))
	})
}

// ForgetClient deletes a client with its connections, which it returns. A client that
// is blocked stays blocked. ErrNotFound when there is none.
func (db *DB) ForgetClient(id ClientID) (ended []Grant, err error) {
	err = db.release(func(tx *bolt.Tx) error {
		if !clients.has(tx, []byte(id)) {
			return ErrNotFound
		}
		if ended, err = db.cutClient(tx, id); err != nil {
			return err
		}
		return clients.delete(tx, []byte(id))
	})
	return ended, err
}

// ClientUse is a client with how it is used.
type ClientUse struct {
	Client
	Connections int
	Blocked     *Block // nil: it is not
	Forgotten   bool   // only its block is known
}

// ClientUse returns one client, known or blocked. ErrNotFound when it is neither.
func (db *DB) ClientUse(id ClientID) (u ClientUse, err error) {
	err = db.view(func(tx *bolt.Tx) error { u, err = useOfClient(tx, id); return err })
	return u, err
}

func useOfClient(tx *bolt.Tx, id ClientID) (u ClientUse, err error) {
	b, err := blocks.get(tx, []byte(id))
	if err == nil {
		u.Blocked = b
	} else if !errors.Is(err, ErrNotFound) {
		return u, err
	}
	err = load(&u.Client)(clients.get(tx, []byte(id)))
	if errors.Is(err, ErrNotFound) && u.Blocked != nil {
		u.Client, u.Forgotten, err = Client{ID: id, Name: u.Blocked.Name}, true, nil
	}
	u.Connections = len(grants.keysBy(tx, "client", []byte(id)))
	return u, err
}
