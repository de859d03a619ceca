package store

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// The errors of a disk are told from others, also in bbolt's own words.
func TestIsErrno(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"file resize error: truncate x: no space left on device": true,
		"file sync error: sync x: disk quota exceeded":           true,
		"file resize error: truncate x: file too large":          false,
		"client says: no space left on device":                   false,
	} {
		if got := isErrno(errors.New(text), syscall.ENOSPC, syscall.EDQUOT); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

// After a commit that the disk failed there is none, not even one that would work, until
// the file is opened anew; and one can still look.
func TestNoCommitAfterAFailure(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "podgate.db")
	db, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	team := Team{ID: "team", Slug: "team", Name: "Team", Created: t0}
	if err := errors.Join(db.CreateTeam(team), db.DiskFailed()); err != nil {
		t.Fatal(err)
	}
	if err := db.writing(func() error { return &os.PathError{Op: "sync", Path: path, Err: syscall.EIO} }); !errors.Is(err, ErrDiskFailed) {
		t.Errorf("the commit that fails: %v", err)
	}
	db.NoteAudit(AuditEntry{Action: "x", Outcome: AuditOK, At: t0})
	for what, err := range map[string]error{
		"adding": db.CreateTeam(Team{ID: "other", Slug: "other", Created: t0}), "taking away": db.DeleteSession(Hash{}), "history": db.FlushHistory(), "the reserve": db.KeepReserve(),
	} {
		if what != "the reserve" && !errors.Is(err, ErrDiskFailed) || what == "the reserve" && err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := db.Team("team"); err != nil {
		t.Errorf("reading: %v", err)
	}
	if page, err := db.Audit(AuditQuery{Limit: 1}, t0); err != nil || len(page.Entries) != 0 {
		t.Errorf("the audit list: %+v, %v", page, err)
	}
	if err := db.Close(); !errors.Is(err, ErrDiskFailed) {
		t.Errorf("closing: %v", err)
	}
	if db, err = Open(path); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.CreateTeam(Team{ID: "other", Slug: "other", Created: t0}), db.Close()); err != nil {
		t.Error(err)
	}
}
