package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"podgate/backup"
)

// A server that is killed at any moment of its daily backup, or while it answers
// «podgate backup», leaves backups that are whole and a database that is. What it leaves
// besides goes at its next start. A restore that is killed leaves no server or a whole one.
func TestKillWhileBackingUp(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := &backingUp{t: t, data: filepath.Join(dir, "data"), to: filepath.Join(dir, "to"), moments: moments{}}
	if err := os.Mkdir(b.to, 0o700); err != nil {
		t.Fatal(err)
	}
	craftShop(t, b.data)
	home := filepath.Join(b.data, "pods", "crafted", "home")
	for i := range 150 {
		write(t, home, map[string]string{fmt.Sprintf("%d/%d.txt", i%17, i): strings.Repeat(fmt.Sprint(i), 1000+i)})
	}
	for i := range *kills {
		write(t, home, map[string]string{fmt.Sprintf("%d/%d.txt", i%17, i%150): strings.Repeat(fmt.Sprint("again ", i), 9000)})
		b.due()
		srv := b.launch()
		after, ended := b.next("daily backup")
		began := time.Now()
		done := b.waitFor(srv, "a backup was made", after)
		ended(done, time.Since(began))
		srv.Kill()
		b.look(fmt.Sprintf("killed %v after its start", after))

		b.due()
		srv = b.launch()
		srv.waitReady()
		if !b.waitFor(srv, "a backup was made", time.Minute) {
			t.Fatalf("no backup is made:\n%s", srv.Log)
		}
		eventually(t, b.clean)
		file := filepath.Join(t.TempDir(), "backup")
		done = b.killedAt("backup", func() {
			if i%2 == 0 {
				_ = srv.proc.Kill() // it runs
			}
		}, "backup", file)
		srv.Kill()
		b.look("killed while it answered")
		if _, err := os.Stat(file); err == nil {
			b.must("backup", "verify", file)
		} else if done || !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the backup was made %v, and there is %v", done, err)
		}

		data := filepath.Join(t.TempDir(), "data")
		restore := []string{"restore", b.to, "--data", data}
		done = b.killedAt("restore", func() {}, restore...)
		if entries, err := os.ReadDir(data); len(entries) == 0 {
			if done {
				t.Errorf("it was answered that all is restored, and there is %v", err)
			}
			b.must(restore...)
		}
		b.must("check", "--data", data)
		if left, err := os.ReadDir(filepath.Dir(data)); err != nil || len(left) != 1 {
			t.Errorf("beside what was restored there is %v, %v", left, err)
		}
		if want, got := filesOf(t, home), filesOf(t, filepath.Join(data, "pods", "crafted", "home")); !bytes.Equal(want, got) {
			t.Errorf("%d bytes were restored, want %d", len(got), len(want))
		}
	}
	last := b.launch()
	last.waitReady()
	if code := last.Stop(); code != exitDone { // which takes away its cgroups
		t.Errorf("the server ended with code %d\n%s", code, last.Log)
	}
	t.Logf("%d kills at each of %s", *kills, b.moments)
}

// filesOf are the names and contents of all files in a folder.
func filesOf(t *testing.T, dir string) []byte {
	t.Helper()
	var all bytes.Buffer
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		fmt.Fprintf(&all, "%s %d\n%s", strings.TrimPrefix(path, dir), len(raw), raw)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.Bytes()
}

// backingUp is a server with daily backups that is killed again and again.
type backingUp struct {
	t        *testing.T
	data, to string
	moments
}

// due has the server believe that its last backup failed, after which it makes one when
// it starts.
func (b *backingUp) due() {
	b.t.Helper()
	path := filepath.Join(b.data, "backup.json")
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return // the first one is due without that
	}
	if err != nil {
		b.t.Fatal(err)
	}
	if !bytes.Contains(raw, []byte(`"fault"`)) {
		raw = bytes.Replace(raw, []byte(`"}`), []byte(`","fault":"of before"}`), 1)
	}
	if err := os.WriteFile(path, raw, 0o600); err != nil || !bytes.Contains(raw, []byte(`"fault"`)) {
		b.t.Fatalf("%s, %v", raw, err)
	}
}

func (b *backingUp) launch() *testServer {
	b.t.Helper()
	s := newTestServer(b.t, b.data)
	s.launch(testEnv(), s.Stdout, s.Log, s.args([]string{"[backup]", fmt.Sprintf("to = %q", b.to)}))
	return s
}

// waitFor waits for a word in the log, for so long. It reports whether it came.
func (b *backingUp) waitFor(s *testServer, word string, most time.Duration) bool {
	b.t.Helper()
	for end := time.Now().Add(most); !strings.Contains(s.Log.String(), word); time.Sleep(time.Millisecond) {
		if s.exited() {
			b.t.Fatalf("the server ended with code %d\n%s", *s.ended, s.Log)
		}
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

// killedAt gives a command and, at some moment, kills whom kill kills and then the
// command itself. It reports whether the command had done what it says by then.
func (b *backingUp) killedAt(what string, kill func(), args ...string) bool {
	b.t.Helper()
	exe, err := exec.LookPath("podgate")
	if err != nil {
		b.t.Fatal(err)
	}
	if args[0] == "backup" {
		args = append(args, "--data", b.data)
	}
	cmd := exec.Command(exe, args...)
	cmd.Env = testEnv()
	after, ended := b.next(what)
	began := time.Now()
	if err := cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	timer := time.AfterFunc(after, func() {
		kill()
		_ = cmd.Process.Kill() // it may have ended
	})
	err = cmd.Wait()
	timer.Stop()
	ended(err == nil, time.Since(began))
	return err == nil
}

func (b *backingUp) must(args ...string) {
	b.t.Helper()
	if code, out, errs := runCommand(args...); code != exitDone {
		b.t.Fatalf("podgate %s: %s%s", strings.Join(args, " "), out, errs)
	}
}

// look proves the database and each of the backups that are kept.
func (b *backingUp) look(when string) {
	b.t.Helper()
	if _, err := os.Stat(filepath.Join(b.data, "podgate.db")); err == nil {
		b.must("check", "--data", b.data)
	}
	list, err := backup.Backups(b.t.Context(), backup.Folder{Dir: b.to}, time.Now())
	if err != nil {
		b.t.Fatal(err)
	}
	for _, m := range list.Made {
		if _, err := (&backup.Restorable{Storage: backup.Folder{Dir: b.to}, Made: m}).Verify(b.t.Context()); err != nil {
			b.t.Errorf("%s: %s: %v", when, m.Name, err)
		}
	}
}

// clean reports whether there is nothing of backups that were not completed.
func (b *backingUp) clean() bool {
	b.t.Helper()
	for _, pattern := range []string{b.to + "/.podgate-backup-*", b.data + "/.podgate-backup-*", b.data + "/.backup-*"} {
		if left, err := filepath.Glob(pattern); err != nil || len(left) > 0 {
			return false
		}
	}
	generations, err := filepath.Glob(b.to + "/podgate-*Z")
	for _, g := range generations {
		if made, err := filepath.Glob(g + "/*.backup"); err != nil || len(made) == 0 {
			return false
		}
	}
	return err == nil && len(generations) > 0
}
