package web

import (
	"math"
	"net/http"
	"strconv"
	"time"
)

// TooMany is the answer to an event that a Limiter refused: 429 with
// Retry-After in whole seconds (RFC 6585 section 4).
func TooMany(wait time.Duration, what string) *Error {
	seconds := max(1, int(math.Ceil(wait.Seconds())))
	return Fault(http.StatusTooManyRequests, "too_many_requests",
		"Too many "+what+". Wait "+strconv.Itoa(seconds)+" seconds and try again.", nil).
		With("Retry-After", strconv.Itoa(seconds))
}
