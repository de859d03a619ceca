package mcp_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"podgate/pods"
	"podgate/store/storetest"
	"podgate/ui/pagetest"
)

// BenchmarkListGrowth is list_pods over loopback for a team of more and more pods, one in
// ten of which runs: cpu-µs/op is the processor time of this process, in which server,
// client and agents are. Beside it stands a read of as many bare records of bbolt in one
// transaction.
func BenchmarkListGrowth(b *testing.B) {
	for _, many := range storetest.PodGrowth() {
		const call = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list_pods","arguments":{}}}`
		server := newBench(b, func(c *pods.Config) { c.Quota = pods.Quota{Pods: 10_000, Memory: 1 << 50} })
		server.fake.SetAgent(pagetest.AgentSaying(fmt.Sprintf(`{"app":"running","command":"serve","port":8080,"started":%q}`, time.Now().Format(time.RFC3339))))
		storetest.AddPods(b, server.db, server.actor("ann").Team.ID, many, time.Now())
		for i := 0; i < many; i += 10 {
			if _, err := server.pods.Start(b.Context(), server.actor("ann"), fmt.Sprintf("pod-%04d", i), nil); err != nil {
				b.Fatal(err)
			}
		}
		client := &http.Client{Transport: carrier{"ann", &http.Transport{}}}
		b.Run(fmt.Sprintf("list/pods=%d", many), func(b *testing.B) {
			measured(b, func() {
				req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, server.url, strings.NewReader(call))
				if err != nil {
					b.Fatal(err)
				}
				req.Header.Set("Content-Type", "application/json")
				req.Header.Set("Accept", "application/json, text/event-stream")
				req.Header.Set("Mcp-Protocol-Version", legacy)
				res, err := client.Do(req)
				if err != nil {
					b.Fatal(err)
				}
				defer res.Body.Close()
				answer, err := io.ReadAll(res.Body)
				if n := strings.Count(string(answer), `"name":"pod-`); err != nil || res.StatusCode != http.StatusOK || n != many {
					b.Fatalf("%d %v, %d pods of %d: %.300s", res.StatusCode, err, n, many, answer)
				}
			})
		})
		client.CloseIdleConnections()
		b.Run(fmt.Sprintf("bare/pods=%d", many), func(b *testing.B) { measured(b, storetest.BareReads(b, many, 400)) })
	}
}

// measured reports the processor time of what is done again and again, which a busy
// machine does not make longer.
func measured(b *testing.B, do func()) {
	do()
	before := processorTime(b)
	for b.Loop() {
		do()
	}
	b.ReportMetric(float64((processorTime(b)-before).Nanoseconds())/1000/float64(b.N), "cpu-µs/op")
}

// processorTime is what this process has used.
func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
