package store_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"podgate/store"
	"podgate/store/storetest"
)

// The figures of docs/performance.md are those of 250000 and 50000.
var (
	sweepLive = flag.Int("sweep-live", 4000, "connections in the store of BenchmarkSweep, each with four access tokens")
	sweepDead = flag.Int("sweep-dead", 2000, "expired ones beside them, each with a token, a client and, up to 5000, an attempt")
)

// BenchmarkSweep has 64 clients refresh, in turns by themselves and while what expired is
// swept, and says what the sweep leaves of their rate and does to their waiting. Then it
// sweeps while nobody writes.
func BenchmarkSweep(b *testing.B) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	big := storetest.NewBig(b, filepath.Join(b.TempDir(), "made.db"), "https://podgate.example/api/mcp", now, storetest.Size{
		Users: max(10, *sweepLive/25), Clients: max(10, *sweepLive*2/5), Connections: *sweepLive, Tokens: *sweepLive * 4,
		Dying: *sweepDead, Idle: *sweepDead, Attempts: min(*sweepDead, 5000),
	})
	b.Run("refreshing", func(b *testing.B) {
		r := newRefreshers(b, big)
		var without, with turns
		for b.Loop() {
			one := r.turn(b, false)
			other := r.turn(b, true)
			for ; other.dry; other = r.turn(b, true) { // the last were taken away meanwhile
				r.close()
				r = newRefreshers(b, big)
				one = r.turn(b, false)
			}
			without, with = append(without, one), append(with, other)
		}
		r.close()
		without.report(b, "")
		with.report(b, "-swept")
		// Each by its neighbour, as nobody has a machine alone for long.
		compare := func(name string, of func(*turn) float64) {
			ratios := make([]float64, len(with))
			for i := range with {
				ratios[i] = of(&with[i]) / of(&without[i])
			}
			b.ReportMetric(median(ratios), name+"-ratio")
		}
		compare("rate", (*turn).rate)
		compare("p99", func(t *turn) float64 { return t.quantile(0.99) })
		compare("pages", (*turn).pagesEach)
		b.ReportMetric(with.median((*turn).sweptEach), "entries/s")
	})
	b.Run("alone", func(b *testing.B) {
		swept, commits := 0, 0
		var took time.Duration
		for b.Loop() {
			r := newRefreshers(b, big)
			began, before := time.Now(), r.db.Transaction()
			n, err := r.db.Sweep(b.Context(), r.later)
			if err != nil {
				b.Fatal(err)
			}
			swept, commits, took = swept+n, commits+r.db.Transaction()-before, took+time.Since(began)
			r.close()
		}
		b.ReportMetric(float64(swept)/took.Seconds(), "entries/s")
		b.ReportMetric(float64(swept)/float64(commits), "entries/commit")
	})
}

// refreshers are clients on a store of their own.
type refreshers struct {
	db    *store.DB
	big   storetest.Big
	later time.Time // when the dead are
	n     atomic.Int64
	close func()
}

func newRefreshers(b *testing.B, big storetest.Big) *refreshers {
	b.Helper()
	path := filepath.Join(b.TempDir(), "podgate.db")
	copyTo(b, path, big.Path)
	db := storetest.Open(b, path)
	return &refreshers{db: db, big: big, later: big.Now.Add(time.Hour), close: func() {
		if err := errors.Join(db.Close(), os.Remove(path)); err != nil {
			b.Fatal(err)
		}
	}}
}

// copyTo copies a file, and waits for the disk so that no benchmark does.
func copyTo(b *testing.B, path, from string) {
	b.Helper()
	r, err := os.Open(from)
	if err != nil {
		b.Fatal(err)
	}
	w, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		b.Fatal(err)
	}
	_, err = io.Copy(w, r)
	if err := errors.Join(err, w.Sync(), w.Close(), r.Close()); err != nil {
		b.Fatal(err)
	}
}

// refresh is the next refresh of the next connection.
func (r *refreshers) refresh() error {
	n := int(r.n.Add(1)) - 1
	i, times := n%r.big.Size.Connections, n/r.big.Size.Connections
	token := func(times int) store.Hash { return store.HashSecret(fmt.Sprint("refresh ", i, times)) }
	rotation := store.Rotation{
		Family: r.big.Family(i), Token: token(times), Client: r.big.Client(i), Salt: []byte("sixteen bytes ..")[:16],
		Next: token(times + 1), NextExpires: r.later.Add(90 * 24 * time.Hour), Access: store.HashSecret(fmt.Sprint("access ", i, times)), AccessExpires: r.later.Add(time.Hour),
	}
	if times == 0 {
		rotation.Token = store.HashSecret(r.big.Refresh(i))
	}
	_, err := r.db.RotateRefresh(rotation, r.later)
	return err
}

// turnTime is how long each turn takes.
const turnTime = 250 * time.Millisecond

// turn is what was measured in one.
type turn struct {
	took  time.Duration
	waits []time.Duration // of each refresh
	swept int             // entries
	pages int64           // written
	dry   bool            // there was nothing left to sweep before it ended
}

// turn has everybody refresh, with or without a sweep.
func (r *refreshers) turn(b *testing.B, sweep bool) (t turn) {
	b.Helper()
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	var sweeping, refreshing sync.WaitGroup
	began, before := time.Now(), r.db.PagesWritten()
	if sweep {
		sweeping.Go(func() {
			n, err := r.db.Sweep(ctx, r.later)
			if err != nil {
				b.Error(err)
			}
			t.swept, t.dry = n, ctx.Err() == nil
		})
	}
	each := make([][]time.Duration, 64)
	for c := range each {
		refreshing.Go(func() {
			for time.Since(began) < turnTime {
				asked := time.Now()
				if err := r.refresh(); err != nil {
					b.Error(err)
					return
				}
				each[c] = append(each[c], time.Since(asked))
			}
		})
	}
	refreshing.Wait()
	t.took, t.pages, t.waits = time.Since(began), r.db.PagesWritten()-before, slices.Concat(each...)
	cancel()
	sweeping.Wait()
	return t
}

func (t *turn) rate() float64      { return float64(len(t.waits)) / t.took.Seconds() }
func (t *turn) sweptEach() float64 { return float64(t.swept) / t.took.Seconds() }
func (t *turn) pagesEach() float64 { return float64(t.pages) / float64(len(t.waits)) }

// quantile is one of the waits, in milliseconds.
func (t *turn) quantile(q float64) float64 {
	slices.Sort(t.waits)
	return float64(t.waits[int(q*float64(len(t.waits)-1))]) / 1e6
}

type turns []turn

func (ts turns) median(of func(*turn) float64) float64 {
	each := make([]float64, len(ts))
	for i := range ts {
		each[i] = of(&ts[i])
	}
	return median(each)
}

func (ts turns) report(b *testing.B, suffix string) {
	b.ReportMetric(ts.median((*turn).rate), "refreshes/s"+suffix)
	b.ReportMetric(ts.median((*turn).pagesEach), "pages/refresh"+suffix)
	for name, q := range map[string]float64{"p50-ms": 0.5, "p99-ms": 0.99} {
		b.ReportMetric(ts.median(func(t *turn) float64 { return t.quantile(q) }), name+suffix)
	}
}

func median(list []float64) float64 {
	slices.Sort(list)
	return list[len(list)/2]
}
