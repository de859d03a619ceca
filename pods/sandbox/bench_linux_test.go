//go:build linux && (amd64 || arm64)

package sandbox

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"podgate/pods"
)

// BenchmarkStart is from the call until the agent has answered. cpu-ms/op is
// the processor time of the server and the pod together, also for stopping,
// which tells more than the clock on a busy machine. rss-MB is the agent's
// resident memory right after the start, most of it shared with all agents.
func BenchmarkStart(b *testing.B) {
	r := open(b, Config{})
	var resident int64
	before := processorTime(b)
	for b.Loop() {
		if err := r.Start(b.Context(), pods.Spec{ID: "a", Name: "a", Limits: pods.Limits{Memory: 256 << 20, CPUs: 1, Processes: 64}}, quiet); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		resident = sumFields(fmt.Sprintf("/proc/%d/status", r.running("a").process.Pid), "VmRSS:")
		if err := r.Stop(b.Context(), "a"); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.ReportMetric(float64((processorTime(b)-before).Milliseconds())/float64(b.N), "cpu-ms/op")
	b.ReportMetric(float64(resident)/1024, "rss-MB")
}

// processorTime is what this process and its collected children have used.
func processorTime(b *testing.B) time.Duration {
	var sum time.Duration
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		if err := syscall.Getrusage(who, &u); err != nil {
			b.Fatal(err)
		}
		sum += time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	return sum
}
