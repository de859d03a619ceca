package egress

import (
	"slices"
	"sync"
	"time"
)

const (
	maxEntries = 256
	maxLines   = 200
	sameLine   = time.Minute // a refusal that repeats so soon is one line with a count
)

// Entry is what a ledger knows of one target. Times are of the first and the
// last that happened.
type Entry struct {
	Target      string    `json:"target"` // a name, or an address that was used as it is
	Port        uint16    `json:"port"`
	Network     string    `json:"network"` // tcp, udp, or dns for a question
	Connections int       `json:"connections"`
	Open        int       `json:"open"`
	Sent        int64     `json:"sent"` // bytes from the pod
	Received    int64     `json:"received"`
	Refused     int       `json:"refused"`
	Failed      int       `json:"failed"`
	Reason      string    `json:"reason,omitempty"` // of the last refusal or failure
	First       time.Time `json:"first"`
	Last        time.Time `json:"last"`
}

// Line is a refusal for people.
type Line struct {
	Time  time.Time // of the last
	Count int
	Text  string
}

type entryKey struct {
	target  string
	port    uint16
	network string
}

// ledger is bounded: what happened longest ago goes first.
type ledger struct {
	mu   sync.Mutex
	all  map[entryKey]*Entry
	said []Line
	// Since they were taken last, whether or not their entry is still there.
	sent, received int64
}

func newLedger() *ledger { return &ledger{all: map[entryKey]*Entry{}} }

func (l *ledger) entry(network string, t target, now time.Time) *Entry {
	key := entryKey{t.host(), t.port, network}
	e := l.all[key]
	if e == nil {
		if len(l.all) >= maxEntries {
			l.forget()
		}
		e = &Entry{Target: key.target, Port: t.port, Network: network, First: now}
		l.all[key] = e
	}
	e.Last = now
	return e
}

// forget drops one entry: the oldest of those that never reached anything, so
// that a pod cannot push out what it did with what it was refused, and
// otherwise the oldest.
func (l *ledger) forget() {
	var oldest entryKey
	var found *Entry
	for key, e := range l.all {
		if found == nil || (e.Connections == 0) != (found.Connections == 0) && e.Connections == 0 || (e.Connections == 0) == (found.Connections == 0) && e.Last.Before(found.Last) {
			oldest, found = key, e
		}
	}
	delete(l.all, oldest)
}

func (l *ledger) open(network string, t target, now time.Time) *Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.entry(network, t, now)
	e.Connections++
	e.Open++
	return e
}

func (l *ledger) moved(e *Entry, sent, received int64, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e.Sent += max(sent, 0)
	e.Received += max(received, 0)
	l.sent += max(sent, 0)
	l.received += max(received, 0)
	e.Last = now
}

// take returns what was carried since the last call.
func (l *ledger) take() (sent, received int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	sent, received = l.sent, l.received
	l.sent, l.received = 0, 0
	return sent, received
}

func (l *ledger) closed(e *Entry, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e.Open--
	e.Last = now
}

func (l *ledger) fail(network string, t target, err error, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.entry(network, t, now)
	e.Failed++
	e.Reason = err.Error()
}

func (l *ledger) refuse(network string, t target, r *Refusal, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.entry(network, t, now)
	e.Refused++
	e.Reason = r.Reason
	l.say(r.Error(), now)
}

func (l *ledger) say(text string, now time.Time) {
	for i := len(l.said) - 1; i >= 0 && now.Sub(l.said[i].Time) < sameLine; i-- {
		if l.said[i].Text == text {
			same := l.said[i]
			same.Count++
			same.Time = now
			l.said = append(slices.Delete(l.said, i, i+1), same)
			return
		}
	}
	if len(l.said) >= maxLines {
		l.said = slices.Delete(l.said, 0, 1)
	}
	l.said = append(l.said, Line{Time: now, Count: 1, Text: text})
}

func (l *ledger) entries() []Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]Entry, 0, len(l.all))
	for _, e := range l.all {
		all = append(all, *e)
	}
	slices.SortFunc(all, func(a, b Entry) int { return b.Last.Compare(a.Last) })
	return all
}

func (l *ledger) lines() []Line {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.said)
}
