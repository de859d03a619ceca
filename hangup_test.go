package main

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"podgate/internal/config"
)

// pipe is an output and the end at which it is read.
func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = r.Close(), w.Close() })
	return r, w
}

// A server whose terminal goes away stays: nobody has to read what it prints, and
// a hangup has it read its configuration again.
func TestOutlivesItsTerminal(t *testing.T) {
	t.Parallel()
	s, port := newTestServer(t, t.TempDir()), freePort(t)
	file := filepath.Join(t.TempDir(), "podgate.toml")
	configure := func(level string) {
		t.Helper()
		const plan = "[[plan]]\nname = \"tiny\"\nmemory = \"64MiB\"\ncpus = 1.0\ndisk = \"1GiB\"\nprocesses = 20\n"
		if err := os.WriteFile(file, []byte("[log]\nlevel = \""+level+"\"\n"+plan), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	configure("error")
	unread, stdout := pipe(t)
	_ = unread.Close() // before anything is printed
	s.launch(config.Environ{"PATH=" + os.Getenv("PATH")}, stdout, s.Log, []string{"serve", "--data", s.DataDir, "--config", file, "--listen", "127.0.0.1:" + port})
	_ = stdout.Close()
	answers := func() bool {
		if s.exited() {
			t.Fatalf("the server ended with code %d\n%s", *s.ended, s.Log)
		}
		res, err := http.Get("http://127.0.0.1:" + port + "/healthz")
		return err == nil && res.Body.Close() == nil && res.StatusCode == http.StatusOK
	}
	eventually(t, answers)
	hangUp := func(says string) {
		t.Helper()
		if err := s.proc.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() bool { return answers() && strings.Contains(s.Log.String(), says) })
	}
	configure("loud")
	hangUp("was not read again")
	if strings.Contains(s.Log.String(), "level=DEBUG") {
		t.Errorf("a faulty configuration changed something:\n%s", s.Log)
	}
	configure("debug")
	hangUp("level=DEBUG") // what answers asks is logged from now on
	if code := s.Stop(); code != exitDone {
		t.Errorf("code %d\n%s", code, s.Log)
	}
}

// A log that nobody reads any more ends nothing either.
func TestOutlivesItsLog(t *testing.T) {
	t.Parallel()
	s := newTestServer(t, t.TempDir())
	read, stderr := pipe(t)
	s.launch(testEnv(), s.Stdout, stderr, s.args(nil))
	_ = stderr.Close()
	copied := make(chan struct{})
	go func() { defer close(copied); _, _ = io.Copy(s.Log, read) }()
	s.waitReady()
	_ = read.Close()
	<-copied
	for range 3 { // each is logged
		if res, _ := s.get("localhost", "/healthz"); res.StatusCode != http.StatusOK {
			t.Errorf("%d", res.StatusCode)
		}
	}
	if code := s.Stop(); code != exitDone {
		t.Errorf("code %d", code)
	}
}
