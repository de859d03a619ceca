package main

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"podgate/control"
	"podgate/internal/config"
	"podgate/store"
	"podgate/store/storetest"
)

// roomyData is a data folder with a database that is mostly free room.
func roomyData(t *testing.T) string {
	t.Helper()
	dir, now := t.TempDir(), time.Now().Add(-24*time.Hour)
	path := control.DatabasePath(dir)
	storetest.NewBig(t, path, "http://localhost/api/mcp", now, storetest.Size{Users: 20, Clients: 20, Connections: 500, Tokens: 5_000, Dying: 24_000})
	db, err := store.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Sweep(t.Context(), now.Add(2*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// A database of which most is free is written anew: by a command, whatever moment that
// is killed in, by a program that takes over, and by the server when it starts.
func TestCompactCommandAndStart(t *testing.T) {
	t.Parallel()
	dir := roomyData(t)
	path := control.DatabasePath(dir)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	cut := 0
	for round := 0; cut < 3; round++ { // until that many were killed while they wrote
		if round == 60 {
			t.Fatalf("only %d were killed while they wrote", cut)
		}
		if err := os.WriteFile(path, whole, 0o600); err != nil {
			t.Fatal(err)
		}
		s := newTestServer(t, dir)
		s.launch(testEnv(), s.Stdout, s.Log, []string{"compact", "--data", dir})
		eventually(t, func() bool { // the copy is being written, or was
			_, err := os.Stat(path + ".compact")
			return err == nil || s.exited()
		})
		<-time.After(time.Duration(round%4) * 2 * time.Millisecond)
		s.Kill()
		if _, err := os.Stat(path + ".compact"); err == nil {
			cut++
		}
		if code, out, errs := runCommand("check", "--data", dir); code != exitDone || !strings.HasPrefix(out, "ok: users 20") {
			t.Fatalf("after round %d: %d %s%s", round, code, out, errs)
		}
	}
	if err := os.WriteFile(path+".compact", []byte("left by a crash"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, errs := runCommand("compact", "--data", dir)
	if code != exitDone || !strings.HasPrefix(out, "The database had ") {
		t.Fatalf("%d %s%s", code, out, errs)
	}
	after, err := os.Stat(path)
	if left, globErr := filepath.Glob(path + "*"); err != nil || globErr != nil || len(left) != 1 || after.Size() > int64(len(whole))/2 {
		t.Errorf("%d bytes of %d, with %q", after.Size(), len(whole), left)
	}

	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	compactWhileTakingOver(t, dir)

	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	srv := startServerIn(t, dir)
	if !strings.Contains(srv.Log.String(), "was mostly free room and was written anew") {
		t.Errorf("the server does not compact:\n%s", srv.Log)
	}
	if now, err := os.Stat(path); err != nil || now.Size() > int64(len(whole))/2 {
		t.Errorf("%d bytes of %d", now.Size(), len(whole))
	}
	if code, out, errs := srv.command("compact"); code == exitDone || !strings.Contains(errs, "Stop it first") {
		t.Errorf("while a server runs: %d %s%s", code, out, errs)
	}
	if code, out, errs := srv.command("check"); code != exitDone {
		t.Errorf("%s%s", out, errs)
	}
}

// compactWhileTakingOver has a program that takes over write such a database anew, which
// it leaves as it is when it holds so much that people would wait for it.
func compactWhileTakingOver(t *testing.T, dir string) {
	t.Helper()
	path := control.DatabasePath(dir)
	size := func() int64 {
		t.Helper()
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	whole := size()
	db, err := control.OpenDatabase(dir, false)
	if err != nil {
		t.Fatal(err)
	}
	stats, err := db.Stats()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(compactRoomy(db, stats.Size-stats.Free-1, slog.New(slog.DiscardHandler)), db.Close()); err != nil || size() != whole {
		t.Errorf("%d bytes of %d: %v", size(), whole, err)
	}
	srv := &server{settings: &config.Settings{Config: config.Config{DataDir: dir}}, takeover: &takeover{}, log: slog.New(slog.DiscardHandler)}
	if db, err = srv.openDatabase(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil || size() > whole/2 {
		t.Errorf("%d bytes of %d: %v", size(), whole, err)
	}
}
