package pods

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"podgate/internal/authz"
	"podgate/store"
)

// Line is what a short list shows of a pod.
type Line struct {
	Name, Status, Preset, Plan, Region, URL string
}

// Listing is how the pods of a team were at one moment, by name. It does not change.
type Listing struct {
	Lines []Line
	// Made is for whoever shows the list, to keep beside it what was made of it.
	Made atomic.Value
}

// listings are the lists of teams as they were made last. One counts until something
// that it shows may have changed: with the next commit, whatever it changes, with the
// next news of any pod or region, and when an agent is to be asked again.
type listings struct {
	mu    sync.Mutex
	kept  int // lines
	teams map[store.TeamID]keptListing
}

type keptListing struct {
	*Listing
	version int       // of the store
	turn    int64     // of the board
	until   time.Time // when the first agent is to be asked again
}

// Lines is List for a short list: the same value as before, for as long as it is still
// true.
func (s *Service) Lines(ctx context.Context, a authz.Actor) (*Listing, error) {
	if err := a.Allow(authz.ListPods, a.Team.ID); err != nil {
		return nil, err
	}
	// What is looked at after this may be newer, and is then made once more than needed.
	turn := s.board.turn.Load()
	version, err := s.cfg.DB.Version()
	if err != nil {
		return nil, err
	}
	if a.Bounds().Prefix != "" { // which sees only a part
		out, _, err := s.makeLines(ctx, a)
		return out, err
	}
	k := &s.listings
	k.mu.Lock()
	kept := k.teams[a.Team.ID]
	k.mu.Unlock()
	if kept.Listing != nil && kept.version == version && kept.turn == turn && s.cfg.Now().Before(kept.until) {
		return kept.Listing, nil
	}
	out, until, err := s.makeLines(ctx, a)
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.teams == nil || k.kept > maxRecords {
		k.kept, k.teams = 0, map[store.TeamID]keptListing{}
	}
	if old := k.teams[a.Team.ID].Listing; old != nil {
		k.kept -= 1 + len(old.Lines)
	}
	k.kept += 1 + len(out.Lines)
	k.teams[a.Team.ID] = keptListing{out, version, turn, until}
	return out, nil
}

// makeLines makes a list, which is true until the time that is returned if nothing
// happens.
func (s *Service) makeLines(ctx context.Context, a authz.Actor) (*Listing, time.Time, error) {
	list, err := s.List(ctx, a)
	if err != nil {
		return nil, time.Time{}, err
	}
	until := s.cfg.Now().Add(heardFresh)
	out := &Listing{Lines: make([]Line, len(list))}
	for i, p := range list {
		out.Lines[i] = Line{p.Name, p.Status, p.Preset, p.Plan, p.Region, p.URL}
		if next, known := s.board.due(p.ID); known && next.Before(until) {
			until = next
		}
		if p.Status == StatusUnknown {
			until = time.Time{}
		}
	}
	return out, until, nil
}

// due returns when an agent is to be asked again by who looks then. known is false when
// there is no word of it that counts.
func (b *board) due(id store.PodID) (next time.Time, known bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.seen[id]
	if e == nil || !e.word.known {
		return time.Time{}, false
	}
	return e.word.at.Add(e.fresh()), true
}

// fresh is how long the last word of an agent counts. The lock is held.
func (e *seenPod) fresh() time.Duration {
	if e.stream != nil {
		return heardFresh
	}
	return boardFresh
}
