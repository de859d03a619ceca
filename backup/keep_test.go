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

// Of many years of backups those stay that the rules name, and what is not of ours is
// left alone.
func TestPrune(t *testing.T) {
	t.Parallel()
	day := func(n int) time.Time { return time.Date(2026, 3, 15, 3, 30, 0, 0, time.UTC).AddDate(0, 0, -n) }
	for _, c := range []struct {
		folder Folder
		stay   []int // days before the newest
	}{
		{Folder{}, []int{0}},
		{Folder{Daily: 3}, []int{0, 1, 2}},
		{Folder{Weekly: 3}, []int{0, 7, 14}},   // the newest is of a Sunday
		{Folder{Monthly: 3}, []int{0, 15, 43}}, // the ends of February and January
		{Folder{Daily: 2, Weekly: 2, Monthly: 2}, []int{0, 1, 7, 15}},
	} {
		c.folder.Dir = t.TempDir()
		for n := range 60 {
			must(t, os.WriteFile(c.folder.Name(day(n), n%2 == 0), []byte("x"), 0o600))
		}
		for _, name := range []string{"notes", "podgate-20200101T000000Z.tar.zst.old", "podgate-x.tar.zst", ".podgate-backup-1.part"} {
			must(t, os.WriteFile(filepath.Join(c.folder.Dir, name), nil, 0o600))
		}
		must(t, os.Mkdir(filepath.Join(c.folder.Dir, "podgate-20200101T000000Z.tar.zst"), 0o700))
		must(t, os.WriteFile(c.folder.Name(day(-2), false), []byte("of a clock that was wrong"), 0o600))
		must(t, os.WriteFile(c.folder.Name(day(0).Add(time.Hour), false), nil, 0o600)) // cut off by a file system
		must(t, c.folder.Prune(day(0).Add(2*time.Hour)))
		list, err := c.folder.List(day(0).Add(2 * time.Hour))
		must(t, err)
		var got []int
		for _, m := range list {
			got = append(got, int(day(0).Sub(m.At).Hours()/24))
		}
		if !slices.Equal(got, c.stay) {
			t.Errorf("%+v keeps %v, want %v", c.folder, got, c.stay)
		}
		entries, err := os.ReadDir(c.folder.Dir)
		if must(t, err); len(entries) != len(c.stay)+7 {
			t.Errorf("%+v: %d files stay", c.folder, len(entries))
		}
	}
}

// A backup is made at the first start and every day at its time; one that was missed
// is made when it can be, and one that fails is tried again and told of once.
func TestKeeper(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		must(t, os.WriteFile(filepath.Join(dir, ".podgate-backup-9.part"), nil, 0o600))
		var mu sync.Mutex
		var fails error
		var told []string
		made := 0
		fail := func(err error) { mu.Lock(); defer mu.Unlock(); fails = err }
		k := NewKeeper(KeeperConfig{
			Folder: Folder{Dir: dir, Daily: 2}, Hour: 3, Minute: 30, Now: func() time.Time { return time.Now().UTC() }, Log: slog.New(slog.DiscardHandler),
			Write: func(_ context.Context, w io.Writer) (*Manifest, error) {
				_, err := io.WriteString(w, "x")
				mu.Lock()
				defer mu.Unlock()
				if fails == nil {
					made++
				}
				return &Manifest{}, errors.Join(err, fails)
			},
			Failed: func(reason string) { mu.Lock(); defer mu.Unlock(); told = append(told, reason) },
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { k.Run(ctx); close(done) }()
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
		fail(nil)
		wait(time.Hour, 3, " 02 09:30 03 03:30")
		wait(72*time.Hour, 6, " 05 03:30 06 03:30")
		list, err := k.Folder.List(k.Now())
		if must(t, err); len(list) != 2 {
			t.Errorf("%v", list)
		}
		only(t, dir, filepath.Base(list[1].Path), filepath.Base(list[0].Path))
		must(t, os.Truncate(list[0].Path, 1<<42)) // the next may be as large
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
		cancel()
		<-done
		if len(told) != 2 || !strings.Contains(told[1], "make room") || told[0] != "no disk" {
			t.Errorf("told: %q", told)
		}
	})
}
