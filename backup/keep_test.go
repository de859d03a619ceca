package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// touch makes a file in a folder, with folders around it.
func touch(t testing.TB, dir, name, content string) {
	t.Helper()
	path := filepath.Join(dir, name)
	must(t, os.MkdirAll(filepath.Dir(path), 0o700))
	must(t, os.WriteFile(path, []byte(content), 0o600))
}

// Of many years of backups those stay that the rules name. A generation goes with its
// last backup and not before, and what is not of ours is left alone.
func TestPrune(t *testing.T) {
	t.Parallel()
	day := func(n int) time.Time { return time.Date(2026, 3, 15, 3, 30, 0, 0, time.UTC).AddDate(0, 0, -n) }
	foreign := []string{"notes", "podgate.json", "podgate-x/20200101T000000Z.backup", "podgate-20200101T000000Z", "podgate-20200102T000000Z/000001.pack.old", "podgate-20200103T000000Z/20200103T000000Z.backup/x"}
	for _, c := range []struct {
		rules Repository
		stay  []int // days before the newest
	}{
		{Repository{}, []int{0}},
		{Repository{Daily: 3}, []int{0, 1, 2}},
		{Repository{Weekly: 3}, []int{0, 7, 14}},   // the newest is of a Sunday
		{Repository{Monthly: 3}, []int{0, 15, 43}}, // the ends of February and January
		{Repository{Daily: 2, Weekly: 2, Monthly: 2}, []int{0, 1, 7, 15}},
	} {
		dir := t.TempDir()
		c.rules.Storage = Folder{dir}
		want := slices.Clone(foreign)
		for n := range 60 {
			generation := begins + day(59-(59-n)/10*10).UTC().Format(stampForm) // of ten days
			name := backupName(generation, day(n), n%2 == 0)
			touch(t, dir, name, "x")
			touch(t, dir, packName(generation, uint32(n), true), "x")
			if slices.Contains(c.stay, n) {
				want = append(want, name)
				for m := range 60 {
					if (59-m)/10 == (59-n)/10 {
						want = append(want, packName(generation, uint32(m), true))
					}
				}
			}
		}
		for _, name := range foreign {
			touch(t, dir, name, "")
		}
		future, empty := backupName(begins+"20300101T000000Z", day(-2), false), backupName(begins+"20200101T000001Z", day(0), false)
		touch(t, dir, future, "of a clock that was wrong")
		touch(t, dir, empty, "") // cut off by a file system
		want = append(want, future, empty)
		now := day(0).Add(2 * time.Hour)
		list, err := Backups(t.Context(), c.rules.Storage, now)
		must(t, err)
		if len(list.Future) != 1 || list.Future[0] != future || len(list.Made) != 60 {
			t.Errorf("%q, %d", list.Future, len(list.Made))
		}
		must(t, c.rules.prune(t.Context(), list))
		var got []string
		must(t, filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
			if name, _ := filepath.Rel(dir, path); err == nil && !info.IsDir() {
				got = append(got, filepath.ToSlash(name))
			}
			return err
		}))
		slices.Sort(want)
		slices.Sort(got)
		if want = slices.Compact(want); !slices.Equal(got, want) {
			t.Errorf("%+v keeps %q, want %q", c.rules, got, want)
		}
	}
}

// A backup is made at the first start and every day at its time; one that was missed
// is made when it can be, and one that fails is tried again and told of once, also over
// restarts.
func TestKeeper(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir, data := t.TempDir(), t.TempDir()
		must(t, os.WriteFile(filepath.Join(dir, ".podgate-backup-9.part"), nil, 0o600))
		touch(t, dir, begins+"19990101T000000Z/000001.pack", "of a backup that was killed")
		future := begins + "20990101T000000Z/20990101T000000Z.backup"
		touch(t, dir, future, "x")
		var mu sync.Mutex
		var fails error
		var told []string
		var said strings.Builder
		made := 0
		fail := func(err error) { mu.Lock(); defer mu.Unlock(); fails = err }
		cfg := KeeperConfig{
			Repository: &Repository{Storage: Folder{dir}, Daily: 2, Dir: data}, Hour: 3, Minute: 30, Now: func() time.Time { return time.Now().UTC() }, Log: slog.New(slog.NewTextHandler(&said, nil)),
			Write: func(_ context.Context, w io.Writer, _ *Packs) (*Manifest, error) {
				_, err := io.WriteString(w, "x")
				mu.Lock()
				defer mu.Unlock()
				if fails == nil {
					made++
				}
				return &Manifest{}, errors.Join(err, fails)
			},
			Failed: func(reason string) { mu.Lock(); defer mu.Unlock(); told = append(told, reason) },
		}
		var k *Keeper
		start := func() (stop func()) {
			k = NewKeeper(cfg)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() { k.Run(ctx); close(done) }()
			return func() { cancel(); <-done }
		}
		stop := start()
		wait := func(d time.Duration, want int, state string) {
			t.Helper()
			time.Sleep(d) // of the bubble: no time passes
			synctest.Wait()
			s := k.State()
			mu.Lock()
			defer mu.Unlock()
			if got := fmt.Sprint(s.Fault, " ", s.Last.Format("02 15:04"), " ", s.Next.Format("02 15:04")); made != want || got != state {
				t.Errorf("%d backups, want %d; %q, want %q", made, want, got, state)
			}
		}
		// A bubble begins at midnight, 1 January 2000.
		wait(time.Minute, 1, " 01 00:00 01 03:30")
		wait(3*time.Hour, 1, " 01 00:00 01 03:30")
		wait(time.Hour, 2, " 01 03:30 02 03:30")
		fail(errors.New("no disk"))
		wait(24*time.Hour, 2, "no disk 01 03:30 02 04:30")
		wait(5*time.Hour, 2, "no disk 01 03:30 02 09:30")
		stop()
		stop = start()
		wait(time.Minute, 2, "no disk 01 03:30 02 10:01")
		fail(nil)
		wait(time.Hour, 3, " 02 10:01 03 03:30")
		wait(72*time.Hour, 6, " 05 03:30 06 03:30")
		list, err := Backups(t.Context(), k.Repository.Storage, k.Now())
		if must(t, err); len(list.Made) != 2 || list.Made[0].Generation != list.Made[1].Generation {
			t.Fatalf("%v", list.Made)
		}
		only(t, dir, list.Made[0].Generation, begins+"20990101T000000Z", nameOwner)
		only(t, filepath.Join(dir, list.Made[0].Generation), filepath.Base(list.Made[1].Name), filepath.Base(list.Made[0].Name))
		must(t, os.Truncate(filepath.Join(dir, list.Made[0].Name), 1<<42)) // the next may be as large
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if s := k.State(); !strings.Contains(s.Fault, "make room") {
			t.Errorf("%+v", s)
		}
		must(t, os.RemoveAll(dir)) // as when its disk is not there
		time.Sleep(time.Minute)
		synctest.Wait()
		if s := k.State(); s.Fault == "" || !s.Last.IsZero() {
			t.Errorf("%+v", s)
		}
		stop()
		if !strings.Contains(said.String(), future) {
			t.Error("nobody hears of a backup of the future:", &said)
		}
		if len(told) != 2 || !strings.Contains(told[1], "make room") || told[0] != "no disk" {
			t.Errorf("told: %q", told)
		}
	})
}
