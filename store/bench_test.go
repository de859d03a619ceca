package store_test

import (
	"fmt"
	"testing"

	bolt "go.etcd.io/bbolt"

	"path/filepath"

	"podgate/store"
	"podgate/store/storetest"
)

// BenchmarkAccess compares the token look-up (remembered, and for the first time) with one
// bare bbolt read of a record of the same size.
func BenchmarkAccess(b *testing.B) {
	db := storetest.New(b)
	w := storetest.Populate(b, db, "ada", t0)
	var access store.Credential
	for range 100 {
		_, access = w.Connect(b, db, read)
	}
	for name, before := range map[string]func(){
		"remembered": func() {},
		"first":      func() { db.ForgetAccess(access) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				before()
				if _, err := db.Access(access, t0); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("bare", func(b *testing.B) { benchmarkBareRead(b) })
}

func benchmarkBareRead(b *testing.B) {
	bare, err := bolt.Open(filepath.Join(b.TempDir(), "bare.db"), 0o600, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer bare.Close()
	key := func(i int) []byte { h := store.HashSecret(fmt.Sprint(i)); return h[:] }
	err = bare.Update(func(tx *bolt.Tx) error {
		t, err := tx.CreateBucket([]byte("tokens"))
		for i := range 100 {
			if err == nil {
				err = t.Put(key(i), make([]byte, 200))
			}
		}
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	k := key(7)
	b.ReportAllocs()
	for b.Loop() {
		err := bare.View(func(tx *bolt.Tx) error {
			if len(tx.Bucket([]byte("tokens")).Get(k)) != 200 {
				b.Fatal("lost")
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}
