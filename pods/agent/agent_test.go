package agent

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"podgate/pods/wire"
)

func TestMain(m *testing.M) {
	Dispatch()
	runInitRole()
	// What a shell starts in the background begins with these ignored, and would pass
	// that on. A handler is not passed on.
	for _, s := range []os.Signal{syscall.SIGINT, syscall.SIGQUIT} {
		if signal.Ignored(s) {
			signal.Notify(make(chan os.Signal, 1), s)
		}
	}
	os.Exit(m.Run())
}

// pairs is a listener whose connections are socket pairs, as a runtime hands
// them in.
type pairs struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newPairs() *pairs {
	return &pairs{conns: make(chan net.Conn), done: make(chan struct{})}
}

func (p *pairs) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pairs) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

func (p *pairs) Addr() net.Addr { return &net.UnixAddr{Name: "pair", Net: "unix"} }

func (p *pairs) dial() (net.Conn, error) {
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	select {
	case p.conns <- theirs:
		return ours, nil
	case <-p.done:
		ours.Close()
		theirs.Close()
		return nil, net.ErrClosed
	}
}

func socketPair() (a, b net.Conn, err error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		return nil, nil, err
	}
	var conns [2]net.Conn
	for i, fd := range fds {
		syscall.CloseOnExec(fd)
		f := os.NewFile(uintptr(fd), "pair")
		conns[i], err = net.FileConn(f)
		f.Close()
		if err != nil {
			return nil, nil, err
		}
	}
	return conns[0], conns[1], nil
}

// testAgent is an agent in this process, and a client for it.
type testAgent struct {
	t    testing.TB
	cfg  Config
	l    *pairs
	http *http.Client
	end  func() error // stops the agent and returns what Serve did
}

func startAgent(t testing.TB, change ...func(*Config)) *testAgent {
	t.Helper()
	dir := t.TempDir()
	cfg := Config{
		Home: filepath.Join(dir, "home"), Tmp: filepath.Join(dir, "tmp"),
		GraceStop: 2 * time.Second, ErrorLog: testWriter{t},
	}
	for _, f := range change {
		f(&cfg)
	}
	ctx, cancel := context.WithCancel(context.Background())
	a := &testAgent{t: t, cfg: cfg, l: newPairs()}
	result := make(chan error, 1)
	go func() { result <- Serve(ctx, cfg, a.l) }()
	a.end = sync.OnceValue(func() error {
		cancel()
		select {
		case err := <-result:
			return err
		case <-time.After(40 * time.Second):
			return errors.New("Serve did not return")
		}
	})
	a.http = a.l.client()
	t.Cleanup(func() {
		if err := a.end(); err != nil {
			t.Errorf("Serve: %v", err)
		}
		a.http.CloseIdleConnections()
	})
	ask[wire.State](a, "GET", wire.PathState, nil)
	return a
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Logf("%s", bytes.TrimSpace(b))
	return len(b), nil
}

func (p *pairs) client() *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext: func(context.Context, string, string) (net.Conn, error) { return p.dial() },
	}}
}

// do sends one request and returns status and body.
func (a *testAgent) do(method, path string, body []byte) (*http.Response, []byte) {
	a.t.Helper()
	req, err := http.NewRequest(method, "http://agent"+path, bytes.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	resp, err := a.http.Do(req)
	if err != nil {
		a.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	return resp, b
}

// ask sends a request that must succeed and decodes the answer.
func ask[T any](a *testAgent, method, path string, in any) T {
	a.t.Helper()
	var body []byte
	if in != nil {
		body, _ = json.Marshal(in)
	}
	resp, b := a.do(method, path, body)
	if resp.StatusCode != http.StatusOK {
		a.t.Fatalf("%s %s: %s %s", method, path, resp.Status, b)
	}
	var out T
	if err := json.Unmarshal(b, &out); err != nil {
		a.t.Fatalf("%s %s: %v in %s", method, path, err, b)
	}
	return out
}

// refused sends a request that must be refused with code.
func (a *testAgent) refused(code, method, path string, body []byte) wire.Fault {
	a.t.Helper()
	resp, b := a.do(method, path, body)
	var f wire.Fault
	json.Unmarshal(b, &f)
	if resp.StatusCode < 400 || f.Code != code {
		a.t.Fatalf("%s %s: %s %.200s, want a fault %s", method, path, resp.Status, b, code)
	}
	if resp.StatusCode != faultStatus[code] || f.Message == "" {
		a.t.Errorf("%s %s: status %d, message %q", method, path, resp.StatusCode, f.Message)
	}
	return f
}

func pathQuery(p string, more ...string) string {
	v := url.Values{"path": {p}}
	for i := 0; i < len(more); i += 2 {
		v.Set(more[i], more[i+1])
	}
	return "?" + v.Encode()
}

func (a *testAgent) put(p, content string, more ...string) wire.FileInfo {
	a.t.Helper()
	resp, b := a.do("PUT", wire.PathFile+pathQuery(p, more...), []byte(content))
	if resp.StatusCode != http.StatusOK {
		a.t.Fatalf("put %s: %s", p, b)
	}
	var info wire.FileInfo
	if err := json.Unmarshal(b, &info); err != nil {
		a.t.Fatal(err)
	}
	return info
}

// home is the real path of a file below /home/pod.
func (a *testAgent) home(rel string) string { return filepath.Join(a.cfg.Home, rel) }

// ran is the outcome of a command.
type ran struct {
	wire.Exit
	stdout, stderr string
}

func (a *testAgent) run(command string) ran {
	a.t.Helper()
	return a.exec(wire.ExecRequest{Command: command, TimeoutMillis: 60000, MaxOutput: 1 << 20})
}

func (a *testAgent) exec(req wire.ExecRequest) ran {
	a.t.Helper()
	out, err := a.tryExec(context.Background(), req)
	if err != nil {
		a.t.Fatalf("exec %q: %v", req.Command, err)
	}
	return out
}

func (a *testAgent) tryExec(ctx context.Context, req wire.ExecRequest) (ran, error) {
	var out ran
	body, _ := json.Marshal(req)
	r, _ := http.NewRequestWithContext(ctx, "POST", "http://agent"+wire.PathExec, bytes.NewReader(body))
	resp, err := a.http.Do(r)
	if err != nil {
		return out, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		f := &wire.Fault{}
		json.NewDecoder(resp.Body).Decode(f)
		return out, f
	}
	var done *wire.Exit
	err = readEvents(resp.Body, func(e wire.Event) {
		switch e.Stream {
		case "stdout":
			out.stdout += string(e.Data)
		case "stderr":
			out.stderr += string(e.Data)
		}
		done = e.Exit
	})
	if err == nil && done == nil {
		err = errors.New("the stream ended without Exit")
	}
	if done != nil {
		out.Exit = *done
	}
	return out, err
}

func readEvents(r io.Reader, f func(wire.Event)) error {
	s := bufio.NewScanner(r)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		var e wire.Event
		if err := json.Unmarshal(s.Bytes(), &e); err != nil {
			return fmt.Errorf("%w in %q", err, s.Text())
		}
		f(e)
	}
	return s.Err()
}

// eventually polls until ok holds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(40 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("never happened: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// freePort is a port that no connection and no listener on port 0 is given by the
// system, so that it is still free when an app takes it.
func freePort(t *testing.T) int {
	t.Helper()
	for range 100 {
		port := 10_000 + rand.IntN(20_000)
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			_ = l.Close()
			return port
		}
	}
	t.Fatal("no port is free")
	return 0
}

// alive reports whether a process lives that has text in its command line.
func alive(text string) bool {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		if b, _ := os.ReadFile(f); strings.Contains(string(b), text) {
			return true
		}
	}
	return false
}

func TestRoutes(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	a.refused(wire.FaultNotFound, "GET", "/v1/nothing", nil)
	a.refused(wire.FaultBadRequest, "PATCH", wire.PathFile+"?path=x", nil)
	a.refused(wire.FaultBadRequest, "GET", wire.PathState+"?extra=1", nil)
	if s := ask[wire.State](a, "GET", wire.PathState, nil); s.App != wire.AppStopped {
		t.Errorf("a fresh agent has app %q", s.App)
	}
}

func TestServeEndsWithListener(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	a.l.Close()
	if err := a.end(); err != nil {
		t.Errorf("Serve: %v", err)
	}
}

func TestInitIsForPID1(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	err := Serve(context.Background(), Config{Home: dir, Tmp: dir, Init: true}, newPairs())
	if err == nil || !strings.Contains(err.Error(), "PID 1") {
		t.Errorf("Serve in init mode outside a pod: %v", err)
	}
}
