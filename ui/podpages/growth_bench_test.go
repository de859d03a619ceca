package podpages_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"podgate/store"
	"podgate/store/storetest"
)

// BenchmarkPodGrowth is the front page of somebody with more and more pods, one in ten of
// which runs, and a round that holds what runs against what should; in processor time,
// with the agents in the same process. Beside it stands a read of as many bare records of
// bbolt in one transaction.
func BenchmarkPodGrowth(b *testing.B) {
	for _, many := range storetest.PodGrowth() {
		c := newCrowd(b, 0, store.WantStopped)
		storetest.AddPods(b, c.DB, c.team, many, c.Clock.Now())
		for i := 0; i < many; i += 10 {
			if _, err := c.pods.Start(b.Context(), c.Actor(c.ada, "red"), fmt.Sprintf("pod-%04d", i), nil); err != nil {
				b.Fatal(err)
			}
		}
		serve := c.front(b)
		b.Run(fmt.Sprintf("front/pods=%d", many), func(b *testing.B) {
			size := 0
			processorTimeOf(b, func() {
				w := serve()
				if size = w.Body.Len(); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "pod-0000") {
					b.Fatalf("%d %s", w.Code, w.Body)
				}
			})
			b.ReportMetric(float64(size)/1024, "KiB")
		})
		b.Run(fmt.Sprintf("reconcile/pods=%d", many), func(b *testing.B) {
			processorTimeOf(b, func() {
				if err := c.pods.Reconcile(b.Context()); err != nil {
					b.Fatal(err)
				}
			})
		})
		b.Run(fmt.Sprintf("bare/pods=%d", many), func(b *testing.B) { processorTimeOf(b, storetest.BareReads(b, many, 400)) })
	}
}

func processorTimeOf(b *testing.B, do func()) {
	do()
	before := cpuTime(b)
	for b.Loop() {
		do()
	}
	b.ReportMetric(float64((cpuTime(b)-before).Nanoseconds())/1000/float64(b.N), "cpu-µs/op")
}
