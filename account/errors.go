package account

import (
	"errors"
	"fmt"
	"time"
)

// The reasons of this package, told apart with errors.Is. Errors that come
// from the store keep its sentinels (store.ErrTaken, store.ErrNotFound …).
var (
	ErrCredentials = errors.New("account: wrong address or password")
	ErrTooMany     = errors.New("account: too many failed sign-ins")
	ErrBusy        = errors.New("account: too many passwords are being checked")
	ErrForbidden   = errors.New("account: not allowed")
	ErrInvalid     = errors.New("account: invalid input")
)

// Error is an error of this package: words for the person, a reason for the
// program.
type Error struct {
	Message string        // what is wrong and what to do, as one or two sentences
	Field   string        // with ErrInvalid, what to correct: email, name, password, team, slug, old
	Wait    time.Duration // with ErrTooMany and ErrBusy, how long to wait
	Err     error         // one of the sentinels, or the store's error
}

func (e *Error) Error() string { return e.Message }

func (e *Error) Unwrap() error { return e.Err }

func invalid(field, format string, args ...any) *Error {
	return &Error{Message: fmt.Sprintf(format, args...), Field: field, Err: ErrInvalid}
}

// explain gives a store error words when it is the sentinel, and otherwise
// passes it on.
func explain(err, sentinel error, field, format string, args ...any) error {
	if !errors.Is(err, sentinel) {
		return err
	}
	return &Error{Message: fmt.Sprintf(format, args...), Field: field, Err: err}
}
