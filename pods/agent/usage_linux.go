package agent

import (
	"bytes"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"podgate/pods/wire"
)

// clockTick is USER_HZ, the unit of times in /proc: 100 on every architecture
// that podgate is built for.
const clockTick = 100

// measure sums up what runs: in init mode the whole pod, otherwise the trees
// that this agent started. CPU includes what has ended: a process carries the
// time of the children it collected, and PID 1 ends up with all of it.
func (ps *procs) measure() (memory int64, cpu float64, processes int) {
	found, _ := listProcesses()
	ended := 0.0
	if !ps.init {
		found, _ = members(ps.base.sameAgent, nil)
		ps.mu.Lock()
		ended = ps.used.Seconds()
		ps.mu.Unlock()
	}
	var ticks uint64
	for _, e := range found {
		ticks += e.ticks
		if !e.dead() {
			memory += memoryOf(e.pid)
			processes++
		}
	}
	return memory, float64(ticks)/clockTick + ended, processes
}

// memoryOf is what a process has in memory that is not backed by a file, in
// bytes; what it shares with others is divided among them. 0 when it is gone.
func memoryOf(pid int) int64 {
	dir := "/proc/" + strconv.Itoa(pid)
	if b, err := os.ReadFile(dir + "/smaps_rollup"); err == nil {
		if n, ok := parseRollup(b); ok {
			return n
		}
	}
	b, err := os.ReadFile(dir + "/statm")
	if err != nil {
		return 0
	}
	return parseStatm(b) * int64(os.Getpagesize())
}

// parseRollup reads the proportional sizes of smaps_rollup, in bytes; false when
// it has none, before Linux 5.9.
func parseRollup(b []byte) (sum int64, ok bool) {
	for line := range bytes.Lines(b) {
		f := bytes.Fields(line)
		if len(f) > 1 && (string(f[0]) == "Pss_Anon:" || string(f[0]) == "Pss_Shmem:") {
			n, _ := strconv.ParseInt(string(f[1]), 10, 64) // the kernel writes numbers
			sum, ok = sum+n<<10, true
		}
	}
	return sum, ok
}

// parseStatm reads the resident pages of statm without those that are backed by
// files or shared.
func parseStatm(b []byte) int64 {
	f := bytes.Fields(b)
	if len(f) < 3 {
		return 0
	}
	resident, _ := strconv.ParseInt(string(f[1]), 10, 64) // the kernel writes numbers
	shared, _ := strconv.ParseInt(string(f[2]), 10, 64)
	return max(0, resident-shared)
}

// diskUse reads what a file takes: allocated blocks, not length, so that a
// sparse file costs what it costs, and at least what the name of one does.
func diskUse(size int64, sys any) (bytes int64, inode uint64, links uint64) {
	st, ok := sys.(*syscall.Stat_t)
	if !ok {
		return size, 0, 1
	}
	return max(st.Blocks*512, wire.LeastFile), st.Ino, uint64(st.Nlink)
}

// syncDisk has the disk of a folder written, so that a crash of the machine does
// not leave names without content.
func syncDisk(root *os.Root) {
	if f, err := root.Open("."); err == nil {
		unix.Syncfs(int(f.Fd()))
		f.Close()
	}
}
