package backup

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

// KeeperConfig is what a Keeper needs.
type KeeperConfig struct {
	Repository   *Repository
	Hour, Minute int                                               // when a day's backup is made, in the machine's time
	Turn         func(context.Context) (release func(), err error) // waits for what else makes backups; nil: nobody does
	Write        WriteFunc
	Failed       func(reason string) // hears of the first failure after a backup; nil: nobody does
	Log          *slog.Logger
	Now          func() time.Time
}

// Keeper makes a backup every day.
type Keeper struct {
	KeeperConfig
	retry time.Time
	list  *Listing // as it was at listed
	at    time.Time

	mu   sync.Mutex
	seen KeeperState
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
	for _, clean := range []func() error{k.Repository.Storage.Clean, Folder{k.Repository.Dir}.Clean} {
		if err := clean(); err != nil {
			k.Log.Warn("what a backup has left could not be removed", "error", err)
		}
	}
	k.look(ctx)
	if k.list != nil { // a server that ended in the middle of this has left some
		k.prune(ctx, k.list)
	}
	for {
		if next := k.look(ctx).Next; !k.Now().Before(next) {
			k.once(ctx)
			k.list = nil
			k.look(ctx)
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

// look lists the backups, so what it finds is true after a restart and after somebody
// has deleted files.
func (k *Keeper) look(ctx context.Context) KeeperState {
	known, err := readStatus(k.Repository.Dir)
	s := KeeperState{Fault: known.Fault, FailedAt: known.FailedAt}
	if k.list == nil || k.Now().Sub(k.at) >= k.Repository.Storage.Listed() {
		list, missing := Backups(ctx, k.Repository.Storage, k.Now())
		if _, foreign := k.Repository.owned(ctx); foreign != nil {
			list, missing = nil, cmpOr(missing, foreign)
		}
		if k.list == nil && missing == nil && len(list.Future) > 0 {
			k.Log.Warn("there are backups that say to be from the future, and count for nothing; set the clock, or delete them", "where", k.Repository.Storage, "files", len(list.Future), "first", list.Future[0])
		}
		k.list, k.at, err = list, k.Now(), cmpOr(err, missing)
	}
	if err != nil && s.Fault == "" {
		s.Fault, s.FailedAt = err.Error(), k.Now()
	}
	if k.list != nil && len(k.list.Made) > 0 {
		s.Last = k.list.Made[0].At
	}
	s.Next = k.after(s.Last)
	switch {
	case k.retry.After(s.Next):
		s.Next = k.retry
	case known.Fault != "" && k.retry.IsZero(): // it failed before the start
		s.Next = k.Now()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
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

// once makes one backup.
func (k *Keeper) once(ctx context.Context) {
	began := k.Now()
	if k.Turn != nil {
		release, err := k.Turn(ctx)
		if err != nil {
			return // the server stops
		}
		defer release()
	}
	made, m, err := k.Repository.Make(ctx, began, k.Write)
	if ctx.Err() != nil {
		return // the server stops
	}
	if errors.Is(err, errForgotten) {
		k.Log.Warn("a backup was made", "error", err)
		err = nil
	}
	k.retry = time.Time{}
	first := k.remember(err)
	if err != nil {
		k.retry = k.Now().Add(keepRetry)
		k.Log.Error("no backup was made", "error", err, "again", keepRetry)
		if first && k.Failed != nil {
			k.Failed(err.Error())
		}
		return
	}
	k.Log.Info("a backup was made", "name", made.Name, "where", k.Repository.Storage, "pods", len(m.Pods), "files", m.Entries, "bytes", m.Bytes, "took", k.Now().Sub(began).Round(time.Millisecond))
	for _, p := range m.Pods {
		if p.Why != "" || p.LeftOut > 0 {
			k.Log.Warn("not all of a pod is in the backup as it should be", "pod", p.ID, "why", p.Why, "left out", p.LeftOut)
		}
	}
	list, err := Backups(ctx, k.Repository.Storage, k.Now())
	if err != nil {
		k.Log.Warn("old backups could not be removed", "error", err)
		return
	}
	k.prune(ctx, list)
}

// prune deletes what need not be kept.
func (k *Keeper) prune(ctx context.Context, list *Listing) {
	if err := k.Repository.prune(ctx, list); err != nil && ctx.Err() == nil {
		k.Log.Warn("old backups could not be removed", "error", err)
	}
}

// remember notes how a try ended, and reports whether it is the first to fail. It is
// noted in the data folder, so that a restart does not tell it again.
func (k *Keeper) remember(failed error) (first bool) {
	s, err := readStatus(k.Repository.Dir)
	first = failed != nil && s.Fault == ""
	changes := first || failed == nil && s.Fault != ""
	s.Fault, s.FailedAt = "", time.Time{}
	if failed != nil {
		s.Fault, s.FailedAt = failed.Error(), k.Now().UTC()
		changes = true
	}
	if err == nil && changes {
		err = s.write(k.Repository.Dir)
	}
	if err != nil {
		k.Log.Error("how the backup went could not be noted", "error", err)
	}
	return first
}
