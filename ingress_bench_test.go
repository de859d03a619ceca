package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// ingressApp answers with so many bytes as its path says.
const ingressApp = `package main

import (
	"net/http"
	"os"
	"strconv"
)

func main() {
	bytes := make([]byte, 1<<20)
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.Atoi(r.URL.Path[1:])
		if err != nil || n < 0 || n > len(bytes) {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("Content-Length", strconv.Itoa(n))
		w.Write(bytes[:n])
	})
	panic(http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), nil))
}
`

// BenchmarkIngress compares the way through podgate to an app in a pod with the way
// through Caddy to the same app beside it, in turns of half a second, and with no proxy at
// all. The figures are requests a second; ratio is the median of podgate's turns by that of
// Caddy's, and cpu-µs what a request costs the proxy in processor time, which a busy machine
// does not make longer.
func BenchmarkIngress(b *testing.B) {
	caddy, err := exec.LookPath("caddy")
	if err != nil {
		if strings.Contains(os.Getenv("PODGATE_REQUIRE"), "caddy") {
			b.Fatal(err)
		}
		b.Skip("caddy, which this is measured against, is not installed")
	}
	srv := startProcess(b, b.TempDir(), "[log]\nlevel = \"warn\"")
	needSandbox(b, srv)
	c := connect(b, srv, setUp(b, srv), connectOptions{})
	made := c.call(b, "deploy", args{"name": "bench", "preset": "go", "plan": "large", "files": args{"main.go": ingressApp, "go.mod": "module app\n"}})
	inPod := made["pod"].(map[string]any)["url"].(string)
	beside := startIngressApp(b)
	proxy, rival := startCaddy(b, caddy, beside)
	for _, load := range []struct{ clients, bytes int }{{1, 200}, {8, 200}, {16, 200}, {64, 200}, {8, 1 << 20}} {
		b.Run(fmt.Sprintf("%d-clients-%d-bytes", load.clients, load.bytes), func(b *testing.B) {
			var rates [3][]float64
			var costs [2][]float64
			for b.Loop() {
				for i, address := range []string{inPod, proxy, beside} {
					var before time.Duration
					if i < len(costs) {
						before = processorTimeOf(b, []*os.Process{srv.proc, rival}[i])
					}
					rate, answered := requestRate(b, address, load.clients, load.bytes)
					rates[i] = append(rates[i], rate)
					if i < len(costs) {
						took := processorTimeOf(b, []*os.Process{srv.proc, rival}[i]) - before
						costs[i] = append(costs[i], took.Seconds()*1e6/float64(answered))
					}
				}
			}
			median := func(list []float64) float64 { slices.Sort(list); return list[len(list)/2] }
			b.ReportMetric(median(rates[0]), "podgate/s")
			b.ReportMetric(median(rates[1]), "caddy/s")
			b.ReportMetric(median(rates[2]), "bare/s")
			b.ReportMetric(median(rates[0])/median(rates[1]), "ratio")
			b.ReportMetric(median(costs[0]), "podgate-cpu-µs")
			b.ReportMetric(median(costs[1]), "caddy-cpu-µs")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// startIngressApp builds and starts the app on this machine, and returns its address.
func startIngressApp(b *testing.B) string {
	b.Helper()
	dir := b.TempDir()
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "main.go"), []byte(ingressApp), 0o644),
		os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module app\n"), 0o644)); err != nil {
		b.Fatal(err)
	}
	build := exec.Command("go", "build", "-o", "app")
	build.Dir = dir
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	port := freePort(b)
	app := exec.Command(filepath.Join(dir, "app"))
	app.Env = append(os.Environ(), "PORT="+port)
	startBeside(b, app, "127.0.0.1:"+port)
	return "http://127.0.0.1:" + port
}

// startCaddy has Caddy pass on what comes to the address that it returns.
func startCaddy(b *testing.B, caddy, to string) (at string, proxy *os.Process) {
	b.Helper()
	address, home := "127.0.0.1:"+freePort(b), b.TempDir()
	config := filepath.Join(home, "Caddyfile")
	words := fmt.Sprintf("{\n\tadmin off\n\tauto_https off\n}\nhttp://%s {\n\treverse_proxy %s\n}\n", address, to)
	if err := os.WriteFile(config, []byte(words), 0o644); err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(caddy, "run", "--config", config, "--adapter", "caddyfile")
	cmd.Env = append(os.Environ(), "HOME="+home, "XDG_CONFIG_HOME="+home, "XDG_DATA_HOME="+home)
	startBeside(b, cmd, address)
	return "http://" + address, cmd.Process
}

// processorTimeOf is what a process has used, without its children, to a hundredth of a
// second (proc_pid_stat(5)).
func processorTimeOf(b *testing.B, p *os.Process) time.Duration {
	b.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Pid))
	if err != nil {
		b.Fatal(err)
	}
	fields := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:]))
	user, err := strconv.Atoi(fields[11])
	system, err2 := strconv.Atoi(fields[12])
	if err := errors.Join(err, err2); err != nil {
		b.Fatal(err)
	}
	return time.Duration(user+system) * 10 * time.Millisecond
}

// startBeside starts a server, which ends with the benchmark.
func startBeside(b *testing.B, cmd *exec.Cmd, address string) {
	b.Helper()
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
			return
		}
		if time.Now().After(deadline) {
			b.Fatal(err)
		}
	}
}

// requestRate is how many requests a second, and in all, clients get answered that each keep
// a connection and ask again as soon as they have an answer.
func requestRate(b *testing.B, address string, clients, bytes int) (rate float64, requests int64) {
	b.Helper()
	u, err := url.Parse(address)
	if err != nil {
		b.Fatal(err)
	}
	request := fmt.Appendf(nil, "GET /%d HTTP/1.1\r\nHost: %s\r\n\r\n", bytes, u.Host)
	var answered atomic.Int64
	var all sync.WaitGroup
	began := time.Now()
	end := began.Add(500 * time.Millisecond)
	for range clients {
		all.Go(func() {
			conn, err := net.Dial("tcp", "127.0.0.1:"+u.Port())
			if err != nil {
				b.Error(err)
				return
			}
			defer conn.Close()
			answers := bufio.NewReaderSize(conn, 64<<10)
			for time.Now().Before(end) {
				if _, err := conn.Write(request); err != nil {
					b.Error(err)
					return
				}
				res, err := http.ReadResponse(answers, nil)
				if err != nil {
					b.Error(err)
					return
				}
				n, err := io.Copy(io.Discard, res.Body)
				if err != nil || n != int64(bytes) || res.StatusCode != http.StatusOK {
					b.Error(res.StatusCode, n, err)
					return
				}
				answered.Add(1)
			}
		})
	}
	all.Wait()
	return float64(answered.Load()) / time.Since(began).Seconds(), answered.Load()
}
