package oauth

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/modelcontextprotocol/go-sdk/oauthex"

	"podgate/store"
)

// loopbackNames are the issuers of a server on loopback, its own first.
var loopbackNames = []string{"http://localhost:8080", "http://127.0.0.1:8080", "http://[::1]:8080"}

// atPages are the headers of a browser at the pages of that server.
var atPages = []string{"Host: podgate.localhost:8080", "Origin: http://podgate.localhost:8080"}

func onLoopback(c *Config) { c.Issuer, c.Aliases = loopbackNames[0], loopbackNames[1:] }

// told is what a server says of itself to a client that comes under a host:
// resource, authorization server and issuer of the documents, and where the
// challenges of 401 and 403 lead.
func (f *fixture) told(host string) []string {
	f.Helper()
	var resource resourceDocument
	var server serverDocument
	f.must(json.Unmarshal([]byte(f.send("GET", "/.well-known/oauth-protected-resource", "", "Host: "+host).body), &resource))
	f.must(json.Unmarshal([]byte(f.send("GET", "/.well-known/oauth-authorization-server", "", "Host: "+host).body), &server))
	w, r := httptest.NewRecorder(), httptest.NewRequest("POST", "/api/mcp", nil)
	r.Host = host
	f.InsufficientScope(w, r, []store.Scope{"pods:exec"})
	out := []string{resource.Resource, resource.Servers[0], server.Issuer, server.AuthorizationEndpoint, server.TokenEndpoint, server.RegistrationEndpoint, server.RevocationEndpoint}
	for _, challenge := range []string{
		f.send("POST", "/api/mcp", "", "Host: "+host).header.Get("WWW-Authenticate"),
		f.send("POST", "/api/mcp", "", "Host: "+host, "Authorization: Bearer x").header.Get("WWW-Authenticate"),
		w.Header().Get("WWW-Authenticate"),
	} {
		list, err := oauthex.ParseWWWAuthenticate([]string{challenge})
		f.must(err)
		out = append(out, list[0].Params["resource_metadata"])
	}
	return out
}

func wantTold(issuer string) []string {
	metadata := issuer + "/.well-known/oauth-protected-resource/api/mcp"
	return []string{
		issuer + "/api/mcp", issuer, issuer, issuer + "/oauth/authorize", issuer + "/api/oauth/token", issuer + "/api/oauth/register", issuer + "/api/oauth/revoke",
		metadata, metadata, metadata,
	}
}

// On loopback a client reads of the server under the name that it asked for, if
// that is one of the few there are, and of the first of them under any other.
func TestDiscoveryFollowsLoopbackNames(t *testing.T) {
	t.Parallel()
	f := newFixture(t, onLoopback)
	for _, issuer := range loopbackNames {
		if diff := cmp.Diff(wantTold(issuer), f.told(hostIn(issuer))); diff != "" {
			t.Errorf("asked for as %s (-want +got):\n%s", issuer, diff)
		}
	}
	for _, host := range []string{
		"localhost", "localhost:9090", "127.0.0.1", "127.0.0.1:80800", "127.0.0.1:9090", "127.0.0.2:8080", "127.1:8080", "[::1]", "[::2]:8080", "[::ffff:127.0.0.1]:8080", "::1:8080",
		"podgate.localhost:8080", "evil.example", "127.0.0.1:8080.evil.example", "127.0.0.1.evil.example:8080", "evil@127.0.0.1:8080", "127.0.0.1:8080/evil", `127.0.0.1:8080"`, "",
	} {
		if diff := cmp.Diff(wantTold(loopbackNames[0]), f.told(host)); diff != "" {
			t.Errorf("asked for as %q (-want +got):\n%s", host, diff)
		}
	}
	// A server with a public URL has one name.
	f = newFixture(t)
	for _, host := range []string{"localhost:8080", "127.0.0.1:8080", "[::1]:8080", "127.0.0.1:443", "pods.example.com"} {
		if diff := cmp.Diff(wantTold(testIssuer), f.told(host)); diff != "" {
			t.Errorf("asked for as %s (-want +got):\n%s", host, diff)
		}
	}
}

// The names are one server: a client may register under one, be approved under
// another and call under the third, and the issuer in the answer is the one
// whose resource it asked for (RFC 9207 section 2.4).
func TestATokenHoldsUnderEachName(t *testing.T) {
	t.Parallel()
	f := newFixture(t, onLoopback)
	for _, asked := range loopbackNames {
		client := f.register()
		for _, named := range append([]string{""}, loopbackNames...) {
			approved := f.location(f.decide(approval(f.handle(f.visit(with(request(client), "resource="+asked+"/api/mcp"))), "red"), "alice", atPages...))
			if approved.Get("iss") != asked {
				t.Errorf("asked under %s, answered by %s", asked, approved.Get("iss"))
			}
			redeem := exchange(client, approved.Get("code"))
			if named != "" {
				redeem.Set("resource", named+"/api/mcp")
			}
			token, refresh := f.tokens(f.post("/api/oauth/token", redeem, "Host: "+hostIn(loopbackNames[1])))
			if named != "" {
				token, _ = f.tokens(f.refresh(client, refresh, "resource="+named+"/api/mcp"))
			}
			for _, name := range loopbackNames {
				if a := f.send("POST", "/api/mcp", "{}", "Authorization: Bearer "+token, "Host: "+hostIn(name)); a.status != http.StatusOK {
					t.Errorf("asked under %s, redeemed for %q: %d at %s: %s", asked, named, a.status, name, a.body)
				}
			}
		}
		deny := f.visit(with(request(client), "resource="+asked+"/api/mcp"))
		if denied := f.location(f.decide(values("request="+f.handle(deny), "decision=deny"), "alice", atPages...)); denied.Get("iss") != asked {
			t.Errorf("denied under %s, answered by %s", asked, denied.Get("iss"))
		}
		if a := f.visit(with(request(client), "resource="+asked+"/api/mcp", "code_challenge_method=plain")); !strings.Contains(a.body, "iss="+url.QueryEscape(asked)) {
			t.Errorf("refused under %s: %s", asked, a.body)
		}
	}
}

// What only looks like one of the names is another resource.
func TestOtherNamesAreOtherResources(t *testing.T) {
	t.Parallel()
	f := newFixture(t, onLoopback)
	client := f.register()
	for _, resource := range []string{
		"http://127.0.0.2:8080/api/mcp", "http://127.0.0.1:9090/api/mcp", "http://127.0.0.1/api/mcp", "https://127.0.0.1:8080/api/mcp", "http://podgate.localhost:8080/api/mcp",
		"http://[::1]:8080/api/mcpx", "http://[0:0:0:0:0:0:0:1]:8080/api/mcp", "http://localhost:8080@evil.example/api/mcp",
	} {
		if a := f.visit(with(request(client), "resource="+resource)); !strings.Contains(a.body, "Wrong resource") {
			t.Errorf("authorization for %s: %d %s", resource, a.status, a.body)
		}
		if a := f.post("/api/oauth/token", with(exchange(client, "x"), "resource="+resource)); !strings.Contains(a.body, "invalid_target") {
			t.Errorf("token for %s: %d %s", resource, a.status, a.body)
		}
		if a := f.call(f.grantFor(resource)); a.status != http.StatusUnauthorized {
			t.Errorf("call with a token for %s: %d", resource, a.status)
		}
	}
}

// visit is authorize at the pages of a server on loopback, as alice.
func (f *fixture) visit(q url.Values) answer {
	f.Helper()
	return f.send("GET", "/oauth/authorize?"+q.Encode(), "", append(atPages[:1:1], "Cookie: session=alice")...)
}

// A browser is sent on from the name that the client knows to that of the pages,
// with the same path and query, before anything is looked up or noted. What the
// client meant by the name is not lost on the way: without a resource it means
// the one there.
func TestBrowsersAreSentToThePages(t *testing.T) {
	t.Parallel()
	f := newFixture(t, onLoopback)
	q := with(request(f.register()), "resource").Encode()
	here := "&resource=" + url.QueryEscape("http://127.0.0.1:8080/api/mcp")
	for _, c := range []struct{ host, target, want string }{
		{"localhost:8080", "/oauth/authorize?" + q, "http://podgate.localhost:8080/oauth/authorize?" + q},
		{"localhost:8080", "/authorize?" + q, "http://podgate.localhost:8080/authorize?" + q},
		{"127.0.0.1:8080", "/oauth/authorize?" + q, "http://podgate.localhost:8080/oauth/authorize?" + q + here},
		{"127.0.0.1:8080", "/oauth/authorize?" + q + "&resource=x", "http://podgate.localhost:8080/oauth/authorize?" + q + "&resource=x"},
		{"127.0.0.1:8080", "/oauth/authorize", "http://podgate.localhost:8080/oauth/authorize"},
		{"localhost:9000", "/oauth/authorize?" + q, "http://podgate.localhost:9000/oauth/authorize?" + q}, // through a tunnel
	} {
		a := f.send("GET", c.target, "", "Host: "+c.host, "Cookie: session=alice")
		if a.status != http.StatusFound || a.header.Get("Location") != c.want || a.header.Get("Set-Cookie") != "" || a.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s%s: %d %v", c.host, c.target, a.status, a.header)
		}
	}
	_, after, _ := strings.Cut(f.send("GET", "/oauth/authorize?"+q, "", "Host: 127.0.0.1:8080").header.Get("Location"), "?")
	page := f.send("GET", "/oauth/authorize?"+after, "", append(atPages[:1:1], "Cookie: session=alice")...)
	if iss := f.location(f.decide(approval(f.handle(page), "red"), "alice", atPages...)).Get("iss"); iss != "http://127.0.0.1:8080" {
		t.Errorf("asked at 127.0.0.1 without a resource, answered by %s", iss)
	}
	// Forms count at the pages only, wherever they say to be from.
	handle := f.handle(f.visit(with(request(f.register()), "resource")))
	for _, elsewhere := range [][]string{
		{"Host: localhost:8080", "Origin: http://localhost:8080"}, {"Host: localhost:8080", "Origin: http://podgate.localhost:8080"},
		{"Host: podgate.localhost:8080", "Origin: http://localhost:8080"}, {"Host: podgate.localhost:8080", "Origin: http://podgate.localhost:9000"},
		{"Host: localhost:8080", "Origin: null", "Sec-Fetch-Site: same-origin"},
	} {
		if a := f.decide(approval(handle, "red"), "alice", elsewhere...); a.status != http.StatusForbidden {
			t.Errorf("a decision with %v: %d", elsewhere, a.status)
		}
	}
}

func hostIn(issuer string) string { return strings.TrimPrefix(issuer, "http://") }
