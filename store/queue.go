package store

import (
	"bytes"
	"encoding/base64"
	"errors"
	"slices"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
)

// The bounds of what waits to be written. Strangers may fill a small part, so
// that their flood leaves room for what people and their clients do, and holds
// other writers up for some ten milliseconds a second at most.
const (
	maxQueuedSteps      = 2048
	maxQueuedEntries    = 4096
	maxStrangersSteps   = 256
	maxStrangersEntries = 256
)

// historyQueue is a write-behind queue of what happened and is not on disk yet:
// steps of the timeline and entries of the audit list. Noting takes a lock and a few comparisons and never
// waits for the disk.
type historyQueue struct {
	mu      sync.Mutex
	steps   []StepNote
	entries []AuditEntry
	// How much of both strangers have filled, of the entries by whom they concern.
	strangersSteps, strangersEntries int
	concerns                         map[UserID]int

	lost   int       // for want of room
	lostAt time.Time // when the last of them happened

	bounds  auditBounds
	flushMu sync.Mutex // one flush at a time, so that order is kept
}

// wall is a time as the file keeps it, without the reading of the monotonic
// clock. Where the clock was set back, times with that reading come in another
// order than without, so an index written with it would be wrong once read.
func wall(t time.Time) time.Time { return t.Round(0) }

// NoteStep queues a step for FlushHistory. n.Step.At is when it happened.
func (db *DB) NoteStep(n StepNote) {
	n.Step.At = wall(n.Step.At)
	n.Step.Last, n.Step.Count = n.Step.At, 1
	q := &db.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	for i := len(q.steps) - 1; i >= max(0, len(q.steps)-foldBack); i-- {
		if had := &q.steps[i]; had.same(n) {
			had.Step.Count++
			had.Step.Last = latest(had.Step.Last, n.Step.Last)
			return
		}
	}
	q.addStep(n)
}

// addStep queues a step if there is room. The caller holds mu.
func (q *historyQueue) addStep(n StepNote) {
	stranger := n.User == "" && n.Grant == ""
	if len(q.steps) >= maxQueuedSteps || stranger && q.strangersSteps >= maxStrangersSteps {
		q.lose(n.Step.Last, n.Step.Count)
		return
	}
	if stranger {
		q.strangersSteps++
	}
	q.steps = append(q.steps, n)
}

func (n StepNote) same(o StepNote) bool {
	if !n.Step.same(o.Step) {
		return false
	}
	n.Step, o.Step = Step{}, Step{}
	return n == o
}

// NoteAudit queues an entry for FlushHistory. e.At is when it happened.
func (db *DB) NoteAudit(e AuditEntry) {
	e.At = wall(e.At)
	e.Last, e.Count = e.At, 1
	q := &db.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	// Only into the one before: the order of what people did matters.
	if n := len(q.entries); n > 0 && q.entries[n-1].same(e) {
		had := &q.entries[n-1]
		had.Count++
		had.Last = latest(had.Last, e.Last)
		return
	}
	q.addEntry(e)
}

// addEntry queues an entry if there is room. The caller holds mu.
func (q *historyQueue) addEntry(e AuditEntry) {
	// Of strangers' entries those that concern one person, or nobody, may take as
	// much as is left for all others.
	if len(q.entries) >= maxQueuedEntries || e.Stranger && q.concerns[e.Concerns] >= maxStrangersEntries-q.strangersEntries {
		q.lose(e.Last, e.Count)
		return
	}
	if e.Stranger {
		q.strangersEntries++
		if q.concerns == nil {
			q.concerns = map[UserID]int{}
		}
		q.concerns[e.Concerns]++
	}
	q.entries = append(q.entries, e)
}

func (q *historyQueue) lose(at time.Time, count int) {
	q.lost += count
	q.lostAt = latest(q.lostAt, at)
}

func (q *historyQueue) take() (steps []StepNote, entries []AuditEntry) {
	q.mu.Lock()
	defer q.mu.Unlock()
	steps, entries = q.steps, q.entries
	if q.lost > 0 {
		// Among the strangers', as a flood of theirs has one each second.
		entries = append(entries, AuditEntry{Action: AuditLost, Stranger: true, Outcome: AuditOK, At: q.lostAt, Last: q.lostAt, Count: q.lost})
	}
	q.steps, q.entries, q.strangersSteps, q.strangersEntries, q.concerns, q.lost, q.lostAt = nil, nil, 0, 0, nil, 0, time.Time{}
	return steps, entries
}

// queueStep is how many notes one writing transaction takes: in a busy second
// there are thousands, and a token request behind them should not wait for all.
const queueStep = 64

// FlushHistory writes what was noted: in one transaction mostly, in several
// short ones after a busy second, and in none when there is nothing. It is called
// about once a second, by Close, and by whatever reads the timeline or the audit
// list. A crash loses at most that second.
func (db *DB) FlushHistory() error {
	db.queue.flushMu.Lock()
	defer db.queue.flushMu.Unlock()
	steps, entries := db.queue.take()
	for len(steps)+len(entries) > 0 {
		s, e := min(queueStep, len(steps)), min(queueStep, len(entries))
		// Straight to bbolt: history changes nobody's rights, so the access cache
		// may stay.
		err := db.adding(func() error {
			return db.bolt.Update(func(tx *bolt.Tx) error {
				return errors.Join(writeSteps(tx, steps[:s]), writeAudit(tx, entries[:e], db.queue.bounds))
			})
		})
		if unwritten(err) {
			db.queue.putBack(steps, entries)
			return err
		}
		if err != nil {
			db.queue.loseAll(steps, entries)
			return err
		}
		steps, entries = steps[s:], entries[e:]
	}
	return nil
}

// flushForReader is FlushHistory before a look: where the disk takes nothing, what was
// written is shown, and what waits is not.
func (db *DB) flushForReader() error {
	if err := db.FlushHistory(); !unwritten(err) {
		return err
	}
	return nil
}

// putBack queues what found no room on the disk again, before what came since.
// Strangers' part is counted anew, and what is over the bounds is lost.
func (q *historyQueue) putBack(steps []StepNote, entries []AuditEntry) {
	q.mu.Lock()
	defer q.mu.Unlock()
	steps, entries = append(steps, q.steps...), append(entries, q.entries...)
	q.steps, q.entries, q.strangersSteps, q.strangersEntries, q.concerns = nil, nil, 0, 0, nil
	for _, n := range steps {
		q.addStep(n)
	}
	for _, e := range entries {
		if e.Action == AuditLost {
			q.lose(e.Last, e.Count) // it is told again
		} else {
			q.addEntry(e)
		}
	}
}

// loseAll counts what could not be written. It is not tried again: what cannot
// be written now would keep everything after it from being written.
func (q *historyQueue) loseAll(steps []StepNote, entries []AuditEntry) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, n := range steps {
		q.lose(n.Step.Last, n.Step.Count)
	}
	for _, e := range entries {
		q.lose(e.Last, e.Count)
	}
}

// newestFirst walks an index whose keys end in a time, backwards from before
// (the next of an earlier call; empty: from the end), and returns the primary
// keys of at most limit entries under prefix, and where to go on.
func newestFirst(b *bolt.Bucket, prefix []byte, before string, limit int) (keys [][]byte, next string, err error) {
	tail, err := base64.RawURLEncoding.DecodeString(before)
	if err != nil || len(tail) > 256 {
		return nil, "", ErrCursor
	}
	end := slices.Concat(prefix, tail)
	if before == "" {
		end = append(slices.Clone(prefix), bytes.Repeat([]byte{0xff}, 9)...) // after every time
	}
	c := b.Cursor()
	k, v := c.Seek(end)
	if k == nil {
		k, v = c.Last()
	}
	if k != nil && bytes.Compare(k, end) >= 0 {
		k, v = c.Prev()
	}
	for ; k != nil && bytes.HasPrefix(k, prefix); k, v = c.Prev() {
		if len(keys) == limit {
			return keys, next, nil
		}
		keys = append(keys, slices.Clone(v))
		next = cursorText(k[len(prefix):])
	}
	return keys, "", nil
}

// cursorText is the end of an index key in a form for addresses.
func cursorText(tail []byte) string { return base64.RawURLEncoding.EncodeToString(tail) }
