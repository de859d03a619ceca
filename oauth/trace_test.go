package oauth

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"podgate/history"
	"podgate/internal/authz"
	"podgate/store"
)

// withHistory is a fixture that keeps the timeline.
func withHistory(t testing.TB, change ...func(*Config)) *fixture {
	t.Helper()
	return newFixture(t, append(change, func(c *Config) { c.History = history.New(history.Config{DB: c.DB, Now: c.Now}) })...)
}

// attempts returns the attempts, newest first, as one line each.
func (f *fixture) attempts(q store.AttemptQuery) []string {
	f.Helper()
	q.Limit = 100
	page, err := f.history.Attempts(q)
	f.must(err)
	var list []string
	for _, s := range page.Attempts {
		line := fmt.Sprintf("user=%s:", s.User)
		for _, step := range s.Steps {
			line += " " + step.Kind
			if step.Fault != "" {
				line += "!" + step.Fault
			}
			if step.Count > 1 {
				line += fmt.Sprint("×", step.Count)
			}
		}
		list = append(list, line)
	}
	return list
}

func (f *fixture) wantAttempts(want ...string) {
	f.Helper()
	if got := f.attempts(store.AttemptQuery{}); !slices.Equal(got, want) {
		f.Errorf("the attempts are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// registerAs registers over the wire, as a program with that User-Agent.
func (f *fixture) registerAs(agent string, redirects ...string) store.ClientID {
	f.Helper()
	body, err := json.Marshal(map[string]any{"client_name": agent, "redirect_uris": redirects})
	f.must(err)
	a := f.send("POST", "/register", string(body), "Content-Type: application/json", "User-Agent: "+agent)
	var r registered
	f.must(json.Unmarshal([]byte(a.body), &r))
	return r.ClientID
}

// A whole connection, from the first call to the end, is one attempt with
// everything in order.
func TestTimelineOfAConnection(t *testing.T) {
	t.Parallel()
	f := withHistory(t)
	tick := func() { f.clock.advance(time.Second) }
	const agent, host = "User-Agent: node", "Host: pods.example.com"
	f.send("POST", "/api/mcp", "{}", agent, host)
	f.send("GET", "/.well-known/oauth-protected-resource/api/mcp", "", agent, host)
	f.send("GET", "/.well-known/oauth-authorization-server", "", agent, host)
	client := f.registerAs("node", testRedirect, "cursor://x")
	tick()
	q := request(client)
	f.send("GET", "/oauth/authorize?"+q.Encode(), "", "User-Agent: Firefox")
	tick()
	handle := f.handle(f.send("GET", "/oauth/authorize?"+q.Encode(), "", "User-Agent: Firefox", "Cookie: session=alice"))
	tick()
	code := f.location(f.decide(approval(handle, "red"), "alice", "Origin: "+testIssuer, "User-Agent: Firefox")).Get("code")
	tick()
	token := tokenPattern.FindString(f.post("/token", exchange(client, code), agent).body)
	tick()
	f.send("POST", "/api/mcp", "{}", "Authorization: Bearer "+token, agent)
	f.send("POST", "/api/mcp", "{}", "Authorization: Bearer "+token, agent)
	tick()
	f.post("/api/oauth/revoke", values("client_id="+string(client), "token="+token), agent)
	f.wantAttempts("user=alice: challenge discovery discovery register authorize×2 sign_in consent approve code call revoke")
	page, err := f.history.OwnAttempts("alice", "", "", 10)
	f.must(err)
	s := page.Attempts[0]
	if s.Host != "localhost" || s.ClientName != "node" || s.Client != client || s.Team != "red" || s.Grant == "" || s.Diagnosis.State != history.Ended {
		t.Errorf("%+v", s)
	}
	for i, want := range map[int]string{
		0: "Called without a token; told where to sign in", 1: "Read the resource document (path form)", 2: "Read the authorization server document (root form)", 7: "Approved: pods:read pods:exec",
		3: "Registered itself: kept localhost:4711; dropped 1: the scheme cursor is not allowed", 10: "Connection revoked by the client",
	} {
		if got := history.Words(s.Steps[i]); got != want {
			t.Errorf("step %d is told as %q, want %q", i, got, want)
		}
	}
	f.wantAudit("revoke_token", "issue_token", "approve")
	if got := f.attempts(store.AttemptQuery{User: "bob"}); len(got) != 0 {
		t.Errorf("bob sees %q", got)
	}
}

// Every entry of the audit list that a client has a part in has the name that it
// gave itself, also where there is no connection: local programs all have one host.
func TestClaimedNamesInTheAuditList(t *testing.T) {
	t.Parallel()
	f := withHistory(t)
	for _, name := range []string{"node", "python"} {
		q := request(f.registerAs(name, testRedirect))
		denial := approval(f.handle(f.authorize(q, "alice")), "red")
		denial.Set("decision", "deny")
		f.decide(denial, "alice")
		code := f.location(f.decide(approval(f.handle(f.authorize(q, "alice")), "red"), "alice")).Get("code")
		f.post("/token", exchange(store.ClientID(q.Get("client_id")), code))
	}
	page, err := f.history.AuditList(store.AuditQuery{Limit: 100})
	f.must(err)
	var got []string
	for _, e := range page.Entries {
		got = append(got, string(e.Action)+" "+page.Claimed(e)+" "+e.Client)
	}
	want := []string{
		"issue_token python localhost", "approve python localhost", "deny python localhost",
		"issue_token node localhost", "approve node localhost", "deny node localhost",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func (f *fixture) wantAudit(want ...string) {
	f.Helper()
	page, err := f.history.AuditList(store.AuditQuery{Limit: 100})
	f.must(err)
	var got []string
	for _, e := range page.Entries {
		got = append(got, string(e.Action))
		if e.ActorName == "" && !e.Stranger || e.Actor != "" && e.TeamName == "" && e.Action != history.AuditDeny {
			f.Errorf("an entry without names: %+v", e)
		}
	}
	if !slices.Equal(got, want) {
		f.Errorf("the audit list is %q, want %q", got, want)
	}
}

// Every refusal of an authorization request is told with its reason, to the
// person who is signed in.
func TestTimelineOfRefusedRequests(t *testing.T) {
	t.Parallel()
	for fault, change := range map[string][]string{
		history.FaultMissing: {"code_challenge"}, history.FaultUnknownClient: {"client_id=nobody"}, history.FaultRedirect: {"redirect_uri=https://evil.example/"},
		history.FaultPKCE: {"code_challenge_method=plain"}, history.FaultResource: {"resource=https://other.example/api/mcp"},
		history.FaultResponseType: {"response_type=token"}, history.FaultMalformed: {"state=\xff"},
	} {
		f := withHistory(t)
		f.authorize(with(request(f.register()), change...), "alice")
		f.wantAttempts("user=alice: authorize!" + fault)
	}
	f := withHistory(t)
	f.authorize(with(request(f.register()), "code_challenge=short"), "nobody")
	f.wantAttempts("user=: authorize!" + history.FaultPKCE)
	f = withHistory(t)
	handle := f.handle(f.authorize(request(f.register()), "alice"))
	f.clock.advance(requestTTL)
	f.decide(approval(handle, "red"), "alice")
	f.wantAttempts("user=alice: authorize!"+history.FaultRequestOver, "user=alice: authorize consent")
	f = withHistory(t)
	client := f.register()
	for range 40 {
		f.authorize(request(client), "alice")
	}
	if got := f.attempts(store.AttemptQuery{}); !strings.Contains(strings.Join(got, ""), "authorize!"+history.FaultRateLimited) {
		t.Errorf("a flood is told as %q", got)
	}
}

// The client hears invalid_grant; the timeline says why, in the attempt that
// the code was given out in.
func TestTimelineOfRefusedTokens(t *testing.T) {
	t.Parallel()
	for fault, spoil := range map[string]func(*fixture, store.ClientID, string){
		history.FaultVerifier: func(f *fixture, c store.ClientID, code string) {
			f.post("/token", with(exchange(c, code), "code_verifier="+strings.Repeat("w", 43)))
		},
		history.FaultRedirect: func(f *fixture, c store.ClientID, code string) {
			f.post("/token", with(exchange(c, code), "redirect_uri=http://localhost:1/other"))
		},
		history.FaultExpiredCode: func(f *fixture, c store.ClientID, code string) {
			f.clock.advance(11 * time.Minute)
			f.post("/token", exchange(c, code))
		},
		history.FaultNotMember: func(f *fixture, c store.ClientID, code string) {
			// Ends codes too where it is one transaction; then the code is unknown.
			_, err := f.db.RemoveMember("red", "alice")
			f.must(err)
			f.post("/token", exchange(c, code))
		},
	} {
		f := withHistory(t)
		client := f.register()
		code := f.code(client, "alice", "red")
		spoil(f, client, code)
		got := f.attempts(store.AttemptQuery{User: "alice"})
		if len(got) != 1 || !strings.HasSuffix(got[0], " approve code!"+fault) && fault != history.FaultNotMember {
			t.Errorf("%s is told as %q", fault, got)
		}
	}
	f := withHistory(t)
	client := f.register()
	code := f.code(client, "alice", "red")
	f.post("/token", exchange(client, code))
	f.post("/token", exchange(client, code))
	f.wantAttempts("user=alice: authorize consent approve code code!" + history.FaultSpentCode)
	f.wantAudit("code_used_twice", "issue_token", "approve")
	// Another client with the code touches nobody's attempt.
	other := f.register()
	f.clock.advance(time.Second)
	f.post("/token", exchange(other, code))
	f.wantAttempts("user=: code!unknown_code", "user=alice: authorize consent approve code code!"+history.FaultSpentCode)
	f.post("/token", exchange("nobody", code))
	f.post("/token", values("grant_type=password"))
	got := strings.Join(f.attempts(store.AttemptQuery{}), "\n")
	for _, want := range []string{"code!" + history.FaultUnknownClient, "code!" + history.FaultGrantType} {
		if !strings.Contains(got, want) {
			t.Errorf("%s is missing in\n%s", want, got)
		}
	}
}

// A client that came under another name than the server's hears what to type,
// unless a proxy may have changed the name on the way.
func TestTimelineOfAnotherName(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		host, proxy string
		told        bool
	}{
		{"127.0.0.1:8080", "", true}, {"localhost:8080", "", true}, {"pods.example.com:8443", "", true}, {"pods.example.com", "", false}, {"Pods.Example.com", "", false},
		{"localhost:8080", "X-Forwarded-For: 203.0.113.9", false}, {"localhost:8080", "X-Forwarded-Host: pods.example.com", false},
		{"localhost:8080", "Forwarded: for=203.0.113.9", false}, {"localhost:8080", "Via: 1.1 proxy", false},
	} {
		f := withHistory(t)
		headers := []string{"Host: " + c.host, "User-Agent: node", c.proxy}
		f.send("POST", "/api/mcp", "{}", headers...)
		f.send("GET", "/.well-known/oauth-protected-resource/api/mcp", "", headers...)
		f.clock.advance(time.Hour)
		page, err := f.history.Attempts(store.AttemptQuery{Limit: 10})
		f.must(err)
		d := page.Attempts[0].Diagnosis
		for _, want := range []string{"It asked for " + c.host + " and read that this server is https://pods.example.com/api/mcp", "type that in the client"} {
			if d.State != history.Stuck || strings.Contains(d.Text(), want) != c.told {
				t.Errorf("as %s, %s: %s: %s", c.host, c.proxy, d.State, d.Text())
			}
		}
	}
}

// Calls with a token that opens nothing are told with the reason that the
// client does not hear, in the connection's attempt as far as it is known.
func TestTimelineOfRefusedCalls(t *testing.T) {
	t.Parallel()
	f := withHistory(t)
	client := f.register()
	token := f.connect(client, "alice", "red")
	f.clock.advance(time.Second)
	f.call("pgat_" + strings.Repeat("x", 43))
	f.call("rubbish")
	f.wantAttempts("user=: call!unknown_token×2", "user=alice: authorize consent approve code")
	f.resource = "https://elsewhere.example/api/mcp"
	f.call(token)
	f.resource = testIssuer + resourcePath
	f.clock.advance(31 * 24 * time.Hour)
	f.call(token)
	got := f.attempts(store.AttemptQuery{User: "alice"})
	if len(got) != 1 || got[0] != "user=alice: call!expired_token" { // the rest is older than 14 days
		t.Errorf("alice's attempt is %q", got)
	}
	f = withHistory(t)
	token = f.connect(f.register(), "alice", "red")
	access, err := f.db.Access(credential(token), f.now())
	f.must(err)
	r := newRequest("POST", "/api/mcp")
	f.InsufficientScope(discard{}, r.WithContext(authz.WithActor(r.Context(), authz.Connection(access))), []store.Scope{authz.ScopeWrite})
	f.wantAttempts("user=alice: authorize consent approve code call!insufficient_scope")
}

// A dead token is known again after the sweeper took it away, and its attempt
// says whether it ran out or was revoked.
func TestTimelineOfDeadTokens(t *testing.T) {
	t.Parallel()
	for fault, end := range map[string]func(f *fixture, client store.ClientID, token string){
		history.FaultExpiredToken: func(f *fixture, _ store.ClientID, _ string) { f.clock.advance(11 * 24 * time.Hour) },
		history.FaultRevokedToken: func(f *fixture, client store.ClientID, token string) {
			f.post("/api/oauth/revoke", values("client_id="+string(client), "token="+token))
		},
	} {
		f := withHistory(t)
		client := f.register()
		token := f.connect(client, "alice", "red")
		f.call(token)
		f.clock.advance(20 * 24 * time.Hour)
		f.send("POST", "/api/mcp", "{}", "Authorization: Bearer "+token) // so that the attempt is not forgotten first
		end(f, client, token)
		f.must(f.db.FlushHistory()) // as happens every second
		_, err := f.db.Sweep(t.Context(), f.now())
		f.must(err)
		f.call(token)
		f.call("pgat_" + strings.Repeat("x", 43))
		got := f.attempts(store.AttemptQuery{User: "alice"})
		if len(got) != 1 || !strings.HasSuffix(got[0], " call!"+fault) {
			t.Errorf("%s is told as %q", fault, got)
		}
	}
}

// Who knows which connection a token names, and not the token, tells nothing in the
// connection's timeline, neither while it lives nor when it has ended.
func TestTimelineOfANameAlone(t *testing.T) {
	t.Parallel()
	f := withHistory(t)
	client := f.register()
	token, refresh := f.connectBoth(client, "alice", "red")
	id := credential(token).Grant
	for _, live := range []bool{true, false} {
		want := f.attempts(store.AttemptQuery{User: "alice"})
		f.clock.advance(time.Second)
		f.call(newAccessToken(id))
		f.refresh(f.register(), newRefreshToken(id)) // the client's own would be told of the client
		f.post("/api/oauth/revoke", values("client_id="+string(client), "token="+newRefreshToken(id)))
		f.post("/api/oauth/revoke", values("client_id="+string(client), "token="+newAccessToken(id)))
		if got := f.attempts(store.AttemptQuery{User: "alice"}); !slices.Equal(got, want) {
			t.Errorf("alive %v: alice's attempt is %q, was %q", live, got, want)
		}
		if live {
			f.post("/api/oauth/revoke", values("client_id="+string(client), "token="+refresh))
		}
	}
}

// Denying is a step and an entry.
func TestTimelineOfADenial(t *testing.T) {
	t.Parallel()
	f := withHistory(t)
	handle := f.handle(f.authorize(request(f.register()), "bob"))
	f.decide(values("request="+handle, "decision=deny"), "bob")
	f.wantAttempts("user=bob: authorize consent deny")
	f.wantAudit("deny")
}

// Registrations that are refused are told with the reason.
func TestTimelineOfRefusedRegistrations(t *testing.T) {
	t.Parallel()
	f := withHistory(t)
	f.registerAs("node", "javascript:alert(1)")
	f.send("POST", "/register", "[]", "Content-Type: application/json", "User-Agent: node")
	for n := range 30 {
		f.registerFrom("192.0.2.1:1", "", n)
	}
	got := strings.Join(f.attempts(store.AttemptQuery{}), "\n")
	for _, want := range []string{"register!redirect_uri register!client_metadata", "register!rate_limited×"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in\n%s", want, got)
		}
	}
	f = withHistory(t, func(c *Config) { c.Registration = "off" })
	f.registerAs("node", testRedirect)
	f.wantAttempts("user=: register!registration_off")
}

// Nothing that opens anything is in what is kept, on disk or as it is shown.
func TestTimelineHoldsNoSecrets(t *testing.T) {
	t.Parallel()
	f := withHistory(t)
	client := f.registerAs("node", testRedirect)
	q := with(request(client), "state=the-state-of-the-client")
	handle := f.handle(f.authorize(q, "alice"))
	code := f.location(f.decide(approval(handle, "red"), "alice")).Get("code")
	wrong := strings.Repeat("w", 43)
	f.post("/api/oauth/token", with(exchange(client, code), "code_verifier="+wrong))
	f.post("/api/oauth/token", with(exchange(client, code), "client_secret=a-secret-of-the-client"))
	f.post("/api/oauth/token", with(exchange(client, code), "redirect_uri=http://localhost:4711/callback?k=a-secret-in-a-uri"))
	token := tokenPattern.FindString(f.post("/api/oauth/token", exchange(client, code)).body)
	f.call(token)
	f.post("/api/oauth/token", exchange(client, code))
	f.call(token)
	f.send("GET", "/oauth/authorize?client_id="+token+"&redirect_uri=x&response_type=code&code_challenge="+testChallenge, "", "Cookie: session=alice")
	f.registerAs("node", "https://app.example/cb?k=a-secret-in-a-uri")

	page, err := f.history.Attempts(store.AttemptQuery{Limit: 100})
	f.must(err)
	list, err := f.history.AuditList(store.AuditQuery{Limit: 100})
	f.must(err)
	shown, err := json.Marshal([]any{page, list})
	f.must(err)
	var file bytes.Buffer
	_, err = f.db.WriteTo(&file)
	f.must(err)
	if len(page.Attempts) < 3 || len(list.Entries) < 3 || token == "" {
		t.Fatalf("too little was told: %s", shown)
	}
	for name, secret := range map[string]string{
		"handle": handle, "code": code, "token": token, "verifier": testVerifier, "wrong verifier": wrong, "client secret": "a-secret-of-the-client",
		"hash of the code": store.HashSecret(code).String(), "state": "the-state-of-the-client", "challenge": testChallenge, "uri": "a-secret-in-a-uri",
	} {
		if bytes.Contains(shown, []byte(secret)) {
			t.Errorf("the %s is shown: %s", name, shown)
		}
		// The rest has its place in other records while it is of use.
		if slices.Contains([]string{"handle", "code", "token", "verifier", "wrong verifier", "client secret"}, name) && bytes.Contains(file.Bytes(), []byte(secret)) {
			t.Errorf("the %s is in the file", name)
		}
	}
}

// A scanner from everywhere leaves a person's attempt alone.
func TestTimelineUnderAFlood(t *testing.T) {
	t.Parallel()
	f := withHistory(t)
	f.connect(f.register(), "alice", "red")
	for i := range 3000 {
		f.send("GET", "/.well-known/oauth-protected-resource", "", fmt.Sprintf("User-Agent: scan %d", i))
		if i%300 == 0 {
			f.must(f.db.FlushHistory())
		}
	}
	if got := f.attempts(store.AttemptQuery{User: "alice"}); len(got) != 1 || !strings.HasSuffix(got[0], "approve code") {
		t.Errorf("alice's attempt is %q", got)
	}
	page, err := f.db.Attempts(store.AttemptQuery{Limit: 100_000}, f.now())
	if err != nil || len(page.Attempts) > 1001 {
		t.Errorf("%d attempts are kept, %v", len(page.Attempts), err)
	}
}

// Of a redirect URI the timeline tells where it leads and no more.
func TestHostShown(t *testing.T) {
	t.Parallel()
	for uri, want := range map[string]string{
		"https://a.example/cb?key=1": "a.example", "https://a.example?key=1": "a.example", "http://localhost:4711/cb": "localhost:4711",
		"http://[::1]:4711": "[::1]:4711", "cursor://anysphere?key=1": "cursor:", "com.example.app:/cb": "com.example.app:",
	} {
		if got := hostShown(uri); got != want {
			t.Errorf("%s: %q, want %q", uri, got, want)
		}
	}
}

// discard is an answer that nobody reads.
type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) WriteHeader(int)             {}

// withAgent is a request as send makes one.
func withAgent(agent string) *http.Request {
	r := newRequest("GET", "/")
	r.RemoteAddr = "192.0.2.1:1234" // that of httptest
	r.Header.Set("User-Agent", agent)
	return r
}

func newRequest(method, target string) *http.Request {
	r, err := http.NewRequest(method, target, nil)
	if err != nil {
		panic(err)
	}
	return r
}
