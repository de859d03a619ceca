package oauth

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	// freshDefault is how long a document is used that says nothing of it.
	freshDefault = time.Hour
	// freshMin spares a host that forbids caching a request for each page:
	// the draft allows bounds of one's own (section 5.2).
	freshMin = 5 * time.Minute
	freshMax = 24 * time.Hour
)

// freshFor reads how long an answer may be used without asking again, from
// Cache-Control and Age, or from Expires and Date (RFC 9111 section 4.2), and
// keeps it between freshMin and freshMax. What cannot be understood counts as
// stale, as section 4.2.1 has it.
func freshFor(h http.Header, now time.Time) time.Duration {
	d, said := maxAge(h)
	if !said {
		d, said = untilExpires(h, now)
	}
	if !said {
		d = freshDefault
	}
	return min(max(d, freshMin), freshMax)
}

// maxAge returns what Cache-Control says; said is false when it says nothing
// of time. Of several values the shortest counts.
func maxAge(h http.Header) (d time.Duration, said bool) {
	for _, directive := range directives(strings.Join(h.Values("Cache-Control"), ",")) {
		name, value, _ := strings.Cut(directive, "=")
		var one time.Duration
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "no-store", "no-cache":
		case "max-age":
			one = seconds(strings.Trim(strings.TrimSpace(value), `"`)) - seconds(strings.TrimSpace(h.Get("Age")))
		default:
			continue
		}
		if !said || one < d {
			d, said = one, true
		}
	}
	return d, said
}

// directives splits a Cache-Control value at its commas, except for those in
// quotes (RFC 9110 section 5.6.4).
func directives(value string) []string {
	var list []string
	quoted, escaped, from := false, false, 0
	for i := range len(value) {
		switch c := value[i]; {
		case escaped:
			escaped = false
		case quoted && c == '\\':
			escaped = true
		case c == '"':
			quoted = !quoted
		case c == ',' && !quoted:
			list, from = append(list, value[from:i]), i+1
		}
	}
	return append(list, value[from:])
}

// seconds reads delta-seconds (RFC 9111 section 1.2.2): zero for what is none,
// freshMax and more for what is too large to count.
func seconds(s string) time.Duration {
	n, err := strconv.ParseUint(s, 10, 64)
	if errors.Is(err, strconv.ErrRange) || err == nil && n > uint64(2*freshMax/time.Second) {
		return 2 * freshMax
	}
	if err != nil {
		return 0
	}
	return time.Duration(n) * time.Second
}

func untilExpires(h http.Header, now time.Time) (d time.Duration, said bool) {
	value := h.Get("Expires")
	if value == "" {
		return 0, false
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0, true
	}
	if date, err := http.ParseTime(h.Get("Date")); err == nil {
		now = date
	}
	return at.Sub(now), true
}
