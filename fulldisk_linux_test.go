package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"podgate/store/storetest"
)

// On a full disk the server says so, and what takes away works. Room again, and
// all is as before.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	storetest.OnSmallDisk(t, "192m", func(dir string) {
		srv := startServerIn(t, dir)
		ada := setUp(t, srv)
		c := connect(t, srv, ada, connectOptions{})
		if srv.canRunPods() {
			c.call(t, "create_pod", args{"name": "doomed", "preset": "static"})
		}
		if srv.lacks("disk") {
			t.Error("the disk is called full and is not")
		}
		filler := filepath.Join(dir, "filler")
		fillDatabase(t, srv, filler)
		if !srv.lacks("disk") {
			t.Error("/readyz does not say that the disk is full")
		}
		saysDiskFull(t, srv, c)
		takesAway(t, srv, ada, c)
		exhaustReserve(t, srv, filler)

		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() bool { status, _ := srv.readiness(); return status == http.StatusOK || !srv.lacks("disk") })
		if info, err := os.Stat(filepath.Join(dir, "podgate.db.reserve")); err != nil || info.Size() != 4<<20 {
			t.Errorf("the reserve is not there again: %v, %v", info, err)
		}
		again := newPerson(t, srv, ada.email)
		if page := again.signIn(again.Open(srv.Issuer)); page.Status != http.StatusOK || !page.HasButton("Sign out") {
			t.Errorf("sign-in with room again: %d %s", page.Status, page.Text())
		}
		if c := connect(t, srv, again, connectOptions{}); c.dead(t) {
			t.Error("a new connection does not work")
		}
		if code, out, errs := srv.command("check"); code != exitDone {
			t.Errorf("check: %s%s", out, errs)
		}
	})
}

// fillDatabase fills the disk, and then the room that the file has in itself.
func fillDatabase(t *testing.T, srv *testServer, filler string) {
	t.Helper()
	failed := 0
	for n := 0; failed < 5; n++ {
		storetest.FillDisk(t, filler)
		code, _, errs := srv.command("team", "add", fmt.Sprint("team-", n))
		switch {
		case code == exitDone && n < 2000:
			failed = 0
		case code != exitDone && strings.Contains(errs, "the disk that holds "+filepath.Join(srv.DataDir, "podgate.db")+" is full"):
			failed++
		default:
			t.Fatalf("team %d: %d %s", n, code, errs)
		}
	}
}

// saysDiskFull holds the words of pages, tools and commands against what is wrong.
func saysDiskFull(t *testing.T, srv *testServer, c *connection) {
	t.Helper()
	const words = "disk that holds podgate's database is full"
	said := false
	for range 40 { // each that works uses some of the room up
		other := newPerson(t, srv, "ada@example.com")
		page := other.signIn(other.Open(srv.Issuer))
		if said = page.Status == http.StatusInsufficientStorage && strings.Contains(page.Text(), words); said {
			if strings.Contains(page.Text(), srv.DataDir) {
				t.Errorf("the page names a path: %s", page.Text())
			}
			break
		}
	}
	if !said {
		t.Error("sign-in does not say that the disk is full")
	}
	if !srv.canRunPods() {
		return
	}
	if got := c.refused(t, "create_pod", args{"name": "late", "preset": "static"}); !strings.Contains(got, words) && !strings.Contains(got, "MiB left") {
		t.Errorf("create_pod: %s", got)
	}
}

// takesAway ends a pod, a connection and a session.
func takesAway(t *testing.T, srv *testServer, ada *person, c *connection) {
	t.Helper()
	if srv.canRunPods() {
		c.call(t, "manage_pod", args{"name": "doomed", "action": "delete", "confirm": "doomed"})
	}
	if page := ada.Open(srv.Issuer+"/connections").Follow("Revoke “End to end” at 127.0.0.1, team Home").Press("Revoke", nil); page.Status != http.StatusOK {
		t.Errorf("revoke: %d %s", page.Status, page.Text())
	}
	if !c.dead(t) {
		t.Error("the revoked connection lives")
	}
	if page := ada.Open(srv.Issuer).Press("Sign out", nil); page.Status != http.StatusOK || page.HasButton("Sign out") {
		t.Errorf("sign out: %d %s", page.Status, page.Text())
	}
	if page := ada.Open(srv.Issuer); !page.HasButton("Sign in") {
		t.Errorf("after signing out: %s", page.Text())
	}
}

// exhaustReserve takes the room of the reserve too, as a hostile neighbour would:
// all that adds is refused, in the words of the protocol.
func exhaustReserve(t *testing.T, srv *testServer, filler string) {
	t.Helper()
	if err := os.Remove(filepath.Join(srv.DataDir, "podgate.db.reserve")); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	storetest.FillDisk(t, filler)
	// What was taken away has made room in the file, for more registrations than one
	// address may have.
	for n := range 2000 {
		if code, _, _ := srv.command("team", "add", fmt.Sprint("more-", n)); code != exitDone {
			break
		}
	}
	eventually(t, func() bool {
		resp, err := http.Post(srv.URL+"/api/oauth/register", "application/json", strings.NewReader(`{"redirect_uris":["http://127.0.0.1/callback"]}`))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var answer struct {
			Error string `json:"error"`
		}
		if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode == http.StatusServiceUnavailable && answer.Error == "temporarily_unavailable"
	})
}
