package store_test

import (
	"errors"
	"testing"

	"podgate/store"
	"podgate/store/storetest"
)

// Each change to what an access token opens counts for the next look, and none to anything
// else has it read again.
func TestAccessIsRememberedUntilItChanges(t *testing.T) {
	t.Parallel()
	type world struct {
		db     *store.DB
		w      storetest.World
		grant  store.GrantID
		access store.Credential
	}
	fails := func(want error) func(*store.Access, error) bool {
		return func(_ *store.Access, err error) bool { return errors.Is(err, want) }
	}
	for name, c := range map[string]struct {
		change func(world) error
		seen   func(*store.Access, error) bool // nil: it is the same
	}{
		"the token is revoked":      {func(w world) error { return w.db.RevokeToken(w.access, w.w.Client.ID) }, fails(store.ErrNotFound)},
		"the connection is revoked": {func(w world) error { return w.db.RevokeGrant(w.grant, w.w.User.ID) }, fails(store.ErrNotFound)},
		"the person is put out":     {func(w world) error { _, err := w.db.RemoveMember(w.w.Team.ID, w.w.User.ID); return err }, fails(store.ErrNotFound)},
		"the role is another": {
			func(w world) error {
				second := storetest.Populate(t, w.db, "bob", t0)
				return errors.Join(w.db.PutMember(store.Member{Team: w.w.Team.ID, User: second.User.ID, Role: store.RoleOwner}),
					w.db.SetRole(w.w.Team.ID, w.w.User.ID, store.RoleViewer))
			},
			func(a *store.Access, err error) bool { return err == nil && a.Role == store.RoleViewer },
		},
		"another connection is made":    {func(w world) error { w.w.Connect(t, w.db, read); return nil }, nil},
		"another connection is revoked": {func(w world) error { id, _ := w.w.Connect(t, w.db, read); return w.db.RevokeGrant(id.ID, w.w.User.ID) }, nil},
		"history is written":            {func(w world) error { w.db.NoteStep(step("a", "discovery", 1)); return w.db.FlushHistory() }, nil},
		"a session is made":             {func(w world) error { w.w.SignIn(t, w.db); return nil }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := storetest.New(t)
			pop := storetest.Populate(t, db, "ada", t0)
			g, access := pop.Connect(t, db, read)
			before, err := db.Access(access, t0)
			if err != nil {
				t.Fatal(err)
			}
			if again, err := db.Access(access, t0); err != nil || again != before {
				t.Fatalf("it is read twice: %v", err)
			}
			if err := c.change(world{db, pop, g.ID, access}); err != nil {
				t.Fatal(err)
			}
			after, err := db.Access(access, t0)
			switch {
			case c.seen == nil && (err != nil || after != before):
				t.Errorf("it was read again: %v", err)
			case c.seen != nil && !c.seen(after, err):
				t.Errorf("%+v, %v", after, err)
			}
		})
	}
}

// A database that was written anew forgets as before.
func TestAccessAfterCompact(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	w := storetest.Populate(t, db, "ada", t0)
	_, access := w.Connect(t, db, read)
	if _, err := db.Access(access, t0); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Compact(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"before", "after"} {
		if _, err := db.Access(access, t0); err != nil {
			t.Fatal(err)
		}
		if err := db.RenameTeam(w.Team.ID, name, name); err != nil {
			t.Fatal(err)
		}
		if a, err := db.Access(access, t0); err != nil || a.Team.Name != name {
			t.Errorf("%+v, %v", a, err)
		}
	}
}
