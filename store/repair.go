package store

import (
	"bytes"
	"errors"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// Repair makes every index and every deadline anew from the records, in one
// transaction. It changes no record, so what Check says of those stays; of two
// records that cannot both be found by one key the first keeps it.
func (db *DB) Repair() error {
	return db.update(func(tx *bolt.Tx) error {
		if err := emptyBucket(tx, bucketExpiry); err != nil {
			return err
		}
		for _, t := range tables {
			if err := t.reindex(tx); err != nil {
				return err
			}
		}
		return nil
	})
}

func emptyBucket(tx *bolt.Tx, name []byte) error {
	if err := tx.DeleteBucket(name); err != nil && !errors.Is(err, bolterrors.ErrBucketNotFound) {
		return err
	}
	_, err := tx.CreateBucket(name)
	return err
}

// reindex makes the entries of every record that can be read and stands at its
// key.
func (t *table[T]) reindex(tx *bolt.Tx) error {
	for _, ix := range t.indexes {
		if err := emptyBucket(tx, t.indexName(ix)); err != nil {
			return err
		}
	}
	return t.bucket(tx).ForEach(func(key, raw []byte) error {
		v, err := t.decode(raw)
		if err != nil || !bytes.Equal(t.key(v), key) {
			return nil
		}
		for _, ix := range t.indexes {
			if err := t.putIndex(tx, ix, nil, v); err != nil && !cannotBeIndexed(err) {
				return err
			}
		}
		return t.putExpiry(tx, nil, v)
	})
}

// cannotBeIndexed says that the record is what is wrong.
func cannotBeIndexed(err error) bool {
	return errors.Is(err, ErrTaken) || errors.Is(err, bolterrors.ErrKeyRequired) || errors.Is(err, bolterrors.ErrKeyTooLarge)
}
