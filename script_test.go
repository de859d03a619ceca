package main

import (
	"encoding/binary"
	"fmt"
	"os"

	bolt "go.etcd.io/bbolt"
)

// craft is a helper of the scripts. «craft newer FILE» makes a database of a
// format that no podgate reads yet, «craft foreign FILE» one of another
// program, «craft damaged FILE» takes the account out from under its index.
func craft() {
	if err := craftFile(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func craftFile(what, path string) error {
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		return err
	}
	defer db.Close()
	return db.Update(func(tx *bolt.Tx) error {
		switch what {
		case "newer":
			meta, err := tx.CreateBucketIfNotExists([]byte("meta"))
			if err != nil {
				return err
			}
			if err := meta.Put([]byte("application"), []byte("podgate")); err != nil {
				return err
			}
			return meta.Put([]byte("format"), binary.BigEndian.AppendUint64(nil, 999))
		case "foreign":
			_, err := tx.CreateBucketIfNotExists([]byte("somebody else's"))
			return err
		case "damaged":
			users := tx.Bucket([]byte("users"))
			key, _ := users.Cursor().First()
			return users.Delete(key)
		}
		return fmt.Errorf("craft does not know %q", what)
	})
}
