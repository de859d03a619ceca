package account

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"podgate/store"
)

// HashesDone is how many hashes were computed, which is what sign-in time
// consists of.
func (s *Service) HashesDone() int64 { return s.hashing.acquired.Load() }

// Hash is the hash that a new password gets.
func Hash(password string) string { return defaultCost.hash(password) }

var t0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func addr(n int) netip.Addr {
	return netip.AddrFrom4([4]byte{198, 18, byte(n >> 8), byte(n)})
}

// fail takes one attempt and says whether it was let through.
func fail(t *loginThrottle, who string, from netip.Addr, known bool, now time.Time) bool {
	_, ok := t.take(attempt{who, from, known}, now)
	return ok
}

func failures(t *loginThrottle, who string, from netip.Addr, known bool, now time.Time) (n int) {
	for n < 1000 && fail(t, who, from, known, now) {
		n++
	}
	return n
}

func TestThrottlePair(t *testing.T) {
	t.Parallel()
	g := newLoginThrottle()
	if n := failures(g, "ada", addr(1), false, t0); n != 10 {
		t.Errorf("one account from one address: %d failures, want 10", n)
	}
	if !fail(g, "ada", addr(2), false, t0) {
		t.Error("another address suffers")
	}
	if !fail(g, "eve", addr(1), false, t0) {
		t.Error("another account at the same address suffers")
	}
	if n := failures(g, "ada", addr(1), false, t0.Add(3*time.Minute)); n != 3 {
		t.Errorf("three minutes later: %d failures, want 3", n)
	}
	if n := failures(g, "ada", addr(1), false, t0.Add(-time.Hour)); n != 0 {
		t.Errorf("a clock that was set back gives %d failures", n)
	}
}

func TestThrottleAddress(t *testing.T) {
	t.Parallel()
	g := newLoginThrottle()
	n := 0
	for ; n < 1000 && fail(g, fmt.Sprint("account ", n), addr(1), false, t0); n++ {
	}
	if n != 60 {
		t.Errorf("one address, ever new accounts: %d failures, want 60", n)
	}
	if !fail(g, "ada", addr(2), false, t0) {
		t.Error("another address suffers")
	}
	if fail(g, "ada", addr(1), false, t0) {
		t.Error("an unknown account at the flooded address is let through")
	}
	if !fail(g, "ada", addr(1), true, t0) {
		t.Error("somebody who is signed in at that address is locked out by a neighbour")
	}
	ipv6 := netip.MustParseAddr("2001:db8:1:2::1")
	other := netip.MustParseAddr("2001:db8:1:2:ffff::99")
	if failures(g, "ada", ipv6, false, t0); fail(g, "ada", other, false, t0) {
		t.Error("a second address of the same /64 has failures of its own")
	}
}

// Guessing from very many addresses makes the allowance of each smaller; it
// never takes anybody's first tries away.
func TestThrottleAccount(t *testing.T) {
	t.Parallel()
	g := newLoginThrottle()
	for i := range 100 {
		if !fail(g, "ada", addr(i), false, t0) {
			t.Fatalf("failure %d of the account was refused", i)
		}
	}
	if n := failures(g, "ada", addr(500), false, t0); n != 3 {
		t.Errorf("a new address under a distributed attack: %d tries, want 3", n)
	}
	if n := failures(g, "ada", addr(501), true, t0); n != 10 {
		t.Errorf("a known address under a distributed attack: %d tries, want 10", n)
	}
	if n := failures(g, "eve", addr(502), false, t0); n != 10 {
		t.Errorf("another account: %d tries, want 10", n)
	}
	if n := failures(g, "ada", addr(500), false, t0.Add(10*time.Second)); n != 0 {
		t.Errorf("seconds later the attacker has %d more", n)
	}
}

func TestThrottleGiveBack(t *testing.T) {
	t.Parallel()
	g := newLoginThrottle()
	a := attempt{"ada", addr(1), false}
	for i := range 200 {
		if _, ok := g.take(a, t0); !ok {
			t.Fatalf("success %d was limited", i)
		}
		g.giveBack(a, t0)
	}
	for name, b := range map[string]buckets{"pair": g.pair, "strict": g.strict, "address": g.address, "account": g.account} {
		if len(b.level) != 0 {
			t.Errorf("successes left %d entries in %s", len(b.level), name)
		}
	}
}

func TestThrottleStaysBounded(t *testing.T) {
	t.Parallel()
	b := newBuckets(pairAllowance)
	for i := range maxBuckets + 500 {
		b.add(fmt.Sprint("old ", i), -1, t0)
	}
	if n := len(b.level); n > maxBuckets {
		t.Errorf("%d entries, want at most %d", n, maxBuckets)
	}
	later := t0.Add(time.Hour) // all are full again
	b.add("new", -1, later)
	if n := len(b.level); n != 1 {
		t.Errorf("%d entries remembered that say nothing any more", n-1)
	}
}

func TestSemaphore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSemaphore(2, 3, 5*time.Second)
		var inside, most atomic.Int64
		results := make(chan error, 10)
		for range 10 {
			go func() {
				err := s.acquire(t.Context())
				if err == nil {
					most.Store(max(most.Load(), inside.Add(1)))
					time.Sleep(time.Second)
					inside.Add(-1)
					s.release()
				}
				results <- err
			}()
		}
		synctest.Wait()
		time.Sleep(time.Minute)
		refused := 0
		for range 10 {
			if err := <-results; errors.Is(err, ErrBusy) {
				refused++
			} else if err != nil {
				t.Error(err)
			}
		}
		if refused != 5 || most.Load() != 2 {
			t.Errorf("%d of 10 refused and at most %d at once; want 5 (2 inside, 3 waiting) and 2", refused, most.Load())
		}
	})
}

// Where memory is short the server has fewer passwords checked at once.
func TestHashesAtOnceAreConfigured(t *testing.T) {
	t.Parallel()
	for configured, want := range map[int]int{0: hashesAtOnce, 1: 1} {
		if got := cap(New(Config{HashesAtOnce: configured}).hashing.slots); got != want {
			t.Errorf("%d gives %d, want %d", configured, got, want)
		}
	}
}

func TestSemaphorePatience(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSemaphore(1, 3, 5*time.Second)
		if err := s.acquire(t.Context()); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		var e *Error
		if err := s.acquire(t.Context()); !errors.As(err, &e) || !errors.Is(err, ErrBusy) || e.Wait <= 0 || time.Since(start) != 5*time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.acquire(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a caller who leaves: %v", err)
		}
		if n := s.waiting.Load(); n != 0 {
			t.Errorf("%d still counted as waiting", n)
		}
		s.release()
		if err := s.acquire(t.Context()); err != nil {
			t.Errorf("the freed slot: %v", err)
		}
	})
}

// An attempt that was never looked at must not count as a failure.
func TestCancelledSignInDoesNotCount(t *testing.T) {
	t.Parallel()
	db, err := store.Open(filepath.Join(t.TempDir(), "podgate.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	s := New(Config{DB: db, Now: func() time.Time { return t0 }})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 50 {
		if _, _, err := s.SignIn(ctx, "ada@example.com", "some password", addr(1), ""); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
}

func TestPHC(t *testing.T) {
	t.Parallel()
	cheap := cost{memory: 64, passes: 1, threads: 1}
	s := cheap.hash("a password")
	if s == cheap.hash("a password") {
		t.Error("two hashes of one password are equal: no salt")
	}
	p, err := parsePHC(s)
	if err != nil || p.cost != cheap || !p.matches("a password") || p.matches("a passwore") || p.matches("") {
		t.Errorf("%s: %+v, %v", s, p, err)
	}
	if noAccount().matches("") || noAccount().cost != defaultCost {
		t.Error("what stands in for no account can be matched, or costs something else")
	}
	salt, key := b64.EncodeToString(make([]byte, 16)), b64.EncodeToString(make([]byte, 32))
	for _, bad := range []string{
		"", "x", "$argon2i$v=19$m=64,t=1,p=1$" + salt + "$" + key, "$argon2id$v=16$m=64,t=1,p=1$" + salt + "$" + key,
		"$argon2id$v=19$m=4294967295,t=1,p=1$" + salt + "$" + key, "$argon2id$v=19$m=64,t=1000,p=1$" + salt + "$" + key,
		"$argon2id$v=19$m=64,t=1,p=200$" + salt + "$" + key, "$argon2id$v=19$m=64,t=0,p=1$" + salt + "$" + key,
		"$argon2id$v=19$m=64,t=1,p=0$" + salt + "$" + key, "$argon2id$v=19$m=+64,t=1,p=1$" + salt + "$" + key,
		"$argon2id$v=19$m=64,t=1,p=1,x=2$" + salt + "$" + key, "$argon2id$v=19$m=64,t=1,p=1$" + salt + "$", "$argon2id$v=19$m=64,t=1,p=1$$" + key,
		"$argon2id$v=19$m=64,t=1,p=1$" + salt + "$" + key + "$", "$argon2id$v=19$m=64,t=1,p=1$" + salt + "$!" + key,
	} {
		if p, err := parsePHC(bad); err == nil {
			t.Errorf("%q was read as %+v", bad, p)
		}
	}
}

func FuzzParsePHC(f *testing.F) {
	f.Add(cost{64, 1, 1}.hash("x"))
	f.Add("$argon2id$v=19$m=64,t=1,p=1$$")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := parsePHC(s)
		if err != nil {
			return
		}
		if p.memory > maxMemory || p.passes > maxPasses || p.threads > maxThreads || p.passes == 0 || p.threads == 0 || len(p.key) < 16 || len(p.salt) < 8 {
			t.Errorf("%q was accepted as %+v", s, p)
		}
	})
}

// A password that was hashed at another cost is hashed anew at the next
// sign-in, and sessions live through it.
func TestRehash(t *testing.T) {
	t.Parallel()
	db, err := store.Open(filepath.Join(t.TempDir(), "podgate.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	s := New(Config{DB: db, Now: func() time.Time { return t0 }})
	old := cost{64, 1, 1}.hash("some password")
	if err := db.CreateUser(store.User{ID: "u", Email: "ada@example.com", Password: old}); err != nil {
		t.Fatal(err)
	}
	secret, _, err := s.SignIn(t.Context(), "ada@example.com", "some password", addr(1), "")
	if err != nil {
		t.Fatal(err)
	}
	u, err := db.User("u")
	if err != nil || !strings.HasPrefix(u.Password, "$argon2id$v=19$m=32768,t=2,p=1$") {
		t.Errorf("the stored hash is still %q (%v)", u.Password, err)
	}
	if _, _, err := s.SignIn(t.Context(), "ada@example.com", "some password", addr(1), ""); err != nil {
		t.Errorf("the new hash: %v", err)
	}
	if _, _, err := s.Authenticate(secret); err != nil {
		t.Errorf("the session: %v", err)
	}
	again, err := db.User("u")
	if err != nil || again.Password != u.Password {
		t.Error("a hash at the present cost was replaced")
	}
}

// Several sign-ins at once that all hash the old password anew all succeed.
func TestRehashInParallel(t *testing.T) {
	t.Parallel()
	db, err := store.Open(filepath.Join(t.TempDir(), "podgate.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	s := New(Config{DB: db, Now: func() time.Time { return t0 }})
	if err := db.CreateUser(store.User{ID: "u", Email: "ada@example.com", Password: cost{64, 1, 1}.hash("some password")}); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			if _, _, err := s.SignIn(t.Context(), "ada@example.com", "some password", addr(1), ""); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
}

func TestWordsForWaiting(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		time.Millisecond: "a second", 1500 * time.Millisecond: "2 seconds", time.Minute: "60 seconds", 2 * time.Minute: "120 seconds",
		2*time.Minute + 1: "3 minutes", 15 * time.Minute: "15 minutes",
	} {
		if got := inWords(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
}

// BenchmarkHash is how the default cost was chosen.
func BenchmarkHash(b *testing.B) {
	for _, c := range []cost{{19 << 10, 2, 1}, {32 << 10, 1, 1}, defaultCost, {46 << 10, 1, 1}, {64 << 10, 1, 1}} {
		b.Run(fmt.Sprintf("m=%dMiB,t=%d", c.memory>>10, c.passes), func(b *testing.B) {
			p, err := parsePHC(c.hash("a password"))
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				p.matches("another password")
			}
		})
	}
}
