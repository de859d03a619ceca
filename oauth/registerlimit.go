package oauth

import (
	"net/netip"
	"time"

	"podgate/internal/ratelimit"
)

// registrationLimit bounds how often clients register. What they leave is bounded
// by the store, where a flood pushes out the flood before it; so the total spares
// the disk alone, at 25 a second, far above what people's clients do. The networks
// keep a flood from reaching it.
type registrationLimit struct {
	networks []*ratelimit.Limiter // by ratelimit.Networks
	total    *ratelimit.Limiter
}

func newRegistrationLimit() registrationLimit {
	each := func(burst int, every time.Duration) *ratelimit.Limiter {
		return ratelimit.New(burst, every, 1_000_000, time.Microsecond)
	}
	return registrationLimit{
		networks: []*ratelimit.Limiter{each(20, 30*time.Second), each(100, 5*time.Second), each(300, 2*time.Second)},
		total:    ratelimit.New(1000, 40*time.Millisecond, 1000, 40*time.Millisecond),
	}
}

// allow takes one registration from the address, the networks around it and the
// total, in this order: who is refused by their own address costs no neighbour
// anything. When there is none left it returns false and how long until there is.
func (l registrationLimit) allow(addr netip.Addr, now time.Time) (wait time.Duration, ok bool) {
	for i, network := range ratelimit.Networks(addr) {
		if wait, ok := l.networks[i].Allow(network, now); !ok {
			return wait, false
		}
	}
	return l.total.Allow("", now)
}
