package web

import (
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// maxLimiterKeys bounds a Limiter's memory (about 100 bytes a key).
const maxLimiterKeys = 10_000

// Limiter allows so many events a key and so many in all. Keys that are full
// again are forgotten; past maxLimiterKeys busy ones a new key is judged by the
// total alone, so a flood from many addresses cannot grow memory.
type Limiter struct {
	each  rate.Limit
	burst int

	mu    sync.Mutex
	keys  map[string]*rate.Limiter
	total *rate.Limiter
}

// NewLimiter allows burst events a key at once and then one per every, and
// totalBurst in all at once and then one per totalEvery.
func NewLimiter(burst int, every time.Duration, totalBurst int, totalEvery time.Duration) *Limiter {
	return &Limiter{
		each: rate.Every(every), burst: burst, keys: map[string]*rate.Limiter{},
		total: rate.NewLimiter(rate.Every(totalEvery), totalBurst),
	}
}

// Allow takes one event for key. When there is none left it returns false and
// how long until there is one.
func (l *Limiter) Allow(key string, now time.Time) (wait time.Duration, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.key(key, now)
	if k != nil && k.TokensAt(now) < 1 {
		return untilToken(k, now), false
	}
	if l.total.TokensAt(now) < 1 {
		return untilToken(l.total, now), false
	}
	l.total.AllowN(now, 1)
	return 0, k == nil || k.AllowN(now, 1)
}

// Blocked reports whether key has nothing left, without taking anything.
func (l *Limiter) Blocked(key string, now time.Time) (wait time.Duration, blocked bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if k := l.keys[key]; k != nil && k.TokensAt(now) < 1 {
		return untilToken(k, now), true
	}
	return 0, false
}

func (l *Limiter) key(key string, now time.Time) *rate.Limiter {
	k := l.keys[key]
	if k != nil {
		return k
	}
	if len(l.keys) >= maxLimiterKeys {
		for name, k := range l.keys {
			if k.TokensAt(now) >= float64(l.burst) {
				delete(l.keys, name)
			}
		}
		if len(l.keys) >= maxLimiterKeys {
			return nil
		}
	}
	k = rate.NewLimiter(l.each, l.burst)
	l.keys[key] = k
	return k
}

func untilToken(l *rate.Limiter, now time.Time) time.Duration {
	missing := 1 - l.TokensAt(now)
	return time.Duration(math.Ceil(missing / float64(l.Limit()) * float64(time.Second)))
}

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
