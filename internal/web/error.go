package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"podgate/store"
)

// Error is an error with a public half (Status, Code, Message, Header) and a
// private one (Err), which only the log sees.
type Error struct {
	Status  int         // HTTP status
	Code    string      // a word for programs, such as invalid_request
	Message string      // a sentence or two for a person: what is wrong, what to do
	Header  http.Header // sent along; may be nil
	Err     error       // the cause; may be nil
}

func (e *Error) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("%d %s: %s", e.Status, e.Code, e.Message)
	}
	return fmt.Sprintf("%d %s: %s: %v", e.Status, e.Code, e.Message, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// Fault makes an Error. cause may be nil.
func Fault(status int, code, message string, cause error) *Error {
	return &Error{Status: status, Code: code, Message: message, Err: cause}
}

// Title is a few words for a person, to stand over Message.
func (e *Error) Title() string {
	if e.Code == CodeDiskFailed {
		return "The disk does not work"
	}
	switch e.Status {
	case http.StatusNotFound:
		return "Nothing here"
	case http.StatusMethodNotAllowed:
		return "Not that way"
	case http.StatusForbidden:
		return "Not allowed"
	case http.StatusTooManyRequests:
		return "Too fast"
	case http.StatusServiceUnavailable:
		return "Busy"
	case http.StatusInsufficientStorage:
		return "The disk is full"
	case http.StatusRequestEntityTooLarge, http.StatusRequestHeaderFieldsTooLarge:
		return "Too large"
	case http.StatusMisdirectedRequest:
		return "Not this address"
	}
	if e.Status >= 500 {
		return "Something went wrong"
	}
	return "That did not work"
}

// With returns a copy of e that also sends the header.
func (e *Error) With(key, value string) *Error {
	c := *e
	c.Header = e.Header.Clone()
	if c.Header == nil {
		c.Header = http.Header{}
	}
	c.Header.Set(key, value)
	return &c
}

// AsError returns the public form of any error: its own when it is or wraps an
// *Error, a fitting one for the store's errors and for a body that was cut off,
// and otherwise a 500 that says nothing about the cause.
func AsError(err error) *Error {
	var e *Error
	var tooBig *http.MaxBytesError
	switch {
	case errors.As(err, &e):
		return e
	case errors.As(err, &tooBig):
		return Fault(http.StatusRequestEntityTooLarge, "too_large", fmt.Sprintf("The request body is larger than the %d bytes allowed here.", tooBig.Limit), err)
	case errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrNotMember):
		return Fault(http.StatusNotFound, "not_found", "There is nothing here under that name.", err)
	case errors.Is(err, store.ErrDiskFull):
		return Fault(http.StatusInsufficientStorage, CodeDiskFull, DiskFull, err)
	case errors.Is(err, store.ErrDiskFailed):
		return Fault(http.StatusServiceUnavailable, CodeDiskFailed, DiskFailed, err)
	case errors.Is(err, store.ErrTaken), errors.Is(err, store.ErrReserved):
		return Fault(http.StatusConflict, "taken", "That name is taken. Choose another.", err)
	case errors.Is(err, context.Canceled):
		return Cancelled(err)
	case errors.Is(err, context.DeadlineExceeded):
		return Fault(http.StatusGatewayTimeout, "timeout", "That took too long. Try again.", err)
	}
	return Fault(http.StatusInternalServerError, "server_error", "Something went wrong on this server. Its log says what.", err)
}

// CodeDiskFull is the code of an error for want of room, and DiskFull its words;
// CodeDiskFailed and DiskFailed are those of a disk that does not work. They name the disk by what is on it: strangers read them as well, and the path is
// in the log.
const (
	CodeDiskFull = "disk_full"
	DiskFull     = "The disk that holds podgate's database is full, so nothing new can be kept. Whoever runs this server has to make room on it. Revoking, signing out and deleting work meanwhile."

	CodeDiskFailed = "disk_failed"
	DiskFailed     = "The disk that holds podgate's database does not work, so nothing can be changed, and nothing is lost of what was kept. Whoever runs this server has to mend it and start podgate again; its log says more."
)

// Cancelled is the error of a request whose client has left, which only the log
// sees.
func Cancelled(cause error) *Error {
	return Fault(statusClientGone, "cancelled", "The request was cancelled.", cause)
}

// statusClientGone is the conventional status for the log when nobody is left
// to read the answer.
const statusClientGone = 499
