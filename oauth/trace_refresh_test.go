package oauth

import (
	"io"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"podgate/history"
	"podgate/store"
)

// Refreshing belongs to the connection's attempt, and so does the reason why it
// is refused, which the client does not hear.
func TestTimelineOfRefreshing(t *testing.T) {
	t.Parallel()
	f := withHistory(t)
	client := f.register()
	_, first := f.connectBoth(client, "alice", "red")
	f.clock.advance(time.Second)
	access, second := f.tokens(f.refresh(client, first))
	f.call(access)
	f.clock.advance(time.Hour)
	f.refresh(client, second, "scope=pods:read pods:write pods:exec")
	f.wantAttempts("user=alice: authorize consent approve code refresh call refresh!scope")
	// Another client with the token learns nothing and touches nothing.
	f.clock.advance(time.Second)
	f.refresh(f.register(), second)
	if got := f.attempts(store.AttemptQuery{}); !strings.HasSuffix(got[0], "refresh!foreign_refresh") {
		t.Errorf("the other client's attempt is %q", got)
	}
	if got := f.attempts(store.AttemptQuery{User: "alice"}); len(got) != 1 || !strings.HasSuffix(got[0], "refresh!scope") {
		t.Errorf("alice's attempt is %q", got)
	}
	f.clock.advance(time.Second)
	f.refresh(client, first)
	if got := f.attempts(store.AttemptQuery{User: "alice"}); got[0] != "user=alice: authorize consent approve code refresh call refresh!scope refresh!reused_refresh" {
		t.Errorf("alice's attempt is %q", got)
	}
	f.wantAudit("refresh_token_used_twice", "refresh_token", "issue_token", "approve")
	list, err := f.history.AuditList(store.AuditQuery{User: "alice", Limit: 10})
	if err != nil || len(list.Entries) != 4 || !slices.ContainsFunc(list.Entries, func(e store.AuditEntry) bool { return e.Action == history.AuditReusedRefresh && e.Actor == "" }) {
		t.Errorf("alice sees %+v, %v", list.Entries, err)
	}
	page, err := f.history.OwnAttempts("alice", "", "", 10)
	f.must(err)
	if d := page.Attempts[0].Diagnosis; d.State != history.Refused || !strings.Contains(d.What, "the connection was revoked") {
		t.Errorf("%+v", d)
	}
	// What is left of it is unknown from then on.
	f.clock.advance(time.Second)
	f.refresh(client, second)
	if got := f.attempts(store.AttemptQuery{}); !strings.HasSuffix(got[0], "refresh!unknown_refresh") {
		t.Errorf("afterwards: %q", got)
	}
}

func TestTimelineOfAnExpiredRefresh(t *testing.T) {
	t.Parallel()
	f := withHistory(t)
	client := f.register()
	_, refresh := f.connectBoth(client, "alice", "red")
	f.clock.advance(91 * 24 * time.Hour)
	f.refresh(client, refresh)
	f.wantAttempts("user=alice: refresh!expired_refresh")
	f.refresh(client, "pgrt_rubbish")
	if got := strings.Join(f.attempts(store.AttemptQuery{}), "\n"); !strings.Contains(got, "refresh!unknown_refresh") {
		t.Errorf("rubbish is told as %s", got)
	}
}

// A client that ends its connection with the refresh token ends its attempt.
func TestTimelineOfARevokedRefresh(t *testing.T) {
	t.Parallel()
	f := withHistory(t)
	client := f.register()
	_, refresh := f.connectBoth(client, "alice", "red")
	f.post("/api/oauth/revoke", values("client_id="+string(f.register()), "token="+refresh))
	f.wantAttempts("user=alice: authorize consent approve code")
	f.post("/api/oauth/revoke", values("client_id="+string(client), "token="+refresh))
	f.wantAttempts("user=alice: authorize consent approve code revoke")
	f.wantAudit("revoke_token", "issue_token", "approve")
}

// A client that a document describes: the sign-in that comes before the fetch,
// the fetch, and the rest are one attempt.
func TestTimelineOfADocument(t *testing.T) {
	t.Parallel()
	n := newInternet(t)
	n.publish(appURL, appDocument())
	f := withHistory(t, online(n))
	q := "/oauth/authorize?" + asApp().Encode()
	f.send("GET", q, "", "User-Agent: Firefox")
	f.clock.advance(time.Second)
	f.history.SignedIn(f.history.Visitor(withAgent("Firefox")), appURL, "alice", "")
	f.clock.advance(time.Second)
	page := f.send("GET", q, "", "User-Agent: Firefox", "Cookie: session=alice")
	f.clock.advance(time.Second)
	code := f.location(f.decide(approval(f.handle(page), "red"), "alice", "Origin: "+testIssuer, "User-Agent: Firefox")).Get("code")
	f.post("/token", with(exchange(appURL, code), "redirect_uri="+appRedirect), "User-Agent: app")
	f.wantAttempts("user=alice: authorize×2 sign_in signed_in metadata consent approve code")
	// A second person's attempt is another, although the id is the same.
	f.authorize(asApp(), "bob")
	if got := f.attempts(store.AttemptQuery{User: "bob"}); len(got) != 1 || got[0] != "user=bob: authorize consent" {
		t.Errorf("bob's attempt is %q", got)
	}
}

func TestTimelineOfRefusedDocuments(t *testing.T) {
	t.Parallel()
	n := newInternet(t)
	n.answer(appURL, 404)
	f := withHistory(t, online(n))
	f.authorize(asApp(), "alice")
	f.wantAttempts("user=alice: metadata!client_metadata")
	f = withHistory(t, online(n), func(c *Config) { c.ClientDocuments = false })
	f.authorize(asApp(), "alice")
	f.wantAttempts("user=alice: authorize!unknown_client")
	f = withHistory(t, online(n), func(c *Config) { c.Registration = "known" })
	f.authorize(asApp(), "alice")
	f.wantAttempts("user=alice: authorize!registration_off")
	f = withHistory(t, online(n))
	f.authorize(asApp("client_id=https://127.0.0.1/client.json"), "alice")
	f.wantAttempts("user=alice: metadata!client_metadata")
}

// Whoever renews a connection that was revoked is told of in its attempt, also a
// client that only its document describes, and after days.
func TestTimelineOfARevokedRenewal(t *testing.T) {
	t.Parallel()
	n := newInternet(t)
	n.publish(appURL, appDocument())
	f := withHistory(t, online(n))
	code := f.location(f.decide(approval(f.handle(f.authorize(asApp(), "alice")), "red"), "alice")).Get("code")
	_, refresh := f.tokens(f.post("/token", with(exchange(appURL, code), "redirect_uri="+appRedirect)))
	f.clock.advance(48 * time.Hour)
	f.post("/api/oauth/revoke", values("client_id="+appURL, "token="+refresh))
	f.must(f.db.FlushHistory()) // as happens every second
	f.clock.advance(time.Minute)
	f.refresh(appURL, refresh)
	page, err := f.history.OwnAttempts("alice", "", "", 10)
	f.must(err)
	if len(page.Attempts) != 1 || !strings.Contains(page.Attempts[0].Diagnosis.What, "was revoked, and the client tried to renew it") {
		t.Errorf("%+v", page.Attempts)
	}
	// Another client with the token tells nothing of it.
	f.clock.advance(time.Second)
	f.refresh(f.register(), refresh)
	got := f.attempts(store.AttemptQuery{})
	if len(got) != 2 || got[0] != "user=: refresh!foreign_refresh" || !strings.HasSuffix(got[1], " revoke refresh!unknown_refresh") {
		t.Errorf("%q", got)
	}
}

// toldFirst is an answer that remembers what the timeline held when it began.
type toldFirst struct {
	*httptest.ResponseRecorder
	f    *fixture
	told []string
}

func (w *toldFirst) WriteHeader(status int) {
	w.told = w.f.attempts(store.AttemptQuery{})
	w.ResponseRecorder.WriteHeader(status)
}

// A client may take its next step as soon as it has an answer, so by then the step
// before it is told.
func TestStepsAreToldBeforeTheyAreAnswered(t *testing.T) {
	t.Parallel()
	f := withHistory(t)
	told := func(path, contentType, body string) string {
		t.Helper()
		r := newRequest("POST", path)
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
		r.Header.Set("Content-Type", contentType)
		w := &toldFirst{ResponseRecorder: httptest.NewRecorder(), f: f}
		f.handler.ServeHTTP(w, r)
		if w.Code >= 300 || len(w.told) == 0 {
			t.Fatalf("%s: %d %s", path, w.Code, w.Body)
		}
		return w.told[0]
	}
	if got := told("/register", "application/json", `{"redirect_uris":["https://early.example/"]}`); got != "user=: register" {
		t.Errorf("as it was answered, the registration was told as %q", got)
	}
	f.clock.advance(time.Minute)
	client := f.register()
	code := f.code(client, "alice", "red")
	f.clock.advance(time.Second)
	if got := told("/token", "application/x-www-form-urlencoded", exchange(client, code).Encode()); !strings.HasSuffix(got, " approve code") {
		t.Errorf("as it was answered, the code was told as %q", got)
	}
}

// Who may not register reads so, and the timeline says that it did.
func TestTimelineWithoutRegistration(t *testing.T) {
	t.Parallel()
	for mode, want := range map[string]string{"open": "press Connect", "known": "Usually it has none and needs to register", "off": "needs to register"} {
		f := withHistory(t, func(c *Config) { c.Registration = mode })
		f.send("GET", "/.well-known/oauth-protected-resource/api/mcp", "", "User-Agent: app", "Via: 1.1 proxy")
		f.clock.advance(time.Second)
		f.send("GET", "/.well-known/oauth-authorization-server", "", "User-Agent: app", "Via: 1.1 proxy")
		f.clock.advance(time.Hour)
		list, err := f.history.Attempts(store.AttemptQuery{Limit: 10})
		if err != nil || len(list.Attempts) != 1 || !strings.Contains(list.Attempts[0].Diagnosis.Text(), want) {
			t.Errorf("%s: %+v, %v", mode, list, err)
		}
	}
}
