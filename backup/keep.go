package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Folder is where backups are made on time, and how many stay there.
type Folder struct {
	Dir string
	// Of the last days, weeks and months in which a backup was made, so many keep
	// their newest one. The newest of all is always kept.
	Daily, Weekly, Monthly int
}

// nameForm is the name of a backup in a folder: its moment, to the second.
const nameForm = "podgate-20060102T150405Z.tar.zst"

// Made is one backup in a folder.
type Made struct {
	Path string
	At   time.Time
	Size int64
}

// Name is what a backup of that moment is called in a folder.
func (f Folder) Name(at time.Time, encrypted bool) string {
	name := at.UTC().Format(nameForm)
	if encrypted {
		name += ".age"
	}
	return filepath.Join(f.Dir, name)
}

// List returns the backups in the folder, the newest first. Other files are none of
// ours; nor are empty ones, and those that say to be from later than a day after now, as
// each of them would keep the next from being made.
func (f Folder) List(now time.Time) ([]Made, error) {
	entries, err := os.ReadDir(f.Dir)
	if err != nil {
		return nil, err
	}
	var list []Made
	for _, e := range entries {
		at, err := time.Parse(nameForm, strings.TrimSuffix(e.Name(), ".age"))
		info, statErr := e.Info()
		if err != nil || statErr != nil || !info.Mode().IsRegular() || info.Size() == 0 || at.After(now.Add(24*time.Hour)) {
			continue
		}
		list = append(list, Made{filepath.Join(f.Dir, e.Name()), at, info.Size()})
	}
	slices.SortFunc(list, func(a, b Made) int { return b.At.Compare(a.At) })
	return list, nil
}

// spare returns those of a list that need not be kept.
func (f Folder) spare(list []Made) []Made {
	keep := map[string]bool{}
	if len(list) > 0 {
		keep[list[0].Path] = true
	}
	for _, rule := range []struct {
		n    int
		span func(time.Time) string
	}{
		{f.Daily, func(t time.Time) string { return t.Format("2006-01-02") }},
		{f.Weekly, func(t time.Time) string { year, week := t.ISOWeek(); return fmt.Sprint(year, " ", week) }},
		{f.Monthly, func(t time.Time) string { return t.Format("2006-01") }},
	} {
		seen := map[string]bool{}
		for _, m := range list {
			if span := rule.span(m.At); !seen[span] && len(seen) < rule.n {
				seen[span] = true
				keep[m.Path] = true
			}
		}
	}
	return slices.DeleteFunc(slices.Clone(list), func(m Made) bool { return keep[m.Path] })
}

// Prune deletes the backups that need not be kept.
func (f Folder) Prune(now time.Time) error {
	list, err := f.List(now)
	if err != nil {
		return err
	}
	for _, m := range f.spare(list) {
		err = errors.Join(err, os.Remove(m.Path))
	}
	return err
}

// TryFolder returns why no backup could be written to a folder.
func TryFolder(dir string) error {
	f, err := os.CreateTemp(dir, partPattern)
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// clean takes away what backups that broke off have left, as only a killed process
// leaves any.
func (f Folder) clean() error {
	left, err := filepath.Glob(filepath.Join(f.Dir, partPattern)) // the pattern is well formed
	for _, path := range left {
		if gone := os.Remove(path); !errors.Is(gone, fs.ErrNotExist) {
			err = errors.Join(err, gone)
		}
	}
	return err
}

// KeeperConfig is what a Keeper needs.
type KeeperConfig struct {
	Folder       Folder
	Hour, Minute int // when a day's backup is made, in the machine's time
	Recipients   []Recipient
	Write        func(context.Context, io.Writer) (*Manifest, error)
	Failed       func(reason string) // hears of the first failure after a backup; nil: nobody does
	Log          *slog.Logger
	Now          func() time.Time
}

// Keeper makes a backup every day.
type Keeper struct {
	KeeperConfig
	mu     sync.Mutex
	fault  string
	failed time.Time
	retry  time.Time
	seen   KeeperState
}

// KeeperState is how backups are.
type KeeperState struct {
	Last     time.Time // the moment of the newest; zero: there is none
	Next     time.Time // when the next is due
	Fault    string    // why the last try failed; "": it did not
	FailedAt time.Time
}

// NewKeeper returns a Keeper, which Run makes work.
func NewKeeper(cfg KeeperConfig) *Keeper { return &Keeper{KeeperConfig: cfg} }

const (
	// keepLook is how often a Keeper looks whether a backup is due: clocks are set,
	// and machines sleep.
	keepLook = 30 * time.Second
	// keepRetry is the pause after a backup that failed.
	keepRetry = time.Hour
)

// Run makes backups until ctx ends. One that was missed, as while the server did not
// run, is made at once.
func (k *Keeper) Run(ctx context.Context) {
	tick := time.NewTicker(keepLook)
	defer tick.Stop()
	if err := k.Folder.clean(); err != nil {
		k.Log.Warn("what a backup has left could not be removed", "error", err)
	}
	for {
		if next := k.look().Next; !k.Now().Before(next) {
			k.once(ctx)
			k.look()
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// State says how backups are, as Run has seen it last.
func (k *Keeper) State() KeeperState {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.seen
}

// look reads the folder, so what it finds is true after a restart and after somebody
// has deleted files.
func (k *Keeper) look() KeeperState {
	list, err := k.Folder.List(k.Now())
	k.mu.Lock()
	defer k.mu.Unlock()
	s := KeeperState{Fault: k.fault, FailedAt: k.failed}
	if err != nil && s.Fault == "" {
		s.Fault, s.FailedAt = err.Error(), k.Now()
	}
	if len(list) > 0 {
		s.Last = list[0].At
	}
	s.Next = k.after(s.Last)
	if k.retry.After(s.Next) {
		s.Next = k.retry
	}
	k.seen = s
	return s
}

// after is the first time of the day behind t, or at once for the zero time.
func (k *Keeper) after(t time.Time) time.Time {
	if t.IsZero() {
		return k.Now()
	}
	t = t.In(k.Now().Location())
	next := time.Date(t.Year(), t.Month(), t.Day(), k.Hour, k.Minute, 0, 0, t.Location())
	if !next.After(t) {
		next = time.Date(t.Year(), t.Month(), t.Day()+1, k.Hour, k.Minute, 0, 0, t.Location())
	}
	return next
}

// leastRoom is what a backup leaves of the disk that it is written to, in bytes: the
// database may be on it.
const leastRoom = 256 << 20

// room says no when a backup somewhat larger than the last has no room.
func (k *Keeper) room() error {
	list, err := k.Folder.List(k.Now())
	if err != nil {
		return err
	}
	needs := int64(leastRoom)
	if len(list) > 0 {
		needs += list[0].Size + list[0].Size/4
	}
	left, err := roomOn(k.Folder.Dir)
	if err == nil && left < needs {
		err = fmt.Errorf("there are %d MiB of room in %s, and a backup may take %d MiB; make room, or keep fewer", left>>20, k.Folder.Dir, needs>>20)
	}
	return err
}

// once makes one backup.
func (k *Keeper) once(ctx context.Context) {
	began := k.Now()
	var m *Manifest
	path := k.Folder.Name(began, len(k.Recipients) > 0)
	err := k.room()
	if err != nil && k.Folder.Prune(began) == nil {
		err = k.room()
	}
	if err == nil {
		err = Create(path, false, func(w io.Writer) error {
			return Encrypt(w, k.Recipients, func(w io.Writer) (err error) { m, err = k.Write(ctx, w); return err })
		})
	}
	if ctx.Err() != nil {
		return // the server stops
	}
	k.mu.Lock()
	first := err != nil && k.fault == ""
	k.fault, k.failed, k.retry = "", time.Time{}, time.Time{}
	if err != nil {
		k.fault, k.failed, k.retry = err.Error(), k.Now(), k.Now().Add(keepRetry)
	}
	k.mu.Unlock()
	if err != nil {
		k.Log.Error("no backup was made", "error", err, "again", keepRetry)
		if first && k.Failed != nil {
			k.Failed(err.Error())
		}
		return
	}
	k.Log.Info("a backup was made", "file", path, "pods", len(m.Pods), "files", m.Entries, "bytes", m.Bytes, "took", k.Now().Sub(began).Round(time.Millisecond))
	for _, p := range m.Pods {
		if p.Why != "" || p.LeftOut > 0 {
			k.Log.Warn("not all of a pod is in the backup as it should be", "pod", p.ID, "why", p.Why, "left out", p.LeftOut)
		}
	}
	if err := k.Folder.Prune(began); err != nil {
		k.Log.Warn("old backups could not be removed", "error", err)
	}
}
