package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"podgate/control"
	"podgate/internal/webtest"
)

// visit fetches a page of a pod at its own address.
func visit(t testing.TB, address string, roots ...*x509.CertPool) (int, string) {
	t.Helper()
	transport := webtest.Transport(roots...)
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// The first connection, whole: nothing but the URL, a person with a browser,
// and then all that a pod can do.
func TestFirstConnection(t *testing.T) {
	t.Parallel()
	for _, protocol := range []string{"2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26"} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			srv := startServer(t)
			needSandbox(t, srv)
			ada := setUp(t, srv)
			c := connect(t, srv, ada, connectOptions{protocol: protocol})
			if got := c.InitializeResult().ProtocolVersion; got != protocol {
				t.Errorf("speaks %s, want %s", got, protocol)
			}
			if status, _ := visit(t, walkPod(t, c)); status != http.StatusNotFound {
				t.Errorf("the address of a deleted pod: %d", status)
			}
		})
	}
}

// walkPod does with one pod all that the tools can do, and returns the address
// at which it was.
func walkPod(t *testing.T, c *connection) string {
	t.Helper()
	tools, err := c.ListTools(t.Context(), nil)
	if err != nil || !slices.ContainsFunc(tools.Tools, func(t *sdk.Tool) bool { return t.Name == "write_file" }) {
		t.Fatalf("ListTools: %d, %v", len(tools.Tools), err)
	}
	prompts, err := c.ListPrompts(t.Context(), nil)
	if err != nil || len(prompts.Prompts) != 3 {
		t.Fatalf("ListPrompts: %d, %v", len(prompts.Prompts), err)
	}
	if list := c.call(t, "list_pods", nil); len(list["pods"].([]any)) != 0 || list["team"].(map[string]any)["name"] != "Home" {
		t.Fatalf("list_pods at first: %v", list)
	}
	pod := c.call(t, "create_pod", args{"name": "site", "preset": "static", "env": args{"GREETING": "hello"}})
	if pod["status"] != "running" {
		t.Fatalf("create_pod: %v", pod)
	}
	address := pod["url"].(string)
	if status, body := visit(t, address, c.roots); status != 200 || !strings.Contains(body, "site") {
		t.Errorf("the welcome page: %d %s", status, body)
	}
	c.call(t, "write_file", args{"name": "site", "path": "index.html", "content": "<h1>Mine</h1>"})
	if status, body := visit(t, address, c.roots); status != 200 || body != "<h1>Mine</h1>" {
		t.Errorf("the page that was written: %d %s", status, body)
	}
	if got := c.call(t, "read_file", args{"name": "site", "path": "/home/pod/app/index.html"}); got["content"] != "<h1>Mine</h1>" || got["encoding"] != "utf-8" {
		t.Errorf("read_file: %v", got)
	}
	if got := c.call(t, "list_files", args{"name": "site"}); !strings.Contains(fmt.Sprint(got["entries"]), "index.html") {
		t.Errorf("list_files: %v", got)
	}
	run := c.call(t, "exec_command", args{"name": "site", "command": `echo "$GREETING $PWD"; echo no >&2; id -un; exit 3`})
	if run["exit_code"] != 3.0 || run["stdout"] != "hello /home/pod/app\npod\n" || run["stderr"] != "no\n" {
		t.Errorf("exec_command: %v", run)
	}
	if got := c.call(t, "get_logs", args{"name": "site", "source": "agent"}); len(got["lines"].([]any)) == 0 {
		t.Errorf("get_logs: %v", got)
	}
	if words := c.refused(t, "exec_command", args{"name": "site", "command": "echo started; sleep 60", "timeout": 1}); !strings.HasPrefix(words, "command timed out") || !strings.Contains(words, "started") {
		t.Errorf("a command over its time: %s", words)
	}
	c.call(t, "manage_pod", args{"name": "site", "action": "stop"})
	if got := c.call(t, "get_pod", args{"name": "site"}); got["status"] != "stopped" {
		t.Errorf("after stop: %v", got)
	}
	if words := c.refused(t, "exec_command", args{"name": "site", "command": "true"}); words != "pod is not running: use manage_pod with action start first" {
		t.Errorf("exec in a stopped pod: %s", words)
	}
	if status, _ := visit(t, address, c.roots); status != http.StatusServiceUnavailable {
		t.Errorf("the address of a stopped pod: %d", status)
	}
	c.call(t, "manage_pod", args{"name": "site", "action": "start"})
	if _, body := visit(t, address, c.roots); body != "<h1>Mine</h1>" {
		t.Errorf("after start: %s", body)
	}
	c.call(t, "manage_pod", args{"name": "site", "action": "restart"})
	if words := c.refused(t, "manage_pod", args{"name": "site", "action": "delete"}); !strings.Contains(words, "confirm") {
		t.Errorf("delete without confirm: %s", words)
	}
	c.call(t, "manage_pod", args{"name": "site", "action": "delete", "confirm": "site"})
	if words := c.refused(t, "get_pod", args{"name": "site"}); !strings.HasPrefix(words, "pod not found") {
		t.Errorf("after delete: %s", words)
	}
	return address
}

// Two people, two teams: what one has, the other cannot see, name, start, read
// or delete, and learns nothing from trying.
func TestTeamsAreApart(t *testing.T) {
	t.Parallel()
	srv := startServer(t)
	needSandbox(t, srv)
	ada, bob := setUp(t, srv), addPerson(t, srv, "bob")
	a, b := connect(t, srv, ada, connectOptions{}), connect(t, srv, bob, connectOptions{})
	a.call(t, "create_pod", args{"name": "mine", "preset": "static"})
	if list := b.call(t, "list_pods", nil); len(list["pods"].([]any)) != 0 {
		t.Errorf("bob sees %v", list)
	}
	for tool, more := range map[string]args{
		"get_pod": {}, "manage_pod": {"action": "stop"}, "exec_command": {"command": "true"}, "read_file": {"path": "index.html"},
		"write_file": {"path": "x", "content": "x"}, "list_files": {}, "search_files": {"query": "html"}, "get_logs": {},
		"create_upload": {"path": "x"}, "create_download": {"path": "index.html"}, "set_env": {"set": args{"X": "x"}}, "edit_file": {"path": "index.html", "old": "x", "new": "y"}, "delete_file": {"path": "index.html"}, "move_file": {"from": "index.html", "to": "x"},
		"list_deploys": {}, "rollback": {}, "snapshot_pod": {}, "list_snapshots": {}, "restore_snapshot": {"snapshot": "aaaaaaaaaa"}, "delete_snapshot": {"snapshot": "aaaaaaaaaa"}, "clone_pod": {"new_name": "copy"}, "resize_pod": {"plan": "medium"},
		"list_jobs": {}, "get_job": {"job": "aaaaaaaa"}, "stop_job": {"job": "aaaaaaaa"},
	} {
		with := func(name string) args {
			all := args{"name": name}
			for k, v := range more {
				all[k] = v
			}
			return all
		}
		foreign, absent := b.refused(t, tool, with("mine")), b.refused(t, tool, with("none"))
		if foreign != absent || !strings.HasPrefix(foreign, "pod not found") {
			t.Errorf("%s: of a foreign pod %q, of an absent one %q", tool, foreign, absent)
		}
	}
	b.refused(t, "manage_pod", args{"name": "mine", "action": "delete", "confirm": "mine"})
	if words := b.refused(t, "create_pod", args{"name": "mine", "preset": "static"}); !strings.HasPrefix(words, "name is taken") {
		t.Errorf("a taken name: %s", words)
	}
	if got := a.call(t, "get_pod", args{"name": "mine"}); got["status"] != "running" {
		t.Errorf("ada's pod afterwards: %v", got)
	}

	// A person in both teams acts for the one that was chosen.
	if code, _, errs := srv.command("team", "member", "add", "bobs", ada.email); code != exitDone {
		t.Fatal(errs)
	}
	other := connect(t, srv, ada, connectOptions{team: "bobs"})
	if words := other.refused(t, "get_pod", args{"name": "mine"}); !strings.HasPrefix(words, "not a member of this team") {
		t.Errorf("ada, connected to the other team: %s", words)
	}
}

// Every way to end a connection ends it for the very next call.
func TestEndingAConnection(t *testing.T) {
	t.Parallel()
	srv := startServer(t)
	ada, bob := setUp(t, srv), addPerson(t, srv, "bob")
	for name, end := range map[string]func(t *testing.T){
		"revoke": func(t *testing.T) {
			if page := bob.Open(srv.Issuer+"/connections").Follow("Revoke “End to end” at 127.0.0.1, team bobs").Press("Revoke", nil); page.Status != http.StatusOK {
				t.Fatalf("%d %s", page.Status, page.Text())
			}
		},
		"log out everywhere": func(t *testing.T) {
			page := bob.Open(srv.Issuer+"/account").Follow("Log out everywhere").Press("Log out everywhere", nil)
			if page.Status != http.StatusOK || !strings.Contains(page.Text(), "1 connection") {
				t.Fatalf("%d %s", page.Status, page.Text())
			}
			if home := bob.Open(srv.Issuer); !home.HasButton("Sign in") {
				t.Errorf("still signed in: %s", home.Text())
			}
		},
		"member removed": func(t *testing.T) {
			if code, _, errs := srv.command("team", "member", "remove", "bobs", bob.email); code != exitDone {
				t.Fatal(errs)
			}
			if code, _, errs := srv.command("team", "member", "add", "bobs", bob.email, "--owner"); code != exitDone {
				t.Fatal(errs)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			bystander := connect(t, srv, ada, connectOptions{})
			c := connect(t, srv, bob, connectOptions{})
			c.call(t, "list_pods", nil)
			end(t)
			if !c.dead(t) {
				t.Error("the token still works")
			}
			bystander.call(t, "list_pods", nil)
		})
	}
}

func TestDenyAndFewerScopes(t *testing.T) {
	t.Parallel()
	srv := startServer(t)
	needSandbox(t, srv)
	ada := setUp(t, srv)
	if _, err := tryConnect(t, srv, ada, connectOptions{deny: true}); err == nil || !strings.Contains(err.Error(), "access_denied") {
		t.Errorf("denied: %v", err)
	}
	create := &sdk.CallToolParams{Name: "create_pod", Arguments: args{"name": "x", "preset": "static"}}

	// What the person unticks is not offered to the app, and asking brings nothing.
	c := connect(t, srv, ada, connectOptions{scopes: []string{"pods:read"}})
	refused := "the person who connected you took the permission pods:write away"
	if words := c.refused(t, create.Name, create.Arguments.(args)); !strings.Contains(words, refused) || len(c.authorize) != 1 {
		t.Errorf("without the scope: %s after %d authorizations", words, len(c.authorize))
	}
	tools, err := c.ListTools(t.Context(), nil)
	if err != nil || len(tools.Tools) == 0 {
		t.Fatalf("%+v, %v", tools, err)
	}
	for _, tool := range tools.Tools {
		if !tool.Annotations.ReadOnlyHint {
			t.Errorf("%s is listed", tool.Name)
		}
	}

	// Where the app did not ask, the SDK answers 403 insufficient_scope by asking;
	// a person who leaves the new box unticked has said no.
	c = connect(t, srv, ada, connectOptions{asks: "pods:read", scopes: []string{"pods:read"}})
	if words := c.refused(t, create.Name, create.Arguments.(args)); !strings.Contains(words, refused) || len(c.authorize) != 2 {
		t.Errorf("without the scope: %s after %d authorizations", words, len(c.authorize))
	}
	c = connect(t, srv, ada, connectOptions{asks: "pods:read"})
	if list := c.call(t, "list_pods", nil); len(list["pods"].([]any)) != 0 {
		t.Errorf("something was made: %v", list)
	}

	// A person who ticks the box this time has said yes, and the same call goes
	// through.
	c.options.scopes = []string{"pods:read", "pods:write"}
	if got := c.call(t, create.Name, create.Arguments.(args)); got["status"] != "running" {
		t.Errorf("after the step-up: %v", got)
	}
}

// Tokens outlive the server, and pods come back as they should be: after a
// stop and after a kill.
func TestRestartsAndKills(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	port := freePort(t)
	public := fmt.Sprintf("public_url = %q\nlisten = \"127.0.0.1:%d\"", "http://localhost:"+port, portNumber(t, port))
	srv := startProcess(t, dir, public)
	needSandbox(t, srv)
	ada := setUp(t, srv)
	c := connect(t, srv, ada, connectOptions{})
	c.call(t, "create_pod", args{"name": "up", "preset": "static"})
	c.call(t, "create_pod", args{"name": "down", "preset": "static"})
	c.call(t, "write_file", args{"name": "up", "path": "index.html", "content": "kept"})
	c.call(t, "manage_pod", args{"name": "down", "action": "stop"})
	for _, end := range []func() int{srv.Kill, func() int { return srv.Stop() }} {
		end()
		if code, out, errs := srv.command("check"); code != exitDone {
			t.Fatalf("check: %s%s", out, errs)
		}
		srv = startProcess(t, dir, public)
		eventually(t, func() bool { return c.call(t, "get_pod", args{"name": "up"})["status"] == "running" })
		if got := c.call(t, "get_pod", args{"name": "down"}); got["status"] != "stopped" {
			t.Errorf("the stopped pod: %v", got)
		}
		if _, body := visit(t, "http://up.localhost:"+port); body != "kept" {
			t.Errorf("the page: %s", body)
		}
	}
}

// freePort is a free port that no connection and no listener on port 0 is given
// by the system, so that it is free again when what listened there has ended.
func freePort(t testing.TB) string {
	t.Helper()
	for range 100 {
		ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(20_000)))
		if err != nil {
			continue
		}
		defer ln.Close()
		_, port, _ := net.SplitHostPort(ln.Addr().String()) // of a listener
		return port
	}
	t.Fatal("no port is free")
	return ""
}

func portNumber(t testing.TB, port string) int {
	t.Helper()
	var n int
	if _, err := fmt.Sscan(port, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// upgrader is an app in a pod: it streams, and it changes protocols as a
// WebSocket server does, then echoes.
const upgrader = `use strict; use warnings; use IO::Socket::INET; $| = 1; $SIG{CHLD} = 'IGNORE';
my $server = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $ENV{PORT}, Listen => 5, ReuseAddr => 1) or die "listen: $!";
while (my $c = $server->accept) {
  next if fork; $c->autoflush(1);
  my ($first, $upgrade) = (scalar <$c>, 0);
  while (my $line = <$c>) { $upgrade = 1 if $line =~ /^Upgrade:/i; last if $line =~ /^\r?\n$/ }
  if ($upgrade) {
    print $c "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    while (sysread($c, my $data, 4096)) { print $c "echo $data" }
  } else {
    print $c "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\ndata: first\n\n";
    sleep 1 until -e '/tmp/go-on';
    print $c "data: second\n\n";
  }
  exit 0;
}
`

// A pod's address streams and changes protocols, and progress arrives while a
// command runs.
func TestStreamsThroughAPodsAddress(t *testing.T) {
	t.Parallel()
	srv := startServer(t)
	needSandbox(t, srv)
	c := connect(t, srv, setUp(t, srv), connectOptions{})
	pod := c.call(t, "create_pod", args{"name": "live", "preset": "command"})
	c.call(t, "write_file", args{"name": "live", "path": "app.pl", "content": upgrader})
	c.call(t, "write_file", args{"name": "live", "path": "Procfile", "content": "web: perl app.pl\n"})
	if got := c.call(t, "manage_pod", args{"name": "live", "action": "reload"}); !strings.Contains(fmt.Sprint(got["pod"]), "status:running") {
		t.Fatalf("reload: %v", got)
	}
	address, err := url.Parse(pod["url"].(string))
	if err != nil {
		t.Fatal(err)
	}
	readStream(t, c, address)
	echoUpgraded(t, srv, address)

	_, err = c.CallTool(t.Context(), &sdk.CallToolParams{
		Meta: sdk.Meta{"progressToken": "p1"}, Name: "exec_command", Arguments: args{"name": "live", "command": "for i in 1 2 3; do echo step $i; sleep 0.4; done"},
	})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return strings.Contains(strings.Join(c.progress, ""), "step 1")
	})
}

// readStream reads the first event before the second is sent.
func readStream(t *testing.T, c *connection, address *url.URL) {
	t.Helper()
	transport := webtest.Transport()
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address.String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewReader(resp.Body)
	if line, err := lines.ReadString('\n'); line != "data: first\n" {
		t.Fatalf("first event: %q, %v", line, err)
	}
	c.call(t, "exec_command", args{"name": "live", "command": "touch /tmp/go-on"})
	rest, err := io.ReadAll(lines)
	if err != nil || !strings.Contains(string(rest), "data: second") {
		t.Errorf("the rest: %q, %v", rest, err)
	}
}

func echoUpgraded(t *testing.T, srv *testServer, address *url.URL) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(srv.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(40 * time.Second)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n", address.Host)
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("upgrade: %+v, %v", resp, err)
	}
	fmt.Fprint(conn, "ping")
	got := make([]byte, len("echo ping"))
	if _, err := io.ReadFull(r, got); err != nil || string(got) != "echo ping" {
		t.Errorf("echo: %q, %v", got, err)
	}
}

// A whole flow at debug level leaves none of its secrets in the log.
func TestNoSecretReachesTheLog(t *testing.T) {
	t.Parallel()
	srv := startServer(t)
	ada := setUp(t, srv)
	c := connect(t, srv, ada, connectOptions{})
	c.call(t, "list_pods", nil)
	if page := ada.Open(srv.Issuer+"/account").Follow("Log out everywhere").Press("Log out everywhere", nil); page.Status != http.StatusOK {
		t.Fatal(page.Text())
	}
	c.dead(t)
	setup, err := url.Parse(srv.SetupURL)
	if err != nil {
		t.Fatal(err)
	}
	secrets := map[string]string{"password": ada.password, "setup token": setup.Query().Get("token"), "access token": c.wire.token(), "code": c.results[0].Code}
	asked, err := url.Parse(c.authorize[0])
	if err != nil {
		t.Fatal(err)
	}
	secrets["challenge"], secrets["state"] = asked.Query().Get("code_challenge"), asked.Query().Get("state")
	ada.signIn(ada.Open(srv.Issuer))
	for _, cookie := range ada.Cookies(srv.pages()) {
		secrets["cookie "+cookie.Name] = cookie.Value
	}
	if len(secrets) < 7 {
		t.Fatalf("too few secrets were met: %v", secrets)
	}
	srv.Stop()
	log := srv.Log.String()
	if !strings.Contains(log, "level=DEBUG") {
		t.Fatal("the log is not at debug level")
	}
	for name, secret := range secrets {
		if len(secret) < 8 {
			t.Errorf("%s is %q", name, secret)
		} else if strings.Contains(log, secret) {
			t.Errorf("the log holds the %s:\n%s", name, log)
		}
	}
	file, err := os.ReadFile(control.DatabasePath(srv.DataDir))
	if err != nil {
		t.Fatal(err)
	}
	for name, secret := range secrets {
		// A request that waits for its decision keeps what goes back with it.
		if name != "state" && name != "challenge" && bytes.Contains(file, []byte(secret)) {
			t.Errorf("the database holds the %s", name)
		}
	}
}

// Whoever types another name of loopback than the server's own connects as well:
// it is one server, and a token that was got under one name holds under each.
func TestConnectUnderEachLoopbackName(t *testing.T) {
	t.Parallel()
	srv := startServer(t, `listen = "localhost:0"`)
	ada := setUp(t, srv)
	_, port, _ := strings.Cut(srv.Issuer, "://localhost:")
	names := []string{srv.Issuer, "http://127.0.0.1:" + port, "http://[::1]:" + port}
	if strings.Count(srv.Log.String(), "msg=listening") < 2 {
		names = names[:2] // a machine without IPv6
	}
	for _, name := range names {
		c := connect(t, srv, ada, connectOptions{origin: name})
		if !strings.HasPrefix(c.authorize[0], name+"/oauth/authorize?") || c.results[0].Iss != name {
			t.Errorf("given %s, the client went to %s and heard from %s", name, c.authorize[0], c.results[0].Iss)
		}
		for _, other := range names {
			resp, body := srv.exchangeHTTP("POST", "/api/mcp", `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`, http.Header{
				"Host": {strings.TrimPrefix(other, "http://")}, "Authorization": {"Bearer " + c.wire.token()},
				"Content-Type": {"application/json"}, "Accept": {"application/json, text/event-stream"},
			})
			if resp.StatusCode != http.StatusOK || !strings.Contains(body, "create_pod") {
				t.Errorf("a token from %s at %s: %d %s", name, other, resp.StatusCode, body)
			}
		}
	}
}

// With a public URL there is one name, and the timeline says what to type.
func TestConnectUnderAnotherNameThanThePublic(t *testing.T) {
	t.Parallel()
	srv := startServer(t, `public_url = "http://localhost:9"`)
	ada := newPerson(t, srv, "ada@example.com")
	if _, err := tryConnect(t, srv, ada, connectOptions{origin: srv.URL}); err == nil {
		t.Fatal("a client connected under a name that is not the server's")
	}
	eventually(t, func() bool {
		code, out, errs := srv.command("timeline")
		if code != exitDone {
			t.Fatalf("%d %s", code, errs)
		}
		return strings.Contains(out, "asked for "+strings.TrimPrefix(srv.URL, "http://")) && strings.Contains(out, "type that in the client")
	})
}
