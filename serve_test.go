package main

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"podgate/control"
	"podgate/store"
)

func TestServeAnswers(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	if !strings.HasPrefix(s.SetupURL, s.pages()+"/setup?token=") {
		t.Errorf("the setup link is %q\n%s", s.SetupURL, s.Stdout)
	}
	if strings.Contains(s.Log.String(), "pgsetup_") {
		t.Errorf("the setup token is in the log:\n%s", s.Log)
	}
	host := strings.TrimPrefix(s.Issuer, "http://")
	for _, c := range []struct {
		host, path string
		status     int
		says       string
	}{
		{"podgate." + host, "/sign-in", http.StatusOK, "podgate setup-link"}, // nobody has an account
		{host, "/sign-in", http.StatusFound, ""},
		{host, "/absent", http.StatusNotFound, "<html"},
		{host, "/.well-known/absent", http.StatusNotFound, `"error":"not_found"`},
		{host, "/api/mcp", http.StatusUnauthorized, "unauthorized"},
		{host, "/api/mcp/", http.StatusUnauthorized, "unauthorized"},
		{host, "/.well-known/oauth-protected-resource/api/mcp", http.StatusOK, `"` + s.Issuer + `/api/mcp"`},
		{host, "/.well-known/oauth-authorization-server", http.StatusOK, `"issuer": "` + s.Issuer + `"`},
		{"absent." + host, "/", http.StatusNotFound, ""},
		{"evil.example", "/sign-in", http.StatusMisdirectedRequest, s.Issuer},
		{"evil.example", "/api/mcp", http.StatusMisdirectedRequest, s.Issuer},
		{"0.0.0.0", "/api/mcp", http.StatusMisdirectedRequest, s.Issuer},
		{strings.TrimPrefix(s.URL, "http://"), "/sign-in", http.StatusFound, ""},
	} {
		resp, body := s.get(c.host, c.path)
		if resp.StatusCode != c.status || !strings.Contains(body, c.says) {
			t.Errorf("%s%s: %d %s", c.host, c.path, resp.StatusCode, body)
		}
	}
}

// A configured public URL is the one that everything names, whatever the
// request says.
func TestPublicURL(t *testing.T) {
	t.Parallel()
	s := startServer(t, "public_url = \"https://pods.example.com\"\n[tls]\nmode = \"off\"")
	if s.Issuer != "https://pods.example.com" || !strings.HasPrefix(s.SetupURL, "https://pods.example.com/setup?token=") {
		t.Errorf("%s", s.Stdout)
	}
	if resp, _ := s.get("pods.example.com", "/sign-in"); resp.StatusCode != http.StatusOK {
		t.Errorf("%d under its own name", resp.StatusCode)
	}
	if resp, _ := s.get(strings.TrimPrefix(s.URL, "http://"), "/sign-in"); resp.StatusCode != http.StatusOK {
		t.Errorf("%d through a proxy that does not pass the name on", resp.StatusCode)
	}
	_, out, _ := s.command("setup-link", "--config", s.config)
	if !strings.HasPrefix(out, "https://pods.example.com/setup?token=") {
		t.Errorf("the command gives %s", out)
	}
}

// The setup link of a server that listens on a port of its own choice names
// that port, because the server is asked.
func TestSetupLinkNamesTheRealPort(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	if _, out, errs := s.command("setup-link"); !strings.HasPrefix(out, s.pages()+"/setup?token=") {
		t.Errorf("%s%s", out, errs)
	}
}

// A server that is killed while commands write loses nothing that it has
// acknowledged, and neither its lock nor its socket is in the way of the next.
func TestKill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for round := range 2 {
		s := startProcess(t, dir)
		var kept []string
		stopped := make(chan struct{})
		enough := make(chan struct{})
		go func() {
			defer close(stopped)
			for n := 0; ; n++ {
				if n == 4 {
					close(enough)
				}
				slug := fmt.Sprintf("team-%d-%d", round, n)
				if code, _, _ := s.command("team", "add", slug); code != exitDone {
					return // cut off by the server's end
				}
				kept = append(kept, slug)
				if n > 4 && s.killed.Load() {
					return // the command has opened the file itself
				}
			}
		}()
		<-enough
		s.Kill()
		<-stopped
		if _, err := os.Lstat(filepath.Join(dir, "podgate.sock")); err != nil {
			t.Errorf("the socket of a killed server should be there for the next to find: %v", err)
		}
		if code, out, errs := s.command("check"); code != exitDone {
			t.Fatalf("round %d: %s%s", round, out, errs)
		}
		_, out, _ := s.command("team", "list")
		for _, slug := range kept {
			if !strings.Contains(out, slug+" ") {
				t.Errorf("round %d: %s was acknowledged and is lost", round, slug)
			}
		}
	}
	s := startProcess(t, dir)
	if code := s.Stop(); code != exitDone {
		t.Errorf("code %d\n%s", code, s.Log)
	}
}

// A request that is under way when the server is asked to stop gets its
// answer; the server then ends in good order.
func TestStopDrains(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /sign-in HTTP/1.1\r\nHost: %s\r\nOrigin: %s\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 30\r\nExpect: 100-continue\r\n\r\n", strings.TrimPrefix(s.pages(), "http://"), s.pages())
	answers := bufio.NewReader(conn)
	if line, err := answers.ReadString('\n'); err != nil || !strings.Contains(line, "100 Continue") {
		t.Fatalf("%q, %v", line, err) // the handler now waits for the body
	}
	s.cancel()
	eventually(t, func() bool { return strings.Contains(s.Log.String(), "msg=stopping") })
	if _, err := answers.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "email=ada%40example.com&passw="); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(answers, nil)
	if err != nil {
		t.Fatalf("the request was cut off: %v", err)
	}
	resp.Body.Close()
	if code := s.wait(); code != exitDone {
		t.Errorf("code %d\n%s", code, s.Log)
	}
}

// localhost is both addresses on one port, and a stranger on one of them is a
// reason not to start: browsers would take him for us.
func TestListenOnLocalhost(t *testing.T) {
	t.Parallel()
	both, err := listen(t.Context(), "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	for _, ln := range both {
		defer ln.Close()
	}
	if len(both) == 1 {
		t.Skip("this machine has no IPv6 loopback")
	}
	port := portOf(both[0])
	if portOf(both[1]) != port || both[0].Addr().String() != fmt.Sprintf("127.0.0.1:%d", port) || both[1].Addr().String() != fmt.Sprintf("[::1]:%d", port) {
		t.Errorf("%s and %s", both[0].Addr(), both[1].Addr())
	}
	if err := both[0].Close(); err != nil {
		t.Fatal(err)
	}
	again, err := listen(t.Context(), fmt.Sprintf("localhost:%d", port))
	if err == nil {
		again[0].Close()
		t.Error("it shares the name localhost with a stranger")
	} else if !strings.Contains(err.Error(), "another program listens on [::1]") {
		t.Error(err)
	}
	if free, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err != nil {
		t.Errorf("the half that was free is still held: %v", err)
	} else {
		free.Close()
	}
}

func TestPortInUse(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	dir := t.TempDir()
	code, out, errs := runCommand("--listen", taken.Addr().String(), "--data", dir)
	if code != exitFailed || out != "" || !strings.Contains(errs, "another program listens on "+taken.Addr().String()) || !strings.Contains(errs, "--listen") {
		t.Errorf("%d %s%s", code, out, errs)
	}
	// Nothing is left behind: the next start finds lock and socket free.
	db, err := store.Open(filepath.Join(dir, "podgate.db"))
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
}

// brokenWriter is a standard output that nobody reads.
type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

// Where the banner cannot be printed the server stays, and the log says how to get
// the link that would have been in it. The link itself is not logged.
func TestNobodyReadsTheLink(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	errs, code := &syncBuffer{}, make(chan int, 1)
	go func() {
		code <- run(ctx, process{Args: []string{"--listen", "127.0.0.1:0", "--data", t.TempDir()}, Env: testEnv(), Stdin: strings.NewReader(""), Stdout: brokenWriter{}, Stderr: errs})
	}()
	eventually(t, func() bool { return strings.Contains(errs.String(), "broken pipe") })
	cancel()
	if code := <-code; code != exitDone || !strings.Contains(errs.String(), "«podgate setup-link» prints one") || strings.Contains(errs.String(), "pgsetup_") {
		t.Errorf("%d %s", code, errs)
	}
}

func TestOpenDataFolderIsRemarkedOn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if s := startServerIn(t, dir); !strings.Contains(s.Log.String(), "chmod 700") {
		t.Errorf("%s", s.Log)
	}
}

// Where pods cannot run the server starts all the same, and says why.
func TestServeWithoutPods(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "pods"), nil, 0o600); err != nil { // where their folder should be
		t.Fatal(err)
	}
	s := startServerIn(t, dir)
	if !strings.Contains(s.Stdout.String(), "Pods cannot run in the region local yet. ") || !strings.Contains(s.Log.String(), "pods cannot run here") {
		t.Errorf("%s%s", s.Stdout, s.Log)
	}
	if resp, _ := s.get(strings.TrimPrefix(s.pages(), "http://"), "/sign-in"); resp.StatusCode != http.StatusOK {
		t.Errorf("the pages answer %d", resp.StatusCode)
	}
}

// Names come from people, and must not steer the terminal of whoever lists them.
func TestTablesAreHarmless(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	if err := printTable(&out, [][]string{{"NAME"}, {"a\x1b[2Jb\nc\u202ed"}}); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); got != "NAME\na\uFFFD[2Jb\uFFFDc\uFFFDd\n" {
		t.Errorf("%q", got)
	}
}

func TestJSONLog(t *testing.T) {
	t.Parallel()
	s := startServer(t, "[log]\nformat = \"json\"")
	if !strings.Contains(s.Log.String(), `"msg":"listening"`) {
		t.Errorf("%s", s.Log)
	}
}

// olderFolder is a data folder of a version whose format was 1.
func olderFolder(t *testing.T) (dir string) {
	t.Helper()
	packed, err := os.Open("store/testdata/format1.db.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	raw, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	file, err := os.OpenFile(control.DatabasePath(dir), os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(file, raw)
	if err := errors.Join(err, file.Close()); err != nil {
		t.Fatal(err)
	}
	return dir
}

// A server of today over an older data folder, and a command that finds none
// running.
func TestOlderDatabaseIsMigrated(t *testing.T) {
	t.Parallel()
	srv := startServerIn(t, olderFolder(t))
	if log := srv.Log.String(); !strings.Contains(log, "the database was migrated") || !strings.Contains(log, "podgate.db.format1") {
		t.Errorf("the log does not say it:\n%s", log)
	}
	if srv.SetupURL != "" {
		t.Error("a server with an administrator offers a setup link")
	}
	if code, out, errs := runCommand("check", "--data", srv.DataDir); code != exitDone || errs != "" {
		t.Errorf("check: %d\n%s%s", code, out, errs)
	}
	dir := olderFolder(t)
	for _, want := range []string{"The database was migrated from format 1 to ", ""} {
		code, out, errs := runCommand("user", "list", "--data", dir)
		if code != exitDone || !strings.Contains(out, "ada@example.com") || !strings.HasPrefix(errs, want) || want == "" && errs != "" {
			t.Errorf("user list: %d\n%s%s", code, out, errs)
		}
	}
}

// The further names of a server on loopback are addresses at which it listens.
func TestLoopbackOrigins(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ listeners, want string }{
		{"127.0.0.1:8080 [::1]:8080", "http://127.0.0.1:8080 http://[::1]:8080"}, {"127.0.0.1:8080", "http://127.0.0.1:8080"}, {"[::1]:8080", "http://[::1]:8080"},
		{"[::]:8080", "http://127.0.0.1:8080 http://[::1]:8080"}, {"127.0.0.1:80 [::1]:80", "http://127.0.0.1 http://[::1]"}, {"192.168.1.7:8080", ""},
	} {
		var listeners []net.Listener
		for _, at := range strings.Fields(c.listeners) {
			listeners = append(listeners, fixedListener{at: at})
		}
		if got := strings.Join(loopbackOrigins(listeners), " "); got != c.want {
			t.Errorf("listening on %s it is %s, want %s", c.listeners, got, c.want)
		}
	}
}
