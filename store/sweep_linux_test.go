package store_test

import (
	"errors"
	"path/filepath"
	"testing"

	"podgate/store"
	"podgate/store/storetest"
)

// A disk that has room for what somebody writes, and not for what the sweeper would add to
// that commit, takes the one and not the other.
func TestRiderFindsNoRoom(t *testing.T) {
	t.Parallel()
	storetest.OnSmallDisk(t, "16m", func(dir string) {
		db, err := store.Open(filepath.Join(dir, "podgate.db"))
		if err != nil {
			t.Fatal(err)
		}
		own, riders := db.WriteBeside(1<<10, 32<<20)
		wantErr(t, own, nil)
		if riders == nil || errors.Is(riders, store.ErrDiskFull) {
			t.Errorf("the rider: %v, want that it goes alone", riders)
		}
		if db.OutOfRoom() {
			t.Error("the reserve was given up")
		}
		wantErr(t, errors.Join(db.CreateUser(store.User{ID: "next", Email: "next@example.com"}), db.Close()), nil)
	})
}
