package oauth

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"podgate/store"
	"podgate/store/storetest"
)

// BenchmarkGrowth measures stores with more and more access tokens: checks of tokens, and
// refreshes by 64 clients. What bbolt takes by itself is measured in turns with that, in a
// file with as many records as there are connections, of as many bytes: to read one, and
// to put one over another in a commit that the clients share, which is what a refresh
// writes. Every figure is the median of the turns.
func BenchmarkGrowth(b *testing.B) {
	for _, tokens := range storetest.Growth() {
		dir := b.TempDir()
		now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
		big := storetest.NewBig(b, filepath.Join(dir, "podgate.db"), testIssuer+resourcePath, now, storetest.Grown(tokens))
		bare := newBare(b, filepath.Join(dir, "bare.db"), big.Size.Connections)
		b.Run(fmt.Sprintf("check/tokens=%d", tokens), func(b *testing.B) { growingChecks(b, big, &bare) })
		b.Run(fmt.Sprintf("refresh/tokens=%d", tokens), func(b *testing.B) { growingRefreshes(b, big, bare) })
		if err := errors.Join(bare.Close(), os.RemoveAll(dir)); err != nil {
			b.Fatal(err)
		}
	}
}

// bareSize is how large the record of a connection is, with some tokens in it.
const bareSize = 700

// newBare is a file of bbolt's with so many records.
func newBare(b *testing.B, path string, records int) *bolt.DB {
	b.Helper()
	db := openBare(b, path)
	keys := make([]store.Hash, records)
	for i := range keys {
		keys[i] = bareKey(i)
	}
	slices.SortFunc(keys, func(a, b store.Hash) int { return bytes.Compare(a[:], b[:]) })
	for part := range slices.Chunk(keys, 50_000) {
		err := db.Update(func(tx *bolt.Tx) error {
			bucket, err := tx.CreateBucketIfNotExists(bareBucket)
			if err != nil {
				return err
			}
			bucket.FillPercent = 0.7 // as insertion in no order leaves pages
			for _, key := range part {
				if err := bucket.Put(key[:], make([]byte, bareSize)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	return db
}

func openBare(b *testing.B, path string) *bolt.DB {
	b.Helper()
	db, err := bolt.Open(path, 0o600, &bolt.Options{FreelistType: bolt.FreelistMapType, NoFreelistSync: true})
	if err != nil {
		b.Fatal(err)
	}
	return db
}

// warmRounds is how often tokens that are in use are checked in a turn.
const warmRounds = 50

// growingChecks measures, in processor time, checks of tokens that were checked before, of such that nothing
// is remembered of, and reads of a bare record; all pages are in memory.
func growingChecks(b *testing.B, big storetest.Big, bare **bolt.DB) {
	db := storetest.Open(b, big.Path)
	defer func() { _ = db.Close() }()
	touchPages(b, db)
	hot, bareKeys := tokensOf(big, 0, round), make([]store.Hash, round)
	var warm, cold, read latencies
	for n := 0; b.Loop(); n++ {
		if big.Size.Tokens < 100*round { // so few would all be remembered
			path := (*bare).Path()
			_, _ = db.Close(), (*bare).Close()
			db, *bare = storetest.Open(b, big.Path), openBare(b, path)
			if err := db.Check(); err != nil {
				b.Fatal(err)
			}
			_ = (*bare).View(func(tx *bolt.Tx) error { tx.Bucket(bareBucket).Stats(); return nil })
		}
		first := n * 7 % (big.Size.Tokens / round) * round
		tokens := tokensOf(big, first, round)
		for i := range bareKeys {
			bareKeys[i] = bareKey((first + i) % big.Size.Connections)
		}
		cold.spend(b, func() { checkAll(b, db, tokens, big.Now) })
		read.spend(b, func() { readAll(b, *bare, bareKeys) })
		checkAll(b, db, hot, big.Now)
		warm.spend(b, func() {
			for range warmRounds {
				checkAll(b, db, hot, big.Now)
			}
		})
	}
	b.ReportMetric(float64(warm.median())/round/warmRounds, "warm-ns/check")
	b.ReportMetric(float64(cold.median())/round, "cold-ns/check")
	b.ReportMetric(float64(read.median())/round, "bare-ns/read")
	b.ReportMetric(float64(cold.median())/float64(read.median()), "cold-by-bare")
}

func readAll(b *testing.B, db *bolt.DB, keys []store.Hash) {
	for _, key := range keys {
		err := db.View(func(tx *bolt.Tx) error {
			if len(tx.Bucket(bareBucket).Get(key[:])) != bareSize {
				return errors.New("absent")
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

// time takes in how long something takes.
func (l *latencies) time(do func()) {
	began := time.Now()
	do()
	l.add(time.Since(began))
}

// spend takes in how much processor time this process takes meanwhile, which a busy
// machine does not make longer.
func (l *latencies) spend(b *testing.B, do func()) {
	before := processorTime(b)
	do()
	l.add(processorTime(b) - before)
}

func (l *latencies) median() time.Duration {
	slices.Sort(l.list)
	return l.list[len(l.list)/2]
}

// turnOfRefreshes is how many refreshes there are in one turn.
const turnOfRefreshes = 1000

// growingRefreshes works on a copy, and on a new one before connections have been
// refreshed so often that their oldest tokens give way, which is more work.
func growingRefreshes(b *testing.B, big storetest.Big, bare *bolt.DB) {
	var l refreshLoad
	defer func() { l.end(b) }()
	var refreshes, commits, answers latencies
	var used, bareUsed time.Duration
	for n := 0; b.Loop(); n++ {
		if l.db == nil || (l.done+turnOfRefreshes)/big.Size.Connections > 4 {
			l.end(b)
			l = newRefreshLoad(b, big)
		}
		before := processorTime(b)
		refreshes.time(func() { fromMany(turnOfRefreshes, func(client int) { answers.time(func() { l.refresh(b, client) }) }) })
		l.done += turnOfRefreshes
		between := processorTime(b)
		var count atomic.Int64
		commits.time(func() {
			fromMany(turnOfRefreshes, func(int) {
				writeBare(b, bare, (n*turnOfRefreshes+int(count.Add(1)))*7919%big.Size.Connections)
			})
		})
		used += between - before
		bareUsed += processorTime(b) - between
	}
	all := float64(b.N * turnOfRefreshes)
	b.ReportMetric(turnOfRefreshes/refreshes.median().Seconds(), "refreshes/s")
	b.ReportMetric(turnOfRefreshes/commits.median().Seconds(), "bare/s")
	b.ReportMetric(float64(commits.median())/float64(refreshes.median()), "ratio")
	b.ReportMetric(float64(used.Nanoseconds())/1000/all, "cpu-µs/refresh")
	b.ReportMetric(float64(bareUsed.Nanoseconds())/1000/all, "bare-cpu-µs/refresh")
	answers.report(b, map[string]float64{"p50": 0.5, "p99": 0.99})
}

// fromMany calls do so many times in all, from as many clients at once as there are in
// other benchmarks.
func fromMany(times int, do func(client int)) {
	var all sync.WaitGroup
	var n atomic.Int64
	for client := range parallelClients {
		all.Go(func() {
			for n.Add(1) <= int64(times) {
				do(client)
			}
		})
	}
	all.Wait()
}

// writeBare puts a record over another.
func writeBare(b *testing.B, db *bolt.DB, n int) {
	key := bareKey(n)
	if err := db.Batch(func(tx *bolt.Tx) error { return tx.Bucket(bareBucket).Put(key[:], make([]byte, bareSize)) }); err != nil {
		b.Error(err)
	}
}

// refreshLoad is a server over a copy of a store whose connections are refreshed.
type refreshLoad struct {
	db   *store.DB
	path string
	f    *fixture
	big  storetest.Big
	done int
	// The refresh token of each connection, and of each client which connection is
	// next. Connection n is that of client n modulo their number.
	tokens []string
	next   [parallelClients]int
}

func newRefreshLoad(b *testing.B, big storetest.Big) refreshLoad {
	b.Helper()
	l := refreshLoad{path: big.Path + ".copy", big: big, tokens: make([]string, big.Size.Connections)}
	from, err := os.Open(big.Path)
	if err != nil {
		b.Fatal(err)
	}
	defer from.Close()
	to, err := os.Create(l.path)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := io.Copy(to, from); err != nil {
		b.Fatal(err)
	}
	if err := errors.Join(to.Sync(), to.Close()); err != nil {
		b.Fatal(err)
	}
	l.db = storetest.Open(b, l.path)
	l.f = newFixtureOn(b, l.db)
	l.f.clock.now = big.Now
	for i := range l.tokens {
		l.tokens[i] = big.Refresh(i)
	}
	return l
}

func (l *refreshLoad) end(b *testing.B) {
	if l.db == nil {
		return
	}
	if err := errors.Join(l.db.Close(), os.Remove(l.path)); err != nil {
		b.Error(err)
	}
}

// refresh refreshes the next connection of a client, from the request to the answer.
func (l *refreshLoad) refresh(b *testing.B, client int) {
	i := l.next[client]*parallelClients + client
	if i >= len(l.tokens) {
		l.next[client], i = 0, client
	}
	l.next[client]++
	w := httptest.NewRecorder()
	r := httptest.NewRequest("POST", "/api/oauth/token", strings.NewReader(refreshing(l.big.Client(i), l.tokens[i]).Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	l.f.handler.ServeHTTP(w, r)
	var answer struct {
		RefreshToken string `json:"refresh_token"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != http.StatusOK || answer.RefreshToken == l.tokens[i] {
		b.Errorf("%d %s", w.Code, w.Body)
	}
	l.tokens[i] = answer.RefreshToken
}
