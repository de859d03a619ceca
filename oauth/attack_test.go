package oauth

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"podgate/store"
	"podgate/store/storetest"
)

// Fifty programs redeem one code at once: one of them gets a token, and since
// the others prove that the code leaked, the token dies (RFC 6749 section
// 4.1.2).
func TestCodeRedeemedInParallel(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	client := f.register()
	code := f.code(client, "alice", "red")
	answers := make([]answer, 50)
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range answers {
		wg.Go(func() {
			<-start
			answers[i] = f.post("/api/oauth/token", exchange(client, code))
		})
	}
	close(start)
	wg.Wait()
	var token string
	for _, a := range answers {
		switch {
		case a.status == http.StatusOK && token == "":
			token = tokenPattern.FindString(a.body)
		case a.status == http.StatusOK:
			t.Error("the code was redeemed twice")
		case !strings.Contains(a.body, `"invalid_grant"`):
			t.Errorf("a loser got %d %s", a.status, a.body)
		}
	}
	if token == "" {
		t.Fatal("nobody redeemed the code")
	}
	if a := f.call(token); a.status != http.StatusUnauthorized {
		t.Errorf("the token of a code that leaked still works: %d", a.status)
	}
	if list, err := f.db.Grants("alice", f.now()); err != nil || len(list) != 0 {
		t.Errorf("connections left: %v, %v", list, err)
	}
}

// Many people redeem their own codes at once, sharing commits, and nobody gets
// what belongs to somebody else.
func TestCodesRedeemedSideBySide(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	client := f.register()
	var wg sync.WaitGroup
	for i := range 20 {
		user, team := "alice", "red"
		if i%2 == 1 {
			user, team = "bob", "blue"
		}
		code := f.code(client, user, team)
		wg.Go(func() {
			a := f.post("/api/oauth/token", exchange(client, code))
			got := f.call(tokenPattern.FindString(a.body))
			if want := "user " + user + " team " + team; !strings.HasPrefix(got.body, want) {
				t.Errorf("%s got %d %s", user, got.status, got.body)
			}
		})
	}
	wg.Wait()
}

// Whatever takes a person's rights away takes the tokens along, at once.
func TestTokensDieWithRights(t *testing.T) {
	t.Parallel()
	for name, take := range map[string]func(*fixture) error{
		"removed from the team": func(f *fixture) error { _, err := f.db.RemoveMember("red", "alice"); return err },
		"user deleted":          func(f *fixture) error { return f.db.DeleteUser("alice") },
		"log out everywhere":    func(f *fixture) error { _, _, err := f.db.EndEverything("alice"); return err },
		"connection revoked": func(f *fixture) error {
			list, err := f.db.Grants("alice", f.now())
			f.must(err)
			return f.db.RevokeGrant(list[0].ID, "alice")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			client := f.register()
			token, refresh := f.connectBoth(client, "alice", "red")
			if a := f.call(token); a.status != http.StatusOK {
				t.Fatalf("before: %d", a.status)
			}
			f.must(take(f))
			reached := f.reached.get()
			if a := f.refresh(client, refresh); a.status != http.StatusBadRequest || !strings.Contains(a.body, `"invalid_grant"`) {
				t.Errorf("refreshed after: %d %s", a.status, a.body)
			}
			if a := f.call(token); a.status != http.StatusUnauthorized || !strings.Contains(a.header.Get("WWW-Authenticate"), "invalid_token") || f.reached.get() != reached {
				t.Errorf("after: %d %s", a.status, a.body)
			}
		})
	}
}

// Membership is checked when the form comes back and again when the code does.
func TestMemberRemovedBetweenSteps(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	client := f.register()
	handle := f.handle(f.authorize(request(client), "bob"))
	kept := f.code(client, "bob", "blue")
	_, err := f.db.RemoveMember("blue", "bob")
	f.must(err)
	a := f.decide(approval(handle, "blue"), "bob")
	if a.status != http.StatusOK || !strings.Contains(a.body, "fault: You are not a member of that team.") {
		t.Errorf("approved for a team that was left: %d %s", a.status, a.body)
	}
	if a := f.post("/api/oauth/token", exchange(client, kept)); a.status != http.StatusBadRequest || !strings.Contains(a.body, "invalid_grant") {
		t.Errorf("redeemed for a team that was left: %d %s", a.status, a.body)
	}
}

// The consent page is bound to the session, so it dies with it; «log out
// everywhere» also ends codes that are on their way.
func TestSessionEndedBetweenSteps(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	client := f.register()
	handle := f.handle(f.authorize(request(client), "alice"))
	code := f.code(client, "alice", "red")
	_, _, err := f.db.EndEverything("alice")
	f.must(err)
	if a := f.decide(approval(handle, "red"), "alice"); a.status != http.StatusBadRequest {
		t.Errorf("approved without a session: %d %s", a.status, a.body)
	}
	if a := f.post("/api/oauth/token", exchange(client, code)); !strings.Contains(a.body, "invalid_grant") {
		t.Errorf("redeemed after «log out everywhere»: %d %s", a.status, a.body)
	}
}

// A second browser of the same person is another browser: what was shown in
// one cannot be finished in the other.
func TestConsentIsBoundToTheBrowser(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	now := f.now()
	f.must(f.db.CreateSession(store.Session{Hash: store.HashSecret("laptop"), User: "alice", Created: now, LastUsed: now, Expires: now.Add(store.SessionTTL)}))
	handle := f.handle(f.authorize(request(f.register()), "alice"))
	for _, v := range []url.Values{approval(handle, "red"), values("request="+handle, "decision=deny")} {
		if a := f.decide(v, "laptop"); a.status != http.StatusBadRequest || a.header.Get("Location") != "" {
			t.Errorf("decided in another browser: %d %v", a.status, a.header)
		}
	}
	if a := f.decide(approval(handle, "red"), "alice"); a.status != http.StatusSeeOther {
		t.Errorf("the right browser was locked out: %d %s", a.status, a.body)
	}
}

// Two clicks on Approve at once give one code.
func TestApprovedTwiceAtOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	handle := f.handle(f.authorize(request(f.register()), "alice"))
	var wg sync.WaitGroup
	count := &counter{}
	for range 20 {
		wg.Go(func() {
			if a := f.decide(approval(handle, "red"), "alice"); a.status == http.StatusSeeOther {
				count.add()
			}
		})
	}
	wg.Wait()
	if count.get() != 1 {
		t.Errorf("%d codes were given out", count.get())
	}
}

// Only the two words decide, however the form was bent.
func TestDecisionNeedsItsWord(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	handle := f.handle(f.authorize(request(f.register()), "alice"))
	for _, word := range []string{"", "perhaps", "Approve", "approve ", "deny\x00"} {
		if a := f.decide(with(approval(handle, "red"), "decision="+word), "alice"); a.status != http.StatusBadRequest {
			t.Errorf("%q: %d %v", word, a.status, a.header)
		}
	}
	many := approval(handle, "red")
	for range 100 {
		many.Add("scope", "pods:read")
	}
	if a := f.decide(many, "alice"); a.status != http.StatusBadRequest {
		t.Errorf("a hundred scopes: %d", a.status)
	}
	if a := f.decide(approval(handle, "red"), "alice"); a.status != http.StatusSeeOther {
		t.Errorf("the bent forms spent the request: %d %s", a.status, a.body)
	}
}

// What a client says about itself is cut and cleaned on the page, also when a
// record from elsewhere was not.
func TestConsentShowsAShortName(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	c := store.Client{
		ID: "loud", Name: "\u202e" + strings.Repeat("Official ", 20), RedirectURIs: []string{testRedirect}, Created: f.now(), Expires: f.now().Add(time.Hour),
	}
	f.must(f.db.CreateClient(c))
	f.handle(f.authorize(request(c.ID), "alice"))
	if got, want := f.pages.last.ClientName, strings.TrimSpace(strings.Repeat("Official ", 7)[:59])+"…"; got != want {
		t.Errorf("shown as %q, want %q", got, want)
	}
	f.connect(c.ID, "alice", "red")
	if list, err := f.db.Grants("alice", f.now()); err != nil || len([]rune(list[0].ClientName)) > maxNameShown {
		t.Errorf("kept as %+v, %v", list, err)
	}
}

// Consent is asked every time, also from a client that has a connection.
func TestConsentIsNeverSkipped(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	client := f.register()
	f.connect(client, "alice", "red")
	for _, prompt := range []string{"prompt=none", "prompt=consent", "approval_prompt=auto"} {
		if a := f.authorize(with(request(client), prompt), "alice"); a.status != http.StatusOK || !strings.HasPrefix(a.body, "CONSENT") {
			t.Errorf("%s: %d %s", prompt, a.status, a.body)
		}
	}
}

// A token for another resource is refused, and so is one for a resource that
// only begins like ours, as after a change of the public URL.
func TestTokenForAnotherResource(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	token := f.connect(f.register(), "alice", "red")
	for _, resource := range []string{"https://pods.example.com", "https://pods.example.com/api/mcp-evil", "https://pods.example.com/api/mcp/", "https://PODS.example.com/api/mcp", "https://old.example.com/api/mcp", ""} {
		g := f.grantFor(resource)
		if a := f.call(g); a.status != http.StatusUnauthorized {
			t.Errorf("a token for %q opens %s: %d", resource, f.resource, a.status)
		}
	}
	if a := f.call(token); a.status != http.StatusOK {
		t.Errorf("our own token: %d", a.status)
	}
}

// grantFor makes a connection for any resource, straight in the store.
func (f *fixture) grantFor(resource string) string {
	f.Helper()
	handle, code, id := newSecret(), newSecret(), store.GrantID(store.NewID())
	token := newAccessToken(id)
	now, client := f.now(), f.register()
	f.must(f.db.CreateAuthRequest(store.AuthRequest{
		Handle: store.HashSecret(handle), Session: store.HashSecret("alice"), Client: client, RedirectURI: testRedirect, Challenge: testChallenge,
		Scopes: knownScopes(""), Resource: resource, Created: now, Expires: now.Add(requestTTL),
	}))
	_, err := f.db.Approve(store.Approval{
		Handle: store.HashSecret(handle), Session: store.HashSecret("alice"), Team: "red", Scopes: knownScopes(""), Code: store.HashSecret(code), Expires: now.Add(time.Minute),
	}, now)
	f.must(err)
	_, err = f.db.RedeemCode(store.Redemption{
		Code: store.HashSecret(code), Client: client, RedirectURI: testRedirect, Challenge: testChallenge, Grant: id,
		Access: store.HashSecret(token), Expires: now.Add(time.Hour),
	}, now)
	f.must(err)
	return token
}

// Nothing that we say about ourselves comes from the request.
func TestLinksDoNotFollowTheHost(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	client := f.register()
	headers := []string{"Host: evil.example", "X-Forwarded-Host: evil.example", "X-Forwarded-Proto: http", "Forwarded: host=evil.example", "X-Original-URL: /evil.example"}
	for _, target := range []string{
		"/.well-known/oauth-protected-resource", "/.well-known/oauth-authorization-server/api/mcp",
		"/oauth/authorize?" + with(request(client), "code_challenge_method").Encode(),
	} {
		a := f.send("GET", target, "", headers...)
		if all := fmt.Sprint(a); strings.Contains(all, "evil.example") || strings.Contains(all, "wrong.example") || strings.Contains(a.body, "http://pods") {
			t.Errorf("%s follows the request: %s", target, all)
		}
	}
	a := f.send("POST", "/api/mcp", "", headers...)
	if strings.Contains(fmt.Sprint(a), "evil.example") || strings.Contains(fmt.Sprint(a), "wrong.example") {
		t.Errorf("the challenge follows the request: %v", a)
	}
}

// A body is never read before the token is known to be good.
func TestBearerReadsNothing(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, authorization := range []string{"", "Bearer x", "Bearer pgat_" + testChallenge, "Bearer " + strings.Repeat("x", 1<<20)} {
		body := &readCounter{}
		r := httptest.NewRequest("POST", "/api/mcp", body)
		r.Header.Set("Authorization", authorization)
		w := httptest.NewRecorder()
		f.handler.ServeHTTP(w, r)
		if w.Code != http.StatusUnauthorized || body.reads.get() != 0 || f.reached.get() != 0 {
			t.Errorf("%.20q: status %d, %d reads", authorization, w.Code, body.reads.get())
		}
	}
}

type readCounter struct{ reads counter }

func (r *readCounter) Read([]byte) (int, error) { r.reads.add(); return 0, io.EOF }

// The bearer check answers a broken store with 500, not with «sign in again»;
// what cannot be a token is refused without asking the store.
func TestBearerWithoutStore(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	broken := storetest.Open(t, t.TempDir()+"/podgate.db")
	f.must(broken.Close())
	f.db = broken
	for _, token := range []string{"x", testChallenge, accessPrefix + testChallenge + "x", accessPrefix + testChallenge[1:] + "!", accessPrefix + strings.Repeat("A", grantLen) + testChallenge, strings.Repeat("x", 1<<16)} {
		if a := f.call(token); a.status != http.StatusUnauthorized {
			t.Errorf("%.20q is looked up: %d", token, a.status)
		}
	}
	for _, token := range []string{accessPrefix + testChallenge, accessPrefix + strings.Repeat("a", grantLen) + testChallenge} {
		a := f.call(token)
		if a.status != http.StatusInternalServerError || a.header.Get("WWW-Authenticate") != "" || strings.Contains(a.body, "database") {
			t.Errorf("%d %v %s", a.status, a.header, a.body)
		}
	}
}

func TestInsufficientScope(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	w := httptest.NewRecorder()
	f.InsufficientScope(w, httptest.NewRequest("POST", "/api/mcp", nil), []store.Scope{"pods:read", "pods:exec"})
	want := `Bearer error="insufficient_scope", error_description="This needs the scope pods:read pods:exec. Connect again and allow it.", ` +
		`scope="pods:read pods:exec", resource_metadata="https://pods.example.com/.well-known/oauth-protected-resource/api/mcp"`
	if w.Code != http.StatusForbidden || w.Header().Get("WWW-Authenticate") != want || !strings.Contains(w.Body.String(), `"insufficient_scope"`) {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
}

// The use of a token shows on the person's connections.
func TestBearerNotesUse(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	token := f.connect(f.register(), "alice", "red")
	f.clock.advance(time.Hour)
	f.call(token)
	list, err := f.db.Grants("alice", f.now())
	if err != nil || len(list) != 1 || !list[0].LastUsed.Equal(f.now()) || list[0].RedirectHost != "localhost" || list[0].ClientName != "Test Assistant" {
		t.Errorf("%+v, %v", list, err)
	}
}

// A whole life of a connection at debug level leaves none of its secrets in
// the log, whatever goes wrong on the way.
func TestLogHoldsNoSecrets(t *testing.T) {
	t.Parallel()
	var log syncBuffer
	f := newFixture(t, func(c *Config) {
		c.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug, AddSource: true}))
	})
	client := f.register()
	q := with(request(client), "state=the-state-of-the-client")
	handle := f.handle(f.authorize(q, "alice"))
	code := f.location(f.decide(approval(handle, "red"), "alice")).Get("code")
	wrong := strings.Repeat("w", 43)
	f.post("/api/oauth/token", with(exchange(client, code), "code_verifier="+wrong))
	f.post("/api/oauth/token", with(exchange(client, code), "client_secret=a-secret-of-the-client"))
	f.send("POST", "/api/oauth/token?code="+code, "code="+code+"&%zz", "Content-Type: application/x-www-form-urlencoded", "Authorization: Basic YTphLXNlY3JldC1pbi1iYXNpYw==")
	token, refresh := f.tokens(f.post("/api/oauth/token", exchange(client, code)))
	f.call(token)
	renewed, next := f.tokens(f.refresh(client, refresh))
	f.call(renewed)
	f.refresh(client, next, "scope=pods:write")
	f.refresh(client, next)
	f.refresh(client, refresh)
	f.post("/api/oauth/token", exchange(client, code))
	f.call(token)
	f.post("/api/oauth/revoke", values("client_id="+string(client), "token="+token))
	f.decide(approval(handle, "red"), "alice")
	f.db = nil // every look-up panics from here on
	f.post("/api/oauth/token", exchange(client, code))
	f.refresh(client, next)
	f.post("/api/oauth/revoke", values("client_id="+string(client), "token="+token))
	f.post("/api/oauth/revoke", values("client_id="+string(client), "token="+next))
	text := log.String()
	if code == "" || token == "" || !strings.Contains(text, "connection made") || strings.Count(text, "used twice") != 2 || !strings.Contains(text, "connection refreshed") || !strings.Contains(text, "panic") {
		t.Fatalf("the flow is not in the log:\n%s", text)
	}
	for name, secret := range map[string]string{
		"handle": handle, "code": code, "token": token, "refresh token": refresh, "family": refresh[len(refreshPrefix)+grantLen:][:familyLen],
		"access token of a refresh": renewed, "next refresh token": next, "verifier": testVerifier, "wrong verifier": wrong, "state": "the-state-of-the-client",
		"client secret": "a-secret-of-the-client", "Basic": "YTphLXNlY3JldC1pbi1iYXNpYw==", "Basic in clear": "a-secret-in-basic", "session": "session=",
		"hash of the code": store.HashSecret(code).String(), "hash of the token": store.HashSecret(token).String(), "challenge": testChallenge,
	} {
		if strings.Contains(text, secret) {
			t.Errorf("the log holds the %s", name)
		}
	}
}

type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string { b.mu.Lock(); defer b.mu.Unlock(); return b.buf.String() }

// What a page can make a browser send without going there is refused before
// anything is looked up: it pushes out no request that waits, uses up no visits
// and leaves nothing in the timeline.
func TestOnlyNavigationsAuthorize(t *testing.T) {
	t.Parallel()
	f := withHistory(t)
	client := f.register()
	handle := f.handle(f.authorize(request(client), "alice"))
	path := "/oauth/authorize?" + request(client).Encode()
	for _, headers := range [][]string{
		{"Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: image"}, {"Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty"}, {"Sec-Fetch-Mode: websocket"},
		{"Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe"}, {"Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: object"},
		{"Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document", "Sec-Purpose: prefetch"},
		{"Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document", "Sec-Purpose: prefetch;prerender"},
	} {
		for range 40 { // in all more than the visits that an address has, and than the requests that a session keeps
			a := f.send("GET", path, "", append(headers, "Cookie: session=alice")...)
			if a.status != http.StatusForbidden || strings.Contains(a.body, "CONSENT") || a.header.Get("Location") != "" {
				t.Fatalf("%q: %d %s", headers, a.status, a.body)
			}
		}
	}
	f.wantAttempts("user=alice: authorize consent")
	if a := f.decide(approval(handle, "red"), "alice"); a.status != http.StatusSeeOther {
		t.Errorf("the request that waited: %d %s", a.status, a.body)
	}
	for _, headers := range [][]string{nil, {"Sec-Fetch-Mode: navigate"}, {"Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document", "Sec-Fetch-Site: cross-site"}} {
		if a := f.send("GET", path, "", append(headers, "Cookie: session=alice")...); a.status != http.StatusOK {
			t.Errorf("%q: %d %s", headers, a.status, a.body)
		}
	}
}
