//go:build linux && (amd64 || arm64)

package sandbox

import (
	"context"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"podgate/pods"
	"podgate/pods/egress"
	"podgate/store"
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

// BenchmarkEgress compares what a pod reaches outside with what a program beside
// it does: a long stream, and connections that are made one after the other. The
// pod may use all processors, as the program does.
func BenchmarkEgress(b *testing.B) {
	const size = 64 << 20
	source := newSource(b, size)
	r := open(b, Config{})
	g := egress.NewGate(egress.Config{
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, source.String())
		},
		Own: func() ([]netip.Prefix, error) { return nil, nil },
	}, openToAll)
	all := limits
	all.CPUs = float64(runtime.NumCPU())
	if err := r.Start(b.Context(), pods.Spec{ID: "a", Name: "a", Limits: all, Gate: g}, quiet); err != nil {
		b.Fatal(err)
	}
	const read = `bash -c 'exec 3<>/dev/tcp/%s/%d; echo >&3; exec cat <&3' | wc -c`
	outside := func(line string) string {
		out, err := exec.Command("sh", "-c", line).Output()
		if err != nil {
			b.Fatal(err)
		}
		return string(out)
	}
	inside := func(line string) string { return command(b, r, "a", line).stdout }
	for _, c := range []struct {
		name string
		run  func(string) string
		host string
		port uint16
	}{{"bare", outside, "127.0.0.1", source.Port()}, {"pod", inside, "8.8.8.8", 443}} {
		b.Run("stream/"+c.name, func(b *testing.B) {
			b.SetBytes(size)
			for b.Loop() {
				if got := c.run(fmt.Sprintf(read, c.host, c.port)); got != fmt.Sprintln(size) {
					b.Fatalf("%q", got)
				}
			}
		})
		b.Run("connections/"+c.name, func(b *testing.B) {
			const some = 50
			line := fmt.Sprintf(`perl -MIO::Socket::INET -MTime::HiRes=time -e '$t = time; for (1..%d) { IO::Socket::INET->new(PeerAddr => "%s:%d") or die } printf "%%f", (time - $t) / %d'`, some, c.host, c.port, some)
			var each float64
			n := 0
			for b.Loop() {
				seconds, err := strconv.ParseFloat(c.run(line), 64)
				if err != nil {
					b.Fatal(err)
				}
				each += seconds
				n++
				if c.name == "pod" {
					time.Sleep(some * time.Second / 100) // as fast as a pod may
				}
			}
			b.ReportMetric(each/float64(n)*1e6, "µs/connection")
		})
	}
}

// newSource sends size bytes to who sends a line.
func newSource(b *testing.B, size int) netip.AddrPort {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	var all sync.WaitGroup
	b.Cleanup(func() { l.Close(); all.Wait() })
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer c.Close()
				if n, _ := c.Read(make([]byte, 1)); n == 0 {
					return
				}
				block := make([]byte, 1<<20)
				for range size / len(block) {
					if _, err := c.Write(block); err != nil {
						return
					}
				}
			})
		}
	})
	return netip.MustParseAddrPort(l.Addr().String())
}

// BenchmarkIdle is what pods keep that have used their network and do nothing: how
// much memory each has of its own with what it shares counted by its part (PSS),
// and how long the server takes to run a command in one of them.
func BenchmarkIdle(b *testing.B) {
	for _, n := range []int{1, *idlePods} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			r := open(b, Config{})
			e := newElsewhere(b)
			ids := make([]store.PodID, n)
			for i := range ids {
				ids[i] = store.PodID(fmt.Sprintf("p%d", i))
				startWith(b, r, ids[i], gateTo(e, openToAll))
				if got := command(b, r, ids[i], perlTCP+"8.8.8.8:443"); got.stdout != "hello\n" {
					b.Fatalf("%s: %+v", ids[i], got)
				}
			}
			var agents, gateways int64
			for _, id := range ids {
				agents += sumFields(fmt.Sprintf("/proc/%d/smaps_rollup", r.running(id).process.Pid), "Pss:")
				gateways += sumFields(fmt.Sprintf("/proc/%d/smaps_rollup", gatewayOf(r, id)), "Pss:")
			}
			for b.Loop() {
				command(b, r, ids[b.N%n], "true")
			}
			b.ReportMetric(float64(agents)/1024/float64(n), "agent-MB")
			b.ReportMetric(float64(gateways)/1024/float64(n), "gateway-MB")
		})
	}
}

var idlePods = flag.Int("idle-pods", 20, "how many pods BenchmarkIdle keeps")
