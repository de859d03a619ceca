package storetest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"podgate/store"
)

// Growth lists how many access tokens the stores have in which benchmarks measure how
// something grows. The large ones take a minute to make and are there with
// PODGATE_BENCH_LARGE only.
func Growth() []int { return grown([]int{1_000, 10_000}, 100_000, 1_000_000) }

// PodGrowth is Growth for the number of pods.
func PodGrowth() []int { return grown([]int{10, 100}, 1_000) }

func grown(sizes []int, large ...int) []int {
	if os.Getenv("PODGATE_BENCH_LARGE") != "" {
		sizes = append(sizes, large...)
	}
	return sizes
}

// Grown is a store with so many access tokens, at least 100, and with what belongs to
// them: four tokens a connection, 25 connections a person.
func Grown(tokens int) Size {
	return Size{Users: tokens / 100, Clients: tokens / 10, Connections: tokens / 4, Tokens: tokens}
}

// AddPods adds records of pods, called pod-0000 and so on, that are stopped.
func AddPods(t testing.TB, db *store.DB, team store.TeamID, n int, now time.Time) {
	t.Helper()
	for i := range n {
		p := store.Pod{
			ID: store.PodID(store.NewID()), Name: fmt.Sprintf("pod-%04d", i), Team: team, Preset: "static", Plan: "small", Region: "here",
			Want: store.WantStopped, Created: now,
		}
		must(t, db.CreatePod(p, now, func([]store.Pod) error { return nil }))
	}
}

// BareReads makes a file of bbolt's with records of that many bytes, and returns what
// reads n of them in one transaction, for what the store does to be held against.
func BareReads(t testing.TB, n, bytes int) (read func()) {
	t.Helper()
	bare, err := bolt.Open(filepath.Join(t.TempDir(), "bare.db"), 0o600, nil)
	must(t, err)
	t.Cleanup(func() { must(t, bare.Close()) })
	name := []byte("records")
	must(t, bare.Update(func(tx *bolt.Tx) error {
		records, err := tx.CreateBucket(name)
		for i := range n {
			err = errors.Join(err, records.Put(fmt.Appendf(nil, "%06d", i), make([]byte, bytes)))
		}
		return err
	}))
	return func() {
		t.Helper()
		got := 0
		must(t, bare.View(func(tx *bolt.Tx) error {
			return tx.Bucket(name).ForEach(func(_, v []byte) error { got += len(v); return nil })
		}))
		if got != n*bytes {
			t.Fatalf("read %d bytes", got)
		}
	}
}
