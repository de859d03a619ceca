package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"podgate/internal/packagetest"
	"podgate/internal/webtest"
	"podgate/pods/egress"
)

// A step of the tour is a fenced block of the document: a call of a tool, or what one
// sees after it.
type tourStep struct {
	section string
	kind    []string // the words after the fence: json TOOL, or text LOOK …
	body    string
	line    int
}

// tourSteps reads the blocks of a document that say what they are.
func tourSteps(t *testing.T, path string) (steps []tourStep) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var open *tourStep
	section := ""
	for i, line := range strings.Split(string(raw), "\n") {
		switch kind, fence := strings.CutPrefix(line, "```"); {
		case open != nil && fence:
			steps = append(steps, *open)
			open = nil
		case open != nil:
			open.body += line + "\n"
		case fence:
			open = &tourStep{section: section, kind: strings.Fields(kind), line: i + 1}
		case strings.HasPrefix(line, "## "):
			section = strings.TrimPrefix(line, "## ")
		}
	}
	for _, s := range steps {
		if len(s.kind) < 2 {
			t.Fatalf("%s:%d: a block that says nothing of itself", path, s.line)
		}
	}
	return steps
}

// TestTour does what docs/tour.md says, a section a subtest, with an internet of its
// own. A section whose language is not installed is left out, and so is what builds on
// it.
func TestTour(t *testing.T) {
	t.Parallel()
	srv := newTestServer(t, t.TempDir())
	srv.beyond = beyond(t)
	srv.start(testEnv())
	needSandbox(t, srv)
	c := connect(t, srv, setUp(t, srv), connectOptions{})
	addresses := map[string]string{}
	steps := tourSteps(t, "docs/tour.md")
	for len(steps) > 0 {
		section := steps[0].section
		n := slices.IndexFunc(steps, func(s tourStep) bool { return s.section != section })
		if n < 0 {
			n = len(steps)
		}
		t.Run(section, func(t *testing.T) {
			guide := &tour{t: t, c: c, addresses: addresses}
			guide.has(steps[:n])
			for _, s := range steps[:n] {
				guide.step(s)
			}
		})
		steps = steps[n:]
	}
}

// has skips a section whose language is not installed, and what builds on such a one.
func (g *tour) has(steps []tourStep) {
	g.t.Helper()
	for _, s := range steps {
		for sign, program := range map[string]string{"package.json": "npm", "server.js": "node", "requirements.txt": "python3", "index.php": "php"} {
			if strings.Contains(s.body, sign) {
				packagetest.Need(g.t, program)
			}
		}
		if s.kind[0] == "json" && strings.Contains(s.body, `"greeter"`) && s.kind[1] != "deploy" && g.addresses["greeter"] == "" {
			g.t.Skip("an earlier section was left out")
		}
	}
}

// beyond is the internet of the tour: registries of packages, and a forge.
func beyond(t *testing.T) egress.Config {
	t.Helper()
	forge := t.TempDir()
	packagetest.Commit(t, filepath.Join(forge, "ann", "site.git"), "main", map[string]string{"index.html": "<p>From git"})
	return packagetest.Internet(t, map[string]http.Handler{
		"npm.example":     packagetest.NPM("http://npm.example", packagetest.Nodes()...),
		"pypi.example":    packagetest.PyPI(packagetest.Pythons()...),
		"git.example.com": packagetest.Git(t, forge),
	})
}

// whereToLook tells npm and pip where to look.
var whereToLook = map[string]any{
	"npm_config_registry": "http://npm.example/", "PIP_INDEX_URL": "http://pypi.example/simple/", "PIP_TRUSTED_HOST": "pypi.example",
}

type tour struct {
	t         *testing.T
	c         *connection
	addresses map[string]string // of pods
	last      tourStep          // the last call
	answer    string            // its text
}

func (g *tour) step(s tourStep) {
	g.t.Helper()
	g.t.Logf("%s: %s", s.section, strings.Join(s.kind, " "))
	want := strings.TrimSpace(s.body)
	got := ""
	switch s.kind[0] + " " + s.kind[1] {
	case "text GET":
		_, got = visit(g.t, g.address(s)+s.kind[3])
	case "text ECHO":
		got = webSocketEcho(g.t, g.address(s)+s.kind[3], want)
	case "text ANSWER":
		if g.last.kind[1] == "get_logs" { // what an app prints is there a moment later
			eventually(g.t, func() bool { g.call(g.last); return strings.Contains(g.answer, want) })
		}
		got = g.answer
	default:
		g.call(s)
		return
	}
	if !strings.Contains(got, want) {
		g.t.Errorf("docs/tour.md:%d: %q, want %q", s.line, got, want)
	}
}

func (g *tour) address(s tourStep) string {
	g.t.Helper()
	if len(s.kind) != 4 || g.addresses[s.kind[2]] == "" {
		g.t.Fatalf("docs/tour.md:%d: %v: pods are %v", s.line, s.kind, g.addresses)
	}
	return strings.TrimSuffix(g.addresses[s.kind[2]], "/")
}

// call calls a tool as the document says; «failing» after its name says that it must
// be refused.
func (g *tour) call(s tourStep) {
	g.t.Helper()
	var with map[string]any
	if err := json.Unmarshal([]byte(s.body), &with); err != nil || s.kind[0] != "json" {
		g.t.Fatalf("docs/tour.md:%d: %v, %v", s.line, s.kind, err)
	}
	if s.kind[1] == "deploy" {
		with["env"] = whereToLook
		if git, ok := with["git"].(map[string]any); ok {
			git["url"] = strings.Replace(fmt.Sprint(git["url"]), "https:", "http:", 1)
		}
	}
	result, err := g.c.CallTool(g.t.Context(), &sdk.CallToolParams{Name: s.kind[1], Arguments: with})
	if err != nil {
		g.t.Fatalf("docs/tour.md:%d: %v", s.line, err)
	}
	g.last, g.answer = s, ""
	for _, content := range result.Content {
		if text, ok := content.(*sdk.TextContent); ok {
			g.answer += text.Text + "\n"
		}
	}
	if failing := len(s.kind) > 2 && s.kind[2] == "failing"; result.IsError != failing {
		g.t.Fatalf("docs/tour.md:%d: %s: %s", s.line, s.kind[1], g.answer)
	}
	if data, ok := result.StructuredContent.(map[string]any); ok {
		if pod, ok := data["pod"].(map[string]any); ok {
			g.addresses[fmt.Sprint(pod["name"])] = fmt.Sprint(pod["url"])
		}
	}
}

// webSocketEcho sends a text over a WebSocket and returns what comes back (RFC 6455).
func webSocketEcho(t *testing.T, address, text string) string {
	t.Helper()
	at, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := webtest.Transport().DialContext(t.Context(), "tcp", at.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(40 * time.Second)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n", at.Host)
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%+v, %v", resp, err)
	}
	frame := append([]byte{0x81, 0x80 | byte(len(text)), 0, 0, 0, 0}, text...) // masked with zeros
	if _, err := conn.Write(frame); err != nil {
		t.Fatal(err)
	}
	head := make([]byte, 2)
	if _, err := io.ReadFull(r, head); err != nil || head[0] != 0x81 {
		t.Fatalf("a frame %x, %v", head, err)
	}
	body := make([]byte, head[1]&0x7f)
	if _, err := io.ReadFull(r, body); err != nil {
		t.Fatal(err)
	}
	return string(body)
}
