package podpages_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"podgate/internal/authz"
	"podgate/pods"
	"podgate/pods/podstest"
	"podgate/store"
	"podgate/ui"
	"podgate/ui/page"
	"podgate/ui/pagetest"
)

// crowd is a site of somebody with many pods and as many connections.
type crowd struct {
	*pagetest.Site
	pods *pods.Service
	ada  store.User
	team store.TeamID

	mu    sync.Mutex
	ahead time.Duration // of the pods service's clock, by which answers of agents grow old
}

func newCrowd(tb testing.TB, many int, want store.Want) *crowd {
	tb.Helper()
	s := pagetest.New(tb)
	c := &crowd{Site: s, ada: s.AddUser("ada@example.com", false, "red")}
	c.team = s.Actor(c.ada, "red").Team.ID
	for i := range many {
		s.Connect(c.ada, "red", fmt.Sprintf("Client %d", i), "claude.ai", authz.ScopeRead)
	}
	records(tb, s, c.team, many, want)
	fake := podstest.NewFake(tb)
	fake.SetAgent(s.Agent)
	c.pods = podstest.ServiceOver(tb, s.DB, fake, func(cfg *pods.Config) { cfg.Now = c.clock })
	if want == store.WantRunning {
		for i := range many {
			if _, err := c.pods.Start(tb.Context(), s.Actor(c.ada, "red"), fmt.Sprintf("pod-%03d", i), nil); err != nil {
				tb.Fatal(err)
			}
		}
	}
	return c
}

func (c *crowd) clock() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead)
}

func (c *crowd) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
}

// front returns what serves the front page of whoever it signs in.
func (c *crowd) front(tb testing.TB) func() *httptest.ResponseRecorder {
	tb.Helper()
	secret := c.Session("ada@example.com")
	server, err := ui.New(ui.Config{Pods: c.pods, Config: page.Config{Issuer: c.Issuer(), Account: c.Account, Now: c.Clock.Now}})
	if err != nil {
		tb.Fatal(err)
	}
	for _, route := range server.Routes() {
		if route.Method == http.MethodGet && route.Path == "/" {
			return func() *httptest.ResponseRecorder {
				r := httptest.NewRequest(http.MethodGet, "/", nil)
				r.AddCookie(&http.Cookie{Name: page.SessionCookie, Value: secret})
				w := httptest.NewRecorder()
				if err := route.Handler(w, r); err != nil {
					tb.Fatal(err)
				}
				return w
			}
		}
	}
	tb.Fatal("no front page")
	return nil
}

// The front page stays small, whatever there is, and all that it shows is from one
// read of the store.
func TestFrontIsLight(t *testing.T) {
	t.Parallel()
	c := newCrowd(t, 300, store.WantStopped)
	reads := func(do func()) int {
		before := c.DB.Reads()
		do()
		return c.DB.Reads() - before
	}
	if n := reads(func() {
		front, err := c.pods.Front(t.Context(), c.ada.ID, c.Clock.Now())
		if err != nil || len(front.Teams) != 1 || len(front.Teams[0].Pods) != 300 || front.Connections != 300 {
			t.Fatalf("%v, %d connections", err, front.Connections)
		}
	}); n != 1 {
		t.Errorf("pods and connections took %d reads of the store", n)
	}
	serve := c.front(t)
	w := serve()
	if n := w.Body.Len(); w.Code != http.StatusOK || n > 200<<10 {
		t.Errorf("%d with %d KiB", w.Code, n>>10)
	}
	began := time.Now()
	if n := reads(func() { serve() }); n > 3 {
		t.Errorf("the page took %d reads of the store, want those of the session and one more", n)
	}
	t.Logf("%d KiB in %s", w.Body.Len()>>10, time.Since(began))
}
