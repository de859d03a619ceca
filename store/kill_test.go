package store

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
)

var kills = flag.Int("kills", 6, "how often TestKilledMigration kills a migration")

// These make the test binary the process that one of the tests below kills.
const (
	rotatorEnv  = "PODGATE_TEST_STORE_ROTATOR"
	replacerEnv = "PODGATE_TEST_STORE_REPLACER"
	openerEnv   = "PODGATE_TEST_STORE_OPENER"
)

// killedRotation is the n-th rotation of the process that gets killed.
func killedRotation(n int) Rotation {
	name := func(kind string, n int) Hash { return HashSecret(fmt.Sprint(kind, " ", n)) }
	return Rotation{
		Family: Credential{"g", HashSecret("family")}, Token: name("refresh", n), Client: "c", Salt: []byte(fmt.Sprint("salt ", n)),
		Next: name("refresh", n+1), NextExpires: t0.Add(time.Hour), Access: name("access", n+1), AccessExpires: t0.Add(time.Hour),
	}
}

func rotateOnce(db *DB, n int) error {
	_, err := db.RotateRefresh(killedRotation(n), t0)
	return err
}

// replaceOnce makes connection n, which takes the place of the one before.
func replaceOnce(db *DB, n int) error {
	handle, session, code := HashSecret(fmt.Sprint("handle ", n)), HashSecret("session"), HashSecret(fmt.Sprint("code ", n))
	err := db.CreateAuthRequest(AuthRequest{Handle: handle, Session: session, Client: "c", Created: t0, Expires: t0.Add(time.Hour)})
	if err != nil {
		return err
	}
	if _, err := db.Approve(Approval{Handle: handle, Session: session, Team: "t", Replace: true, Code: code, Expires: t0.Add(time.Hour)}, t0); err != nil {
		return err
	}
	_, err = db.RedeemCode(Redemption{Code: code, Client: "c", Grant: replacement(n), Access: HashSecret(fmt.Sprint("replacement token ", n)), Expires: t0.Add(time.Hour)}, t0)
	return err
}

func replacement(n int) GrantID { return GrantID(fmt.Sprint("replacement ", n)) }

// repeatUntilKilled acknowledges each step with a line.
func repeatUntilKilled(path string, step func(db *DB, n int) error) {
	db, err := Open(path)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for n := 0; ; n++ {
		if err := step(db, n); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(n)
	}
}

// connectForKill makes the connection that the process refreshes.
func connectForKill(t *testing.T, path string) {
	t.Helper()
	db, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	session, code := HashSecret("session"), HashSecret("code")
	req := AuthRequest{Handle: HashSecret("handle"), Session: session, Client: "c", Offline: true, Created: t0, Expires: t0.Add(time.Hour)}
	err = errors.Join(
		db.CreateUser(User{ID: "u", Email: "a@example.com"}),
		db.CreateTeam(Team{ID: "t", Slug: "t"}, Member{Team: "t", User: "u", Role: RoleOwner}),
		db.CreateClient(Client{ID: "c", Expires: t0.Add(time.Hour)}),
		db.CreateSession(Session{Hash: session, User: "u", Expires: t0.Add(time.Hour)}),
		db.CreateAuthRequest(req),
	)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Approve(Approval{Handle: req.Handle, Session: session, Team: "t", Code: code, Expires: req.Expires}, t0); err != nil {
		t.Fatal(err)
	}
	first := killedRotation(-1) // its successor is the first token
	_, err = db.RedeemCode(Redemption{
		Code: code, Client: "c", Grant: "g", Access: first.Access, Expires: first.AccessExpires,
		Refresh: &NewRefresh{Family: first.Family.Hash, Token: first.Next, Expires: first.NextExpires},
	}, t0)
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

// A rotation that was answered is there after kill -9, with the means to answer
// it again; so the client goes on with whatever of the two it received.
func TestAcknowledgedRotationsSurviveAKill(t *testing.T) {
	t.Parallel()
	for round := range 3 {
		path := filepath.Join(t.TempDir(), "podgate.db")
		connectForKill(t, path)
		last := killAfter(t, rotatorEnv, path, 15+round*7)
		db, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		list, err := db.Grants("u", t0)
		if err != nil || len(list) != 1 {
			t.Fatalf("connections: %+v, %v", list, err)
		}
		if list[0].Refresh.Current == killedRotation(last+1).Next {
			last++ // committed, and killed before the acknowledgement
		}
		if got := list[0].Refresh.Current; got != killedRotation(last).Next {
			t.Errorf("token %d was answered, yet %s is current", last, got)
		}
		again, err := db.RotateRefresh(killedRotation(last), t0)
		if string(again.Salt) != fmt.Sprint("salt ", last) {
			t.Errorf("the answer to token %d is another: %q", last, again.Salt)
		}
		if err := errors.Join(err, db.Check(), db.Close()); err != nil {
			t.Error(err)
		}
	}
}

// A connection and the end of the one that it replaces are one fact: after kill
// -9 there is one of them, the last that was answered or the next.
func TestAcknowledgedReplacementsSurviveAKill(t *testing.T) {
	t.Parallel()
	for round := range 3 {
		path := filepath.Join(t.TempDir(), "podgate.db")
		connectForKill(t, path)
		last := killAfter(t, replacerEnv, path, 10+round*5)
		db, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		list, err := db.Grants("u", t0)
		if err != nil || len(list) != 1 || list[0].ID != replacement(last) && list[0].ID != replacement(last+1) {
			t.Errorf("after connection %d was answered there are %+v, %v", last, list, err)
		}
		if err := errors.Join(db.Check(), db.Close()); err != nil {
			t.Error(err)
		}
	}
}

// killAfter kills the process that the variable makes of the test binary after
// n acknowledgements and returns the last one that it sent.
func killAfter(t *testing.T, variable, path string, n int) (last int) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), variable+"="+path)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for killed := false; lines.Scan(); {
		if last, err = strconv.Atoi(lines.Text()); err != nil {
			t.Fatal(err)
		}
		if last >= n && !killed {
			killed = true
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = cmd.Wait() // killed: always an error
	return last
}

// openWithAWord says before and after it opens a database, so that the test knows when.
func openWithAWord(path string) {
	fmt.Println("begin")
	db, err := Open(path)
	if err == nil {
		err = db.Close()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("end")
	os.Exit(0)
}

// openAndKill has another process open a database and kills it so long after it began.
// It reports whether that came to its end, and after what time.
func openAndKill(t *testing.T, path string, after time.Duration) (ended bool, took time.Duration) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), openerEnv+"="+path)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	lines.Scan()
	began := time.Now()
	timer := time.AfterFunc(after, func() { _ = cmd.Process.Kill() }) // dead already
	defer timer.Stop()
	ended = lines.Scan()
	took = time.Since(began)
	if err := cmd.Wait(); err != nil && cmd.ProcessState.Exited() {
		t.Fatalf("%s: %v", path, err)
	}
	return ended, took
}

// A kill at any moment of a migration leaves a file of the old format or of the new one,
// never the new one without the copy from before, and the next Open finds all that an
// undisturbed one does and leaves nothing but the copy beside it.
func TestKilledMigration(t *testing.T) {
	t.Parallel()
	formatOf := func(path string) (n int) {
		b, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true, Timeout: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		err = b.View(func(tx *bolt.Tx) (err error) { n, err = readFormat(tx); return err })
		if err := errors.Join(err, b.Close()); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		return n
	}
	nothing := func(*DB) error { return nil }
	_, span := openAndKill(t, unpackFixture(t, 1), time.Minute) // that a migration takes
	before, copied, after := 0, 0, 0
	for i := range *kills {
		format := 1 + i%(Format-1)
		path := unpackFixture(t, format)
		ended, took := openAndKill(t, path, rand.N(span))
		if span += span / 4; ended { // the machine is sometimes busy and sometimes not
			span = took
		}
		found := formatOf(path)
		if found != format && found != Format {
			t.Errorf("killed within %v, format %d became %d", took, format, found)
		}
		aside := CopyPath(path, format)
		_, absent := os.Stat(aside)
		switch {
		case absent == nil && found == format:
			copied++
		case absent == nil:
			after++
		default:
			before++
		}
		if absent != nil && found == Format {
			t.Errorf("killed within %v, format %d was migrated and there is no copy of before: %v", took, format, absent)
		}
		if absent == nil {
			if err := inspect(aside, format); err != nil || formatOf(aside) != format {
				t.Errorf("killed within %v, the copy has format %d, want %d: %v", took, formatOf(aside), format, err)
			}
		}
		want := dumpAfter(t, unpackFixture(t, format), nothing)
		got := dumpAfter(t, path, nothing)
		if !maps.EqualFunc(got, want, maps.Equal[map[string]string]) {
			t.Errorf("killed within %v, a file of format %d holds something else", took, format)
		}
		left, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*"))
		if err != nil || !slices.Equal(left, []string{path, aside}) {
			t.Errorf("killed within %v: beside the file there is %q, %v", took, left, err)
		}
	}
	t.Logf("of %d kills %d came before there was a copy, %d before the migration was committed, %d after", *kills, before, copied, after)
}
