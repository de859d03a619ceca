package oauth

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"podgate/internal/webfetch"
	"podgate/store"
)

// asApp is an authorization request of the client at appURL.
func asApp(pairs ...string) url.Values {
	return with(request(appURL), append([]string{"redirect_uri=" + appRedirect}, pairs...)...)
}

// onlineFixture has a published document for appURL.
func onlineFixture(t *testing.T, change ...func(*Config)) (*fixture, *internet) {
	t.Helper()
	n := newInternet(t)
	n.publish(appURL, appDocument())
	return newFixture(t, append([]func(*Config){online(n)}, change...)...), n
}

// The whole way of a client that never registered: consent that names the host
// of its document, a token, its use, and its end, with one fetch.
func TestDocumentFlow(t *testing.T) {
	t.Parallel()
	f, n := onlineFixture(t)
	page := f.authorize(asApp(), "alice")
	for _, want := range []string{`client: "Example App"`, "host: app.example.com loopback: false", "described by: app.example.com"} {
		if !strings.Contains(page.body, want) {
			t.Errorf("the consent page lacks %q:\n%s", want, page.body)
		}
	}
	code := f.location(f.decide(approval(f.handle(page), "red"), "alice")).Get("code")
	a := f.post("/api/oauth/token", with(exchange(appURL, code), "redirect_uri="+appRedirect))
	token := tokenPattern.FindString(a.body)
	if a.status != http.StatusOK || f.call(token).status != http.StatusOK {
		t.Fatalf("token: %d %s", a.status, a.body)
	}
	// Its loopback URI has no port, which stands for every port.
	if a := f.authorize(asApp("redirect_uri=http://localhost:50123/callback"), "bob"); !strings.Contains(a.body, "loopback: true") {
		t.Errorf("loopback: %d %s", a.status, a.body)
	}
	f.post("/api/oauth/revoke", values("client_id="+appURL, "token="+token))
	if a := f.call(token); a.status != http.StatusUnauthorized {
		t.Errorf("after revocation: %d", a.status)
	}
	if got := n.requests(appURL); got != 1 {
		t.Errorf("%d fetches", got)
	}
}

// A document decides where codes may go, as a registration does.
func TestDocumentRedirects(t *testing.T) {
	t.Parallel()
	f, _ := onlineFixture(t)
	for _, uri := range []string{"https://evil.example/callback", appRedirect + "/", "https://app.example.com:8443/callback", "http://localhost:1/other"} {
		if a := f.authorize(asApp("redirect_uri="+uri), "alice"); a.status != http.StatusBadRequest || !strings.Contains(a.body, "Unknown redirect address") {
			t.Errorf("%s: %d %s", uri, a.status, a.body)
		}
	}
}

// A document on one host may send people to another, as real ones do; the page
// then shows both hosts, and the certain one is not the one of the name.
func TestDocumentCannotPose(t *testing.T) {
	t.Parallel()
	n := newInternet(t)
	const evil = "https://evil.example/claude.ai/client.json"
	n.publish(evil, `{"client_id":"`+evil+`","client_name":"Claude (claude.ai)","client_uri":"https://claude.ai","redirect_uris":["https://claude.ai/api/mcp/auth_callback","https://evil.example/cb"]}`)
	f := newFixture(t, online(n))
	for uri, host := range map[string]string{"https://claude.ai/api/mcp/auth_callback": "claude.ai", "https://evil.example/cb": "evil.example"} {
		a := f.authorize(with(request(evil), "redirect_uri="+uri), "alice")
		if !strings.Contains(a.body, "described by: evil.example\n") || !strings.Contains(a.body, "host: "+host+" ") {
			t.Errorf("%s: %s", uri, a.body)
		}
	}
}

// What is wrong with a description is told in plain words, with its host and
// with nothing else that somebody else chose.
func TestDocumentRefusals(t *testing.T) {
	t.Parallel()
	const hostile = "<script>alert(1)</script>"
	for name, c := range map[string]struct {
		publish func(*internet)
		want    string
	}{
		"absent":         {func(n *internet) { n.answer(appURL, 404) }, "has no such description (status 404)"},
		"gone":           {func(n *internet) { n.answer(appURL, 410) }, "has no such description (status 410)"},
		"server fault":   {func(n *internet) { n.answer(appURL, 503) }, "answers with an error (status 503)"},
		"forbidden":      {func(n *internet) { n.answer(appURL, 403) }, "answers with an error (status 403)"},
		"redirect":       {func(n *internet) { n.answer(appURL, 302) }, "redirects are not followed"},
		"created":        {func(n *internet) { n.answer(appURL, 201) }, "status 201 in place of 200"},
		"a page":         {func(n *internet) { n.publish(appURL, hostile, "Content-Type: text/html") }, "is not JSON"},
		"compressed":     {func(n *internet) { n.publish(appURL, appDocument(), "Content-Encoding: gzip") }, "sent compressed"},
		"large":          {func(n *internet) { n.publish(appURL, appDocument(`x="`+strings.Repeat("x", 70_000)+`"`)) }, "larger than 64 KiB"},
		"an array":       {func(n *internet) { n.publish(appURL, `["`+hostile+`"]`) }, "it is not a JSON object"},
		"another":        {func(n *internet) { n.publish(appURL, appDocument(`client_id="`+hostile+`"`)) }, "client_id in it is not the address"},
		"no name":        {func(n *internet) { n.publish(appURL, appDocument("client_name=null")) }, "no client_name"},
		"no redirects":   {func(n *internet) { n.publish(appURL, appDocument("redirect_uris=null")) }, "no redirect_uris"},
		"bad redirects":  {func(n *internet) { n.publish(appURL, appDocument(`redirect_uris=["javascript:`+hostile+`"]`)) }, "none of its redirect_uris can be used"},
		"a secret":       {func(n *internet) { n.publish(appURL, appDocument(`client_secret="s3cr3t-`+hostile+`"`)) }, "holds a client_secret"},
		"keys only":      {func(n *internet) { n.publish(appURL, appDocument(`token_endpoint_auth_method="private_key_jwt"`)) }, "does not allow none"},
		"other grants":   {func(n *internet) { n.publish(appURL, appDocument(`grant_types=["client_credentials"]`)) }, "leave out authorization_code"},
		"other answers":  {func(n *internet) { n.publish(appURL, appDocument(`response_types=["token"]`)) }, "leave out code"},
		"no network":     {func(n *internet) { n.set(true) }, "cannot be reached"},
		"private":        {func(n *internet) { n.addrs["app.example.com"] = "192.168.7.9" }, "not on the public internet"},
		"this machine":   {func(n *internet) { n.addrs["app.example.com"] = "::1" }, "not on the public internet"},
		"cloud metadata": {func(n *internet) { n.addrs["app.example.com"] = "169.254.169.254" }, "not on the public internet"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newInternet(t)
			c.publish(n)
			a := newFixture(t, online(n)).authorize(asApp(), "alice")
			if a.status != http.StatusBadRequest || !strings.Contains(a.body, c.want) || !strings.Contains(a.body, "app.example.com") {
				t.Errorf("%d %s", a.status, a.body)
			}
			for _, secret := range []string{"<script", "192.168", "169.254", "::1", "s3cr3t"} {
				if strings.Contains(a.body, secret) {
					t.Errorf("the page holds %q: %s", secret, a.body)
				}
			}
		})
	}
}

// An identifier that is no address of a document is refused without asking
// anybody.
func TestDocumentAddresses(t *testing.T) {
	t.Parallel()
	f, n := onlineFixture(t)
	for id, want := range map[string]string{
		"https://app.example.com/":                  "it has no path",
		"https://127.0.0.1/client.json":             "not a name on the internet",
		"https://app.example.com:8443/client.json":  "it names a port",
		"https://u@app.example.com/client.json":     "user name",
		"https://app.example.com/a/../client.json":  "dot segment",
		"https://app.example.com/<script>":          "a character that a URI cannot hold",
		"https://app.example.com/client.json#x":     "fragment",
		"https://pods.example.com/oauth/authorize":  "this server itself",
		"http://app.example.com/oauth/client.json":  "does not know the app",
		"HTTPS://app.example.com/oauth/client.json": "does not know the app",
	} {
		a := f.authorize(asApp("client_id="+id), "alice")
		if a.status != http.StatusBadRequest || !strings.Contains(a.body, want) || strings.Contains(a.body, "<script>") {
			t.Errorf("%s: %d %s", id, a.status, a.body)
		}
	}
	if len(n.asked) > 0 {
		t.Errorf("asked for %v", n.asked)
	}
}

// Nobody who is not signed in can make this server ask another.
func TestDocumentIsFetchedForPeopleOnly(t *testing.T) {
	t.Parallel()
	f, n := onlineFixture(t)
	a := f.send("GET", "/oauth/authorize?"+asApp().Encode(), "")
	if a.status != http.StatusSeeOther || !strings.HasPrefix(a.header.Get("Location"), "/signin?next=") || n.requests(appURL) != 0 {
		t.Errorf("%d %v after %d fetches", a.status, a.header, n.requests(appURL))
	}
	// The page is the same whether or not the app has been here.
	f.handle(f.authorize(asApp(), "alice"))
	for _, q := range []string{asApp().Encode(), asApp("redirect_uri=https://evil.example/").Encode()} {
		if a := f.send("GET", "/oauth/authorize?"+q, ""); a.status != http.StatusSeeOther {
			t.Errorf("a stranger is told: %d %s", a.status, a.body)
		}
	}
	f, n = onlineFixture(t)
	// The token and revocation endpoints never fetch.
	for _, path := range []string{"/api/oauth/token", "/api/oauth/revoke"} {
		if a := f.post(path, with(exchange(appURL, "x"), "token=x")); a.status != http.StatusUnauthorized || !strings.Contains(a.body, "invalid_client") || n.requests(appURL) != 0 {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
}

// The last good copy is used while its host cannot say anything about it, and
// not against its word.
func TestDocumentCopies(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*internet)
		used   bool
	}{
		"no network":   {func(n *internet) { n.set(true) }, true},
		"403":          {func(n *internet) { n.answer(appURL, 403) }, true},
		"429":          {func(n *internet) { n.answer(appURL, 429) }, true},
		"500":          {func(n *internet) { n.answer(appURL, 500) }, true},
		"private":      {func(n *internet) { n.addrs["app.example.com"] = "10.0.0.1" }, true},
		"404":          {func(n *internet) { n.answer(appURL, 404) }, false},
		"410":          {func(n *internet) { n.answer(appURL, 410) }, false},
		"redirect":     {func(n *internet) { n.answer(appURL, 301) }, false},
		"other client": {func(n *internet) { n.publish(appURL, appDocument(`client_id="x"`)) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, n := onlineFixture(t)
			f.handle(f.authorize(asApp(), "alice"))
			f.clock.advance(freshDefault)
			c.change(n)
			a := f.authorize(asApp(), "alice")
			if used := a.status == http.StatusOK; used != c.used {
				t.Errorf("%d %s", a.status, a.body)
			}
		})
	}
}

// A client whose document is gone begins nothing new, whatever happens to the
// network later. What people approved before goes on until they end it.
func TestDocumentGone(t *testing.T) {
	t.Parallel()
	f, n := onlineFixture(t)
	code := f.location(f.decide(approval(f.handle(f.authorize(asApp(), "alice")), "red"), "alice")).Get("code")
	token := tokenPattern.FindString(f.post("/api/oauth/token", with(exchange(appURL, code), "redirect_uri="+appRedirect)).body)
	f.clock.advance(freshDefault)
	n.answer(appURL, 404)
	if a := f.authorize(asApp(), "alice"); a.status != http.StatusBadRequest {
		t.Fatalf("while gone: %d %s", a.status, a.body)
	}
	f.clock.advance(failureTTL)
	n.set(true)
	if a := f.authorize(asApp(), "alice"); a.status != http.StatusBadRequest {
		t.Errorf("gone, and the network too: %d %s", a.status, a.body)
	}
	if a := f.call(token); a.status != http.StatusOK {
		t.Errorf("a connection that was approved: %d", a.status)
	}
	f.clock.advance(failureTTL)
	n.set(false)
	n.publish(appURL, appDocument())
	if a := f.authorize(asApp(), "alice"); a.status != http.StatusOK {
		t.Errorf("back again: %d %s", a.status, a.body)
	}
	f.clock.advance(freshDefault)
	n.set(true)
	if a := f.authorize(asApp(), "alice"); a.status != http.StatusOK {
		t.Errorf("a copy from after its return: %d %s", a.status, a.body)
	}
}

// A copy is fetched anew when its host says that it is old.
func TestDocumentFreshness(t *testing.T) {
	t.Parallel()
	f, n := onlineFixture(t)
	n.publish(appURL, appDocument(), "Cache-Control: max-age=600")
	for i, wait := range []time.Duration{0, 599 * time.Second, time.Second} {
		f.clock.advance(wait)
		f.handle(f.authorize(asApp(), "alice"))
		if got, want := n.requests(appURL), 1+i/2; got != want {
			t.Errorf("step %d: %d fetches, want %d", i, got, want)
		}
	}
	n.publish(appURL, appDocument(`redirect_uris=["https://app.example.com/new"]`))
	f.clock.advance(time.Hour)
	if a := f.authorize(asApp(), "alice"); a.status != http.StatusBadRequest {
		t.Errorf("an address that the document no longer has: %d", a.status)
	}
	f.handle(f.authorize(asApp("redirect_uri=https://app.example.com/new"), "alice"))
}

// A failure is not repeated for a minute, and not longer.
func TestDocumentFailuresAreRemembered(t *testing.T) {
	t.Parallel()
	f, n := onlineFixture(t)
	n.answer(appURL, 404)
	for range 3 {
		f.authorize(asApp(), "alice")
	}
	n.publish(appURL, appDocument())
	if a := f.authorize(asApp(), "alice"); a.status != http.StatusBadRequest || n.requests(appURL) != 1 {
		t.Errorf("within the minute: %d after %d fetches", a.status, n.requests(appURL))
	}
	f.clock.advance(failureTTL)
	if a := f.authorize(asApp(), "alice"); a.status != http.StatusOK {
		t.Errorf("after it: %d %s", a.status, a.body)
	}
}

// What is remembered as a failure is one of the document.
func TestBusyIsNoFailureOfTheDocument(t *testing.T) {
	t.Parallel()
	f, _ := onlineFixture(t)
	for kind, want := range map[webfetch.Kind]bool{webfetch.Busy: false, webfetch.Unreachable: true, webfetch.NotJSON: true} {
		id := store.ClientID(fmt.Sprintf("https://app.example.com/%d", kind))
		if _, err := f.documents.failed(&webfetch.Error{Kind: kind}, id, "app.example.com", store.Client{}); err == nil {
			t.Errorf("kind %d: no error", kind)
		}
		if _, got := f.documents.failures.get(id, f.now()); got != want {
			t.Errorf("kind %d is remembered: %v", kind, got)
		}
	}
}

// Many who ask at once share a fetch, and one of them who leaves does not end
// it for the others.
func TestDocumentIsFetchedOnce(t *testing.T) {
	t.Parallel()
	f, n := onlineFixture(t)
	arrived, release := make(chan struct{}, 20), make(chan struct{})
	n.handle(appURL, func(w http.ResponseWriter, _ *http.Request) {
		arrived <- struct{}{}
		<-release
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprint(w, appDocument())
	})
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			if a := f.authorize(asApp(), "alice"); a.status != http.StatusOK {
				t.Errorf("%d %s", a.status, a.body)
			}
		})
	}
	<-arrived
	close(release)
	wg.Wait()
	if got := n.requests(appURL); got != 1 {
		t.Errorf("%d fetches", got)
	}
}

// fetchFrom asks for the document of app i from an address, as alice.
func (f *fixture) fetchFrom(addr, forwarded string, i int) answer {
	f.Helper()
	q := asApp(fmt.Sprintf("client_id=https://app.example.com/%d", i))
	r := httptest.NewRequest("GET", "/oauth/authorize?"+q.Encode(), nil)
	r.RemoteAddr = addr
	r.Header.Set("Cookie", "session=alice")
	r.Header.Set("X-Forwarded-For", forwarded)
	w := httptest.NewRecorder()
	f.handler.ServeHTTP(w, r)
	return answer{w.Code, w.Header(), w.Body.String()}
}

// Fetches are limited by address and in all, and a client that is known gets
// along without one.
func TestDocumentFetchesAreLimited(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	limited := func(a answer) bool {
		return a.status == http.StatusTooManyRequests && a.header.Get("Retry-After") != ""
	}
	n := 0
	for ; n < 1000 && !limited(f.fetchFrom(fmt.Sprintf("[2001:db8::%x]:1", n+1), "198.51.100.7", n)); n++ {
	}
	if n != 20 {
		t.Errorf("%d fetches from one /64", n)
	}
	if a := f.fetchFrom("192.0.2.9:1", "", n+1); limited(a) {
		t.Error("a neighbour pays for it")
	}
	for n = 100; n < 1000 && !limited(f.fetchFrom(fmt.Sprintf("203.0.113.%d:1", n%200), "", n)); n++ {
	}
	if n != 139 {
		t.Errorf("the total lets %d more through", n-100)
	}
	known := knownDocuments[0]
	a := f.authorize(with(request(store.ClientID(known.url)), "redirect_uri="+known.redirectURIs[0]), "alice")
	if a.status != http.StatusOK {
		t.Errorf("a known client: %d %s", a.status, a.body)
	}
}

func TestDocumentsSwitchedOff(t *testing.T) {
	t.Parallel()
	f, n := onlineFixture(t, func(c *Config) { c.ClientDocuments = false })
	if a := f.authorize(asApp(), "alice"); a.status != http.StatusBadRequest || !strings.Contains(a.body, "switched off") || n.requests(appURL) > 0 {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := f.send("GET", "/.well-known/oauth-authorization-server", ""); !strings.Contains(a.body, `"client_id_metadata_document_supported": false`) {
		t.Error("still advertised")
	}
}

// The setting registration decides who may come anew, by a document as well.
// Who is there already stays.
func TestDocumentsAndRegistration(t *testing.T) {
	t.Parallel()
	known := with(request(store.ClientID(knownDocuments[0].url)), "redirect_uri="+knownDocuments[0].redirectURIs[0])
	for mode, c := range map[string]struct{ known, other, register bool }{
		"open": {true, true, true}, "known": {true, false, false}, "off": {false, false, false},
	} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			f, n := onlineFixture(t, func(c *Config) { c.Registration = mode })
			n.publish(knownDocuments[0].url, `{"client_id":"`+knownDocuments[0].url+`","client_name":"Claude","redirect_uris":["`+knownDocuments[0].redirectURIs[0]+`"]}`)
			check := func(what string, a answer, want bool) {
				if got := a.status == http.StatusOK || a.status == http.StatusCreated; got != want {
					t.Errorf("%s: %d %s", what, a.status, a.body)
				}
			}
			check("a known client", f.authorize(known, "alice"), c.known)
			check("another client", f.authorize(asApp(), "alice"), c.other)
			check("registration", f.registerFrom("192.0.2.1:1", "", 1), c.register)
			if a := f.send("GET", "/.well-known/oauth-authorization-server", ""); strings.Contains(a.body, "registration_endpoint") != c.register {
				t.Errorf("metadata: %s", a.body)
			}
			if !c.other && n.requests(appURL) > 0 {
				t.Error("the document of a client that may not come was fetched")
			}
			_, err := f.documents.keep(appURL, clientDocument{name: "App", redirectURIs: []string{appRedirect}}, store.Document{})
			f.must(err)
			check("a client that is there", f.authorize(asApp(), "alice"), true)
		})
	}
}

// The copies that come with the program serve a server without a way out, are
// sound, and give way to the document itself.
func TestKnownDocuments(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, k := range knownDocuments {
		if _, err := parseClientURL(k.url); err != nil {
			t.Errorf("%s: %v", k.url, err)
		}
		for _, uri := range k.redirectURIs {
			f.clock.advance(time.Minute)
			uri = strings.Replace(uri, "localhost/", "localhost:50123/", 1)
			uri = strings.Replace(uri, "127.0.0.1:33418/", "127.0.0.1:61876/", 1)
			a := f.authorize(with(request(store.ClientID(k.url)), "redirect_uri="+uri), "alice")
			if a.status != http.StatusOK || !strings.Contains(a.body, fmt.Sprintf("client: %q", k.name)) {
				t.Errorf("%s to %s: %d %s", k.url, uri, a.status, a.body)
			}
		}
	}
	if _, ok := knownDocumentAt("https://claude.ai/oauth/other"); ok {
		t.Error("another address on a known host is known")
	}
}

func TestKnownDocumentGivesWay(t *testing.T) {
	t.Parallel()
	f, n := onlineFixture(t)
	id := "https://claude.ai/oauth/mcp-oauth-client-metadata"
	q := with(request(store.ClientID(id)), "redirect_uri=https://claude.ai/api/mcp/auth_callback")
	n.set(true)
	f.handle(f.authorize(q, "alice"))
	n.set(false)
	n.publish(id, `{"client_id":"`+id+`","client_name":"Claude of today","redirect_uris":["https://claude.ai/api/mcp/auth_callback"]}`)
	f.clock.advance(failureTTL)
	if a := f.authorize(q, "alice"); !strings.Contains(a.body, "Claude of today") {
		t.Errorf("the document itself is not used: %s", a.body)
	}
	// Its host has the last word on it.
	other, n := onlineFixture(t)
	n.answer(id, 404)
	if a := other.authorize(q, "alice"); a.status != http.StatusBadRequest || !strings.Contains(a.body, "no such description") {
		t.Errorf("a known document that is gone: %d %s", a.status, a.body)
	}
}

// Documents of real clients ask for more than this server has; what it has is
// enough for them.
func TestDocumentNegotiation(t *testing.T) {
	t.Parallel()
	for name, members := range map[string][]string{
		"ChatGPT": {`token_endpoint_auth_method="private_key_jwt"`, `token_endpoint_auth_methods_supported=["none","private_key_jwt"]`,
			`token_endpoint_auth_signing_alg="RS256"`, `jwks_uri="https://app.example.com/jwks.json"`, `grant_types=["authorization_code","refresh_token"]`, `response_types=["code"]`},
		"VS Code":   {`token_endpoint_auth_method="none"`, `grant_types=["authorization_code","refresh_token","urn:ietf:params:oauth:grant-type:device_code"]`, `application_type="native"`},
		"claude.ai": {`token_endpoint_auth_method="none"`, `grant_types=["authorization_code","refresh_token","urn:ietf:params:oauth:grant-type:jwt-bearer"]`},
		"silent":    {},
		"odd types": {`grant_types="authorization_code"`, `response_types={}`, `scope=["pods:read","other"]`, `contacts=3`},
		"schemes":   {`redirect_uris=["cursor://x/cb","` + appRedirect + `",7]`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, err := parseDocument([]byte(appDocument(members...)), appURL, nil)
			if err != nil || len(d.redirectURIs) == 0 || d.redirectURIs[0] != appRedirect || d.refresh == (name == "odd types") {
				t.Errorf("%+v, %v", d, err)
			}
		})
	}
}

// A document may name an address for each port that a program could listen on.
// Some are kept, and the rest is no reason to refuse it.
func TestDocumentWithManyAddresses(t *testing.T) {
	t.Parallel()
	var uris []string
	for port := range 3 * maxDocumentURIs {
		uris = append(uris, fmt.Sprintf("%q", fmt.Sprintf("http://127.0.0.1:%d/callback", 1000+port)))
	}
	d, err := parseDocument([]byte(appDocument("redirect_uris=["+strings.Join(uris, ",")+"]")), appURL, nil)
	if err != nil || len(d.redirectURIs) != maxDocumentURIs {
		t.Fatalf("%d are kept, %v", len(d.redirectURIs), err)
	}
	if _, ok := matchRedirect(d.redirectURIs, "http://127.0.0.1:65000/callback", nil); !ok {
		t.Error("another port does not match")
	}
}
