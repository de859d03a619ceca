package store

import (
	"errors"
	"maps"
	"path/filepath"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Connections go with the membership, so a refresh never meets one without it;
// should it, it must not work.
func TestRefreshNeedsMembership(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "podgate.db")
	connectForKill(t, path)
	db, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.update(func(tx *bolt.Tx) error { return members.delete(tx, memberKey("t", "u")) })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.RotateRefresh(killedRotation(0), t0); !errors.Is(err, ErrNotMember) {
		t.Errorf("RotateRefresh = %v", err)
	}
}

// A use that is noted while others are written stays noted.
func TestForget(t *testing.T) {
	t.Parallel()
	written := map[GrantID]time.Time{"same": t0, "used again": t0, "ended": t0}
	noted := map[GrantID]time.Time{"same": t0, "used again": t0.Add(1), "new": t0}
	forget(noted, written)
	if want := (map[GrantID]time.Time{"used again": t0.Add(1), "new": t0}); !maps.Equal(noted, want) {
		t.Errorf("left: %v, want %v", noted, want)
	}
}
