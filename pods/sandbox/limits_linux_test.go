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

	"golang.org/x/sys/unix"

	"podgate/pods"
	"podgate/pods/agent"
	"podgate/pods/wire"
)

// small are limits for the tests that break them. Under the race detector the
// agent alone is larger than the smallest plan.
var small = pods.Limits{Memory: 192 << 20, CPUs: 2, Disk: 64 << 20, Processes: 40}

func TestPodEnforced(t *testing.T) {
	t.Parallel()
	if got := (&Runtime{}).enforced(small, nil); !strings.Contains(got[0], "; sockets are not counted, or not all") {
		t.Errorf("where the kernel does not tell about sockets: %q", got)
	}
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

// A pod whose limits the kernel refuses does not run without them: nothing of it is left,
// and with others it starts.
func TestRefusedLimits(t *testing.T) {
	t.Parallel()
	r := open(t, Config{})
	if !r.groups.has("cpu") {
		t.Skip("no cgroup limits the processor's time here")
	}
	refused := small
	refused.CPUs = 1e12
	err := r.Start(t.Context(), pods.Spec{ID: "a", Name: "a", Limits: refused}, quiet)
	if f, ok := errors.AsType[*failure](err); !ok || f.Step != stepCgroup || strings.Contains(err.Error(), "does not end") {
		t.Errorf("limits that the kernel refuses: %v", err)
	}
	if r.running("a") != nil {
		t.Error("it runs")
	}
	if _, err := os.Stat(filepath.Join(r.groups.bases["cpu"], "a")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its group: %v", err)
	}
	start(t, r, "a", small)
}

// What an app may have is the plan's; the agent, which is no app, has more, so
// that it cannot be starved by its own bookkeeping.
func TestPodReserves(t *testing.T) {
	t.Parallel()
	r := open(t, Config{})
	start(t, r, "a", small)
	want := map[string]int64{"Max processes": int64(small.Processes), "Max file size": small.Disk}
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
	for i := range 100 {
		write(filepath.Join(dir, "empty", fmt.Sprint(i)), 0)
	}
	if after, _, err := measureTree(dir); err != nil || after < before+100*wire.LeastFile {
		t.Errorf("100 empty files count %d bytes, %v", after-before, err)
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
		{"9 (sh)" + tail, process{pid: 9, parent: 7, start: 12345, ticks: 10}, true},
		{"9 (a) S 1 (b)" + tail, process{pid: 9, parent: 7, start: 12345, ticks: 10}, true},
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
