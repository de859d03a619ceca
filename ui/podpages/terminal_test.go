package podpages_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"podgate/pods/podstest"
	"podgate/store"
	"podgate/ui/pagetest"
)

// terminalSite has a pod, blog, whose agent is a real one, and people around it.
func terminalSite(t *testing.T) *pagetest.Site {
	s := pagetest.New(t)
	s.Fake.SetAgent(podstest.RealAgent)
	ada := s.AddUser("ada@example.com", false, "red")
	s.AddUser("eve@example.com", false, "green")
	s.CreatePod(ada, "red", "blog", "static")
	return s
}

func signedIn(s *pagetest.Site, email string) *pagetest.Browser {
	b := s.Browser()
	b.Enter(email)
	return b
}

const socketPath = "/pod/blog/terminal/socket?columns=80&rows=24"

// dial opens a socket as a page at origin would.
func dial(t *testing.T, s *pagetest.Site, b *pagetest.Browser, path string, header http.Header) (*websocket.Conn, *http.Response, error) {
	t.Helper()
	c, res, err := websocket.Dial(t.Context(), s.PageOrigin()+path, &websocket.DialOptions{HTTPClient: b.Client, HTTPHeader: header})
	if err == nil {
		t.Cleanup(func() { _ = c.CloseNow() })
	}
	return c, res, err
}

// screen is an open terminal as a page has it.
type screen struct {
	*websocket.Conn
	t    *testing.T
	text string
	got  int
}

func openScreen(t *testing.T, s *pagetest.Site, b *pagetest.Browser) *screen {
	t.Helper()
	c, res, err := dial(t, s, b, socketPath, http.Header{"Origin": {s.PageOrigin()}})
	if err != nil {
		t.Fatalf("open: %v %v", res, err)
	}
	c.SetReadLimit(1 << 20)
	kind, first, err := c.Read(t.Context())
	if err != nil || kind != websocket.MessageText || string(first) != `{"open":true}` {
		t.Fatalf("begins with %q, %v", first, err)
	}
	return &screen{Conn: c, t: t}
}

func (s *screen) types(text string) {
	s.t.Helper()
	if err := s.Write(s.t.Context(), websocket.MessageBinary, []byte(text)); err != nil {
		s.t.Fatal(err)
	}
}

func (s *screen) says(json string) {
	s.t.Helper()
	if err := s.Write(s.t.Context(), websocket.MessageText, []byte(json)); err != nil {
		s.t.Fatal(err)
	}
}

func (s *screen) read(wait time.Duration) error {
	ctx, cancel := context.WithTimeout(s.t.Context(), wait)
	defer cancel()
	_, b, err := s.Read(ctx)
	s.text += string(b)
	s.got += len(b)
	return err
}

func (s *screen) until(text string) {
	s.t.Helper()
	for !strings.Contains(s.text, text) {
		if err := s.read(40 * time.Second); err != nil {
			s.t.Fatalf("never shown: %q; but %q, then %v", text, s.text, err)
		}
	}
	_, s.text, _ = strings.Cut(s.text, text)
}

// ended reads to the end and returns its words.
func (s *screen) ended() (code websocket.StatusCode, words string) {
	s.t.Helper()
	for {
		err := s.read(40 * time.Second)
		var end websocket.CloseError
		if errors.As(err, &end) {
			return end.Code, end.Reason
		}
		if err != nil {
			s.t.Fatalf("ended without words: %v", err)
		}
	}
}

func TestTerminalSocket(t *testing.T) {
	t.Parallel()
	s := terminalSite(t)
	b := openScreen(t, s, signedIn(s, "ada@example.com"))
	b.types("stty size; echo $PODGATE_NAME.$((1))\r")
	b.until("24 80")
	b.until("blog.1")
	b.says(`{"columns":100,"rows":40}`)
	b.types("stty size\r")
	b.until("40 100")
	b.types("exit 3\r")
	if code, words := b.ended(); code != websocket.StatusNormalClosure || words != "its shell has ended" {
		t.Errorf("ended with %d %q", code, words)
	}
	all := ""
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(40 * time.Second); !strings.Contains(all, "its shell exited with code 3"); <-tick.C {
		if all = audited(t, s); time.Now().After(end) {
			t.Fatalf("the end is not in the audit list:\n%s", all)
		}
	}
	for _, want := range []string{"ada@example.com terminal blog\n", "ada@example.com terminal_end blog, after "} {
		if !strings.Contains(all, want) {
			t.Errorf("the audit list lacks %q:\n%s", want, all)
		}
	}
	if strings.Contains(all, "stty") {
		t.Errorf("the audit list has what was typed:\n%s", all)
	}
}

func audited(t *testing.T, s *pagetest.Site) (list string) {
	t.Helper()
	if err := s.DB.FlushHistory(); err != nil {
		t.Fatal(err)
	}
	page, err := s.DB.Audit(store.AuditQuery{Limit: 10}, s.Clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range page.Entries {
		list += fmt.Sprintf("%s %s %s\n", e.ActorName, e.Action, e.Object)
	}
	return list
}

// Whoever may not have a terminal gets no socket.
func TestTerminalSocketRefuses(t *testing.T) {
	t.Parallel()
	s := terminalSite(t)
	vic := s.AddUser("vic@example.com", false)
	team, err := s.DB.TeamBySlug("red")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.DB.PutMember(store.Member{Team: team.ID, User: vic.ID, Role: store.RoleViewer}); err != nil {
		t.Fatal(err)
	}
	own := signedIn(s, "ada@example.com")
	pod := strings.Replace(s.PageOrigin(), "podgate.", "blog.", 1)
	origin := http.Header{"Origin": {s.PageOrigin()}}
	for name, c := range map[string]struct {
		who    *pagetest.Browser
		path   string
		header http.Header
		status int
	}{
		"foreign origin":      {own, socketPath, http.Header{"Origin": {"https://evil.example"}}, http.StatusForbidden},
		"a pod's origin":      {own, socketPath, http.Header{"Origin": {pod}, "Sec-Fetch-Site": {"same-site"}}, http.StatusForbidden},
		"origin of localhost": {own, socketPath, http.Header{"Origin": {s.Issuer()}}, http.StatusForbidden},
		"no origin":           {own, socketPath, http.Header{"Sec-Fetch-Site": {"same-origin"}}, http.StatusForbidden},
		"null":                {own, socketPath, http.Header{"Origin": {"null"}}, http.StatusForbidden},
		"nobody":              {s.Browser(), socketPath, origin, http.StatusUnauthorized},
		"viewer":              {signedIn(s, "vic@example.com"), socketPath, origin, http.StatusForbidden},
		"other team":          {signedIn(s, "eve@example.com"), socketPath, origin, http.StatusNotFound},
		"absent pod":          {own, "/pod/nobody/terminal/socket?columns=80&rows=24", origin, http.StatusNotFound},
	} {
		_, res, err := dial(t, s, c.who, c.path, c.header)
		if err == nil || res == nil || res.StatusCode != c.status {
			t.Errorf("%s: %v %v, want %d", name, res, err, c.status)
		}
	}
	c, _, err := dial(t, s, own, "/pod/blog/terminal/socket", origin)
	if err != nil {
		t.Fatal(err)
	}
	var end websocket.CloseError
	if _, _, err := c.Read(t.Context()); !errors.As(err, &end) || !strings.Contains(end.Reason, "columns and rows") {
		t.Errorf("without a size: %v", err)
	}
	if a := own.Get("/pod/blog/terminal"); a.StatusCode != http.StatusOK || len(a.All("noscript")) != 1 || !strings.Contains(a.HTML, "terminal.") {
		t.Errorf("the page: %d", a.StatusCode)
	}
	if a := signedIn(s, "vic@example.com").Get("/pod/blog/terminal"); a.StatusCode != http.StatusOK || !strings.Contains(a.Text(), "does not let you run commands") || strings.Contains(a.HTML, "xterm") {
		t.Errorf("the page of a viewer: %d %s", a.StatusCode, a.Text())
	}
}

// A terminal ends with what let somebody have it, and says so.
func TestTerminalSocketEnds(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		end   func(*pagetest.Site, *pagetest.Browser, store.User, store.Team) error
		words string
	}{
		"sign-out": {func(_ *pagetest.Site, b *pagetest.Browser, _ store.User, _ store.Team) error {
			b.Post("/sign-out", nil)
			return nil
		}, "you are signed out"},
		"removal": {func(s *pagetest.Site, _ *pagetest.Browser, u store.User, team store.Team) error {
			_, err := s.DB.RemoveMember(team.ID, u.ID)
			return err
		}, "not in its team any more"},
		"viewer": {func(s *pagetest.Site, _ *pagetest.Browser, u store.User, team store.Team) error {
			return s.DB.PutMember(store.Member{Team: team.ID, User: u.ID, Role: store.RoleViewer})
		}, "you may not run commands here any more"},
		"stop": {func(s *pagetest.Site, _ *pagetest.Browser, u store.User, _ store.Team) error {
			_, err := s.Pods.Stop(context.Background(), s.Actor(u, "red"), "blog", nil)
			return err
		}, "stopped or started again"},
		"deletion": {func(s *pagetest.Site, _ *pagetest.Browser, u store.User, _ store.Team) error {
			return s.Pods.Delete(context.Background(), s.Actor(u, "red"), "blog", "blog")
		}, "stopped or started again"},
		"nonsense": {func(s *pagetest.Site, b *pagetest.Browser, _ store.User, _ store.Team) error { return nil }, "does not understand"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := terminalSite(t)
			bob := s.AddUser("bob@example.com", false, "red")
			team, err := s.DB.TeamBySlug("red")
			if err != nil {
				t.Fatal(err)
			}
			browser := signedIn(s, "bob@example.com")
			b := openScreen(t, s, browser)
			b.types("echo up$((1))\r")
			b.until("up1")
			if err := c.end(s, browser, bob, team); err != nil {
				t.Fatal(err)
			}
			if name == "nonsense" {
				b.says("{")
			}
			if code, words := b.ended(); code != 4000 || !strings.Contains(words, c.words) {
				t.Errorf("ended with %d %q, want %q", code, words, c.words)
			}
		})
	}
}

// What a page has not shown yet is bounded, and so is what it sends at once.
func TestTerminalSocketBounds(t *testing.T) {
	t.Parallel()
	s := terminalSite(t)
	browser := signedIn(s, "ada@example.com")
	b := openScreen(t, s, browser)
	b.types("yes\r")
	const bound = 256<<10 + 32<<10
	for b.got < 256<<10 {
		if err := b.read(40 * time.Second); err != nil {
			t.Fatal(err)
		}
	}
	if b.got > bound {
		t.Errorf("%d bytes came of which none was shown, want at most %d", b.got, bound)
	}
	before := b.got
	b.says(fmt.Sprintf(`{"seen":%d}`, before))
	if err := b.read(40 * time.Second); err != nil || b.got <= before {
		t.Errorf("after what came was shown: %d bytes, %v", b.got-before, err)
	}
	b.types("\x03")

	b = openScreen(t, s, browser)
	b.types(strings.Repeat("x", 64<<10+1))
	for err := error(nil); err == nil; err = b.read(40 * time.Second) {
		if b.got > bound {
			t.Fatal("a message that is too large ends nothing")
		}
	}
}
