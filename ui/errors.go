package ui

import (
	"errors"
	"math"
	"net/http"
	"strconv"
	"time"

	"podgate/account"
	"podgate/internal/text"
	"podgate/internal/web"
	"podgate/oauth"
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
func (s *Server) WriteError(w http.ResponseWriter, r *http.Request, e *web.Error) {
	page := errorPage{Status: e.Status, Title: e.Title(), Message: e.Message}
	if e.Status >= 500 {
		page.ID = web.RequestID(r.Context())
	}
	f := frame{Title: page.Title, Page: page}
	if _, user, ok := s.Current(r); ok {
		f.User = &user
	}
	if err := s.render(w, r, flowPage, e.Status, "error", f); err != nil {
		s.log.Error("the error page could not be made", "error", err)
		http.Error(w, e.Message, e.Status)
	}
}

// badForm is the error of a form that could not be read.
func badForm(err error) error {
	var tooBig *http.MaxBytesError
	if errors.As(err, &tooBig) {
		return err
	}
	return web.Fault(http.StatusBadRequest, "invalid_request", "The form could not be read. Open the page again and repeat what you did.", err)
}

// formFault says what is wrong with a form that is shown again.
type formFault struct {
	Message string
	Field   string
}

// forPerson splits an error of package account into what the form shows and
// the status it is shown with. Any other error is returned, for the error page.
func forPerson(w http.ResponseWriter, err error) (formFault, int, error) {
	var e *account.Error
	if !errors.As(err, &e) {
		return formFault{}, 0, err
	}
	if e.Wait > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(max(e.Wait, time.Second).Seconds()))))
	}
	return formFault{e.Message, e.Field}, statusOf(err), nil
}

func statusOf(err error) int {
	switch {
	case errors.Is(err, account.ErrCredentials), errors.Is(err, store.ErrSetUp):
		return http.StatusForbidden
	case errors.Is(err, account.ErrTooMany):
		return http.StatusTooManyRequests
	case errors.Is(err, account.ErrBusy):
		return http.StatusServiceUnavailable
	case errors.Is(err, store.ErrTaken):
		return http.StatusConflict
	case errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrExpired):
		return http.StatusNotFound
	}
	return http.StatusUnprocessableEntity
}

// AuthorizeError implements oauth.Pages.
func (s *Server) AuthorizeError(w http.ResponseWriter, r *http.Request, e oauth.AuthorizeError) error {
	e.Title, e.Message, e.ReturnHost = text.Line(e.Title, 120), text.Line(e.Message, 1000), text.Line(e.ReturnHost, 255)
	f := frame{Title: e.Title, Page: authorizeErrorPage{e, returnURL(e.Return)}}
	if _, user, ok := s.Current(r); ok {
		f.User = &user
	}
	return s.render(w, r, consentPage, e.Status, "authorize_error", f)
}
