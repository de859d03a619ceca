package web

import (
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"time"
)

// AddrKey is the limiter key of an address: IPv4 by address, IPv6 by /64,
// because one machine has a whole /64 to itself.
func AddrKey(a netip.Addr) string {
	a = a.Unmap().WithZone("")
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			return p.String()
		}
	}
	return a.String()
}

// TooMany is the answer to an event that a Limiter refused: 429 with
// Retry-After in whole seconds (RFC 6585 section 4).
func TooMany(wait time.Duration, what string) *Error {
	seconds := max(1, int(math.Ceil(wait.Seconds())))
	return Fault(http.StatusTooManyRequests, "too_many_requests",
		"Too many "+what+". Wait "+strconv.Itoa(seconds)+" seconds and try again.", nil).
		With("Retry-After", strconv.Itoa(seconds))
}
