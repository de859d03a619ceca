//go:build linux && (amd64 || arm64)

package sandbox

import (
	"cmp"
	"context"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"podgate/pods"
)

// This file is what a pod uses, counted from outside: by its cgroups where
// there are some, else by adding up its processes.

// clockTick is USER_HZ, the unit of times in /proc: 100 on every architecture
// that podgate is built for.
const clockTick = 100

// usage is what a running pod uses. ctx bounds the wait for the first
// measurement of its home.
func (r *Runtime) usage(ctx context.Context, in *instance) pods.Usage {
	var u pods.Usage
	if in.group != nil {
		u = in.group.usage()
	}
	if u.Memory == 0 || u.CPU == 0 || u.Processes == 0 {
		counted := in.count(r.processes())
		u.Memory, u.CPU, u.Processes = cmp.Or(u.Memory, counted.Memory), cmp.Or(u.CPU, counted.CPU), cmp.Or(u.Processes, counted.Processes)
	}
	u.Disk = in.home.used(ctx)
	if left, err := DiskLeft(r.cfg.Dir); err == nil {
		u.DiskLeft = max(1, left-diskFloor)
	}
	return u
}

// count adds up the processes of a pod.
func (in *instance) count(table processTable) pods.Usage {
	all := table.below(in.process.Pid)
	_, _, memory := in.memory(all, proportionalMemory)
	first, _ := readProcess(in.process.Pid) // gone: the zero process
	ticks := first.ticks
	for _, p := range all {
		ticks += p.ticks
	}
	return pods.Usage{Memory: memory, CPU: float64(ticks) / clockTick, Processes: 1 + len(all)}
}

// tableAge is how old a table of processes may be that only counts.
const tableAge = watchPeriod

// recentTable keeps the table of processes for a moment, so that a look at many
// pods reads it once.
type recentTable struct {
	mu    sync.Mutex
	table processTable
	read  time.Time
}

// processes is the table of processes, at most tableAge old.
func (r *Runtime) processes() processTable {
	c := &r.recent
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.read) > tableAge {
		c.table, c.read = readProcesses(), time.Now()
	}
	return c.table
}

// usage is what the kernel counts for the group; 0 what it does not.
func (g *group) usage() pods.Usage {
	u := pods.Usage{Processes: len(strings.Fields(g.read("cgroup.procs", "pids", "memory", "cpu")))}
	if g.h.version == 2 {
		u.Memory = number(g.read("memory.current", "memory")) - valueOf(g.read("memory.stat", "memory"), "inactive_file")
		u.CPU = float64(valueOf(g.read("cpu.stat", "cpu"), "usage_usec")) / 1e6
	} else {
		u.Memory = number(g.read("memory.usage_in_bytes", "memory")) - valueOf(g.read("memory.stat", "memory"), "total_inactive_file")
		u.CPU = float64(number(g.read("cpuacct.usage", "cpu"))) / 1e9 // where cpu and cpuacct are one hierarchy
	}
	u.Memory = max(0, u.Memory) // the files are not read in one instant
	return u
}

// read returns a file of the group below the first of the controllers that
// there is; "" when it cannot be read.
func (g *group) read(file string, controllers ...string) string {
	for _, c := range controllers {
		if g.h.has(c) {
			text, _ := g.h.fs.read(filepath.Join(g.h.bases[c], g.name, file)) // unreadable: as if it were empty
			return text
		}
	}
	return ""
}

func number(text string) int64 {
	n, _ := strconv.ParseInt(text, 10, 64) // 0 for what is not there
	return n
}

// valueOf finds the value of a key in lines of «key value».
func valueOf(text, key string) int64 {
	for line := range strings.Lines(text) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), key+" "); ok {
			return number(v)
		}
	}
	return 0
}

// homeMeter is the size of a pod's home as it was measured last.
type homeMeter struct {
	path  string
	known chan struct{} // closed when it was measured once
	once  sync.Once

	mu    sync.Mutex
	bytes int64
}

func newHomeMeter(path string) *homeMeter {
	return &homeMeter{path: path, known: make(chan struct{})}
}

// measure takes as long as the home is large. What the processes hold counts too when
// it has no name any more.
func (m *homeMeter) measure(processes []process) (int64, error) {
	n, device, err := measureTree(m.path)
	deleted, err2 := measureDeleted(processes, device)
	n, err = n+deleted, cmp.Or(err2, err)
	m.mu.Lock()
	m.bytes = n
	m.mu.Unlock()
	m.once.Do(func() { close(m.known) })
	return n, err
}

// used waits for the first measurement, or ctx.
func (m *homeMeter) used(ctx context.Context) int64 {
	select {
	case <-m.known:
	case <-ctx.Done():
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.bytes
}
