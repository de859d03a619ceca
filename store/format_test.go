package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// What Open refuses it leaves as it is, byte for byte, and says why.
func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	meta := func(key string, value []byte) func(*bolt.Tx) error {
		return func(tx *bolt.Tx) error { return tx.Bucket(bucketMeta).Put([]byte(key), value) }
	}
	number := func(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }
	for name, c := range map[string]struct {
		change func(*bolt.Tx) error
		want   error
		words  string
	}{
		"newer":         {meta("format", number(Format+6)), ErrNewerStore, fmt.Sprintf("has format %d, this podgate reads up to %d", Format+6, Format)},
		"no format":     {func(tx *bolt.Tx) error { return tx.Bucket(bucketMeta).Delete(keyFormat) }, ErrForeign, "does not say its format"},
		"odd format":    {meta("format", []byte("1")), ErrForeign, "does not say its format"},
		"format zero":   {meta("format", number(0)), ErrForeign, "no format 0"},
		"format wraps":  {meta("format", number(1<<63)), ErrForeign, "no format 9223372036854775808"},
		"other program": {meta("application", []byte("theirs")), ErrForeign, "not a podgate database"},
		"no meta":       {func(tx *bolt.Tx) error { return tx.DeleteBucket(bucketMeta) }, ErrForeign, "not a podgate database"},
		"index lost":    {func(tx *bolt.Tx) error { return tx.DeleteBucket([]byte("users_by_admin")) }, ErrDamaged, "bucket users_by_admin is missing"},
		"bucket inside": {func(tx *bolt.Tx) error { _, err := tx.Bucket([]byte("users")).CreateBucket([]byte("x")); return err }, ErrDamaged, "bucket users holds what is no record"},
		"bucket is key": {func(tx *bolt.Tx) error {
			return errors.Join(tx.DeleteBucket([]byte("setup")), tx.Bucket(bucketMeta).Put([]byte("setup"), nil))
		}, ErrDamaged, "bucket setup is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := unpackFixture(t, Format)
			withBolt(t, path, c.change)
			before, _ := os.ReadFile(path)
			_, err := Open(path)
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.words) || !strings.Contains(err.Error(), path) {
				t.Errorf("Open = %v, want %v with %q", err, c.want, c.words)
			}
			onlyThisFile(t, path, before)
		})
	}
}

// So is what is no database, or no longer one.
func TestOpenRefusesDamagedFiles(t *testing.T) {
	t.Parallel()
	whole, err := os.ReadFile(unpackFixture(t, Format))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		content []byte
		want    error
		words   string
	}{
		"text":      {bytes.Repeat([]byte("not a database\n"), 4096), ErrForeign, "not a podgate database"},
		"a byte":    {[]byte{1}, ErrForeign, "not a podgate database"},
		"zeros":     {make([]byte, len(whole)), ErrForeign, "not a podgate database"},
		"empty":     {nil, ErrDamaged, "it is empty; it was left as it is"},
		"head only": {whole[:2*4096], ErrDamaged, "its end is missing: 8192 of"},
		"cut off":   {whole[:len(whole)-4096], ErrDamaged, "its end is missing"},
		"one short": {whole[:len(whole)-1], ErrDamaged, "its end is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "podgate.db")
			if err := os.WriteFile(path, c.content, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := Open(path); !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.words) {
				t.Errorf("Open = %v, want %v with %q", err, c.want, c.words)
			}
			onlyThisFile(t, path, c.content)
		})
	}
}

// A page that something else was written over never ends the process: the file
// is refused, or opened where the page was one that nothing needs.
func TestOverwrittenPages(t *testing.T) {
	t.Parallel()
	whole, err := os.ReadFile(unpackFixture(t, Format))
	if err != nil {
		t.Fatal(err)
	}
	refused := 0
	for name, garbage := range map[string][]byte{
		"zeros": {0}, "ones": {0xff}, "text": []byte("overwritten "), "header kept": {0x7f, 0x41, 0, 0}, "buckets": {1, 0, 0, 0, 64, 0, 0, 0, 1, 0, 0, 0, 16, 0, 0, 0},
	} {
		from := 0
		if name == "header kept" || name == "buckets" {
			from = 16 // so that the page claims to be what it was
		}
		for page := range len(whole) / 4096 {
			content := bytes.Clone(whole)
			for i := from; i < 4096; i++ {
				content[page*4096+i] = garbage[i%len(garbage)]
			}
			path := filepath.Join(t.TempDir(), "podgate.db")
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			db, err := Open(path)
			if err != nil {
				refused++
				if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrForeign) {
					t.Errorf("page %d, %s: %v", page, name, err)
				}
				onlyThisFile(t, path, content)
				continue
			}
			_ = db.Check() // may find what it likes
			if err := db.Close(); err != nil {
				t.Errorf("page %d, %s: %v", page, name, err)
			}
		}
	}
	if pages := len(whole) / 4096; refused < 2*pages {
		t.Errorf("of 5 times %d files only %d were refused", pages, refused)
	}
}

// Of two that begin at once with no file one makes it, and nothing else is left.
func TestFirstOpenAtOnce(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "podgate.db")
	results := make(chan error)
	for range 8 {
		go func() {
			db, err := Open(path)
			if err == nil {
				err = db.Close()
			}
			results <- err
		}()
	}
	opened := 0
	for range 8 {
		if err := <-results; err == nil {
			opened++
		} else if !errors.Is(err, ErrLocked) {
			t.Error(err)
		}
	}
	if beside, err := os.ReadDir(filepath.Dir(path)); err != nil || len(beside) != 1 || opened == 0 {
		t.Errorf("%d opened it; there are %v, %v", opened, beside, err)
	}
}

// onlyThisFile fails unless the file has that content and nothing is beside it.
func onlyThisFile(t *testing.T, path string, want []byte) {
	t.Helper()
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the file was changed, %v", err)
	}
	beside, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(beside) != 1 {
		t.Errorf("beside it are %v, %v", beside, err)
	}
}

// newAddress is a migration for tests.
func newAddress(tx *bolt.Tx) error { return users.put(tx, &User{ID: "u", Email: "new@example.com"}) }

// older makes a database of format 1 with one user.
func older(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "podgate.db")
	db, err := open(path, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.CreateUser(User{ID: "u", Email: "old@example.com"}), db.Close(), os.Chmod(path, 0o640)); err != nil {
		t.Fatal(err)
	}
	return path
}

// holds fails unless the file at path is of that format and has the user.
func holds(t *testing.T, path string, format int, email string) {
	t.Helper()
	db, err := open(path, format, nil)
	if err != nil {
		t.Error(err)
		return
	}
	defer db.Close()
	if db.Migrated() != nil {
		t.Errorf("%s had to be migrated: %+v", path, db.Migrated())
	}
	if _, err := db.UserByEmail(email); err != nil {
		t.Errorf("%s: %v", email, err)
	}
	if err := db.Check(); err != nil {
		t.Error(err)
	}
}

func TestOlderFormatIsCopiedAsideAndMigrated(t *testing.T) {
	t.Parallel()
	path := older(t)
	owner := os.Getuid()
	if owner == 0 {
		owner = 1234
		if err := os.Chown(path, owner, owner); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(path+".format1.part", []byte("of a copy that was not finished"), 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := open(path, 2, []migration{newAddress})
	if err != nil {
		t.Fatal(err)
	}
	if m := db.Migrated(); m == nil || *m != (Migrated{From: 1, To: 2, Copy: path + ".format1"}) {
		t.Errorf("Migrated = %+v", m)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	holds(t, path, 2, "new@example.com")
	holds(t, path+".format1", 1, "old@example.com")
	for _, p := range []string{path, path + ".format1"} {
		info, err := os.Stat(p)
		if err != nil || info.Mode().Perm() != 0o640 || int(info.Sys().(*syscall.Stat_t).Uid) != owner {
			t.Errorf("%s: %+v, %v", p, info, err)
		}
	}
	if _, err := os.Stat(path + ".format1.part"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a part of a copy is left: %v", err)
	}
}

// Whatever goes wrong, the file stays of the old format, and sound.
func TestMigrationIsWholeOrNothing(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		steps []migration
		block string // a folder that is in the way
		want  string
	}{
		"a step fails":            {[]migration{newAddress, func(*bolt.Tx) error { return errors.New("half way") }}, "", "half way"},
		"a bucket does not come":  {[]migration{newAddress, func(tx *bolt.Tx) error { return tx.DeleteBucket([]byte("codes")) }}, "", "bucket codes is missing"},
		"the copy cannot be made": {[]migration{newAddress, newAddress}, ".format1/x", "copy"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := older(t)
			if c.block != "" {
				if err := os.MkdirAll(path+c.block, 0o700); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := open(path, 3, c.steps); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("open = %v, want %q", err, c.want)
			}
			holds(t, path, 1, "old@example.com")
		})
	}
}

// migratorEnv makes the test binary the process that the next test has killed.
const migratorEnv = "PODGATE_TEST_STORE_MIGRATOR"

func dieMigrating(path string) {
	die := func(tx *bolt.Tx) error {
		if err := newAddress(tx); err != nil {
			return err
		}
		if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
			return err
		}
		select {}
	}
	_, err := open(path, 2, []migration{die})
	fmt.Fprintln(os.Stderr, "still there:", err)
	os.Exit(1)
}

func TestCrashInMidMigration(t *testing.T) {
	t.Parallel()
	path := older(t)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), migratorEnv+"="+path)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != -1 {
		t.Fatalf("the process was not killed: %v\n%s", err, out)
	}
	holds(t, path, 1, "old@example.com")
	holds(t, path+".format1", 1, "old@example.com")
	db, err := open(path, 2, []migration{newAddress})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	holds(t, path, 2, "new@example.com")
}

// docs/format.md names this format and every bucket of it.
func TestFormatDocument(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("../docs/format.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(raw)
	for _, bucket := range bucketNames() {
		if !strings.Contains(text, "`"+bucket+"`") {
			t.Errorf("docs/format.md does not describe the bucket %s", bucket)
		}
	}
	p := packer{about: new(strings.Builder)}
	new(Grant).fields(&p)
	for _, field := range strings.Fields(strings.NewReplacer("[", " ", "]", " ", " scope ", " ", "?", " ").Replace(p.about.String())) {
		if !strings.Contains(text, "`"+field+"`") && !strings.Contains(text, "`"+field+"?`") {
			t.Errorf("docs/format.md does not name the field %s of grants", field)
		}
	}
	for _, part := range []string{fmt.Sprintf("**%d**", Format), fmt.Sprintf("\n| %d |", Format)} {
		if !strings.Contains(text, part) {
			t.Errorf("docs/format.md lacks %q", part)
		}
	}
}
