package oauth

import (
	"bytes"
	"encoding/binary"
	"flag"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
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

var smallSize = storetest.Size{Users: 100, Clients: 100, Connections: 500, Tokens: 1000}

// BenchmarkRefresh measures 64 clients that refresh at once, from the request to the
// answer, beside as many that each put a record like a connection's over another in bbolt's
// own Batch. A refresh writes one.
func BenchmarkRefresh(b *testing.B) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	small := storetest.NewBig(b, filepath.Join(b.TempDir(), "small.db"), testIssuer+resourcePath, now, smallSize)
	b.Run("bare bbolt batch", func(b *testing.B) {
		const size = 700
		db, keys := bareStore(b, small.Size.Connections, size)
		fromClients(b, func(client, n int) {
			key := keys[mine(client, n, len(keys))]
			err := db.Batch(func(tx *bolt.Tx) error { return tx.Bucket(bareBucket).Put(key, make([]byte, size)) })
			if err != nil {
				b.Error(err)
			}
		})
	})
	b.Run("refresh", newRefresher(small).bench)
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
	small := storetest.NewBig(b, filepath.Join(dir, "small.db"), testIssuer+resourcePath, now, smallSize)
	b.Run("open", func(b *testing.B) { benchOpen(b, big) })
	for _, s := range []storetest.Big{small, big} {
		b.Run("check/remembered/"+nameOf(s), func(b *testing.B) { benchHot(b, s) })
		b.Run("check/first/"+nameOf(s), func(b *testing.B) { benchFirst(b, s) })
	}
	b.Run("token endpoint/bare", func(b *testing.B) { benchBare(b, big.Size.Tokens) })
	for _, s := range []storetest.Big{small, big} {
		b.Run("token endpoint/refresh/"+nameOf(s), newRefresher(s).bench)
	}
	db := storetest.Open(b, big.Path)
	b.Run("sweep", func(b *testing.B) { benchSweep(b, db, big) })
	if err := db.Close(); err != nil {
		b.Error(err)
	}
}

func nameOf(s storetest.Big) string { return strings.TrimSuffix(filepath.Base(s.Path), ".db") }

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
	tokens := tokensOf(s, 0, round)
	checkAll(b, db, tokens, s.Now)
	var rounds latencies
	for b.Loop() {
		began := time.Now()
		checkAll(b, db, tokens, s.Now)
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
		tokens := tokensOf(s, n*7%(s.Size.Tokens/round)*round, round)
		began := time.Now()
		checkAll(b, db, tokens, s.Now)
		rounds.add(time.Since(began))
	}
	reportRounds(b, &rounds)
}

func touchPages(b *testing.B, db *store.DB) {
	if _, err := db.Counts(); err != nil {
		b.Fatal(err)
	}
}

func checkAll(b *testing.B, db *store.DB, list []store.Credential, now time.Time) {
	for _, token := range list {
		if _, err := db.Access(token, now); err != nil {
			b.Fatal(err)
		}
	}
}

// reportRounds names the median, which other work on the machine moves least.
func reportRounds(b *testing.B, rounds *latencies) {
	slices.Sort(rounds.list)
	b.ReportMetric(float64(rounds.list[len(rounds.list)/2])/round, "p50-ns/check")
}

func tokensOf(s storetest.Big, from, n int) []store.Credential {
	list := make([]store.Credential, n)
	for i := range list {
		list[i] = s.Access(from + i)
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

// fromClients runs do from 64 clients at once, b.N times in all. n counts the times of
// each client.
func fromClients(b *testing.B, do func(client, n int)) {
	var taken latencies
	var done atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	busy := processorTime(b)
	for client := range parallelClients {
		wg.Go(func() {
			for n := 0; done.Add(1) <= int64(b.N); n++ {
				began := time.Now()
				do(client, n)
				taken.add(time.Since(began))
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
	b.ReportMetric(float64(processorTime(b)-busy)/float64(b.N), "cpu-ns/op") // which other work on the machine moves least
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
	fromClients(b, func(client, n int) {
		key := bareKey(records + n*parallelClients + client)
		if err := db.Batch(func(tx *bolt.Tx) error { return tx.Bucket(bareBucket).Put(key[:], make([]byte, 300)) }); err != nil {
			b.Error(err)
		}
	})
}

func bareKey(n int) store.Hash {
	return store.HashSecret(string(binary.BigEndian.AppendUint64(nil, uint64(n))))
}

// processorTime is what this process has used, the kernel's work for it included.
func processorTime(b *testing.B) time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// mine is the n-th of so many things that only this client uses.
func mine(client, n, things int) int {
	each := things / parallelClients
	return client*each + n%each
}

// refresher holds the refresh tokens of a store while they are replaced.
type refresher struct {
	storetest.Big
	held []string
}

func newRefresher(s storetest.Big) *refresher {
	r := &refresher{s, make([]string, s.Size.Connections)}
	for i := range r.held {
		r.held[i] = s.Refresh(i)
	}
	return r
}

// bench is a refresh of another connection each time, from the request to the answer.
func (s *refresher) bench(b *testing.B) {
	db := storetest.Open(b, s.Path)
	defer func() { _ = db.Close() }()
	f := &fixture{TB: b, clock: &fakeClock{now: s.Now}, reached: &counter{}}
	var err error
	f.Server, err = New(Config{Issuer: testIssuer, DB: db, Pages: &fakePages{}, Sessions: &fakeSessions{db: db, now: f.clock.Now}, Now: f.clock.Now, Log: slog.New(slog.DiscardHandler), RefreshTTL: 90 * 24 * time.Hour})
	f.must(err)
	handler := f.mount(http.HandlerFunc(f.standIn))
	fromClients(b, func(client, n int) {
		i := mine(client, n, len(s.held))
		w := httptest.NewRecorder()
		r := httptest.NewRequest("POST", "/api/oauth/token", strings.NewReader(refreshing(s.Client(i), s.held[i]).Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		handler.ServeHTTP(w, r)
		if w.Code != http.StatusOK {
			b.Errorf("%d %s", w.Code, w.Body)
			return
		}
		s.held[i] = refreshPattern.FindString(w.Body.String())
	})
}

// benchSweep lets the sweeper take away what has expired while somebody checks
// tokens all the time. There is something to sweep once only.
func benchSweep(b *testing.B, db *store.DB, big storetest.Big) {
	later := big.Now.Add(time.Hour)
	tokens := tokensOf(big, 0, 20_000)
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
			_, err := db.Access(tokens[n%len(tokens)], later)
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
		n, err := db.Sweep(b.Context(), later)
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
