package store

import (
	"errors"
	"io"

	bolt "go.etcd.io/bbolt"
)

// Snapshot writes the whole database as it is at one moment to w, with all that
// was acknowledged before the call, and returns the pods that it knows. The server
// goes on meanwhile; w must be quick, since pages that are free cannot be used again
// and the file's map cannot grow as long as it lasts.
func (db *DB) Snapshot(w io.Writer) (list []Pod, err error) {
	// On a full disk what is only noted waits on; nobody was told that it is kept.
	if err := errors.Join(db.Flush(), db.FlushHistory()); err != nil && !unwritten(err) {
		return nil, err
	}
	err = db.bolt.View(func(tx *bolt.Tx) error {
		if list, err = pods.all(tx); err != nil {
			return err
		}
		_, err := tx.WriteTo(w)
		return err
	})
	return list, err
}
