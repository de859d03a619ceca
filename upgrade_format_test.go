package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"podgate/control"

	"podgate/store"
)

// nextYear are the files of package store as they are when the format has changed once
// more. The step renames all people, and waits or fails where the test has put a file
// beside the database: one for the rehearsal, which goes on a folder deeper, and one for
// the real database.
func nextYear(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	for file, change := range map[string][2]string{
		"store/format.go": {fmt.Sprintf("const Format = %d\n", store.Format), fmt.Sprintf("const Format = %d\n", store.Format+1)},
		"store/migrate.go": {"}\n\nfunc migrate(", `, toNextYear}

func toNextYear(tx *bolt.Tx) error {
	dir := filepath.Dir(tx.DB().Path())
	for _, name := range []string{filepath.Join(dir, "fails"), filepath.Join(filepath.Dir(dir), "fails-in-rehearsal")} {
		if _, err := os.Stat(name); err == nil {
			return errors.New("the year is not over")
		}
	}
	return changeRecords(tx, "users", func(_ []byte, record map[string]json.RawMessage) (bool, error) {
		record["name"] = json.RawMessage(strconv.Quote("Of the next year"))
		return true, nil
	})
}

func migrate(`},
	} {
		text := readFile(t, file)
		if strings.Count(text, change[0]) != 1 {
			t.Fatalf("%s has %q %d times", file, change[0], strings.Count(text, change[0]))
		}
		text = strings.Replace(text, change[0], change[1], 1)
		if strings.HasSuffix(file, "migrate.go") {
			text = strings.Replace(text, "\t\"errors\"\n", "\t\"errors\"\n\t\"os\"\n\t\"path/filepath\"\n", 1)
		}
		path, err := filepath.Abs(file)
		if err != nil {
			t.Fatal(err)
		}
		texts[path] = text
	}
	return texts
}

// A program is built whose database has another format, and takes over from this one.
func TestUpgradeOfTheFormat(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("skipped: a program takes over on Linux only")
	}
	built := filepath.Join(t.TempDir(), "podgate")
	if err := buildOverlaid(built, nextYear(t), "build", "-ldflags=-X main.release=2.0", "."); err != nil {
		t.Fatal(err)
	}
	t.Run("in place", func(t *testing.T) { upgradeTheFormat(t, built) })
	t.Run("killed", func(t *testing.T) { killWhileTheFormatChanges(t, built) })
}

// The database is migrated with a copy of before aside, and what people have and what
// runs goes on. Where the migration fails, in the rehearsal or after it, or the program
// fails after it, the old one goes on with the database of before. The old one does not
// take over from the new one.
func upgradeTheFormat(t *testing.T, built string) {
	next := func(program string) { replace(t, program, fmt.Sprintf("cat %q", built)) }

	s := startUpgradable(t, filepath.Join(t.TempDir(), "data"))
	setUp(t, s)
	g := onMachine(t, s)
	runs := podsRun(t, s)
	began := ""
	if runs {
		g.must("pod create page --preset static")
		began = firstProcess(t, s, "page")
	}
	aside := store.CopyPath(control.DatabasePath(s.DataDir), store.Format)
	// served holds what serves against what should, and the database that it has.
	served := func(when, version string, format int, name string) {
		t.Helper()
		if now := statusOf(t, s).Version; now != version {
			t.Errorf("%s: version %s serves, want %s\n%s", when, now, version, s.Log)
		}
		if is := formatAt(t, control.DatabasePath(s.DataDir)); is != format {
			t.Errorf("%s: the database has format %d, want %d", when, is, format)
		}
		if people := g.must("user list"); strings.Contains(people, "Of the next year") != (name == "new") {
			t.Errorf("%s: %s", when, people)
		}
		g.must("team add t" + fmt.Sprint(rand.Uint32())) // it can be written to
		if runs && firstProcess(t, s, "page") != began {
			t.Errorf("%s: the pod was started anew", when)
		}
		if left, err := filepath.Glob(filepath.Join(s.DataDir, rehearsalFolder+"*")); err != nil || len(left) > 0 {
			t.Errorf("%s: %q is left, %v", when, left, err)
		}
	}
	next(s.program)
	settings := readFile(t, s.config)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, c := range []struct{ name, file, settings, says string }{
		{"fails in the rehearsal", "fails-in-rehearsal", "", "the year is not over"},
		{"fails when it is for good", "fails", "", "the year is not over"},
		{"fails once it has migrated", "", "[metrics]\nlisten = \"" + taken.Addr().String() + "\"\n", "listens on"},
	} {
		if c.file != "" {
			write(t, s.DataDir, map[string]string{c.file: ""})
		}
		if err := os.WriteFile(s.config, []byte(settings+c.settings), 0o600); err != nil {
			t.Fatal(err)
		}
		if code, out, errs := s.command("upgrade"); code != exitFailed || !strings.Contains(errs, c.says) {
			t.Errorf("%s: %d %s%s", c.name, code, out, errs)
		}
		served(c.name, "1.0", store.Format, "old")
		if c.file != "" {
			_ = os.Remove(filepath.Join(s.DataDir, c.file)) // it was just made
		}
	}
	if err := os.WriteFile(s.config, []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(aside); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}

	code, out, errs := s.command("upgrade", "--check", "--json")
	var u control.Upgrade
	if err := json.Unmarshal([]byte(out), &u); code != exitDone || err != nil || u.FromFormat != store.Format || u.ToFormat != store.Format+1 || u.To != "2.0" {
		t.Errorf("--check: %d %s%s", code, out, errs)
	}
	served("after --check", "1.0", store.Format, "old")
	if _, err := os.Stat(aside); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("--check leaves a copy: %v", err)
	}
	if code, out, errs := s.command("upgrade"); code != exitDone || !strings.Contains(out, fmt.Sprintf("from format %d to %d", store.Format, store.Format+1)) {
		t.Fatalf("%d %s%s\n%s", code, out, errs, s.Log)
	}
	served("after the upgrade", "2.0", store.Format+1, "new")
	db, err := store.Open(aside) // by a program of then
	if err != nil {
		t.Fatal(err)
	}
	users, err := db.Users()
	if err := errors.Join(err, db.Check(), db.Close()); err != nil || len(users) != 1 || users[0].Name == "Of the next year" {
		t.Errorf("the copy of before: %v, %v", users, err)
	}

	install(t, s.program, "1.0")
	if code, out, errs := s.command("upgrade"); code != exitFailed || !strings.Contains(errs, "newer podgate") {
		t.Errorf("back: %d %s%s", code, out, errs)
	}
	served("after the way back was refused", "2.0", store.Format+1, "new")
	if code := s.Stop(); code != exitDone {
		t.Errorf("code %d\n%s", code, s.Log)
	}
	if out, err := exec.Command(built, "check", "--data", s.DataDir).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// A server that is killed while a program of another format takes over leaves a database
// of before or of after, with the copy of before, and the new program starts with it.
func killWhileTheFormatChanges(t *testing.T, built string) {
	found := map[int]int{}
	span := time.Second
	for i := range 3 * *kills {
		s := startUpgradable(t, filepath.Join(t.TempDir(), "data"))
		setUp(t, s)
		replace(t, s.program, fmt.Sprintf("cat %q", built))
		began, after := time.Now(), rand.N(span)
		upgraded := make(chan int, 1)
		go func() {
			code, _, _ := s.command("upgrade") // it may fail, as its server is killed
			upgraded <- code
		}()
		span += span / 4
		select {
		case <-upgraded:
			span = time.Since(began)
			upgraded <- 0
		case <-time.After(after):
		}
		s.Kill()
		<-upgraded
		path := control.DatabasePath(s.DataDir)
		format := formatAt(t, path)
		found[format]++
		if _, err := os.Stat(store.CopyPath(path, store.Format)); format == store.Format+1 && err != nil {
			t.Errorf("round %d: there is no copy of before: %v", i, err)
		}
		next := newTestServer(t, s.DataDir)
		next.program = built
		next.launch(testEnv(), next.Stdout, next.Log, next.args(nil))
		next.waitReady()
		if people := onMachine(t, next).must("user list"); !strings.Contains(people, "Of the next year") {
			t.Errorf("round %d: %s", i, people)
		}
		if code := next.Stop(); code != exitDone {
			t.Errorf("round %d: code %d\n%s", i, code, next.Log)
		}
		if out, err := exec.Command(built, "check", "--data", s.DataDir).CombinedOutput(); err != nil {
			t.Errorf("round %d: %v: %s", i, err, out)
		}
	}
	t.Logf("%d kills; by format they left %v", 3**kills, found)
}

// formatAt is the format that stands in a database, which somebody else may have open.
func formatAt(t *testing.T, path string) (format int) {
	t.Helper()
	copied := filepath.Join(t.TempDir(), "copy.db")
	eventually(t, func() bool { // somebody may be writing
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(copied, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		b, err := bolt.Open(copied, 0o600, &bolt.Options{ReadOnly: true})
		if err != nil {
			return false
		}
		defer b.Close() // it was only read
		return b.View(func(tx *bolt.Tx) error {
			raw := tx.Bucket([]byte("meta")).Get([]byte("format"))
			format = int(raw[len(raw)-1])
			return nil
		}) == nil
	})
	return format
}
