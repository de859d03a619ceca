package store_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"podgate/store"
	"podgate/store/storetest"
)

// stranger is a client that registered itself, number i of many.
func stranger(i int) store.Client {
	at := t0.Add(time.Duration(i) * time.Second)
	return store.Client{ID: store.ClientID(fmt.Sprint("stranger-", i)), Created: at, Expires: at.Add(store.ClientUnusedTTL)}
}

// registers creates the strangers from one number up to another.
func registers(t *testing.T, db *store.DB, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		wantErr(t, db.CreateClient(stranger(i)), nil)
	}
}

// left returns which of the strangers from one number up to another are there.
func left(t *testing.T, db *store.DB, from, to int) (list []int) {
	t.Helper()
	for i := from; i < to; i++ {
		if _, err := db.Client(stranger(i).ID); err == nil {
			list = append(list, i)
		} else if !errors.Is(err, store.ErrNotFound) {
			t.Fatal(err)
		}
	}
	return list
}

// Of clients that nobody used there are so many, and the oldest go first. Those
// that somebody used stay, also when their connection is over; so do those about
// which somebody is deciding.
func TestUnusedClientsAreBounded(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	used, former := storetest.Populate(t, db, "used", t0), storetest.Populate(t, db, "former", t0)
	deciding, waiting := storetest.Populate(t, db, "deciding", t0), storetest.Populate(t, db, "waiting", t0)
	used.Connect(t, db, "pods:read")
	g, _ := former.Connect(t, db, "pods:read")
	wantErr(t, db.RevokeGrant(g.ID, former.User.ID), nil)
	session := deciding.SignIn(t, db)
	wantErr(t, db.CreateAuthRequest(store.AuthRequest{
		Handle: store.HashSecret("request"), Session: session.Hash, Client: deciding.Client.ID, Created: t0, Expires: t0.Add(30 * time.Minute),
	}), nil)
	code := waiting.Code(t, db, "pods:read")

	db.SetMaxUnusedClients(10)
	registers(t, db, 0, 100)
	if list := left(t, db, 0, 100); fmt.Sprint(list) != "[92 93 94 95 96 97 98 99]" {
		t.Errorf("of those that nobody used are left %v, want the newest eight beside two that wait", list)
	}
	for _, w := range []storetest.World{used, former, deciding, waiting} {
		if _, err := db.Client(w.Client.ID); err != nil {
			t.Errorf("%s: %v", w.User.Name, err)
		}
	}
	if _, err := db.RedeemCode(code, t0); err != nil {
		t.Errorf("the code that waited: %v", err)
	}
	registers(t, db, 100, 110)
	if list := left(t, db, 0, 110); len(list) != 9 {
		t.Errorf("one that waited is used by now, and there is room for %v", list)
	}
}

// Where somebody is deciding about all of them the oldest goes nevertheless.
func TestUnusedClientsThatAllWait(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	db.SetMaxUnusedClients(3)
	w := storetest.Populate(t, db, "ada", t0)
	session := w.SignIn(t, db)
	registers(t, db, 1, 3)
	for i, id := range []store.ClientID{w.Client.ID, stranger(1).ID, stranger(2).ID} {
		wantErr(t, db.CreateAuthRequest(store.AuthRequest{
			Handle: store.HashSecret(fmt.Sprint(i)), Session: session.Hash, Client: id, Created: t0, Expires: t0.Add(30 * time.Minute),
		}), nil)
	}
	registers(t, db, 3, 4)
	if list := left(t, db, 1, 4); len(list) != 3 {
		t.Errorf("left are %v", list)
	}
	if _, err := db.Client(w.Client.ID); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the oldest: %v", err)
	}
	if _, err := db.AuthRequest(store.HashSecret("0"), session.Hash, t0); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("its request: %v", err)
	}
}

// Registrations that share a commit do not see one another, and what that leaves
// too much of goes with the next.
func TestUnusedClientsRegisteredAtOnce(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	db.SetMaxUnusedClients(50)
	var group sync.WaitGroup
	for i := range 400 {
		group.Go(func() {
			if err := db.CreateClient(stranger(i)); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	registers(t, db, 400, 800)
	if list := left(t, db, 0, 800); len(list) != 50 || list[0] < 400 {
		t.Errorf("%d are left: %v", len(list), list)
	}
}
