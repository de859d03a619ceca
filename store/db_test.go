package store

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
)

var t0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestOpenTwice(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "podgate.db")
	db, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := Open(path); !errors.Is(err, ErrLocked) {
		t.Errorf("second Open = %v", err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestKindsAreDistinct(t *testing.T) {
	seen := map[byte]bool{}
	for _, table := range tables {
		if k := table.expiryKind(); k != 0 && seen[k] {
			t.Errorf("two tables share the expiry kind %d", k)
		} else {
			seen[k] = true
		}
	}
}

func TestBackupIsAWholeDatabase(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	db, err := Open(filepath.Join(dir, "podgate.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var copied bytes.Buffer
	if err := db.CreateUser(User{ID: "u", Email: "a@example.com"}); err != nil {
		t.Fatal(err)
	}
	if _, err := db.WriteTo(&copied); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "copy.db")
	if err := os.WriteFile(path, copied.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	again, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if _, err := again.UserByEmail("a@example.com"); err != nil {
		t.Error(err)
	}
}

// writerEnv makes the test binary the process that the next test kills.
const writerEnv = "PODGATE_TEST_STORE_WRITER"

func TestMain(m *testing.M) {
	if path := os.Getenv(writerEnv); path != "" {
		writeUntilKilled(path)
	}
	if path := os.Getenv(migratorEnv); path != "" {
		dieMigrating(path)
	}
	if path := os.Getenv(rotatorEnv); path != "" {
		repeatUntilKilled(path, rotateOnce)
	}
	if path := os.Getenv(replacerEnv); path != "" {
		repeatUntilKilled(path, replaceOnce)
	}
	if path := os.Getenv(openerEnv); path != "" {
		openWithAWord(path)
	}
	os.Exit(m.Run())
}

// writeUntilKilled acknowledges each committed user with a line.
func writeUntilKilled(path string) {
	db, err := Open(path)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for i := 0; ; i++ {
		id := fmt.Sprint("user-", i)
		if err := db.CreateUser(User{ID: UserID(id), Email: id + "@example.com"}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(id)
	}
}

func TestAcknowledgedWritesSurviveAKill(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "podgate.db")
	for round := range 3 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), writerEnv+"="+path)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if round > 0 {
			path = filepath.Join(t.TempDir(), "podgate.db")
			cmd.Env = append(os.Environ(), writerEnv+"="+path)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var acknowledged []string
		lines := bufio.NewScanner(out)
		for len(acknowledged) < 20+round*13 && lines.Scan() {
			acknowledged = append(acknowledged, lines.Text())
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() { // what was acknowledged before the kill arrived
			acknowledged = append(acknowledged, lines.Text())
		}
		_ = cmd.Wait() // killed: always an error
		db, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range acknowledged {
			if _, err := db.User(UserID(id)); err != nil {
				t.Errorf("acknowledged %s: %v", id, err)
			}
		}
		if err := errors.Join(db.Check(), db.Close()); err != nil {
			t.Error(err)
		}
	}
}

func withBolt(t *testing.T, path string, fn func(*bolt.Tx) error) {
	t.Helper()
	b, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(b.Update(fn), b.Close()); err != nil {
		t.Fatal(err)
	}
}
