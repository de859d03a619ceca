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
		in.addUp(&u, r.members(in))
	}
	u.Disk = in.home.used(ctx)
	if left, err := DiskLeft(r.cfg.Dir); err == nil {
		u.DiskLeft = max(1, left-diskFloor)
	}
	return u
}

// members is the processes of a pod beside the first and its gateway. Its group names them,
// where it has one: a look at all processes of the machine takes longer than a start.
func (r *Runtime) members(in *instance) (all []process) {
	named := in.group.members()
	if len(named) == 0 {
		return r.processes().below(in.process.Pid)
	}
	for _, pid := range named {
		if pid == in.process.Pid || pid == in.gateway() {
			continue
		}
		if p, err := readProcess(pid); err == nil { // it has ended otherwise
			all = append(all, p)
		}
	}
	return all
}

// addUp fills in what u lacks, from the pod's processes beside the first.
func (in *instance) addUp(u *pods.Usage, processes []process) {
	if u.Memory == 0 {
		_, _, u.Memory = in.memory(processes, proportionalMemory)
	}
	if u.CPU == 0 {
		first, _ := readProcess(in.process.Pid) // gone: the zero process
		ticks := first.ticks
		for _, p := range processes {
			ticks += p.ticks
		}
		u.CPU = float64(ticks) / clockTick
	}
	u.Processes = cmp.Or(u.Processes, 1+len(processes))
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
	u := pods.Usage{Processes: len(g.members())}
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

// members is the numbers of all processes in the group. nil has none.
func (g *group) members() (all []int) {
	if g == nil {
		return nil
	}
	for _, text := range strings.Fields(g.read("cgroup.procs", "pids", "memory", "cpu")) {
		all = append(all, int(number(text)))
	}
	return all
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
