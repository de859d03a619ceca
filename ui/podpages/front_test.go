package podpages_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
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

// agentSaying is an agent whose app is in that state.
func agentSaying(state string) podstest.AgentFunc {
	return func(ctx context.Context, _ string, l net.Listener) error {
		mux := http.NewServeMux()
		mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/v1/app":
				w.Header().Set("Content-Type", "application/x-ndjson")
				_, _ = io.WriteString(w, `{"state":`+state+"}\n")
			case "/v1/state":
				if state == silent {
					<-r.Context().Done()
				}
				_, _ = io.WriteString(w, state)
			default:
				_, _ = io.WriteString(w, `{}`)
			}
		})
		srv := &http.Server{Handler: mux}
		defer context.AfterFunc(ctx, func() { _ = srv.Close() })()
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	}
}

const (
	runs   = `{"app":"running","command":"serve","port":8080,"started":"2026-02-28T10:00:00Z"}`
	loops  = `{"app":"waiting","deaths":4,"reason":"The app ended 4 times in a row; the last time with «ModuleNotFoundError: No module named 'flask'»."}`
	ended  = `{"app":"failed","reason":"The app <script>alert(1)</script> has no start command."}`
	silent = `{"app":"running"}` // does not say even that
)

// fill gives teams pods in all states.
func fill(s *pagetest.Site) store.User {
	ada := s.AddUser("ada@example.com", true, "red", "blue")
	s.CreatePod(ada, "red", "blog", "static")
	s.CreatePod(ada, "red", "archive", "static")
	s.CreatePod(ada, "blue", "shop", "nodejs")
	s.Fake.SetAgent(agentSaying(loops))
	s.CreatePod(ada, "red", "wiki", "python")
	s.Fake.SetAgent(agentSaying(ended))
	s.CreatePod(ada, "blue", "a-name-of-sixty-three-characters-is-the-longest-a-pod-can-havex", "command")
	if _, err := s.Pods.Stop(s.T.Context(), s.Actor(ada, "red"), "archive", nil); err != nil {
		s.T.Fatal(err)
	}
	return ada
}

// rows are the pods of a page in their order.
func rows(a pagetest.Answer) (names []string) {
	for _, n := range a.All("li") {
		if name := pagetest.Attr(n, "data-pod"); name != "" {
			names = append(names, name)
		}
	}
	return names
}

func row(t *testing.T, a pagetest.Answer, name string) string {
	t.Helper()
	for _, n := range a.All("li") {
		if pagetest.Attr(n, "data-pod") == name {
			return pagetest.Text(n)
		}
	}
	t.Fatalf("no row of %s in %s", name, a.Text())
	return ""
}

func TestFrontShowsThePodsOfOnesTeams(t *testing.T) {
	t.Parallel()
	s := pagetest.New(t)
	fill(s)
	s.CreatePod(s.AddUser("eve@example.com", false, "green"), "green", "secret-pod", "static")
	b := s.Browser()
	a := b.Enter("ada@example.com").Get("/")
	long := "a-name-of-sixty-three-characters-is-the-longest-a-pod-can-havex"
	if got, want := rows(a), []string{long, "wiki", "shop", "archive", "blog"}; !slices.Equal(got[:2], want[:2]) || len(got) != 5 {
		t.Errorf("in the order %q, want what failed first and then %q", got, want)
	}
	if a.Title() != "(2 failed) Pods · podgate" {
		t.Errorf("the title is %q", a.Title())
	}
	if title := b.Get("/account").Title(); title != "(2 failed) Account · podgate" {
		t.Errorf("elsewhere the title is %q", title)
	}
	for name, want := range map[string]string{
		"wiki": "failing wiki red wiki.localhost:8080 python", "archive": "stopped archive archive.localhost:8080 static up to 256 MB created",
		"blog": "running blog blog.localhost:8080 static 12 MB of 256 MB started",
	} {
		if got := row(t, a, name); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if got := row(t, a, "wiki"); !strings.Contains(got, "No module named 'flask'") || !strings.Contains(got, "Restart") {
		t.Errorf("a failing pod says %q", got)
	}
	if strings.Contains(a.HTML, "secret-pod") || strings.Contains(a.HTML, "green") || strings.Contains(a.HTML, "<script>alert") {
		t.Error("another team's pod, or markup of an app, is shown")
	}
}

func TestFrontFilters(t *testing.T) {
	t.Parallel()
	s := pagetest.New(t)
	fill(s)
	b := s.Browser()
	b.Enter("ada@example.com")
	for query, want := range map[string]string{
		"?q=WIKI": "wiki", "?state=stopped": "archive", "?team=blue&state=running": "shop", "?q=python": "wiki", "?q=flask": "wiki",
		"?state=failed&team=red": "wiki", "?q=nothing-is-so": "", "?team=green": "", "?page=99&q=shop": "shop",
	} {
		if got := strings.Join(rows(b.Get("/"+query)), " "); got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
	if a := b.Get("/?q=" + url.QueryEscape(`"><script>alert(1)</script>`)); strings.Contains(a.HTML, "<script>alert") || !strings.Contains(a.Text(), "No pod is like that") {
		t.Errorf("a hostile search: %s", a.Text())
	}
}

func TestFrontHasFiftyRowsAPage(t *testing.T) {
	t.Parallel()
	s := pagetest.New(t)
	ada := s.AddUser("ada@example.com", false, "red")
	records(t, s, s.Actor(ada, "red").Team.ID, 120, store.WantStopped)
	b := s.Browser()
	a := b.Enter("ada@example.com").Get("/")
	if n := len(rows(a)); n != 50 || !strings.Contains(a.Text(), "1 to 50 of 120") || !strings.Contains(a.Text(), "120 pods") {
		t.Errorf("%d rows", n)
	}
	if got := rows(b.Get("/?page=3")); len(got) != 20 || got[19] != "pod-119" {
		t.Errorf("the last page has %q", got)
	}
}

// Several teams are folded one by one, each under its name and with how many pods are
// in it, also where they go on over the page; what failed comes first of all.
func TestFrontFoldsByTeam(t *testing.T) {
	t.Parallel()
	s := pagetest.New(t)
	ada := s.AddUser("ada@example.com", false, "blue", "red")
	s.CreatePod(ada, "blue", "shop", "static")
	s.Fake.SetAgent(agentSaying(ended))
	s.CreatePod(ada, "red", "wiki", "static")
	records(t, s, s.Actor(ada, "red").Team.ID, 60, store.WantStopped)
	b := s.Browser()
	b.Enter("ada@example.com")
	groups := func(a pagetest.Answer) string {
		var list []string
		for _, n := range a.All("details") {
			if id, open := pagetest.Attr(n, "id"), pagetest.HasAttr(n, "open"); pagetest.Attr(n, "class") == "pod-group" {
				list = append(list, fmt.Sprint(id, " ", open, " ", pagetest.Text(n.FirstChild.NextSibling)))
			}
		}
		return strings.Join(list, ", ")
	}
	for query, want := range map[string]string{
		"":                  "team-attention true Failed 1, team-blue true blue 1, team-red true red 60",
		"?page=2":           "team-red true red 60",
		"?team=red&q=pod-0": "team-red true red 60",
		"?state=failed":     "team-attention true Failed 1",
	} {
		if got := groups(b.Get("/" + query)); got != want {
			t.Errorf("%q: %s, want %s", query, got, want)
		}
	}
}

// Whoever is in no team hears what to do, and somebody who runs the server does it here.
func TestFrontWithoutTeam(t *testing.T) {
	t.Parallel()
	s := pagetest.New(t)
	s.AddUser("ada@example.com", true)
	s.AddUser("bob@example.com", false)
	for email, want := range map[string]struct{ says, not string }{
		"ada@example.com": {`href="/server/teams#make"`, "Ask whoever"},
		"bob@example.com": {"Ask whoever runs this server, or an owner of a team, to take bob@example.com in.", "/server"},
	} {
		a := s.Browser().Enter(email).Get("/")
		if !strings.Contains(a.HTML, want.says) || strings.Contains(a.HTML, want.not) || strings.Contains(a.HTML, "podgate team") {
			t.Errorf("%s reads %s", email, a.Text())
		}
	}
	b := s.Browser()
	b.Enter("ada@example.com")
	b.Post("/server/teams", url.Values{"name": {"Red"}})
	if a := b.Get("/"); !strings.Contains(a.Text(), "Make a first pod") {
		t.Errorf("with a team: %s", a.Text())
	}
}

// records puts pods into the store alone.
func records(t testing.TB, s *pagetest.Site, team store.TeamID, n int, want store.Want) {
	t.Helper()
	for i := range n {
		p := store.Pod{
			ID: store.PodID(store.NewID()), Name: fmt.Sprintf("pod-%03d", i), Team: team, Preset: "static", Plan: "small", Region: "here",
			Want: want, Created: s.Clock.Now(),
		}
		if err := s.DB.CreatePod(p, s.Clock.Now(), func([]store.Pod) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
}

// Whoever has nothing yet is told what to do first, and first about clients that
// can reach this server.
func TestFrontBeginsWithWhatToDo(t *testing.T) {
	t.Parallel()
	s := pagetest.New(t)
	u := s.AddUser("ada@example.com", true, "red")
	heads := func(a pagetest.Answer) string {
		var list []string
		for _, n := range a.All("h2") {
			list = append(list, pagetest.Text(n))
		}
		return strings.Join(list, ", ")
	}
	b := s.Browser()
	a := b.Enter("ada@example.com").Get("/")
	if got := heads(a); got != "Connect an assistant" {
		t.Errorf("at first: %s", got)
	}
	if first := pagetest.Text(a.All("summary")[0]); first != "Claude Code" {
		t.Errorf("the first steps on a server for this computer are those of %s", first)
	}
	if !strings.Contains(a.Text(), "Make a first pod") {
		t.Error("nothing offers a first pod")
	}
	s.Connect(u, "red", "Claude", "claude.ai", authz.ScopeRead)
	a = b.Get("/")
	if got := heads(a); got != "" || !strings.Contains(a.Text(), "No pods yet.") {
		t.Errorf("then: %s, %s", got, a.Text())
	}
	if a := b.Get("/connect"); a.H1() != "Connect an assistant" || !strings.Contains(a.HTML, s.Issuer()+"/api/mcp") {
		t.Errorf("/connect: %s", a.Text())
	}
}

func TestFrontSaysWherePodsCannotRun(t *testing.T) {
	t.Parallel()
	s := pagetest.New(t)
	s.AddUser("ada@example.com", true, "red")
	broken := podstest.ServiceOver(t, s.DB, s.Fake, func(c *pods.Config) {
		c.Regions = []pods.Region{podstest.DownRegion("here", &pods.UnavailableError{
			Reason: "The kernel does not let podgate make <namespaces>", Fix: "Set user.max_user_namespaces above 0.", Err: errors.New("private cause"),
		})}
	})
	for name, c := range map[string]struct {
		pods *pods.Service
		want string
	}{
		"no region works": {broken, "Set user.max_user_namespaces above 0."},
		"no pods service": {nil, "This server has no place for pods to run."},
	} {
		w := frontAt(t, s, c.pods, s.Issuer(), "podgate")
		body := w.Body.String()
		if w.Code != http.StatusOK || !strings.Contains(body, c.want) || !strings.Contains(body, "Connect an assistant") {
			t.Errorf("%s: %d\n%s", name, w.Code, body)
		}
		if strings.Contains(body, "<namespaces>") || strings.Contains(body, "private cause") {
			t.Errorf("%s: an unescaped or private text is shown", name)
		}
	}
}

// frontAt is the front page of ada's on a server of its own.
func frontAt(t *testing.T, s *pagetest.Site, service *pods.Service, issuer, cookie string) *httptest.ResponseRecorder {
	t.Helper()
	secret := s.Session("ada@example.com")
	server, err := ui.New(ui.Config{Pods: service, Config: page.Config{Issuer: issuer, Account: s.Account, Now: s.Clock.Now}})
	if err != nil {
		t.Fatal(err)
	}
	for _, route := range server.Routes() {
		if route.Method == http.MethodGet && route.Path == "/" {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.AddCookie(&http.Cookie{Name: cookie, Value: secret})
			w := httptest.NewRecorder()
			if err := route.Handler(w, r); err != nil {
				t.Fatal(err)
			}
			return w
		}
	}
	t.Fatal("no front page")
	return nil
}

func TestHostedGuidesWarnAboutThisComputer(t *testing.T) {
	t.Parallel()
	s := pagetest.New(t)
	s.AddUser("ada@example.com", true, "red")
	const warning = "cannot reach"
	if a := s.Browser().Enter("ada@example.com").Get("/"); strings.Count(a.HTML, warning) != 2 {
		t.Errorf("on localhost %d guides warn, want Claude's and ChatGPT's", strings.Count(a.HTML, warning))
	}
	w := frontAt(t, s, s.Pods, "https://pods.example.com", "__Host-podgate")
	if body := w.Body.String(); strings.Contains(body, warning) || !strings.Contains(body, "https://pods.example.com/api/mcp") {
		t.Errorf("on a public address: %d", w.Code)
	}
}

// A pod whose agent does not answer holds nobody's list up.
func TestFrontDoesNotWaitForSilentAgents(t *testing.T) {
	t.Parallel()
	s := pagetest.New(t)
	ada := s.AddUser("ada@example.com", false, "red")
	s.Fake.SetAgent(agentSaying(silent))
	s.CreatePod(ada, "red", "blog", "static")
	b := s.Browser()
	began := time.Now()
	a := b.Enter("ada@example.com").Get("/")
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the page took %s", took)
	}
	if got := row(t, a, "blog"); !strings.HasPrefix(got, "no answer yet blog") {
		t.Errorf("the row says %q", got)
	}
}
