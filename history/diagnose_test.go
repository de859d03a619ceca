package history_test

import (
	"strings"
	"testing"
	"time"

	"podgate/history"
	"podgate/store"
)

// attempt makes an attempt of words: «kind», «kind!fault» or «kind=detail», a
// second apart, the last of them at t0.
func attempt(words string) store.Attempt {
	var a store.Attempt
	list := strings.Split(words, ", ")
	for i, word := range list {
		at := t0.Add(time.Duration(i-len(list)+1) * time.Second)
		s := store.Step{At: at, Last: at, Count: 1}
		word, s.Detail, _ = strings.Cut(word, "=")
		s.Kind, s.Fault, _ = strings.Cut(word, "!")
		a.Steps = append(a.Steps, s)
	}
	return a
}

const both = "discovery=resource document (path form), discovery=authorization server document (root form)"

func TestDiagnose(t *testing.T) {
	t.Parallel()
	const (
		soon = 10 * time.Second
		late = 45 * time.Minute
	)
	for _, c := range []struct {
		attempt string
		after   time.Duration
		state   history.State
		says    string
	}{
		{"challenge", soon, history.Waiting, "did nothing more"},
		{"challenge", late, history.Stuck, "proxy in front of this server strips that header"},
		{"discovery=resource document (root form)", late, history.Stuck, "read the resource document and stopped"},
		{"challenge, discovery=resource document (path form)", late, history.Stuck, "/.well-known/"},
		{"challenge=asked for as 127.0.0.1:1 instead of http://localhost:1/api/mcp", soon, history.Waiting, "type that in the client"},
		{"challenge, discovery=resource document (root form) asked for as 127.0.0.1:1 instead of http://localhost:1/api/mcp", late, history.Stuck,
			"It asked for 127.0.0.1:1 and read that this server is http://localhost:1/api/mcp. It should have been given http://localhost:1/api/mcp: type that in the client."},
		{both, soon, history.Waiting, "registered itself or opened a browser"},
		{both, late, history.Stuck, "press Connect"},
		{both + " that offers no registration", soon, history.Waiting, "Clients cannot register themselves here"},
		{both + " that offers no registration", late, history.Stuck, `needs to register: an administrator can allow that with oauth.registration = "open"`},
		{both + " that offers no registration, discovery=authorization server document (root form)", late, history.Stuck, "press Connect"},
		{both + ", challenge=came back with a token", late, history.Works, "It works"},
		{"challenge, challenge=came back with a token", late, history.Works, "It works"},
		{both + ", register", soon, history.Waiting, "opened a browser"},
		{both + ", register", late, history.Stuck, "browser did not open"},
		{both + ", register!redirect_uri", late, history.Refused, "oauth.redirect_schemes"},
		{"register!registration_off", late, history.Refused, `oauth.registration = "open"`},
		{"register!client_metadata", late, history.Refused, "JSON object"},
		{"register!rate_limited", late, history.Refused, "trusted_proxies"},
		{"metadata!client_metadata", late, history.Refused, "cannot reach the internet"},
		{"authorize!registration_off", late, history.Refused, "lets in"},
		{"metadata", late, history.Stuck, "gone on to the sign-in"},
		{"authorize!missing_parameters", late, history.Refused, "without everything"},
		{"authorize!unknown_client", late, history.Refused, "uses a client id that this server no longer knows. Remove the connector in the assistant and add it again."},
		{"register, authorize!redirect_uri", late, history.Refused, "has not registered"},
		{"register, authorize!pkce", late, history.Refused, "PKCE"},
		{"register, authorize!resource", late, history.Refused, "asked for another resource than the URL typed"},
		{"authorize!response_type", late, history.Refused, "response_type=code"},
		{"authorize!malformed", late, history.Refused, "not well-formed"},
		{"authorize!rate_limited", late, history.Refused, "Wait a minute"},
		{"authorize!server_error", late, history.Refused, "log says what"},
		{"authorize, sign_in", soon, history.Waiting, "has to sign in"},
		{"authorize, sign_in", 20 * time.Minute, history.Waiting, "has to sign in"},
		{"authorize, sign_in", late, history.Stuck, "nobody signed in"},
		{"authorize, sign_in, signed_in!credentials", soon, history.Waiting, "sign-in failed"},
		{"authorize, sign_in, signed_in!credentials", late, history.Stuck, "podgate user passwd"},
		{"authorize, sign_in, signed_in", late, history.Stuck, "refuses cookies"},
		{"authorize, sign_in, signed_in, authorize, consent", soon, history.Waiting, "Approve"},
		{"authorize, sign_in, signed_in, authorize, consent", late, history.Stuck, "nobody decided"},
		{"authorize, consent, authorize", late, history.Stuck, "nobody decided"},
		{"consent, deny", late, history.Ended, "denied on the consent page"},
		{"consent, approve", soon, history.Waiting, "never came for its token"},
		{"consent, approve", late, history.Stuck, "a firewall"},
		{"approve, code!expired_code", late, history.Refused, "after the code had run out"},
		{"approve, code, code!spent_code", late, history.Refused, "redeemed twice"},
		{"approve, code!verifier", late, history.Refused, "code_verifier"},
		{"approve, code!redirect_uri", late, history.Refused, "another redirect URI"},
		{"approve, code!resource", late, history.Refused, "another resource"},
		{"approve, code!not_member", late, history.Refused, "no longer in the team"},
		{"approve, code!unknown_code", late, history.Refused, "does not know"},
		{"code!unknown_client", late, history.Refused, "no longer knows"},
		{"code!grant_type", late, history.Refused, "metadata names the ways"},
		{"code!malformed", late, history.Refused, "not well-formed"},
		{"approve, code", soon, history.Waiting, "called /api/mcp"},
		{"approve, code", late, history.Stuck, "got a token but never called. It should have called /api/mcp with it at once. Usually a proxy in front of this server blocks its address or User-Agent"},
		{"approve, code, call", late, history.Works, "It works."},
		{"approve, code, refresh, call, refresh", late, history.Works, "It works."},
		{"approve, code, call, call!expired_token", late, history.Refused, "went on with the old token"},
		{"approve, code, call, revoke, call!revoked_token", late, history.Refused, "was revoked, and the client went on"},
		{"call!unknown_token", late, history.Refused, "opens nothing here"},
		{"approve, code, call!not_member", late, history.Refused, "no longer in the team"},
		{"approve, code, call!resource", late, history.Refused, "another address"},
		{"approve, code, call, call!insufficient_scope=pods:exec", late, history.Refused, "needed pods:exec, which this connection was not given. The rest works"},
		{"approve, code, call!insufficient_scope=pods:exec, call", late, history.Works, "It works."},
		{"code, refresh!reused_refresh", late, history.Refused, "the connection was revoked"},
		{"code, refresh!expired_refresh", late, history.Refused, "silent for so long"},
		{"code, refresh!unknown_refresh", late, history.Refused, "does not know"},
		{"code, revoke, refresh!unknown_refresh", late, history.Refused, "The connection was revoked, and the client tried to renew it."},
		{"code, refresh!reused_refresh, refresh!unknown_refresh", late, history.Refused, "was revoked"},
		{"register, refresh!foreign_refresh", late, history.Refused, "of another registration"},
		{"code, refresh!scope", late, history.Refused, "more at a refresh"},
		{"code, refresh!unknown_client", late, history.Refused, "no longer knows"},
		{"code, refresh!malformed", late, history.Refused, "renew its access"},
		{"code, call, revoke=on the home page", late, history.Ended, "was revoked on the home page."},
		{"new kind!new fault", late, history.Refused, "Remove the connector"},
	} {
		d := history.Diagnose(attempt(c.attempt), true, t0.Add(c.after))
		if d.State != c.state || !strings.Contains(d.Text(), c.says) {
			t.Errorf("%s, %v later: %s: %s\nwant %s: %s", c.attempt, c.after, d.State, d.Text(), c.state, c.says)
		}
	}
}

// Where the answer goes decides who failed to fetch the token.
func TestDiagnoseLoopback(t *testing.T) {
	t.Parallel()
	for host, local := range map[string]bool{
		"claude.ai": false, "localhost:3000": true, "127.0.0.1:1": true, "[::1]:80": true, "127.9.9.9": true, "localhost.evil.example": false, "": false, "[::1]": true,
	} {
		a := attempt("consent, approve")
		a.Host = host
		if d := history.Diagnose(a, true, t0.Add(time.Hour)); strings.Contains(d.Usually, "on this computer") != local {
			t.Errorf("%q: %s", host, d.Usually)
		}
	}
}

// A connection that is gone has ended, whatever its last step was, unless the
// step itself says why.
func TestDiagnoseEnded(t *testing.T) {
	t.Parallel()
	for words, want := range map[string]string{
		"approve, code": "its access ran out", "code, call": "its access ran out", "code, revoke=logged out everywhere": "was revoked logged out",
		"code, call, call!expired_token": "old token", "consent, approve": "never came",
	} {
		a := attempt(words)
		if words != "consent, approve" {
			a.Grant = "g"
		}
		if d := history.Diagnose(a, false, t0.Add(time.Hour)); !strings.Contains(d.Text(), want) {
			t.Errorf("%s: %s", words, d.Text())
		}
	}
}

// The most recent step counts, also when it was folded into an earlier one.
func TestDiagnoseLooksAtTheMostRecent(t *testing.T) {
	t.Parallel()
	a := attempt("code, call, refresh!rate_limited")
	a.Steps[1].Count, a.Steps[1].Last = 50, t0.Add(time.Minute)
	if d := history.Diagnose(a, true, t0.Add(time.Hour)); d.State != history.Works {
		t.Errorf("%+v", d)
	}
	if d := history.Diagnose(store.Attempt{}, false, t0); d.What == "" {
		t.Errorf("an empty attempt: %+v", d)
	}
}

// Every kind and every fault has words of its own.
func TestWords(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, kind := range []string{
		history.StepChallenge, history.StepDiscovery, history.StepRegister, history.StepMetadata, history.StepAuthorize, history.StepSignIn, history.StepSignedIn,
		history.StepConsent, history.StepApprove, history.StepDeny, history.StepCode, history.StepRefresh, history.StepCall, history.StepRevoke,
	} {
		text := history.Words(store.Step{Kind: kind})
		if text == kind || seen[text] {
			t.Errorf("%s: %q", kind, text)
		}
		seen[text] = true
	}
	for _, c := range []struct {
		step store.Step
		want string
	}{
		{store.Step{Kind: "discovery", Detail: "resource document (root form)"}, "Read the resource document (root form)"},
		{store.Step{Kind: "register", Detail: "kept localhost:1"}, "Registered itself: kept localhost:1"},
		{store.Step{Kind: "code", Fault: "verifier", Detail: "No."}, "Token refused (verifier): No."},
		{store.Step{Kind: "challenge", Detail: history.DetailCameBack}, "Called again, with a token that is good"},
		{store.Step{Kind: history.StepRegister, Fault: history.FaultServer}, "Registration failed (server_error)"},
	} {
		if got := history.Words(c.step); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}
