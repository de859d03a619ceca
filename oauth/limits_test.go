package oauth

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"podgate/store"
)

// from sends a registration from an address, perhaps through a proxy.
func (f *fixture) registerFrom(addr, forwarded string, n int) answer {
	f.Helper()
	body := fmt.Sprintf(`{"redirect_uris":["https://app.example/%d"]}`, n)
	r := httptest.NewRequest("POST", "/api/oauth/register", strings.NewReader(body))
	r.RemoteAddr = addr
	r.Header.Set("X-Forwarded-For", forwarded)
	w := httptest.NewRecorder()
	f.handler.ServeHTTP(w, r)
	return answer{w.Code, w.Header(), w.Body.String()}
}

// A flood of registrations from one address ends in 429 with Retry-After, and
// the wait that was promised is enough.
func TestRegistrationFlood(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	n := 0
	for ; n < 1000; n++ {
		// All in one /64, which belongs to one machine, with a header that only
		// a trusted proxy could have set.
		if a := f.registerFrom(fmt.Sprintf("[2001:db8::%x]:1", n+1), fmt.Sprintf("10.0.0.%d", n), n); a.status != http.StatusCreated {
			break
		}
	}
	a := f.registerFrom("[2001:db8::ffff]:1", "", n)
	wait, err := strconv.Atoi(a.header.Get("Retry-After"))
	if n != 20 || a.status != http.StatusTooManyRequests || err != nil || !strings.Contains(a.body, `"too_many_requests"`) || a.header.Get("Access-Control-Allow-Origin") != "*" {
		t.Fatalf("after %d: %d %v %s", n, a.status, a.header, a.body)
	}
	if a := f.registerFrom("[2001:db8:0:1::1]:1", "", n+1); a.status != http.StatusCreated {
		t.Errorf("a neighbour pays for it: %d", a.status)
	}
	f.clock.advance(time.Duration(wait) * time.Second)
	if a := f.registerFrom("[2001:db8::1]:1", "", n+2); a.status != http.StatusCreated {
		t.Errorf("after the promised wait: %d %s", a.status, a.body)
	}
}

// Behind a trusted proxy the limit is on the address that it names, so one
// client cannot use up everybody's.
func TestRegistrationBehindProxy(t *testing.T) {
	t.Parallel()
	f := newFixture(t, trusting("10.0.0.0/8"))
	n := 0
	for ; n < 1000 && f.registerFrom("10.0.0.1:1", "192.0.2.1", n).status == http.StatusCreated; n++ {
	}
	if a := f.registerFrom("10.0.0.1:1", "192.0.2.2", n); n != 20 || a.status != http.StatusCreated {
		t.Errorf("after %d: %d %s", n, a.status, a.body)
	}
}

// floodRegistrations has clients register from ever other addresses, as fast as the server lets
// them, for so long, and returns how many did.
func (f *fixture) floodRegistrations(long time.Duration, addr func(i int) string) int {
	f.Helper()
	var registered, next atomic.Int64
	for end := f.now().Add(long); f.now().Before(end); f.clock.advance(4 * time.Second) {
		var group sync.WaitGroup
		for range 8 { // which share commits
			group.Go(func() {
				for refused := 0; refused < 30; {
					n := int(next.Add(1))
					if f.registerFrom(addr(n), "", n).status == http.StatusCreated {
						registered.Add(1)
						continue
					}
					refused++
				}
			})
		}
		group.Wait()
	}
	return int(registered.Load())
}

// clients returns how many clients there are.
func (f *fixture) clients() int {
	f.Helper()
	counts, err := f.db.Counts()
	f.must(err)
	for _, c := range counts {
		if c.Kind == "clients" {
			return c.N
		}
	}
	f.Fatal("there is no count of clients")
	return 0
}

// Whoever has many addresses has what their network has, and others register as
// ever.
func TestRegistrationFloodFromANetwork(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		addr  func(i int) string
		most  int
		other string
	}{
		"IPv4 /24": {func(i int) string { return fmt.Sprintf("192.0.2.%d:1", i%250) }, 100, "192.0.3.1:1"},
		"IPv6 /48": {func(i int) string { return fmt.Sprintf("[2001:db8:1:%x::1]:1", i%0xffff) }, 100, "[2001:db8:2::1]:1"},
		"IPv6 /32": {func(i int) string { return fmt.Sprintf("[2001:db8:%x:1::1]:1", i%0xffff) }, 300, "[2001:db9::1]:1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			if n := f.floodRegistrations(time.Second, c.addr); n != c.most {
				t.Errorf("%d registered at once, want %d", n, c.most)
			}
			if a := f.registerFrom(c.other, "", 1_000_000); a.status != http.StatusCreated {
				t.Errorf("another network pays for it: %d %s", a.status, a.body)
			}
		})
	}
}

// A flood from everywhere pushes out what the flood left before. Who registered in
// the middle of it has time to sign in, and from then on to decide; and what
// somebody uses stays.
func TestRegistrationFloodFromEverywhere(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	everywhere := func(i int) string { return fmt.Sprintf("[2001:%x::1]:1", i%0xffff) }
	before := f.registerByWire()
	token := f.connect(before, "alice", "red")
	f.clock.advance(time.Hour)
	_, err := f.db.Sweep(t.Context(), f.now()) // the spent code
	f.must(err)
	n := f.floodRegistrations(time.Second, everywhere)
	f.clock.advance(time.Second) // which is what a refused one is told to wait
	client := f.registerByWire()
	if client == "" {
		t.Fatal("nobody else can register")
	}
	n += f.floodRegistrations(5*time.Minute, everywhere)
	handle := f.handle(f.authorize(request(client), "alice"))
	n += f.floodRegistrations(150*time.Second, everywhere)
	second := f.connectWith(client, f.location(f.decide(approval(handle, "red"), "alice")).Get("code"))
	n += f.floodRegistrations(20*time.Second, everywhere)
	for name, token := range map[string]string{"before": token, "during": second} {
		if a := f.call(token); a.status != http.StatusOK {
			t.Errorf("the connection from %s the flood: %d %s", name, a.status, a.body)
		}
	}
	for _, id := range []store.ClientID{before, client} {
		if _, err := f.db.Client(id); err != nil {
			t.Errorf("a client that is used: %v", err)
		}
	}
	if have := f.clients(); n < store.MaxUnusedClients+1000 || have > store.MaxUnusedClients+2+100 {
		t.Errorf("of %d registered %d are there", n, have)
	}
}

// connectWith redeems a code and returns the access token.
func (f *fixture) connectWith(client store.ClientID, code string) (access string) {
	f.Helper()
	access, _ = f.tokens(f.post("/api/oauth/token", exchange(client, code)))
	return access
}

// What a registration can leave on disk is bounded, however large its body is.
func TestRegistrationSize(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	long := strings.Repeat("a", maxRedirectURI)
	a := f.send("POST", "/register", `{"client_name":"`+strings.Repeat("n", 30_000)+`","redirect_uris":["https://app.example/cb","https://`+long+`/"],"scope":"`+strings.Repeat("s ", 5000)+`"}`)
	if a.status != http.StatusCreated || len(a.body) > 1000 {
		t.Errorf("%d, %d bytes: %.200s", a.status, len(a.body), a.body)
	}
	a = f.send("POST", "/register", `{"redirect_uris":["https://app.example/cb"],"x":"`+strings.Repeat("x", maxBody)+`"}`)
	if a.status != http.StatusRequestEntityTooLarge || !strings.Contains(a.body, `"invalid_request"`) {
		t.Errorf("64 KiB and more: %d %s", a.status, a.body)
	}
}

func TestBodiesAreBounded(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	big := values("client_id=x", "grant_type=authorization_code", "code="+strings.Repeat("x", maxBody))
	for _, path := range []string{"/api/oauth/token", "/api/oauth/revoke"} {
		if a := f.post(path, big); a.status != http.StatusRequestEntityTooLarge || !strings.Contains(a.body, `"invalid_request"`) {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
	if a := f.decide(big, "alice"); a.status != http.StatusRequestEntityTooLarge {
		t.Errorf("decision: %d", a.status)
	}
	q := with(request(f.register()), "state="+strings.Repeat("s", maxQuery))
	if a := f.authorize(q, "alice"); a.status != http.StatusRequestURITooLong {
		t.Errorf("authorization: %d %s", a.status, a.body)
	}
	if a := f.authorize(with(q, "state="+strings.Repeat("s", 4000)), "alice"); a.status != http.StatusOK {
		t.Errorf("a long state: %d %s", a.status, a.body)
	}
}

// Guessing codes is slowed down per address; a request that succeeds never is,
// and neither is a neighbour.
func TestTokenGuessing(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	client := f.register()
	for range 70 {
		if a := f.post("/api/oauth/token", exchange(client, f.code(client, "alice", "red"))); a.status != http.StatusOK {
			t.Fatalf("a success was limited: %d %s", a.status, a.body)
		}
		f.clock.advance(6 * time.Second) // consent pages have a limit of their own
	}
	n := 0
	var a answer
	for ; n < 1000; n++ {
		if a = f.post("/api/oauth/token", exchange(client, newSecret())); a.status != http.StatusBadRequest {
			break
		}
	}
	code := f.code(client, "alice", "red")
	if n != 60 || a.status != http.StatusTooManyRequests || a.header.Get("Retry-After") == "" {
		t.Errorf("after %d guesses: %d %s", n, a.status, a.body)
	}
	if a := f.post("/api/oauth/token", exchange(client, code)); a.status != http.StatusOK {
		t.Errorf("a good code from the same address: %d %s", a.status, a.body)
	}
	r := httptest.NewRequest("POST", "/api/oauth/token", strings.NewReader("grant_type=x"))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.RemoteAddr = "198.51.100.1:1"
	w := httptest.NewRecorder()
	f.handler.ServeHTTP(w, r)
	if w.Code != http.StatusBadRequest {
		t.Errorf("a neighbour: %d", w.Code)
	}
}

// One browser cannot make the store grow without end.
func TestAuthorizeFlood(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	q := request(f.register())
	n := 0
	var a answer
	for ; n < 1000; n++ {
		if a = f.authorize(q, "alice"); a.status != http.StatusOK {
			break
		}
	}
	if n != 30 || a.status != http.StatusTooManyRequests || a.header.Get("Retry-After") == "" {
		t.Errorf("after %d: %d %s", n, a.status, a.body)
	}
	if a := f.authorize(q, "bob"); a.status != http.StatusOK {
		t.Errorf("another person: %d", a.status)
	}
}

// A client that the sweeper took away is unknown in words that make programs
// register again. While a person decides about it, it stays.
func TestSweptClient(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	client := f.registerByWire()
	f.clock.advance(store.ClientUnusedTTL - time.Minute)
	handle := f.handle(f.authorize(request(client), "alice"))
	f.clock.advance(2 * time.Minute)
	_, err := f.db.Sweep(t.Context(), f.now())
	f.must(err)
	_, err = f.db.Client(client)
	f.must(err)
	f.clock.advance(2 * time.Hour)
	_, err = f.db.Sweep(t.Context(), f.now())
	f.must(err)
	if a := f.decide(approval(handle, "red"), "alice"); a.status != http.StatusBadRequest || !strings.Contains(a.body, "This request is over") {
		t.Errorf("decision: %d %s", a.status, a.body)
	}
	if a := f.authorize(request(client), "alice"); a.status != http.StatusBadRequest || !strings.Contains(a.body, "Unknown app") {
		t.Errorf("authorization: %d %s", a.status, a.body)
	}
	if a := f.post("/api/oauth/token", exchange(client, "x")); a.status != http.StatusUnauthorized || !strings.Contains(a.body, "invalid_client") {
		t.Errorf("token: %d %s", a.status, a.body)
	}
}

// registerByWire registers as a client does, so that the server says how long
// the client lives.
func (f *fixture) registerByWire() store.ClientID {
	f.Helper()
	a := f.send("POST", "/api/oauth/register", `{"redirect_uris":["`+testRedirect+`"]}`, "Content-Type: application/json")
	var client struct {
		ID store.ClientID `json:"client_id"`
	}
	f.must(json.Unmarshal([]byte(a.body), &client))
	return client.ID
}

// The shortcut for repeated registrations never hands out a client that is
// gone.
func TestRecentClientIsGone(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	reg := registration{name: "x", redirectURIs: []string{testRedirect}, scopes: knownScopes("")}
	f.recent.put(reg.key("192.0.2.1"), "gone", f.now())
	c, err := f.Server.register(reg, "192.0.2.1", f.now())
	if err != nil || c.ID == "" || c.ID == "gone" {
		t.Fatalf("%+v, %v", c, err)
	}
	if _, err := f.db.Client(c.ID); err != nil {
		t.Errorf("the client that was handed out does not exist: %v", err)
	}
	again, err := f.Server.register(reg, "192.0.2.1", f.now())
	if err != nil || again.ID != c.ID {
		t.Errorf("the second registration got %s, %v", again.ID, err)
	}
	other, err := f.Server.register(reg, "192.0.2.2", f.now())
	if err != nil || other.ID == c.ID {
		t.Errorf("another address shares the client: %v", err)
	}
}
