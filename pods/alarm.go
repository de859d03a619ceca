package pods

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"podgate/store"
)

// Alarm hears once of each pod that failed, and when it runs well again. Its methods
// must not wait for anybody.
type Alarm interface {
	// PodFailed has somebody told of a pod that failed, and returns whether that can
	// be; if not, it is asked again. done hears once whether somebody was told.
	PodFailed(p Pod, done func(told bool)) bool
	PodRecovered(p Pod)
}

const (
	// soundLife is how long an app that failed has to run until it counts as well
	// again.
	soundLife = 5 * time.Minute
	// alarmAfter is how long a pod has to be seen as failed until that is told: an
	// agent that was slow once is no failure, nor one that somebody mends right away.
	alarmAfter = 20 * time.Second
)

// alarmed is what of a pod's alarm is not in the store.
type alarmed struct {
	since   time.Time // it is seen as failed
	telling bool      // it was handed over, and nothing was heard since
	era     int       // counts fresh starts: what was handed over before one is void
}

// look tells the alarm of the region's pods that failed or are well again. What was
// told is in the store, so a restart of the server tells nothing twice.
func (s *Service) look(ctx context.Context, r *region, records []store.Pod) error {
	if s.cfg.Alarm == nil {
		return nil
	}
	var asked errgroup.Group
	asked.SetLimit(listWidth)
	for _, rec := range records {
		if rec.Region == r.Name && rec.Want == store.WantRunning {
			asked.Go(func() error { return s.lookAt(ctx, rec) })
		}
	}
	return asked.Wait()
}

func (s *Service) lookAt(ctx context.Context, rec store.Pod) error {
	l, now := s.of(rec), s.cfg.Now()
	if snap := l.snapshot(); !snap.up {
		// Its agent is not asked, as that would have the next round come at once.
		if l.seenFailed(snap.phase == "" && now.Before(snap.retry), now) && rec.Told.IsZero() {
			pod := s.card(rec)
			pod.Status, pod.Reason = "failed", snap.reason
			return s.sound(l, pod)
		}
		return nil
	}
	pod := s.glance(ctx, rec)
	if ctx.Err() != nil {
		return nil
	}
	failed := pod.Status == "failed" || pod.Status == "failing" && pod.deaths >= loopDeaths
	sound := pod.Status == "running" && pod.deaths == 0 && now.Sub(pod.Started) >= soundLife
	if l.seenFailed(failed, now) && rec.Told.IsZero() {
		return s.sound(l, s.describe(ctx, rec)) // with what the runtime knows of the reason
	}
	if sound && !rec.Told.IsZero() {
		l.calm()
		if err := s.cfg.DB.ClearTold(rec.ID); err != nil {
			return err
		}
		s.cfg.Alarm.PodRecovered(pod)
	}
	return nil
}

// seenFailed notes how a pod is seen, and reports whether it has been as failed for
// long enough.
func (l *live) seenFailed(failed bool, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !failed {
		l.alarmed.since = time.Time{}
		return false
	}
	if l.alarmed.since.IsZero() {
		l.alarmed.since = now
	}
	return now.Sub(l.alarmed.since) >= alarmAfter
}

// sound hands a failed pod over to the alarm, unless that was done already. The mark
// in the store is made before the hand is free again and read after it is taken, so
// it is seen by whoever comes next.
func (s *Service) sound(l *live, pod Pod) error {
	era, free := l.takeAlarm()
	if !free {
		return nil
	}
	rec, err := s.cfg.DB.Pod(pod.ID)
	if err != nil || !rec.Told.IsZero() || rec.Want != store.WantRunning {
		l.leaveAlarm(era)
		if errors.Is(err, store.ErrNotFound) {
			err = nil
		}
		return err
	}
	taken := s.cfg.Alarm.PodFailed(pod, func(told bool) {
		if told && l.alarmIs(era) {
			s.noteTold(pod.ID)
		}
		l.leaveAlarm(era)
	})
	if !taken {
		l.leaveAlarm(era)
	}
	return nil
}

func (l *live) takeAlarm() (era int, free bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	free = !l.alarmed.telling
	l.alarmed.telling = true
	return l.alarmed.era, free
}

func (l *live) leaveAlarm(era int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.alarmed.era == era {
		l.alarmed.telling = false
	}
}

func (l *live) alarmIs(era int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.alarmed.era == era
}

func (s *Service) noteTold(id store.PodID) {
	_, err := s.cfg.DB.MarkTold(id, s.cfg.Now())
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		s.cfg.Log.Error("that a pod's failure was told is not noted, so it may be told again", "pod", id, "error", err)
	}
}

// rearm lets a pod's next failure be told: somebody started it anew.
func (s *Service) rearm(rec store.Pod, l *live) {
	l.calm()
	if err := s.cfg.DB.ClearTold(rec.ID); err != nil {
		s.cfg.Log.Error("the next failure of a pod will not be told", "pod", rec.ID, "error", err)
	}
}

func (l *live) calm() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.alarmed = alarmed{era: l.alarmed.era + 1}
}
