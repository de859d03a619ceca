package oauth

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"podgate/internal/authz"
	"podgate/store"
)

// submit fills the consent form in as the page shows it, with changes, and
// sends it.
func (f *fixture) submit(page answer, user string, changes ...string) answer {
	f.Helper()
	f.pages.mu.Lock()
	c := f.pages.last
	f.pages.mu.Unlock()
	v := values("request="+f.handle(page), "filled="+string(c.Filled), "team="+string(c.Team), "prefix="+c.Limits.Prefix, "max_pods="+c.Limits.MaxPods, "decision=approve")
	if c.Limits.ReadOnly {
		v.Set("read_only", "yes")
	}
	for _, s := range c.Scopes {
		if s.Checked {
			v.Add("scope", string(s.Scope))
		}
	}
	return f.decide(with(v, changes...), user)
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
	handle, code, token := store.HashSecret(newSecret()), store.HashSecret(newSecret()), accessPrefix+newSecret()
	session := store.HashSecret(user)
	f.must(f.db.CreateAuthRequest(store.AuthRequest{
		Handle: handle, Session: session, Client: client, RedirectURI: testRedirect, Challenge: testChallenge, Scopes: list, Resource: f.resource, Created: now, Expires: now.Add(requestTTL),
	}))
	_, err = f.db.Approve(store.Approval{Handle: handle, Session: session, Team: store.TeamID(team), Scopes: list, Limits: l, Code: code, Expires: now.Add(time.Minute)}, now)
	f.must(err)
	_, err = f.db.RedeemCode(store.Redemption{
		Code: code, Client: client, RedirectURI: testRedirect, Challenge: testChallenge, Grant: store.GrantID(store.NewID()), Access: store.HashSecret(token), Expires: now.Add(time.Hour),
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

// A client that lacks a scope asks for that scope alone; what it has and how it
// is limited is offered along, what is new is marked, and the token opens what
// was approved.
func TestStepUpKeepsWhatWasGranted(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	client := f.register()
	old := f.connection(client, "bob", "blue", "pods:read pods:exec", "prefix=web-", "max_pods=2")
	for _, asked := range []string{"pods:write", "pods:read pods:write pods:exec"} {
		f.clock.advance(time.Second)
		page := f.authorize(with(request(client), "scope="+asked), "bob")
		for _, want := range []string{
			"connected: blue\n", `limits: read-only false, prefix "web-", pods "2"`, "scope: pods:read true See the team's pods, their files and their logs\nscope: pods:write true",
			"write their files\n  new\nscope: pods:exec true Run commands inside pods\nconnected",
		} {
			if !strings.Contains(page.body, want) {
				t.Errorf("%s: %q is not on the page:\n%s", asked, want, page.body)
			}
		}
		opens := f.redeem(client, f.submit(page, "bob", "team=blue"))
		if want := "user bob team blue role member scopes pods:read pods:write pods:exec\nlimits [only pods whose name begins with web- at most 2 pods]\n"; opens != want {
			t.Errorf("%s: the token opens %q, want %q", asked, opens, want)
		}
		list, err := f.db.GrantsOf("bob", client, f.now())
		f.must(err)
		f.must(f.db.RevokeGrant(list[0].ID, "bob")) // so that the second round finds what the first did
	}
	if a := f.call(old); a.status != http.StatusOK || strings.Contains(a.body, "pods:write") {
		t.Errorf("the connection before it: %d %s", a.status, a.body)
	}
}

// The person sees the union and approves all of it or less of it, and may
// loosen the limits.
func TestStepUpGrantsWhatIsApprovedOnly(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	client := f.register()
	f.connection(client, "bob", "blue", "pods:read pods:exec", "read_only")
	page := f.authorize(with(request(client), "scope=pods:write"), "bob")
	opens := f.redeem(client, f.submit(page, "bob", "team=blue", "scope=pods:write", "read_only"))
	if want := "user bob team blue role member scopes pods:write\n"; opens != want {
		t.Errorf("the token opens %q, want %q", opens, want)
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
	if !strings.Contains(page.body, "connected: blue\n") || !strings.Contains(page.body, "pods:exec true") {
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
	// The same rights in both teams need no second look.
	f.connection(client, "alice", "red", "pods:read")
	f.connection(client, "alice", "blue", "pods:read")
	if a := f.submit(f.authorize(request(client), "alice"), "alice", "team=blue"); a.status != http.StatusSeeOther {
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
	good := values("request=h", "decision=approve", "team=red", "scope=pods:read", "scope=pods:read", "filled=blue", "read_only=", "prefix=a-", "max_pods=7")
	got, err := parseDecision(good)
	if err != nil || got.handle != "h" || got.team != "red" || got.filled != "blue" || len(got.scopes) != 1 || got.fault != nil || got.limits != (store.Limits{Prefix: "a-", MaxPods: 7}) {
		t.Errorf("%+v, %v", got, err)
	}
	for _, name := range []string{"request", "decision", "team", "filled", "read_only", "prefix", "max_pods"} {
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
		for _, name := range []string{"request", "decision", "team", "filled", "read_only", "prefix", "max_pods"} {
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
