package oauth

import (
	"net/url"
	"strings"
	"testing"
)

func TestParseRedirect(t *testing.T) {
	t.Parallel()
	const portless = true
	for _, c := range []struct {
		uri, host string
		local     bool
	}{
		{"https://claude.ai/api/mcp/auth_callback", "claude.ai", false},
		{"https://Claude.AI/cb?x=1&y=%20", "claude.ai", false},
		{"HTTPS://claude.ai/cb", "claude.ai", false},
		{"https://app.example:8443/cb", "app.example:8443", false},
		{"https://xn--80ak6aa92e.com/", "xn--80ak6aa92e.com", false},
		{"https://192.0.2.7/cb", "192.0.2.7", false},
		{"https://[2001:db8::1]:8443/cb", "[2001:db8::1]:8443", false},
		{"https://claude.ai", "claude.ai", false},
		{"https://claude.ai?x=1", "claude.ai", false},
		{"https://localhost:9000/cb", "localhost", portless},
		{"http://localhost:4711/callback", "localhost", portless},
		{"http://LOCALHOST/callback", "localhost", portless},
		{"http://127.0.0.1:33418/", "127.0.0.1", portless},
		{"http://127.8.9.10/", "127.8.9.10", portless},
		{"http://[::1]:6274/oauth/callback", "[::1]", portless},
		{"cursor://anysphere.cursor-retrieval/oauth/callback", "cursor:", true},
		{"com.example.app:/oauth", "com.example.app:", true},
	} {
		got, err := parseRedirect(c.uri, []string{"cursor", "com.example.app"})
		if err != nil || got.host != c.host || got.local != c.local {
			t.Errorf("parseRedirect(%q) = %+v, %v; want host %q, local %v", c.uri, got, err, c.host, c.local)
		}
	}
}

// Every one of these has led a browser somewhere else than a server thought.
func TestParseRedirectRefuses(t *testing.T) {
	t.Parallel()
	for _, uri := range []string{
		"", "https", "https:", "https:/claude.ai/", "https:///cb", "https://", "//claude.ai/cb", "/cb", "claude.ai/cb", "://x",
		"http://claude.ai/cb", "HTTP://claude.ai/cb", "hTTp://claude.ai/cb", "http://192.168.1.1/cb", "http://0.0.0.0/cb",
		"javascript:alert(1)", "JavaScript:alert(1)", "java\tscript:alert(1)", " javascript:alert(1)", "javascript://localhost/%0aalert(1)",
		"data:text/html,x", "vbscript:x", "file:///etc/passwd", "blob:https://a/b", "ftp://a/b", "ws://localhost/", "cursor://x/y", "urn:ietf:wg:oauth:2.0:oob",
		"https://a/#f", "https://a/cb#", "http://localhost:1/cb#@evil.example",
		"https://podgate.localhost/cb", "https://PODGATE.localhost:9/cb", "http://podgate.localhost:9/cb", "https://user@a/cb", "https://user:pw@a/cb", "http://localhost@evil.example/", "http://localhost:80@evil.example/", "http://evil.example@localhost/",
		"http://localhost\\@evil.example/", "http://localhost\\.evil.example/", "https:\\\\a\\cb", "https://a\\b/cb",
		"http://127.0.0.1.evil.example/", "http://localhost.evil.example/", "http://evil.example/localhost", "http://localhost./", "http://127.0.0.1./", "https://a./cb", "https://.a/cb", "https://a..b/cb",
		"http://127.1/", "http://2130706433/", "http://0x7f.0.0.1/", "http://0x7f000001/", "http://0177.0.0.1/", "http://127.0.0.01/", "http://127.0.0.256/", "https://1.2.3/cb", "https://a.0x1/cb", "https://0x/cb",
		"http://[::1%25lo]/", "http://[::1%lo]/", "http://[fe80::1%25eth0]/", "https://[fe80::1%25eth0]/cb", "https://[::1%25lo]/cb", "http://[::ffff:127.0.0.1]/", "http://[::]/", "http://[::1", "http://::1/", "http://[127.0.0.1]/", "https://[]/", "https://[::1]x/",
		"http://localhost:0/", "http://localhost:/", "http://localhost:65536/", "http://localhost:+80/", "http://localhost:8o/", "http://localhost:80:80/", "http://localhost:-1/",
		"http://localhost%2eevil.example/", "http://localhost%2f@evil.example/", "https://%61/cb", "https://a%00/cb", "https://a/%00", "https://a/%0d%0aSet-Cookie:x", "https://a/%7f", "https://a/%", "https://a/%2", "https://a/%zz", "https://a/%+1",
		"https://a/\r\nX: y", "https://a/\x00", "https://a/ b", "https://a/\x7f", "https://a/<script>", "https://a/\"", "https://a/{x}", "https://a/`",
		"https://exämple.com/", "https://аpple.com/", "https://a/ü", "https://a\u3002b/", "https://a\u200b/", "https://ⓛocalhost/", "http://ⓛocalhost/", "http://localhoſt/",
		"https://a/?code=stolen", "https://a/?x=1&state=y", "https://a/?iss=z", "https://a/?%65rror=z", "https://a/?a;b", "https://*/cb", "https://*.example.com/cb", "https://a,b/", "https://a b/",
		"https://" + strings.Repeat("a", 64) + ".example/", "https://" + strings.Repeat("a.", 130) + "example/", "https://a/" + strings.Repeat("a", 503),
	} {
		if got, err := parseRedirect(uri, nil); err == nil {
			t.Errorf("parseRedirect(%q) = %+v", uri, got)
		}
	}
	for _, uri := range []string{"cursor:", "cursor://", "cursor:///", "cursor://user@host/", "Cursor://claude.ai@x", "cursor://[", "cursor://a:b/", "cursor://a%00/", "cursor://%61/"} {
		if got, err := parseRedirect(uri, []string{"cursor"}); err == nil {
			t.Errorf("parseRedirect(%q) = %+v with the scheme allowed", uri, got)
		}
	}
}

func TestMatchRedirect(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		registered, uri string
		want            bool
	}{
		{"https://claude.ai/cb", "https://claude.ai/cb", true},
		{"https://claude.ai/cb", "https://claude.ai/cb/", false},
		{"https://claude.ai/cb", "https://claude.ai/cb?x=1", false},
		{"https://claude.ai/cb", "https://claude.ai/CB", false},
		{"https://claude.ai/cb", "https://CLAUDE.ai/cb", false},
		{"https://claude.ai/cb", "https://claude.ai:443/cb", false},
		{"https://claude.ai/cb", "https://claude.ai/cb/../cb", false},
		{"https://claude.ai/cb", "https://claude.ai/%63b", false},
		{"https://claude.ai/cb", "https://claude.ai.evil.example/cb", false},
		{"https://claude.ai/", "https://claude.ai", false},
		{"http://localhost:4711/callback", "http://localhost:4711/callback", true},
		{"http://localhost:4711/callback", "http://localhost:9/callback", true},
		{"http://localhost/callback", "http://localhost:9/callback", true},
		{"http://localhost:4711/callback", "http://localhost/callback", true},
		{"http://127.0.0.1/", "http://127.0.0.1:33418/", true},
		{"http://[::1]/cb?a=1", "http://[::1]:5/cb?a=1", true},
		{"http://localhost:4711/callback", "http://127.0.0.1:4711/callback", false},
		{"http://localhost:4711/callback", "https://localhost:4711/callback", false},
		{"http://localhost:4711/callback", "http://localhost:4711/callback/", false},
		{"http://localhost:4711/callback", "http://localhost:4711/callback?x", false},
		{"http://localhost:4711/callback", "http://localhost:4711@evil.example/callback", false},
		{"http://localhost/callback", "http://localhost.evil.example/callback", false},
		{"cursor://cb", "cursor://cb", false}, // not allowed any more
	} {
		if _, got := matchRedirect([]string{"https://other.example/", c.registered}, c.uri, nil); got != c.want {
			t.Errorf("registered %q, sent %q: %v", c.registered, c.uri, got)
		}
	}
	if _, ok := matchRedirect([]string{"cursor://cb"}, "cursor://cb", []string{"cursor"}); !ok {
		t.Error("an allowed private-use scheme does not match itself")
	}
}

func TestRespond(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ uri, want string }{
		{"https://a/cb", "https://a/cb?code=c%26d&iss=https%3A%2F%2Fi"},
		{"https://a", "https://a?code=c%26d&iss=https%3A%2F%2Fi"},
		{"https://a/cb?x=%2F+1", "https://a/cb?x=%2F+1&code=c%26d&iss=https%3A%2F%2Fi"},
		{"https://a/cb?", "https://a/cb?code=c%26d&iss=https%3A%2F%2Fi"},
		{"https://a/cb?x&", "https://a/cb?x&code=c%26d&iss=https%3A%2F%2Fi"},
		{"https://a/cb&", "https://a/cb&?code=c%26d&iss=https%3A%2F%2Fi"},
		{"cursor://cb", "cursor://cb?code=c%26d&iss=https%3A%2F%2Fi"},
	} {
		if got := respond(c.uri, pair{"code", "c&d"}, pair{"state", ""}, pair{"iss", "https://i"}); got != c.want {
			t.Errorf("respond(%q) = %q, want %q", c.uri, got, c.want)
		}
	}
	got := respond("https://a/", pair{"state", "a b+c\r\n%#\x00é"})
	if u, err := url.Parse(got); err != nil || u.Query().Get("state") != "a b+c\r\n%#\x00é" || strings.ContainsAny(got, " +\r\n#\x00") {
		t.Errorf("state does not survive: %q", got)
	}
}

// FuzzRedirect holds the parser against net/url: what it accepts must have one
// reading only, and the answer that is built on it must lead to the same place.
func FuzzRedirect(f *testing.F) {
	for _, seed := range []string{testRedirect, "https://claude.ai/cb?x=1", "http://[::1]:1/", "http://localhost@evil/", "cursor://x/y", "https://a\\b", "http://127.1", "https://a/%0d", "cursor:&", "cursor://["} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, uri string) {
		got, err := parseRedirect(uri, []string{"cursor"})
		if err != nil {
			return
		}
		u, err := url.Parse(uri)
		if err != nil {
			t.Fatalf("net/url refuses %q: %v", uri, err)
		}
		if u.User != nil || u.Fragment != "" || strings.Contains(uri, "#") {
			t.Fatalf("%q has user or fragment", uri)
		}
		switch u.Scheme {
		case "cursor":
		case "http", "https":
			host := strings.ToLower(u.Host)
			if got.local {
				host = strings.ToLower(u.Hostname())
			}
			if host == "" || host != got.host && "["+host+"]" != got.host {
				t.Fatalf("%q: host %q, net/url says %q", uri, got.host, host)
			}
			if u.Scheme == "http" && !got.local {
				t.Fatalf("%q: http beyond loopback", uri)
			}
		default:
			t.Fatalf("%q: scheme %q", uri, u.Scheme)
		}
		back, err := url.Parse(respond(uri, pair{"code", "c"}, pair{"state", "s t"}))
		if err != nil || back.Host != u.Host || back.Scheme != u.Scheme || back.Path != u.Path || back.Query().Get("code") != "c" || back.Query().Get("state") != "s t" {
			t.Fatalf("answer to %q is %v, %v", uri, back, err)
		}
		if _, ok := matchRedirect([]string{uri}, uri, []string{"cursor"}); !ok {
			t.Fatalf("%q does not match itself", uri)
		}
	})
}
