package store

// NoteCommit makes the next Access read its records again, as after a commit
// of somebody else.
func (db *DB) NoteCommit() { db.generation.Add(1) }

// ForgetAccess makes the next Access read and decode everything.
func (db *DB) ForgetAccess(h Hash) { db.access.drop(h) }

// Commits returns how many commits there were that could change rights.
func (db *DB) Commits() uint64 { return db.generation.Load() }

// SetAuditBounds makes the audit list smaller.
func (db *DB) SetAuditBounds(known, strangers uint64) {
	db.journal.bounds = auditBounds{known, strangers}
}
