package agent

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"podgate/pods/preset"
	"podgate/pods/wire"
)

func (a *testAgent) app(req wire.AppRequest) wire.State {
	a.t.Helper()
	return ask[wire.State](a, "POST", wire.PathApp, req)
}

func (a *testAgent) spec(t *testing.T, preset string) *wire.AppSpec {
	return &wire.AppSpec{Preset: preset, Port: freePort(t), Name: "blue-fox", URL: "http://blue-fox.localhost:8080"}
}

// get asks the app directly on its port.
func get(t *testing.T, port int, path string) (int, string) {
	t.Helper()
	resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d%s", port, path))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b)
}

func (a *testAgent) log(query string) string {
	a.t.Helper()
	return texts(ask[[]wire.LogLine](a, "GET", wire.PathLogs+"?"+query, nil))
}

func TestStaticApp(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	spec := a.spec(t, "static")
	st := a.app(wire.AppRequest{Action: actionStart, Spec: spec, Welcome: true, WaitMillis: 20000})
	if st.App != wire.AppRunning || st.Port != spec.Port || st.PID == 0 || st.Command == "" {
		t.Fatalf("%+v", st)
	}
	if code, body := get(t, spec.Port, "/"); code != 200 || !strings.Contains(body, "<h1>blue-fox</h1>") || !strings.Contains(body, spec.URL) {
		t.Errorf("welcome: %d %.300s", code, body)
	}
	a.put("index.html", "mine")
	if _, body := get(t, spec.Port, "/"); body != "mine" {
		t.Errorf("after a write: %q", body)
	}
	if st := a.app(wire.AppRequest{Action: actionStart, Spec: spec, Welcome: true, WaitMillis: 20000}); st.App != wire.AppRunning {
		t.Errorf("second start: %+v", st)
	}
	if _, body := get(t, spec.Port, "/"); body != "mine" {
		t.Error("a second start overwrote the app")
	}
	if st := a.app(wire.AppRequest{Action: actionStop}); st.App != wire.AppStopped || st.PID != 0 {
		t.Errorf("stop: %+v", st)
	}
	if st := a.app(wire.AppRequest{Action: actionStop}); st.App != wire.AppStopped {
		t.Errorf("second stop: %+v", st)
	}
	if c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", spec.Port)); err == nil {
		c.Close()
		t.Error("it still answers")
	}
}

func TestWelcomeOfEveryPreset(t *testing.T) {
	t.Parallel()
	for _, p := range preset.All() {
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel()
			a := startAgent(t)
			spec := a.spec(t, p.Name)
			left := a.home("app/.podgate-LEFT") // by one that was cut off while it wrote the page
			if err := os.WriteFile(left, []byte("<!doctype"), 0o600); err != nil {
				t.Fatal(err)
			}
			st := a.app(wire.AppRequest{Action: actionStart, Spec: spec, Welcome: true, WaitMillis: 20000})
			if _, err := os.Stat(left); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("what was left there: %v", err)
			}
			if st.App != wire.AppRunning {
				t.Fatalf("%+v", st)
			}
			if _, body := get(t, spec.Port, "/"); !strings.Contains(body, "This "+p.Name+" pod") || strings.Count(body, "<li>") != len(p.Steps) {
				t.Errorf("%s", body)
			}
		})
	}
}

func TestWelcomeEscapes(t *testing.T) {
	t.Parallel()
	b, err := renderWelcome(wire.AppSpec{Name: "<script>", URL: "javascript:alert(1)", Preset: "static"})
	if err != nil || bytes.Contains(b, []byte("<script>")) || bytes.Contains(b, []byte(`href="javascript:`)) {
		t.Errorf("%v %s", err, b)
	}
}

// server is a small app that shows what it sees.
const server = `
import http.server, os
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(s):
        s.send_response(200)
        s.end_headers()
        s.wfile.write((os.environ['PODGATE_NAME'] + ' ' + os.environ.get('X', '') + ' ' + os.getcwd()).encode())
http.server.HTTPServer((os.environ['HOST'], int(os.environ['PORT'])), H).serve_forever()
`

func TestCommandApp(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	a.put("serve.py", server)
	a.put("Procfile", "# comment\nrelease: echo released; echo warned >&2\nweb: echo hello; exec python3 -u serve.py\n")
	spec := a.spec(t, "command")
	spec.Env = map[string]string{"X": "42", "PORT": "1"}
	body, _ := json.Marshal(wire.AppRequest{Action: actionReload, Spec: spec, WaitMillis: 20000})
	req, _ := http.NewRequest("POST", "http://agent"+wire.PathApp, bytes.NewReader(body))
	req.Header.Set("Accept", ndjson)
	resp, err := a.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var installed string
	var st *wire.State
	if err := readEvents(resp.Body, func(e wire.Event) { installed += string(e.Data); st = e.State }); err != nil {
		t.Fatal(err)
	}
	if st == nil || st.App != wire.AppRunning || !strings.Contains(installed, "released\n") || !strings.Contains(installed, "warned\n") {
		t.Fatalf("%+v after %q; %s", st, installed, a.log("lines=50"))
	}
	if _, body := get(t, spec.Port, "/"); body != "blue-fox 42 "+a.home("app") {
		t.Errorf("the app sees %q", body)
	}
	if got := a.log("source=app&grep=hello"); got != "hello" {
		t.Errorf("app log %q", got)
	}
	if got := a.log("source=install"); !strings.Contains(got, "released") || !strings.Contains(got, "warned") {
		t.Errorf("install log %q", got)
	}
	if got := a.run("echo $X $PORT"); got.stdout != fmt.Sprintf("42 %d\n", spec.Port) {
		t.Errorf("commands see %q", got.stdout)
	}
	restarted := a.app(wire.AppRequest{Action: actionRestart, Spec: spec, WaitMillis: 20000})
	if restarted.App != wire.AppRunning || restarted.PID == st.PID || restarted.Restarts != 0 {
		t.Errorf("restart: %+v", restarted)
	}
	if u := ask[wire.Usage](a, "GET", wire.PathUsage, nil); u.Processes < 1 || u.Memory < 1<<20 || u.CPU <= 0 || u.Disk < 4096 {
		t.Errorf("usage: %+v", u)
	}
}

func TestFailedInstall(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	spec := a.spec(t, "command")
	a.put("index.html", "still here")
	if st := a.app(wire.AppRequest{Action: actionStart, Spec: spec, WaitMillis: 20000}); st.App != wire.AppRunning {
		t.Fatalf("%+v", st)
	}
	id := fmt.Sprintf("6002.%d", time.Now().UnixNano()%1e9)
	a.run(hidden(id))
	a.put("Procfile", "release: echo why; exit 5\nweb: false")
	body, _ := json.Marshal(wire.AppRequest{Action: actionReload, Spec: spec, WaitMillis: 20000})
	if f := a.refused(wire.FaultFailed, "POST", wire.PathApp, body); !strings.Contains(f.Message, "code 5") {
		t.Errorf("%+v", f)
	}
	if _, body := get(t, spec.Port, "/"); body != "still here" {
		t.Errorf("after a failed install the app says %q", body)
	}
	if alive(id) {
		t.Error("what a command left behind outlived a reload")
	}
	a.app(wire.AppRequest{Action: actionStop})
	a.refused(wire.FaultFailed, "POST", wire.PathApp, body)
	if st := ask[wire.State](a, "GET", wire.PathState, nil); st.App != wire.AppFailed || !strings.Contains(st.Reason, "code 5") {
		t.Errorf("%+v", st)
	}
}

func TestStopEndsInstall(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	spec := a.spec(t, "command")
	id := fmt.Sprintf("6001.%d", time.Now().UnixNano()%1e9)
	a.put("Procfile", "release: setsid sleep "+id+" & wait\nweb: false")
	body, _ := json.Marshal(wire.AppRequest{Action: actionReload, Spec: spec})
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.do("POST", wire.PathApp, body)
	}()
	eventually(t, "the install runs", func() bool { return alive(id) })
	if st := ask[wire.State](a, "GET", wire.PathState, nil); st.App != wire.AppStarting || st.Reason == "" {
		t.Errorf("while it installs: %+v", st)
	}
	a.app(wire.AppRequest{Action: actionStop})
	<-done
	if st := ask[wire.State](a, "GET", wire.PathState, nil); st.App != wire.AppStopped || alive(id) {
		t.Errorf("%+v, install alive: %v", st, alive(id))
	}
}

func TestDyingApp(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	a.put("Procfile", "web: echo first words; echo last words >&2; printf partial; exit 9")
	st := a.app(wire.AppRequest{Action: actionStart, Spec: a.spec(t, "command"), WaitMillis: 20000})
	if st.App != wire.AppWaiting || !strings.Contains(st.Reason, "code 9") || time.Until(st.NextTry) > time.Second {
		t.Errorf("%+v", st)
	}
	got := texts(st.Tail)
	for _, want := range []string{"first words", "last words", "partial"} {
		if !strings.Contains(got, want) {
			t.Errorf("tail %q lacks %q", got, want)
		}
	}
	if got := a.log("source=agent"); !strings.Contains(got, "exited with code 9") || !strings.Contains(got, "next try in 1s") {
		t.Errorf("agent log %q", got)
	}
	eventually(t, "it is started again", func() bool { return ask[wire.State](a, "GET", wire.PathState, nil).Restarts > 0 })
}

func TestNothingToStart(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	for _, preset := range []string{"nodejs", "python", "php", "go", "command"} {
		st := a.app(wire.AppRequest{Action: actionRestart, Spec: a.spec(t, preset), WaitMillis: 20000})
		if st.App != wire.AppFailed || !strings.Contains(st.Reason, "Procfile") {
			t.Errorf("%s: %+v", preset, st)
		}
	}
}

// An app that does not want to end, and that has put children elsewhere.
func TestStubbornApp(t *testing.T) {
	t.Parallel()
	a := startAgent(t, func(c *Config) { c.GraceStop = 100 * time.Millisecond })
	id := fmt.Sprintf("5001.%d", time.Now().UnixNano()%1e9)
	a.put("Procfile", fmt.Sprintf("web: trap '' TERM; (env -i setsid /bin/sh -c 'trap \"\" TERM; (sleep %s &)' &); while true; do sleep %s; done", id, id))
	a.app(wire.AppRequest{Action: actionStart, Spec: a.spec(t, "command")})
	eventually(t, "it runs", func() bool { return alive(id) })
	a.app(wire.AppRequest{Action: actionStop})
	if alive(id) {
		t.Error("something is left")
	}
}

// An app that prints without end neither fills the disk nor stops the agent.
func TestRunawayApp(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	a.put("Procfile", "web: cat /dev/zero | tr '\\000' x")
	a.app(wire.AppRequest{Action: actionStart, Spec: a.spec(t, "command")})
	eventually(t, "the log has rotated", func() bool { return measureDir(t.Context(), a.home(".podgate/logs")) > 3*segmentBytes })
	for _, l := range ask[[]wire.LogLine](a, "GET", wire.PathLogs+"?source=app&lines=5", nil) {
		if len(l.Text) > wire.MaxLineBytes {
			t.Errorf("a line of %d bytes", len(l.Text))
		}
	}
	a.app(wire.AppRequest{Action: actionStop})
	if n := measureDir(t.Context(), a.home(".podgate/logs")); n > 11<<20 {
		t.Errorf("%d bytes of logs", n)
	}
}

func TestAppRefuses(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	ok := `"preset":"static","port":8080,"name":"a"`
	for _, body := range []string{
		``, `null x`, `[]`, `{}`, `{"action":"fly"}`, `{"action":"start"}`, `{"action":"stop","extra":1}`,
		`{"action":"start","spec":{"preset":"cobol","port":8080,"name":"a"}}`,
		`{"action":"start","spec":{"preset":"static","port":0,"name":"a"}}`,
		`{"action":"start","spec":{"preset":"static","port":65536,"name":"a"}}`,
		`{"action":"start","spec":{"preset":"static","port":8080,"name":"A.b"}}`,
		`{"action":"start","spec":{"preset":"static","port":8080,"name":""}}`,
		`{"action":"start","spec":{` + ok + `,"url":"javascript:1"}}`,
		`{"action":"start","spec":{` + ok + `,"env":{"A B":"1"}}}`,
		`{"action":"start","spec":{` + ok + `},"wait_millis":-1}`,
		`{"action":"start","spec":{` + ok + `},"wait_millis":99999999}`,
	} {
		a.refused(wire.FaultBadRequest, "POST", wire.PathApp, []byte(body))
	}
	big := `{"action":"start","spec":{` + ok + `,"env":{"A":"` + strings.Repeat("x", maxAppBody) + `"}}}`
	a.refused(wire.FaultTooLarge, "POST", wire.PathApp, []byte(big))
	if st := ask[wire.State](a, "GET", wire.PathState, nil); st.App != wire.AppStopped {
		t.Errorf("%+v", st)
	}
}

// dial opens a stream to a port by way of the agent.
func (a *testAgent) dial(query string) (net.Conn, *bufio.Reader, *http.Response) {
	a.t.Helper()
	conn, err := a.l.dial()
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() { conn.Close() })
	fmt.Fprintf(conn, "GET %s?%s HTTP/1.1\r\nHost: agent\r\nConnection: Upgrade\r\nUpgrade: podgate-tcp\r\n\r\nearly ", wire.PathDial, query)
	br := bufio.NewReader(conn)
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	return conn, br, resp
}

func TestDial(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	for _, host := range []string{"127.0.0.1:0", "[::1]:0"} {
		l, err := net.Listen("tcp", host)
		if err != nil {
			t.Logf("not here: %v", err)
			continue
		}
		defer l.Close()
		go func() {
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			// Answers only once its input has ended: half-close must pass.
			b, _ := io.ReadAll(c)
			fmt.Fprintf(c, "got %s", b)
		}()
		conn, br, resp := a.dial(fmt.Sprintf("port=%d", l.Addr().(*net.TCPAddr).Port))
		if resp.StatusCode != http.StatusSwitchingProtocols || resp.Header.Get("Upgrade") != "podgate-tcp" {
			t.Fatalf("%s", resp.Status)
		}
		io.WriteString(conn, "late")
		conn.(*net.UnixConn).CloseWrite()
		if b, err := io.ReadAll(br); err != nil || string(b) != "got early late" {
			t.Errorf("%q, %v", b, err)
		}
	}
}

func TestDialRefuses(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	for _, q := range []string{"", "port=0", "port=65536", "port=-1", "port=x", "port=80&port=81", "port=80&host=10.0.0.1", "port=80@evil"} {
		if _, _, resp := a.dial(q); resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %s", q, resp.Status)
		}
	}
	if _, _, resp := a.dial(fmt.Sprint("port=", freePort(t))); resp.StatusCode != http.StatusBadGateway {
		t.Errorf("a port where nothing listens: %s", resp.Status)
	}
	a.refused(wire.FaultBadRequest, "GET", wire.PathDial+"?port=80", nil)
}

// Open streams end with the agent.
func TestDialEndsWithAgent(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, br, resp := a.dial(fmt.Sprint("port=", l.Addr().(*net.TCPAddr).Port))
	if resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(resp.Status)
	}
	if err := a.end(); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(br); err == nil && len(b) > 0 {
		t.Errorf("%q", b)
	}
}

func TestMeasureDir(t *testing.T) {
	t.Parallel()
	dir, other := t.TempDir(), t.TempDir()
	empty := measureDir(t.Context(), dir)
	os.WriteFile(dir+"/f", make([]byte, 1<<20), 0o600)
	os.Link(dir+"/f", dir+"/same")
	os.WriteFile(other+"/big", make([]byte, 4<<20), 0o600)
	os.Symlink(other, dir+"/link")
	s, err := os.Create(dir + "/sparse")
	if err != nil {
		t.Fatal(err)
	}
	s.Truncate(1 << 30)
	s.Close()
	if got := measureDir(t.Context(), dir) - empty; got < 1<<20 || got > 1<<20+64<<10 {
		t.Errorf("1 MiB with a second name, a link and a hole counts as %d", got)
	}
}

func FuzzRequests(f *testing.F) {
	f.Add("path=a&mode=644", []byte(`{"command":"x","timeout_millis":1}`))
	f.Add("path=/home/pod/../..&offset=1&limit=2", []byte(`{"action":"start","spec":{"preset":"static","port":1,"name":"a"}}`))
	f.Add("lines=5&since=2026-01-01T00:00:00Z&grep=x&source=app", []byte(`{"action":"stop"} x`))
	f.Add("port=80", []byte(`null`))
	f.Add("follow=1&lines=0", []byte(`{}`))
	f.Add("max=1", []byte(`{}`))
	f.Add("path=a&recursive=1", []byte(`{"from":"a","to":"../b","overwrite":true}`))
	f.Add("path=a", []byte(`{"path":"a","old":"b","new":"c","all":true,"grow":1}`))
	f.Add("id=a&offset=1&limit=2&wait_millis=3", []byte(`{"command":"x","timeout_millis":86400000,"stdin":"eA=="}`))
	f.Add("path=a&recursive=1&glob=**/*.{a,b}&cursor=a%2523%231&limit=5", []byte(`{}`))
	f.Add("query=(a{9}){9}&regex=1&ignore_case=1&cursor=a%2312", []byte(`{}`))
	f.Add("id=a&path=b&unpack=1&offset=1&max=2", []byte(`{"id":"../a","path":"a","size":1,"mode":511,"unpack":true,"max":1}`))
	f.Add("path=%00&%gg;", []byte(`{"command":"\u0000"}`))
	f.Fuzz(func(t *testing.T, query string, body []byte) {
		if q, err := parseWrite(query); err == nil {
			checkFuzzedPath(t, q.Path)
			if q.Mode != nil && *q.Mode > 0o777 || q.Max < 0 || q.Max > wire.MaxTransfer {
				t.Errorf("%+v", q)
			}
		}
		if q, err := parseRead(query); err == nil {
			checkFuzzedPath(t, q.Path)
			if q.Offset < 0 || !q.Whole && q.Limit < 1 || q.Limit > wire.MaxRead {
				t.Errorf("%+v", q)
			}
		}
		if q, err := parseDelete(query); err == nil {
			checkFuzzedPath(t, q.Path)
		}
		if r, err := parseMove(body); err == nil {
			checkFuzzedPath(t, r.From)
			checkFuzzedPath(t, r.To)
		}
		if q, err := parseReceive(query); err == nil {
			checkFuzzedPath(t, q.Path)
			if strings.ContainsAny(q.ID, "/.") || q.ID == "" || q.Offset < 0 || q.Max < 0 {
				t.Errorf("%+v", q)
			}
		}
		if r, err := parseFinish(body); err == nil {
			checkFuzzedPath(t, r.Path)
			if strings.ContainsAny(r.ID, "/.") || r.ID == "" || r.Size < 0 || r.Mode > 0o777 {
				t.Errorf("%+v", r)
			}
		}
		if r, err := parseEdit(body); err == nil {
			checkFuzzedPath(t, r.Path)
			if r.Old == "" || len(r.Old) > wire.MaxPiece || len(r.New) > wire.MaxPiece || r.Grow < 0 {
				t.Errorf("%+v", r)
			}
		}
		if q, err := parseDir(query); err == nil {
			checkFuzzedPath(t, q.Path)
			if q.Limit < 1 || q.Limit > wire.MaxEntries {
				t.Errorf("%+v", q)
			}
		}
		if q, err := parseSearch(query); err == nil && (q.Pattern == nil || !q.Recursive || q.Limit > wire.MaxMatches) {
			t.Errorf("%+v", q)
		}
		if q, err := parseLogs(query); err == nil && (q.Lines < 0 || q.Lines == 0 && !q.Follow || q.Lines > wire.MaxLines || len(q.Grep) > maxGrep) {
			t.Errorf("%+v", q)
		}
		if n, err := parseImport(query); err == nil && (n < 1 || n > wire.MaxTransfer) {
			t.Errorf("max %d", n)
		}
		if p, err := parsePort(query); err == nil && (p < 1 || p > 65535) {
			t.Errorf("port %d", p)
		}
		if r, err := parseExec(body); err == nil {
			if strings.ContainsRune(r.Command, 0) || r.TimeoutMillis < 1 || r.MaxOutput < 0 {
				t.Errorf("%+v", r)
			}
			checkFuzzedPath(t, r.Dir)
		}
		if r, err := parseJob(body); err == nil {
			if strings.ContainsRune(r.Command, 0) || r.TimeoutMillis < 0 || int64(r.TimeoutMillis) > wire.MaxJobTimeout.Milliseconds() {
				t.Errorf("%+v", r)
			}
			checkFuzzedPath(t, r.Dir)
		}
		if q, err := parseJobQuery(query); err == nil && (q.Offset < -1 || q.Limit < 0 || q.Limit > wire.MaxJobOutput || q.Wait < 0 || q.Wait > wire.MaxJobWait) {
			t.Errorf("%+v", q)
		}
		if r, err := parseDeploy(body); err == nil {
			if r.Release < 0 || r.Before.Preset == "" || r.Git != nil && (strings.HasPrefix(r.Git.Ref, "-") || r.Git.Token != "" && !strings.HasPrefix(strings.ToLower(r.Git.URL), "https:")) {
				t.Errorf("%+v", r)
			}
			if r.Archive != "" {
				checkFuzzedPath(t, r.Archive)
			}
		}
		if q, err := parseRelease(query); err == nil && (q.Release < 1 || q.Max < 1) {
			t.Errorf("%+v", q)
		}
		if r, err := parseApp(body); err == nil && r.Action != actionStop && (r.Spec == nil || r.Spec.Port < 1 || !wire.Label(r.Spec.Name)) {
			t.Errorf("%+v", r)
		}
	})
}

// checkFuzzedPath holds that an accepted path is absolute and clean, and that
// what locate accepts is below an allowed folder.
func checkFuzzedPath(t *testing.T, p string) {
	clean, err := cleanPath(p)
	if err != nil || !strings.HasPrefix(clean, "/") || strings.Contains(clean+"/", "/../") || strings.ContainsRune(clean, 0) {
		t.Errorf("%q became %q, %v", p, clean, err)
	}
	f := &folders{home: &place{base: podHome}, tmp: &place{base: podTmp}}
	if s, err := f.locate(clean); err == nil && (s.rel == "" || strings.HasPrefix(s.rel, "/") || strings.HasPrefix(s.rel, "..") && (s.rel == ".." || s.rel[2] == '/')) {
		t.Errorf("%q is located at %q", p, s.rel)
	}
}

func FuzzSiteName(f *testing.F) {
	for _, s := range []string{"/", "/a/b.html", "/../x", "/.git/config", "/.well-known/x", "/a/.env", "//evil.example/", "/a/./b", "/%2e"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		name, ok := siteName(s)
		if !ok {
			return
		}
		for i, part := range strings.Split(name, "/") {
			if strings.HasPrefix(part, ".") && !(i == 0 && part == ".well-known") {
				t.Errorf("%q may be served as %q", s, name)
			}
		}
		if strings.HasPrefix(name, "/") {
			t.Errorf("%q became absolute: %q", s, name)
		}
	})
}
