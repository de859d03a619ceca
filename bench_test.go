package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"podgate/control"
)

// post sends one MCP request over a kept connection and drops the answer.
func post(b *testing.B, client *http.Client, address, token, body string) {
	req, err := http.NewRequest(http.MethodPost, address, strings.NewReader(body))
	if err != nil {
		b.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	req.Header.Set("Mcp-Protocol-Version", "2025-11-25")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := client.Do(req)
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || bytes.Contains(answer, []byte(`"isError":true`)) {
		b.Fatalf("%d %v %s", resp.StatusCode, err, answer)
	}
}

func toolCall(tool, arguments string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":%q,"arguments":%s}}`, tool, arguments)
}

// processorTime is what this process has used.
func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkExec compares a command that does nothing, through MCP, the agent
// and the sandbox, with the same command started by this process.
func BenchmarkExec(b *testing.B) {
	b.Run("podgate", func(b *testing.B) {
		srv := startServer(b, "[log]\nlevel = \"warn\"")
		needSandbox(b, srv)
		c := connect(b, srv, setUp(b, srv), connectOptions{})
		c.call(b, "create_pod", args{"name": "bench", "preset": "static"})
		client := &http.Client{Transport: &http.Transport{}}
		defer client.CloseIdleConnections()
		for b.Loop() {
			post(b, client, srv.URL+"/api/mcp", c.wire.token(), toolCall("exec_command", `{"name":"bench","command":":"}`))
		}
	})
	b.Run("bare", func(b *testing.B) {
		for b.Loop() {
			if err := exec.Command("/bin/sh", "-c", ":").Run(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// startBuilt starts a server as people have it: the pods of one in a test's process start
// with what tests bring along.
func startBuilt(b *testing.B) *testServer {
	s := newTestServer(b, b.TempDir())
	s.program = buildProgram(b)
	s.launch(testEnv(), s.Stdout, s.Log, s.args([]string{"[log]\nlevel = \"warn\""}))
	s.waitReady()
	needSandbox(b, s)
	return s
}

// BenchmarkStartPod measures a stopped pod from manage_pod start to the first
// byte of its page at its own address.
func BenchmarkStartPod(b *testing.B) {
	srv := startBuilt(b)
	c := connect(b, srv, setUp(b, srv), connectOptions{})
	address := c.call(b, "create_pod", args{"name": "bench", "preset": "static"})["url"].(string)
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	manage := func(action string) {
		post(b, client, srv.URL+"/api/mcp", c.wire.token(), toolCall("manage_pod", fmt.Sprintf(`{"name":"bench","action":%q}`, action)))
	}
	besideBwrap(b, func(int) { manage("stop") }, func(int) {
		manage("start")
		if status, body := visit(b, address); status != http.StatusOK || body == "" {
			b.Fatalf("%d %s", status, body)
		}
	})
}

// BenchmarkCreatePod measures a pod from create_pod to the first byte of its page at its
// own address.
func BenchmarkCreatePod(b *testing.B) {
	srv := startBuilt(b)
	c := connect(b, srv, setUp(b, srv), connectOptions{})
	name := func(n int) string { return fmt.Sprint("bench-", n) }
	first := c.call(b, "create_pod", args{"name": name(0), "preset": "static"})["url"].(string)
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	call := func(tool, arguments string) {
		post(b, client, srv.URL+"/api/mcp", c.wire.token(), toolCall(tool, arguments))
	}
	besideBwrap(b, func(n int) {
		call("manage_pod", fmt.Sprintf(`{"name":%q,"action":"delete","confirm":%q}`, name(n-1), name(n-1)))
	}, func(n int) {
		call("create_pod", fmt.Sprintf(`{"name":%q,"preset":"static"}`, name(n)))
		if status, body := visit(b, strings.Replace(first, name(0), name(n), 1)); status != http.StatusOK || body == "" {
			b.Fatalf("%d %s", status, body)
		}
	})
}

// besideBwrap measures turn, before each of which prepare puts everything in its place; both
// hear which one it is, from 1 on. In turns with it bubblewrap runs true in namespaces of
// its own, where it is installed: pod-ms and bwrap-ms are the medians of both, and
// times-bwrap how much longer the pod took.
func besideBwrap(b *testing.B, prepare, turn func(n int)) {
	bwrap, err := exec.LookPath("bwrap")
	if err != nil {
		if strings.Contains(os.Getenv("PODGATE_REQUIRE"), "bwrap") {
			b.Fatal(err)
		}
		b.Log("bwrap, which this is held against, is not installed")
	}
	var ours, theirs []time.Duration
	for n := 1; b.Loop(); n++ {
		b.StopTimer()
		prepare(n)
		if bwrap != "" {
			began := time.Now()
			if out, err := exec.Command(bwrap, "--unshare-all", "--die-with-parent", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "true").CombinedOutput(); err != nil {
				b.Fatalf("bwrap: %v: %s", err, out)
			}
			theirs = append(theirs, time.Since(began))
		}
		b.StartTimer()
		began := time.Now()
		turn(n)
		ours = append(ours, time.Since(began))
	}
	median := func(list []time.Duration) float64 {
		slices.Sort(list)
		return float64(list[len(list)/2]) / float64(time.Millisecond)
	}
	b.ReportMetric(median(ours), "pod-ms")
	if bwrap != "" {
		b.ReportMetric(median(theirs), "bwrap-ms")
		b.ReportMetric(median(ours)/median(theirs), "times-bwrap")
	}
}

// BenchmarkDeploy measures a deploy of 1,000 files of 2 KiB from the call to the first
// answer at the app's address. Beside it, in files-ms/op, is what it takes this process
// to write such files.
func BenchmarkDeploy(b *testing.B) {
	srv := startServer(b, "[log]\nlevel = \"warn\"")
	needSandbox(b, srv)
	c := connect(b, srv, setUp(b, srv), connectOptions{})
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	files := map[string]string{"index.html": "bench"}
	for i := range 999 {
		files[fmt.Sprintf("assets/%d/%d.txt", i%30, i)] = strings.Repeat("x", 2048)
	}
	arguments, err := json.Marshal(args{"name": "bench", "files": files})
	if err != nil {
		b.Fatal(err)
	}
	call := toolCall("deploy", string(arguments))
	address := c.call(b, "deploy", args{"name": "bench", "files": args{"index.html": "first"}})["pod"].(map[string]any)["url"].(string)
	var alone time.Duration
	for b.Loop() {
		b.StopTimer()
		alone += writeFiles(b, files)
		b.StartTimer()
		post(b, client, srv.URL+"/api/mcp", c.wire.token(), call)
		if status, body := visit(b, address); status != http.StatusOK || body != "bench" {
			b.Fatalf("%d %s", status, body)
		}
	}
	b.ReportMetric(float64(alone.Milliseconds())/float64(b.N), "files-ms/op")
}

// writeFiles returns how long it takes to write files.
func writeFiles(b *testing.B, files map[string]string) time.Duration {
	b.Helper()
	dir := b.TempDir()
	began := time.Now()
	for name, text := range files {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	return time.Since(began)
}

// buildProgram builds the program as README says and returns its path.
func buildProgram(b *testing.B) string {
	b.Helper()
	path := filepath.Join(b.TempDir(), "podgate")
	cmd := exec.Command("go", "build", "-o", path, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Skipf("the program cannot be built here: %v\n%s", err, out)
	}
	return path
}

// BenchmarkProgram measures the program from outside: the time from its start
// to its first answer, what it keeps in memory when nothing happens, and its
// size. The bare start is that of the same file printing its version. cpu-ms/op
// is the processor time of the program, also for stopping, which tells more
// than the clock on a busy machine.
func BenchmarkProgram(b *testing.B) {
	path := buildProgram(b)
	info, err := os.Stat(path)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("first answer", func(b *testing.B) {
		var busy time.Duration
		for b.Loop() {
			p := launch(b, path)
			b.StopTimer()
			p.end(b)
			busy += p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime()
			b.StartTimer()
		}
		b.ReportMetric(float64(info.Size())/(1<<20), "MiB-file")
		b.ReportMetric(float64(busy.Milliseconds())/float64(b.N), "cpu-ms/op")
	})
	b.Run("bare start", func(b *testing.B) {
		for b.Loop() {
			if err := exec.Command(path, "version").Run(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("idle memory", func(b *testing.B) {
		for b.Loop() {
			p := launch(b, path)
			time.Sleep(2 * time.Second) // nothing to wait for: idling is what is measured
			b.ReportMetric(memoryOf(b, p.cmd.Process.Pid)["VmRSS:"], "MiB-resident")
			p.end(b)
		}
	})
}

// BenchmarkUpgrade measures from outside for how long nobody is answered while a program
// takes over from itself: longest-ms is what the visitor waited who waited longest, and
// silent-ms what the program says, from when it accepts nobody more until the next one does.
// The time of an op is that of the whole command, with the try before. What it is held
// against is a start of the same file in the same folder, to its first answer.
func BenchmarkUpgrade(b *testing.B) {
	path, dir := buildProgram(b), b.TempDir()
	b.Run("take over", func(b *testing.B) {
		p := launchIn(b, path, dir)
		defer p.end(b)
		var silent int64
		var longest time.Duration
		for b.Loop() {
			over, waited := make(chan struct{}), make(chan time.Duration)
			go func() { waited <- p.visit(b, over) }()
			out, err := exec.Command(path, "upgrade", "--data", dir, "--json").Output()
			close(over)
			longest += <-waited
			var u control.Upgrade
			if err != nil || json.Unmarshal(out, &u) != nil || u.State != control.UpgradeDone {
				b.Fatalf("%v: %s", err, out)
			}
			silent += u.Took
		}
		b.ReportMetric(float64(silent)/float64(b.N), "silent-ms")
		b.ReportMetric(float64(longest.Milliseconds())/float64(b.N), "longest-ms")
	})
	b.Run("start", func(b *testing.B) {
		for b.Loop() {
			p := launchIn(b, path, dir)
			b.StopTimer()
			p.end(b)
			b.StartTimer()
		}
	})
}

// visit comes again and again, each time on a connection of its own, and returns how long
// the longest visit took.
func (l launched) visit(b *testing.B, over <-chan struct{}) (longest time.Duration) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for {
		select {
		case <-over:
			return longest
		default:
		}
		began := time.Now()
		res, err := client.Get("http://" + l.address + "/healthz")
		if err != nil {
			b.Error(err)
			return longest
		}
		_ = res.Body.Close()
		longest = max(longest, time.Since(began))
	}
}

type launched struct {
	cmd     *exec.Cmd
	address string
}

// launch starts the program with an empty data folder and returns when it has
// answered a request.
func launch(b *testing.B, path string) launched { return launchIn(b, path, b.TempDir()) }

func launchIn(b *testing.B, path, dir string) launched {
	b.Helper()
	return launchAt(b, path, dir, "127.0.0.1:"+freePort(b))
}

func launchAt(b *testing.B, path, dir, address string) launched {
	b.Helper()
	cmd := exec.Command(path, "--listen", address, "--data", dir)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); ; {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
			resp, err := http.Get("http://" + address + "/.well-known/oauth-protected-resource")
			if err == nil {
				resp.Body.Close()
				return launched{cmd, address}
			}
		}
		if time.Now().After(deadline) {
			b.Fatal("no answer")
		}
		time.Sleep(time.Millisecond / 2)
	}
}

func (l launched) end(b *testing.B) {
	b.Helper()
	if err := l.cmd.Process.Signal(os.Interrupt); err != nil {
		b.Fatal(err)
	}
	if err := l.cmd.Wait(); err != nil {
		b.Fatal(err)
	}
}
