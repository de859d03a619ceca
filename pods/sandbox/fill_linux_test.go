//go:build linux && (amd64 || arm64)

package sandbox

import (
	"bufio"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"podgate/pods"
	"podgate/store"
)

// Whichever way memory is taken, it ends near the limit, and the pod goes on.
func TestPodMemoryFills(t *testing.T) {
	t.Parallel()
	r, program := filler(t)
	for i, name := range slices.Sorted(maps.Keys(memoryFills)) {
		id := store.PodID(fmt.Sprint("p", i)) // what one leaves in the kernel would stop the next
		start(t, r, id, pods.Limits{Memory: 256 << 20, CPUs: 2, Disk: 1 << 30, Processes: 100})
		began := statusOf(t, r, id)
		if name == "netlink" && strings.Contains(began.Enforced[0], "netlink sockets are not counted") {
			t.Log("skipped: this kernel does not tell about netlink sockets")
			continue
		}
		got := command(t, r, id, fmt.Sprintf("%s %s '%s'", program, fillRole, name))
		if strings.Contains(got.stdout, "filled") {
			t.Errorf("%s: nothing stopped it: %+v", name, got)
		}
		if got := command(t, r, id, "echo well"); got.stdout != "well\n" {
			t.Errorf("after %s: %+v", name, got)
		}
		if s := statusOf(t, r, id); s.Started != began.Started {
			t.Errorf("the agent did not survive %s: %+v", name, s)
		}
		if err := r.Stop(t.Context(), id); err != nil {
			t.Error(err)
		}
	}
}

// A process whose first thread has ended has its memory all the same, with its tables of
// pages, and can be killed.
func TestMemoryBehindAnEndedThread(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, fillRole, endedRole)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	ended := sync.OnceValue(cmd.Wait)
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = ended() }) // has ended
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	p, err := readProcess(cmd.Process.Pid)
	if err != nil || !p.ended {
		t.Fatalf("%+v, %v", p, err)
	}
	pod := &instance{process: &os.Process{Pid: os.Getpid()}}
	for name, of := range map[string]func(int) int64{"resident": residentMemory, "proportional": proportionalMemory} {
		if sizes, _, _ := pod.memory([]process{p}, of); sizes[0] < 2*endedSteps*fillStep {
			t.Errorf("%s: %d bytes are counted of %d", name, sizes[0], 2*endedSteps*fillStep)
		}
	}
	p.kill()
	if err := ended(); err == nil || err.Error() != "signal: killed" {
		t.Errorf("it ended with %v", err)
	}
}

// The file systems in memory count: together they have more room than the pod has
// memory. Killing who wrote does not empty them, so the pod may end with it.
func TestPodScratchFills(t *testing.T) {
	t.Parallel()
	r, program := filler(t)
	plan := pods.Limits{Memory: 256 << 20, CPUs: 2, Disk: 1 << 30, Processes: 100}
	start(t, r, "a", plan)
	got, err := tryCommand(t.Context(), r, "a", fmt.Sprintf("%s %s %s", program, fillRole, scratch))
	if strings.Contains(got.stdout, "filled") || err == nil && got.code == 0 {
		t.Errorf("nothing stopped it: %+v, %v", got, err)
	}
	if err := r.Stop(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	start(t, r, "a", plan)
	if got := command(t, r, "a", "ls /dev/shm /tmp; echo well"); !strings.HasSuffix(got.stdout, "well\n") || strings.Contains(got.stdout, "fill") {
		t.Errorf("after it: %+v", got)
	}
}

// Where no cgroup counts them the buffers of connections are small.
func TestPodBuffersAreBounded(t *testing.T) {
	t.Parallel()
	r := ungrouped(t)
	start(t, r, "a", limits)
	if got := command(t, r, "a", "cat /proc/sys/net/ipv4/tcp_rmem /proc/sys/net/ipv4/tcp_wmem"); strings.Join(strings.Fields(got.stdout), " ") != "4096 65536 262144 4096 65536 262144" {
		t.Errorf("%+v", got)
	}
}

// ungrouped is a runtime without cgroups, which enforces limits all the same.
func ungrouped(t *testing.T) *Runtime {
	t.Helper()
	r := open(t, Config{LimitsMode: LimitsOff})
	r.cfg.LimitsMode = LimitsAuto
	return r
}

// filler is a runtime whose pods have the test binary, by the way that it returns.
func filler(t *testing.T) (r *Runtime, program string) {
	t.Helper()
	bin := t.TempDir()
	if err := os.Chmod(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	program = filepath.Join(bin, "fill")
	if err := copySelf(program); err != nil {
		t.Fatal(err)
	}
	return open(t, Config{Binds: []string{bin}}), program
}

const diskPlan = 64 << 20 // bytes of those that are filled

// What is taken of the disk counts, neither how large files are nor how much was
// written: files with holes, larger together than the plan, and holes that are made
// again, may be until the plan is used up. Then who fills them is stopped, in whatever
// way, within about a second where the machine is not busy, and one who writes less than
// 2 MiB a second after as much more.
func TestPodHolesFill(t *testing.T) {
	t.Parallel()
	const soon, over = 20 * time.Second, 2 * diskPlan // much later and much more than it is, for machines that are busy
	r, program := filler(t)
	for i, name := range slices.Sorted(maps.Keys(trailed)) {
		id := store.PodID(fmt.Sprint("p", i))
		start(t, r, id, pods.Limits{Memory: limits.Memory, CPUs: 2, Disk: diskPlan, Processes: 100})
		got := command(t, r, id, fmt.Sprintf("%s %s '%s'", program, fillRole, name))
		if strings.Contains(got.stdout, "filled") || strings.Contains(got.stdout, "refused") || got.code == 0 {
			t.Errorf("%s: nothing stopped it: %d, %.100q", name, got.code, got.stderr)
		}
		var first, taken, at int64 // when it had more than the plan, and the last that it told
		for line := range strings.Lines(got.stdout) {
			if _, err := fmt.Sscanf(line, "taken %d %d", &taken, &at); err != nil {
				continue
			}
			if taken > diskPlan && first == 0 {
				first = at
			}
		}
		late := time.Duration(at-first) * time.Millisecond
		if first == 0 || late > soon || taken > diskPlan+over {
			t.Errorf("%s: stopped %v after the plan was used up, with %d MiB", name, late, taken>>20)
		}
		t.Logf("%s: stopped %v after the plan was used up, with %.1f MiB of %d", name, late, float64(taken)/(1<<20), diskPlan>>20)
		if st, err := r.Status(t.Context(), id); err != nil || len(st.Kills) == 0 || !strings.HasPrefix(st.Kills[0].Reason, "disk full") {
			t.Errorf("%s: the reasons: %+v, %v", name, st.Kills, err)
		}
		if err := r.Stop(t.Context(), id); err != nil {
			t.Error(err)
		}
	}
}

// Whichever way a pod's home is filled, it ends soon after the limit, and says why;
// what makes room goes on.
func TestPodDiskFills(t *testing.T) {
	t.Parallel()
	const most = diskPlan
	for name := range fills {
		t.Run(name, func(t *testing.T) {
			r, program := filler(t)
			start(t, r, "a", pods.Limits{Memory: limits.Memory, CPUs: 2, Disk: most, Processes: 100})
			got := command(t, r, "a", fmt.Sprintf("mkdir -p full; cd full; %s %s '%s'", program, fillRole, name))
			if strings.Contains(got.stdout, "filled") {
				t.Errorf("nothing stopped it: %+v", got)
			}
			// What it may have by then follows from how fast it writes: through mapped
			// pages a third of a GiB in a third of a second, on a machine with nothing
			// else to do. At which look it is stopped TestWritersAreHeld and
			// TestGrowthIsHeld say, and TestPodHolesFill holds one that takes its time.
			used, _, err := measureTree(filepath.Join(r.folder("a"), "home"))
			if err != nil || used > 8*most {
				t.Errorf("%d MiB of %d are used, %v", used>>20, most>>20, err)
			}
			kills := statusOf(t, r, "a").Kills
			if refused := strings.Contains(got.stdout, "refused"); !refused && (len(kills) == 0 || !strings.HasPrefix(kills[0].Reason, "disk full")) {
				t.Errorf("the reasons: %+v, the filler %+v", kills, got)
			}
			if got := command(t, r, "a", "rm -r full; echo rid"); got.stdout != "rid\n" {
				t.Errorf("cleaning up: %+v", got)
			}
		})
	}
}
