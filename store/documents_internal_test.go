package store

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Whoever connects a thousand described apps leaves no room for other unknown
// ones, but keeps none of those away that many people use.
func TestThereIsRoomForKnownDocuments(t *testing.T) {
	t.Parallel()
	db, err := Open(filepath.Join(t.TempDir(), "podgate.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	described := func(name string, known bool) Client {
		return Client{ID: ClientID("https://app.example/" + name), Created: now, Expires: now.Add(ClientUnusedTTL), Document: &Document{Fetched: now, Known: known}}
	}
	err = db.update(func(tx *bolt.Tx) error {
		for i := range MaxDocuments {
			c := described(fmt.Sprint(i), false)
			err := errors.Join(clients.insert(tx, &c), grants.insert(tx, &Grant{ID: GrantID(NewID()), User: "ada", Client: c.ID, Expires: now.Add(time.Hour)}))
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.PutDocument(described("unknown", false), now); !errors.Is(err, ErrFull) {
		t.Errorf("one more: %v, want ErrFull", err)
	}
	if c, err := db.PutDocument(described("known", true), now); err != nil || !c.Document.Known {
		t.Errorf("a known one: %+v, %v", c, err)
	}
}
