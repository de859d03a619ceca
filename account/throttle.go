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
	deviceAllowance  = allowance{10, time.Minute}
	pairAllowance    = allowance{10, time.Minute}
	strictAllowance  = allowance{3, 15 * time.Minute}
	accountAllowance = allowance{100, time.Minute}
	// networkAllowances are those of ratelimit.Networks. A wider network has more,
	// because more people are in it, and far less than its addresses have together.
	networkAllowances = [...]allowance{{60, 5 * time.Second}, {180, 2 * time.Second}, {600, time.Second / 2}}
)

// maxBuckets bounds the memory of each table (about 150 bytes an entry). To push
// one's own failures out of a full table takes that many failures, each of which
// costs a slow hash.
const maxBuckets = 10_000

// loginThrottle counts failed sign-ins. An attempt takes from the tables before the
// password is looked at, so that a hundred attempts at once are not all judged
// by the state before the first, and gets it back when the password was right.
// That, and tables that decide together, is more than package ratelimit's
// counting of events.
type loginThrottle struct {
	mu                            sync.Mutex
	device, pair, strict, account buckets
	networks                      [len(networkAllowances)]buckets
}

func newLoginThrottle() *loginThrottle {
	t := &loginThrottle{
		device: newBuckets(deviceAllowance), pair: newBuckets(pairAllowance),
		strict: newBuckets(strictAllowance), account: newBuckets(accountAllowance),
	}
	for i, a := range networkAllowances {
		t.networks[i] = newBuckets(a)
	}
	return t
}

// attempt is one try to sign in. What of it depends on whether the account
// exists, which is the device alone, comes from who has proved it before.
type attempt struct {
	account string // the address as typed, normalized
	addr    netip.Addr
	device  string // by which the account knows the caller; empty: none
	known   bool   // somebody has signed in at this address
}

// charge is what an attempt took from a table.
type charge struct {
	table buckets
	key   string
}

// taken is what an attempt took, until it is known how it ended.
type taken struct {
	charges []charge
	device  bool // it was the device that let it through
}

// take lets the attempt go on and counts it as failed for now, or says how
// long to wait.
func (t *loginThrottle) take(a attempt, now time.Time) (got taken, wait time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if a.device != "" && t.device.wait(a.device, now) == 0 {
		got = taken{[]charge{{t.device, a.device}}, true}
		got.add(-1, now)
		return got, 0
	}
	pair := ratelimit.AddrKey(a.addr) + " " + a.account
	judges := []charge{{t.pair, pair}}
	for i, network := range ratelimit.Networks(a.addr) {
		judges = append(judges, charge{t.networks[i], network})
	}
	others := []charge{{t.strict, pair}}
	if t.account.wait(a.account, now) == 0 || a.known {
		others = append(others, charge{t.account, a.account})
	} else {
		judges, others = append(judges, others...), nil
	}
	for _, j := range judges {
		wait = max(wait, j.table.wait(j.key, now))
	}
	if wait > 0 {
		return taken{}, wait
	}
	for _, c := range append(judges, others...) {
		if c.table.wait(c.key, now) == 0 { // else there is nothing to give back
			got.charges = append(got.charges, c)
		}
	}
	got.add(-1, now)
	return got, 0
}

// giveBack undoes take: the password was right, or was never looked at.
func (t *loginThrottle) giveBack(got taken, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	got.add(+1, now)
}

func (got taken) add(n float64, now time.Time) {
	for _, c := range got.charges {
		c.table.add(c.key, n, now)
	}
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
