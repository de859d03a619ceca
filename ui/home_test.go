package ui_test

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"podgate/account"
	"podgate/internal/authz"
	"podgate/pods"
	"podgate/pods/podstest"
	"podgate/store"
	"podgate/ui"
)

// actor is the user in that team.
func (s *site) actor(u store.User, slug string) authz.Actor {
	s.t.Helper()
	list, err := s.account.TeamsOf(u.ID)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, m := range list {
		if m.Team.Slug == slug {
			return authz.Person(u.ID, m)
		}
	}
	s.t.Fatalf("%s is not in %s", u.Email, slug)
	return authz.Actor{}
}

func (s *site) createPod(u store.User, slug, name, preset string) {
	s.t.Helper()
	if _, err := s.pods.Create(s.t.Context(), s.actor(u, slug), pods.CreateRequest{Name: name, Preset: preset}, nil); err != nil {
		s.t.Fatal(err)
	}
}

func TestHomeShowsThePodsOfOnesTeams(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	ada, eve := s.addUser("ada@example.com", true, "red", "blue"), s.addUser("eve@example.com", false, "green")
	b := s.browser()
	if a := b.signIn("ada@example.com"); !strings.Contains(text(a.all("main")[0]), "No pods yet. Connect an assistant") {
		t.Error("a team without pods does not say what to do next")
	}
	s.createPod(ada, "red", "blog", "static")
	s.createPod(ada, "blue", "shop", "static")
	s.createPod(eve, "green", "secret-pod", "static")
	if _, err := s.pods.Stop(t.Context(), s.actor(ada, "blue"), "shop", nil); err != nil {
		t.Fatal(err)
	}
	a := b.get("/")
	page := text(a.all("main")[0])
	for _, want := range []string{"blog running http://blog.localhost:8080 static", "12 MB of 256 MB · started 1 day ago", "shop stopped http://shop.localhost:8080 static · up to 256 MB · created"} {
		if !strings.Contains(page, want) {
			t.Errorf("%q is not in:\n%s", want, page)
		}
	}
	if strings.Contains(a.body, "secret-pod") || strings.Contains(a.body, "green") {
		t.Error("another team's pod is shown")
	}
}

// What failed comes first, then what runs and has something to say: an app that
// goes on after a deploy that failed does not look well.
func TestHomeShowsTroubleFirst(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	preview(s, s.addUser("ada@example.com", true, "red"), store.Team{Slug: "red"})
	a := s.browser().get("/preview/pods")
	var names []string
	for _, n := range a.all("strong") {
		names = append(names, text(n))
	}
	want := []string{"a-name-of-sixty-three-characters-is-the-longest-a-pod-can-havex", "wiki", "blog", "shop-api", "new"}
	if !slices.Equal(names, want) {
		t.Errorf("in the order %q, want %q", names, want)
	}
	if main := text(a.all("main")[0]); !strings.Contains(main, "wiki running") || !strings.Contains(main, "The last reload failed and what ran before goes on: npm ci") {
		t.Errorf("a pod that runs after a failed reload is shown without the reason:\n%s", main)
	}
}

// Whoever has nothing yet is told what to do first, and first about clients that
// can reach this server.
func TestHomeBeginsWithWhatToDo(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	u := s.addUser("ada@example.com", true, "red")
	heads := func(a answer) string {
		var list []string
		for _, n := range a.all("h2") {
			list = append(list, text(n))
		}
		return strings.Join(list, ", ")
	}
	b := s.browser()
	a := b.signIn("ada@example.com")
	if got := heads(a); got != "Connect an assistant, red" {
		t.Errorf("at first: %s", got)
	}
	if first := text(a.all("summary")[0]); first != "Claude Code" {
		t.Errorf("the first steps on a server for this computer are those of %s", first)
	}
	s.connect(u, "red", "Claude", "claude.ai", authz.ScopeRead)
	if got := heads(b.get("/")); got != "red, Your connections, Connect an assistant" {
		t.Errorf("then: %s", got)
	}
}

func TestHomeSaysWherePodsCannotRun(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.addUser("ada@example.com", true, "red")
	broken := podstest.ServiceOver(t, s.db, s.fake, func(c *pods.Config) {
		c.Regions = []pods.Region{podstest.DownRegion("here", &pods.UnavailableError{
			Reason: "The kernel does not let podgate make <namespaces>", Fix: "Set user.max_user_namespaces above 0.", Err: errors.New("private cause"),
		})}
	})
	secret, _, err := s.account.SignIn(t.Context(), "ada@example.com", password, account.Browser{Addr: here})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		pods *pods.Service
		want string
	}{
		"no region works": {broken, "Set user.max_user_namespaces above 0."},
		"no pods service": {nil, "This server has no place for pods to run."},
	} {
		server, err := ui.New(ui.Config{Issuer: s.issuer(), Account: s.account, Pods: c.pods, Now: s.clock.now})
		if err != nil {
			t.Fatal(err)
		}
		w := serve(t, server, http.MethodGet, "/", nil, nil, &http.Cookie{Name: "podgate", Value: secret})
		body := w.Body.String()
		if w.Code != http.StatusOK || !strings.Contains(body, c.want) || !strings.Contains(body, "Connect an assistant") {
			t.Errorf("%s: %d\n%s", name, w.Code, body)
		}
		if strings.Contains(body, "<namespaces>") || strings.Contains(body, "private cause") {
			t.Errorf("%s: an unescaped or private text is shown", name)
		}
	}
}

func TestHostedGuidesWarnAboutThisComputer(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.addUser("ada@example.com", true, "red")
	const warning = "cannot reach"
	if a := s.browser().signIn("ada@example.com"); strings.Count(a.body, warning) != 2 {
		t.Errorf("on localhost %d guides warn, want Claude's and ChatGPT's", strings.Count(a.body, warning))
	}
	secret, _, err := s.account.SignIn(t.Context(), "ada@example.com", password, account.Browser{Addr: here})
	if err != nil {
		t.Fatal(err)
	}
	server, err := ui.New(ui.Config{Issuer: "https://pods.example.com", Account: s.account, Pods: s.pods, Now: s.clock.now})
	if err != nil {
		t.Fatal(err)
	}
	w := serve(t, server, http.MethodGet, "/", nil, nil, &http.Cookie{Name: "__Host-podgate", Value: secret})
	if body := w.Body.String(); strings.Contains(body, warning) || !strings.Contains(body, "https://pods.example.com/api/mcp") {
		t.Errorf("on a public address: %d", w.Code)
	}
}

// The list of connections says who described an app, as the consent page did.
func TestHomeSaysWhoDescribesAConnection(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	u := s.addUser("ada@example.com", true, "red")
	team, err := s.db.TeamBySlug("red")
	if err != nil {
		t.Fatal(err)
	}
	s.connectClient("https://claude.ai/oauth/claude-code-client-metadata", u, team, "Claude Code", "localhost", authz.ScopeRead)
	s.connect(u, "red", "Cursor", "www.cursor.com", authz.ScopeRead)
	main := text(s.browser().signIn("ada@example.com").all("main")[0])
	for _, want := range []string{"Claude Code a program on your computer (localhost), described by claude.ai", "calls itself Cursor"} {
		if !strings.Contains(main, want) {
			t.Errorf("%q is missing in:\n%s", want, main)
		}
	}
}
