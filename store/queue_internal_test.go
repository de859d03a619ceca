package store

import (
	"fmt"
	"testing"
)

// What found no room on the disk waits in order, and strangers' share of the
// queue stays what it is.
func TestQueueWaitsForRoom(t *testing.T) {
	t.Parallel()
	db := &DB{}
	entry := func(n int, stranger bool) AuditEntry {
		return AuditEntry{Action: "x", Object: fmt.Sprint(n), Stranger: stranger, Outcome: AuditOK, At: t0}
	}
	step := func(n int) StepNote { return StepNote{Visitor: "v", Step: Step{Kind: fmt.Sprint(n), At: t0}} }
	for n := range maxStrangersEntries/2 + 10 { // they have half of it for what concerns nobody
		db.NoteAudit(entry(n, true))
	}
	for n := range maxStrangersSteps + 10 {
		db.NoteStep(step(n))
	}
	db.NoteAudit(entry(1000, false))
	before := len(db.queue.entries)
	for range 3 {
		steps, entries := db.queue.take()
		db.NoteAudit(entry(2000, false))
		db.queue.putBack(steps, entries)
	}
	for n := range 50 {
		db.NoteAudit(entry(3000+n, true))
		db.NoteStep(step(3000 + n))
	}
	q := &db.queue
	if len(q.steps) != maxStrangersSteps || len(q.entries) != before+3 || q.entries[0].Object != "0" || q.entries[before-1].Object != "1000" || q.entries[before+2].Object != "2000" {
		t.Errorf("%d steps and %d entries wait, %d before", len(q.steps), len(q.entries), before)
	}
	if want := 10 + 10 + 50 + 50; q.lost != want {
		t.Errorf("%d lost, want %d", q.lost, want)
	}
}
