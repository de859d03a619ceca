package pods

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"podgate/pods/wire"
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
		return nil, s.glance(ctx, rec), errStopped
	}
	conn, err := s.dialApp(ctx, rec)
	if err == nil {
		return visit{conn, &s.of(rec).visits}, Pod{ID: rec.ID, Name: rec.Name, Team: rec.Team, Status: "running", URL: s.cfg.URL(rec.Name), Preset: rec.Preset, Plan: rec.Plan, Region: rec.Region, Created: rec.Created}, nil
	}
	if errors.Is(err, ErrNotRunning) {
		s.wake(rec.Region)
	}
	return nil, s.glance(ctx, rec), s.fromAgent(ctx, rec, err)
}

// Visit returns a connection to the app of a pod, which the program before has made, as
// DialApp would have: it counts as a visit. ErrNotFound or ErrNotRunning when there is no
// such pod any more.
func (s *Service) Visit(name string, conn net.Conn) (net.Conn, error) {
	rec, err := s.visited(name)
	switch {
	case err != nil:
		return nil, err
	case rec.Want != store.WantRunning:
		return nil, errStopped
	}
	return visit{conn, &s.of(rec).visits}, nil
}

// visited returns the pod of that name, for callers without an actor.
func (s *Service) visited(name string) (store.Pod, error) {
	if !wire.Label(name) {
		return store.Pod{}, errAbsent
	}
	return lookup(s.cfg.DB, name)
}

// lookup returns the pod of that name, or errAbsent.
func lookup(db *store.DB, name string) (store.Pod, error) { return present(db.PodByName(name)) }

// present is what the store says of a pod. One that is being deleted is absent
// like a name that is nobody's: errAbsent.
func present(rec store.Pod, err error) (store.Pod, error) {
	switch {
	case errors.Is(err, store.ErrNotFound), err == nil && rec.Want == store.WantGone:
		return store.Pod{}, errAbsent
	case err != nil:
		return store.Pod{}, fmt.Errorf("pods: look up a pod: %w", err)
	}
	return rec, nil
}

// Exists reports whether there is a pod of that name, whoever owns it. One that
// is being deleted is none.
func Exists(db *store.DB, name string) (bool, error) {
	_, err := lookup(db, name)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

func (s *Service) dialApp(ctx context.Context, rec store.Pod) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	if runtime, err := s.runtime(rec.Region); err == nil {
		if direct, ok := runtime.(Connector); ok {
			if conn, err := direct.Connect(ctx, rec.ID, portOf(rec.Preset)); err == nil {
				return conn, nil
			}
		}
	}
	conn, err := s.dial(ctx, rec.Region, rec.ID)
	if err != nil {
		return nil, err
	}
	return dialPort(ctx, conn, portOf(rec.Preset))
}
