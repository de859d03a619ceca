package podpages_test

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/julienschmidt/httprouter"

	"podgate/internal/web"
	"podgate/store"
	"podgate/ui/page"
	"podgate/ui/pagetest"
	"podgate/ui/podpages"
)

// stalls is a server of the pods' pages alone, which waits for a reader as long as a
// test does, and ada's session at it.
type stalls struct {
	*pagetest.Site
	pages  *podpages.Pages
	addr   string
	cookie string
}

func newStalls(t *testing.T, s *pagetest.Site, stall time.Duration) *stalls {
	t.Helper()
	shell, err := page.New(page.Config{Issuer: s.Issuer(), Account: s.Account, Log: slog.New(slog.DiscardHandler), Now: s.Clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	pages, err := podpages.New(shell, s.Pods)
	if err != nil {
		t.Fatal(err)
	}
	pages.SetStall(stall)
	srv := httptest.NewUnstartedServer(routed(pages, s.Clock))
	srv.Config.ConnState = func(c net.Conn, state http.ConnState) {
		if tcp, ok := c.(*net.TCPConn); ok && state == http.StateNew {
			_ = tcp.SetWriteBuffer(8 << 10) // what the kernel holds is less then, or as much as ever
		}
	}
	srv.Start()
	t.Cleanup(srv.Close)
	secret := s.Session("ada@example.com")
	return &stalls{s, pages, srv.Listener.Addr().String(), page.SessionCookie + "=" + secret}
}

// routed are the pods' pages alone.
func routed(pages *podpages.Pages, clock *pagetest.Clock) http.Handler {
	router, stack := httprouter.New(), &web.Stack{Log: slog.New(slog.DiscardHandler), Now: clock.Now}
	for _, r := range pages.Routes() {
		router.Handler(r.Method, r.Path, stack.Handle(r.Handler, r.Errors))
	}
	return router
}

// ask sends a request over a connection of its own, of which nothing is read yet.
func (s *stalls) ask(path string) net.Conn {
	s.T.Helper()
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		s.T.Fatal(err)
	}
	s.T.Cleanup(func() { _ = conn.Close() })
	_ = conn.(*net.TCPConn).SetReadBuffer(4 << 10)
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: podgate.localhost\r\nCookie: %s\r\nSec-Fetch-Site: same-origin\r\nConnection: close\r\n\r\n", path, s.cookie); err != nil {
		s.T.Fatal(err)
	}
	return conn
}

// lines are what comes over a connection, as it is read.
func (s *stalls) lines(path string) *follower {
	s.T.Helper()
	f := &follower{s.T.(*testing.T), make(chan string, 10_000)}
	conn := s.ask(path)
	_ = conn.(*net.TCPConn).SetReadBuffer(256 << 10) // or it would be slow, too
	go func() {
		defer close(f.lines)
		for r := bufio.NewReader(conn); ; {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			f.lines <- line
		}
	}()
	return f
}

// drained reads what is left of a connection, up to its end.
func drained(t *testing.T, conn net.Conn) int64 {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(40 * time.Second))
	n, err := io.Copy(io.Discard, conn)
	if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
		t.Error("a reader that stalls is kept")
	}
	return n
}

func (s *stalls) untilStreams(n int) {
	s.T.Helper()
	for end := time.Now().Add(40 * time.Second); s.pages.Streams() != n; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			s.T.Fatalf("%d streams, want %d", s.pages.Streams(), n)
		}
	}
}

// Who follows a log and reads no more of it is dropped in time, and until then nobody
// waits for them: not the app, not who else follows it, not the pod's page. What is
// not read is kept by nobody.
func TestStalledLogReader(t *testing.T) {
	t.Parallel()
	s, log := withLog(t)
	s.CreatePod(s.AddUser("ada@example.com", false, "red"), "red", "blog", "static")
	const stall = 2 * time.Second
	at := newStalls(t, s, stall)
	events := "/pod/blog/logs/events?show=app&after=" + url.QueryEscape(s.Clock.Now().Add(-time.Second).Format(time.RFC3339Nano))
	stalled := at.ask(events)
	at.untilStreams(1)
	reader := at.lines(events)
	at.untilStreams(2)
	log.add("app", "stdout", "first.")
	reader.until("first.")
	printed, began := 0, time.Now()
	for fill := strings.Repeat("x", 4000); at.pages.Streams() == 2; printed++ {
		log.add("app", "stdout", fmt.Sprintf("line %d. %s", printed, fill))
		reader.until(fmt.Sprintf(`"t":"line %d. `, printed))
		if took := time.Since(began); took > 20*stall {
			t.Fatalf("a reader that stalls is kept for %s", took)
		}
	}
	if res := follow(t, &pagetest.Browser{Client: http.DefaultClient}, "http://"+at.addr, "/pod/blog/logs", http.Header{"Cookie": {at.cookie}}); res.StatusCode != http.StatusOK {
		t.Errorf("the log's page: %d", res.StatusCode)
	}
	<-log.left
	if got := drained(t, stalled); got > 2<<20 || int64(printed)*4000 < got {
		t.Errorf("%d bytes waited for a reader, of %d", got, printed*4000)
	}
	log.add("app", "stdout", "last.")
	reader.until("last.")
}

// Who follows the states of pods and does not read them is dropped in time. Until then
// others hear each change at once, and what waits is one state a pod.
func TestStalledReaderOfStates(t *testing.T) {
	t.Parallel()
	s := pagetest.New(t)
	teams := []string{"red", "green", "blue", "white", "black", "grey", "pink"} // of small ones each pod is made sooner
	ada := s.AddUser("ada@example.com", false, teams...)
	s.CreatePod(ada, "red", "blog", "static")
	const many, size = 700, 160 // pods, and bytes of the state of one
	long := strings.Repeat("x", 50)
	for i := range many {
		p := store.Pod{
			ID: store.PodID(store.NewID()), Name: fmt.Sprintf("%s-%03d", long, i), Team: s.Actor(ada, teams[i%len(teams)]).Team.ID, Preset: "static", Plan: "small", Region: "here",
			Want: store.WantStopped, Created: s.Clock.Now(),
		}
		if err := s.DB.CreatePod(p, s.Clock.Now(), func([]store.Pod) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	at := newStalls(t, s, 2*time.Second)
	stalled := at.ask("/events")
	at.untilStreams(1)
	reader := at.lines("/events")
	reader.until("event: list")
	changes := 0
	for ; at.pages.Streams() == 2; changes++ {
		stop(t, s, ada, "red", "blog")
		reader.until(`"name":"blog","status":"stopped"`)
		if _, err := s.Pods.Start(t.Context(), s.Actor(ada, "red"), "blog", nil); err != nil {
			t.Fatal(err)
		}
		reader.until(`"name":"blog","status":"running"`)
		if changes == 100 {
			t.Fatal("a reader that stalls is kept")
		}
	}
	t.Logf("%d changes while one reader stalled", changes)
	if changes == 0 {
		t.Error("nothing was told while one reader stalled")
	}
	if got := drained(t, stalled); got > many*size {
		t.Errorf("%d bytes waited for a reader", got)
	}
	stop(t, s, ada, "red", "blog")
	reader.until(`"name":"blog","status":"stopped"`)
}

// Who leaves the team, or is put out of it or given another role, hears nothing more of
// its logs, at once: their browser comes again, and hears what they may now.
func TestLogStreamEndsWithMembership(t *testing.T) {
	t.Parallel()
	s, log := withLog(t)
	ada := s.AddUser("ada@example.com", false, "red")
	s.CreatePod(s.AddUser("owner@example.com", false, "red"), "red", "blog", "static")
	team := s.Actor(ada, "red").Team.ID
	at := newStalls(t, s, time.Minute)
	for name, lose := range map[string]func() error{
		"removed":      func() error { _, err := s.DB.RemoveMember(team, ada.ID); return err },
		"another role": func() error { return s.DB.SetRole(team, ada.ID, store.RoleViewer) },
	} {
		for _, show := range []string{"", "app", "network"} {
			if err := s.DB.PutMember(store.Member{Team: team, User: ada.ID, Role: store.RoleMember, Created: s.Clock.Now()}); err != nil {
				t.Fatal(err)
			}
			reader := at.lines("/pod/blog/logs/events?show=" + show)
			reader.until("retry:")
			began := time.Now()
			if err := lose(); err != nil {
				t.Fatal(err)
			}
			at.untilStreams(0)
			t.Logf("%s, following %q: ended after %s", name, show, time.Since(began))
			unseen := "unseen by the " + name + " " + show + "."
			log.add("app", "stdout", unseen)
			if said := reader.until(); strings.Contains(said, unseen) {
				t.Errorf("after the end: %s", said)
			}
		}
	}
}
