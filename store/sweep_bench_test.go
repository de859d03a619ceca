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
			r.turn(b, &without, false)
			for !r.turn(b, &with, true) { // the last were taken away meanwhile
				r = newRefreshers(b, big)
			}
		}
		r.close()
		without.report(b, "")
		with.report(b, "-swept")
		b.ReportMetric(with.rate()/without.rate(), "ratio")
		b.ReportMetric(float64(with.quantile(0.99))/float64(without.quantile(0.99)), "p99-ratio")
		b.ReportMetric(float64(with.swept)/with.took.Seconds(), "entries/s")
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

// turn adds a turn of refreshing, with or without a sweep. It reports whether there was
// something to sweep until the end, and leaves turns alone otherwise.
func (r *refreshers) turn(b *testing.B, to *turns, sweep bool) bool {
	b.Helper()
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	swept, ended := 0, make(chan struct{})
	dry := false
	go func() {
		defer close(ended)
		if !sweep {
			return
		}
		n, err := r.db.Sweep(ctx, r.later)
		if err != nil {
			b.Error(err)
		}
		swept, dry = n, ctx.Err() == nil
	}()
	var group sync.WaitGroup
	each := make([][]time.Duration, 64)
	began := time.Now()
	for c := range each {
		group.Go(func() {
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
	group.Wait()
	took := time.Since(began)
	cancel()
	<-ended
	if dry {
		r.close()
		return false
	}
	to.took, to.swept, to.waits = to.took+took, to.swept+swept, append(to.waits, slices.Concat(each...)...)
	return true
}

// turns are what was measured in turns of a kind.
type turns struct {
	took  time.Duration
	swept int
	waits []time.Duration // of each refresh
}

func (t *turns) rate() float64 { return float64(len(t.waits)) / t.took.Seconds() }

func (t *turns) quantile(q float64) time.Duration {
	slices.Sort(t.waits)
	return t.waits[int(q*float64(len(t.waits)-1))]
}

func (t *turns) report(b *testing.B, suffix string) {
	b.ReportMetric(t.rate(), "refreshes/s"+suffix)
	b.ReportMetric(float64(t.quantile(0.5))/1e6, "p50-ms"+suffix)
	b.ReportMetric(float64(t.quantile(0.99))/1e6, "p99-ms"+suffix)
}
