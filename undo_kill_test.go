package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var kills = flag.Int("kills", 1, "how often TestKillWhileUndoing and TestKillWhileBackingUp kill the server at each of what they do")

// A server that is killed at any moment of a snapshot, a restore, a clone, a delete or
// an undelete comes up with a database that is whole and with pods that are: what they
// hold is all of before or all of after, and of snapshots there are those that are listed.
func TestKillWhileUndoing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	srv := startProcess(t, dir)
	needSandbox(t, srv)
	u := &undoing{t: t, dir: dir, srv: srv, moments: moments{}}
	u.must("team", "add", "ann")
	for _, word := range []string{"one", "two"} {
		folder := t.TempDir()
		for i := range 80 {
			write(t, folder, map[string]string{fmt.Sprintf("%d/part-%d.txt", i%9, i): word + strings.Repeat(" ", 2000) + "\n"})
		}
		write(t, folder, map[string]string{"index.html": word})
		u.must("pod", "deploy", folder, "--name", "shop")
		u.must("pod", "snapshot", "shop", "--note", word)
	}
	u.look("at first")
	for i := range *kills {
		u.killed("snapshot", "pod", "snapshot", "shop", "--note", "kept")
		for _, s := range u.snapshots() {
			if s.Note == "kept" { // it would push out the others in the end
				u.must("pod", "snapshots", "shop", "--delete", s.ID)
			}
		}
		word := []string{"one", "two"}[i%2]
		if u.killed("restore", "pod", "restore", "shop", u.noted(word)) && u.held != word {
			t.Errorf("it was answered that %s is restored, and there is %s", word, u.held)
		}
		u.killed("clone", "pod", "clone", "shop", "twin")
		if u.there("twin") {
			u.must("pod", "delete", "twin", "--yes")
			u.must("pod", "undelete", "twin", "--for-good", "--yes")
		} else {
			u.must("pod", "create", "twin", "--preset", "static") // the name is free
			u.must("pod", "delete", "twin", "--yes")
			u.must("pod", "undelete", "twin", "--for-good", "--yes")
		}
		u.killed("delete", "pod", "delete", "shop", "--yes")
		if u.there("shop") {
			u.must("pod", "delete", "shop", "--yes")
		}
		u.killed("undelete", "pod", "undelete", "shop")
		if !u.there("shop") {
			u.must("pod", "undelete", "shop")
		}
		u.look("at the end")
	}
	if code := u.srv.Stop(); code != exitDone { // which takes away its cgroups
		t.Errorf("the server ended with code %d\n%s", code, u.srv.Log)
	}
	t.Logf("%d kills at each of %s", *kills, u.moments)
}

// moments are the spans in which something is killed: as long as it took last, since the
// machine is sometimes busy and sometimes not.
type moments map[string]*struct {
	span time.Duration
	cut  int // how often it did not come to its end
}

// next is how long after its beginning something is to be killed. ended hears of each
// whether it came to its end first, and when.
func (m moments) next(what string) (after time.Duration, ended func(bool, time.Duration)) {
	is := m[what]
	if is == nil {
		is = &struct {
			span time.Duration
			cut  int
		}{span: 700 * time.Millisecond}
		m[what] = is
	}
	return rand.N(is.span), func(done bool, took time.Duration) {
		if is.span += is.span / 4; done {
			is.span = max(took, time.Millisecond)
		} else {
			is.cut++
		}
	}
}

func (m moments) String() string {
	var list []string
	for _, what := range slices.Sorted(maps.Keys(m)) {
		list = append(list, fmt.Sprintf("%s (%d before its end)", what, m[what].cut))
	}
	return strings.Join(list, ", ")
}

// undoing is a server that is killed again and again.
type undoing struct {
	t    *testing.T
	dir  string
	srv  *testServer
	held string // the word that all files of the pod have
	moments
}

func (u *undoing) must(args ...string) string {
	u.t.Helper()
	code, out, errs := u.srv.command(args...)
	if code != exitDone {
		u.t.Fatalf("podgate %s: %s%s", strings.Join(args, " "), out, errs)
	}
	return out
}

// killed gives a command and kills the server meanwhile, starts another and looks. It
// reports whether the command was answered that it is done.
func (u *undoing) killed(what string, args ...string) bool {
	u.t.Helper()
	answered := make(chan int, 1)
	go func() {
		code, _, _ := u.srv.command(args...)
		answered <- code
	}()
	after, ended := u.next(what)
	began, timer := time.Now(), time.NewTimer(after)
	defer timer.Stop()
	code, late := exitFailed, false
	select {
	case code = <-answered:
		late = true
	case <-timer.C:
	}
	ended(late, time.Since(began))
	u.srv.Kill()
	if !late {
		code = <-answered
	}
	eventually(u.t, func() bool {
		code, out, errs := u.srv.command("check")
		if code != exitDone && !strings.Contains(errs, "connection reset") { // as in TestKillWhileAPodIsMade
			u.t.Fatalf("killed at %s: %s%s", what, out, errs)
		}
		return code == exitDone
	})
	u.srv = startProcess(u.t, u.dir)
	u.look(fmt.Sprintf("after a kill at %s, answered %v", what, code == exitDone))
	return code == exitDone
}

func (u *undoing) there(name string) bool {
	u.t.Helper()
	for line := range strings.Lines(u.must("pod", "list")) {
		if strings.HasPrefix(line, name+" ") {
			return true
		}
	}
	return false
}

type listedSnapshot struct{ ID, Note string }

func (u *undoing) snapshots() (list []listedSnapshot) {
	u.t.Helper()
	var answer struct{ Snapshots []listedSnapshot }
	if err := json.Unmarshal([]byte(u.must("pod", "snapshots", "shop", "--json")), &answer); err != nil {
		u.t.Fatal(err)
	}
	return answer.Snapshots
}

// noted is the snapshot with a note.
func (u *undoing) noted(note string) string {
	u.t.Helper()
	for _, s := range u.snapshots() {
		if s.Note == note {
			return s.ID
		}
	}
	u.t.Fatalf("there is no snapshot of %s", note)
	return ""
}

// look waits until all pods that are there are whole, and snapshots are what is listed.
func (u *undoing) look(when string) {
	u.t.Helper()
	said, began := "", time.Now()
	defer func() { u.t.Logf("%s: %s (%v)", when, said, time.Since(began)) }()
	for _, name := range []string{"shop", "twin"} {
		eventually(u.t, func() bool {
			if !u.there(name) {
				return true
			}
			code, out, errs := runCommand("pod", "exec", "--data", u.dir, name, "--", "sh", "-c", "cat */part-*.txt index.html | tr -d ' ' | sort | uniq -c")
			said = fmt.Sprintf("%s has %d %q%s", name, code, out, errs)
			fields := strings.Fields(out)
			whole := code == exitDone && len(fields) == 4 && fields[0] == "80" && fields[1] == fields[3] || len(fields) == 2 && fields[0] == "81"
			if whole && name == "shop" {
				u.held = fields[1]
			}
			return whole
		})
	}
	eventually(u.t, func() bool {
		var here, deleted []struct{ Name string }
		for into, args := range map[*[]struct{ Name string }][]string{&here: {"pod", "list", "--json"}, &deleted: {"pod", "undelete", "--json"}} {
			if err := json.Unmarshal([]byte(u.must(args...)), into); err != nil {
				u.t.Fatal(err)
			}
		}
		homes, err := filepath.Glob(filepath.Join(u.dir, "pods", "[^.]*"))
		aside, aerr := filepath.Glob(filepath.Join(u.dir, "pods", "*", ".fill"))
		said = fmt.Sprintf("%v are there and %v deleted, %q and %q on the disk, %v %v", here, deleted, homes, aside, err, aerr)
		return len(homes) == len(here)+len(deleted) && len(aside) == 0
	})
	if !u.there("shop") {
		return
	}
	eventually(u.t, func() bool {
		list := u.snapshots()
		found, err := filepath.Glob(filepath.Join(u.dir, "pods", ".snapshots", "*", "*"))
		hidden, herr := filepath.Glob(filepath.Join(u.dir, "pods", ".snapshots", "*", ".*"))
		said = fmt.Sprintf("%v listed, %q and %q on the disk, %v %v", list, found, hidden, err, herr)
		return len(list) == len(found) && len(hidden) == 0
	})
}
