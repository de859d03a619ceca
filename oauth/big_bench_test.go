package oauth

import (
	"bytes"
	"encoding/binary"
	"flag"
	"net/http"
	"net/http/httptest"
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

// bigSize is the store of a large installation; a twentieth of it with -short
// or when every benchmark runs once.
func bigSize() storetest.Size {
	size := storetest.Size{Users: 10_000, Clients: 100_000, Connections: 250_000, Tokens: 1_000_000, Dying: 50_000}
	if testing.Short() || flag.Lookup("test.benchtime").Value.String() == "1x" { // only whether it works is asked
		size = storetest.Size{Users: 500, Clients: 5_000, Connections: 12_500, Tokens: 50_000, Dying: 2_500}
	}
	return size
}

// BenchmarkBigStore measures a store with a million live access tokens beside
// one with a thousand, in the same run: what a check of a token costs, how long
// opening takes, the token endpoint under 64 clients beside bare commits, and
// what a check costs while the sweeper takes a hundred thousand entries away.
// docs/performance.md has the aims. The store is made once, in about half a
// minute.
func BenchmarkBigStore(b *testing.B) {
	dir := b.TempDir()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	began := time.Now()
	big := storetest.NewBig(b, filepath.Join(dir, "big.db"), testIssuer+resourcePath, now, bigSize())
	b.Logf("made in %v", time.Since(began).Round(time.Second))
	small := storetest.NewBig(b, filepath.Join(dir, "small.db"), testIssuer+resourcePath, now, storetest.Size{Users: 100, Clients: 100, Connections: 500, Tokens: 1000})
	b.Run("open", func(b *testing.B) { benchOpen(b, big) })
	for _, s := range []storetest.Big{small, big} {
		name := map[bool]string{true: "big", false: "small"}[s.Path == big.Path]
		b.Run("check/remembered/"+name, func(b *testing.B) { benchHot(b, s) })
		b.Run("check/first/"+name, func(b *testing.B) { benchFirst(b, s) })
	}
	b.Run("token endpoint/bare", func(b *testing.B) { benchBare(b, big.Size.Tokens) })
	db := storetest.Open(b, big.Path)
	f := newFixtureOn(b, db)
	f.clock.now = now
	b.Run("token endpoint/refresh", func(b *testing.B) { benchRefresh(b, f, big) })
	b.Run("sweep", func(b *testing.B) { benchSweep(b, db, big) })
	if err := db.Close(); err != nil {
		b.Error(err)
	}
}

// benchOpen measures what the start of the server waits for.
func benchOpen(b *testing.B, big storetest.Big) {
	for b.Loop() {
		db := storetest.Open(b, big.Path)
		if _, err := db.HasAdmin(); err != nil {
			b.Fatal(err)
		}
		if err := db.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// round is how many checks are measured in one go.
const round = 1000

// benchHot measures checks of the thousand tokens that are in use.
func benchHot(b *testing.B, s storetest.Big) {
	db := storetest.Open(b, s.Path)
	defer func() { _ = db.Close() }()
	hashes := hashesOf(s, 0, round)
	checkAll(b, db, hashes, s.Now)
	var rounds latencies
	for b.Loop() {
		began := time.Now()
		checkAll(b, db, hashes, s.Now)
		rounds.add(time.Since(began))
	}
	reportRounds(b, &rounds)
}

// benchFirst measures checks of tokens that nothing is remembered of. The big
// store has so many that each was forgotten when it comes again; the small one
// is opened anew. The pages of both are in memory, as they are some time after
// a start.
func benchFirst(b *testing.B, s storetest.Big) {
	db := storetest.Open(b, s.Path)
	defer func() { _ = db.Close() }()
	touchPages(b, db)
	var rounds latencies
	for n := 0; b.Loop(); n++ {
		if s.Size.Tokens == round {
			_ = db.Close()
			db = storetest.Open(b, s.Path)
			touchPages(b, db)
		}
		hashes := hashesOf(s, n*7%(s.Size.Tokens/round)*round, round)
		began := time.Now()
		checkAll(b, db, hashes, s.Now)
		rounds.add(time.Since(began))
	}
	reportRounds(b, &rounds)
}

func touchPages(b *testing.B, db *store.DB) {
	if _, err := db.Counts(); err != nil {
		b.Fatal(err)
	}
}

func checkAll(b *testing.B, db *store.DB, hashes []store.Hash, now time.Time) {
	for _, hash := range hashes {
		if _, err := db.Access(hash, now); err != nil {
			b.Fatal(err)
		}
	}
}

// reportRounds names the median, which other work on the machine moves least.
func reportRounds(b *testing.B, rounds *latencies) {
	slices.Sort(rounds.list)
	b.ReportMetric(float64(rounds.list[len(rounds.list)/2])/round, "p50-ns/check")
}

func hashesOf(s storetest.Big, from, n int) []store.Hash {
	list := make([]store.Hash, n)
	for i := range list {
		list[i] = store.HashSecret(s.Token(from + i))
	}
	return list
}

// latencies collects how long each of many calls took.
type latencies struct {
	mu   sync.Mutex
	list []time.Duration
}

func (l *latencies) add(d time.Duration) {
	l.mu.Lock()
	l.list = append(l.list, d)
	l.mu.Unlock()
}

// report names the quantiles, in milliseconds.
func (l *latencies) report(b *testing.B, quantiles map[string]float64) {
	slices.Sort(l.list)
	if len(l.list) == 0 {
		return
	}
	for name, q := range quantiles {
		b.ReportMetric(float64(l.list[int(q*float64(len(l.list)-1))])/1e6, name+"-ms")
	}
}

// parallelClients is how many clients use the token endpoint at once.
const parallelClients = 64

// fromClients runs do from 64 clients at once, b.N times in all.
func fromClients(b *testing.B, do func(n int)) {
	var taken latencies
	var n atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for range parallelClients {
		wg.Go(func() {
			for i := n.Add(1); i <= int64(b.N); i = n.Add(1) {
				began := time.Now()
				do(int(i))
				taken.add(time.Since(began))
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
	taken.report(b, map[string]float64{"p50": 0.5, "p99": 0.99})
}

// benchBare is one put a commit that all share, into as many records.
func benchBare(b *testing.B, records int) {
	db, _ := bareStore(b, 0, 300)
	keys := make([]store.Hash, records)
	for i := range keys {
		keys[i] = bareKey(i)
	}
	slices.SortFunc(keys, func(a, b store.Hash) int { return bytes.Compare(a[:], b[:]) })
	for part := range slices.Chunk(keys, 50_000) {
		err := db.Update(func(tx *bolt.Tx) error {
			for _, key := range part {
				if err := tx.Bucket(bareBucket).Put(key[:], make([]byte, 300)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	fromClients(b, func(n int) {
		key := bareKey(records + n)
		if err := db.Batch(func(tx *bolt.Tx) error { return tx.Bucket(bareBucket).Put(key[:], make([]byte, 300)) }); err != nil {
			b.Error(err)
		}
	})
}

func bareKey(n int) store.Hash {
	return store.HashSecret(string(binary.BigEndian.AppendUint64(nil, uint64(n))))
}

// benchRefresh is a refresh of another connection each time, from the request
// to the answer.
func benchRefresh(b *testing.B, f *fixture, big storetest.Big) {
	fromClients(b, func(int) {
		i := int(refreshed.Add(1)) % big.Size.Connections
		w := httptest.NewRecorder()
		r := httptest.NewRequest("POST", "/api/oauth/token", strings.NewReader(refreshing(big.Client(i), big.Refresh(i)).Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		f.handler.ServeHTTP(w, r)
		if w.Code != http.StatusOK {
			b.Errorf("%d %s", w.Code, w.Body)
		}
	})
}

// refreshed counts the connections whose first refresh token is spent.
var refreshed atomic.Int64

// benchSweep lets the sweeper take away what has expired while somebody checks
// tokens all the time. There is something to sweep once only.
func benchSweep(b *testing.B, db *store.DB, big storetest.Big) {
	later := big.Now.Add(time.Hour)
	hashes := hashesOf(big, 0, 20_000)
	var taken latencies
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			began := time.Now()
			_, err := db.Access(hashes[n%len(hashes)], later)
			taken.add(time.Since(began))
			if err != nil {
				b.Error(err)
				return
			}
		}
	}()
	b.ResetTimer()
	swept := 0
	for range b.N {
		n, err := db.Sweep(later)
		if err != nil {
			b.Fatal(err)
		}
		swept += n
	}
	b.StopTimer()
	close(stop)
	<-done
	b.ReportMetric(float64(swept), "entries")
	taken.report(b, map[string]float64{"check-p50": 0.5, "check-p99": 0.99, "check-p99.9": 0.999, "check-max": 1})
}
