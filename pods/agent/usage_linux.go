package agent

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
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
	var pages int64
	for _, e := range found {
		ticks += e.ticks
		pages += e.pages
		if !e.dead() {
			processes++
		}
	}
	return pages * int64(os.Getpagesize()), float64(ticks)/clockTick + ended, processes
}

// diskUse reads what a file takes: allocated blocks, not length, so that a
// sparse file costs what it costs.
func diskUse(size int64, sys any) (bytes int64, inode uint64, links uint64) {
	st, ok := sys.(*syscall.Stat_t)
	if !ok {
		return size, 0, 1
	}
	return st.Blocks * 512, st.Ino, uint64(st.Nlink)
}

// syncDisk has the disk of a folder written, so that a crash of the machine does
// not leave names without content.
func syncDisk(root *os.Root) {
	if f, err := root.Open("."); err == nil {
		unix.Syncfs(int(f.Fd()))
		f.Close()
	}
}
