package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"podgate/control"
	"podgate/history"
	"podgate/internal/acmetest"
	"podgate/store"
)

// releaseMark stands at the end of a program that install has made, before its version.
const releaseMark = " podgate-release: "

// released is podgate of the version that stands at the end of its file.
func released() {
	raw, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(exitFailed)
	}
	if at := bytes.LastIndex(raw, []byte(releaseMark)); at > 0 && len(raw)-at < 100 {
		release = strings.TrimSpace(string(raw[at+len(releaseMark):]))
	}
	main()
}

// replace puts what a shell command writes in the place of a program, as a package manager
// does. This process opens nothing for writing: what is open for that cannot be executed.
func replace(t *testing.T, program, command string) {
	t.Helper()
	script := command + ` > "$1.new" && chmod 755 "$1.new" && mv "$1.new" "$1"`
	if out, err := exec.Command("sh", "-c", script, "sh", program).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// install puts this program in the place of another, as of a version.
func install(t *testing.T, program, version string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	replace(t, program, fmt.Sprintf("(cat %q; printf '%%s' %q)", self, releaseMark+version))
}

// startUpgradable is a server in a process of its own whose program is a file of its own,
// of version 1.0.
func startUpgradable(t *testing.T, data string, extra ...string) *testServer {
	t.Helper()
	s := newTestServer(t, data)
	s.program = filepath.Join(t.TempDir(), "podgate-release")
	install(t, s.program, "1.0")
	s.launch(testEnv(), s.Stdout, s.Log, s.args(extra))
	s.waitReady()
	return s
}

func statusOf(t *testing.T, s *testServer) (st control.Status) {
	t.Helper()
	_, out, errs := s.command("status", "--json") // fails for problems, too
	if err := json.Unmarshal([]byte(out), &st); err != nil {
		t.Fatalf("%v: %s%s\n%s", err, out, errs, s.Log)
	}
	return st
}

// upgradesOf are the upgrades in the audit list, the newest first: on what, and how it ended.
func upgradesOf(t *testing.T, s *testServer) (list []string) {
	t.Helper()
	code, out, errs := s.command("audit", "--json")
	var all []control.Entry
	if err := json.Unmarshal([]byte(out), &all); code != exitDone || err != nil {
		t.Fatalf("%v: %s%s", err, out, errs)
	}
	for _, e := range all {
		if e.Action == history.AuditUpgrade {
			list = append(list, fmt.Sprintf("%s %s: %s", e.Actor, e.Object, e.Outcome))
		}
	}
	return list
}

// firstProcess is when the first process of a pod began, in ticks.
func firstProcess(t *testing.T, s *testServer, pod string) string {
	t.Helper()
	code, out, errs := runCommand("pod", "exec", "--data", s.DataDir, pod, "--", "cut", "-d ", "-f22", "/proc/1/stat")
	if code != exitDone {
		t.Fatalf("%s%s", out, errs)
	}
	return out
}

// Another program takes over while people use the server and its pods: the process and the
// pods stay, and nothing that was asked fails. One that cannot take over changes nothing.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	s := startUpgradable(t, filepath.Join(t.TempDir(), "data"))
	needSandbox(t, s)
	g := onMachine(t, s)
	g.must("team add ann")
	dir := t.TempDir()
	write(t, dir, map[string]string{"Procfile": "web: perl app.pl\n", "app.pl": upgrader})
	g.must("pod deploy " + dir + " --name live")
	g.must("pod create page --preset static")
	first := map[string]string{"live": firstProcess(t, s, "live"), "page": firstProcess(t, s, "page")}
	echo := openSocket(t, s, "live") // which stays open throughout
	same := func() {
		t.Helper()
		for pod, began := range first {
			if now := firstProcess(t, s, pod); now != began {
				t.Errorf("the pod %s was started anew: %s and %s", pod, began, now)
			}
		}
		if s.exited() {
			t.Fatal("the process ended")
		}
		echo("still there")
	}

	t.Run("under load", func(t *testing.T) {
		visitors := comeIn(t, s)
		download := openStream(t, s, "live")
		talk, hung := openSocket(t, s, "live"), make(chan struct{})
		var talking sync.WaitGroup
		talking.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-hung:
					t.Logf("%d words over the WebSocket", n)
					return
				default:
					talk(fmt.Sprint("word ", n))
				}
			}
		})
		install(t, s.program, "2.0")
		if code, out, errs := s.command("upgrade", "--check"); code != exitDone || !strings.Contains(out, "2.0") || statusOf(t, s).Version != "1.0" {
			t.Fatalf("%s%s", out, errs)
		}
		answered := make(chan [2]string, 1)
		go func() {
			_, out, errs := s.command("upgrade", "--json")
			answered <- [2]string{out, errs}
		}()
		eventually(t, func() bool {
			return strings.Contains(s.Log.String(), "another program takes over as soon")
		})
		// What was under way goes on, to its end.
		g.must("pod exec live -- touch /tmp/go-on")
		if rest, err := io.ReadAll(download); err != nil || !strings.Contains(string(rest), "data: second") {
			t.Errorf("the download ended with %q, %v", rest, err)
		}
		said := <-answered
		var u control.Upgrade
		if err := json.Unmarshal([]byte(said[0]), &u); err != nil || u.State != control.UpgradeDone || u.From != "1.0" || u.To != "2.0" {
			t.Fatalf("%s\n%s", said, s.Log)
		}
		t.Logf("nobody was answered for %d ms", u.Took)
		visitors()
		close(hung)
		talking.Wait()
		if now := statusOf(t, s).Version; now != "2.0" {
			t.Errorf("version %s", now)
		}
		if got := upgradesOf(t, s); !slices.Equal(got, []string{"command line from 1.0 to 2.0, by a command: ok"}) {
			t.Errorf("%q", got)
		}
		same()
		if text := s.Log.String(); strings.Contains(text, "cut off") || strings.Contains(text, "level=ERROR") {
			t.Errorf("%s", text)
		}
	})

	t.Run("what cannot take over", func(t *testing.T) {
		settings := readFile(t, s.config)
		taken, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer taken.Close()
		fifo := filepath.Join(t.TempDir(), "token")
		if err := syscall.Mkfifo(fifo, 0o600); err != nil {
			t.Fatal(err)
		}
		good := func() { install(t, s.program, "3.0") }
		// What was read again while it ran holds after it has come back.
		const plan = "[[plan]]\nname = \"tiny\"\nmemory = \"64MiB\"\ncpus = 1.0\ndisk = \"1GiB\"\nprocesses = 20\n"
		if err := os.WriteFile(s.config, []byte(settings+plan), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := s.proc.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() bool { return strings.Contains(s.Log.String(), "the configuration was read again") })
		for _, c := range []struct {
			name, says string
			program    func()
			settings   string
		}{
			{"text", "exec format error", func() { replace(t, s.program, "echo hello") }, ""},
			{"another program", "no podgate", func() { replace(t, s.program, "cat /bin/true") }, ""},
			{"a file of everybody's", "can be changed by others", func() { good(); chmod(t, s.program, 0o777) }, ""},
			{"one that cannot be executed", "cannot be executed", func() { chmod(t, s.program, 0o644) }, ""},
			{"none", "no such file", func() { _ = os.Remove(s.program) }, ""},
			{"settings that do not work", "there is no such setting", good, "colour = \"blue\"\n"},
			{"what fails once it takes over", "listens on", good, "[metrics]\nlisten = \"" + taken.Addr().String() + "\"\n"},
			{"what hangs once it takes over", "did not serve within", good, "[metrics]\ntoken_file = \"" + fifo + "\"\n"},
		} {
			c.program()
			if err := os.WriteFile(s.config, []byte(settings+c.settings), 0o600); err != nil {
				t.Fatal(err)
			}
			code, out, errs := s.command("upgrade")
			if code != exitFailed || !strings.Contains(errs, c.says) {
				t.Errorf("%s: %d\n%s%s", c.name, code, out, errs)
			}
			if now := statusOf(t, s).Version; now != "2.0" {
				t.Errorf("%s: version %s", c.name, now)
			}
			if got := upgradesOf(t, s)[0]; !strings.HasPrefix(got, "command line from 2.0") || !strings.Contains(got, ", by a command: ") || strings.HasSuffix(got, ": ok") {
				t.Errorf("%s: %q", c.name, got)
			}
			same()
		}
		g.must("pod create small --preset static --plan tiny")
		if err := os.WriteFile(s.config, []byte(settings), 0o600); err != nil {
			t.Fatal(err)
		}
	})

	t.Run("hangup", func(t *testing.T) {
		if err := s.proc.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() bool { return statusOf(t, s).Version == "3.0" })
		if got := upgradesOf(t, s); len(got) != 10 || got[0] != "command line from 2.0 to 3.0, by a signal: ok" {
			t.Errorf("%q", got)
		}
		same()
		if entries, err := filepath.Glob(filepath.Join(s.DataDir, ".rehearsal-*")); err != nil || len(entries) > 0 {
			t.Errorf("%q, %v", entries, err)
		}
	})

	t.Run("while a pod is copied into a file", func(t *testing.T) {
		g.must("pod exec live -- dd if=/dev/urandom of=/home/pod/large bs=1M count=8")
		c, err := control.Open(t.Context(), s.DataDir, false, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		began, goOn, copied := make(chan struct{}), make(chan struct{}), make(chan error, 1)
		begin := sync.OnceFunc(func() { close(began) })
		go func() {
			_, err := c.ExportPod(t.Context(), onWrite{io.Discard, func([]byte) { begin(); <-goOn }}, "live", false)
			copied <- err
		}()
		<-began
		install(t, s.program, "4.0")
		upgraded := make(chan string, 1)
		go func() {
			_, out, errs := s.command("upgrade")
			upgraded <- out + errs
		}()
		eventually(t, func() bool {
			return strings.Contains(s.Log.String(), `work="the pod live is copied into a file"`)
		})
		close(goOn)
		if err := <-copied; err != nil {
			t.Error(err)
		}
		if said := <-upgraded; !strings.Contains(said, "4.0") || statusOf(t, s).Version != "4.0" {
			t.Errorf("%s", said)
		}
		same()
	})
	if code := s.Stop(); code != exitDone {
		t.Errorf("code %d\n%s", code, s.Log)
	}
	if code, out, errs := s.command("check"); code != exitDone {
		t.Errorf("%s%s", out, errs)
	}
	if text := s.Log.String(); strings.Contains(text, "DATA RACE") {
		t.Error(text)
	}
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

// comeIn has visitors come to podgate and to the pod page, each on a connection of its own,
// until the function that it returns is called, which fails the test if one was not
// answered.
func comeIn(t *testing.T, s *testServer) (end func()) {
	var (
		all   sync.WaitGroup
		over  = make(chan struct{})
		mu    sync.Mutex
		bad   []error
		count int
	)
	for host, path := range map[string]string{"localhost": "/healthz", "page.localhost": "/"} {
		all.Go(func() {
			client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute}
			for {
				select {
				case <-over:
					return
				default:
				}
				req, err := http.NewRequest(http.MethodGet, s.URL+path, nil)
				if err == nil {
					req.Host = host
					var res *http.Response
					if res, err = client.Do(req); err == nil {
						_, err = io.Copy(io.Discard, res.Body)
						if err = errors.Join(err, res.Body.Close()); err == nil && res.StatusCode != http.StatusOK {
							err = errors.New(res.Status)
						}
					}
				}
				mu.Lock()
				count++
				if err != nil {
					bad = append(bad, fmt.Errorf("%s: %s: %w", time.Now().Format(time.RFC3339Nano), host, err))
				}
				mu.Unlock()
			}
		})
	}
	return func() {
		t.Helper()
		close(over)
		all.Wait()
		t.Logf("%d visits", count)
		if len(bad) > 0 || count < 10 {
			t.Errorf("%d of %d visits failed: %v", len(bad), count, errors.Join(bad...))
			t.Logf("%s", s.Log)
		}
	}
}

func dialServer(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	return conn
}

func askOver(t *testing.T, conn net.Conn, host, more string) (*http.Response, *bufio.Reader) {
	t.Helper()
	fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\n%s\r\n", host, more)
	r := bufio.NewReader(conn)
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	return res, r
}

// openStream begins a download that ends when there is /tmp/go-on in the pod.
func openStream(t *testing.T, s *testServer, pod string) io.Reader {
	t.Helper()
	res, _ := askOver(t, dialServer(t, strings.TrimPrefix(s.URL, "http://")), pod+".localhost", "")
	body := bufio.NewReader(res.Body)
	if line, err := body.ReadString('\n'); line != "data: first\n" {
		t.Fatalf("%q, %v", line, err)
	}
	return body
}

// openSocket opens a WebSocket and returns what proves that it works.
func openSocket(t *testing.T, s *testServer, pod string) func(string) {
	t.Helper()
	return openSocketOver(t, dialServer(t, strings.TrimPrefix(s.URL, "http://")), pod+".localhost")
}

func openSocketOver(t *testing.T, conn net.Conn, host string) func(string) {
	t.Helper()
	res, r := askOver(t, conn, host, "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n")
	if res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(res.Status)
	}
	return func(word string) {
		t.Helper()
		fmt.Fprint(conn, word)
		got := make([]byte, len("echo ")+len(word))
		if _, err := io.ReadFull(r, got); err != nil || string(got) != "echo "+word {
			t.Errorf("echo: %q, %v", got, err)
		}
	}
}

// A WebSocket over https goes on from program to program, if it is over TLS 1.3, and its
// keys are written nowhere. One over TLS 1.2 ends.
func TestUpgradeOverHTTPS(t *testing.T) {
	t.Parallel()
	dir, port, metrics := t.TempDir(), freePort(t), freePort(t)
	certificate, key := acmetest.SelfSigned(t, time.Now().Add(-time.Hour), time.Now().Add(time.Hour), "files.test", "*.apps.test")
	write(t, dir, map[string]string{"cert.pem": string(certificate), "key.pem": string(key)})
	s := startUpgradable(t, filepath.Join(t.TempDir(), "data"), fmt.Sprintf("public_url = \"https://files.test:%s\"\nlisten = \"127.0.0.1:0\"\n[tls]\nmode = \"files\"\nlisten = \"127.0.0.1:%s\"\nhttp_listen = \"\"\ncert_files = [%q]\nkey_files = [%q]\n[pods]\ndomain = \"apps.test\"\n[metrics]\nlisten = \"127.0.0.1:%s\"",
		port, port, filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), metrics))
	needSandbox(t, s)
	g := onMachine(t, s)
	g.must("team add ann")
	app := t.TempDir()
	write(t, app, map[string]string{"Procfile": "web: perl app.pl\n", "app.pl": upgrader})
	g.must("pod deploy " + app + " --name live")
	var keys bytes.Buffer // as TLS names them for debugging: words and numbers of base 16
	open := func(version uint16) (net.Conn, func(string)) {
		conn := tls.Client(dialServer(t, "127.0.0.1:"+port), &tls.Config{ServerName: "live.apps.test", InsecureSkipVerify: true, MaxVersion: version, KeyLogWriter: &keys})
		return conn, openSocketOver(t, conn, "live.apps.test:"+port)
	}
	old, _ := open(tls.VersionTLS12)
	_, rests := open(tls.VersionTLS13)
	_, talk := open(tls.VersionTLS13)
	hung, talked := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(talked)
		for n := 0; ; n++ {
			select {
			case <-hung:
				t.Logf("%d words over the WebSocket", n)
				return
			default:
				talk(fmt.Sprint("word ", n, strings.Repeat(" and so on", n%100)))
			}
		}
	}()
	for _, version := range []string{"2.0", "3.0"} {
		install(t, s.program, version)
		if code, out, errs := s.command("upgrade"); code != exitDone {
			t.Fatalf("%s%s\n%s", out, errs, s.Log)
		}
		if now := statusOf(t, s).Version; now != version {
			t.Errorf("version %s", now)
		}
	}
	close(hung)
	<-talked
	replace(t, s.program, "echo hello")
	if code, out, errs := s.command("upgrade"); code != exitFailed {
		t.Errorf("%s%s", out, errs)
	}
	_, numbers := look(t, "http://127.0.0.1:"+metrics+metricsPath, "", "")
	if done, failed := number(t, numbers, `podgate_upgrades_total{result="done"}`), number(t, numbers, `podgate_upgrades_total{result="failed"}`); done != 2 || failed != 1 {
		t.Errorf("%v done, %v failed", done, failed)
	}
	rests("still there")
	if n, err := old.Read(make([]byte, 1)); n > 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%d, %v", n, err)
	}
	said := s.Log.String() + s.Stdout.String()
	secrets := 0
	for line := range strings.Lines(keys.String()) {
		words := strings.Fields(line)
		secret, err := hex.DecodeString(words[len(words)-1])
		if err != nil || len(secret) < 32 {
			t.Fatalf("%q, %v", line, err)
		}
		secrets++
		if strings.Contains(said, words[len(words)-1]) || strings.Contains(said, base64.StdEncoding.EncodeToString(secret)) {
			t.Errorf("%s is in the log", words[0])
		}
	}
	if secrets < 8 {
		t.Errorf("%d secrets", secrets)
	}
	if code := s.Stop(); code != exitDone {
		t.Errorf("code %d\n%s", code, s.Log)
	}
	if strings.Contains(s.Log.String(), "DATA RACE") || strings.Contains(s.Log.String(), "connections of visitors") {
		t.Error(s.Log)
	}
}

// A server that is killed at whatever moment of an upgrade leaves what the next start goes
// on with, and no pod runs without it.
func TestKillWhileUpgrading(t *testing.T) {
	t.Parallel()
	s := startUpgradable(t, filepath.Join(t.TempDir(), "data"))
	needSandbox(t, s)
	g := onMachine(t, s)
	g.must("team add ann")
	g.must("pod create page --preset static")
	program, old := s.program, ""
	for i := range 20 {
		began := firstProcess(t, s, "page") // brings it up
		if began == old {
			t.Fatalf("round %d: the pod outlived its server", i)
		}
		old = began
		go func() { _, _, _ = s.command("upgrade") }() // it may fail, as its server is killed
		time.Sleep(rand.N(600 * time.Millisecond))     // the moment
		s.Kill()
		eventually(t, func() bool {
			code, out, errs := s.command("check")
			// What the server was starting may have its socket for an instant longer.
			if code != exitDone && !strings.Contains(errs, "ask the running server") {
				t.Fatalf("round %d: %s%s", i, out, errs)
			}
			return code == exitDone
		})
		next := newTestServer(t, s.DataDir)
		next.program = program
		next.launch(testEnv(), next.Stdout, next.Log, next.args(nil))
		next.waitReady()
		s = next
	}
	firstProcess(t, s, "page")
	if code := s.Stop(); code != exitDone {
		t.Errorf("code %d\n%s", code, s.Log)
	}
	if left, err := filepath.Glob(filepath.Join(s.DataDir, ".rehearsal-*")); err != nil || len(left) > 0 {
		t.Errorf("%q, %v", left, err)
	}
}

// A program that gives back after it has migrated the database puts the copy from before
// in its place.
func TestUnmigrate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "podgate.db")
	write(t, dir, map[string]string{"podgate.db": "after", "podgate.db.format3": "before"})
	old := func(format int, silent time.Time) *takeover {
		return &takeover{handed: handed{Upgrade: control.Upgrade{FromFormat: format}, Silent: silent}}
	}
	for name, unchanged := range map[string]*takeover{
		"of the same format":     old(store.Format, time.Now()),
		"copied at another time": old(3, time.Now().Add(time.Hour)),
		"never copied":           old(2, time.Now()),
	} {
		if err := unchanged.unmigrate(path); err != nil || readFile(t, path) != "after" {
			t.Errorf("%s: %q, %v", name, readFile(t, path), err)
		}
	}
	if err := old(3, time.Now()).unmigrate(path); err != nil || readFile(t, path) != "before" {
		t.Errorf("%q, %v", readFile(t, path), err)
	}
}

// Who has decided what becomes of a take-over is not overruled.
func TestTakeOverIsDecidedOnce(t *testing.T) {
	t.Parallel()
	for first, second := range map[outcome]outcome{serves: givesBack, givesBack: serves} {
		var it takeover
		if is, mine := it.decide(first); is != first || !mine {
			t.Errorf("%v, %v", is, mine)
		}
		if is, mine := it.decide(second); is != first || mine {
			t.Errorf("%v, %v", is, mine)
		}
	}
}

// A program says whether it could take over, and brings a copy of a database to its format;
// what it cannot read it refuses.
func TestRehearse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	newer, fresh := filepath.Join(dir, "newer.db"), filepath.Join(dir, "fresh.db")
	if err := craftFile("newer", newer); err != nil {
		t.Fatal(err)
	}
	var found rehearsed
	code, out, errs := runCommand("rehearse", "--data", dir, "--database", fresh)
	if err := readRehearsed([]byte(out), &found); code != exitDone || err != nil || found != rehearsedHere() {
		t.Errorf("%d %s%s %v", code, out, errs, err)
	}
	if code, out, errs := runCommand("rehearse", "--data", dir, "--database", newer); code != exitFailed || !strings.Contains(errs, "newer podgate") {
		t.Errorf("%d %s%s", code, out, errs)
	}
	for _, said := range []string{"", "{}", "hello", `{"version":"1","handover":0,"format":1}`} {
		if err := readRehearsed([]byte(said), &rehearsed{}); err == nil {
			t.Errorf("%q is no answer", said)
		}
	}
}
