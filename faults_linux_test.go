package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"podgate/store/storetest"
)

// The power goes under a mixed load, so that the disk has what was on it at that moment.
// What was acknowledged of people, connections and pods holds, the database is whole, and
// pods come up. Of what apps wrote, files are whole, be it of before.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	storetest.OnDisk(t, 1<<30, func(disk *storetest.Disk) {
		dir := filepath.Join(disk.Dir, "data")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		c := newChaos(t, dir)
		c.loses = true
		rounds := 0
		for ; rounds < *powerCuts && !t.Failed(); rounds++ {
			c.all(actor.verify)
			c.loadUntil(func() {
				// Nothing is answered between the cut and the end.
				if err := c.srv.proc.Signal(syscall.SIGSTOP); err != nil {
					t.Fatal(err)
				}
				eventually(t, func() bool { return stopped(c.srv.proc.Pid) })
				disk.CutPower()
				c.srv.Kill()
				c.nothingRuns()
			})
			disk.MountAgain()
			c.check()
			c.start()
		}
		if !t.Failed() {
			c.finish()
		}
		t.Logf("%d rounds, %d steps answered, %d cut off", rounds, c.steps.Load(), c.cut.Load())
	})
}

func stopped(pid int) bool {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, state, _ := strings.Cut(string(raw), ") ")
	return err == nil && strings.HasPrefix(state, "T")
}

// On a disk of which each flush takes a quarter of a second, all is slow and nothing fails, and
// who only reads does not wait for who writes.
func TestSlowDisk(t *testing.T) {
	t.Parallel()
	storetest.OnDisk(t, 256<<20, func(disk *storetest.Disk) {
		srv := startProcess(t, disk.Dir)
		ada := setUp(t, srv)
		c := connect(t, srv, ada, connectOptions{})
		disk.Slow(4, srv.proc.Pid)
		written := make(chan string)
		go func() {
			code, _, errs := srv.command("team", "add", "slow")
			written <- fmt.Sprint(code, errs)
		}()
		reads := 0
		for done := false; !done; {
			select {
			case got := <-written:
				if done = true; got != "0" {
					t.Errorf("team add: %s", got)
				}
			default:
				if c.dead(t) {
					t.Fatal("the connection is dead")
				}
				reads++
			}
		}
		if reads < 10 {
			t.Errorf("%d answers while one write was waited for", reads)
		}
		again := newPerson(t, srv, ada.email)
		if page := again.signIn(again.Open(srv.Issuer)); page.Status != http.StatusOK || !page.HasButton("Sign out") {
			t.Errorf("sign-in: %d %s", page.Status, page.Text())
		}
		if other := connect(t, srv, again, connectOptions{}); other.dead(t) {
			t.Error("a new connection does not work")
		}
		if status, answer := srv.readiness(); status != http.StatusOK {
			t.Errorf("%d %+v", status, answer)
		}
		if code := srv.Stop(); code != exitDone {
			t.Errorf("the server ended with code %d\n%s", code, srv.Log)
		}
	})
}

// A file system that found an error in itself is read-only. The server says so everywhere,
// goes on with what only reads, and says at a start what is wrong. On the mended disk all
// is as it was.
func TestReadOnlyDisk(t *testing.T) {
	t.Parallel()
	storetest.OnDisk(t, 256<<20, func(disk *storetest.Disk) {
		srv := startProcess(t, disk.Dir)
		ada := setUp(t, srv)
		c := connect(t, srv, ada, connectOptions{})
		disk.Break()
		code, _, errs := srv.command("team", "add", "late")
		if want := "the disk that holds " + filepath.Join(disk.Dir, "podgate.db") + " cannot be written any more"; code == exitDone || !strings.Contains(errs, want) {
			t.Errorf("team add: %d %s", code, errs)
		}
		again := newPerson(t, srv, ada.email)
		if page := again.signIn(again.Open(srv.Issuer)); page.Status != http.StatusServiceUnavailable || !strings.Contains(page.Text(), "does not work") || strings.Contains(page.Text(), disk.Dir) {
			t.Errorf("sign-in: %d %s", page.Status, page.Text())
		}
		if srv.canRunPods() {
			if got := c.refused(t, "create_pod", args{"name": "late", "preset": "static"}); !strings.Contains(got, "does not work") {
				t.Errorf("create_pod: %s", got)
			}
		}
		if page := ada.Open(srv.Issuer + "/connections"); c.dead(t) || page.Status != http.StatusOK {
			t.Errorf("what only reads does not go on: %d %s", page.Status, page.Text())
		}
		if !srv.lacks("disk") {
			t.Error("/readyz does not say that the disk does not work")
		}
		eventually(t, func() bool { return strings.Contains(srv.Log.String(), "nothing is written any more") })
		srv.Kill()
		if code, _, errs := srv.command("serve", "--listen", "127.0.0.1:0"); code == exitDone || !strings.Contains(errs, "read-only file system") {
			t.Errorf("a start on a read-only disk: %d %s", code, errs)
		}
		disk.MountAgain()
		if code, out, errs := srv.command("check"); code != exitDone {
			t.Errorf("check: %s%s", out, errs)
		}
		srv = startProcess(t, disk.Dir)
		again = newPerson(t, srv, ada.email)
		if page := again.signIn(again.Open(srv.Issuer)); page.Status != http.StatusOK || !page.HasButton("Sign out") {
			t.Errorf("sign-in after the repair: %d %s", page.Status, page.Text())
		}
		if code := srv.Stop(); code != exitDone {
			t.Errorf("the server ended with code %d\n%s", code, srv.Log)
		}
	})
}
