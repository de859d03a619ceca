package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"podgate/internal/mailtest"
)

// mailConfig writes a configuration that hands mail to the server.
func mailConfig(t *testing.T, server *mailtest.Server, more string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "podgate.toml")
	text := fmt.Sprintf("[mail]\nhost = \"127.0.0.1\"\nport = %d\ntls = \"none\"\nfrom = \"podgate <podgate@example.com>\"\n%s", server.Port, more)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// One mail goes out, and each step is told, also the one at which it ended.
func TestMailTest(t *testing.T) {
	t.Parallel()
	server := mailtest.Start(t, mailtest.Options{})
	conf := mailConfig(t, server, "")
	code, out, errs := runCommand("mail", "test", "ada@example.com", "--config", conf)
	if code != exitDone || errs != "" || strings.Count(out, "\n") != 7 || !strings.Contains(out, "ok    text") {
		t.Errorf("%d %s%s", code, out, errs)
	}
	if m := server.Next(t); m.To != "ada@example.com" || !strings.Contains(m.Raw, "on localhost can send mail") {
		t.Errorf("%+v", m)
	}
	server.Answer("RCPT", "550 nobody of that name\x1b[2J")
	code, out, errs = runCommand("mail", "test", "eve@example.com", "--config", conf)
	if code != exitFailed || errs != "" || !strings.Contains(out, "FAULT recipient") || !strings.Contains(out, "550 nobody of that name") || strings.Contains(out, "\x1b") {
		t.Errorf("%d %s%s", code, out, errs)
	}
	code, out, _ = runCommand("mail", "test", "eve@example.com", "--json", "--config", conf)
	var steps []mailStep
	if err := json.Unmarshal([]byte(out), &steps); err != nil || code != exitFailed || len(steps) != 5 || steps[4].OK || !steps[3].OK {
		t.Errorf("%v %s", err, out)
	}
}

// A password that cannot be read is found before anything needs it.
func TestMailPasswordFile(t *testing.T) {
	t.Parallel()
	server := mailtest.Start(t, mailtest.Options{})
	conf := mailConfig(t, server, "username = \"ada\"\npassword_file = \"/absent/mail\"\n")
	for _, words := range [][]string{{"config", "check"}, {"mail", "test", "ada@example.com"}} {
		code, out, errs := runCommand(append(words, "--config", conf)...)
		if code != exitFailed || !strings.Contains(out+errs, "/absent/mail") {
			t.Errorf("%v: %d %s%s", words, code, out, errs)
		}
	}
}
