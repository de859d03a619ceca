package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"podgate/internal/config"
	"podgate/internal/web"
	"podgate/pods/egress"
)

// TestMain lets the test binary stand in for podgate itself: as a part of a
// pod, and as the program that scripts and kill tests start.
func TestMain(m *testing.M) {
	dispatchChild()
	// No test may depend on the internet, or tell it anything: the only names
	// are those of this machine.
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("tests ask no name server")
	}}
	testscript.Main(m, map[string]func(){
		"podgate":          main,
		"podgate-observed": observed,
		"podgate-release":  released,
		"podgate-load":     loaded,
		"craft":            craft,
	})
}

// testServer is a server that a test started.
type testServer struct {
	URL      string // http://127.0.0.1:PORT, whatever the public URL
	Issuer   string // the public URL
	DataDir  string
	SetupURL string // the first start's one-time link; empty once there is an administrator
	Stdout   *syncBuffer
	Log      *syncBuffer

	beyond egress.Config // the world of its pods; only for one that runs in this process

	roots *x509.CertPool // who vouches for it over https; nil: nobody

	t       testing.TB
	program string // that launch starts
	config  string // its configuration file
	killed  atomic.Bool
	cancel  context.CancelFunc // of one that runs in this process
	proc    *os.Process        // of one that does not
	code    chan int           // the exit code, once
	ended   *int
}

// pages is the origin of the server's pages.
func (s *testServer) pages() string { return web.NewPageHost(s.Issuer).Address() }

// startServer runs the program as a value on a free port of 127.0.0.1 and
// returns when it is ready. extra is its configuration file. It is stopped
// at the end of the test, which fails if it does not end well.
func startServer(t testing.TB, extra ...string) *testServer {
	t.Helper()
	return startServerIn(t, t.TempDir(), extra...)
}

// startServerIn is startServer over a data folder that may have been used.
func startServerIn(t testing.TB, dir string, extra ...string) *testServer {
	t.Helper()
	s := newTestServer(t, dir)
	s.start(testEnv(), extra...)
	return s
}

// start runs the program and returns when it is ready.
func (s *testServer) start(env config.Environ, extra ...string) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	p := process{Args: s.args(extra), Env: env, Stdin: strings.NewReader(""), Stdout: s.Stdout, Stderr: s.Log, Beyond: s.beyond}
	go func() { s.code <- run(ctx, p) }()
	s.t.Cleanup(func() {
		if code := s.Stop(); code != exitDone {
			s.t.Errorf("the server ended with code %d\n%s", code, s.Log)
		}
	})
	s.waitReady()
}

// startProcess is startServerIn in a process of its own, which Kill can end
// the hard way.
func startProcess(t testing.TB, dir string, extra ...string) *testServer {
	t.Helper()
	s := newTestServer(t, dir)
	s.launch(testEnv(), s.Stdout, s.Log, s.args(extra))
	s.waitReady()
	return s
}

// launch starts the program in a process of its own.
func (s *testServer) launch(env config.Environ, stdout, stderr io.Writer, args []string) {
	s.t.Helper()
	exe, err := exec.LookPath(s.program) // testscript puts this binary on PATH
	if err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.Command(exe, args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = env, stdout, stderr
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.proc = cmd.Process
	go func() {
		_ = cmd.Wait() // the exit code says it
		s.code <- cmd.ProcessState.ExitCode()
	}()
	s.t.Cleanup(func() { s.Kill() })
}

func newTestServer(t testing.TB, dir string) *testServer {
	return &testServer{t: t, program: "podgate", DataDir: dir, Stdout: &syncBuffer{}, Log: &syncBuffer{}, code: make(chan int, 1)}
}

// testEnv is all that servers of tests see of this process's environment.
func testEnv() config.Environ {
	return config.Environ{"PATH=" + os.Getenv("PATH"), "PODGATE_LOG_LEVEL=debug"}
}

// args writes the configuration file and returns the command line.
func (s *testServer) args(extra []string) []string {
	s.t.Helper()
	s.config = filepath.Join(s.t.TempDir(), "podgate.toml")
	if err := os.WriteFile(s.config, []byte(strings.Join(extra, "\n")), 0o600); err != nil {
		s.t.Fatal(err)
	}
	args := []string{"serve", "--data", s.DataDir, "--config", s.config}
	if !strings.Contains(strings.Join(extra, "\n"), "listen = ") {
		args = append(args, "--listen", "127.0.0.1:0")
	}
	return args
}

var (
	readyLine  = regexp.MustCompile(`podgate is ready at (\S+)\n`)
	setupLine  = regexp.MustCompile(`\n  (\S+/setup\?token=\S+)\n`)
	listenLine = regexp.MustCompile(`msg=listening address=(127\.0\.0\.1:\d+)|"msg":"listening","address":"(127\.0\.0\.1:\d+)"`)
)

// waitReady waits until the server has said all that it says at the start.
func (s *testServer) waitReady() {
	s.t.Helper()
	eventually(s.t, func() bool {
		if s.exited() {
			s.t.Fatalf("the server ended with code %d before it was ready\n%s%s", *s.ended, s.Stdout, s.Log)
		}
		return strings.Contains(s.Stdout.String(), "/api/mcp\n") && listenLine.MatchString(s.Log.String())
	})
	s.Issuer = readyLine.FindStringSubmatch(s.Stdout.String())[1]
	if m := setupLine.FindStringSubmatch(s.Stdout.String()); m != nil {
		s.SetupURL = m[1]
	}
	m := listenLine.FindStringSubmatch(s.Log.String())
	s.URL = "http://" + m[1] + m[2]
}

// exited reports whether the server has ended, and then remembers its code.
func (s *testServer) exited() bool {
	if s.ended != nil {
		return true
	}
	select {
	case code := <-s.code:
		s.ended = &code
	default:
	}
	return s.ended != nil
}

// Stop asks the server to end, waits until it has, and returns its exit code.
// It may be called again.
func (s *testServer) Stop() int {
	s.t.Helper()
	if s.cancel != nil {
		s.cancel()
	} else if !s.exited() {
		_ = s.proc.Signal(syscall.SIGTERM) // fails only when it has just ended
	}
	return s.wait()
}

// Kill ends a server that has its own process at once, as a power cut would.
func (s *testServer) Kill() int {
	s.t.Helper()
	s.killed.Store(true)
	if !s.exited() {
		_ = s.proc.Kill() // fails only when it has just ended
	}
	return s.wait()
}

func (s *testServer) wait() int {
	s.t.Helper()
	eventually(s.t, s.exited)
	return *s.ended
}

// command gives a podgate command for the server's data folder and returns the
// exit code and what was printed.
func (s *testServer) command(args ...string) (code int, stdout, stderr string) {
	return runCommand(append(args, "--data", s.DataDir)...)
}

// runCommand runs the program as a value.
func runCommand(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(context.Background(), process{Args: args, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Machine: lonelyMachine()})
	return code, out.String(), errs.String()
}

// lonelyMachine is one whose resolver knows no name.
func lonelyMachine() *config.Machine {
	return &config.Machine{
		Lookup:    func(context.Context, string) ([]netip.Addr, error) { return nil, errors.New("no such host") },
		Addresses: func() ([]netip.Addr, error) { return nil, nil },
		MayListen: func(int) bool { return true },
	}
}

// get fetches a path of the server under a Host of the caller's choice, without
// following redirects.
func (s *testServer) get(host, path string) (*http.Response, string) {
	s.t.Helper()
	req, err := http.NewRequest(http.MethodGet, s.URL+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Host = host
	transport := &http.Transport{DisableKeepAlives: true}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp, string(body)
}

// eventually waits until done holds, for as long as a slow machine may take.
func eventually(t testing.TB, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); !done(); {
		if time.Now().After(deadline) {
			t.Fatal("waited in vain")
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// syncBuffer is a buffer that one side writes while the other reads.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// readiness asks the server how it is.
func (s *testServer) readiness() (status int, answer readiness) {
	s.t.Helper()
	resp, body := s.get("localhost", "/readyz")
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		s.t.Fatalf("%v: %s", err, body)
	}
	return resp.StatusCode, answer
}

// lacks reports whether /readyz is red for that part.
func (s *testServer) lacks(part string) bool {
	s.t.Helper()
	status, answer := s.readiness()
	return status == http.StatusServiceUnavailable && !answer.Ready && slices.ContainsFunc(answer.Problems, func(p problem) bool { return p.Part == part })
}
