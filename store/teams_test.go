package store_test

import (
	"errors"
	"testing"
	"time"

	"podgate/store"
	"podgate/store/storetest"
)

// A team that has an owner keeps one, whatever its members do to each other and to
// themselves.
func TestLastOwnerStays(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	w := storetest.Populate(t, db, "ann", time.Now())
	team, ann := w.Team.ID, w.User.ID
	left := func() error { _, err := db.Leave(team, ann); return err }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, try := range map[string]func() error{
		"becomes a member": func() error { return db.SetRole(team, ann, store.RoleMember) },
		"becomes a viewer": func() error { return db.SetRole(team, ann, store.RoleViewer) },
		"leaves":           left,
		"is added again":   func() error { return db.PutMember(store.Member{Team: team, User: ann, Role: store.RoleMember}) },
	} {
		if err := try(); !errors.Is(err, store.ErrLastOwner) {
			t.Errorf("the last owner %s: %v", name, err)
		}
	}
	must(db.CreateUser(store.User{ID: "bob", Email: "bob@example.com"}, store.Member{Team: team, User: "bob", Role: store.RoleViewer}))
	if err := left(); !errors.Is(err, store.ErrLastOwner) {
		t.Errorf("the last owner leaves a viewer: %v", err)
	}
	if err := db.SetRole(team, "eve", store.RoleOwner); !errors.Is(err, store.ErrNotMember) {
		t.Errorf("a stranger becomes an owner: %v", err)
	}
	must(db.SetRole(team, "bob", store.RoleOwner))
	must(db.SetRole(team, ann, store.RoleViewer))
	if _, err := db.Leave(team, "bob"); !errors.Is(err, store.ErrLastOwner) {
		t.Errorf("the new owner leaves: %v", err)
	}
	must(left())
	if err := left(); !errors.Is(err, store.ErrNotMember) {
		t.Errorf("who left leaves again: %v", err)
	}
	must(db.Check())
}

// Who watches a person is told, once it is so, of all that ends what a browser of
// theirs may go on doing.
func TestWhoIsToldOfAPersonsLoss(t *testing.T) {
	t.Parallel()
	session := store.HashSecret("session")
	for name, take := range map[string]func(*store.DB, storetest.World) error{
		"session": func(db *store.DB, _ storetest.World) error { return db.DeleteSession(session) },
		"all":     func(db *store.DB, w storetest.World) error { _, _, err := db.EndEverything(w.User.ID); return err },
		"password": func(db *store.DB, w storetest.World) error {
			_, err := db.SetPassword(w.User.ID, "x", store.Hash{})
			return err
		},
		"removed": func(db *store.DB, w storetest.World) error {
			_, err := db.RemoveMember(w.Team.ID, w.User.ID)
			return err
		},
		"left":    func(db *store.DB, w storetest.World) error { _, err := db.Leave(w.Team.ID, w.User.ID); return err },
		"role":    func(db *store.DB, w storetest.World) error { return db.SetRole(w.Team.ID, w.User.ID, store.RoleViewer) },
		"deleted": func(db *store.DB, w storetest.World) error { return db.DeleteUser(w.User.ID) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := storetest.New(t)
			w := storetest.Populate(t, db, "ann", time.Now())
			bob := store.Member{Team: w.Team.ID, User: "bob", Role: store.RoleOwner}
			made := errors.Join(
				db.CreateUser(store.User{ID: "bob", Email: "bob@example.com", Admin: true}, bob),
				db.CreateSession(store.Session{Hash: session, User: w.User.ID, Created: w.Now, LastUsed: w.Now, Expires: w.Now.Add(time.Hour)}),
			)
			if made != nil {
				t.Fatal(made)
			}
			told, others := 0, 0
			defer db.OnLossOf(w.User.ID, func() { told++ })()
			defer db.OnLossOf("bob", func() { others++ })()
			if err := take(db, w); err != nil || told == 0 || others > 0 {
				t.Errorf("told %d times, others %d; %v", told, others, err)
			}
		})
	}
}
