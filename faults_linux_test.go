package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

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

// A server that may open no more files goes on with those who are connected, says in the
// log which limit it met, and lets others in as soon as it can.
func TestFewDescriptors(t *testing.T) {
	t.Parallel()
	srv := startProcess(t, t.TempDir())
	ada := setUp(t, srv)
	c := connect(t, srv, ada, connectOptions{})
	c.dead(t) // and keeps its connection to the server
	folder := fmt.Sprintf("/proc/%d/fd", srv.proc.Pid)
	open, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	var usual unix.Rlimit
	if err := unix.Prlimit(srv.proc.Pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(len(open) + 4), Max: 1024}, &usual); err != nil {
		t.Fatal(err)
	}
	var held []net.Conn
	for range 32 {
		conn, err := net.Dial("tcp", strings.TrimPrefix(srv.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		held = append(held, conn)
	}
	eventually(t, func() bool { return strings.Contains(srv.Log.String(), "raise the limit (LimitNOFILE") })
	if c.dead(t) {
		t.Error("who was connected is not answered")
	}
	for _, conn := range held {
		conn.Close()
	}
	again := newPerson(t, srv, ada.email)
	if page := again.signIn(again.Open(srv.Issuer)); page.Status != http.StatusOK || !page.HasButton("Sign out") {
		t.Errorf("sign-in with descriptors again: %d %s", page.Status, page.Text())
	}
	if code := srv.Stop(); code != exitDone {
		t.Errorf("the server ended with code %d\n%s", code, srv.Log)
	}
}

// In as little memory as the documents name, many sign-ins at once bring no server to the
// end that the kernel has for those who take more.
func TestLittleMemory(t *testing.T) {
	t.Parallel()
	group, limit, events := memoryGroup(t)
	if err := os.WriteFile(filepath.Join(group, limit), fmt.Append(nil, leastMemory), 0); err != nil {
		t.Fatal(err)
	}
	srv := newTestServer(t, t.TempDir())
	srv.program = filepath.Join(t.TempDir(), "podgate-in-a-group")
	program, err := exec.LookPath("podgate")
	if err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf("#!/bin/sh\necho $$ >%s/cgroup.procs && exec %s \"$@\"\n", group, program)
	if err := os.WriteFile(srv.program, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	srv.launch(testEnv(), srv.Stdout, srv.Log, srv.args([]string{`trusted_proxies = ["127.0.0.0/8"]`}))
	srv.waitReady()
	ada := setUp(t, srv)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			p := newPerson(t, srv, ada.email)
			if page := p.signIn(p.Open(srv.Issuer)); page.Status != http.StatusOK || !page.HasButton("Sign out") {
				t.Errorf("sign-in: %d %s", page.Status, page.Text())
			}
		})
	}
	all.Wait()
	if c := connect(t, srv, ada, connectOptions{}); c.dead(t) {
		t.Error("a connection does not work")
	}
	if code := srv.Stop(); code != exitDone {
		t.Errorf("the server ended with code %d\n%s", code, srv.Log)
	}
	if raw, err := os.ReadFile(filepath.Join(group, events)); err != nil || !regexp.MustCompile(`(?m)^oom_kill 0$`).Match(raw) {
		t.Errorf("%s, %v", raw, err)
	}
}

// memoryGroup makes a cgroup whose memory can be limited, by that file, and in which
// another tells how often the kernel ended a process for want of it.
func memoryGroup(t *testing.T) (folder, limit, events string) {
	t.Helper()
	folder, limit, events = "/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.oom_control"
	if _, err := os.Stat(folder); err != nil {
		folder, limit, events = "/sys/fs/cgroup", "memory.max", "memory.events"
	}
	folder = filepath.Join(folder, fmt.Sprint("podgate-test-memory-", os.Getpid()))
	err := os.Mkdir(folder, 0o755)
	if err == nil {
		_, err = os.Stat(filepath.Join(folder, limit))
	}
	if err != nil {
		_ = os.Remove(folder) // made or not
		t.Skipf("skipped: no cgroup can be made in which memory is limited: %v", err)
	}
	t.Cleanup(func() {
		eventually(t, func() bool { return os.Remove(folder) == nil })
	})
	return folder, limit, events
}
