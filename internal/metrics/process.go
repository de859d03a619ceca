package metrics

import (
	"bytes"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// processNumbers is what the runtime and the system say of this process, under the names
// that they have in Go programs elsewhere. What the system does not tell is left out.
func processNumbers() []*listing {
	var all []*listing
	one := func(kind, name, help string, value float64) {
		s := newListing(head{name: name, help: help, kind: kind})
		s.put(value, nil)
		all = append(all, s)
	}
	info := newListing(head{"go_info", "The version of Go.", kindGauge, []string{"version"}})
	info.put(1, []string{runtime.Version()})
	threads, _ := runtime.ThreadCreateProfile(nil)
	one(kindGauge, "go_goroutines", "Goroutines.", float64(runtime.NumGoroutine()))
	one(kindGauge, "go_threads", "Threads that were made.", float64(threads))
	one(kindGauge, "go_sched_gomaxprocs_threads", "Threads that may run Go code at once (GOMAXPROCS).", float64(runtime.GOMAXPROCS(0)))
	one(kindGauge, "go_gc_gomemlimit_bytes", "The soft limit of memory (GOMEMLIMIT).", float64(debug.SetMemoryLimit(-1)))
	memoryNumbers(one)
	systemNumbers(one)
	return append(all, info, pauses())
}

// pauses is how long collections of garbage held everything up.
func pauses() *listing {
	s := newListing(head{name: "go_gc_duration_seconds", help: "How long collections of garbage held the program up.", kind: kindSummary})
	stats := debug.GCStats{PauseQuantiles: make([]time.Duration, 5)}
	debug.ReadGCStats(&stats)
	var text strings.Builder
	for i, took := range stats.PauseQuantiles {
		writeLine(&text, s.name, "", pair("quantile", number(float64(i)/4)), took.Seconds())
	}
	writeLine(&text, s.name+"_sum", "", "", stats.PauseTotal.Seconds())
	writeLine(&text, s.name+"_count", "", "", float64(stats.NumGC))
	s.each[""] = text.String()
	return s
}

func memoryNumbers(one func(kind, name, help string, value float64)) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	for _, n := range []struct {
		kind, name, help string
		value            float64
	}{
		{kindGauge, "alloc_bytes", "Bytes of the heap that are in use.", float64(m.Alloc)},
		{kindCounter, "alloc_bytes_total", "Bytes that were ever taken from the heap.", float64(m.TotalAlloc)},
		{kindGauge, "sys_bytes", "Bytes that were taken from the system.", float64(m.Sys)},
		{kindCounter, "mallocs_total", "Objects that were made.", float64(m.Mallocs)},
		{kindCounter, "frees_total", "Objects that were freed.", float64(m.Frees)},
		{kindGauge, "heap_alloc_bytes", "Bytes of the heap that are in use.", float64(m.HeapAlloc)},
		{kindGauge, "heap_sys_bytes", "Bytes of the heap that were taken from the system.", float64(m.HeapSys)},
		{kindGauge, "heap_idle_bytes", "Bytes of the heap that wait to be used.", float64(m.HeapIdle)},
		{kindGauge, "heap_inuse_bytes", "Bytes in parts of the heap that are in use.", float64(m.HeapInuse)},
		{kindGauge, "heap_released_bytes", "Bytes of the heap that were given back to the system.", float64(m.HeapReleased)},
		{kindGauge, "heap_objects", "Objects on the heap.", float64(m.HeapObjects)},
		{kindGauge, "stack_inuse_bytes", "Bytes of stacks that are in use.", float64(m.StackInuse)},
		{kindGauge, "stack_sys_bytes", "Bytes of stacks that were taken from the system.", float64(m.StackSys)},
		{kindGauge, "mspan_inuse_bytes", "Bytes of mspan structures that are in use.", float64(m.MSpanInuse)},
		{kindGauge, "mspan_sys_bytes", "Bytes of mspan structures that were taken from the system.", float64(m.MSpanSys)},
		{kindGauge, "mcache_inuse_bytes", "Bytes of mcache structures that are in use.", float64(m.MCacheInuse)},
		{kindGauge, "mcache_sys_bytes", "Bytes of mcache structures that were taken from the system.", float64(m.MCacheSys)},
		{kindGauge, "buck_hash_sys_bytes", "Bytes of the table of profiles.", float64(m.BuckHashSys)},
		{kindGauge, "gc_sys_bytes", "Bytes for the collection of garbage.", float64(m.GCSys)},
		{kindGauge, "other_sys_bytes", "Bytes for everything else of the runtime.", float64(m.OtherSys)},
		{kindGauge, "next_gc_bytes", "Bytes of the heap at which garbage is collected next.", float64(m.NextGC)},
		{kindGauge, "last_gc_time_seconds", "Unix time of the last collection of garbage.", float64(m.LastGC) / 1e9},
	} {
		one(n.kind, "go_memstats_"+n.name, n.help, n.value)
	}
}

// systemNumbers is what Linux says, and of the processor's time what every Unix does.
func systemNumbers(one func(kind, name, help string, value float64)) {
	var used syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &used) == nil {
		one(kindCounter, "process_cpu_seconds_total", "Time of the processor, of the program and of the system for it.", time.Duration(used.Utime.Nano()+used.Stime.Nano()).Seconds())
	}
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) == nil {
		one(kindGauge, "process_max_fds", "Files that may be open.", float64(limit.Cur))
	}
	if syscall.Getrlimit(syscall.RLIMIT_AS, &limit) == nil {
		one(kindGauge, "process_virtual_memory_max_bytes", "Bytes of addresses that may be in use.", float64(limit.Cur))
	}
	if open, err := os.ReadDir("/proc/self/fd"); err == nil {
		one(kindGauge, "process_open_fds", "Files that are open.", float64(len(open)-1)) // one is for looking
	}
	stat, _ := os.ReadFile("/proc/self/stat") // there is none on other systems
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 22 {
		return
	}
	field := func(i int) float64 { // from the third on (proc_pid_stat(5)), which comes after the name
		n, _ := strconv.ParseUint(fields[i-3], 10, 64) // the kernel writes numbers
		return float64(n)
	}
	one(kindGauge, "process_virtual_memory_bytes", "Bytes of addresses that are in use.", field(23))
	one(kindGauge, "process_resident_memory_bytes", "Bytes that are in memory.", field(24)*float64(os.Getpagesize()))
	if boot := bootTime(); boot > 0 {
		one(kindGauge, "process_start_time_seconds", "Unix time of the start.", boot+field(22)/clockTick)
	}
}

// clockTick is USER_HZ, which is 100 on every architecture that podgate is built for.
const clockTick = 100

// bootTime is when the machine started, as Unix time; 0 where that is not known.
func bootTime() float64 {
	stat, _ := os.ReadFile("/proc/stat") // there is none on other systems
	for line := range strings.Lines(string(stat)) {
		if text, found := strings.CutPrefix(line, "btime "); found {
			seconds, _ := strconv.ParseFloat(strings.TrimSpace(text), 64) // the kernel writes numbers
			return seconds
		}
	}
	return 0
}
