// Package ratelimit allows so many events a key and so many in all, in bounded
// memory. It knows nothing of HTTP, so the rules of people (package account)
// can use it as well as handlers can.
package ratelimit

import (
	"math"
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

	mu     sync.Mutex
	keys   map[string]*rate.Limiter
	total  *rate.Limiter
	forgot time.Time // when forget last looked
}

// New allows burst events a key at once and then one per every, and
// totalBurst in all at once and then one per totalEvery.
func New(burst int, every time.Duration, totalBurst int, totalEvery time.Duration) *Limiter {
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

func (l *Limiter) key(key string, now time.Time) *rate.Limiter {
	k := l.keys[key]
	if k != nil {
		return k
	}
	if len(l.keys) >= maxLimiterKeys {
		l.forget(now)
		if len(l.keys) >= maxLimiterKeys {
			return nil
		}
	}
	k = rate.NewLimiter(l.each, l.burst)
	l.keys[key] = k
	return k
}

// forget drops the keys that are full again. It looks at most once a second,
// so that a flood cannot make every event pay for the walk.
func (l *Limiter) forget(now time.Time) {
	if now.Sub(l.forgot) < time.Second {
		return
	}
	l.forgot = now
	for name, k := range l.keys {
		if k.TokensAt(now) >= float64(l.burst) {
			delete(l.keys, name)
		}
	}
}

func untilToken(l *rate.Limiter, now time.Time) time.Duration {
	missing := 1 - l.TokensAt(now)
	return time.Duration(math.Ceil(missing / float64(l.Limit()) * float64(time.Second)))
}
