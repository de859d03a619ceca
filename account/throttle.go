package account

import (
	"math"
	"net/netip"
	"sync"
	"time"

	"podgate/internal/ratelimit"
)

// allowance is how many failures are free at once and how long until one more is.
type allowance struct {
	burst float64
	every time.Duration
}

// The limits of [Service.SignIn], which states the rule.
var (
	pairAllowance    = allowance{10, time.Minute}
	strictAllowance  = allowance{3, 15 * time.Minute}
	addressAllowance = allowance{60, 5 * time.Second}
	accountAllowance = allowance{100, time.Minute}
)

// maxBuckets bounds the memory of each of the four tables (about 150 bytes an
// entry). To push one's own failures out of a full table takes that many
// failures, each of which costs a slow hash.
const maxBuckets = 10_000

// loginThrottle counts failed sign-ins. An attempt takes from the tables before the
// password is looked at, so that a hundred attempts at once are not all judged
// by the state before the first, and gets it back when the password was right.
// That, and four tables that decide together, is more than package ratelimit's
// counting of events.
type loginThrottle struct {
	mu                             sync.Mutex
	pair, strict, address, account buckets
}

func newLoginThrottle() *loginThrottle {
	return &loginThrottle{
		pair: newBuckets(pairAllowance), strict: newBuckets(strictAllowance),
		address: newBuckets(addressAllowance), account: newBuckets(accountAllowance),
	}
}

// attempt is one try to sign in. known: the account has a live session that
// began at this address.
type attempt struct {
	account string
	addr    netip.Addr
	known   bool
}

func (a attempt) addressKey() string { return ratelimit.AddrKey(a.addr) }
func (a attempt) pairKey() string    { return a.addressKey() + " " + a.account }

// take lets the attempt go on and counts it as failed for now, or says how
// long to wait.
func (t *loginThrottle) take(a attempt, now time.Time) (wait time.Duration, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	wait = t.pair.wait(a.pairKey(), now)
	if !a.known {
		wait = max(wait, t.address.wait(a.addressKey(), now))
		if t.account.wait(a.account, now) > 0 {
			wait = max(wait, t.strict.wait(a.pairKey(), now))
		}
	}
	if wait > 0 {
		return wait, false
	}
	t.add(a, -1, now)
	return 0, true
}

// giveBack undoes take: the password was right, or was never looked at.
func (t *loginThrottle) giveBack(a attempt, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.add(a, +1, now)
}

func (t *loginThrottle) add(a attempt, n float64, now time.Time) {
	t.pair.add(a.pairKey(), n, now)
	t.strict.add(a.pairKey(), n, now)
	t.address.add(a.addressKey(), n, now)
	t.account.add(a.account, n, now)
}

// buckets are token buckets by key. A key that is not there is full.
type buckets struct {
	allowance
	level map[string]bucket
}

type bucket struct {
	tokens float64
	at     time.Time
}

func newBuckets(a allowance) buckets { return buckets{a, map[string]bucket{}} }

func (b buckets) tokens(key string, now time.Time) float64 {
	k, ok := b.level[key]
	if !ok {
		return b.burst
	}
	since := max(0, now.Sub(k.at)) // a clock set back must not take tokens away
	return min(b.burst, k.tokens+since.Seconds()/b.every.Seconds())
}

func (b buckets) wait(key string, now time.Time) time.Duration {
	missing := 1 - b.tokens(key, now)
	if missing <= 0 {
		return 0
	}
	return time.Duration(math.Ceil(missing * float64(b.every)))
}

func (b buckets) add(key string, n float64, now time.Time) {
	tokens := min(b.burst, max(0, b.tokens(key, now)+n))
	if tokens >= b.burst {
		delete(b.level, key)
		return
	}
	if _, ok := b.level[key]; !ok && len(b.level) >= maxBuckets {
		b.makeRoom(now)
	}
	b.level[key] = bucket{tokens, now}
}

// makeRoom forgets every key that is full again, or any one when none is.
func (b buckets) makeRoom(now time.Time) {
	for key := range b.level {
		if b.tokens(key, now) >= b.burst {
			delete(b.level, key)
		}
	}
	for key := range b.level {
		if len(b.level) < maxBuckets {
			return
		}
		delete(b.level, key)
	}
}
