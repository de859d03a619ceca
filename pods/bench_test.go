package pods_test

import (
	"fmt"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"

	"podgate/internal/authz"
	"podgate/pods"
	"podgate/pods/podstest"
	"podgate/store"
	"podgate/store/storetest"
)

// BenchmarkExec is a command through service, client and agent, without the
// cost of isolation, beside what starting the same command costs by itself.
func BenchmarkExec(b *testing.B) {
	b.Run("bare", func(b *testing.B) {
		for b.Loop() {
			if err := exec.Command("/bin/sh", "-c", ":").Run(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("service", benchmarkExec)
}

func benchmarkExec(b *testing.B) {
	db := storetest.New(b)
	s := podstest.NewService(b, db)
	w := storetest.Populate(b, db, "ann", time.Now())
	a := authz.Person(w.User.ID, store.Membership{Team: w.Team, Role: store.RoleOwner})
	if _, err := s.Create(b.Context(), a, pods.CreateRequest{Name: "shop", Preset: "static"}, nil); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := s.Exec(b.Context(), a, "shop", pods.ExecRequest{Command: ":"}, nil); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkList is a list of so many pods that run and are listened to, and beside it of
// as many that are stopped. cpu-µs/op is the processor time of this process, in which the
// agents are; idle-% is what it takes, of a core, while nothing happens, and KiB/stream
// what it keeps in memory for each stream, both ends of it, from the first list on.
func BenchmarkList(b *testing.B) {
	db := storetest.New(b)
	fake := podstest.NewFake(b)
	fake.SetAgent(newSpeaker().serve)
	s := podstest.ServiceOver(b, db, fake, func(c *pods.Config) { c.Quota = pods.Quota{Pods: 1000, Memory: 1 << 40} })
	for _, many := range []int{0, 1, 10, 50, 300} {
		w := storetest.Populate(b, db, fmt.Sprintf("ann%d", many), time.Now())
		a := authz.Person(w.User.ID, store.Membership{Team: w.Team, Role: store.RoleOwner})
		for i := range many {
			if _, err := s.Create(b.Context(), a, pods.CreateRequest{Name: fmt.Sprintf("pod-%d-%d", many, i), Preset: "static"}, nil); err != nil {
				b.Fatal(err)
			}
		}
		before := memoryInUse()
		list := func(b *testing.B) {
			if list, err := s.List(b.Context(), a); err != nil || len(list) != many {
				b.Fatal(len(list), err)
			}
		}
		list(b)
		kept := float64(memoryInUse()-before) / 1024
		measure := func(b *testing.B) (idle float64) {
			const rest = 2 * time.Second
			used := processorTime(b)
			time.Sleep(rest) // nothing to wait for: idling is what is measured
			idle = 100 * float64(processorTime(b)-used) / float64(rest)
			used = processorTime(b)
			for b.Loop() {
				list(b)
			}
			b.ReportMetric(float64((processorTime(b)-used).Nanoseconds())/1000/float64(b.N), "cpu-µs/op")
			return idle
		}
		b.Run(fmt.Sprintf("running/%d", many), func(b *testing.B) {
			b.ReportMetric(measure(b), "idle-%")
			b.ReportMetric(kept/float64(max(1, many)), "KiB/stream")
		})
		for i := range many {
			if _, err := s.Stop(b.Context(), a, fmt.Sprintf("pod-%d-%d", many, i), nil); err != nil {
				b.Fatal(err)
			}
		}
		b.Run(fmt.Sprintf("stopped/%d", many), func(b *testing.B) { b.ReportMetric(measure(b), "idle-%") })
	}
}

// memoryInUse is what this process keeps in memory, stacks with it.
func memoryInUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// processorTime is what this process has used.
func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
