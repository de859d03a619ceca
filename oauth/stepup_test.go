package oauth

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"podgate/history"
	"podgate/internal/authz"
	"podgate/store"
)

// submit fills the consent form in as the page shows it, with changes, and
// sends it.
func (f *fixture) submit(page answer, user string, changes ...string) answer {
	f.Helper()
	return f.decide(with(f.filledIn(page), changes...), user)
}

// filledIn is the form as it comes with the page.
func (f *fixture) filledIn(page answer) url.Values {
	f.Helper()
	f.pages.mu.Lock()
	c := f.pages.last
	f.pages.mu.Unlock()
	v := values("request="+f.handle(page), "filled="+string(c.Filled), "team="+string(c.Team), "prefix="+c.Limits.Prefix, "max_pods="+c.Limits.MaxPods, "decision=approve")
	if c.Limits.ReadOnly {
		v.Set("read_only", "yes")
	}
	if c.Earlier.Replace {
		v.Set("replace", "yes")
	}
	for _, s := range c.Scopes {
		if s.Checked {
			v.Add("scope", string(s.Scope))
		}
	}
	return v
}

// redeem turns an approval into a token and returns what it opens.
func (f *fixture) redeem(client store.ClientID, approved answer) string {
	f.Helper()
	a := f.post("/api/oauth/token", exchange(client, f.location(approved).Get("code")))
	return f.call(tokenPattern.FindString(a.body)).body
}

// connection makes one with these rights, as a person would who changes the
// page.
func (f *fixture) connection(client store.ClientID, user, team string, scopes string, limits ...string) string {
	f.Helper()
	now := f.now()
	var list []store.Scope
	for _, s := range strings.Fields(scopes) {
		list = append(list, store.Scope(s))
	}
	l, err := (authz.LimitFields{ReadOnly: slices.Contains(limits, "read_only"), Prefix: value(limits, "prefix"), MaxPods: value(limits, "max_pods")}).Parse()
	f.must(err)
	handle, code, id := store.HashSecret(newSecret()), store.HashSecret(newSecret()), store.GrantID(store.NewID())
	token := newAccessToken(id)
	session := store.HashSecret(user)
	f.must(f.db.CreateAuthRequest(store.AuthRequest{
		Handle: handle, Session: session, Client: client, RedirectURI: testRedirect, Challenge: testChallenge, Scopes: list, Resource: f.resource, Created: now, Expires: now.Add(requestTTL),
	}))
	_, err = f.db.Approve(store.Approval{Handle: handle, Session: session, Team: store.TeamID(team), Scopes: list, Limits: l, Code: code, Expires: now.Add(time.Minute)}, now)
	f.must(err)
	_, err = f.db.RedeemCode(store.Redemption{
		Code: code, Client: client, RedirectURI: testRedirect, RedirectHost: "localhost", Challenge: testChallenge, Grant: id, Access: store.HashSecret(token), Expires: now.Add(time.Hour),
	}, now)
	f.must(err)
	return token
}

func value(list []string, name string) string {
	for _, s := range list {
		if v, ok := strings.CutPrefix(s, name+"="); ok {
			return v
		}
	}
	return ""
}

// A client that asks for what it has and what it lacks gets all of it ticked,
// with what is new marked and the limits it has; the token opens what was
// approved, and the connection before it is replaced.
func TestStepUp(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	client := f.register()
	old := f.connection(client, "bob", "blue", "pods:read pods:exec", "prefix=web-", "max_pods=2")
	f.clock.advance(time.Second)
	page := f.authorize(with(request(client), "scope=pods:read pods:write pods:exec"), "bob")
	for _, want := range []string{
		"connected: blue\n", `limits: read-only false, prefix "web-", pods "2"`, "scope: pods:read true See the team's pods, their files and their logs\nscope: pods:write true",
		"write their files\n  new\nscope: pods:exec true Run commands inside pods\nreplace: true, 1 since 2026-03-01T12:00:00Z\nconnected",
	} {
		if !strings.Contains(page.body, want) {
			t.Errorf("%q is not on the page:\n%s", want, page.body)
		}
	}
	opens := f.redeem(client, f.submit(page, "bob", "team=blue"))
	if want := "user bob team blue role member scopes pods:read pods:write pods:exec\nlimits [only pods whose name begins with web- at most 2 pods]\n"; opens != want {
		t.Errorf("the token opens %q, want %q", opens, want)
	}
	if a := f.call(old); a.status != http.StatusUnauthorized {
		t.Errorf("the connection before it: %d %s", a.status, a.body)
	}
}

// What a client does not ask for is never ticked for it, whatever it has: it
// stands there to be kept by ticking it.
func TestUnaskedIsNeverTicked(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		tick []string
		want string
	}{
		"left alone": {nil, "pods:write"},
		"ticked":     {[]string{"pods:exec"}, "pods:write pods:exec"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			client := f.register()
			f.connection(client, "bob", "blue", "pods:read pods:exec", "prefix=web-")
			page := f.authorize(with(request(client), "scope=pods:write"), "bob")
			for _, want := range []string{"scope: pods:read false See the team's pods, their files and their logs\n  has already\n", "scope: pods:write true", "scope: pods:exec false Run commands inside pods\n  has already\n"} {
				if !strings.Contains(page.body, want) {
					t.Errorf("%q is not on the page:\n%s", want, page.body)
				}
			}
			v := f.filledIn(page)
			v["scope"] = append(v["scope"], c.tick...)
			opens := f.redeem(client, f.decide(with(v, "team=blue"), "bob"))
			if want := "user bob team blue role member scopes " + c.want + "\nlimits [only pods whose name begins with web-]\n"; opens != want {
				t.Errorf("the token opens %q, want %q", opens, want)
			}
		})
	}
}

// The person sees what it has and approves all of it or less of it, and may
// loosen the limits.
func TestStepUpGrantsWhatIsApprovedOnly(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	client := f.register()
	f.connection(client, "bob", "blue", "pods:read pods:exec", "read_only")
	page := f.authorize(with(request(client), "scope=pods:write pods:exec"), "bob")
	opens := f.redeem(client, f.submit(page, "bob", "team=blue", "scope=pods:write", "read_only"))
	if want := "user bob team blue role member scopes pods:write\n"; opens != want {
		t.Errorf("the token opens %q, want %q", opens, want)
	}
}

// Until the client redeems its code the earlier connection works on, and an
// approval that nobody makes use of costs it nothing. Unticked, both go on.
func TestReplacement(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	client := f.register()
	old, refresh := f.connectBoth(client, "bob", "blue")
	f.submit(f.authorize(request(client), "bob"), "bob", "team=blue") // and the window is closed
	second := f.submit(f.authorize(request(client), "bob"), "bob", "team=blue", "replace")
	if a := f.call(old); a.status != http.StatusOK {
		t.Fatalf("ended too early: %d", a.status)
	}
	device := tokenPattern.FindString(f.post("/api/oauth/token", exchange(client, f.location(second).Get("code"))).body)
	if a, b := f.call(old), f.call(device); a.status != http.StatusOK || b.status != http.StatusOK {
		t.Fatalf("unticked: %d and %d", a.status, b.status)
	}
	f.clock.advance(time.Minute)
	page := f.authorize(request(client), "bob")
	if want := "replace: true, 2 since 2026-03-01T12:00:00Z\n"; !strings.Contains(page.body, want) {
		t.Errorf("%q is not in\n%s", want, page.body)
	}
	third := f.redeem(client, f.submit(page, "bob", "team=blue"))
	if a, b := f.call(old), f.call(device); a.status != http.StatusUnauthorized || b.status != http.StatusUnauthorized || !strings.Contains(third, "user bob") {
		t.Errorf("replaced, and still: %d and %d; the new one opens %q", a.status, b.status, third)
	}
	if a := f.refresh(client, refresh); !strings.Contains(a.body, codeInvalidGrant) {
		t.Errorf("the refresh token of a replaced connection: %d %s", a.status, a.body)
	}
	// What leads elsewhere is not for this one to replace.
	far := f.register(testRedirect, "http://127.0.0.1:4711/callback")
	f.connection(far, "bob", "blue", "pods:read")
	q := with(request(far), "redirect_uri=http://127.0.0.1:4711/callback")
	if page := f.authorize(q, "bob"); strings.Contains(page.body, "replace:") || !strings.Contains(page.body, "connected: blue") {
		t.Errorf("another redirect host:\n%s", page.body)
	}
}

// A form that comes back keeps what was chosen.
func TestReplacementIsKeptInTheForm(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	client := f.register()
	f.connection(client, "bob", "blue", "pods:read")
	page := f.authorize(request(client), "bob")
	for _, c := range []struct{ change, want string }{{"replace=yes", "replace: true, 1"}, {"replace", "replace: false, 1"}} {
		if a := f.submit(page, "bob", "team=blue", "max_pods=none", c.change); !strings.Contains(a.body, c.want) {
			t.Errorf("%s: %q is not in\n%s", c.change, c.want, a.body)
		}
	}
}

// The end of a connection that was replaced is in its timeline and in the audit
// list, which also says what was approved.
func TestReplacementIsTold(t *testing.T) {
	t.Parallel()
	f := withHistory(t)
	client := f.register()
	access, err := f.db.Access(credential(f.connect(client, "bob", "blue")), f.now())
	f.must(err)
	ended := access.Grant
	f.clock.advance(time.Second)
	f.redeem(client, f.submit(f.authorize(request(client), "bob"), "bob", "team=blue"))
	page, err := f.history.OwnAttempts("bob", ended.ID, "", 10)
	f.must(err)
	d := page.Attempts[0].Diagnosis
	if d.State != history.Ended || d.What != "The connection ended because a newer one took its place." || d.Next != "" {
		t.Errorf("%+v", d)
	}
	list, err := f.history.AuditList(store.AuditQuery{Limit: 10})
	f.must(err)
	var told []string
	for _, e := range list.Entries {
		told = append(told, string(e.Action)+": "+e.Object)
	}
	want := []string{
		"issue_token: ", "revoke_connection: because a newer one took its place", "approve: pods:read pods:write pods:exec, in place of the earlier connection",
		"issue_token: ", "approve: pods:read pods:exec",
	}
	if !slices.Equal(told, want) {
		t.Errorf("the audit list says\n%s", strings.Join(told, "\n"))
	}
}

// Nothing is kept that was granted to somebody else, to another client, or that
// has ended.
func TestStepUpIsOnesOwn(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(f *fixture, client store.ClientID){
		"another user": func(f *fixture, client store.ClientID) {
			f.connection(client, "alice", "blue", "pods:exec", "prefix=web-")
		},
		"another client": func(f *fixture, _ store.ClientID) {
			f.connection(f.register(), "bob", "blue", "pods:exec", "prefix=web-")
		},
		"ended": func(f *fixture, client store.ClientID) {
			f.connection(client, "bob", "blue", "pods:exec", "prefix=web-")
			f.clock.advance(time.Hour)
		},
		"revoked": func(f *fixture, client store.ClientID) {
			f.connection(client, "bob", "blue", "pods:exec", "prefix=web-")
			list, err := f.db.GrantsOf("bob", client, f.now())
			f.must(err)
			f.must(f.db.RevokeGrant(list[0].ID, "bob"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			client := f.register()
			prepare(f, client)
			page := f.authorize(with(request(client), "scope=pods:read"), "bob")
			if strings.Contains(page.body, "pods:exec") || strings.Contains(page.body, "limits") || strings.Contains(page.body, "connected") || strings.Contains(page.body, "new") {
				t.Errorf("kept:\n%s", page.body)
			}
			forged := with(approval(f.handle(page), "blue"), "filled=blue", "scope=pods:exec")
			if a := f.decide(forged, "bob"); a.status != http.StatusBadRequest || a.header.Get("Location") != "" {
				t.Errorf("a scope that was never offered is approved: %d %s", a.status, a.body)
			}
		})
	}
}

// The form is filled in from the newest connection. For another team it is
// shown once more, as it is for that team, so that neither the limits there
// are lost nor rights of one team come to the other unseen.
func TestStepUpWithSeveralTeams(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	client := f.register()
	f.connection(client, "alice", "red", "pods:read", "read_only", "prefix=red-")
	f.clock.advance(time.Second)
	f.connection(client, "alice", "blue", "pods:exec")
	page := f.authorize(with(request(client), "scope=pods:read"), "alice")
	if !strings.Contains(page.body, "connected: blue\n") || !strings.Contains(page.body, "pods:exec false") {
		t.Fatalf("filled in from elsewhere:\n%s", page.body)
	}
	again := f.submit(page, "alice", "team=red")
	if again.status != http.StatusOK || strings.Contains(again.body, "pods:exec") || !strings.Contains(again.body, "connected: red\n") ||
		!strings.Contains(again.body, `limits: read-only true, prefix "red-"`) || !strings.Contains(again.body, "fault: The app is connected to Red already") || !strings.Contains(again.body, `chosen: "red"`) {
		t.Fatalf("not asked again: %d %s", again.status, again.body)
	}
	opens := f.redeem(client, f.submit(again, "alice"))
	if want := "user alice team red role owner scopes pods:read\nlimits [read-only only pods whose name begins with red-]\n"; opens != want {
		t.Errorf("the token opens %q, want %q", opens, want)
	}
}

// The limits of a team's connection are not lost by choosing that team on a
// form that another team's filled in with the same rights.
func TestStepUpKeepsLimitsOfTheChosenTeam(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	client := f.register()
	f.connection(client, "alice", "red", "pods:read", "read_only")
	f.clock.advance(time.Second)
	f.connection(client, "alice", "blue", "pods:read")
	again := f.submit(f.authorize(with(request(client), "scope=pods:read"), "alice"), "alice", "team=red")
	if again.status != http.StatusOK || !strings.Contains(again.body, "limits: read-only true") {
		t.Fatalf("not asked again: %d %s", again.status, again.body)
	}
	if a := f.submit(again, "alice"); a.status != http.StatusSeeOther {
		t.Errorf("approved as shown: %d %s", a.status, a.body)
	}
}

// A team where the client has nothing gets nothing along.
func TestStepUpForANewTeam(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	client := f.register()
	f.connection(client, "alice", "red", "pods:exec")
	page := f.authorize(with(request(client), "scope=pods:read"), "alice")
	again := f.submit(page, "alice", "team=blue")
	if again.status != http.StatusOK || strings.Contains(again.body, "pods:exec") || strings.Contains(again.body, "connected") || !strings.Contains(again.body, "fault: For Blue the form now says what the app asks for.") {
		t.Fatalf("not asked again: %d %s", again.status, again.body)
	}
	// Saying that it was filled in for blue does not help either.
	forged := f.decide(with(approval(f.handle(page), "blue"), "filled=blue", "scope=pods:exec"), "alice")
	if forged.status != http.StatusBadRequest {
		t.Errorf("red's scope is approved for blue: %d %s", forged.status, forged.body)
	}
	if opens := f.redeem(client, f.submit(again, "alice")); opens != "user alice team blue role member scopes pods:read\n" {
		t.Errorf("the token opens %q", opens)
	}
	// The same rights need no second look for a team that has no connection.
	other := f.register()
	f.connection(other, "alice", "blue", "pods:read")
	if a := f.submit(f.authorize(request(other), "alice"), "alice", "team=red"); a.status != http.StatusSeeOther {
		t.Errorf("asked twice for nothing: %d %s", a.status, a.body)
	}
}

// Limits are read from the form, kept with the connection and enforced with
// its token. What cannot be read comes back as it was written and spends
// nothing.
func TestLimitsAtConsent(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	client := f.register()
	page := f.authorize(request(client), "bob")
	for field, c := range map[string]struct{ change, fault string }{
		"prefix":   {"prefix=-web <b>", "No pod's name can begin like that."},
		"max_pods": {"max_pods=a few", "The number of pods must be from 1 to 1000."},
	} {
		a := f.submit(page, "bob", "team=blue", "scope=pods:read", "read_only=yes", "prefix=", "max_pods=", c.change)
		_, written, _ := strings.Cut(c.change, "=")
		if a.status != http.StatusOK || !strings.Contains(a.body, "fault: "+c.fault) || !strings.Contains(a.body, "wrong: "+field) || !strings.Contains(a.body, fmt.Sprintf("%q", written)) ||
			!strings.Contains(a.body, "read-only true") || !strings.Contains(a.body, "pods:write false") || !strings.Contains(a.body, `chosen: "blue"`) {
			t.Errorf("%s: %d %s", field, a.status, a.body)
		}
	}
	// A team is asked for first, and then the fault is not about the limits.
	if a := f.submit(page, "bob", "team=", "max_pods=0"); !strings.Contains(a.body, "fault: Choose the team") || strings.Contains(a.body, "wrong:") {
		t.Errorf("%s", a.body)
	}
	opens := f.redeem(client, f.decide(with(approval(f.handle(page), "blue"), "read_only=yes", "prefix=Web-", "max_pods=3"), "bob"))
	if want := "limits [read-only only pods whose name begins with web- at most 3 pods]\n"; !strings.HasSuffix(opens, want) {
		t.Errorf("the token opens %q, want %q", opens, want)
	}
}

// Deny denies whatever stands in the fields.
func TestDenyWithFaultyLimits(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	handle := f.handle(f.authorize(request(f.register()), "bob"))
	if a := f.decide(values("request="+handle, "decision=deny", "max_pods=-1", "prefix=%"), "bob"); f.location(a).Get("error") != codeAccessDenied {
		t.Errorf("%d %v", a.status, a.header)
	}
}

func TestParseDecision(t *testing.T) {
	t.Parallel()
	good := values("request=h", "decision=approve", "team=red", "scope=pods:read", "scope=pods:read", "filled=blue", "read_only=", "prefix=a-", "max_pods=7", "replace=yes")
	got, err := parseDecision(good)
	if err != nil || got.handle != "h" || got.team != "red" || got.filled != "blue" || !got.replace || len(got.scopes) != 1 || got.fault != nil || got.limits != (store.Limits{Prefix: "a-", MaxPods: 7}) {
		t.Errorf("%+v, %v", got, err)
	}
	for _, name := range []string{"request", "decision", "team", "filled", "read_only", "prefix", "max_pods", "replace"} {
		twice := url.Values{}
		for k, v := range good {
			twice[k] = slices.Clone(v)
		}
		twice[name] = []string{"x", "y"}
		if _, err := parseDecision(twice); err == nil {
			t.Errorf("%s twice", name)
		}
	}
	if _, err := parseDecision(with(good, "prefix="+strings.Repeat("x", maxField))); err == nil {
		t.Error("a field without bounds")
	}
	faulty, err := parseDecision(with(good, "max_pods=0", "prefix=A-"))
	if err != nil || faulty.fault == nil || faulty.fault.Field != "max_pods" || faulty.limits != (store.Limits{}) || faulty.fields.Prefix != "A-" {
		t.Errorf("%+v, %v", faulty, err)
	}
}

func FuzzDecision(f *testing.F) {
	f.Add("request=h&decision=approve&team=red&scope=pods:read&scope=pods:exec&prefix=&max_pods=")
	f.Add("request=h&decision=deny")
	f.Add("request=h&decision=approve&team=red&filled=red&read_only=yes&prefix=web-&max_pods=3")
	f.Add("request=h&decision=approve&prefix=--&max_pods=1e9&team=a&team=b")
	f.Add("request=&decision=approve\x00&scope=")
	f.Fuzz(func(t *testing.T, body string) {
		v, err := url.ParseQuery(body)
		if err != nil {
			return
		}
		got, err := parseDecision(v)
		if err != nil {
			checkFault(t, err, v.Get("request"))
			return
		}
		for _, name := range []string{"request", "decision", "team", "filled", "read_only", "prefix", "max_pods", "replace"} {
			if len(v[name]) > 1 {
				t.Fatalf("%s twice in %q", name, body)
			}
		}
		decision := v.Get("decision")
		if got.handle == "" || got.deny != (decision == "deny") || decision != "deny" && decision != "approve" || len(got.scopes) > maxFormScopes {
			t.Fatalf("accepted %q as %+v", body, got)
		}
		limits, err := got.fields.Parse()
		var fault *authz.FieldFault
		if errors.As(err, &fault) != (got.fault != nil) || limits != got.limits || got.fault != nil && got.limits != (store.Limits{}) {
			t.Fatalf("limits of %q: %+v", body, got)
		}
	})
}

// The audit list says what was approved, limits included.
func TestLimitsAreAudited(t *testing.T) {
	t.Parallel()
	f := withHistory(t)
	handle := f.handle(f.authorize(request(f.register()), "bob"))
	f.location(f.decide(with(approval(handle, "blue"), "scope=pods:read", "prefix=web-", "max_pods=3"), "bob"))
	page, err := f.history.AuditList(store.AuditQuery{Limit: 1})
	f.must(err)
	if want := "pods:read, only pods whose name begins with web-, at most 3 pods"; len(page.Entries) != 1 || page.Entries[0].Object != want {
		t.Errorf("%+v, want %q", page.Entries, want)
	}
}

// The challenge of a call that lacks a scope names what the connection has as
// well: a client that asks for just what it reads there loses nothing.
func TestChallengeNamesWhatIsHeld(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, c := range []struct{ held, needed, want string }{
		{"pods:read", "pods:exec", "pods:read pods:exec"},
		{"pods:exec", "pods:read pods:write", "pods:read pods:write pods:exec"},
		{"pods:read pods:exec", "pods:read pods:exec pods:write", "pods:read pods:write pods:exec"},
	} {
		actor := authz.Actor{User: "bob", Scopes: knownScopes(c.held)}
		r, w := newRequest("POST", "/api/mcp"), httptest.NewRecorder()
		f.InsufficientScope(w, r.WithContext(authz.WithActor(r.Context(), actor)), knownScopes(c.needed))
		challenge := w.Header().Get("WWW-Authenticate")
		if !strings.Contains(challenge, `scope="`+c.want+`"`) || !strings.Contains(challenge, "This needs the scope "+joinScopes(knownScopes(c.needed))+".") {
			t.Errorf("%s needs %s: %s", c.held, c.needed, challenge)
		}
	}
}
