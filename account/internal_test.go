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

// Exhaust has failed at an address, with ever other accounts, until nobody is
// looked at there any more.
func (s *Service) Exhaust(at netip.Addr) {
	for n := 0; ; n++ {
		if _, wait := s.throttle.take(attempt{account: fmt.Sprint("account ", s.now(), n), addr: at}, s.now()); wait > 0 {
			return
		}
	}
}

// Attack has failed with an account from ever other addresses.
func (s *Service) Attack(email string) {
	for n := range 200 {
		s.throttle.take(attempt{account: email, addr: addr(n)}, s.now())
	}
}

// Hash is the hash that a new password gets.
func Hash(password string) string { return defaultCost.hash(password) }

var t0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func addr(n int) netip.Addr {
	return netip.AddrFrom4([4]byte{198, 18, byte(n >> 8), byte(n)})
}

// fail takes one attempt and says whether it was let through.
func fail(t *loginThrottle, who string, from netip.Addr, known bool, now time.Time) bool {
	_, wait := t.take(attempt{account: who, addr: from, known: known}, now)
	return wait == 0
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
	if fail(g, "ada", addr(1), true, t0) {
		t.Error("who has signed in at that address can be told from who has not")
	}
	if _, wait := g.take(attempt{account: "ada", addr: addr(1), device: "phone"}, t0); wait > 0 {
		t.Error("a device of the account is locked out by a neighbour")
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
	for i := range 200 {
		a := attempt{account: "ada", addr: addr(1), device: []string{"", "phone"}[i%2]}
		got, wait := g.take(a, t0)
		if wait > 0 {
			t.Fatalf("success %d was limited", i)
		}
		g.giveBack(got, t0)
	}
	for name, b := range map[string]buckets{
		"device": g.device, "pair": g.pair, "strict": g.strict, "account": g.account, "address": g.networks[0], "network": g.networks[1],
	} {
		if len(b.level) != 0 {
			t.Errorf("successes left %d entries in %s", len(b.level), name)
		}
	}
}

// A success gives back what it took and no more: who can sign in must not be able
// to earn guesses at others so.
func TestThrottleGivesBackNoMore(t *testing.T) {
	t.Parallel()
	g := newLoginThrottle()
	for n := range 60 {
		fail(g, fmt.Sprint("account ", n), addr(1), false, t0)
	}
	for i := range 200 {
		fail(g, "ada", addr(300+i), false, t0)
	}
	for range 20 {
		for _, a := range []attempt{{account: "eve", addr: addr(1), device: "laptop"}, {account: "ada", addr: addr(200)}, {account: "ada", addr: addr(201), known: true}} {
			got, wait := g.take(a, t0)
			if wait > 0 {
				t.Fatalf("%+v waits %v", a, wait)
			}
			g.giveBack(got, t0)
		}
	}
	if fail(g, "bob", addr(1), false, t0) {
		t.Error("successes at an address gave it failures")
	}
	if n := g.account.tokens("ada", t0); n != 0 {
		t.Errorf("successes of an account gave it %v failures", n)
	}
}

// A device has failures of its own and no more; then it is judged like anybody.
func TestThrottleDevice(t *testing.T) {
	t.Parallel()
	g := newLoginThrottle()
	try := func(device string, from netip.Addr, now time.Time) (byDevice, ok bool) {
		got, wait := g.take(attempt{account: "ada", addr: from, device: device}, now)
		return got.device, wait == 0
	}
	for i := range 500 {
		fail(g, "ada", addr(i), false, t0)
	}
	failures(g, "ada", addr(1), false, t0)
	for i := range 10 {
		if byDevice, ok := try("phone", addr(1), t0); !byDevice || !ok {
			t.Fatalf("failure %d of a device under attack from its own address: %v, %v", i, byDevice, ok)
		}
	}
	if _, ok := try("phone", addr(1), t0); ok {
		t.Error("a device guesses without bound")
	}
	if byDevice, ok := try("phone", addr(900), t0); byDevice || !ok {
		t.Errorf("elsewhere it has what a stranger has: %v, %v", byDevice, ok)
	}
	if byDevice, ok := try("laptop", addr(1), t0); !byDevice || !ok {
		t.Error("another device suffers")
	}
	if byDevice, ok := try("phone", addr(1), t0.Add(time.Minute)); !byDevice || !ok {
		t.Error("a minute later it has no failure more")
	}
}

// Whoever has many addresses has the budget of their network, and each wider one
// has more than the narrower.
func TestThrottleNetworks(t *testing.T) {
	t.Parallel()
	v6 := func(site, net int) netip.Addr {
		return netip.MustParseAddr(fmt.Sprintf("2001:db8:%x:%x::1", site, net))
	}
	for name, c := range map[string]struct {
		at       func(i int) netip.Addr
		want     int
		neighbor netip.Addr // of the same network
		stranger netip.Addr // of the next wider one
	}{
		"IPv6 /64": {func(i int) netip.Addr { return netip.MustParseAddr(fmt.Sprintf("2001:db8:1:1::%x", i)) }, 60, v6(1, 1), v6(1, 2)},
		"IPv6 /48": {func(i int) netip.Addr { return v6(1, i) }, 180, v6(1, 0xffff), v6(2, 1)},
		"IPv6 /32": {func(i int) netip.Addr { return v6(i, i) }, 600, v6(0xffff, 1), netip.MustParseAddr("2001:db9::1")},
		"IPv4":     {func(int) netip.Addr { return addr(1) }, 60, addr(1), addr(2)},
		"IPv4 /24": {func(i int) netip.Addr { return addr(i % 250) }, 180, addr(255), addr(256)},
	} {
		g, n := newLoginThrottle(), 0
		for n < 5000 && fail(g, fmt.Sprint("account ", n), c.at(n), false, t0) {
			n++
		}
		if n != c.want {
			t.Errorf("%s: %d failures, want %d", name, n, c.want)
		}
		if fail(g, "ada", c.neighbor, false, t0) || fail(g, "ada", c.neighbor, true, t0) {
			t.Errorf("%s: %s is let through", name, c.neighbor)
		}
		if !fail(g, "ada", c.stranger, false, t0) {
			t.Errorf("%s: %s suffers", name, c.stranger)
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
		for i := range 10 {
			go func() {
				release, err := s.acquire(t.Context(), place{network: fmt.Sprint(i)})
				if err == nil {
					most.Store(max(most.Load(), inside.Add(1)))
					time.Sleep(time.Second)
					inside.Add(-1)
					release()
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
		if got := New(Config{HashesAtOnce: configured}).hashing.free; got != want {
			t.Errorf("%d gives %d, want %d", configured, got, want)
		}
	}
}

// hold takes a slot, which the test gives back.
func hold(t *testing.T, s *semaphore, p place) (release func()) {
	t.Helper()
	release, err := s.acquire(t.Context(), p)
	if err != nil {
		t.Fatalf("%+v: %v", p, err)
	}
	return release
}

// flood has so many come at once, each for a second, and again as soon as they are
// out or refused, until it is ended.
func flood(t *testing.T, s *semaphore, callers int, who func(caller int) place) (end func()) {
	ctx, cancel := context.WithCancel(t.Context())
	for i := range callers {
		go func() {
			for ctx.Err() == nil {
				release, err := s.acquire(ctx, who(i))
				time.Sleep(time.Second)
				if err == nil {
					release()
				}
			}
		}()
	}
	synctest.Wait()
	return func() {
		cancel()
		time.Sleep(time.Minute)
		synctest.Wait() // nor does the race detector know of another order
		if len(s.keys)+len(s.known)+len(s.strangers) != 0 {
			t.Errorf("afterwards: %+v", s)
		}
	}
}

func stranger(i int) place { return place{network: fmt.Sprint(i)} }

var ada = place{known: "ada"}

// However many strangers come, who is known is never refused, and is among the
// next two who go in.
func TestSemaphoreUnderAFlood(t *testing.T) {
	t.Parallel()
	for _, places := range []int{1, 2, 3} {
		synctest.Test(t, func(t *testing.T) {
			s := newSemaphore(places, 32, 5*time.Second)
			defer flood(t, s, 100, stranger)()
			for i := range 10 {
				start := time.Now()
				release := hold(t, s, ada)
				if waited := time.Since(start); waited > 2*time.Second {
					t.Errorf("with %d places, ada waited %v the %dth time", places, waited, i)
				}
				release()
			}
		})
	}
}

// Nor do strangers wait for ever behind those who are known.
func TestSemaphoreStrangersHaveTheirTurn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSemaphore(1, 32, 5*time.Second)
		defer flood(t, s, 30, func(i int) place { return place{known: fmt.Sprint(i)} })()
		for range 10 {
			start := time.Now()
			release := hold(t, s, place{})
			if waited := time.Since(start); waited > 2*time.Second {
				t.Errorf("a stranger waited %v", waited)
			}
			release()
		}
	})
}

// Who is known has one place at a time, so that nobody can fill the line in which
// the others of them wait.
func TestSemaphoreOnePlaceForEachKnown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSemaphore(2, 3, 5*time.Second)
		defer flood(t, s, 50, func(i int) place { return place{"eve", fmt.Sprint(i)} })()
		if len(s.known) != 0 || len(s.strangers) != 3 {
			t.Errorf("of one %d wait among those known and %d among strangers", len(s.known), len(s.strangers))
		}
		hold(t, s, ada)()
	})
}

// Who has a whole network waits for it, and others find room.
func TestSemaphoreSharesTheLine(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSemaphore(2, 32, 20*time.Second)
		defer flood(t, s, 100, func(int) place { return place{network: "theirs"} })()
		if n := s.strangers.from("theirs"); n != 16 {
			t.Errorf("of one network %d wait, want 16", n)
		}
		for i := range 5 {
			hold(t, s, stranger(i))()
		}
	})
}

// Strangers wait as one of the widest network that they are in.
func TestPlaces(t *testing.T) {
	t.Parallel()
	v6, v4 := netip.MustParseAddr("2001:db8:1:2::3"), addr(1)
	for _, c := range []struct {
		attempt
		device bool
		want   place
	}{
		{attempt{account: "ada", addr: v6}, false, place{"", "2001:db8::/32"}},
		{attempt{account: "ada", addr: v4}, false, place{"", "198.18.0.0/24"}},
		{attempt{account: "ada", addr: v6, known: true}, false, place{"address 2001:db8:1:2::/64", "2001:db8::/32"}},
		{attempt{account: "ada", addr: v4, known: true, device: "phone"}, true, place{"account ada", "198.18.0.0/24"}},
		{attempt{account: "ada", addr: v4, device: "phone"}, false, place{"", "198.18.0.0/24"}}, // which has used its failures up
	} {
		if got := c.place(taken{device: c.device}); got != c.want {
			t.Errorf("%+v waits as %+v, want %+v", c.attempt, got, c.want)
		}
	}
}

func TestSemaphorePatience(t *testing.T) {
	t.Parallel()
	for _, p := range []place{{}, ada} {
		synctest.Test(t, func(t *testing.T) {
			s := newSemaphore(1, 3, 5*time.Second)
			release := hold(t, s, place{})
			start := time.Now()
			var e *Error
			if _, err := s.acquire(t.Context(), p); !errors.As(err, &e) || !errors.Is(err, ErrBusy) || e.Wait <= 0 || time.Since(start) != 5*time.Second {
				t.Errorf("after %v: %v", time.Since(start), err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if _, err := s.acquire(ctx, p); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("a caller who leaves: %v", err)
			}
			if n := len(s.known) + len(s.strangers) + len(s.keys); n != 0 {
				t.Errorf("%d still counted as waiting", n)
			}
			release()
			hold(t, s, p)()
		})
	}
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
		if _, _, err := s.SignIn(ctx, "ada@example.com", "some password", Browser{Addr: addr(1)}); !errors.Is(err, context.Canceled) {
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
	secret, _, err := s.SignIn(t.Context(), "ada@example.com", "some password", Browser{Addr: addr(1)})
	if err != nil {
		t.Fatal(err)
	}
	u, err := db.User("u")
	if err != nil || !strings.HasPrefix(u.Password, "$argon2id$v=19$m=32768,t=2,p=1$") {
		t.Errorf("the stored hash is still %q (%v)", u.Password, err)
	}
	if _, _, err := s.SignIn(t.Context(), "ada@example.com", "some password", Browser{Addr: addr(1)}); err != nil {
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
			if _, _, err := s.SignIn(t.Context(), "ada@example.com", "some password", Browser{Addr: addr(1)}); err != nil {
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
