package pods

import (
	"context"
	"io"
	"net"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

// BenchmarkHear opens 300 streams of states and keeps them: KiB/stream is what the
// server has in memory for each, without the agent's end.
func BenchmarkHear(b *testing.B) {
	const many = 300
	l, err := net.Listen("unix", filepath.Join(b.TempDir(), "agents"))
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	c := newClient(func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", l.Addr().String())
	})
	memory := func() int64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc + m.StackInuse)
	}
	var kept int64
	for b.Loop() {
		ctx, cancel := context.WithCancel(b.Context())
		// The agents' ends are descriptors and nothing else, but for a few hundred bytes.
		ends, ended := make([]net.Conn, many), make(chan struct{}, many)
		before := memory()
		for i := range ends {
			go func() {
				ends[i], _ = l.Accept()
				_, _ = io.WriteString(ends[i], heardHead+heardWell)
			}()
			h, _, err := c.hear(ctx, time.Now())
			if err != nil {
				b.Fatal(err)
			}
			go func() {
				defer func() { ended <- struct{}{} }()
				_, _ = h.next() // until the end
			}()
		}
		kept = memory() - before
		cancel()
		for i := range ends {
			<-ended
			_ = ends[i].Close()
		}
	}
	b.ReportMetric(float64(kept)/1024/many, "KiB/stream")
}
