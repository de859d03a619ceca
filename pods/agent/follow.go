package agent

import (
	"context"
	"net/http"
	"strings"
	"time"

	"podgate/pods/wire"
)

const (
	maxFollows = 32
	// What waits for one reader of the log at most, and goes into one event: as
	// JSON, text is up to six times as long.
	followLines = wire.MaxLines
	followBytes = 1 << 20
	eventLines  = 100
	eventBytes  = 64 << 10
)

// follower is one reader of lines as they come.
type follower struct {
	query logQuery
	more  chan struct{} // holds a value when there may be something to take

	// The rest is for who holds the lock of the logs.
	lines []wire.LogLine
	bytes int
	lost  int64
}

// follow begins to keep lines for a new follower, and returns the place in the
// log where they begin.
func (l *logs) follow(q logQuery) (*follower, positions) {
	f := &follower{query: q, more: make(chan struct{}, 1)}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.followers[f] = struct{}{}
	return f, l.endLocked()
}

func (l *logs) unfollow(f *follower) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.followers, f)
}

// hand gives a line to all who follow. The lock is held.
func (l *logs) hand(now time.Time, source, stream, text string) {
	if len(l.followers) == 0 {
		return
	}
	line := wire.LogLine{Time: now.UTC(), Source: source, Stream: stream, Text: strings.ToValidUTF8(text, "\uFFFD")}
	for f := range l.followers {
		f.put(line)
	}
}

// put keeps a line, or counts it as lost. It never waits.
func (f *follower) put(line wire.LogLine) {
	if !f.query.match(line) {
		return
	}
	// Once a line is lost all are until the next take: the gap is in one place.
	if f.lost > 0 || len(f.lines) >= followLines || f.bytes+len(line.Text) > followBytes {
		f.lost++
	} else {
		f.lines = append(f.lines, line)
		f.bytes += len(line.Text)
	}
	select {
	case f.more <- struct{}{}:
	default:
	}
}

// take returns what was kept for f, and how many lines after that were lost.
func (l *logs) take(f *follower) (lines []wire.LogLine, lost int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	lines, lost = f.lines, f.lost
	f.lines, f.bytes, f.lost = nil, 0, 0
	return lines, lost
}

// beginFollow opens a stream that follows, if there is room for one.
func (a *agent) beginFollow(w http.ResponseWriter, r *http.Request) (ctx context.Context, out *eventStream, end func(), err error) {
	select {
	case a.follows <- struct{}{}:
	default:
		return nil, nil, nil, faultf(wire.FaultBusy, "%d streams follow this pod already; close one", maxFollows)
	}
	ctx, cancel := context.WithCancel(r.Context())
	return ctx, newEventStream(w, cancel), func() { cancel(); <-a.follows }, nil
}

// followLogs sends the newest lines, then those that come.
func (a *agent) followLogs(w http.ResponseWriter, r *http.Request, q logQuery) error {
	ctx, out, end, err := a.beginFollow(w, r)
	if err != nil {
		return err
	}
	defer end()
	f, from := a.logs.follow(q)
	defer a.logs.unfollow(f)
	out.begin()
	sendLines(out, findLines(a.logs.root, q, from), 0)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-f.more:
			lines, lost := a.logs.take(f)
			sendLines(out, lines, lost)
		}
	}
}

// sendLines sends lines in as many events as they need, the last with lost.
func sendLines(out *eventStream, lines []wire.LogLine, lost int64) {
	for len(lines) > 0 || lost > 0 {
		n, size := 0, 0
		for n < len(lines) && n < eventLines && (n == 0 || size+len(lines[n].Text) <= eventBytes) {
			size += len(lines[n].Text)
			n++
		}
		e := wire.Event{Lines: lines[:n]}
		if lines = lines[n:]; len(lines) == 0 {
			e.Lost, lost = lost, 0
		}
		out.send(e)
	}
}

// followState sends the state of the app at once and after each change. States
// that come and go while one is being sent are left out.
func (a *agent) followState(w http.ResponseWriter, r *http.Request) error {
	ctx, out, end, err := a.beginFollow(w, r)
	if err != nil {
		return err
	}
	defer end()
	for {
		state, changed := a.app.look()
		out.send(wire.Event{State: &state})
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}
