package account_test

import (
	"errors"
	"testing"

	"podgate/account"
	"podgate/store"
	"podgate/store/storetest"
)

// The beginning of an id is enough when it is of one connection only.
func TestFindConnection(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ids := []store.GrantID{"samestart1aaaaaaaaaaaaaaaa", "samestart2bbbbbbbbbbbbbbbb", "otherstart3ccccccccccccccc"}
	for i, name := range []string{"ada", "bob", "eve"} {
		r := storetest.Populate(t, w.db, name, w.now()).Code(t, w.db, "pods:read")
		r.Grant = ids[i]
		if _, err := w.db.RedeemCode(r, w.now()); err != nil {
			t.Fatal(err)
		}
	}
	all, err := w.AllConnections()
	if err != nil || len(all) != 3 || all[0].User.Email != "ada@example.com" || all[0].ID != ids[0] {
		t.Fatal(all, err)
	}
	for _, c := range []struct {
		prefix string
		email  string
		err    error
	}{
		{string(ids[0]), "ada@example.com", nil},
		{"samestart2", "bob@example.com", nil},
		{"otherstart", "eve@example.com", nil},
		{"samestart", "", account.ErrInvalid},
		{"otherst", "", account.ErrInvalid},
		{"", "", account.ErrInvalid},
		{"absentstart", "", store.ErrNotFound},
	} {
		if found, err := w.FindConnection(c.prefix); !errors.Is(err, c.err) || found.User.Email != c.email {
			t.Errorf("%q: %+v, %v", c.prefix, found, err)
		}
	}
	if err := w.Revoke(all[0].User.ID, ids[0]); err != nil {
		t.Fatal(err)
	}
	if c, err := w.FindConnection("samestart"); err != nil || c.ID != ids[1] {
		t.Errorf("a revoked one counts: %+v, %v", c, err)
	}
}
