package pods

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"podgate/store"
)

// dialTimeout bounds how long the way to an app's port may take.
const dialTimeout = 10 * time.Second

// DialApp opens a stream to the port of a pod's app, for the ingress, which
// has no actor: a pod's address is public. The pod's state comes along with an
// error, for the page that is shown then: ErrNotFound (and no pod) for every
// name that is nobody's, ErrNotRunning, ErrNotAnswering or ErrUnavailable.
func (s *Service) DialApp(ctx context.Context, name string) (net.Conn, Pod, error) {
	rec, err := s.visited(name)
	if err != nil {
		return nil, Pod{}, err
	}
	if rec.Want != store.WantRunning {
		return nil, s.describe(ctx, rec, false), errStopped
	}
	conn, err := s.dialApp(ctx, rec)
	if err == nil {
		return conn, Pod{ID: rec.ID, Name: rec.Name, Team: rec.Team, Status: "running", URL: s.cfg.URL(rec.Name), Preset: rec.Preset, Plan: rec.Plan, Region: rec.Region, Created: rec.Created}, nil
	}
	if errors.Is(err, ErrNotRunning) {
		s.nudge()
	}
	return nil, s.describe(ctx, rec, false), s.fromAgent(ctx, rec, err)
}

func (s *Service) visited(name string) (store.Pod, error) {
	if !isLabel(name) {
		return store.Pod{}, errAbsent
	}
	rec, err := s.cfg.DB.PodByName(name)
	if errors.Is(err, store.ErrNotFound) || err == nil && rec.Want == store.WantGone {
		return store.Pod{}, errAbsent
	}
	if err != nil {
		return store.Pod{}, fmt.Errorf("pods: look up a visited pod: %w", err)
	}
	return rec, nil
}

func (s *Service) dialApp(ctx context.Context, rec store.Pod) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := s.dial(ctx, rec.Region, rec.ID)
	if err != nil {
		return nil, err
	}
	return dialPort(ctx, conn, portOf(rec.Preset))
}
