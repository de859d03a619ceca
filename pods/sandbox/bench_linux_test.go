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
	"slices"
	"strconv"
	"strings"
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
// it does: a long stream, and connections that are made one after the other, in turns
// with what they cannot be faster than. The pod may use all processors, as the program
// does.
func BenchmarkEgress(b *testing.B) {
	const size = 64 << 20
	source := newSource(b, size)
	r := open(b, Config{})
	g := egress.NewGate(egress.Config{
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return egress.Connect(ctx, network, source.String())
		},
		Resolver: elsewhere{},
		Own:      func() ([]netip.Prefix, error) { return nil, nil },
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
	}
	b.Run("connections", func(b *testing.B) {
		all := map[string][]float64{}
		for b.Loop() {
			for _, c := range []struct {
				name string
				run  func(string) string
				line string
			}{
				{"bare", outside, fmt.Sprintf(connects, "127.0.0.1", source.Port())},
				{"floor", outside, passes},
				{"address", inside, fmt.Sprintf(connects, "8.8.8.8", 443)},
				{"name", inside, fmt.Sprintf(connects, "api.example.com", 443)},
				{"question", inside, questions},
			} {
				for _, f := range strings.Fields(c.run(c.line)) {
					each, err := strconv.ParseFloat(f, 64)
					if err != nil {
						b.Fatal(err)
					}
					all[c.name] = append(all[c.name], each)
				}
			}
			time.Sleep(time.Second) // as fast as a pod may
		}
		for name, each := range all {
			slices.Sort(each)
			b.ReportMetric(each[0], name+"-least-µs")
			b.ReportMetric(each[len(each)/2], name+"-median-µs")
		}
	})
}

// These print how many microseconds each of 50 took: connections to a host and port; a
// message through as many processes as have a part in a pod's connection and back, which
// do nothing with it; a question for a name.
const (
	connects = `perl -MSocket -MTime::HiRes=time -e '$to = pack_sockaddr_in($ARGV[1], inet_aton($ARGV[0])); for (1..50) { socket(my $s, PF_INET, SOCK_STREAM, 0) or die; my $t = time; connect($s, $to) or die; printf "%%.1f ", 1e6 * (time - $t) }' %s %d`
	passes   = `perl -MSocket -MTime::HiRes=time -e '
		socketpair($app, $in, AF_UNIX, SOCK_SEQPACKET, 0) && socketpair($out, $server, AF_UNIX, SOCK_SEQPACKET, 0) or die;
		if (!fork) { close $app; while (sysread $in, $b, 9) { syswrite $out, $b; sysread $out, $b, 9; syswrite $in, $b } exit }
		if (!fork) { close $app; close $out; while (sysread $server, $b, 9) { syswrite $server, $b } exit }
		close $in; close $out; close $server;
		for (1..50) { my $t = time; syswrite $app, "x"; sysread $app, $b, 9; printf "%.1f ", 1e6 * (time - $t) }'`
	questions = `perl -MSocket -MTime::HiRes=time -e 'for (1..50) { my $t = time; inet_aton("api.example.com") or die; printf "%.1f ", 1e6 * (time - $t) }'`
)

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
