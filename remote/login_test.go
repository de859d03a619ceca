package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// fake is a server that logs in whoever asks, and can lie.
type fake struct {
	*httptest.Server
	mu        sync.Mutex
	resource  string            // in place of its own
	servers   []string          // the same
	issuer    string            // the same
	endpoints map[string]string // the same
	metadata  string            // the same, in the challenge
	used      map[string]int    // refresh tokens
	spent     []string          // revoked
	tools     func(w http.ResponseWriter, r *http.Request)
}

func newFake(t *testing.T) *fake {
	f := &fake{used: map[string]int{}, endpoints: map[string]string{}}
	mux := http.NewServeMux()
	f.Server = httptest.NewServer(mux)
	t.Cleanup(f.Close)
	or := func(a, b string) string {
		if a != "" {
			return a
		}
		return b
	}
	mux.HandleFunc("/api/mcp", func(w http.ResponseWriter, r *http.Request) {
		if f.tools != nil && strings.HasPrefix(r.Header.Get("Authorization"), "Bearer at-") {
			f.tools(w, r)
			return
		}
		w.Header().Set("WWW-Authenticate", `Bearer resource_metadata="`+or(f.metadata, f.URL+"/resource")+`"`)
		w.WriteHeader(http.StatusUnauthorized)
	})
	answer := func(w http.ResponseWriter, v any) { _ = json.NewEncoder(w).Encode(v) }
	mux.HandleFunc("/resource", func(w http.ResponseWriter, _ *http.Request) {
		servers := f.servers
		if servers == nil {
			servers = []string{f.URL}
		}
		answer(w, map[string]any{"resource": or(f.resource, f.URL+"/api/mcp"), "authorization_servers": servers})
	})
	mux.HandleFunc("/.well-known/oauth-authorization-server", func(w http.ResponseWriter, _ *http.Request) {
		document := map[string]string{"issuer": or(f.issuer, f.URL)}
		for _, name := range []string{"authorization", "token", "registration", "revocation"} {
			document[name+"_endpoint"] = or(f.endpoints[name], f.URL+"/"+name)
		}
		answer(w, document)
	})
	mux.HandleFunc("/registration", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusCreated)
		answer(w, map[string]string{"client_id": "c"})
	})
	mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		token := r.FormValue("refresh_token")
		f.used[token]++
		answer(w, map[string]any{"access_token": fmt.Sprint("at-", len(f.used)), "refresh_token": fmt.Sprint("rt-", len(f.used)), "token_type": "bearer", "expires_in": 3600})
	})
	mux.HandleFunc("/revocation", func(_ http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.spent = append(f.spent, r.FormValue("token"))
	})
	return f
}

func newLogins(t *testing.T) *Logins {
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &Logins{Dir: filepath.Join(t.TempDir(), "podgate"), Way: transport, Now: time.Now}
}

// A server that points elsewhere is sent nothing.
func TestDiscoveryStaysAtHome(t *testing.T) {
	t.Parallel()
	for name, lie := range map[string]func(*fake){
		"the challenge":              func(f *fake) { f.metadata = "https://evil.example/resource" },
		"another resource":           func(f *fake) { f.resource = "https://pods.example.com/api/mcp" },
		"a part of the resource":     func(f *fake) { f.resource = f.URL + "/api/mcp/more" },
		"another server":             func(f *fake) { f.servers = []string{"https://evil.example"} },
		"one server more":            func(f *fake) { f.servers = []string{f.URL, "https://evil.example"} },
		"another issuer":             func(f *fake) { f.issuer = "https://evil.example" },
		"the place of consent":       func(f *fake) { f.endpoints["authorization"] = "https://evil.example/" },
		"a script":                   func(f *fake) { f.endpoints["authorization"] = "javascript:alert(1)" },
		"the place of tokens":        func(f *fake) { f.endpoints["token"] = "https://evil.example/" },
		"a host that begins alike":   func(f *fake) { f.endpoints["token"] = f.URL + ".evil.example/" },
		"a user in front":            func(f *fake) { f.endpoints["token"] = f.URL + "@evil.example/" },
		"the place of registrations": func(f *fake) { f.endpoints["registration"] = "http://localhost:1/" },
		"the place of the end":       func(f *fake) { f.endpoints["revocation"] = "https://evil.example/" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t)
			lie(f)
			a, err := newLogins(t).Begin(t.Context(), f.URL, false)
			if err == nil {
				_ = a.Close()
				t.Fatal("it goes on")
			}
			if len(f.used) > 0 {
				t.Error("a token was asked for")
			}
		})
	}
}

// begin starts a login at a server that tells the truth.
func begin(t *testing.T, l *Logins, f *fake) *Attempt {
	t.Helper()
	a, err := l.Begin(t.Context(), f.URL, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	return a
}

func (a *Attempt) visit(t *testing.T, query string) int {
	t.Helper()
	transport := &http.Transport{DisableKeepAlives: true}
	resp, err := (&http.Client{Transport: transport}).Get(a.back + query)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// Only who knows the state, and was sent by the server itself, brings an answer. What
// others send neither ends the login nor is taken for one.
func TestComingBack(t *testing.T) {
	t.Parallel()
	f, l := newFake(t), newLogins(t)
	a := begin(t, l, f)
	state, iss := url.QueryEscape(a.state), url.QueryEscape(f.URL)
	for _, query := range []string{
		"", "?code=x", "?code=x&state=" + state, "?code=x&iss=" + iss, "?code=x&state=wrong&iss=" + iss,
		"?code=x&state=" + state + "&iss=https%3A%2F%2Fevil.example", "?error=access_denied&state=wrong&iss=" + iss, "?code=x&state=&iss=" + iss,
	} {
		if status := a.visit(t, query); status != http.StatusBadRequest {
			t.Errorf("%s is answered %d", query, status)
		}
		if err := a.Paste(a.back + query); err == nil {
			t.Errorf("%s is taken when it is pasted", query)
		}
	}
	if status := a.visit(t, "/elsewhere"); status != http.StatusNotFound {
		t.Errorf("another path is answered %d", status)
	}
	if err := a.Paste("https://evil.example/callback?code=x&state=" + state + "&iss=" + iss); err == nil {
		t.Error("an address of another host is taken")
	}
	select {
	case got := <-a.answers:
		t.Fatalf("an answer was taken: %+v", got)
	default:
	}
	if status := a.visit(t, "?code=right&state="+state+"&iss="+iss); status != http.StatusOK {
		t.Errorf("the right answer is answered %d", status)
	}
	one, err := a.Finish(t.Context(), "test")
	if err != nil || one.Server != f.URL {
		t.Fatalf("%+v, %v", one, err)
	}
	if !strings.Contains(a.Address, "code_challenge_method=S256") || strings.Contains(a.Address, a.proof) {
		t.Errorf("the address: %s", a.Address)
	}
	raw, err := json.Marshal(one)
	if err != nil || strings.Contains(string(raw)+fmt.Sprint(one.Server, one.Team), "at-") {
		t.Errorf("a login shows its token: %s, %v", raw, err)
	}
}

// loggedIn keeps a login whose access token has run out.
func loggedIn(t *testing.T, l *Logins, f *fake) Login {
	t.Helper()
	one := Login{Server: f.URL, Since: time.Now(), secret: secret{Client: "c", Access: "at-0", Refresh: "rt-0", Expires: time.Now().Add(-time.Hour), Token: f.URL + "/token", Revoke: f.URL + "/revocation"}}
	if err := l.keep(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	return one
}

// Processes side by side renew a login once: none of them sends a refresh token that
// another has replaced, for which the server would end the connection.
func TestRenewedOnce(t *testing.T) {
	t.Parallel()
	f, l := newFake(t), newLogins(t)
	f.tools = func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"id":1,"result":{"content":[{"type":"text","text":"done"}]}}`)
	}
	one := loggedIn(t, l, f)
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			other := &Logins{Dir: l.Dir, Way: l.Way, Now: time.Now} // as another process has it
			r, err := other.Client(one, "test").Call(t.Context(), "list_pods", struct{}{}, nil)
			if err != nil || r.Text != "done" {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
	group.Wait()
	if len(f.used) != 1 || f.used["rt-0"] != 1 {
		t.Errorf("refresh tokens were used: %v", f.used)
	}
	kept, err := l.Find("")
	if err != nil || kept.secret.Refresh != "rt-1" || kept.secret.Access != "at-1" {
		t.Errorf("kept: %+v, %v", kept.secret, err)
	}
	if left, err := filepath.Glob(filepath.Join(l.Dir, fileName+".*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// Nobody waits for ever for a process that hangs.
func TestLockIsGivenUp(t *testing.T) {
	t.Parallel()
	l := newLogins(t)
	unlock, err := l.lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.lock(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("a second one: %v", err)
	}
	unlock()
	if unlock, err = l.lock(t.Context()); err != nil {
		t.Fatal(err)
	}
	unlock()
}

func TestLoginsOfOthers(t *testing.T) {
	t.Parallel()
	f, l := newFake(t), newLogins(t)
	loggedIn(t, l, f)
	for what, mode := range map[string]os.FileMode{filepath.Join(l.Dir, fileName): 0o640, l.Dir: 0o722} {
		before, err := os.Stat(what)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(what, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Find(""); err == nil || !strings.Contains(err.Error(), "other people") || strings.Contains(err.Error(), "rt-0") {
			t.Errorf("%s with mode %o: %v", what, mode, err)
		}
		if err := os.Chmod(what, before.Mode()); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Logout(t.Context(), must(l.Find(""))); err != nil || len(f.spent) != 1 || f.spent[0] != "rt-0" {
		t.Errorf("logging out: %v, %v", f.spent, err)
	}
	if _, err := l.Find(""); !errors.Is(err, ErrNoLogin) {
		t.Errorf("afterwards: %v", err)
	}
}

func must(l Login, err error) Login {
	if err != nil {
		panic(err)
	}
	return l
}

// A token goes to its own server, also when that sends one elsewhere.
func TestTokenFollowsNoRedirect(t *testing.T) {
	t.Parallel()
	asked := false
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	defer elsewhere.Close()
	f, l := newFake(t), newLogins(t)
	f.tools = func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
	}
	var refused *HTTPError
	if _, err := l.Client(loggedIn(t, l, f), "test").Call(t.Context(), "list_pods", struct{}{}, nil); !errors.As(err, &refused) || refused.Status != http.StatusTemporaryRedirect {
		t.Errorf("a redirect: %v", err)
	}
	if asked {
		t.Error("the redirect was followed")
	}
	one := Login{Server: "https://pods.example.com"}
	for address, want := range map[string]bool{
		"https://pods.example.com/api/uploads/x": true, "https://pods.example.com.evil.example/x": false, "http://pods.example.com/x": false,
		"http://169.254.169.254/": false, "https://pods.example.com@evil.example/": false, "": false,
	} {
		if one.Within(address) != want {
			t.Errorf("%q is within the server: %v", address, !want)
		}
	}
}

func TestOrigin(t *testing.T) {
	t.Parallel()
	for typed, want := range map[string]string{
		"pods.example.com": "https://pods.example.com", "https://Pods.Example.com/": "https://pods.example.com", "https://pods.example.com/api/mcp": "https://pods.example.com",
		"http://localhost:8080": "http://localhost:8080", "http://127.0.0.1:1/api/mcp/": "http://127.0.0.1:1", "http://[::1]:1": "http://[::1]:1",
		"http://pods.example.com": "", "ftp://localhost": "", "https://a:b@pods.example.com": "", "https://pods.example.com/x": "", "https://pods.example.com?x": "", "": "",
		"http://127.0.0.1.evil.example": "", "javascript:alert(1)": "",
		// Of these names whoever answers for the network says where they lead.
		"http://podgate.localhost:8080": "http://localhost:8080", "http://Pods.LocalHost/": "http://localhost", "http://x.localhost.evil.example": "",
	} {
		if got, err := Origin(typed); got != want || (err == nil) != (want != "") {
			t.Errorf("%q is %q, %v", typed, got, err)
		}
	}
}

// What a server answers is bounded, and none of it is taken for more than it is.
func TestAnswers(t *testing.T) {
	t.Parallel()
	event := func(s string) string { return "event: message\ndata: " + s + "\n\n" }
	const done = `{"id":1,"result":{"content":[{"text":"a"},{"text":"b"}],"structuredContent":{"z":1,"a":2}}}`
	for name, c := range map[string]struct{ kind, body, want, fails string }{
		"one object":     {"application/json", done, "a\nb", ""},
		"events":         {"text/event-stream", event(`{"method":"notifications/progress","params":{"message":"step"}}`) + ": nothing\n\n" + event(done), "a\nb", ""},
		"a cut stream":   {"text/event-stream", event(`{"method":"notifications/progress"}`), "", "broke off"},
		"no JSON":        {"application/json", "<html>", "", "invalid character"},
		"nothing":        {"application/json", "{}", "", "no result"},
		"an error":       {"application/json", `{"id":1,"error":{"code":-32600,"message":"not so"}}`, "", "not so"},
		"a tool's error": {"application/json", `{"id":1,"result":{"isError":true,"content":[{"text":"pod not found"}]}}`, "", "pod not found"},
		"without end":    {"text/event-stream", "data: " + strings.Repeat("x", maxAnswer+10), "", "broke off"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", c.kind)
				_, _ = io.WriteString(w, c.body)
			}))
			defer s.Close()
			var heard []string
			r, err := (&Client{Address: s.URL, Way: &http.Transport{DisableKeepAlives: true}}).Call(t.Context(), "x", nil, func(s string) { heard = append(heard, s) })
			if (err == nil) != (c.fails == "") || err != nil && !strings.Contains(err.Error(), c.fails) || c.fails == "" && (r.Text != c.want || string(r.Data) != `{"z":1,"a":2}`) {
				t.Errorf("%+v, %v", r, err)
			}
			if name == "events" && strings.Join(heard, "") != "step" {
				t.Errorf("heard %q", heard)
			}
		})
	}
}
