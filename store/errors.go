package store

import (
	"errors"
	"fmt"
)

// The reasons a store method refuses. Callers tell them apart with errors.Is
// and choose the words a person reads; the texts here are for the log.
var (
	ErrNotFound   = errors.New("store: not found")
	ErrTaken      = errors.New("store: name is taken")
	ErrHasPods    = errors.New("store: the team has pods")
	ErrBlocked    = errors.New("store: the client is blocked")
	ErrReserved   = errors.New("store: name is reserved for another team")
	ErrExpired    = errors.New("store: expired")
	ErrSpent      = errors.New("store: already used")
	ErrMismatch   = errors.New("store: belongs to somebody else")
	ErrNotMember  = errors.New("store: user is not a member of the team")
	ErrFull       = errors.New("store: there are as many of these as may be")
	ErrDiskFull   = errors.New("store: the disk is full")
	ErrDiskFailed = errors.New("store: the disk failed")
	ErrLastOwner  = errors.New("store: user is the last owner of the team")
	ErrLastAdmin  = errors.New("store: user is the last administrator")
	ErrSetUp      = errors.New("store: an administrator exists already")
	ErrCursor     = errors.New("store: no page of a list begins there")
	ErrLocked     = errors.New("store: another process has the database open")
	ErrForeign    = errors.New("store: not a podgate database")
	ErrDamaged    = errors.New("store: the database is damaged")
	ErrNotChecked = errors.New("store: the database was not checked")
	ErrNewerStore = errors.New("store: database was written by a newer podgate")
)

// MismatchError says which part of a redemption did not match what the code
// was issued for, or that a password did not stay what it was. It is an
// ErrMismatch.
type MismatchError struct{ Field string }

func (e *MismatchError) Error() string {
	return fmt.Sprintf("store: %s does not match", e.Field)
}

// Is makes errors.Is(err, ErrMismatch) hold.
func (e *MismatchError) Is(target error) bool { return target == ErrMismatch }
