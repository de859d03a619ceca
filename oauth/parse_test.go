package oauth

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"podgate/internal/authz"
	"podgate/internal/text"
	"podgate/internal/web"
	"podgate/store"
)

var testAudience = newAudience(testIssuer)

func TestAudience(t *testing.T) {
	t.Parallel()
	for param, want := range map[string]bool{
		"https://pods.example.com/api/mcp":                      true,
		"https://pods.example.com/api/mcp/":                     true,
		"https://pods.example.com/api/mcp?x=1":                  true,
		"https://pods.example.com/api/mcp/?x=1/2":               true,
		"HTTPS://PODS.example.COM/api/mcp":                      true,
		"":                                                      false,
		"https://pods.example.com":                              false,
		"https://pods.example.com/":                             false,
		"https://pods.example.com/api":                          false,
		"https://pods.example.com/API/MCP":                      false,
		"https://pods.example.com/api/mcp//":                    false,
		"https://pods.example.com//api/mcp":                     false,
		"https://pods.example.com/api/mcpx":                     false,
		"https://pods.example.com/api/mcp/x":                    false,
		"https://pods.example.com/api/%6dcp":                    false,
		"https://pods.example.com/x/../api/mcp":                 false,
		"https://pods.example.com/api/mcp#x":                    false,
		"https://pods.example.com/api/mcp?x#y":                  false,
		"https://pods.example.com:443/api/mcp":                  false,
		"https://pods.example.com./api/mcp":                     false,
		"https://user@pods.example.com/api/mcp":                 false,
		"https://pods.example.com@evil/api/mcp":                 false,
		"https://pods.example.com.evil/api/mcp":                 false,
		"https://pods.example.com?/api/mcp":                     false,
		"http://pods.example.com/api/mcp":                       false,
		" https://pods.example.com/api/mcp":                     false,
		"https:pods.example.com/api/mcp":                        false,
		"https:///pods.example.com/api/mcp":                     false,
		"//pods.example.com/api/mcp":                            false,
		"https://evil.example/https://pods.example.com/api/mcp": false,
	} {
		if got := testAudience.named(param) != nil; got != want {
			t.Errorf("names(%q) = %v", param, got)
		}
	}
}

func TestKnownScopes(t *testing.T) {
	t.Parallel()
	all := joinScopes(authz.Scopes())
	for param, want := range map[string]string{
		"": all, "   ": all, "openid email profile": all, "offline_access": all, "pods": all, "PODS:READ": all, "pods:read,pods:exec": all,
		"pods:read": "pods:read", "pods:exec pods:read": "pods:read pods:exec", "pods:exec\tpods:exec admin": "pods:exec", all: all,
	} {
		if got := joinScopes(knownScopes(param)); got != want {
			t.Errorf("knownScopes(%q) = %q, want %q", param, got, want)
		}
	}
}

// Every scope that exists is put in words on the consent page.
func TestScopeTexts(t *testing.T) {
	t.Parallel()
	for _, c := range (offer{scopes: authz.Scopes()}).consentScopes(authz.Scopes()[:1]) {
		if c.Text == string(c.Scope) || c.Text == "" {
			t.Errorf("scope %s has no words", c.Scope)
		}
		if c.Checked != (c.Scope == authz.Scopes()[0]) {
			t.Errorf("scope %s ticked: %v", c.Scope, c.Checked)
		}
	}
}

func TestParseBasic(t *testing.T) {
	t.Parallel()
	enc := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	for _, c := range []struct{ header, id, secret string }{
		{"Basic " + enc("abc:"), "abc", ""},
		{"basic " + enc("abc:"), "abc", ""},
		{"BASIC   " + enc("abc:pw"), "abc", "pw"},
		{"Basic " + enc("abc:a:b"), "abc", "a:b"},
		{"Basic " + enc("https%3A%2F%2Fa%2Fb:"), "https://a/b", ""},
		{"Basic " + enc("a+b:c%3A"), "a b", "c:"},
	} {
		id, secret, err := parseBasic([]string{c.header})
		if err != nil || id != c.id || secret != c.secret {
			t.Errorf("parseBasic(%q) = %q, %q, %v", c.header, id, secret, err)
		}
	}
	for _, header := range []string{
		"", "Basic", "Basic ", "Basic abc", "Basic " + enc("abc"), "Basic " + enc(":"), "Basic " + enc(":pw"), "Basic " + enc("%zz:"), "Basic " + enc("a:%"),
		"Bearer " + enc("abc:"), "Basic" + enc("abc:"), "Basic " + enc("abc:") + "x", "Basic " + enc(strings.Repeat("a", maxBasic)+":"),
	} {
		if id, _, err := parseBasic([]string{header}); err == nil {
			t.Errorf("parseBasic(%.40q) = %q", header, id)
		}
	}
	if _, _, err := parseBasic([]string{"Basic " + enc("a:"), "Basic " + enc("a:")}); err == nil {
		t.Error("two headers are accepted")
	}
}

func TestVerifiers(t *testing.T) {
	t.Parallel()
	if challengeOf(testVerifier) != testChallenge {
		t.Error("RFC 7636 appendix B does not come out")
	}
	for s, want := range map[string]bool{
		strings.Repeat("a", 42): false, strings.Repeat("a", 43): true, strings.Repeat("~", 128): true, strings.Repeat("a", 129): false,
		strings.Repeat("a", 42) + "é": false, strings.Repeat("a", 42) + "+": false, strings.Repeat("a", 42) + "\n": false, strings.Repeat("a", 40) + "-._": true,
	} {
		if isVerifier(s) != want {
			t.Errorf("isVerifier(%q) = %v", s, !want)
		}
	}
	short := url.Values{"code": {"c"}, "redirect_uri": {"https://example.com/cb"}, "code_verifier": {strings.Repeat("a", 42)}}
	if err := parseCode(short, &tokenRequest{}); err == nil {
		t.Errorf("a short verifier: %v", err)
	}
	for s, want := range map[string]bool{
		testChallenge: true, testChallenge + "=": false, testChallenge[1:]: false, testChallenge[:42] + "+": false, testChallenge[:42] + "\n": false,
	} {
		if isChallenge(s) != want {
			t.Errorf("isChallenge(%q) = %v", s, !want)
		}
	}
}

// Secrets have the strength and the form that the rest relies on.
func TestSecrets(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 1000 {
		s := newSecret()
		if raw, err := base64.RawURLEncoding.DecodeString(s); err != nil || len(raw) != 32 || len(s) != secretLen || seen[s] {
			t.Fatalf("secret %q: %v", s, err)
		}
		seen[s] = true
	}
}

// checkFault holds an error against what RFC 6749 section 5.2 lets stand in it.
func checkFault(t *testing.T, err error, secrets ...string) {
	t.Helper()
	var e *web.Error
	if !errors.As(err, &e) || e.Status != 400 && e.Status != 401 || !slices.Contains(answerCodes(), e.Code) {
		t.Fatalf("not a protocol error: %v", err)
	}
	var word reason
	if !errors.As(err, &word) || word == "" {
		t.Fatalf("no word of the timeline in %v", err)
	}
	if e.Message == "" || describable(e.Message) != e.Message {
		t.Fatalf("description %q", e.Message)
	}
	for _, secret := range secrets {
		if len(secret) > 20 && strings.Contains(err.Error(), secret) {
			t.Fatalf("%q quotes %q", err, secret)
		}
	}
}

func FuzzAuthorize(f *testing.F) {
	f.Add(request("abc").Encode())
	f.Add(with(request("abc"), "code_challenge_method=plain").Encode())
	f.Add(with(request("abc"), "scope=pods:read openid", "state").Encode())
	f.Add(request("abc").Encode() + "&state=2")
	f.Add(with(request("abc"), "state=\xff").Encode())
	f.Add("client_id=a&redirect_uri=b&response_type=code&code_challenge=&resource=x")
	f.Fuzz(func(t *testing.T, raw string) {
		q, err := parseQuery(raw)
		if err != nil {
			return
		}
		a, err := parseClaims(q)
		complete := true
		for _, name := range []string{"client_id", "redirect_uri", "response_type", "code_challenge"} {
			complete = complete && len(q[name]) == 1 && q[name][0] != ""
		}
		if complete != (err == nil) {
			t.Fatalf("complete %v, refusal %+v", complete, err)
		}
		var refused *refusal
		if errors.As(err, &refused) {
			if refused.code != "" || refused.returnURI != "" || refused.fault == "" || a.redirectURI != "" {
				t.Fatalf("a request without proof leads somewhere: %+v %+v", refused, a)
			}
			return
		}
		if a.state != nil && (*a.state == "" || len(q["state"]) != 1 || *a.state != q["state"][0]) {
			t.Fatalf("state %q of %q", *a.state, q["state"])
		}
		if refused := a.parseRest(q, testAudience); refused != nil {
			if refused.code == "" || refused.title == "" || refused.message == "" || refused.fault == "" {
				t.Fatalf("refusal without words: %+v", refused)
			}
			return
		}
		if q.Get("code_challenge_method") != "S256" || len(q["code_challenge_method"]) != 1 || !isChallenge(a.challenge) || q.Get("response_type") != "code" ||
			len(a.scopes) == 0 || q.Get("resource") != "" && testAudience.named(q.Get("resource")) == nil || a.state != nil && !utf8.ValidString(*a.state) {
			t.Fatalf("accepted %q as %+v", raw, a)
		}
	})
}

func FuzzToken(f *testing.F) {
	f.Add(exchange("abc", "code").Encode(), "")
	f.Add(with(exchange("abc", "code"), "client_id").Encode(), "Basic YWJjOg==")
	f.Add(with(exchange("abc", "code"), "code_verifier").Encode(), "Bearer x")
	f.Add("grant_type=refresh_token&refresh_token=x", "")
	f.Add("grant_type=refresh_token&client_id=a&refresh_token=pgrt_x&scope=pods:read+offline_access", "")
	f.Add("grant_type=authorization_code&grant_type=x", "Basic !")
	f.Fuzz(func(t *testing.T, body, authorization string) {
		form, err := url.ParseQuery(body)
		if err != nil {
			return
		}
		var headers []string
		if authorization != "" {
			headers = []string{authorization}
		}
		got, err := parseToken(form, headers, testAudience, grantTypes(true))
		if err != nil {
			checkFault(t, err, form.Get("code"), form.Get("refresh_token"), form.Get("code_verifier"), form.Get("client_secret"), authorization)
			return
		}
		complete := got.code != "" && got.redirectURI != "" && isVerifier(got.verifier)
		sole := []string{"grant_type", "client_id", "client_secret", "resource", "code", "redirect_uri", "code_verifier"}
		if got.grant.name == grantRefresh {
			complete = got.refresh != "" && got.refresh == form.Get("refresh_token") && got.code == ""
			sole = append(sole[:4], "refresh_token", "scope")
		}
		if got.grant.name != form.Get("grant_type") || got.client == "" || !complete || got.resources != nil && !slices.Equal(got.resources, testAudience.resources()) {
			t.Fatalf("accepted %q as %+v", body, got)
		}
		for _, name := range sole {
			if len(form[name]) > 1 {
				t.Fatalf("%s twice in %q", name, body)
			}
		}
		if form.Get("client_secret") != "" || form.Get("client_id") != "" && form.Get("client_id") != string(got.client) {
			t.Fatalf("accepted %q for client %q", body, got.client)
		}
	})
}

func FuzzBasic(f *testing.F) {
	f.Add("Basic YWJjOg==")
	f.Add("basic  YTpiOmM=")
	f.Add("Basic JTQxOg==")
	f.Fuzz(func(t *testing.T, header string) {
		id, secret, err := parseBasic([]string{header})
		if err != nil {
			checkFault(t, err, header)
			return
		}
		again := "Basic " + base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(id)+":"+url.QueryEscape(secret)))
		id2, secret2, err := parseBasic([]string{again})
		if len(again) <= maxBasic && (err != nil || id2 != id || secret2 != secret) {
			t.Fatalf("%q gives %q, %q; written again %q, %q, %v", header, id, secret, id2, secret2, err)
		}
	})
}

func FuzzRegistration(f *testing.F) {
	f.Add([]byte(`{"redirect_uris":["https://a/cb","cursor://x"],"client_name":"x","scope":"pods:read"}`))
	f.Add([]byte(`{"redirect_uris":"http://localhost","client_name":["a",null],"scope":["a"]}`))
	f.Add([]byte(`{"redirect_uris":[1,{},[]],"redirect_uris":["https://a"]}`))
	f.Add([]byte(`null`))
	f.Add([]byte(`{"redirect_uris":["https://a"],"client_name":"\u202e\u0000\ud800"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		reg, err := parseRegistration(body, []string{"cursor"})
		if err != nil {
			checkFault(t, err)
			return
		}
		if n := len(reg.redirectURIs); n == 0 || n > maxRedirectURIs || len(reg.scopes) == 0 {
			t.Fatalf("accepted %q as %+v", body, reg)
		}
		for _, uri := range reg.redirectURIs {
			if _, err := parseRedirect(uri, []string{"cursor"}); err != nil {
				t.Fatalf("kept %q: %v", uri, err)
			}
		}
		checkName(t, reg.name)
		c := store.Client{ID: "x", Name: reg.name, RedirectURIs: reg.redirectURIs, GrantTypes: grantTypeNames(reg.refresh), Scopes: reg.scopes}
		answer, err := json.Marshal((&Server{refreshTTL: 1}).describeClient(c))
		if err != nil || strings.Contains(string(answer), "null") && !strings.Contains(string(body), "null") || strings.Contains(string(answer), `"client_secret`) {
			t.Fatalf("answer %s, %v", answer, err)
		}
	})
}

func checkName(t *testing.T, name string) {
	t.Helper()
	shown := text.Line(name, maxNameShown)
	if n := utf8.RuneCountInString(shown); n > maxNameShown || utf8.RuneCountInString(name) > maxNameStored || !utf8.ValidString(name) {
		t.Fatalf("name %q, shown %q", name, shown)
	}
	if strings.TrimSpace(name) != name || strings.Contains(name, "  ") || text.Line(name, maxNameStored) != name {
		t.Fatalf("name %q is not clean", name)
	}
	for _, c := range name {
		if unicode.Is(unicode.C, c) || unicode.Is(unicode.Zl, c) || unicode.Is(unicode.Zp, c) {
			t.Fatalf("name %q holds %U", name, c)
		}
	}
}
