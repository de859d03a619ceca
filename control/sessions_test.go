package control

import (
	"slices"
	"strings"
	"testing"

	"podgate/history"
	"podgate/store"
	"podgate/store/storetest"
)

// Sessions of a person are listed, ended one by one by the beginning of an id, and all
// together with the connections; those of others stay. Each stands in the audit list.
func TestSessions(t *testing.T) {
	t.Parallel()
	c, db, _ := recording(t)
	ctx := t.Context()
	ada, bob := storetest.Populate(t, db, "ada", t0), storetest.Populate(t, db, "bob", t0)
	_, others := bob.Connect(t, db, "pods:read")
	g, _ := ada.Connect(t, db, "pods:read")
	for _, w := range []storetest.World{ada, ada, ada, bob} {
		s := store.Session{Hash: store.HashSecret(store.NewID()), User: w.User.ID, UserAgent: "Browser", Addr: "192.0.2.1", Created: t0, LastUsed: t0}
		s.Use(t0)
		if err := db.CreateSession(s); err != nil {
			t.Fatal(err)
		}
	}
	list, err := c.Sessions(ctx, "ada@example.com")
	// One is that of her connection's approval; all were used at the same time.
	slices.SortStableFunc(list, func(a, b Session) int { return strings.Compare(b.Agent, a.Agent) })
	if err != nil || len(list) < 3 || list[0].Addr == "" || list[0].Agent != "Browser" || !list[0].Expires.After(t0) {
		t.Fatalf("%+v, %v", list, err)
	}
	ended, err := c.EndSession(ctx, "ada@example.com", list[0].ID.String()[:8])
	if err != nil || len(ended.Sessions) != 1 || ended.Sessions[0].ID != list[0].ID || ended.Ended != 0 {
		t.Errorf("%+v, %v", ended, err)
	}
	theirs, err := c.Sessions(ctx, "bob@example.com")
	if err != nil || len(theirs) == 0 {
		t.Fatalf("%+v, %v", theirs, err)
	}
	for _, id := range []string{list[0].ID.String(), list[1].ID.String()[:5], theirs[0].ID.String(), ""} {
		if _, err := c.EndSession(ctx, "ada@example.com", id); err == nil || !strings.Contains(err.Error(), "0 sessions of ada@example.com are called that") {
			t.Errorf("%q: %v", id, err)
		}
	}
	ended, err = c.SignOut(ctx, "ada@example.com")
	if err != nil || len(ended.Sessions) != len(list)-1 || ended.Ended != 1 {
		t.Errorf("%+v, %v", ended, err)
	}
	if left, err := c.Sessions(ctx, "ada@example.com"); err != nil || len(left) != 0 {
		t.Errorf("%+v, %v", left, err)
	}
	if left, err := c.Sessions(ctx, "bob@example.com"); err != nil || len(left) != len(theirs) {
		t.Errorf("%+v, %v", left, err)
	}
	if _, err := db.Access(others, t0); err != nil {
		t.Errorf("somebody else's connection: %v", err)
	}
	entries, err := c.Audit(ctx, ListRequest{Limit: 10})
	if err != nil || len(entries) != 3 || entries[0].Action != history.AuditRevoke || entries[0].Grant != g.ID || entries[1].Action != history.AuditEverywhere || entries[2].Action != history.AuditEndSession {
		t.Errorf("%+v, %v", entries, err)
	}
}
