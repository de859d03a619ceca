package store

import (
	"encoding/binary"
	"errors"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Document marks a client that did not register itself: its identifier is the
// https URL of a Client ID Metadata Document, of which the record is the last
// good copy.
type Document struct {
	Fetched time.Time `json:"fetched,omitzero"` // zero: the copy came with the program
	Fresh   time.Time `json:"fresh"`            // until then the copy is used without asking
	Gone    bool      `json:"gone,omitempty"`   // its host says that there is none any more: no new authorizations
	Known   bool      `json:"known,omitempty"`  // the program knows it, so there is always room for it
}

// MaxDocuments bounds the clients that are documents. Whoever can sign in can
// make the server read documents, so it must not keep them without end.
const MaxDocuments = 1000

// documentKey orders documents by their deadline: the first is the one that
// is missed least. Nil for a client that registered itself.
func documentKey(c *Client) []byte {
	if c.Document == nil {
		return nil
	}
	return append(binary.BigEndian.AppendUint64(nil, uint64(c.Expires.UnixNano())), c.ID...)
}

// PutDocument inserts the client of a document or replaces the copy of it. Its
// creation time and deadline stay as they were when those are later than c's.
// Beyond MaxDocuments the one whose deadline is next gives way, if no
// connection needs it. When connections need all of them there is room for
// Known ones only; ErrFull for others.
func (db *DB) PutDocument(c Client, now time.Time) (stored Client, err error) {
	err = db.update(func(tx *bolt.Tx) error {
		stored = c
		old, err := clients.get(tx, []byte(c.ID))
		if errors.Is(err, ErrNotFound) {
			if err := makeRoomForDocument(tx, now); err != nil && !(c.Document.Known && errors.Is(err, ErrFull)) {
				return err
			}
			return clients.insert(tx, &c)
		}
		if err != nil {
			return err
		}
		stored.Created = old.Created
		if old.Expires.After(stored.Expires) {
			stored.Expires = old.Expires
		}
		return clients.replace(tx, old, &stored)
	})
	return stored, err
}

func makeRoomForDocument(tx *bolt.Tx, now time.Time) error {
	var inOrder [][]byte
	c := tx.Bucket([]byte("clients_by_document")).Cursor()
	for k, id := c.First(); k != nil; k, id = c.Next() {
		inOrder = append(inOrder, append([]byte(nil), id...))
	}
	if len(inOrder) < MaxDocuments {
		return nil
	}
	for _, id := range inOrder {
		if len(grants.keysBy(tx, "client", id)) == 0 {
			return expireClient(tx, id, now)
		}
	}
	return ErrFull
}

// MarkDocumentGone keeps a document from being used for new authorizations.
// The client itself stays as long as a connection or its deadline keeps it.
// ErrNotFound when there is no such document.
func (db *DB) MarkDocumentGone(id ClientID) error {
	return db.update(func(tx *bolt.Tx) error {
		c, err := clients.get(tx, []byte(id))
		if err != nil {
			return err
		}
		if c.Document == nil {
			return ErrNotFound
		}
		gone := *c
		gone.Document = &Document{Fetched: c.Document.Fetched, Fresh: c.Document.Fresh, Gone: true, Known: c.Document.Known}
		return clients.replace(tx, c, &gone)
	})
}
