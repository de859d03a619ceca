package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/chromedp"

	"podgate/internal/webtest"
)

// callbackServer is a program on the person's computer that waits for an answer,
// on another port of localhost, and keeps what browsers sent there.
type callbackServer struct {
	*httptest.Server
	Redirect string

	mu      sync.Mutex
	cookies []string // Cookie headers
	queries []url.Values
}

func newCallbackServer(t *testing.T) *callbackServer {
	s := &callbackServer{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if r.URL.Path == "/callback" {
			s.cookies = append(s.cookies, r.Header.Get("Cookie"))
			s.queries = append(s.queries, r.URL.Query())
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write([]byte("<title>Back</title><main>back</main>"))
	}))
	t.Cleanup(s.Close)
	s.Redirect = strings.Replace(s.URL, "127.0.0.1", "localhost", 1) + "/callback"
	return s
}

// received returns how often a browser came back, and fails the test if one
// brought a cookie along.
func (s *callbackServer) received(t *testing.T) []url.Values {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, c := range s.cookies {
		if c != "" {
			t.Errorf("the callback at %s is sent %q with %v", s.Redirect, c, s.queries[i])
		}
	}
	return s.queries
}

// request is an authorization request at a name of the server, with an answer to
// the program.
func (s *callbackServer) request(t *testing.T, srv *testServer, origin string) string {
	t.Helper()
	return origin + "/oauth/authorize?" + url.Values{
		"response_type": {"code"}, "client_id": {registerClient(t, srv, s.Redirect)}, "redirect_uri": {s.Redirect}, "state": {"s"},
		"code_challenge": {"E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"}, "code_challenge_method": {"S256"},
	}.Encode()
}

// Cookies do not know ports, so the session is at a name that no callback has:
// whatever is pressed, the program that gets the answer does not get the session.
func TestCallbackIsNotSentTheSession(t *testing.T) {
	t.Parallel()
	srv := startServer(t)
	ada, program := setUp(t, srv), newCallbackServer(t)
	ada.Stop = nil
	for _, origin := range []string{srv.Issuer, srv.URL} {
		for _, button := range []string{"Deny", "Approve"} {
			if page := ada.Open(program.request(t, srv, origin)).Press(button, nil); page.Title() != "Back" {
				t.Fatalf("%s: %d %s", button, page.Status, page.Text())
			}
		}
	}
	answers := program.received(t)
	if len(answers) != 4 || answers[0].Get("error") != "access_denied" || answers[1].Get("code") == "" || answers[0].Get("iss") != srv.Issuer || answers[3].Get("iss") != srv.URL {
		t.Errorf("the program heard %v", answers)
	}
	for _, name := range []string{srv.Issuer, srv.URL, "http://other.localhost"} {
		if cookies := ada.Cookies(name); len(cookies) != 0 {
			t.Errorf("%s is sent %v", name, cookies)
		}
	}
	if cookies := ada.Cookies(srv.pages()); len(cookies) != 2 || cookies[0].Name != "podgate" || cookies[1].Name != "podgate-device" {
		t.Errorf("the pages are sent %v", cookies)
	}
}

// A browser that may not find the pages' name has them at localhost, all of them,
// with a cookie that goes when it is closed.
func TestPagesStayWhereTheirNameLeadsNowhere(t *testing.T) {
	t.Parallel()
	srv := startServer(t)
	ada := newPerson(t, srv, "ada@example.com")
	ada.Agent = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.4 Safari/605.1.15"
	page := ada.Open(strings.Replace(srv.SetupURL, "podgate.localhost", "localhost", 1)).Press("Set up and sign in", webtest.Fields{
		"name": {"Ada"}, "email": {ada.email}, "password": {ada.password}, "team": {"Home"},
	})
	if page.URL.String() != srv.Issuer+"/" || !strings.Contains(page.Text(), "Connect an assistant") {
		t.Fatalf("after setup at %s: %d %s", page.URL, page.Status, page.Text())
	}
	c := connect(t, srv, ada, connectOptions{origin: srv.URL})
	if c.results[0].Iss != srv.URL {
		t.Errorf("heard from %s", c.results[0].Iss)
	}
	if cookies := ada.Cookies(srv.Issuer); len(cookies) != 1 {
		t.Errorf("other programs are sent %v", cookies)
	}
	resp, _ := srv.exchangeHTTP("GET", "/account", "", http.Header{"User-Agent": {ada.Agent}, "Cookie": {ada.Cookies(srv.Issuer)[0].String()}})
	if cookie := resp.Header.Get("Set-Cookie"); resp.StatusCode != http.StatusOK || !strings.HasPrefix(cookie, "podgate=") || strings.Contains(cookie, "Max-Age") || strings.Contains(cookie, "Expires") {
		t.Errorf("%d sets %q", resp.StatusCode, cookie)
	}
}

// The same in a real browser, which also has to find the name, send the forms,
// and refuse cookies that a pod's page sets for all of localhost.
func TestCallbackInABrowser(t *testing.T) {
	t.Parallel()
	ctx := webtest.StartChromium(t)
	srv := startServer(t)
	ada, program := setUp(t, srv), newCallbackServer(t)
	for i, button := range []string{"deny", "approve"} {
		browse(t, ctx, chromedp.Navigate(program.request(t, srv, srv.Issuer)))
		if i == 0 {
			browse(t, ctx, chromedp.WaitVisible(chromedp.CSS("#email")), chromedp.SetValue(chromedp.CSS("#email"), ada.email), chromedp.SetValue(chromedp.CSS("#password"), ada.password))
			press(t, ctx, "form.fields button")
		}
		browse(t, ctx, chromedp.WaitVisible(chromedp.CSS(`button[value="`+button+`"]`)))
		if at, err := chromedp.Run(ctx, chromedp.Location()); err != nil || !strings.HasPrefix(at, srv.pages()+"/oauth/authorize?") {
			t.Errorf("the consent page is at %s, %v", at, err)
		}
		press(t, ctx, `button[value="`+button+`"]`)
		browse(t, ctx, chromedp.WaitVisible(chromedp.CSS("main")))
	}
	if answers := program.received(t); len(answers) != 2 || answers[0].Get("error") != "access_denied" || answers[1].Get("code") == "" {
		t.Errorf("the program heard %v", answers)
	}
	// What a page at a pod's name does: its own cookies are its own, there are none
	// for all names, and podgate's are not sent along.
	pod := strings.Replace(program.URL, "127.0.0.1", "demo.localhost", 1)
	browse(t, ctx, chromedp.Navigate(pod), chromedp.WaitVisible(chromedp.CSS("main")),
		chromedp.Evaluate[chromedp.Void](`for (const where of ["localhost", ".localhost", "podgate.localhost"]) document.cookie = "podgate=tossed; path=/; domain=" + where; document.cookie = "own=1; path=/"`))
	if own, err := chromedp.Run(ctx, chromedp.Evaluate[string]("document.cookie")); err != nil || own != "own=1" {
		t.Errorf("the pod's page has the cookies %q, %v", own, err)
	}
	// Names below localhost are sites of their own (the public suffix list has no
	// localhost, so it counts as a suffix): what a pod's page asks of the pages'
	// name comes without the session. A port of our own shows it.
	script[string](t, ctx, fmt.Sprintf(`fetch("http://podgate.localhost:%s/callback?from=pod", {mode: "no-cors", credentials: "include"}).then(() => "sent")`, mustParse(t, program.URL).Port()))
	if answers := program.received(t); len(answers) != 3 || answers[2].Get("from") != "pod" {
		t.Errorf("the pod's page reached %v", answers)
	}
	browse(t, ctx, chromedp.Navigate(srv.Issuer+"/account"), chromedp.WaitVisible(chromedp.CSS("h1")))
	if title, err := chromedp.Run(ctx, chromedp.Title()); err != nil || !strings.Contains(title, "Account") {
		t.Errorf("after that the account page is %q, %v", title, err)
	}
}
