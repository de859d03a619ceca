package store

import bolt "go.etcd.io/bbolt"

// A migration takes a file from one format to the next. All that are needed run
// in one transaction, so a crash or an error leaves the file as it was.
//
// A step knows the file as it was in its time. It reads and writes buckets and
// JSON itself and never the types of this package, which are of the present
// format, and it makes the buckets that its format adds.
type migration func(*bolt.Tx) error

// migrations has the step from format 1 at 0, from format 2 at 1, and so on.
var migrations = []migration{}

func migrate(tx *bolt.Tx, from, to int, steps []migration) error {
	for _, step := range steps[from-1 : to-1] {
		if err := step(tx); err != nil {
			return err
		}
	}
	if err := haveBuckets(tx); err != nil {
		return err
	}
	return writeFormat(tx, to)
}
