package account

import (
	"fmt"
	"net/netip"
	"sync"
	"time"

	"podgate/internal/ratelimit"
	"podgate/store"
)

// maxAddresses bounds how many addresses are remembered.
const maxAddresses = 10_000

// signInAddresses remembers from where people signed in, whoever they were. It
// does not say who: what depends on an address must be the same for an account
// that is used there and for one that does not exist.
type signInAddresses struct {
	mu     sync.Mutex
	last   map[string]time.Time // by ratelimit.AddrKey
	loaded bool
}

// has reports whether somebody signed in from the address during the last
// SessionTTL. The first call reads the sessions that there are.
func (a *signInAddresses) has(db *store.DB, addr netip.Addr, now time.Time) (bool, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.loaded {
		if err := a.load(db); err != nil {
			return false, fmt.Errorf("look for the addresses of sessions: %w", err)
		}
	}
	at, ok := a.last[ratelimit.AddrKey(addr)]
	return ok && now.Sub(at) < store.SessionTTL, nil
}

func (a *signInAddresses) load(db *store.DB) error {
	list, err := db.AllSessions()
	if err != nil {
		return err
	}
	for _, s := range list {
		if addr, err := netip.ParseAddr(s.Addr); err == nil {
			a.noteLocked(addr, s.LastUsed)
		}
	}
	a.loaded = true
	return nil
}

// note remembers a sign-in.
func (a *signInAddresses) note(addr netip.Addr, at time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.noteLocked(addr, at)
}

// noteLocked makes room by forgetting the oldest, which takes that many
// addresses at which somebody has the right password.
func (a *signInAddresses) noteLocked(addr netip.Addr, at time.Time) {
	key := ratelimit.AddrKey(addr)
	if !addr.IsValid() {
		return
	}
	if had, ok := a.last[key]; ok {
		if at.After(had) {
			a.last[key] = at
		}
		return
	}
	if len(a.last) >= maxAddresses {
		oldest := key
		for k, t := range a.last {
			if oldest == key || t.Before(a.last[oldest]) {
				oldest = k
			}
		}
		delete(a.last, oldest)
	}
	a.last[key] = at
}
