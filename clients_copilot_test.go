package main

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Copilot CLI signs in when it starts in a terminal, by a browser that it opens
// itself, and comes with a document that a server without a way out has a copy of.
// With a model of one's own it wants no account.
func TestClientCopilot(t *testing.T) {
	d := newDesk(t)
	terminal, err := exec.LookPath("script")
	if err != nil {
		t.Fatalf("a terminal is needed, which script(1) makes: %v", err)
	}
	d.write(".copilot/mcp-config.json", fmt.Sprintf(`{"mcpServers":{"podgate":{"type":"http","url":%q,"tools":["*"]}}}`, d.url))
	d.write("bin/xdg-open", "#!/bin/sh\nprintf '%s\\n' \"$1\" >>~/opened\n")
	browser := filepath.Join(d.home, "bin", "xdg-open")
	if err := os.Chmod(browser, 0o700); err != nil {
		t.Fatal(err)
	}
	model := &scriptedModel{t: t, tool: "podgate-list_pods"}
	srv := httptest.NewServer(model)
	defer srv.Close()
	account := []string{
		"PATH=" + filepath.Dir(browser) + ":/usr/bin:/bin", "BROWSER=" + browser, "DISPLAY=:9", "COPILOT_ALLOW_ALL=true", "COPILOT_OFFLINE=true", "COPILOT_AUTO_UPDATE=false",
		"COPILOT_PROVIDER_TYPE=anthropic", "COPILOT_PROVIDER_BASE_URL=" + srv.URL, "COPILOT_MODEL=scripted",
	}
	copilot := d.at("@github", "copilot-linux-x64", "copilot")
	d.signInAt(account, filepath.Join(d.home, "opened"), terminal, "-qfec", copilot, "/dev/null")
	d.connected("GitHub Copilot CLI")
	said := ""
	// It does not wait for servers that are slow to answer, and asks without them; and what
	// signed in keeps its tokens after it has called.
	for range 5 {
		said = d.run(account, copilot, "-p", "Which pods are there?", "--allow-all-tools")
		if !strings.Contains(said, "does not exist") && !strings.Contains(said, "requires authentication") {
			break
		}
	}
	d.shows(said, "The tool said:", "home")
}

// signInAt starts a program, approves the address that it writes to the file
// opened, and returns once it has called with its token. It is ended with the test.
func (d *desk) signInAt(environment []string, opened string, argv ...string) {
	d.Helper()
	ctx, cancel := context.WithTimeout(d.Context(), clientTime)
	cmd := d.command(ctx, argv...)
	cmd.Env = append(cmd.Env, environment...)
	out := &syncBuffer{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		cancel()
		d.Fatal(err)
	}
	d.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // it was killed
	})
	address := ""
	eventually(d, func() bool {
		raw, err := os.ReadFile(opened)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			d.Fatal(err)
		}
		line, _, whole := strings.Cut(string(raw), "\n")
		address = line
		return whole
	})
	if !strings.Contains(address, "client_id=https%3A%2F%2F") {
		d.Errorf("it came without its document: %s", address)
	}
	approve(d.T, d.owner, address)
	eventually(d, func() bool {
		_, list, _ := d.srv.command("connections")
		return strings.Contains(list, "works")
	})
}
