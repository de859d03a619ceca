package store

import (
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
)

var clients = &table[Client]{
	name:    "clients",
	kind:    3,
	key:     func(c *Client) []byte { return []byte(c.ID) },
	indexes: []index[Client]{{"document", documentKey}},
	expires: func(c *Client) time.Time { return c.Expires },
}

// sweepClient ends a client whose deadline is due. A person may be deciding
// about it at this moment: then it stays until that is over. Strangers cannot
// keep a client so, as only who is signed in has a request.
func sweepClient(tx *bolt.Tx, key []byte, now time.Time) error {
	pending := len(authRequests.keysBy(tx, "client", key)) + len(codes.keysBy(tx, "client", key))
	if pending == 0 {
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
	if _, err := authRequests.deleteBy(tx, "client", []byte(c.ID)); err != nil {
		return err
	}
	if _, err := codes.deleteBy(tx, "client", []byte(c.ID)); err != nil {
		return err
	}
	return clients.delete(tx, []byte(c.ID))
}

// CreateClient inserts c, in a commit that concurrent registrations share.
func (db *DB) CreateClient(c Client) error {
	return db.batch(func(tx *bolt.Tx) error { return clients.insert(tx, &c) })
}

// Client returns the client with that id, or ErrNotFound. A client past its
// deadline that the sweeper has not met yet is still known.
func (db *DB) Client(id ClientID) (c Client, err error) {
	err = db.view(func(tx *bolt.Tx) error { return load(&c)(clients.get(tx, []byte(id))) })
	return c, err
}
