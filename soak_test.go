package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"podgate/internal/webtest"
)

// observeEnv names the socket at which a server of a test says how it is inside.
const observeEnv = "PODGATE_TEST_OBSERVE"

// inside is what only the process itself can say.
type inside struct {
	Goroutines int
	Heap       uint64 // bytes that live
	Stacks     string
}

// observed is podgate with a look inside, which the program itself has not.
func observed() {
	ln, err := net.Listen("unix", os.Getenv(observeEnv))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(exitFailed)
	}
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			debug.FreeOSMemory()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			var stacks strings.Builder
			_ = pprof.Lookup("goroutine").WriteTo(&stacks, 1)                                              // into memory
			_ = json.NewEncoder(conn).Encode(inside{runtime.NumGoroutine(), m.HeapAlloc, stacks.String()}) // the test misses it
			conn.Close()
		}
	}()
	main()
}

// usage is what a server uses while nobody asks anything of it.
type usage struct {
	inside
	files     int
	anonymous uint64 // bytes of memory that are no file's
}

// soak is a server under a load that is kept up.
type soak struct {
	testing.TB
	srv    *testServer
	socket string
	token  string
	calm   *connection
	hasty  *connection // renews its access before each call
	page   string      // of a pod; empty where none can run
	done   atomic.Int64
}

// TestSoak keeps a mixed load up, in which requests are given up, streams cut and
// visitors stall, and wants the server to be after it what it was before. What each
// request, visitor or pod would leave behind is many times the slack.
func TestSoak(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("what a process uses stands in /proc, which only Linux has")
	}
	long, rounds := 5*time.Second, 0
	if strings.Contains(os.Getenv("PODGATE_REQUIRE"), "sandbox") {
		long, rounds = 12*time.Second, 5*few
	}
	s := newSoak(t)
	s.load(3*time.Second, 0)
	s.done.Store(0)
	before := s.steady()
	s.load(long, rounds)
	s.commandsEnd()
	s.flat(before)
	if code := s.srv.Stop(); code != exitDone || strings.Contains(s.srv.Log.String(), "level=ERROR") {
		t.Errorf("the server ended with code %d\n%s", code, s.srv.Log)
	}
}

func newSoak(t *testing.T) *soak {
	dir, err := os.MkdirTemp("", "soak") // a socket's name must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &soak{TB: t, socket: filepath.Join(dir, "observe")}
	s.srv = newTestServer(t, t.TempDir())
	s.srv.program = "podgate-observed"
	s.srv.launch(append(testEnv(), "PODGATE_LOG_LEVEL=info", observeEnv+"="+s.socket), s.srv.Stdout, s.srv.Log, s.srv.args(nil))
	s.srv.waitReady()
	ada := setUp(t, s.srv)
	s.calm = connect(t, s.srv, ada, connectOptions{})
	s.token = s.calm.wire.token()
	s.hasty = connect(t, s.srv, ada, connectOptions{
		limits: webtest.Fields{"replace": {}}, through: func(next http.RoundTripper) http.RoundTripper { return hasty{next} },
	})
	if !podsRun(t, s.srv) {
		return s
	}
	s.page = s.calm.call(t, "create_pod", args{"name": "site", "preset": "static"})["url"].(string)
	s.calm.call(t, "exec_command", args{"name": "site", "command": "head -c 20000000 /dev/zero > large"})
	s.calm.call(t, "create_pod", args{"name": "other", "preset": "static"})
	return s
}

// load runs all kinds of users for a while, and on until each of them has done so many
// things. Each has one under way at a time.
func (s *soak) load(d time.Duration, rounds int) {
	ctx, cancel := context.WithCancel(s.Context())
	defer cancel()
	end := time.Now().Add(d)
	users := []func(context.Context, *http.Client){s.call, s.call, s.read, s.giveUp, s.stall, s.halfABody, s.renew}
	if s.page != "" {
		users = append(users, s.visit, s.cutDownload, s.cutProgress, s.stopAndStart)
	}
	var group sync.WaitGroup
	var busy atomic.Int64
	busy.Store(int64(len(users)))
	for _, use := range users {
		group.Go(func() {
			transport := webtest.Transport()
			defer transport.CloseIdleConnections()
			for n := 0; ctx.Err() == nil; n++ {
				if n == rounds && busy.Add(-1) == 0 {
					time.AfterFunc(time.Until(end), cancel)
				}
				use(ctx, &http.Client{Transport: transport})
				s.done.Add(1)
			}
		})
	}
	group.Wait()
}

// request is one of the MCP endpoint.
func (s *soak) request(ctx context.Context, body string) *http.Request {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.srv.Issuer+"/api/mcp", strings.NewReader(body))
	if err != nil {
		s.Fatal(err)
	}
	req.Header = http.Header{
		"Content-Type": {"application/json"}, "Accept": {"application/json, text/event-stream"}, "Mcp-Protocol-Version": {"2025-11-25"},
		"Authorization": {"Bearer " + s.token},
	}
	return req
}

// finish sends a request and reads all of the answer, which must be one.
func (s *soak) finish(ctx context.Context, client *http.Client, req *http.Request) {
	resp, err := client.Do(req)
	if err != nil {
		if ctx.Err() == nil {
			s.Error(err)
		}
		return
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if ctx.Err() == nil && (err != nil || resp.StatusCode != http.StatusOK || strings.Contains(string(body), `"isError":true`)) {
		s.Errorf("%s: %d %.300s, %v", req.URL, resp.StatusCode, body, err)
	}
}

// begin sends a request and reads the first bytes of the answer only.
func (s *soak) begin(ctx context.Context, client *http.Client, req *http.Request) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	resp, err := client.Do(req.WithContext(ctx))
	if err != nil {
		return // the load is over
	}
	defer resp.Body.Close()
	_, _ = resp.Body.Read(make([]byte, 1024)) // as much as comes
}

func (s *soak) call(ctx context.Context, client *http.Client) {
	s.finish(ctx, client, s.request(ctx, toolCall("list_pods", "{}")))
}

func (s *soak) read(ctx context.Context, client *http.Client) {
	for _, path := range []string{"/.well-known/oauth-protected-resource", "/healthz", "/"} {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.srv.Issuer+path, nil)
		if err != nil {
			s.Fatal(err)
		}
		s.finish(ctx, client, req)
	}
}

// giveUp leaves before the answer.
func (s *soak) giveUp(ctx context.Context, client *http.Client) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	body := toolCall("list_presets", "{}")
	if s.page != "" {
		body = toolCall("exec_command", `{"name":"site","command":"sleep 60"}`)
	}
	s.begin(ctx, client, s.request(ctx, body))
}

// stall sends part of what a server must wait for, from many sides, and leaves.
func (s *soak) stall(ctx context.Context, _ *http.Client) {
	for range 20 {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.srv.URL, "http://"))
		if err != nil {
			s.Error(err)
			return
		}
		defer conn.Close()
		fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: local")
	}
	select {
	case <-ctx.Done():
	case <-time.After(300 * time.Millisecond):
	}
}

// halfABody leaves in the middle of its request.
func (s *soak) halfABody(context.Context, *http.Client) {
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.srv.URL, "http://"))
	if err != nil {
		s.Error(err)
		return
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /api/mcp HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n{\"jsonrpc\":", strings.TrimPrefix(s.srv.Issuer, "http://"), s.token)
	time.Sleep(5 * time.Millisecond) // so that it is read
}

func (s *soak) renew(context.Context, *http.Client) { s.hasty.call(s, "list_pods", nil) }

func (s *soak) visit(ctx context.Context, client *http.Client) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.page, nil)
	if err != nil {
		s.Fatal(err)
	}
	s.finish(ctx, client, req)
}

func (s *soak) cutDownload(ctx context.Context, client *http.Client) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.page+"/large", nil)
	if err != nil {
		s.Fatal(err)
	}
	s.begin(ctx, client, req)
}

func (s *soak) cutProgress(ctx context.Context, client *http.Client) {
	s.begin(ctx, client, s.request(ctx, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"exec_command","_meta":{"progressToken":"p"},"arguments":{"name":"site","command":"while echo on; do sleep 0.1; done"}}}`))
}

// stopAndStart is the life of a pod, and is not given up.
func (s *soak) stopAndStart(_ context.Context, client *http.Client) {
	ctx := s.Context()
	for _, action := range []string{"stop", "start"} {
		s.finish(ctx, client, s.request(ctx, toolCall("manage_pod", fmt.Sprintf(`{"name":"other","action":%q}`, action))))
	}
}

// commandsEnd waits until nothing runs in the pod that nobody waits for.
func (s *soak) commandsEnd() {
	if s.page == "" {
		return
	}
	eventually(s, func() bool {
		res, err := s.calm.CallTool(s.Context(), &sdk.CallToolParams{Name: "exec_command", Arguments: args{"name": "site", "command": "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"}})
		return err == nil && !res.IsError && !strings.Contains(textOf(res), "sleep")
	})
}

// look asks the server how it is.
func (s *soak) look() (u usage) {
	conn, err := net.Dial("unix", s.socket)
	if err != nil {
		s.Fatal(err)
	}
	defer conn.Close()
	if err := json.NewDecoder(conn).Decode(&u.inside); err != nil {
		s.Fatal(err)
	}
	proc := fmt.Sprintf("/proc/%d/", s.srv.proc.Pid)
	files, err := os.ReadDir(proc + "fd")
	if err != nil {
		s.Fatal(err)
	}
	status, err := os.ReadFile(proc + "status")
	if err != nil {
		s.Fatal(err)
	}
	kilobytes, _ := strconv.ParseUint(string(anonymousMemory.FindSubmatch(status)[1]), 10, 64) // digits
	u.files, u.anonymous = len(files), kilobytes<<10
	return u
}

var anonymousMemory = regexp.MustCompile(`RssAnon:\s*(\d+) kB`)

func (u usage) String() string {
	return fmt.Sprintf("%d goroutines, %d descriptors, %d KiB live, %d KiB of memory", u.Goroutines, u.files, u.Heap>>10, u.anonymous>>10)
}

// steady is what the server uses once that does not change any more.
func (s *soak) steady() usage {
	last, same := s.look(), 0
	eventually(s, func() bool {
		time.Sleep(100 * time.Millisecond)
		u := s.look()
		if same++; u.Goroutines != last.Goroutines {
			same = 0
		}
		last = u
		return same == 10
	})
	return last
}

// few things come and go by themselves.
const few = 8

// flat waits until the server uses as much as before the load, but for the few.
func (s *soak) flat(before usage) {
	const memory = 8 << 20
	var after usage
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		after = s.look()
		if after.Goroutines <= before.Goroutines+few && after.files <= before.files+few && after.Heap <= before.Heap+memory && after.anonymous <= before.anonymous+3*memory {
			break
		}
		if time.Now().After(end) {
			s.Fatalf("after %d requests: %v, and before them %v\nbefore:\n%s\nafter:\n%s", s.done.Load(), after, before, before.Stacks, after.Stacks)
		}
	}
	s.Logf("%d requests: before %v; after %v", s.done.Load(), before, after)
}
