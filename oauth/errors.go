package oauth

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"podgate/history"
	"podgate/internal/web"
	"podgate/store"
)

// The error codes of RFC 6749 sections 4.1.2.1 and 5.2, RFC 6750 section 3.1,
// RFC 7591 section 3.2.2 and RFC 8707 section 2.
const (
	codeInvalidRequest          = "invalid_request"
	codeInvalidClient           = "invalid_client"
	codeUnauthorizedClient      = "unauthorized_client"
	codeInvalidGrant            = "invalid_grant"
	codeInvalidScope            = "invalid_scope"
	codeInvalidTarget           = "invalid_target"
	codeInvalidToken            = "invalid_token"
	codeInvalidRedirectURI      = "invalid_redirect_uri"
	codeInvalidClientMetadata   = "invalid_client_metadata"
	codeUnsupportedGrantType    = "unsupported_grant_type"
	codeUnsupportedResponseType = "unsupported_response_type"
	codeAccessDenied            = "access_denied"
	codeInsufficientScope       = "insufficient_scope"
	codeServerError             = "server_error"
	codeTemporarilyUnavailable  = "temporarily_unavailable"
	codeTooManyRequests         = "too_many_requests" // what client libraries call status 429
	codeMethodNotAllowed        = "method_not_allowed"
)

// reason is the private half of a refusal: the word that the timeline has for
// it. It may tell apart what the client hears as one.
type reason string

func (r reason) Error() string { return string(r) }

// refuse is a fault of the client in the protocol's words, with the word of the
// timeline.
func refuse(code, fault, message string) *web.Error {
	return web.Fault(http.StatusBadRequest, code, message, reason(fault))
}

// malformed is the refusal of a request that is not well-formed.
func malformed(message string) *web.Error {
	return refuse(codeInvalidRequest, history.FaultMalformed, message)
}

// tooMany is web.TooMany with the word of the timeline.
func tooMany(wait time.Duration, what string) *web.Error {
	e := web.TooMany(wait, what)
	e.Err = reason(history.FaultRateLimited)
	return e
}

// faultOf is why a request was refused, as one word of the timeline. What
// carries none comes from outside the protocol: a body that was cut off, a
// fault here.
func faultOf(err error) string {
	var r reason
	switch {
	case errors.As(err, &r):
		return string(r)
	case web.AsError(err).Status >= http.StatusInternalServerError:
		return history.FaultServer
	}
	return history.FaultMalformed
}

// invalidClient is a failed client authentication. RFC 9110 section 15.5.2
// wants a challenge with every 401, and Basic is the only scheme with which a
// client identifies itself here.
func invalidClient(message string) *web.Error {
	return web.Fault(http.StatusUnauthorized, codeInvalidClient, message, reason(history.FaultUnknownClient)).
		With("WWW-Authenticate", `Basic realm="podgate"`)
}

// writeError answers an error as RFC 6749 section 5.2 has it, whatever the
// request accepts. Errors that come from outside the protocol, such as a body
// that is too large, take the nearest code that clients know.
func writeError(w http.ResponseWriter, r *http.Request, e *web.Error) {
	answer := *e
	if e.Code == web.CodeDiskFull || e.Code == web.CodeDiskFailed {
		answer.Status, answer.Code = http.StatusServiceUnavailable, codeTemporarilyUnavailable
	} else if !slices.Contains(answerCodes(), e.Code) {
		answer.Code = codeInvalidRequest
		if e.Status >= 500 {
			answer.Code = codeServerError
		}
	}
	answer.Message = describable(e.Message)
	web.WriteJSONError(w, r, &answer)
}

func answerCodes() []string {
	return []string{
		codeInvalidRequest, codeInvalidClient, codeInvalidGrant, codeInvalidScope, codeInvalidTarget, codeInvalidRedirectURI, codeInvalidClientMetadata,
		codeUnauthorizedClient, codeUnsupportedGrantType, codeAccessDenied, codeTooManyRequests, codeMethodNotAllowed, codeServerError,
	}
}

// describable restricts text to what RFC 6749 sections 4.1.2.1 and 5.2 allow
// in an error_description: printable ASCII without quote and backslash.
func describable(text string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' || c == '"' || c == '\\' {
			return '\''
		}
		return c
	}, text)
}

// writePageError answers an error of the browser routes as a page.
func (s *Server) writePageError(w http.ResponseWriter, r *http.Request, e *web.Error) {
	err := s.pages.AuthorizeError(w, r, AuthorizeError{Status: e.Status, Title: "That did not work", Message: e.Message})
	if err != nil {
		s.log.Error("write error page", "error", err, "path", r.URL.Path)
		http.Error(w, e.Message, e.Status)
	}
}

// isGone reports whether a request handle, session or client stopped being
// usable, which is the person's cue to begin again.
func isGone(err error) bool {
	return errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrExpired) || errors.Is(err, store.ErrMismatch)
}
