package pods

import (
	"context"

	"podgate/store"
)

// Gauge is how one pod is and what it uses, for whoever watches the server.
type Gauge struct {
	Team     string // its short name
	Name     string
	Status   string
	Usage    Usage // zero while it does not run
	Restarts int   // of the app since the pod was started
	In, Out  int64 // bytes that connections carried since the server began to keep the pod
}

// Gauges returns all pods of the server. It asks the agents of those that have said
// nothing lately, and waits for slow ones no longer than a list does.
func (s *Service) Gauges(ctx context.Context) ([]Gauge, error) {
	teams, err := s.cfg.DB.Teams()
	if err != nil {
		return nil, err
	}
	var ids []store.TeamID
	slugs := map[store.TeamID]string{}
	for _, t := range teams {
		ids, slugs[t.ID] = append(ids, t.ID), t.Slug
	}
	records, err := s.podsOf(ids...)
	if err != nil {
		return nil, err
	}
	s.lookAll(ctx, records, true, boardPatience)
	list := make([]Gauge, 0, len(records))
	for _, rec := range records {
		pod := s.boarded(rec)
		t := s.of(rec.Pod).traffic()
		list = append(list, Gauge{slugs[rec.Team], rec.Name, pod.Status, pod.Usage, pod.Restarts, t.in, t.out})
	}
	return list, nil
}
