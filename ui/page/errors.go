package page

import (
	"errors"
	"math"
	"net/http"
	"strconv"
	"time"

	"podgate/account"
	"podgate/internal/web"
	"podgate/store"
)

// errorPage is the content of error.html.
type errorPage struct {
	Status  int
	Title   string
	Message string
	ID      string // of the request, where it helps somebody who reads the log
}

// WriteError is the web.ErrorWriter of pages.
func (s *Shell) WriteError(w http.ResponseWriter, r *http.Request, e *web.Error) {
	page := errorPage{Status: e.Status, Title: e.Title(), Message: e.Message}
	if e.Status >= 500 {
		page.ID = web.RequestID(r.Context())
	}
	f := Frame{Title: page.Title, Page: page}
	if _, user, ok := s.Current(r); ok {
		f.User = &user
	}
	if err := s.own.Render(w, r, Flow, e.Status, "error", f); err != nil {
		s.Log.Error("the error page could not be made", "error", err)
		http.Error(w, e.Message, e.Status)
	}
}

// Absent is what those are told who ask for something that is not there, for them or
// for anybody.
func Absent() error {
	return web.Fault(http.StatusNotFound, "not_found", "There is nothing at this address. It may have been typed wrongly, or what was here is gone.", nil)
}

// BadForm is the error of a form that could not be read.
func BadForm(err error) error {
	var tooBig *http.MaxBytesError
	if errors.As(err, &tooBig) {
		return err
	}
	return web.Fault(http.StatusBadRequest, "invalid_request", "The form could not be read. Open the page again and repeat what you did.", err)
}

// Fault says what is wrong with a form that is shown again.
type Fault struct {
	Message string
	Field   string
}

// ForPerson splits an error of package account into what the form shows and
// the status it is shown with. Any other error is returned, for the error page.
func ForPerson(w http.ResponseWriter, err error) (Fault, int, error) {
	var e *account.Error
	if !errors.As(err, &e) {
		return Fault{}, 0, err
	}
	if e.Wait > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(max(e.Wait, time.Second).Seconds()))))
	}
	return Fault{e.Message, e.Field}, statusOf(err), nil
}

func statusOf(err error) int {
	switch {
	case errors.Is(err, account.ErrCredentials), errors.Is(err, account.ErrForbidden), errors.Is(err, account.ErrPasskey), errors.Is(err, account.ErrProof), errors.Is(err, store.ErrSetUp):
		return http.StatusForbidden
	case errors.Is(err, account.ErrTooMany):
		return http.StatusTooManyRequests
	case errors.Is(err, account.ErrBusy):
		return http.StatusServiceUnavailable
	case errors.Is(err, store.ErrTaken), errors.Is(err, store.ErrLastOwner), errors.Is(err, store.ErrHasPods):
		return http.StatusConflict
	case errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrExpired):
		return http.StatusNotFound
	}
	return http.StatusUnprocessableEntity
}

// OutcomeOf is why something was refused, in few words.
func OutcomeOf(err error) string {
	switch {
	case err == nil:
		return store.AuditOK
	case errors.Is(err, account.ErrCredentials):
		return "wrong password"
	case errors.Is(err, account.ErrPasskey):
		return "wrong passkey"
	case errors.Is(err, account.ErrTooMany):
		return "too many tries"
	case errors.Is(err, account.ErrBusy):
		return "busy"
	case errors.Is(err, account.ErrInvalid), errors.Is(err, account.ErrForbidden):
		return "refused"
	}
	return "failed"
}

// Confirmation is what would happen, once more, for what cannot be taken back.
type Confirmation struct {
	Title, Text, After string
	Action, Button     string // where the form goes, and what its button says
	Back               string // where Cancel leads
}

// Confirm asks a person once more.
func (s *Shell) Confirm(w http.ResponseWriter, r *http.Request, title, here string, c Confirmation) error {
	return s.own.Render(w, r, Plain, http.StatusOK, "confirm", Frame{Title: title, Here: here, Page: c})
}
