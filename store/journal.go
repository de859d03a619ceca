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

// journal is what happened and is not on disk yet: steps of the timeline and
// entries of the audit list. Noting takes a lock and a few comparisons and never
// waits for the disk.
type journal struct {
	mu      sync.Mutex
	steps   []StepNote
	entries []AuditEntry
	// How much of both strangers have filled.
	strangersSteps, strangersEntries int

	lost   int       // for want of room
	lostAt time.Time // when the last of them happened

	bounds  auditBounds
	flushMu sync.Mutex // one flush at a time, so that order is kept
}

// NoteStep queues a step for FlushHistory. n.Step.At is when it happened.
func (db *DB) NoteStep(n StepNote) {
	n.Step.Last, n.Step.Count = n.Step.At, 1
	j := &db.journal
	j.mu.Lock()
	defer j.mu.Unlock()
	for i := len(j.steps) - 1; i >= max(0, len(j.steps)-foldBack); i-- {
		if had := &j.steps[i]; had.same(n) {
			had.Step.Count++
			had.Step.Last = latest(had.Step.Last, n.Step.Last)
			return
		}
	}
	stranger := n.User == "" && n.Grant == ""
	if len(j.steps) >= maxQueuedSteps || stranger && j.strangersSteps >= maxStrangersSteps {
		j.lose(n.Step.At, 1)
		return
	}
	if stranger {
		j.strangersSteps++
	}
	j.steps = append(j.steps, n)
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
	e.Last, e.Count = e.At, 1
	j := &db.journal
	j.mu.Lock()
	defer j.mu.Unlock()
	// Only into the one before: the order of what people did matters.
	if n := len(j.entries); n > 0 && j.entries[n-1].same(e) {
		had := &j.entries[n-1]
		had.Count++
		had.Last = latest(had.Last, e.Last)
		return
	}
	if len(j.entries) >= maxQueuedEntries || e.Stranger && j.strangersEntries >= maxStrangersEntries {
		j.lose(e.At, 1)
		return
	}
	if e.Stranger {
		j.strangersEntries++
	}
	j.entries = append(j.entries, e)
}

func (j *journal) lose(at time.Time, count int) {
	j.lost += count
	j.lostAt = latest(j.lostAt, at)
}

func (j *journal) take() (steps []StepNote, entries []AuditEntry) {
	j.mu.Lock()
	defer j.mu.Unlock()
	steps, entries = j.steps, j.entries
	if j.lost > 0 {
		entries = append(entries, AuditEntry{Action: AuditLost, Outcome: AuditOK, At: j.lostAt, Last: j.lostAt, Count: j.lost})
	}
	j.steps, j.entries, j.strangersSteps, j.strangersEntries, j.lost, j.lostAt = nil, nil, 0, 0, 0, time.Time{}
	return steps, entries
}

// journalStep is how many notes one writing transaction takes: in a busy second
// there are thousands, and a token request behind them should not wait for all.
const journalStep = 64

// FlushHistory writes what was noted: in one transaction mostly, in several
// short ones after a busy second, and in none when there is nothing. It is called
// about once a second, by Close, and by whatever reads the timeline or the audit
// list. A crash loses at most that second.
func (db *DB) FlushHistory() error {
	db.journal.flushMu.Lock()
	defer db.journal.flushMu.Unlock()
	steps, entries := db.journal.take()
	for len(steps)+len(entries) > 0 {
		s, e := min(journalStep, len(steps)), min(journalStep, len(entries))
		// Straight to bbolt: history changes nobody's rights, so the access cache
		// may stay.
		err := db.bolt.Update(func(tx *bolt.Tx) error {
			return errors.Join(writeSteps(tx, steps[:s]), writeAudit(tx, entries[:e], db.journal.bounds))
		})
		if err != nil {
			db.journal.loseAll(steps, entries)
			return err
		}
		steps, entries = steps[s:], entries[e:]
	}
	return nil
}

// loseAll counts what could not be written. It is not tried again: what cannot
// be written now would keep everything after it from being written.
func (j *journal) loseAll(steps []StepNote, entries []AuditEntry) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, n := range steps {
		j.lose(n.Step.Last, n.Step.Count)
	}
	for _, e := range entries {
		j.lose(e.Last, e.Count)
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
