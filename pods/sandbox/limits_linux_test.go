//go:build linux && (amd64 || arm64)

package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"podgate/internal/authz"
	"podgate/pods"
	"podgate/pods/agent"
	"podgate/pods/podstest"
	"podgate/store"
	"podgate/store/storetest"
)

// small are limits for the tests that break them. Under the race detector the
// agent alone is larger than the smallest plan.
var small = pods.Limits{Memory: 192 << 20, CPUs: 2, Disk: 64 << 20, Processes: 40}

func TestPodEnforced(t *testing.T) {
	t.Parallel()
	r := open(t, Config{})
	start(t, r, "a", small)
	got := statusOf(t, r, "a").Enforced
	want := []string{"memory (cgroup v", "cpus (cgroup v", "processes (cgroup v", "disk (measured"}
	if r.groups == nil {
		want = []string{"memory (summed", "processes (RLIMIT_NPROC", "disk (measured"}
	}
	if !slices.EqualFunc(got, want, strings.HasPrefix) {
		t.Errorf("enforced %q, want %q", got, want)
	}
	if g := r.running("a").group; g != nil {
		for controller, file := range map[string]string{"memory": "memory.limit_in_bytes", "pids": "pids.max", "cpu": "cpu.cfs_quota_us"} {
			if g.h.version == 1 {
				value, err := g.h.fs.read(filepath.Join(g.h.bases[controller], "a", file))
				if want := map[string]string{"memory": "201326592", "pids": "72", "cpu": "200000"}[controller]; err != nil || value != want {
					t.Errorf("%s holds %q, %v, want %s", file, value, err, want)
				}
			}
		}
	}
}

func TestPodMemoryBomb(t *testing.T) {
	t.Parallel()
	r := open(t, Config{})
	start(t, r, "a", small)
	before := statusOf(t, r, "a").Started
	got := command(t, r, "a", "head -c 300M /dev/zero | tail | wc -c")
	if strings.Contains(got.stdout, "314572800") {
		t.Errorf("a program took more than the pod's memory: %+v", got)
	}
	if got := command(t, r, "a", "echo here"); got.stdout != "here\n" {
		t.Errorf("after the bomb: %+v", got)
	}
	if s := statusOf(t, r, "a"); !s.Running || s.Started != before {
		t.Errorf("the agent did not survive: %+v", s)
	}
}

// How an app ended for its limit is told from outside, also when it runs again.
func TestPodLastExit(t *testing.T) {
	t.Parallel()
	r := open(t, Config{})
	db := storetest.New(t)
	w := storetest.Populate(t, db, "ann", time.Now())
	ann := authz.Person(w.User.ID, store.Membership{Team: w.Team, Role: store.RoleOwner})
	s := podstest.ServiceOver(t, db, r, func(c *pods.Config) { c.Plans = []pods.Plan{{Name: "small", Limits: small}} })
	if _, err := s.Create(t.Context(), ann, pods.CreateRequest{Name: "shop", Preset: "command"}, nil); err != nil {
		t.Fatal(err)
	}
	bomb := "web: test -e once && exec sleep 1000; touch once; x=$(head -c 400M /dev/zero | tr '\\0' x); exit 3\n"
	if _, err := s.WriteFile(t.Context(), ann, "shop", "Procfile", []byte(bomb), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Reload(t.Context(), ann, "shop", nil); err != nil {
		t.Fatal(err)
	}
	var p pods.Pod
	eventually(t, "the reason of the last exit", func() (ok bool) {
		p, _ = s.Get(t.Context(), ann, "shop")
		return p.Restarts == 1 && strings.Contains(p.LastExit.Reason, "out of memory: the limit is 192 MiB")
	})
	if time.Since(p.LastExit.At) > time.Minute {
		t.Errorf("when: %v", p.LastExit.At)
	}
	// So is how a command ended, and of one that was killed by somebody else nothing is.
	out, err := s.Exec(t.Context(), ann, "shop", pods.ExecRequest{Command: "x=$(head -c 400M /dev/zero | tr '\\0' x)"}, nil)
	if err != nil || out.Code != 137 || !strings.Contains(out.Limit, "out of memory: the limit is 192 MiB") {
		t.Errorf("%+v, %v", out, err)
	}
	if out, err = s.Exec(t.Context(), ann, "shop", pods.ExecRequest{Command: "kill -9 $$"}, nil); err != nil || out.Code != 137 || out.Limit != "" {
		t.Errorf("%+v, %v", out, err)
	}
}

func TestPodForkBomb(t *testing.T) {
	t.Parallel()
	r := open(t, Config{})
	start(t, r, "a", small)
	got := command(t, r, "a", `n=0; while [ $n -lt 200 ]; do n=$((n+1)); sleep 30 >/dev/null 2>&1 & done; echo survived`)
	if strings.Contains(got.stdout, "survived") && !strings.Contains(got.stderr, "fork") {
		t.Errorf("200 processes with a limit of %d: %+v", small.Processes, got)
	}
	command(t, r, "a", "true")
	start(t, r, "b", small)
	if got := command(t, r, "b", "echo well"); got.stdout != "well\n" {
		t.Errorf("the pod beside it: %+v", got)
	}
}

// A restart ends a bomb that makes more of itself whenever there is room.
// What an app may have is the plan's; the agent, which is no app, has more, so
// that it cannot be starved by its own bookkeeping.
func TestPodReserves(t *testing.T) {
	t.Parallel()
	r := open(t, Config{})
	start(t, r, "a", small)
	want := map[string]int64{"Max processes": int64(small.Processes)}
	if r.groups == nil {
		want["Max data size"] = small.Memory + 256<<20
	}
	for name, most := range want {
		for pid, most := range map[string]int64{"self": most, "1": most + map[string]int64{"Max processes": agent.ReservedThreads, "Max data size": agent.ReservedData}[name]} {
			// A process has its limits a moment after it has started.
			eventually(t, fmt.Sprintf("%s of %s is %d", name, pid, most), func() bool {
				f := strings.Fields(command(t, r, "a", `sed -n 's/^`+name+` *//p' /proc/`+pid+`/limits`).stdout)
				return len(f) >= 2 && f[0] == fmt.Sprint(most) && f[1] == f[0]
			})
		}
	}
}

func TestPodRestartEndsAForkBomb(t *testing.T) {
	t.Parallel()
	r := open(t, Config{})
	db := storetest.New(t)
	w := storetest.Populate(t, db, "ann", time.Now())
	ann := authz.Person(w.User.ID, store.Membership{Team: w.Team, Role: store.RoleOwner})
	s := podstest.ServiceOver(t, db, r, func(c *pods.Config) { c.Plans = []pods.Plan{{Name: "small", Limits: small}} })
	p, err := s.Create(t.Context(), ann, pods.CreateRequest{Name: "shop", Preset: "static"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	bomb := pods.ExecRequest{Command: `export b='trap "" TERM; while sleep 0.01; do (sh -c "$b" &); done'; sh -c "$b" >/dev/null 2>&1 &`}
	if _, err := s.Exec(t.Context(), ann, "shop", bomb, nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the bomb has used up the processes", func() bool {
		now, err := s.Get(t.Context(), ann, "shop")
		return err == nil && now.Processes > small.Processes/2
	})
	if p, err = s.Restart(t.Context(), ann, "shop", nil); err != nil || p.Status != "running" || p.Restarts != 0 || p.Processes != 2 {
		t.Errorf("after the restart: %+v %v", p, err)
	}
}

func TestPodDiskBomb(t *testing.T) {
	t.Parallel()
	r := open(t, Config{})
	limits := small
	limits.Disk = 8 << 20
	start(t, r, "a", limits)
	if got := command(t, r, "a", "head -c 9M /dev/zero > one; wc -c < one"); got.stdout != "8388608\n" {
		t.Errorf("one file over the limit: %+v", got)
	}
	// Many files, rewritten for ever, until the watcher ends it.
	got := command(t, r, "a", "exec dd if=/dev/zero of=two bs=64k count=1000000 seek=0 conv=notrunc 2>/dev/null; echo")
	if got.code == 0 {
		t.Errorf("writing went on: %+v", got)
	}
	if got := command(t, r, "a", `while true; do head -c 2M /dev/zero > three; done`); got.code == 0 {
		t.Errorf("writing went on: %+v", got)
	}
	// The last may have been ended before it wrote anything: the disk was full by then.
	if got := command(t, r, "a", "rm one two && rm -f three; echo $?"); got.stdout != "0\n" {
		t.Errorf("cleaning up: %+v", got)
	}
}

func TestMeasureTree(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	outside := t.TempDir()
	write := func(path string, size int) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, make([]byte, size), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(outside, "big"), 8<<20)
	write(filepath.Join(dir, "a/b/c"), 1<<20)
	before, _, err := measureTree(dir)
	if err != nil || before < 1<<20 || before > 1<<20+64<<10 {
		t.Fatalf("1 MiB in two folders: %d, %v", before, err)
	}
	err = errors.Join(
		os.Link(filepath.Join(dir, "a/b/c"), filepath.Join(dir, "again")),
		os.Symlink(outside, filepath.Join(dir, "out")),
		os.Symlink(dir, filepath.Join(dir, "round")),
		unix.Mkfifo(filepath.Join(dir, "pipe"), 0o600),
	)
	if err != nil {
		t.Fatal(err)
	}
	if after, _, err := measureTree(dir); err != nil || after > before+64<<10 {
		t.Errorf("links count again: %d before, %d after, %v", before, after, err)
	}
	deep := dir
	for range maxDepth + 1 {
		deep = filepath.Join(deep, "d")
	}
	write(filepath.Join(deep, "file"), 1)
	if _, _, err := measureTree(dir); !errors.Is(err, errTooDeep) {
		t.Errorf("a tree that is too deep: %v", err)
	}
	if _, _, err := measureTree(filepath.Join(dir, "out")); err == nil {
		t.Error("a link was followed")
	}
}

func TestParseStat(t *testing.T) {
	t.Parallel()
	tail := " S 7 1 1 0 -1 0 0 0 0 0 4 3 2 1 20 0 1 0 12345 0 0"
	for _, c := range []struct {
		stat string
		want process
		ok   bool
	}{
		{"9 (sh)" + tail, process{9, 7, 12345, 10}, true},
		{"9 (a) S 1 (b)" + tail, process{9, 7, 12345, 10}, true},
		{"9 (sh) S 7", process{}, false},
		{"", process{}, false},
		{"9 (sh)" + strings.Replace(tail, "7", "x", 1), process{}, false},
	} {
		got, err := parseStat(9, c.stat)
		if (err == nil) != c.ok || c.ok && got != c.want {
			t.Errorf("%q: %+v, %v", c.stat, got, err)
		}
	}
}
