package ui_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"podgate/internal/authz"
	"podgate/store"
	"podgate/ui/pagetest"
)

// hostile is a page of another origin in the same browser, which sends forms as
// if the person had. What a browser says about where a form comes from is the
// browser's own, so no test with made-up headers stands for this one.
func hostile(t *testing.T, s *pagetest.Site, c *pagetest.Tab) {
	u := s.AddUser("ada@example.com", false, "red")
	g := s.Connect(u, "red", "Claude", "claude.ai", authz.Scopes()...)
	c.SignIn("ada@example.com")
	forms := map[string]string{
		"/oauth/authorize": `<input name="request" value="handle-of-the-request"><input name="team" value="red"><input name="scope" value="pods:exec"><input name="decision" value="approve">`,
		limitsPath(g):      `<input name="scope" value="pods:read"><input name="read_only" value="yes">`,
		revokePath(g):      "",
	}
	evil := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = fmt.Fprintf(w, `<main><form method="post" action="%s%s">%s<button>go</button></form></main>`, s.PageOrigin(), r.URL.Path, forms[r.URL.Path])
	}))
	defer evil.Close()
	for _, base := range elsewhere(evil.URL) {
		trap := &pagetest.Tab{T: t, Ctx: c.Ctx, Base: base}
		for path := range forms {
			trap.Open(path)
			trap.Submit("button")
			trap.WantH1("Not allowed")
		}
	}
	s.Mu.Lock()
	defer s.Mu.Unlock()
	if len(s.Decisions) != 0 {
		t.Errorf("decided from elsewhere: %v", s.Decisions)
	}
	got, err := s.Account.Connection(u.ID, g.ID)
	if err != nil || got.Limits != (store.Limits{}) || len(got.Scopes) != 3 {
		t.Errorf("changed from elsewhere: %+v, %v", got, err)
	}
}

// reading tries what a page can to read podgate's, with the cookies that the browser
// sends along, and says what came of it.
const reading = `(async base => {
	const got = [];
	for (const path of ["/", "/pod/blog", "/pod/blog/files", "/manifest.webmanifest"]) {
		try { if ((await (await fetch(base + path, {credentials: "include"})).text()).length) got.push("read " + path); } catch {}
	}
	for (const path of ["/events", "/pod/blog/logs/events"]) await new Promise(done => {
		const stream = new EventSource(base + path, {withCredentials: true});
		const end = () => { stream.close(); done(); };
		stream.onopen = () => { got.push("followed " + path); end(); };
		stream.onerror = end;
	});
	await new Promise(done => {
		const socket = new WebSocket(base.replace("http", "ws") + "/pod/blog/terminal/socket");
		socket.onopen = () => { got.push("opened a terminal"); socket.close(); };
		socket.onclose = done;
	});
	return got;
})(%q)`

// hostileReader is a page of another site, or of a pod, that would read the person's
// pages, follow their streams or have their terminal. Podgate's own page can.
func hostileReader(t *testing.T, s *pagetest.Site, c *pagetest.Tab) {
	u := s.AddUser("ada@example.com", false, "red")
	s.CreatePod(u, "red", "blog", "static")
	c.SignIn("ada@example.com")
	try := func(tab *pagetest.Tab) []string {
		return pagetest.Ask(tab, chromedp.Evaluate[[]string](fmt.Sprintf(reading, s.PageOrigin()), chromedp.EvalAwaitPromise))
	}
	own := []string{"read /", "read /pod/blog", "read /pod/blog/files", "read /manifest.webmanifest", "followed /events", "followed /pod/blog/logs/events", "opened a terminal"}
	if got := try(c); !slices.Equal(got, own) {
		t.Errorf("podgate's own page: %q, want %q", got, own)
	}
	evil := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = fmt.Fprint(w, "<main>a page</main>")
	}))
	defer evil.Close()
	for _, base := range elsewhere(evil.URL) {
		trap := &pagetest.Tab{T: t, Ctx: c.Ctx, Base: base}
		trap.Open("/")
		if got := try(trap); len(got) > 0 {
			t.Errorf("a page at %s: %q", base, got)
		}
	}
}

// framer is a page of another site, or of a pod, that shows podgate's pages within
// itself, to have the person press what they do not see. What it shows of its own
// proves that it could.
func framer(t *testing.T, s *pagetest.Site, c *pagetest.Tab) {
	u := s.AddUser("ada@example.com", true, "red")
	s.CreatePod(u, "red", "blog", "static")
	c.SignIn("ada@example.com")
	paths := []string{"/", "/connections", "/pod/blog", "/pod/blog/terminal", "/pod/blog/delete", "/team/red", "/server", "/account", "/sign-in", "/no-such-page"}
	var inside string
	evil := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = fmt.Fprint(w, "<main>a page</main>")
		if r.URL.Path == "/" {
			for _, path := range paths {
				_, _ = fmt.Fprintf(w, `<iframe src="%s"></iframe>`, s.PageOrigin()+path)
			}
			_, _ = fmt.Fprintf(w, `<iframe src="%s"></iframe>`, inside)
		}
	}))
	defer evil.Close()
	inside = strings.Replace(evil.URL, "127.0.0.1", "other.localhost", 1) + "/inside"
	frames := watchFrames(t, c)
	for _, base := range elsewhere(evil.URL) {
		trap := &pagetest.Tab{T: t, Ctx: c.Ctx, Base: base}
		frames.forget()
		trap.Open("/")
		for _, path := range paths {
			frames.want(s.PageOrigin()+path, "net::ERR_BLOCKED_BY_RESPONSE")
		}
		frames.want(inside, "shown")
	}
}

// frames notes what became of the documents that a tab asked for, by the address that
// was asked for at first.
type frames struct {
	t      *testing.T
	mu     sync.Mutex
	asked  map[network.RequestID]string
	became map[string]string
}

func watchFrames(t *testing.T, c *pagetest.Tab) *frames {
	t.Helper()
	f := &frames{t: t}
	f.forget()
	err := chromedp.Listen(c.Ctx, func(event any) {
		f.mu.Lock()
		defer f.mu.Unlock()
		switch e := event.(type) {
		case *network.EventRequestWillBeSent:
			if f.asked[e.RequestID] == "" { // otherwise it was led on
				f.asked[e.RequestID] = e.DocumentURL
			}
		case *network.EventLoadingFailed:
			f.became[f.asked[e.RequestID]] = e.ErrorText
		case *network.EventResponseReceived:
			if address := f.asked[e.RequestID]; f.became[address] == "" && e.Type == network.ResourceTypeDocument {
				f.became[address] = "shown" // unless it fails
			}
		}
	})
	if err == nil {
		_, err = chromedp.Call(c.Ctx, network.Enable, network.EnableParams{})
	}
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *frames) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked, f.became = map[network.RequestID]string{}, map[string]string{}
}

// want waits until that became of a document: an error of the browser, or shown.
func (f *frames) want(address, want string) {
	f.t.Helper()
	for end := time.Now().Add(40 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		f.mu.Lock()
		became := f.became[address]
		f.mu.Unlock()
		if became == want {
			return
		}
		if time.Now().After(end) {
			f.t.Errorf("%s became %q, want %q", address, became, want)
			return
		}
	}
}

// elsewhere are the origins of a server on this machine under which it is another
// site, and the site of a pod: a name below podgate's, with which the browser sends
// podgate's cookies along.
func elsewhere(server string) []string {
	return []string{server, strings.Replace(server, "127.0.0.1", "blog.podgate.localhost", 1)}
}
