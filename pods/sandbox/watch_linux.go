//go:build linux && (amd64 || arm64)

package sandbox

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// This file is the memory of pods where there is no memory controller, and what
// both limits share that no part of the kernel holds: what breaks one is killed,
// but the agent stays, so that its owner can look and clean up.

const watchPeriod = 500 * time.Millisecond

// watched is what the watcher remembers about an instance. Only its goroutine
// touches it.
type watched struct {
	disk      diskWatch
	lowWrites writing // while the disk is nearly full
	oomKills  int64   // that the kernel has counted
}

func (r *Runtime) watchPods(ctx context.Context) {
	ticker := time.NewTicker(diskPeriod)
	defer ticker.Stop()
	var watched time.Time
	low := false
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			low = r.watchDisk(now, low)
			if now.Sub(watched) >= watchPeriod-diskPeriod/2 {
				watched = now
				r.watchMemory()
			}
		}
	}
}

// watchMemory looks at all running pods. The table of processes is read only
// when a pod needs it.
func (r *Runtime) watchMemory() {
	var table processTable
	for _, in := range r.runningAll() {
		in.holdNetlink()
		if r.groups.has("memory") {
			in.noteKills()
			continue
		}
		if in.limits.Memory == 0 {
			continue
		}
		if table == nil {
			table = readProcesses()
		}
		in.holdMemory(table.below(in.process.Pid))
	}
}

// netlinkMost is what may wait in all netlink sockets of a pod, in bytes. Programs ask
// about interfaces and addresses with them, and read what is answered.
const netlinkMost = 16 << 20

// holdNetlink ends all processes of a pod whose netlink sockets hold too much.
func (in *instance) holdNetlink() {
	if in.limits.Memory == 0 {
		return
	}
	if held, _ := in.meter().used(unix.AF_NETLINK); held > netlinkMost { // what could be read counts
		in.killAll(fmt.Sprintf("out of memory: netlink sockets hold more than %d MiB", netlinkMost>>20))
	}
}

// noteKills notes what the kernel has killed for the memory limit.
func (in *instance) noteKills() {
	if in.limits.Memory == 0 {
		return
	}
	if kills := in.group.oomKills(); kills > in.watched.oomKills {
		in.watched.oomKills = kills
		in.killed(in.outOfMemory())
	}
}

// outOfMemory is why something was killed for the memory limit.
func (in *instance) outOfMemory() string {
	return fmt.Sprintf("out of memory: the limit is %d MiB", in.limits.Memory>>20)
}

func (r *Runtime) runningAll() []*instance {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []*instance
	for _, p := range r.pods {
		if p.run.alive() {
			all = append(all, p.run)
		}
	}
	return all
}

// process is one process of the machine. start tells it from a later one with
// the same number.
type process struct {
	pid    int
	parent int
	start  uint64
	ticks  uint64 // of CPU time, its own and that of the children it has waited for
	ended  bool   // its first thread has, and others may go on
}

// threads are the numbers of the process's threads.
func (p process) threads() (tids []int) {
	entries, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", p.pid)) // gone
	for _, e := range entries {
		if tid, err := strconv.Atoi(e.Name()); err == nil {
			tids = append(tids, tid)
		}
	}
	return tids
}

// alive is the number of a thread that has the process's memory. The first has it no
// more when it has ended before others.
func (p process) alive() int {
	if !p.ended {
		return p.pid
	}
	for _, tid := range p.threads() {
		if t, err := readProcess(tid); err == nil && !t.ended {
			return tid
		}
	}
	return p.pid // all have ended
}

// processTable is all processes by their parent.
type processTable map[int][]process

func readProcesses() processTable {
	table := processTable{}
	dir, err := os.Open("/proc")
	if err != nil {
		return table
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1) // what could be read is good
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if p, err := readProcess(pid); err == nil {
			table[p.parent] = append(table[p.parent], p)
		}
	}
	return table
}

// readProcess reads /proc/PID/stat. The name in it may hold anything, so what
// counts is behind the last bracket.
func readProcess(pid int) (process, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return process{}, err
	}
	return parseStat(pid, string(b))
}

func parseStat(pid int, stat string) (process, error) {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 20 {
		return process{}, fmt.Errorf("process %d: too few fields", pid)
	}
	parent, err := strconv.Atoi(fields[1])
	if err != nil {
		return process{}, err
	}
	var ticks uint64
	for _, field := range fields[11:15] {
		n, _ := strconv.ParseUint(field, 10, 64) // the kernel writes numbers
		ticks += n
	}
	start, err := strconv.ParseUint(fields[19], 10, 64)
	return process{pid, parent, start, ticks, strings.Contains("ZX", fields[0])}, err
}

// below is all descendants of a pod's first process. In a process namespace
// that is everything in it: orphans become children of the first.
func (t processTable) below(pid int) []process {
	var all []process
	for next := []int{pid}; len(next) > 0; next = next[1:] {
		for _, p := range t[next[0]] {
			all = append(all, p)
			next = append(next, p.pid)
		}
	}
	return all
}

// kill ends the process unless its number belongs to another one by now.
func (p process) kill() { p.signal(unix.SIGKILL) }

// signal sends a signal to the process, unless it is gone.
func (p process) signal(sig unix.Signal) {
	fd, err := unix.PidfdOpen(p.pid, 0)
	if err != nil {
		return // gone
	}
	defer unix.Close(fd)
	if now, err := readProcess(p.pid); err != nil || now.start != p.start {
		return
	}
	_ = unix.PidfdSendSignal(fd, sig, nil, 0) // gone
}

// residentMemory is what a process has in memory that is not backed by a file,
// and the kernel's tables of it, in bytes. What it shares with others is counted for each.
func residentMemory(pid int) int64 {
	return sumFields(fmt.Sprintf("/proc/%d/status", pid), "RssAnon:", "RssShmem:", "VmPTE:") << 10
}

// proportionalMemory is residentMemory with what is shared divided among those
// that share it. The kernel walks all of the process's pages for it.
func proportionalMemory(pid int) int64 {
	if n := sumFields(fmt.Sprintf("/proc/%d/smaps_rollup", pid), "Pss_Anon:", "Pss_Shmem:") << 10; n > 0 {
		return n + sumFields(fmt.Sprintf("/proc/%d/status", pid), "VmPTE:")<<10
	}
	return residentMemory(pid) // kernels before 5.9
}

// sumFields adds the numbers behind names in a file of /proc. 0 when it cannot
// be read: the process is gone.
func sumFields(path string, names ...string) int64 {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	var sum int64
	for line := range strings.Lines(string(b)) {
		fields := strings.Fields(line)
		for _, name := range names {
			if len(fields) > 1 && fields[0] == name {
				n, _ := strconv.ParseInt(fields[1], 10, 64) // the kernel writes numbers
				sum += n
			}
		}
	}
	return sum
}

// holdMemory kills the largest processes until the pod is below its limit. The
// agent is the last: with it goes what is left, also in /tmp.
func (in *instance) holdMemory(processes []process) {
	sizes, sockets, total := in.memory(processes, residentMemory)
	if total > in.limits.Memory {
		sizes, sockets, total = in.memory(processes, proportionalMemory)
	}
	for total > in.limits.Memory {
		largest := -1
		for i, size := range sizes {
			if size > 0 && (largest < 0 || size > sizes[largest]) {
				largest = i
			}
		}
		if largest < 0 && total-sockets <= in.limits.Memory {
			return // what is left goes with the sockets of those just killed
		}
		if largest < 0 {
			in.killFor(in.outOfMemory())
			return
		}
		in.killed(in.outOfMemory())
		in.log.Warn("a process of a pod was killed for the pod's memory limit", "used", total, "limit", in.limits.Memory)
		processes[largest].kill()
		total -= sizes[largest]
		sizes[largest] = 0
	}
}

// memory is what the processes beside the first have each, what sockets hold, and the pod
// in all: with these, and with what its network has, which works for the pod outside of it.
func (in *instance) memory(processes []process, of func(pid int) int64) (sizes []int64, sockets, total int64) {
	sockets = in.socketsHold()
	total = of(in.process.Pid) + scratchUsed(in.process.Pid) + sockets
	if gateway := in.gateway(); gateway > 0 {
		total += of(gateway)
	}
	for _, p := range processes {
		size := of(p.alive())
		sizes = append(sizes, size)
		total += size
	}
	return sizes, sockets, total
}

// inodeMemory is what the kernel needs for a file in memory, in bytes, be it empty.
const inodeMemory = 1 << 10

// scratchUsed is what lies in the file systems in memory of the pod with this
// first process.
func scratchUsed(pid int) int64 {
	var sum int64
	for _, path := range []string{"tmp", "var/tmp", "run", "dev/shm"} {
		var st unix.Statfs_t
		if unix.Statfs(fmt.Sprintf("/proc/%d/root/%s", pid, path), &st) == nil && st.Type == unix.TMPFS_MAGIC {
			sum += int64(st.Blocks-st.Bfree)*st.Bsize + int64(st.Files-st.Ffree)*inodeMemory
		}
	}
	return sum
}

// killFor ends the pod for a reason that its status tells.
func (in *instance) killFor(reason string) {
	in.mu.Lock()
	in.blame = reason
	in.mu.Unlock()
	_ = in.process.Kill() // gone
}
