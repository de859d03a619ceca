package oauth

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
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

// A flood from everywhere stops at the total, so it cannot fill the disk.
func TestRegistrationFloodFromEverywhere(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	n := 0
	for ; n < 1000; n++ {
		if a := f.registerFrom(fmt.Sprintf("192.0.%d.%d:1", n/250, n%250), "", n); a.status != http.StatusCreated {
			break
		}
	}
	if n != 100 {
		t.Errorf("%d clients were registered at once", n)
	}
	f.clock.advance(24 * time.Hour)
	swept, err := f.db.Sweep(f.now())
	if err != nil || swept < n {
		t.Errorf("swept %d, %v", swept, err)
	}
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
	_, err := f.db.Sweep(f.now())
	f.must(err)
	_, err = f.db.Client(client)
	f.must(err)
	f.clock.advance(2 * time.Hour)
	_, err = f.db.Sweep(f.now())
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
