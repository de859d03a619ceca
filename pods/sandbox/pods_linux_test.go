//go:build linux && (amd64 || arm64)

package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"podgate/pods"
	"podgate/store"
)

func TestPodLife(t *testing.T) {
	t.Parallel()
	r := open(t, Config{})
	if s := statusOf(t, r, "a"); s.ID != "" {
		t.Fatalf("listed before it was started: %+v", s)
	}
	if _, err := r.Dial(t.Context(), "a"); !errors.Is(err, pods.ErrNotRunning) {
		t.Errorf("dial before the first start: %v", err)
	}
	start(t, r, "a", limits)
	if got := command(t, r, "a", "echo kept > file; hostname; id -u"); got != (result{"a\n1000\n", "", 0}) {
		t.Errorf("first command: %+v", got)
	}
	started := statusOf(t, r, "a")
	start(t, r, "a", limits)
	if again := statusOf(t, r, "a"); !again.Running || again.Started != started.Started {
		t.Errorf("the second start was not idle: %+v, %+v", started, again)
	}
	for range 2 {
		if err := r.Stop(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
	}
	if s := statusOf(t, r, "a"); s.Running || s.Exit != "" || s.Enforced != nil {
		t.Errorf("after stop: %+v", s)
	}
	if _, err := r.Dial(t.Context(), "a"); !errors.Is(err, pods.ErrNotRunning) {
		t.Errorf("dial after stop: %v", err)
	}
	start(t, r, "a", limits)
	if got := command(t, r, "a", "cat file"); got.stdout != "kept\n" {
		t.Errorf("the home did not survive: %+v", got)
	}
	for range 2 {
		if err := r.Remove(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Lstat(r.folder("a")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("files after remove: %v", err)
	}
	if all, err := r.List(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("after remove: %+v, %v", all, err)
	}
}

func statusOf(t *testing.T, r *Runtime, id store.PodID) pods.Status {
	t.Helper()
	all, err := r.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		if s.ID == id {
			return s
		}
	}
	return pods.Status{}
}

func TestPodBadID(t *testing.T) {
	t.Parallel()
	r := open(t, Config{})
	for _, id := range []store.PodID{"", ".", "..", ".probe", "a/b", "../a", "a\x00b", "-a", store.PodID(strings.Repeat("a", 65))} {
		err := r.Start(t.Context(), pods.Spec{ID: id, Limits: limits}, quiet)
		if !errors.Is(err, pods.ErrBadInput) {
			t.Errorf("start of %q: %v", id, err)
		}
		if err := r.Remove(t.Context(), id); !errors.Is(err, pods.ErrBadInput) {
			t.Errorf("remove of %q: %v", id, err)
		}
	}
}

// TestPodDiesAlone ends the agent from outside, as the kernel may.
func TestPodDiesAlone(t *testing.T) {
	t.Parallel()
	r := open(t, Config{})
	start(t, r, "a", limits)
	in := r.running("a")
	if err := in.process.Kill(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	death, err := r.Ended(ctx)
	if err != nil || death.ID != "a" {
		t.Fatalf("told of %+v, %v", death, err)
	}
	if s := statusOf(t, r, "a"); !strings.Contains(s.Exit, "killed") || s.Exit != death.Reason {
		t.Errorf("status: %+v, told of %+v", s, death)
	}
	if _, err := r.Dial(t.Context(), "a"); !errors.Is(err, pods.ErrNotRunning) {
		t.Errorf("dial: %v", err)
	}
	start(t, r, "a", limits)
	if s := statusOf(t, r, "a"); !s.Running || s.Exit != "" {
		t.Errorf("after the new start: %+v", s)
	}
}

// TestPodFailedStart is no death: whoever asked has heard of it.
func TestPodFailedStart(t *testing.T) {
	t.Parallel()
	r := open(t, Config{})
	r.cfg.Binds = []string{"/home"} // which Open would refuse: it hides the pod's own home
	if err := r.Start(t.Context(), pods.Spec{ID: "a", Name: "a", Limits: limits}, quiet); err == nil {
		t.Fatal("it started")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if death, err := r.Ended(ctx); err == nil {
		t.Errorf("told of %+v", death)
	}
	if s := statusOf(t, r, "a"); s.Running || s.Exit != "" {
		t.Errorf("status: %+v", s)
	}
}

// TestPodSignals sends every signal to the first process from inside.
func TestPodSignals(t *testing.T) {
	t.Parallel()
	r := open(t, Config{})
	start(t, r, "a", limits)
	before := statusOf(t, r, "a").Started
	command(t, r, "a", `for s in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 20 21 22 24 25 26 27 29 30 31; do kill -$s 1; done`)
	if got := command(t, r, "a", "echo here"); got.stdout != "here\n" {
		t.Errorf("after the signals: %+v", got)
	}
	if s := statusOf(t, r, "a"); !s.Running || s.Started != before {
		t.Errorf("status: %+v", s)
	}
}

// TestPodEndsCompletely looks for what a pod has started, on the host.
func TestPodEndsCompletely(t *testing.T) {
	t.Parallel()
	r := open(t, Config{})
	for _, end := range []struct {
		name string
		do   func(context.Context, store.PodID) error
	}{{"stop", r.Stop}, {"remove", r.Remove}} {
		id := store.PodID(end.name)
		start(t, r, id, limits)
		mark := fmt.Sprintf("31%d%d", os.Getpid(), len(end.name))
		command(t, r, id, "(setsid sleep "+mark+" >/dev/null 2>&1 &) ; sleep 0.05")
		if n := processesWith(t, mark); n != 1 {
			t.Fatalf("%s: %d processes before", end.name, n)
		}
		if err := end.do(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		if n := processesWith(t, mark); n != 0 {
			t.Errorf("%s: %d processes after", end.name, n)
		}
	}
}

// processesWith counts the machine's processes that have this argument.
func processesWith(t *testing.T, argument string) int {
	t.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, path := range paths {
		b, _ := os.ReadFile(path) // gone
		if strings.Contains(string(b), "\x00"+argument+"\x00") {
			n++
		}
	}
	return n
}

func TestPodClose(t *testing.T) {
	t.Parallel()
	r := open(t, Config{})
	start(t, r, "a", limits)
	start(t, r, "b", limits)
	var folders []string
	for _, id := range []store.PodID{"a", "b"} {
		if in := r.running(id); in.group != nil {
			folders = append(folders, in.group.dirs()...)
		}
	}
	if r.groups != nil {
		for _, base := range r.groups.bases {
			folders = append(folders, base)
		}
	}
	for range 2 {
		if err := r.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range folders {
		if _, err := os.Stat(f); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("cgroup after close: %s, %v", f, err)
		}
	}
	if err := r.Start(t.Context(), pods.Spec{ID: "a", Limits: limits}, quiet); err == nil {
		t.Error("started after close")
	}
	if _, err := r.List(t.Context()); err == nil {
		t.Error("listed after close")
	}
	if _, err := r.Dial(t.Context(), "a"); !errors.Is(err, pods.ErrNotRunning) {
		t.Errorf("dial after close: %v", err)
	}
	again := open(t, Config{Dir: r.cfg.Dir})
	if all, err := again.List(t.Context()); err != nil || len(all) != 2 || all[0].Running || all[1].Running {
		t.Errorf("a new runtime lists %+v, %v", all, err)
	}
}

func TestPodDirInUse(t *testing.T) {
	t.Parallel()
	r := open(t, Config{})
	if second, err := Open(t.Context(), Config{Dir: r.cfg.Dir}); err == nil {
		second.Close(t.Context())
		t.Error("two runtimes have the same folder")
	} else if !strings.Contains(err.Error(), "another podgate") {
		t.Error(err)
	}
}

// TestPodServerKilled starts a pod from another process, kills that, and looks
// what is left.
func TestPodServerKilled(t *testing.T) {
	t.Parallel()
	if dir := os.Getenv(killedServer); dir != "" {
		r := open(t, Config{Dir: dir})
		start(t, r, "a", limits)
		mark := os.Getenv(killedServer + "_MARK")
		command(t, r, "a", "(setsid sleep "+mark+" >/dev/null 2>&1 &) ; echo file > file")
		fmt.Println("ready")
		select {} // until it is killed
	}
	r := open(t, Config{})
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	mark := "32" + strconv.Itoa(os.Getpid())
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestPodServerKilled$")
	cmd.Env = append(os.Environ(), killedServer+"="+r.cfg.Dir, killedServer+"_MARK="+mark)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	words := make([]byte, 256)
	for said := ""; !strings.Contains(said, "ready"); {
		n, err := out.Read(words)
		if said += string(words[:n]); err != nil {
			t.Fatalf("the server said %q, %v", said, err)
		}
	}
	eventually(t, "the process in the pod", func() bool { return processesWith(t, mark) == 1 })
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the pod to end with its server", func() bool { return processesWith(t, mark) == 0 })
	var again *Runtime
	eventually(t, "the folder to be free", func() bool {
		again, err = Open(t.Context(), Config{Dir: r.cfg.Dir})
		return err == nil
	})
	defer again.Close(context.Background())
	if s := statusOf(t, again, "a"); s.ID != "a" || s.Running {
		t.Errorf("status: %+v", s)
	}
	start(t, again, "a", limits)
	if got := command(t, again, "a", "cat file"); got.stdout != "file\n" {
		t.Errorf("the home did not survive: %+v", got)
	}
}

// TestLockWhileStarting keeps a copy of the lock's descriptor open, as a
// process does between its fork and its exec.
func TestLockWhileStarting(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	held, err := lockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	inherited, err := unix.Dup(int(held.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(inherited)
	if err := unlockDir(held); err != nil {
		t.Fatal(err)
	}
	again, err := lockDir(dir)
	if err != nil {
		t.Fatalf("after the first let go: %v", err)
	}
	if err := unlockDir(again); err != nil {
		t.Error(err)
	}
}

const killedServer = "PODGATE_TEST_KILLED_SERVER"

// TestPodCrowd does everything at once with one pod.
func TestPodCrowd(t *testing.T) {
	t.Parallel()
	r := open(t, Config{Log: slog.New(slog.DiscardHandler)})
	var wg sync.WaitGroup
	for i := range 24 {
		wg.Go(func() {
			var err error
			switch i % 6 {
			case 0, 1:
				err = r.Start(t.Context(), pods.Spec{ID: "a", Name: "a", Limits: limits}, quiet)
			case 2:
				err = r.Stop(t.Context(), "a")
			case 3:
				err = r.Remove(t.Context(), "a")
			case 4:
				// Any answer will do: the pod may end at any time.
				_, _ = tryCommand(t.Context(), r, "a", "true")
			case 5:
				_, err = r.List(t.Context())
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	start(t, r, "a", limits)
	if got := command(t, r, "a", "echo well"); got.stdout != "well\n" {
		t.Errorf("after the crowd: %+v", got)
	}
}

func TestPodMany(t *testing.T) {
	t.Parallel()
	r := open(t, Config{})
	const n = 20
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			id := store.PodID(fmt.Sprint("p", i))
			if err := r.Start(t.Context(), pods.Spec{ID: id, Number: i + 1, Name: string(id), Limits: limits}, quiet); err != nil {
				t.Error(err)
				return
			}
			got, err := tryCommand(t.Context(), r, id, "hostname; echo "+string(id)+" > file; cat file")
			if err != nil || got.stdout != string(id+"\n"+id+"\n") {
				t.Errorf("%s: %+v, %v", id, got, err)
			}
		})
	}
	wg.Wait()
	all, err := r.List(t.Context())
	if err != nil || len(all) != n {
		t.Fatalf("%d pods, %v", len(all), err)
	}
	uids := map[int]bool{}
	for _, s := range all {
		info, err := os.Stat(filepath.Join(r.folder(s.ID), "home"))
		if err != nil || !s.Running {
			t.Fatalf("%+v, %v", s, err)
		}
		uids[int(info.Sys().(*syscall.Stat_t).Uid)] = true
		if info.Mode().Perm() != 0o700 {
			t.Errorf("the home of %s has mode %o", s.ID, info.Mode().Perm())
		}
	}
	if want := map[bool]int{true: n, false: 1}[r.root]; len(uids) != want {
		t.Errorf("%d host uids for %d pods, want %d", len(uids), n, want)
	}
}

// TestPodCancelled gives up while the pod starts.
func TestPodCancelled(t *testing.T) {
	t.Parallel()
	r := open(t, Config{})
	for wait := time.Duration(0); wait < 12*time.Millisecond; wait += time.Millisecond {
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		err := r.Start(ctx, pods.Spec{ID: "a", Name: "a", Limits: limits}, quiet)
		cancel()
		if err == nil {
			break // this machine is quick
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("after %v: %v", wait, err)
		}
		if s := statusOf(t, r, "a"); s.Running {
			t.Errorf("after %v it runs", wait)
		}
	}
	start(t, r, "a", limits)
}

// TestPodDialContext bounds a dial whose pod does not take streams.
func TestPodDialContext(t *testing.T) {
	t.Parallel()
	c, theirs, err := newControl()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	defer theirs.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	for i := 0; ; i++ {
		conn, err := c.dial(ctx)
		if errors.Is(err, context.DeadlineExceeded) {
			break
		}
		if err != nil || i > 10000 {
			t.Fatalf("dial %d: %v", i, err)
		}
		conn.Close()
	}
	theirs.Close()
	// A process that another test starts just now may hold a copy for a moment.
	eventually(t, "a dead pod is noticed", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		conn, err := c.dial(ctx)
		if err == nil {
			conn.Close()
		}
		return errors.Is(err, pods.ErrNotRunning)
	})
}

// TestPodStubbornFiles removes what a pod has made hard to remove.
func TestPodStubbornFiles(t *testing.T) {
	t.Parallel()
	r := open(t, Config{})
	start(t, r, "a", limits)
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.WriteFile(outside, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	got := command(t, r, "a", "mkdir -p shut/in/deep && touch shut/in/deep/file && ln -s "+filepath.Dir(outside)+" shut/link && chmod 0 shut/in/deep shut/in shut && chmod 0 .")
	if got.code != 0 {
		t.Fatalf("%+v", got)
	}
	if err := r.Remove(t.Context(), "a"); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(r.folder("a")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("files after remove: %v", err)
	}
	if _, err := os.Lstat(outside); err != nil {
		t.Errorf("a link was followed: %v", err)
	}
}

// TestDeepFiles removes a tree with more folders in each other than there are
// descriptors, in a process of its own that has few.
func TestDeepFiles(t *testing.T) {
	t.Parallel()
	const mark = "PODGATE_TEST_FEW_DESCRIPTORS"
	if os.Getenv(mark) == "" {
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestDeepFiles$")
		cmd.Env = append(os.Environ(), mark+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	path := filepath.Join(t.TempDir(), "tree")
	if err := os.MkdirAll(path+strings.Repeat("/d", 300), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 64, Max: 64}); err != nil {
		t.Fatal(err)
	}
	if err := removeTree(path); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after removing: %v", err)
	}
}

// TestPodDescriptors counts the server's descriptors around a pod's life.
func TestPodDescriptors(t *testing.T) {
	if os.Getenv(killedServer) != "" {
		t.Skip("this process is only a server to be killed")
	}
	r := open(t, Config{})
	count := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	start(t, r, "a", limits)
	if err := r.Stop(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	before := count()
	for range 3 {
		start(t, r, "a", limits)
		command(t, r, "a", "true")
		if err := r.Stop(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
	}
	// A connection's end is closed by the goroutine that reads it.
	eventually(t, fmt.Sprintf("%d descriptors as before", before), func() bool { return count() <= before })
}

func TestPodStream(t *testing.T) {
	t.Parallel()
	r := open(t, Config{})
	start(t, r, "a", limits)
	conn, err := r.Dial(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := r.Stop(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(40 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a stream into a stopped pod: %v", err)
	}
}
