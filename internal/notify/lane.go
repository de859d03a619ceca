package notify

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"podgate/internal/mail"
	"podgate/internal/ratelimit"
)

const (
	maxWaiting = 1000          // parcels of one lane
	keepTrying = 4 * time.Hour // until a parcel is given up
	firstPause = time.Minute   // after a try that failed; doubles
	lastPause  = 30 * time.Minute
	stopTime   = 5 * time.Second // for what is on its way when the server stops
)

// parcel is one fact on its way to one place.
type parcel struct {
	fact    Fact
	team    string // its name, for people
	to      string // a person; empty on the way to the webhook
	tries   int
	due     time.Time
	began   time.Time
	outcome *outcome
}

// lane delivers one kind of parcels, one after another, so that the other kind does
// not wait for it.
type lane struct {
	name    string
	now     func() time.Time
	log     *slog.Logger
	deliver func(context.Context, []*parcel) error
	perTo   *ratelimit.Limiter // deliveries to one person
	wake    chan struct{}

	mu      sync.Mutex
	waiting []*parcel
}

func newLane(name string, cfg Config, perTo *ratelimit.Limiter, deliver func(context.Context, []*parcel) error) *lane {
	return &lane{
		name: name, now: cfg.Now, log: cfg.Log, deliver: deliver, wake: make(chan struct{}, 1), perTo: perTo,
	}
}

// put has parcels delivered, as many as there is room for, and returns how many. The
// others end at once.
func (l *lane) put(all []*parcel) int {
	l.mu.Lock()
	room := min(len(all), maxWaiting-len(l.waiting))
	for _, p := range all[:room] {
		p.began = l.now()
		l.waiting = append(l.waiting, p)
	}
	l.mu.Unlock()
	for _, p := range all[room:] {
		l.log.Error("so much waits to be told that one thing is not", "by", l.name, "pod", p.fact.Pod, "event", p.fact.Event)
		p.outcome.end(false)
	}
	select {
	case l.wake <- struct{}{}:
	default:
	}
	return room
}

// run delivers what is due until ctx ends.
func (l *lane) run(ctx context.Context) {
	for ctx.Err() == nil {
		all, wait := l.next()
		if len(all) > 0 {
			l.try(ctx, all)
			continue
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-l.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// next takes what is due first, with all that waits for the same person, or says how
// long there is nothing to do.
func (l *lane) next() (all []*parcel, wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now, wait := l.now(), time.Hour
	for _, first := range l.waiting {
		if due := first.due.Sub(now); due > 0 {
			wait = min(wait, due)
			continue
		}
		if pause, ok := l.perTo.Allow(first.to, now); !ok {
			first.due = now.Add(pause)
			wait = min(wait, pause)
			continue
		}
		take := func(p *parcel) bool { return p == first || p.to != "" && p.to == first.to }
		for _, p := range l.waiting {
			if take(p) {
				all = append(all, p)
			}
		}
		l.waiting = slices.DeleteFunc(l.waiting, take)
		return all, 0
	}
	return nil, wait
}

// try delivers, or puts back what is worth another try. What is on its way when the
// server stops has a moment to arrive, or it would be told a second time.
func (l *lane) try(ctx context.Context, all []*parcel) {
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(stopTime, cancel) })
	defer stop()
	err := l.deliver(work, all)
	if err == nil {
		for _, p := range all {
			p.outcome.end(true)
		}
		return
	}
	if ctx.Err() != nil {
		return // it is handed over again after the next start
	}
	l.again(all, err)
}

func (l *lane) again(all []*parcel, err error) {
	now := l.now()
	var lost []*parcel
	l.mu.Lock()
	for _, p := range all {
		p.tries++
		pause := min(firstPause<<min(p.tries-1, 10), lastPause)
		if p.due = now.Add(pause); final(err) || p.due.Sub(p.began) > keepTrying {
			lost = append(lost, p)
		} else {
			l.waiting = append(l.waiting, p)
		}
	}
	l.mu.Unlock()
	l.log.Warn("something could not be told", "by", l.name, "to", all[0].to, "given_up", len(lost) > 0, "error", reasonOf(err))
	for _, p := range lost {
		p.outcome.end(false)
	}
}

// final reports whether another try would end the same way.
func final(err error) bool {
	var m *mail.Error
	var w *webhookError
	return errors.As(err, &m) && m.Final || errors.As(err, &w) && w.final
}
