//go:build linux && (amd64 || arm64)

package sandbox

import (
	"context"
	"maps"
	"testing"
	"time"

	"podgate/pods"
)

func usageOf(t *testing.T, r *Runtime) pods.Usage {
	t.Helper()
	st, err := r.Status(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	return st.Usage
}

func TestPodUsage(t *testing.T) {
	t.Parallel()
	r := open(t, Config{})
	start(t, r, "a", limits)
	idle := usageOf(t, r)
	if idle.Memory <= 0 || idle.Memory > limits.Memory/2 || idle.Processes != 1 || idle.CPU < 0 {
		t.Errorf("an idle pod uses %+v", idle)
	}
	command(t, r, "a", "head -c 3M /dev/urandom > file; (sleep 100 >/dev/null 2>&1 &); n=0; while [ $n -lt 100000 ]; do n=$((n+1)); done")
	eventually(t, "the figures to follow", func() bool {
		u := usageOf(t, r)
		return u.Processes == 2 && u.CPU > idle.CPU && u.Disk >= 3<<20
	})
	in := r.running("a")
	var all pods.Usage
	in.addUp(&all, r.members(in))
	if u := usageOf(t, r); all.Processes != u.Processes || all.Memory <= 0 || all.Memory > limits.Memory/2 || all.CPU <= 0 {
		t.Errorf("the processes of a pod together are %+v, it uses %+v", all, u)
	}
	if err := r.Stop(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if u := usageOf(t, r); u != (pods.Usage{}) {
		t.Errorf("a stopped pod uses %+v", u)
	}
}

// TestPodSharedMemory has forty processes that share what one of them has. Each
// alone is far below the limit and their resident sets together far above.
func TestPodSharedMemory(t *testing.T) {
	t.Parallel()
	r := open(t, Config{})
	start(t, r, "a", limits)
	got := command(t, r, "a", `x=$(head -c 20000000 /dev/zero | tr '\0' x); n=0; while [ $n -lt 40 ]; do n=$((n+1)); (sleep 100; : $x) >/dev/null 2>&1 & done; echo started`)
	if got.stdout != "started\n" {
		t.Fatalf("%+v", got)
	}
	in := r.running("a")
	eventually(t, "all to run", func() bool { return len(readProcesses().below(in.process.Pid)) >= 80 })
	processes := readProcesses().below(in.process.Pid)
	_, _, resident := in.memory(processes, residentMemory)
	_, _, proportional := in.memory(processes, proportionalMemory)
	if resident < limits.Memory || proportional > limits.Memory/2 {
		t.Errorf("resident %d MiB, proportional %d MiB, limit %d MiB", resident>>20, proportional>>20, limits.Memory>>20)
	}
	in.holdMemory(processes)
	if left := len(readProcesses().below(in.process.Pid)); left < len(processes) {
		t.Errorf("%d of %d processes are left", left, len(processes))
	}
	if u := usageOf(t, r); u.Memory > limits.Memory/2 || u.Processes <= 80 {
		t.Errorf("usage %+v", u)
	}
}

func TestGroupUsage(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fs    *fakeFS
		files map[string]string
	}{
		"v2": {machineV2("/a"), map[string]string{
			"/sys/fs/cgroup/a/podgate-key/pod/memory.current": "5000000",
			"/sys/fs/cgroup/a/podgate-key/pod/memory.stat":    "anon 1\ninactive_file 1000000\nactive_file 7",
			"/sys/fs/cgroup/a/podgate-key/pod/cpu.stat":       "usage_usec 2500000\nuser_usec 1",
			"/sys/fs/cgroup/a/podgate-key/pod/cgroup.procs":   "1\n2\n3",
		}},
		"v1": {machineV1(), map[string]string{
			"/cg/memory/srv/podgate-key/pod/memory.usage_in_bytes": "5000000",
			"/cg/memory/srv/podgate-key/pod/memory.stat":           "inactive_file 3\ntotal_inactive_file 1000000",
			"/cg/cpu,cpuacct/podgate-key/pod/cpuacct.usage":        "2500000000",
			"/cg/pids/podgate-key/pod/cgroup.procs":                "1\n2\n3",
		}},
	} {
		h, err := findHierarchy(c.fs, "key")
		if err != nil {
			t.Fatal(name, err)
		}
		g, err := h.create("pod", plan)
		if err != nil {
			t.Fatal(name, err)
		}
		if u := g.usage(); u != (pods.Usage{}) {
			t.Errorf("%s: nothing to be read is %+v", name, u)
		}
		maps.Copy(c.fs.files, c.files)
		if u := g.usage(); u != (pods.Usage{Memory: 4000000, CPU: 2.5, Processes: 3}) {
			t.Errorf("%s: %+v", name, u)
		}
	}
}

// TestHomeMeter answers when it knows, or when nobody waits any more.
func TestHomeMeter(t *testing.T) {
	t.Parallel()
	m := newHomeMeter(t.TempDir())
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if n := m.used(ctx); n != 0 {
		t.Errorf("%d bytes before anything was measured", n)
	}
	want, err := m.measure(nil)
	if err != nil {
		t.Fatal(err)
	}
	if n := m.used(t.Context()); n != want {
		t.Errorf("%d bytes, want %d", n, want)
	}
}

// Empty files in memory take some, and so does the process that takes a pod's packets.
func TestPodSmallThingsCount(t *testing.T) {
	t.Parallel()
	r := open(t, Config{})
	start(t, r, "a", limits)
	in := r.running("a")
	counted := func() int64 {
		alone := &instance{process: in.process}
		_, _, total := alone.memory(nil, func(int) int64 { return 0 })
		return total
	}
	before := counted()
	got := command(t, r, "a", `mkdir /tmp/many && cd /tmp/many && i=0; while [ $i -lt 2000 ]; do i=$((i+1)); : >$i; done; echo made`)
	if got.stdout != "made\n" {
		t.Fatalf("%+v", got)
	}
	if more := counted() - before; more < 2000*inodeMemory {
		t.Errorf("2000 empty files count %d bytes", more)
	}
	with := &instance{process: in.process, network: &podNetwork{}}
	with.network.pid.Store(1 << 30)
	_, _, total := with.memory(nil, func(pid int) int64 {
		if pid == 1<<30 {
			return 1 << 40
		}
		return 0
	})
	if total < 1<<40 {
		t.Error("what its network takes does not count")
	}
}
