package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"podgate/internal/clocktest"
)

// Every kind of damage that Check looks for is one that it finds, and Repair
// mends what can be made from the records.
func TestCheckFindsDamage(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		damage func(*bolt.Tx) error
		want   string
		mended bool
	}{
		"index entry lost":   {func(tx *bolt.Tx) error { return tx.Bucket([]byte("users_by_email")).Delete([]byte("a@example.com")) }, "missing from index email", true},
		"index to nothing":   {func(tx *bolt.Tx) error { return tx.Bucket([]byte("users_by_email")).Put([]byte("x"), []byte("absent")) }, "not found", true},
		"index misplaced":    {func(tx *bolt.Tx) error { return tx.Bucket([]byte("users_by_email")).Put([]byte("x"), []byte("u")) }, "belongs at", true},
		"record undecodable": {func(tx *bolt.Tx) error { return tx.Bucket([]byte("teams")).Put([]byte("t"), []byte("{")) }, "damaged record", false},
		"record under alias": {func(tx *bolt.Tx) error {
			return tx.Bucket([]byte("teams")).Put([]byte("t2"), tx.Bucket([]byte("teams")).Get([]byte("t")))
		}, "names another key", false},
		"reference dangling": {func(tx *bolt.Tx) error { return users.delete(tx, []byte("u")) }, "refers to absent users", false},
		"expiry entry lost": {func(tx *bolt.Tx) error {
			k, _ := tx.Bucket(bucketExpiry).Cursor().First()
			return tx.Bucket(bucketExpiry).Delete(k)
		}, "missing from expiry", true},
		"expiry without": {func(tx *bolt.Tx) error {
			return tx.Bucket(bucketExpiry).Put(append(binary.BigEndian.AppendUint64(nil, 1), sessions.kind, 'x'), nil)
		}, "no record with that deadline", true},
		"expiry unknown kind": {func(tx *bolt.Tx) error {
			return tx.Bucket(bucketExpiry).Put(append(binary.BigEndian.AppendUint64(nil, 1), 200, 'x'), nil)
		}, "no record with that deadline", true},
		"expiry too short": {func(tx *bolt.Tx) error { return tx.Bucket(bucketExpiry).Put([]byte("short"), nil) }, "too short", true},
		"bucket lost":      {func(tx *bolt.Tx) error { return tx.DeleteBucket([]byte("pods_by_team")) }, "bucket pods_by_team is missing", true},
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
			if err := db.Repair(); err != nil {
				t.Fatal(err)
			}
			if err := db.Check(); (err == nil) != c.mended {
				t.Errorf("Check after Repair = %v", err)
			}
		})
	}
}

// What others write meanwhile is no damage, and the copy that is looked at is
// gone afterwards.
func TestCheckBesideWriters(t *testing.T) {
	t.Parallel()
	db, err := Open(filepath.Join(t.TempDir(), "podgate.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	done := make(chan error, 1)
	var stop atomic.Bool
	go func() {
		var failed error
		for i := 0; !stop.Load() && failed == nil; i++ {
			name := fmt.Sprint(i % 50)
			failed = db.CreateUser(User{ID: UserID(name), Email: name + "@example.com", Name: strings.Repeat("long ", 500)})
			if errors.Is(failed, ErrTaken) {
				failed = db.DeleteUser(UserID(name))
			}
		}
		done <- failed
	}()
	for range 30 {
		if err := db.Check(); err != nil {
			t.Errorf("Check = %v", err)
			break
		}
	}
	stop.Store(true)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if beside, err := os.ReadDir(filepath.Dir(db.bolt.Path())); err != nil || len(beside) != 1 {
		t.Errorf("beside the file are %v, %v", beside, err)
	}
}

// A list of free pages that breaks under a running server is damage that Check
// names. bbolt reads it where a fault would end the process.
func TestCheckOfBrokenFreeList(t *testing.T) {
	t.Parallel()
	db, err := Open(filepath.Join(t.TempDir(), "podgate.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.CreateUser(User{ID: "u", Email: "a@example.com"}); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(db.bolt.Path(), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const kind, count, content, freelist = 8, 10, 16, 0x10 // of bbolt's pages
	size, broken := int64(db.bolt.Info().PageSize), 0
	for page := range int64(16) {
		var head [16]byte
		if _, err := f.ReadAt(head[:], page*size); err != nil || binary.NativeEndian.Uint16(head[kind:]) != freelist {
			continue
		}
		// More than the file has, and it says so where a long list does.
		_, err := f.WriteAt([]byte{0xff, 0xff}, page*size+count)
		_, err2 := f.WriteAt(binary.NativeEndian.AppendUint64(nil, 1<<24), page*size+content)
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		broken++
	}
	if err := db.Check(); broken == 0 || err == nil || errors.Is(err, ErrNotChecked) || !strings.Contains(err.Error(), "cannot be read") {
		t.Errorf("%d lists, Check = %v", broken, err)
	}
}

// What happens after the clock was set back stands in the indexes where it will
// be looked for.
func TestClockStepsBack(t *testing.T) {
	t.Parallel()
	db, err := Open(filepath.Join(t.TempDir(), "podgate.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	now := time.Now()
	before := clocktest.Stepped(now, time.Second, -10)
	s := fixtureSession("u")
	if err := errors.Join(db.CreateUser(User{ID: "u", Email: "a@example.com"}), db.CreateSession(s)); err != nil {
		t.Fatal(err)
	}
	for i, at := range []time.Time{now, before} {
		db.NoteStep(StepNote{Attempt: "a", User: "u", Step: Step{Kind: fmt.Sprint(i), At: at}})
		db.NoteAudit(AuditEntry{Action: AuditLost, Outcome: AuditOK, At: at})
		db.NoteSessionUse(s.Hash, at)
	}
	if err := errors.Join(db.FlushHistory(), db.Flush(), db.Check()); err != nil {
		t.Error(err)
	}
}

// An entry that belongs to no record ends nothing that lives and does not keep
// the sweeper from what is behind it.
func TestSweepPassesOverDamage(t *testing.T) {
	t.Parallel()
	db, err := Open(filepath.Join(t.TempDir(), "podgate.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	live, due := fixtureSession("u"), fixtureSession("u")
	due.Hash, due.Expires = HashSecret("due"), t0.Add(time.Minute)
	entry := func(kind byte, key []byte) []byte { return append(append(bigTime(t0), kind), key...) }
	err = errors.Join(
		db.CreateUser(User{ID: "u", Email: "a@example.com"}), db.CreateSession(live), db.CreateSession(due),
		db.update(func(tx *bolt.Tx) error {
			b := tx.Bucket(bucketExpiry)
			for i := range sweepStep + 1 {
				if err := b.Put(entry(200, []byte{byte(i)}), nil); err != nil {
					return err
				}
			}
			return errors.Join(b.Put([]byte{1}, nil), b.Put(entry(sessions.kind, live.Hash[:]), nil), b.Put(entry(sessions.kind, []byte("absent")), nil))
		}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Sweep(t.Context(), t0.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := db.Session(live.Hash, t0); err != nil {
		t.Errorf("a session that lives: %v", err)
	}
	if _, _, err := db.Session(due.Hash, t0); !errors.Is(err, ErrNotFound) {
		t.Errorf("a session that was due: %v", err)
	}
	if err := db.Check(); err != nil {
		t.Error(err)
	}
}

// Whatever stands in a bucket, nothing panics, and Check says so.
func TestUnknownRecordsNeverPanic(t *testing.T) {
	t.Parallel()
	fixture := unpackFixture(t, Format)
	raw, err := os.ReadFile(fixture)
	if err != nil {
		t.Fatal(err)
	}
	for _, bucket := range bucketNames() {
		if bucket == string(bucketMeta) {
			continue // Open looks at all of it
		}
		t.Run(bucket, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "podgate.db")
			if err := os.WriteFile(path, raw, 0o600); err != nil {
				t.Fatal(err)
			}
			withBolt(t, path, func(tx *bolt.Tx) error { return putJunk(tx.Bucket([]byte(bucket))) })
			db, err := Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			if err := db.Check(); err == nil || !strings.Contains(err.Error(), strings.SplitN(bucket, "_by_", 2)[0]) {
				t.Errorf("Check = %v", err)
			}
			if err := db.Repair(); err != nil {
				t.Errorf("Repair = %v", err)
			}
			useEverything(t, db)
		})
	}
}

// putJunk puts what is no record beside the records of a bucket, and in place of
// the first one.
func putJunk(b *bolt.Bucket) error {
	first, _ := b.Cursor().First()
	if first = bytes.Clone(first); first == nil {
		first = []byte("first")
	}
	values := [][]byte{nil, []byte("{"), []byte("null"), []byte("[]"), []byte("{}"), []byte(`{"id":7}`), []byte(`{"hash":"x"}`), {0, 1, 2}}
	for i, v := range values {
		for _, key := range [][]byte{{byte(i)}, {0xff, byte(i)}, append(bytes.Clone(first), byte(i))} {
			if err := b.Put(key, v); err != nil {
				return err
			}
		}
	}
	return b.Put(first, []byte(`{"id":"unknown","client":"client","kind":"unknown"}`))
}

// useEverything calls methods that read and write each bucket. Errors are what
// a damaged file gives; a panic ends the test.
func useEverything(t *testing.T, db *DB) {
	t.Helper()
	now := t0.Add(time.Minute)
	for _, use := range []func() error{
		func() error { _, err := db.Counts(); return err },
		func() error { _, err := db.Users(); return err },
		func() error { _, err := db.Teams(); return err },
		func() error { _, err := db.Pods(); return err },
		func() error { _, err := db.Access(Credential{"grant", HashSecret("access 2")}, now); return err },
		func() error { _, err := db.Grants("ada", now); return err },
		func() error { _, err := db.Sessions("ada", now); return err },
		func() error { _, err := db.Attempts(AttemptQuery{Limit: 100}, now); return err },
		func() error { _, err := db.Attempts(AttemptQuery{User: "ada", Limit: 100}, now); return err },
		func() error { _, err := db.AttemptOfToken(Credential{"grant", HashSecret("access 2")}); return err },
		func() error { _, err := db.Audit(AuditQuery{Limit: 100}, now); return err },
		func() error { _, err := db.Audit(AuditQuery{User: "ada", Limit: 100}, now); return err },
		func() error { return fixtureHistory(db) },
		func() error { return redeemAgain(db, now) },
		func() error { return rotateAgain(db, now) },
		func() error { return db.MarkDocumentGone("https://client.example/document.json") },
		func() error { return db.SetWant("pod", WantGone) },
		func() error { return db.ForgetPod("pod", now) },
		func() error { _, err := db.RemoveMember("lab", "ada"); return err },
		func() error { return db.DeleteUser("ada") },
		db.Repair,
		func() error { _, err := db.Sweep(t.Context(), t0.Add(time.Hour)); return err },
		func() error { _, err := db.Sweep(t.Context(), t0.Add(15*24*time.Hour)); return err },
		func() error { _, err := db.Sweep(t.Context(), t0.Add(200*24*time.Hour)); return err },
	} {
		_ = use() // see above
	}
}

func redeemAgain(db *DB, now time.Time) error {
	r, err := fixtureCode(db, "ada", "again")
	if err != nil {
		return err
	}
	_, err = db.RedeemCode(r, now)
	return err
}

func rotateAgain(db *DB, now time.Time) error {
	_, err := db.RotateRefresh(Rotation{
		Family: Credential{"grant", HashSecret("family")}, Token: HashSecret("refresh 2"), Client: "client", Salt: []byte("salt"),
		Next: HashSecret("refresh 3"), NextExpires: now, Access: HashSecret("access 3"), AccessExpires: now,
	}, now)
	return err
}
