package control

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"podgate/account"
	"podgate/history"
	"podgate/store"
	"podgate/store/storetest"
)

// recording is a handler over a store with a recorder, and a client of it.
func recording(t *testing.T) (*Client, *store.DB, *history.Recorder) {
	t.Helper()
	db := storetest.New(t)
	now := func() time.Time { return t0.Add(time.Hour) }
	log := slog.New(slog.DiscardHandler)
	r := history.New(history.Config{DB: db, Now: now})
	h := NewHandler(Config{
		DB: db, Accounts: account.New(account.Config{DB: db, Log: log, Now: now}), History: r, Issuer: "http://localhost:8080", Log: log, Now: now, Networks: networksOver(db),
	})
	return &Client{roundTrip: inProcess{h}, close: func() error { return nil }}, db, r
}

// Every command that changes something stands in the audit list, as the command
// line's, and concerns the person it was about. What was refused does not, nor
// does a password.
func TestCommandsAreAudited(t *testing.T) {
	t.Parallel()
	c, db, r := recording(t)
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(second(c.SetupLink(ctx)))
	must(second(c.AddTeam(ctx, "makers", "")))
	must(second(c.AddUser(ctx, NewUser{Email: "Ada@example.com", Password: password, Admin: true, Teams: []string{"makers"}})))
	must(second(c.AddUser(ctx, NewUser{Email: "bob@example.com", Password: password})))
	must(second(c.AddMember(ctx, "makers", "bob@example.com", true)))
	must(second(c.SetPassword(ctx, "bob@example.com", "another good password")))
	must(second(c.RemoveMember(ctx, "makers", "bob@example.com")))
	bob, err := db.UserByEmail("bob@example.com")
	must(err)
	must(second(c.RemoveUser(ctx, "bob@example.com")))
	for _, err := range []error{second(c.AddTeam(ctx, "makers", "")), second(c.RemoveUser(ctx, "nobody@example.com")), second(c.RemoveUser(ctx, "ada@example.com"))} {
		if err == nil {
			t.Fatal("a command that must be refused was not")
		}
	}
	list, err := c.Audit(ctx, ListRequest{Limit: 100})
	must(err)
	var got []string
	for _, e := range list {
		got = append(got, fmt.Sprintf("%s %s %s", e.Action, e.Object, e.Team))
		if e.Actor != history.CommandLine || e.Outcome != store.AuditOK || !e.At.Equal(t0.Add(time.Hour)) {
			t.Errorf("%+v", e)
		}
	}
	want := []string{
		"remove_user bob@example.com ", "remove_member bob@example.com makers", "set_password bob@example.com ", "add_member bob@example.com, owner makers",
		"add_user bob@example.com ", "add_user ada@example.com, administrator, team makers ", "add_team  makers", "setup_link  ",
	}
	if !slices.Equal(got, want) {
		t.Errorf("the entries are\n%q\nwant\n%q", got, want)
	}
	page, err := r.AuditList(store.AuditQuery{User: bob.ID, Limit: 100})
	if err != nil || len(page.Entries) != 5 {
		t.Errorf("%d entries concern bob, %v", len(page.Entries), err)
	}
	if all := fmt.Sprint(list); strings.Contains(all, password) || strings.Contains(all, "pgsetup_") {
		t.Errorf("a secret was kept: %s", all)
	}
	if list, err := c.Audit(ctx, ListRequest{Since: t0.Add(2 * time.Hour), Limit: 100}); err != nil || len(list) != 0 {
		t.Errorf("since later: %v, %v", list, err)
	}
	if list, err := c.Audit(ctx, ListRequest{Limit: 3}); err != nil || len(list) != 3 {
		t.Errorf("three at most: %v, %v", list, err)
	}
}

// Connections that a command ends are told in their attempts and in the list.
func TestEndedConnectionsAreAudited(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*Client) error{
		"remove member": func(c *Client) error { return second(c.RemoveMember(t.Context(), "ada", "ada@example.com")) },
		"set password":  func(c *Client) error { return second(c.SetPassword(t.Context(), "ada@example.com", password)) },
		"remove user":   func(c *Client) error { return second(c.RemoveUser(t.Context(), "ada@example.com")) },
	} {
		c, db, r := recording(t)
		w := storetest.Populate(t, db, "ada", t0)
		g, _ := w.Connect(t, db, "pods:read")
		r.Step(history.OfGrant(g, history.Note{Kind: history.StepCall}))
		if err := end(c); err != nil {
			t.Fatal(name, err)
		}
		attempt, err := r.Attempts(store.AttemptQuery{Grant: g.ID, Limit: 1})
		if err != nil || len(attempt.Attempts) != 1 || attempt.Attempts[0].Diagnosis.What != "The connection was revoked by the command line." {
			t.Errorf("%s: %+v, %v", name, attempt, err)
		}
		list, err := c.Audit(t.Context(), ListRequest{Limit: 10})
		if err != nil || len(list) != 2 || list[0].Action != history.AuditRevoke || list[0].Client != "ada.example" || list[0].Team != "ada" {
			t.Errorf("%s: %+v, %v", name, list, err)
		}
	}
}

// A connection is revoked by the beginning of its id, which is told once in the
// list and in its attempt, and another person's stays.
func TestRevokeConnection(t *testing.T) {
	t.Parallel()
	c, db, r := recording(t)
	ada, bob := storetest.Populate(t, db, "ada", t0), storetest.Populate(t, db, "bob", t0)
	g, access := ada.Connect(t, db, "pods:read")
	_, others := bob.Connect(t, db, "pods:read")
	r.Step(history.OfGrant(g, history.Note{Kind: history.StepCall}))
	was, err := c.RevokeConnection(t.Context(), string(g.ID[:8]))
	if err != nil || was.ID != g.ID || was.User != "ada@example.com" || was.Client != "ada.example" || was.Team != "ada" {
		t.Fatalf("%+v, %v", was, err)
	}
	if _, err := db.Access(access, t0); err == nil {
		t.Error("its token is good")
	}
	if _, err := db.Access(others, t0); err != nil {
		t.Errorf("another connection ended: %v", err)
	}
	list, err := c.Audit(t.Context(), ListRequest{Limit: 10})
	if err != nil || len(list) != 1 || list[0].Action != history.AuditRevoke || list[0].Actor != history.CommandLine || list[0].Grant != g.ID || list[0].Name != g.ClientName || g.ClientName == "" {
		t.Errorf("%+v, %v", list, err)
	}
	attempt, err := r.Attempts(store.AttemptQuery{Grant: g.ID, Limit: 1})
	if err != nil || len(attempt.Attempts) != 1 || attempt.Attempts[0].Diagnosis.What != "The connection was revoked by the command line." {
		t.Errorf("%+v, %v", attempt, err)
	}
	for prefix, status := range map[string]int{string(g.ID): http.StatusNotFound, "short": http.StatusBadRequest} {
		var refusal *Error
		if _, err := c.RevokeConnection(t.Context(), prefix); !errors.As(err, &refusal) || refusal.Status != status {
			t.Errorf("%q: %v", prefix, err)
		}
	}
}

func TestTimelineAndConnections(t *testing.T) {
	t.Parallel()
	c, db, r := recording(t)
	ctx := t.Context()
	w := storetest.Populate(t, db, "ada", t0)
	g, _ := w.Connect(t, db, "pods:read")
	r.Step(history.OfGrant(g, history.Note{Kind: history.StepCode}))
	r.Step(history.OfGrant(g, history.Note{Kind: history.StepCall}))
	scan := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Step(history.Note{Kind: history.StepChallenge, From: r.Visitor(scan)})
	for wanted, n := range map[string]int{"": 2, string(w.Client.ID): 1, "ADA.example": 1, "ada@": 1, "nobody": 0} {
		list, err := c.Timeline(ctx, ListRequest{Client: wanted, Limit: 10})
		if err != nil || len(list) != n {
			t.Errorf("timeline %q: %+v, %v", wanted, list, err)
		}
		for _, a := range list {
			if a.Grant == g.ID && (a.User != "ada@example.com" || a.Team != "ada" || !a.Alive || a.Diagnosis.State != history.Works || len(a.Steps) != 2) {
				t.Errorf("%+v", a)
			}
		}
	}
	if list, err := c.Timeline(ctx, ListRequest{Limit: 1}); err != nil || len(list) != 1 {
		t.Errorf("one at most: %v, %v", list, err)
	}
	if list, err := c.Timeline(ctx, ListRequest{Since: t0.Add(2 * time.Hour), Limit: 10}); err != nil || len(list) != 0 {
		t.Errorf("since later: %v, %v", list, err)
	}
	if u, err := c.User(ctx, "Ada@Example.com"); err != nil || u.Email != "ada@example.com" || u.Sessions != 1 || u.Connections != 1 {
		t.Errorf("what ends with her account: %+v, %v", u, err)
	}
	limits := store.Limits{ReadOnly: true, Prefix: "web-"}
	if _, err := db.LimitGrant(g.ID, w.User.ID, g.Scopes, limits, t0); err != nil {
		t.Fatal(err)
	}
	list, err := c.Connections(ctx)
	if err != nil || len(list) != 1 || list[0].Limits != limits || list[0].User != "ada@example.com" || list[0].Client != "ada.example" || list[0].State.State != history.Works {
		t.Errorf("%+v, %v", list, err)
	}
}

// The lists are empty, not absent, where nothing is recorded.
func TestListsWithoutHistory(t *testing.T) {
	t.Parallel()
	ways(t, func(t *testing.T, c *Client) {
		ctx := t.Context()
		connections, err1 := c.Connections(ctx)
		timeline, err2 := c.Timeline(ctx, ListRequest{})
		audit, err3 := c.Audit(ctx, ListRequest{Limit: -1})
		if connections == nil || timeline == nil || audit == nil || err1 != nil || err2 != nil || err3 != nil {
			t.Errorf("%v %v %v %v %v %v", connections, timeline, audit, err1, err2, err3)
		}
	})
}
