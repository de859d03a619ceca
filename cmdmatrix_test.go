package main

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"podgate/store"
)

// callers are those who give every command for pods through a login of their own, by
// what they are to the team of the pod shop.
var callers = []string{"owner", "member", "viewer", "foreign", "removed"}

// What a command comes to. In the matrix pods are of a region that the server does not
// have, so what is allowed goes as far as that.
const (
	allowed  = "allowed"
	looksOn  = "only looks in this team (viewer)"
	hidden   = "pod not found: "
	taken    = "name is taken: " // addresses are everybody's to see
	loggedIn = "does not know this login any more"
	atServer = "no podgate database" // for the server's machine only
)

var (
	reads   = [5]string{allowed, allowed, allowed, hidden, loggedIn}
	changes = [5]string{allowed, allowed, looksOn, hidden, loggedIn}
	local   = [5]string{atServer, atServer, atServer, atServer, atServer}
)

// commandRights are what the commands answer the callers, in their order.
var commandRights = []struct {
	line string
	want [5]string
}{
	{"pod list", [5]string{allowed, allowed, allowed, allowed, loggedIn}},
	{"pod show shop", reads},
	{"pod deploys shop", reads},
	{"pod env shop", reads},
	{"pod logs shop", reads},
	{"pod jobs shop", reads},
	{"pod job shop 7wq2mz4k", reads},
	{"pod ls shop", reads},
	{"pod search shop words", reads},
	{"pod cp shop:note HERE", reads},
	{"pod create new --region nowhere", [5]string{allowed, allowed, looksOn, allowed, loggedIn}},
	{"pod deploy FOLDER --name shop", [5]string{allowed, allowed, looksOn, taken, loggedIn}},
	{"pod start shop", changes},
	{"pod stop shop", changes},
	{"pod restart shop", changes},
	{"pod reload shop", changes},
	{"pod rollback shop", changes},
	{"pod env shop KEY=value", changes},
	{"pod exec shop true", changes},
	{"pod job-stop shop 7wq2mz4k", changes},
	{"pod cp FOLDER/note shop:note", changes},
	{"pod mv shop a b", changes},
	{"pod rm shop a", changes},
	{"pod delete shop --yes", changes},
	{"pod snapshots shop", reads},
	{"pod snapshot shop", changes},
	{"pod restore shop absent", changes},
	{"pod clone shop shop", [5]string{allowed, allowed, looksOn, hidden, loggedIn}},
	{"pod plan shop medium", changes},
	{"pod undelete shop", local},
	{"pod export shop HERE", local},
	{"pod import FOLDER/note", local},
	{"pod use shop", local},
	{"pod network shop --mode none", local},
}

// Every command for pods answers everybody who logged in as the table says: the full
// product. What is refused changes nothing.
func TestRoleMatrixOfCommands(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	craftShop(t, data)
	srv := startServerIn(t, data)
	setUp(t, srv)
	logins := map[string]giver{}
	for _, name := range callers {
		logins[name] = logInAs(t, srv, name)
	}
	here := onMachine(t, srv)
	here.must("team member role makers owner@example.com owner")
	here.must("team member role makers viewer@example.com viewer")
	here.must("team member remove makers removed@example.com")

	folder := t.TempDir()
	write(t, folder, map[string]string{"index.html": "x", "note": "x"})
	tried := map[string]bool{}
	for _, c := range commandRights {
		tried[strings.Join(strings.Fields(c.line)[:2], " ")] = true
		for i, caller := range callers {
			line := strings.NewReplacer("FOLDER", folder, "HERE", filepath.Join(t.TempDir(), "x")).Replace(c.line)
			code, out, errs := logins[caller].give("", line)
			if got := cameTo(code, errs); got != c.want[i] {
				t.Errorf("podgate %s by %s comes to %q, want %q: %d %s%s", line, caller, got, c.want[i], code, out, errs)
			}
			if (c.want[i] != allowed || caller == "foreign") && strings.Contains(out, "shop") {
				t.Errorf("podgate %s tells %s: %s", line, caller, out)
			}
		}
	}
	for _, leaf := range leaves(commands(process{})) {
		if name := nameOf(leaf); strings.HasPrefix(name, "pod ") && !tried[name] {
			t.Errorf("podgate %s has no row in the table", name)
		}
	}
	if got := here.must("pod env shop"); got != "KEPT\n" {
		t.Errorf("the pod's variables at the end: %q", got)
	}
}

// craftShop makes the pod shop of the team makers in a database that no server has
// opened, in a region that none will have.
func craftShop(t *testing.T, data string) {
	t.Helper()
	giver{t: t, more: []string{"--data", data}}.must("team add makers")
	db, err := store.Open(filepath.Join(data, "podgate.db"))
	if err != nil {
		t.Fatal(err)
	}
	team, err := db.TeamBySlug("makers")
	if err != nil {
		t.Fatal(err)
	}
	p := store.Pod{
		ID: "crafted", Name: "shop", Team: team.ID, Preset: "static", Plan: "small", Region: "elsewhere", Want: store.WantStopped,
		Env: map[string]string{"KEPT": "x"}, Created: time.Now(),
	}
	if err := db.CreatePod(p, p.Created, func([]store.Pod) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// logInAs makes a person and a login of theirs: for the team makers, but for the
// foreigner, who has a team of their own.
func logInAs(t *testing.T, srv *testServer, name string) giver {
	t.Helper()
	g, p := elsewhere(t), newPerson(t, srv, name+"@example.com")
	add := "user add --password-stdin " + p.email
	if name == "foreign" {
		onMachine(t, srv).must("team add others")
		add += " --team others"
	} else {
		add += " --team makers"
	}
	if code, out, errs := onMachine(t, srv).give(p.password+"\n", add); code != exitDone {
		t.Fatal(code, out, errs)
	}
	if code, out, errs := g.logIn(p, srv.Issuer, connectOptions{}, false); code != exitDone {
		t.Fatal(code, out, errs)
	}
	return g
}

// cameTo reads what a command came to.
func cameTo(code int, errs string) string {
	for _, words := range []string{looksOn, hidden, taken, loggedIn, atServer} {
		if strings.Contains(errs, words) {
			return words
		}
	}
	if code == exitDone || strings.Contains(errs, "unknown region: ") {
		return allowed
	}
	return "something else"
}
