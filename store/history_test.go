package store_test

import (
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"podgate/store"
	"podgate/store/storetest"
)

// step is a note for an attempt at so many seconds after t0.
func step(attempt, kind string, seconds int) store.StepNote {
	return store.StepNote{Attempt: store.AttemptID(attempt), Visitor: "visitor", Step: store.Step{Kind: kind, At: after(seconds)}}
}

func after(seconds int) time.Time { return t0.Add(time.Duration(seconds) * time.Second) }

func attempts(t *testing.T, db *store.DB, q store.AttemptQuery) []store.Attempt {
	t.Helper()
	if q.Limit == 0 {
		q.Limit = 100_000
	}
	page, err := db.Attempts(q, t0)
	if err != nil {
		t.Fatal(err)
	}
	return page.Attempts
}

func attempt(t *testing.T, db *store.DB, id string) store.Attempt {
	t.Helper()
	a, err := db.Attempt(store.AttemptID(id), t0)
	if err != nil {
		t.Fatalf("attempt %s: %v", id, err)
	}
	return a
}

func kinds(a store.Attempt) string {
	var list []string
	for _, s := range a.Steps {
		list = append(list, fmt.Sprintf("%s×%d", s.Kind, s.Count))
	}
	return strings.Join(list, " ")
}

func TestWhoReadsSeesWhatWasJustNoted(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	before := db.Retired()
	db.NoteStep(step("a", "discovery", 1))
	db.NoteStep(step("a", "register", 2))
	db.NoteAudit(store.AuditEntry{Action: "sign_in", Outcome: store.AuditOK, At: t0})
	if got := kinds(attempt(t, db, "a")); got != "discovery×1 register×1" {
		t.Errorf("steps are %s", got)
	}
	if page, err := db.Audit(store.AuditQuery{Limit: 10}, t0); err != nil || len(page.Entries) != 1 {
		t.Errorf("%+v, %v", page, err)
	}
	if db.Retired() != before {
		t.Error("the timeline retired the access cache")
	}
}

func TestHistorySurvivesCloseAndReopen(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "podgate.db")
	db := storetest.Open(t, path)
	db.NoteStep(step("a", "discovery", 1))
	db.NoteAudit(store.AuditEntry{Action: "sign_in", Outcome: store.AuditOK, At: t0})
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = storetest.Open(t, path)
	defer db.Close()
	page, err := db.Audit(store.AuditQuery{Limit: 10}, t0)
	if kinds(attempt(t, db, "a")) != "discovery×1" || err != nil || len(page.Entries) != 1 {
		t.Errorf("%+v, %v", page, err)
	}
}

func TestEqualStepsAreOne(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	for i := range 30 {
		db.NoteStep(step("a", "refresh", 2*i))
		db.NoteStep(step("a", "call", 2*i+1))
		if i%7 == 0 { // in the queue and on disk alike
			attempt(t, db, "a")
		}
	}
	a := attempt(t, db, "a")
	if got := kinds(a); got != "refresh×30 call×30" {
		t.Errorf("steps are %s", got)
	}
	if first := a.Steps[0]; !first.At.Equal(t0) || !first.Last.Equal(after(58)) || !a.Last().Equal(after(59)) {
		t.Errorf("times are %+v, last %v", first, a.Last())
	}
}

// A client in a loop fills neither the queue nor the list.
func TestLoopsLoseNothing(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	for i := range 10_000 {
		db.NoteStep(step("a", "challenge", i))
		db.NoteAudit(store.AuditEntry{Action: "sign_in", Outcome: "wrong password", Stranger: true, At: after(i)})
	}
	if got := kinds(attempt(t, db, "a")); got != "challenge×10000" {
		t.Errorf("steps are %s", got)
	}
	page, err := db.Audit(store.AuditQuery{Limit: 10}, after(10_000))
	if err != nil || len(page.Entries) != 1 || page.Entries[0].Count != 10_000 || !page.Entries[0].At.Equal(t0) || !page.Entries[0].Last.Equal(after(9_999)) {
		t.Errorf("%+v, %v", page, err)
	}
}

// A long attempt keeps how it began and how it stands.
func TestStepsOfAnAttemptAreBounded(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	for i := range 500 {
		n := step("a", fmt.Sprint(i), i)
		n.User = "ada"
		db.NoteStep(n)
		n = step("b", fmt.Sprint(i), i)
		n.Visitor = "b"
		db.NoteStep(n)
		if i%200 == 199 {
			wantErr(t, db.FlushHistory(), nil)
		}
	}
	for id, want := range map[string]int{"a": 60, "b": 24} {
		a := attempt(t, db, id)
		if len(a.Steps) != want || a.Dropped != 500-want || a.Steps[0].Kind != "0" || a.Steps[len(a.Steps)-1].Kind != "499" {
			t.Errorf("%s: %d steps, %d dropped, %s", id, len(a.Steps), a.Dropped, kinds(a))
		}
	}
}

// Whoever floods pushes out their own kind only: strangers no client, clients
// nobody's connections, one person nobody else's.
func TestFloodPushesOutOnlyItsOwnKind(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	note := func(i int, n store.StepNote) {
		n.Attempt, n.Step = store.AttemptID(store.NewID()), store.Step{Kind: "x", At: after(i)}
		db.NoteStep(n)
		if i%200 == 199 {
			if err := db.FlushHistory(); err != nil {
				t.Fatal(err)
			}
		}
	}
	note(0, store.StepNote{Visitor: "first"})
	note(1, store.StepNote{Client: "mine"})
	note(2, store.StepNote{Client: "mine", User: "ada"})
	for i := range 1500 {
		note(i+10, store.StepNote{Visitor: fmt.Sprint(i)})
	}
	for i := range 1500 {
		note(i+2000, store.StepNote{Client: store.ClientID(fmt.Sprint(i))})
	}
	for i := range 600 {
		note(i+4000, store.StepNote{Client: store.ClientID(fmt.Sprint(i)), User: "eve"})
	}
	for _, c := range []struct {
		what string
		q    store.AttemptQuery
		want int
	}{
		{"all", store.AttemptQuery{}, 1000 + 1000 + 1 + 200},
		{"ada's", store.AttemptQuery{User: "ada"}, 1},
		{"eve's", store.AttemptQuery{User: "eve"}, 200},
	} {
		if got := len(attempts(t, db, c.q)); got != c.want {
			t.Errorf("%s: %d attempts, want %d", c.what, got, c.want)
		}
	}
	all := attempts(t, db, store.AttemptQuery{})
	if oldest := all[len(all)-1]; oldest.User != "ada" {
		t.Errorf("the oldest that is left is %+v", oldest)
	}
}

// One client's many tries leave its person's other clients alone.
func TestAttemptsOfOneClientAreBounded(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	for i := range 100 {
		n := step(fmt.Sprintf("loud %d", i), "authorize", i)
		n.Client, n.User = "loud", "ada"
		db.NoteStep(n)
	}
	n := step("quiet", "authorize", -1)
	n.Client, n.User = "quiet", "ada"
	db.NoteStep(n)
	if loud := attempts(t, db, store.AttemptQuery{Client: "loud"}); len(loud) != 20 || loud[0].ID != "loud 99" || loud[19].ID != "loud 80" {
		t.Errorf("%d attempts of the loud client", len(loud))
	}
	if quiet := attempts(t, db, store.AttemptQuery{Client: "quiet"}); len(quiet) != 1 {
		t.Errorf("%d attempts of the quiet one", len(quiet))
	}
}

// A hostile page that has a browser open one request after the other pushes out
// no attempt of a connection.
func TestConnectionsOutliveFruitlessAttempts(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	n := step("real", "code", 0)
	n.Client, n.User, n.Grant = "doc", "ada", "g"
	db.NoteStep(n)
	for i := range 700 {
		n := step(fmt.Sprint("forged ", i), "authorize", i+1)
		n.Client, n.User = "doc", "ada"
		if i >= 50 {
			n.Client = store.ClientID(fmt.Sprint("other ", i/10))
		}
		db.NoteStep(n)
		if i%100 == 0 {
			wantErr(t, db.FlushHistory(), nil)
		}
	}
	if all := attempts(t, db, store.AttemptQuery{User: "ada"}); len(all) != 200 || all[199].ID != "real" {
		t.Errorf("%d attempts are left, the oldest is %+v", len(all), all[len(all)-1])
	}
}

// What waits to be written is bounded, and what was lost is told. Strangers
// leave most of the room to others.
func TestQueueIsBounded(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	for i := range 10_000 {
		n := step("stranger", fmt.Sprint(i), i)
		db.NoteStep(n)
		db.NoteAudit(store.AuditEntry{Action: "sign_in", Outcome: fmt.Sprint(i), Stranger: true, At: after(i)})
	}
	n := step("person", "call", 1)
	n.User = "ada"
	db.NoteStep(n)
	db.NoteAudit(store.AuditEntry{Action: "sign_in", Outcome: store.AuditOK, Actor: "ada", At: t0})
	if got := kinds(attempt(t, db, "person")); got != "call×1" {
		t.Errorf("the person's steps are %q", got)
	}
	page, err := db.Audit(store.AuditQuery{Limit: 100_000}, after(10_000))
	if err != nil || len(page.Entries) != 128+2 { // they all concern nobody
		t.Fatalf("%d entries, %v", len(page.Entries), err)
	}
	if lost := page.Entries[0]; lost.Action != store.AuditLost || lost.Count != 2*10_000-256-128 || !lost.At.Equal(after(9_999)) {
		t.Errorf("what was lost: %+v", lost)
	}
	for i := range 10_000 {
		n.Step = store.Step{Kind: fmt.Sprint(i), At: after(i)}
		db.NoteStep(n)
		db.NoteAudit(store.AuditEntry{Action: "sign_in", Outcome: fmt.Sprint(i), Actor: "ada", At: after(i)})
	}
	if got := db.Lost(); got != 2*10_000-2048-4096 {
		t.Errorf("%d of a person's are lost", got)
	}
}

// What cannot be written is counted, and does not stand in the way of what
// comes after it.
func TestWhatCannotBeWrittenIsCounted(t *testing.T) {
	t.Parallel()
	db := storetest.Open(t, filepath.Join(t.TempDir(), "podgate.db"))
	wantErr(t, db.Close(), nil)
	db.NoteStep(step("a", "call", 1))
	db.NoteStep(step("a", "call", 2)) // folded into the one before, and counted as two
	db.NoteAudit(store.AuditEntry{Action: "x", Outcome: store.AuditOK, At: t0})
	if err := db.FlushHistory(); err == nil || db.Lost() != 3 {
		t.Errorf("%v, %d lost", err, db.Lost())
	}
}

// Whoever wants to write while much is noted waits for a part of it at most.
func TestMuchIsWrittenInShortCommits(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	before := db.Transaction()
	const n = 2000
	for i := range n {
		s := step(fmt.Sprint("a-", i), "discovery", i)
		s.User = store.UserID(fmt.Sprint("user-", i))
		db.NoteStep(s)
	}
	wantErr(t, db.FlushHistory(), nil)
	if commits := db.Transaction() - before; commits < n/64 {
		t.Errorf("written in %d commits", commits)
	}
	if list := attempts(t, db, store.AttemptQuery{Limit: n}); len(list) != n || list[0].ID != "a-1999" {
		t.Errorf("%d attempts are left", len(list))
	}
}

func TestPreludeIsAdoptedWhole(t *testing.T) {
	t.Parallel()
	for _, flushed := range []bool{false, true} {
		db := storetest.New(t)
		db.NoteStep(step("prelude", "challenge", 0))
		db.NoteStep(step("prelude", "discovery", 1))
		if flushed {
			attempt(t, db, "prelude")
		}
		n := step("attempt", "code", 3)
		n.User, n.Adopt, n.Visitor = "ada", "prelude", ""
		db.NoteStep(n)
		a := attempt(t, db, "attempt")
		if kinds(a) != "challenge×1 discovery×1 code×1" || !a.Steps[0].Loose || a.Steps[2].Loose {
			t.Errorf("flushed %v: %+v", flushed, a)
		}
		if list := attempts(t, db, store.AttemptQuery{}); len(list) != 1 {
			t.Errorf("flushed %v: %d attempts are left", flushed, len(list))
		}
	}
}

// An attempt that has become somebody's cannot be taken over, nor can a step of
// one person get into the attempt of another.
func TestAttemptsOfPeopleStayApart(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	n := step("adas", "approve", 0)
	n.User = "ada"
	db.NoteStep(n)
	n = step("adas", "call", 1)
	n.User = "bob"
	db.NoteStep(n)
	n = step("bobs", "code", 2)
	n.User, n.Adopt = "bob", "adas"
	db.NoteStep(n)
	if got := kinds(attempt(t, db, "adas")); got != "approve×1" {
		t.Errorf("ada's attempt is %s", got)
	}
	if got := kinds(attempt(t, db, "bobs")); got != "code×1" {
		t.Errorf("bob's attempt is %s", got)
	}
}

// A connection carries the attempt that led to it, and a step that names only
// the connection finds it, also when the connection has just ended.
func TestConnectionKnowsItsAttempt(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	w := storetest.Populate(t, db, "ada", t0)
	s := w.SignIn(t, db)
	req := store.AuthRequest{Handle: store.HashSecret("h"), Session: s.Hash, Client: w.Client.ID, RedirectURI: "https://x.example/", Scopes: []store.Scope{read}, Created: t0, Expires: after(60), Attempt: "attempt"}
	wantErr(t, db.CreateAuthRequest(req), nil)
	code := store.HashSecret("code")
	if spent, err := db.Approve(store.Approval{Handle: req.Handle, Session: s.Hash, Team: w.Team.ID, Scopes: req.Scopes, Code: code, Expires: after(60)}, t0); err != nil || spent.Attempt != "attempt" {
		t.Fatalf("%+v, %v", spent, err)
	}
	for client, want := range map[store.ClientID]store.AttemptID{w.Client.ID: "attempt", "another": ""} {
		id, user, err := db.AttemptOfCode(code, client)
		if id != want || (user == w.User.ID) != (want != "") || err != nil {
			t.Errorf("the attempt of the code for %q is %q of %q, %v", client, id, user, err)
		}
	}
	g, err := db.RedeemCode(store.Redemption{Code: code, Client: w.Client.ID, RedirectURI: req.RedirectURI, Grant: "g", ClientName: "Assistant", Access: store.HashSecret("t"), Expires: after(90)}, t0)
	if err != nil || g.Attempt != "attempt" {
		t.Fatalf("%+v, %v", g, err)
	}
	db.NoteStep(store.StepNote{Grant: "g", Step: store.Step{Kind: "call", At: after(1)}})
	if a := attempt(t, db, "attempt"); kinds(a) != "call×1" || a.User != w.User.ID || a.Client != w.Client.ID || a.Team != w.Team.ID {
		t.Errorf("%+v", a)
	}
	if live, err := db.LiveGrants([]store.GrantID{"g", "none"}, t0); err != nil || len(live) != 1 || !live["g"] {
		t.Errorf("%v, %v", live, err)
	}
	named := func(when string) {
		t.Helper()
		if names, err := db.ClientNames([]store.GrantID{"g", "none"}); err != nil || names["g"] != "Assistant" || names["none"] != "" {
			t.Errorf("%s: %v, %v", when, names, err)
		}
	}
	named("live")
	wantErr(t, db.RevokeGrant("g", w.User.ID), nil)
	db.NoteStep(store.StepNote{Grant: "g", Step: store.Step{Kind: "revoke", At: after(2)}})
	db.NoteStep(store.StepNote{Grant: "unheard of", Step: store.Step{Kind: "revoke", At: after(2)}})
	if a := attempt(t, db, "attempt"); kinds(a) != "call×1 revoke×1" {
		t.Errorf("%+v", a)
	}
	if list := attempts(t, db, store.AttemptQuery{Grant: "g"}); len(list) != 1 {
		t.Errorf("%d attempts of the connection", len(list))
	}
	named("revoked")
}

// Steps are kept for 14 days each, whatever the attempt they belong to.
func TestStepsExpire(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	day := 24 * 60 * 60
	db.NoteStep(step("a", "authorize", 0))
	db.NoteStep(step("a", "call", 10*day))
	at := func(days int) string {
		t.Helper()
		now := t0.Add(time.Duration(days)*24*time.Hour + time.Hour)
		page, err := db.Attempts(store.AttemptQuery{Limit: 9}, now)
		if err != nil {
			t.Fatal(err)
		}
		read := ""
		for _, a := range page.Attempts {
			read += kinds(a)
		}
		if _, err := db.Sweep(t.Context(), now); err != nil {
			t.Fatal(err)
		}
		swept := ""
		page, err = db.Attempts(store.AttemptQuery{Limit: 9}, now)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range page.Attempts {
			swept += kinds(a)
		}
		if read != swept {
			t.Errorf("after %d days: read as %q before the sweep, %q after it", days, read, swept)
		}
		return swept
	}
	for days, want := range map[int]string{13: "authorize×1 call×1"} {
		if got := at(days); got != want {
			t.Errorf("after %d days: %q", days, got)
		}
	}
	if got := at(14); got != "call×1" {
		t.Errorf("after 14 days: %q", got)
	}
	if got := at(24); got != "" {
		t.Errorf("after 24 days: %q", got)
	}
}

func TestAttemptsArePaged(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	for i := range 25 {
		n := step(fmt.Sprintf("a%02d", i), "x", i)
		n.Visitor = fmt.Sprint(i)
		db.NoteStep(n)
	}
	var got []string
	q, pages := store.AttemptQuery{Limit: 10}, 0
	for {
		page, err := db.Attempts(q, t0)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range page.Attempts {
			got = append(got, string(a.ID))
		}
		if pages++; page.Next == "" {
			break
		}
		q.Before = page.Next
	}
	if pages != 3 || len(got) != 25 || got[0] != "a24" || got[24] != "a00" {
		t.Errorf("%d pages: %v", pages, got)
	}
	for _, odd := range []string{"!", strings.Repeat("A", 1000)} {
		_, err := db.Attempts(store.AttemptQuery{Limit: 10, Before: odd}, t0)
		wantErr(t, err, store.ErrCursor)
	}
}

// Names stand in the audit list as they were, and outlive their owners.
func TestAuditKeepsNames(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	w := storetest.Populate(t, db, "ada", t0)
	g, _ := w.Connect(t, db, read)
	db.NoteAudit(store.AuditEntry{Action: "tool", Outcome: store.AuditOK, Actor: w.User.ID, Grant: g.ID, At: t0})
	wantErr(t, db.FlushHistory(), nil)
	wantErr(t, db.DeleteUser(w.User.ID), nil)
	page, err := db.Audit(store.AuditQuery{User: w.User.ID, Limit: 10}, t0)
	if err != nil || len(page.Entries) != 1 {
		t.Fatalf("%+v, %v", page, err)
	}
	if e := page.Entries[0]; e.ActorName != "ada@example.com" || e.Client != "ada.example" || e.TeamName != "ada" || e.Team != w.Team.ID {
		t.Errorf("%+v", e)
	}
}

// A person sees what they did and what concerns them, and nothing else.
func TestAuditOfOnePerson(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	for i := range 30 {
		e := store.AuditEntry{Action: "x", Object: fmt.Sprint(i), Outcome: store.AuditOK, At: after(i)}
		switch i % 3 {
		case 0:
			e.Actor, e.Concerns = "ada", "ada"
		case 1:
			e.ActorName, e.Concerns = "command line", "ada"
		case 2:
			e.Actor = "bob"
		}
		db.NoteAudit(e)
	}
	var got []string
	q := store.AuditQuery{User: "ada", Limit: 7}
	for {
		page, err := db.Audit(q, after(100))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Entries {
			got = append(got, e.Object)
		}
		if page.Next == "" {
			break
		}
		q.Before = page.Next
	}
	if want := "28 27 25 24 22 21 19 18 16 15 13 12 10 9 7 6 4 3 1 0"; strings.Join(got, " ") != want {
		t.Errorf("ada sees %v", got)
	}
	page, err := db.Audit(store.AuditQuery{Since: after(25), Limit: 100}, after(100))
	if err != nil || len(page.Entries) != 5 || page.Next != "" {
		t.Errorf("since: %d entries, %v", len(page.Entries), err)
	}
}

// The list keeps its bounds from the old end, strangers apart from the others.
func TestAuditIsBounded(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	db.SetAuditBounds(50, 20, 10)
	for i := range 200 {
		db.NoteAudit(store.AuditEntry{Action: "x", Object: fmt.Sprint(i), Outcome: store.AuditOK, Actor: "ada", At: after(i)})
		db.NoteAudit(store.AuditEntry{Action: "y", Object: fmt.Sprint(i), Outcome: "wrong password", Stranger: true, At: after(i)})
		if i%30 == 0 {
			wantErr(t, db.FlushHistory(), nil)
		}
	}
	page, err := db.Audit(store.AuditQuery{Limit: 1000}, after(1000))
	if err != nil || len(page.Entries) != 70 {
		t.Fatalf("%d entries, %v", len(page.Entries), err)
	}
	count := map[store.AuditAction]int{}
	for _, e := range page.Entries {
		count[e.Action]++
	}
	if count["x"] != 50 || count["y"] != 20 || page.Entries[0].Object != "199" {
		t.Errorf("%v, newest %+v", count, page.Entries[0])
	}
	wantErr(t, db.Check(), nil)
}

// However many tries to sign in are refused, others' entries stay: what people
// did, what failed at other accounts, and at none.
func TestRefusedSignInsPushOutOnlyTheirOwn(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	db.SetAuditBounds(5, 20, 10)
	note := func(object string, concerns store.UserID, at int) {
		db.NoteAudit(store.AuditEntry{Action: "sign_in", Object: object, Outcome: "wrong password", Stranger: true, Concerns: concerns, At: after(at)})
	}
	for i := range 5 {
		db.NoteAudit(store.AuditEntry{Action: "x", Object: fmt.Sprint(i), Outcome: store.AuditOK, Actor: "ada", At: after(i)})
	}
	for _, concerns := range []store.UserID{"ada", "bob", ""} {
		note("early", concerns, 10)
	}
	// More than the queue holds, once a second, against one account and against none.
	for second := range 30 {
		for i := range 600 {
			note(fmt.Sprint(i), "bob", 100+second)
		}
		note("amid "+fmt.Sprint(second), "cyd", 100+second)
		wantErr(t, db.FlushHistory(), nil)
	}
	page, err := db.Audit(store.AuditQuery{Limit: 1000}, after(1000))
	wantErr(t, err, nil)
	count, lost := map[store.UserID]int{}, 0
	for _, e := range page.Entries {
		switch {
		case e.Action == store.AuditLost:
			lost++
		case e.Object == "early" && e.Concerns == "bob":
			t.Error("the flood kept what it should push out")
		default:
			count[e.Actor+e.Concerns]++
		}
	}
	if want := map[store.UserID]int{"ada": 6, "bob": 10, "cyd": 10}; !maps.Equal(count, want) || lost != 20 {
		t.Errorf("%v, want %v, and %d times that some were lost", count, want, lost)
	}
	if mine, err := db.Audit(store.AuditQuery{User: "cyd", Limit: 1000}, after(1000)); err != nil || len(mine.Entries) != 10 || mine.Entries[0].Object != "amid 29" {
		t.Errorf("%d entries, %v", len(mine.Entries), err)
	}
	wantErr(t, db.Check(), nil)
}

func TestAuditExpires(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	db.NoteAudit(store.AuditEntry{Action: "x", Outcome: store.AuditOK, At: t0})
	for _, c := range []struct {
		days, want int
	}{{89, 1}, {90, 0}} {
		now := t0.Add(time.Duration(c.days) * 24 * time.Hour)
		if page, err := db.Audit(store.AuditQuery{Limit: 10}, now); err != nil || len(page.Entries) != c.want {
			t.Errorf("after %d days: %d entries, %v", c.days, len(page.Entries), err)
		}
		if n, err := db.Sweep(t.Context(), now); err != nil || n != 1-c.want {
			t.Errorf("after %d days: swept %d, %v", c.days, n, err)
		}
	}
}

// Notes from everywhere at once, readers, and a sweep leave a sound file.
func TestHistoryInParallel(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	var group sync.WaitGroup
	for worker := range 8 {
		group.Go(func() {
			for i := range 50 {
				n := step(fmt.Sprint("a", i%10), fmt.Sprint(worker), i)
				n.User = "ada" // whose attempts have room for all forty steps
				db.NoteStep(n)
				db.NoteAudit(store.AuditEntry{Action: "x", Object: fmt.Sprint(worker, i), Outcome: store.AuditOK, At: after(i)})
				if i%10 == 0 {
					_, err := db.Attempts(store.AttemptQuery{Limit: 5}, t0)
					if err != nil {
						t.Error(err)
					}
					if _, err := db.Sweep(t.Context(), t0); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	group.Wait()
	page, err := db.Audit(store.AuditQuery{Limit: 1000}, after(1000))
	if err != nil || len(page.Entries) != 400 {
		t.Errorf("%d entries, %v", len(page.Entries), err)
	}
	total := 0
	for _, a := range attempts(t, db, store.AttemptQuery{}) {
		for _, s := range a.Steps {
			total += s.Count
		}
	}
	if total != 400 {
		t.Errorf("%d steps", total)
	}
}
