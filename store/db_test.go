package store

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
)

var t0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestOpenRefusesWhatIsNotOurs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	noise := filepath.Join(dir, "noise")
	if err := os.WriteFile(noise, bytes.Repeat([]byte("not a database\n"), 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	foreign := filepath.Join(dir, "foreign")
	withBolt(t, foreign, func(tx *bolt.Tx) error { _, err := tx.CreateBucket([]byte("theirs")); return err })
	for _, path := range []string{noise, foreign} {
		before, _ := os.ReadFile(path)
		if _, err := Open(path); !errors.Is(err, ErrForeign) {
			t.Errorf("%s: %v", path, err)
		}
		if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
			t.Errorf("%s was changed", path)
		}
	}
}

func TestOpenRefusesANewerFormatWithBothNumbers(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "podgate.db")
	newer, err := open(path, Format+6, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := newer.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = Open(path)
	if !errors.Is(err, ErrNewerStore) || !strings.Contains(err.Error(), fmt.Sprint(Format+6)) || !strings.Contains(err.Error(), fmt.Sprintf("up to %d", Format)) {
		t.Errorf("Open = %v", err)
	}
}

func TestOlderFormatIsCopiedAsideAndMigrated(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "podgate.db")
	db, err := open(path, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.CreateUser(User{ID: "u", Email: "old@example.com"}), db.Close()); err != nil {
		t.Fatal(err)
	}
	rename := migration{from: 1, run: func(tx *bolt.Tx) error {
		return users.put(tx, &User{ID: "u", Email: "new@example.com"})
	}}
	fails := migration{from: 1, run: func(tx *bolt.Tx) error { return errors.Join(rename.run(tx), errors.New("half way")) }}
	if _, err := open(path, 2, []migration{fails}); err == nil || !strings.Contains(err.Error(), "half way") {
		t.Fatalf("a failed migration was accepted: %v", err)
	}
	for step := range 2 { // the second open finds nothing left to do
		db, err = open(path, 2, []migration{rename})
		if err != nil {
			t.Fatalf("open %d: %v", step, err)
		}
		if _, err := db.UserByEmail("new@example.com"); err != nil {
			t.Errorf("open %d: %v", step, err)
		}
		if err := errors.Join(db.Check(), db.Close()); err != nil {
			t.Errorf("open %d: %v", step, err)
		}
	}
	aside, err := Open(path + ".format1")
	if err != nil {
		t.Fatal(err)
	}
	defer aside.Close()
	if _, err := aside.UserByEmail("old@example.com"); err != nil {
		t.Errorf("the copy: %v", err)
	}
}

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

// Every kind of damage that Check looks for is one that it finds.
func TestCheckFindsDamage(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		damage func(*bolt.Tx) error
		want   string
	}{
		"index entry lost":   {func(tx *bolt.Tx) error { return tx.Bucket([]byte("users_by_email")).Delete([]byte("a@example.com")) }, "missing from index email"},
		"index to nothing":   {func(tx *bolt.Tx) error { return tx.Bucket([]byte("users_by_email")).Put([]byte("x"), []byte("absent")) }, "not found"},
		"index misplaced":    {func(tx *bolt.Tx) error { return tx.Bucket([]byte("users_by_email")).Put([]byte("x"), []byte("u")) }, "belongs at"},
		"record undecodable": {func(tx *bolt.Tx) error { return tx.Bucket([]byte("teams")).Put([]byte("t"), []byte("{")) }, "damaged record"},
		"record under alias": {func(tx *bolt.Tx) error {
			return tx.Bucket([]byte("teams")).Put([]byte("t2"), tx.Bucket([]byte("teams")).Get([]byte("t")))
		}, "names another key"},
		"reference dangling": {func(tx *bolt.Tx) error { return users.delete(tx, []byte("u")) }, "refers to absent users"},
		"expiry entry lost": {func(tx *bolt.Tx) error {
			k, _ := tx.Bucket(bucketExpiry).Cursor().First()
			return tx.Bucket(bucketExpiry).Delete(k)
		}, "missing from expiry"},
		"expiry without": {func(tx *bolt.Tx) error {
			return tx.Bucket(bucketExpiry).Put(append(binary.BigEndian.AppendUint64(nil, 1), sessions.kind, 'x'), nil)
		}, "no record with that deadline"},
		"expiry unknown kind": {func(tx *bolt.Tx) error {
			return tx.Bucket(bucketExpiry).Put(append(binary.BigEndian.AppendUint64(nil, 1), 200, 'x'), nil)
		}, "no record with that deadline"},
		"expiry too short": {func(tx *bolt.Tx) error { return tx.Bucket(bucketExpiry).Put([]byte("short"), nil) }, "too short"},
		"bucket lost":      {func(tx *bolt.Tx) error { return tx.DeleteBucket([]byte("pods_by_team")) }, "bucket pods_by_team is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, err := Open(filepath.Join(t.TempDir(), "podgate.db"))
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			err = errors.Join(
				db.CreateUser(User{ID: "u", Email: "a@example.com"}),
				db.CreateTeam(Team{ID: "t", Slug: "t"}, Member{Team: "t", User: "u", Role: RoleOwner}),
				db.CreateSession(Session{Hash: HashSecret("s"), User: "u", Expires: t0}),
				db.Check(),
			)
			if err != nil {
				t.Fatal(err)
			}
			if err := db.update(c.damage); err != nil {
				t.Fatal(err)
			}
			if err := db.Check(); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Check = %v, want it to say %q", err, c.want)
			}
		})
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
	if path := os.Getenv(rotatorEnv); path != "" {
		rotateUntilKilled(path)
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
