package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Client is an AI application that registered itself (RFC 7591) or is
// described by a document. All clients are public: there is no secret.
type Client struct {
	ID           ClientID  `json:"id"`
	Name         string    `json:"name,omitempty"` // the client's own claim, never to be trusted
	RedirectURIs []string  `json:"redirect_uris"`
	GrantTypes   []string  `json:"grant_types,omitempty"`
	Scopes       []Scope   `json:"scopes,omitempty"`
	Created      time.Time `json:"created"`
	Expires      time.Time `json:"expires"`            // swept then unless it has a connection
	Used         bool      `json:"used,omitempty"`     // it has had a connection
	Document     *Document `json:"document,omitempty"` // nil: it registered itself
}

const (
	// ClientUnusedTTL is how long a client lives that never got a token.
	ClientUnusedTTL = 24 * time.Hour
	// ClientIdleTTL is how long a client outlives its last connection:
	// assistants keep a client id for months and cannot tell that it is gone.
	ClientIdleTTL = 90 * 24 * time.Hour
	// clientPendingTTL is how long a client is kept for a decision under way:
	// longer than a request and then a code can live.
	clientPendingTTL = time.Hour
	// MaxUnusedClients bounds those that registered themselves and had no connection
	// yet, about 3 KiB each at most. At the pace that package oauth lets through at
	// most, one that nobody decides about lives for six minutes.
	MaxUnusedClients = 10_000
)

var clients = &table[Client]{
	name:    "clients",
	kind:    3,
	key:     func(c *Client) []byte { return []byte(c.ID) },
	indexes: []index[Client]{{"document", documentKey}, {"unused", unusedKey}},
	expires: func(c *Client) time.Time { return c.Expires },
}

// unusedKey orders the clients that anybody could have registered and nobody used
// by their age. Nil for others.
func unusedKey(c *Client) []byte {
	if c.Used || c.Document != nil {
		return nil
	}
	return append(binary.BigEndian.AppendUint64(nil, uint64(c.Created.UnixNano())), c.ID...)
}

// sweepClient ends a client whose deadline is due. A person may be deciding
// about it at this moment: then it stays until that is over. Strangers cannot
// keep a client so, as only who is signed in has a request.
func sweepClient(tx *bolt.Tx, key []byte, now time.Time) error {
	if !isPending(tx, key) {
		return expireClient(tx, key, now)
	}
	c, err := clients.get(tx, key)
	if err != nil {
		return err
	}
	kept := *c
	kept.Expires = now.Add(clientPendingTTL)
	return clients.replace(tx, c, &kept)
}

// isPending reports whether a request for the client, or a code, waits.
func isPending(tx *bolt.Tx, client []byte) bool {
	return len(authRequests.keysBy(tx, "client", client))+len(codes.keysBy(tx, "client", client)) > 0
}

// expireClient deletes a client that no connection needs any more.
func expireClient(tx *bolt.Tx, key []byte, now time.Time) error {
	c, err := clients.get(tx, key)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if len(grants.keysBy(tx, "client", []byte(c.ID))) > 0 {
		c.Expires = now.Add(ClientIdleTTL)
		return clients.put(tx, c)
	}
	return deleteClient(tx, key)
}

// deleteClient deletes a client with what waits for a decision or for its coming.
func deleteClient(tx *bolt.Tx, key []byte) error {
	if _, err := authRequests.deleteBy(tx, "client", key); err != nil {
		return err
	}
	if _, err := codes.deleteBy(tx, "client", key); err != nil {
		return err
	}
	return clients.delete(tx, key)
}

// CreateClient inserts c, in a commit that concurrent registrations share. Beyond
// MaxUnusedClients those give way that were never used: the oldest for which
// nobody is deciding, so that a flood pushes out the flood before it and no client
// that somebody has.
func (db *DB) CreateClient(c Client) error {
	return db.batch(func(tx *bolt.Tx) error {
		if err := makeRoomForClient(tx, db.maxUnusedClients); err != nil {
			return err
		}
		return clients.insert(tx, &c)
	})
}

// makeRoomForClient counts what is committed, which costs a look at some hundred
// pages. Those who share this commit are not among it, and each of them comes here:
// so it takes two at most away, and the bound can be passed by a commit's worth
// until the next calls.
func makeRoomForClient(tx *bolt.Tx, most int) error {
	excess := tx.Bucket([]byte("clients_by_unused")).Stats().KeyN + 1 - most
	for range min(excess, 2) {
		if err := evictClient(tx); err != nil {
			return err
		}
	}
	return nil
}

// evictClient deletes the oldest unused client for which nobody is deciding; if
// somebody is for all of them, the oldest.
func evictClient(tx *bolt.Tx) error {
	c := tx.Bucket([]byte("clients_by_unused")).Cursor()
	k, oldest := c.First()
	for id := oldest; k != nil; k, id = c.Next() {
		if !isPending(tx, id) {
			return clients.delete(tx, bytes.Clone(id))
		}
	}
	if oldest == nil {
		return nil
	}
	return deleteClient(tx, bytes.Clone(oldest))
}

// Client returns the client with that id, or ErrNotFound. A client past its
// deadline that the sweeper has not met yet is still known.
func (db *DB) Client(id ClientID) (c Client, err error) {
	err = db.view(func(tx *bolt.Tx) error { return load(&c)(clients.get(tx, []byte(id))) })
	return c, err
}
