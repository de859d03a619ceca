package oauth

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"podgate/internal/text"
	"podgate/store"
)

// limitedEndpoints are the requests of this package that an address can make
// only so often, with how often at once. What is counted is one request of
// each, number i.
func limitedEndpoints(f *fixture) map[string]struct {
	burst int
	ask   func(i int) *http.Request
} {
	client := f.register()
	form := func(path, body string) *http.Request {
		r := httptest.NewRequest("POST", path, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", testIssuer)
		return r
	}
	return map[string]struct {
		burst int
		ask   func(i int) *http.Request
	}{
		"registration": {20, func(i int) *http.Request {
			return httptest.NewRequest("POST", "/register", strings.NewReader(fmt.Sprintf(`{"redirect_uris":["https://app.example/%d"]}`, i)))
		}},
		"authorization": {120, func(int) *http.Request {
			return httptest.NewRequest("GET", "/oauth/authorize?"+request(client).Encode(), nil)
		}},
		"decision": {120, func(int) *http.Request {
			return form("/oauth/authorize", approval("unknown", "red").Encode())
		}},
		"token": {60, func(i int) *http.Request {
			return form("/api/oauth/token", exchange(client, fmt.Sprint("guess ", i)).Encode())
		}},
		"revocation": {60, func(i int) *http.Request {
			return form("/api/oauth/revoke", values("client_id=unknown", "token=x").Encode())
		}},
		"document": {20, func(i int) *http.Request {
			r := httptest.NewRequest("GET", "/oauth/authorize?"+asApp(fmt.Sprintf("client_id=https://app.example.com/%d", i)).Encode(), nil)
			r.Header.Set("Cookie", "session=alice")
			return r
		}},
	}
}

// Every limit goes by the address and by nothing that the peer may choose:
// neither headers that only a proxy could vouch for, nor the User-Agent, nor
// another address of the same /64. The wait that is promised is enough.
func TestLimitsGoByAddress(t *testing.T) {
	t.Parallel()
	for name := range limitedEndpoints(newFixture(t)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, trusting("10.0.0.0/8"))
			e := limitedEndpoints(f)[name]
			count := 0
			send := func(addr, forwarded string) (limited bool, wait time.Duration) {
				count++
				r := e.ask(count)
				r.RemoteAddr = addr
				r.Header.Set("X-Forwarded-For", forwarded)
				r.Header.Set("User-Agent", fmt.Sprint("agent ", count))
				w := httptest.NewRecorder()
				f.handler.ServeHTTP(w, r)
				seconds, err := strconv.Atoi(w.Header().Get("Retry-After"))
				if limited = w.Code == http.StatusTooManyRequests; limited && (err != nil || seconds < 1 || seconds > 120) {
					t.Errorf("Retry-After %q", w.Header().Get("Retry-After"))
				}
				return limited, time.Duration(seconds) * time.Second
			}
			use := func(addr, forwarded string) (wait time.Duration) {
				for i := range 1000 {
					limited, wait := send(strings.ReplaceAll(addr, "*", fmt.Sprintf("%x", i+1)), strings.ReplaceAll(forwarded, "*", fmt.Sprint(i%250)))
					if limited {
						if i != e.burst {
							t.Errorf("%s, %s: limited after %d, want %d", addr, forwarded, i, e.burst)
						}
						return wait
					}
				}
				t.Fatalf("%s, %s: never limited", addr, forwarded)
				return 0
			}
			use("192.0.2.1:1", "198.51.100.*")
			f.clock.advance(time.Hour) // the totals recover
			use("[2001:db8:1:2::*]:1", "")
			f.clock.advance(time.Hour)
			use("10.0.0.1:1", "198.51.100.*, 203.0.113.7")               // what stands left of the client is the client's own word
			wait := use("10.0.0.1:1", "203.0.113.8, 10.9.9.9, 10.1.1.1") // through several proxies
			for _, other := range [][2]string{{"192.0.2.2:1", "192.0.2.1"}, {"[2001:db8:1:3::1]:1", ""}, {"10.0.0.1:1", "203.0.113.9"}} {
				if limited, _ := send(other[0], other[1]); limited {
					t.Errorf("%v pays for others", other)
				}
			}
			f.clock.advance(wait)
			if limited, _ := send("10.0.0.1:1", "203.0.113.8"); limited {
				t.Errorf("after the promised %v", wait)
			}
		})
	}
}

// A flood from everywhere ends at the total of each limit that writes or asks
// somebody.
func TestLimitsInAll(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	now := f.now()
	everywhere := func(number string) netip.Addr { // each in a network of its own
		n, err := strconv.Atoi(number)
		f.must(err)
		return netip.AddrFrom16([16]byte{0x20, 1, byte(n >> 8), byte(n)})
	}
	for name, c := range map[string]struct {
		allow func(string) bool
		total int
	}{
		"registration": {func(a string) bool { _, ok := f.limits.register.allow(everywhere(a), now); return ok }, 1000},
		"visits":       {func(a string) bool { _, ok := f.limits.visit.Allow(a, now); return ok }, 5000},
		"consent":      {func(a string) bool { _, ok := f.limits.authorize.Allow(a, now); return ok }, 300},
		"failures":     {func(a string) bool { _, ok := f.limits.fail.Allow(a, now); return ok }, 600},
		"documents":    {func(a string) bool { _, ok := f.documents.limit.Allow(a, now); return ok }, 60},
	} {
		allowed := 0
		for i := range 30_000 {
			if c.allow(fmt.Sprint(i)) {
				allowed++
			}
		}
		if allowed != c.total {
			t.Errorf("%s: %d allowed, want %d", name, allowed, c.total)
		}
	}
}

// What registrations without pause can leave on disk is bounded: so many of the
// largest record there is. And the limits let so few through that the newest of
// them live long enough for somebody to sign in.
func TestRegistrationsFitOnDisk(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	uris := make([]string, maxRedirectURIs)
	for i := range uris {
		uris[i] = fmt.Sprintf("https://app.example/%d%s", i, strings.Repeat("x", maxRedirectURI-21))
	}
	body := fmt.Sprintf(`{"client_name":"%s","redirect_uris":["%s"]}`, strings.Repeat("𐍈", 10_000), strings.Join(uris, `","`))
	if a := f.send("POST", "/register", body); a.status != http.StatusBadRequest || !strings.Contains(a.body, "2048 characters together") {
		t.Errorf("%d %s", a.status, a.body)
	}
	large := registration{name: text.Line(strings.Repeat("𐍈", 1000), maxNameStored), scopes: knownScopes("")}
	for _, uri := range uris {
		if size := uriSize(append(slices.Clone(large.redirectURIs), uri)); size <= maxRedirectURISize {
			large.redirectURIs = append(large.redirectURIs, uri)
		}
	}
	c, err := f.Server.register(large, "192.0.2.1", f.now())
	f.must(err)
	raw, err := json.Marshal(c)
	f.must(err)
	if total := store.MaxUnusedClients * len(raw); total > 64<<20 {
		t.Errorf("%d clients of %d bytes: %d MiB", store.MaxUnusedClients, len(raw), total>>20)
	}
	allowed, limit := 0, newLimits().register
	for ms := 0; ms < 5*60*1000; ms += 10 {
		addr := netip.AddrFrom16([16]byte{0x20, 1, byte(ms >> 16), byte(ms >> 8), byte(ms)})
		if _, ok := limit.allow(addr, f.now().Add(time.Duration(ms)*time.Millisecond)); ok {
			allowed++
		}
	}
	if allowed > store.MaxUnusedClients || allowed < 1000 {
		t.Errorf("%d registrations in five minutes", allowed)
	}
}

// Programs that register twice do so at the same time, too.
func TestRegistrationsAtOnceShareAClient(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	ids := make([]string, 16)
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range ids {
		wg.Go(func() {
			<-start
			var answer struct {
				ID store.ClientID `json:"client_id"`
			}
			if err := json.Unmarshal([]byte(f.registerFrom("192.0.2.1:1", "", 1).body), &answer); err != nil {
				t.Error(err)
			}
			ids[i] = string(answer.ID)
		})
	}
	close(start)
	wg.Wait()
	slices.Sort(ids)
	if ids = slices.Compact(ids); len(ids) != 1 || ids[0] == "" {
		t.Errorf("%d clients: %q", len(ids), ids)
	}
}
