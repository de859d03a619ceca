package store

import (
	"encoding/binary"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// Every kind of damage that Check looks for is one that it finds.
func TestCheckFindsDamage(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		damage func(*bolt.Tx) error
		want   string
	}{
		"index entry lost":   {func(tx *bolt.Tx) error { return tx.Bucket([]byte("users_by_email")).Delete([]byte("a@example.com")) }, "missing from index email"},
		"index to nothing":   {func(tx *bolt.Tx) error { return tx.Bucket([]byte("users_by_email")).Put([]byte("x"), []byte("absent")) }, "not found"},
		"index misplaced":    {func(tx *bolt.Tx) error { return tx.Bucket([]byte("users_by_email")).Put([]byte("x"), []byte("u")) }, "belongs at"},
		"record undecodable": {func(tx *bolt.Tx) error { return tx.Bucket([]byte("teams")).Put([]byte("t"), []byte("{")) }, "damaged record"},
		"record under alias": {func(tx *bolt.Tx) error {
			return tx.Bucket([]byte("teams")).Put([]byte("t2"), tx.Bucket([]byte("teams")).Get([]byte("t")))
		}, "names another key"},
		"reference dangling": {func(tx *bolt.Tx) error { return users.delete(tx, []byte("u")) }, "refers to absent users"},
		"expiry entry lost": {func(tx *bolt.Tx) error {
			k, _ := tx.Bucket(bucketExpiry).Cursor().First()
			return tx.Bucket(bucketExpiry).Delete(k)
		}, "missing from expiry"},
		"expiry without": {func(tx *bolt.Tx) error {
			return tx.Bucket(bucketExpiry).Put(append(binary.BigEndian.AppendUint64(nil, 1), sessions.kind, 'x'), nil)
		}, "no record with that deadline"},
		"expiry unknown kind": {func(tx *bolt.Tx) error {
			return tx.Bucket(bucketExpiry).Put(append(binary.BigEndian.AppendUint64(nil, 1), 200, 'x'), nil)
		}, "no record with that deadline"},
		"expiry too short": {func(tx *bolt.Tx) error { return tx.Bucket(bucketExpiry).Put([]byte("short"), nil) }, "too short"},
		"bucket lost":      {func(tx *bolt.Tx) error { return tx.DeleteBucket([]byte("pods_by_team")) }, "bucket pods_by_team is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, err := Open(filepath.Join(t.TempDir(), "podgate.db"))
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			err = errors.Join(
				db.CreateUser(User{ID: "u", Email: "a@example.com"}),
				db.CreateTeam(Team{ID: "t", Slug: "t"}, Member{Team: "t", User: "u", Role: RoleOwner}),
				db.CreateSession(Session{Hash: HashSecret("s"), User: "u", Expires: t0}),
				db.Check(),
			)
			if err != nil {
				t.Fatal(err)
			}
			if err := db.update(c.damage); err != nil {
				t.Fatal(err)
			}
			if err := db.Check(); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Check = %v, want it to say %q", err, c.want)
			}
		})
	}
}
