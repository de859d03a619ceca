package store_test

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"podgate/store"
	"podgate/store/storetest"
)

// BenchmarkTimelineGrowth measures a server that has been used for no day, a month and, as
// that takes a while, with PODGATE_BENCH_LARGE a year: to read a page of its timeline, and
// to note a refresh there, with the commit. Beside them stand a read of as many bare
// records of bbolt as a page has, and a bare commit of as many entries as a note has.
// cpu-µs/op is processor time.
func BenchmarkTimelineGrowth(b *testing.B) {
	days := []int{0, 30}
	if os.Getenv("PODGATE_BENCH_LARGE") != "" {
		days = append(days, 365)
	}
	db := storetest.New(b)
	h := &household{TB: b, db: db, w: storetest.Populate(b, db, "ada", t0)}
	h.pod = h.create("blog")
	h.grant, _ = h.w.Offline(b, db, "pods:read")
	passed := 0
	for _, many := range days {
		for ; passed < many; passed++ {
			h.day()
		}
		b.Run(fmt.Sprintf("page/days=%d", many), func(b *testing.B) {
			spent(b, func() {
				page, err := db.Attempts(store.AttemptQuery{Limit: pageOfAttempts}, h.w.Now)
				if err != nil || many > 0 && len(page.Attempts) != pageOfAttempts {
					b.Fatal(len(page.Attempts), err)
				}
			})
		})
		b.Run(fmt.Sprintf("note/days=%d", many), func(b *testing.B) {
			id, at := store.AttemptID(store.NewID()), h.w.Now
			spent(b, func() {
				at = at.Add(time.Millisecond)
				db.NoteStep(store.StepNote{
					Attempt: id, Client: h.w.Client.ID, User: h.w.User.ID, Team: h.w.Team.ID, Grant: h.grant.ID,
					Token: store.HashSecret(store.NewID()), Step: store.Step{Kind: "refresh", At: at},
				})
				if err := db.FlushHistory(); err != nil {
					b.Fatal(err)
				}
			})
		})
	}
	b.Run("bare/page", func(b *testing.B) { spent(b, storetest.BareReads(b, pageOfAttempts, 600)) })
	b.Run("bare/note", func(b *testing.B) { spent(b, bareNotes(b)) })
}

const (
	pageOfAttempts = 20
	// noteWrites is how many entries a note writes: the attempt, and it by its newest
	// token and, as its time is a later one, by age, class, owner, person, client and
	// connection.
	noteWrites = 8
)

// bareNotes commits entries to a file that has as many records as a year leaves.
func bareNotes(b *testing.B) func() {
	bare, err := bolt.Open(filepath.Join(b.TempDir(), "bare.db"), 0o600, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = bare.Close() })
	put := func(n, size int) {
		err := bare.Update(func(tx *bolt.Tx) error {
			notes, err := tx.CreateBucketIfNotExists([]byte("notes"))
			for range n {
				if err == nil {
					key := store.HashSecret(store.NewID())
					err = notes.Put(key[:], make([]byte, size))
				}
			}
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	put(1000, 600)
	return func() { put(noteWrites, 200) }
}

// spent reports the processor time of what is done again and again, which a busy machine
// does not make longer.
func spent(b *testing.B, do func()) {
	used := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	do()
	before := used()
	for b.Loop() {
		do()
	}
	b.ReportMetric(float64((used()-before).Nanoseconds())/1000/float64(b.N), "cpu-µs/op")
}
