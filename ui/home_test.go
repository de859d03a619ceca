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
	"podgate/ui/page"
	"podgate/ui/pagetest"
)

func TestHomeShowsThePodsOfOnesTeams(t *testing.T) {
	t.Parallel()
	s := pagetest.New(t)
	ada, eve := s.AddUser("ada@example.com", true, "red", "blue"), s.AddUser("eve@example.com", false, "green")
	b := s.Browser()
	if a := b.SignIn("ada@example.com"); !strings.Contains(pagetest.Text(a.All("main")[0]), "No pods yet. Connect an assistant") {
		t.Error("a team without pods does not say what to do next")
	}
	s.CreatePod(ada, "red", "blog", "static")
	s.CreatePod(ada, "blue", "shop", "static")
	s.CreatePod(eve, "green", "secret-pod", "static")
	if _, err := s.Pods.Stop(t.Context(), s.Actor(ada, "blue"), "shop", nil); err != nil {
		t.Fatal(err)
	}
	a := b.Get("/")
	page := pagetest.Text(a.All("main")[0])
	for _, want := range []string{"blog running http://blog.localhost:8080 static", "12 MB of 256 MB · started 1 day ago", "shop stopped http://shop.localhost:8080 static · up to 256 MB · created"} {
		if !strings.Contains(page, want) {
			t.Errorf("%q is not in:\n%s", want, page)
		}
	}
	if strings.Contains(a.HTML, "secret-pod") || strings.Contains(a.HTML, "green") {
		t.Error("another team's pod is shown")
	}
}

// What failed comes first, then what runs and has something to say: an app that
// goes on after a deploy that failed does not look well.
func TestHomeShowsTroubleFirst(t *testing.T) {
	t.Parallel()
	s := pagetest.New(t)
	preview(s, s.AddUser("ada@example.com", true, "red"), store.Team{Slug: "red"})
	a := s.Browser().Get("/preview/pods")
	var names []string
	for _, n := range a.All("strong") {
		names = append(names, pagetest.Text(n))
	}
	want := []string{"a-name-of-sixty-three-characters-is-the-longest-a-pod-can-havex", "wiki", "blog", "shop-api", "new"}
	if !slices.Equal(names, want) {
		t.Errorf("in the order %q, want %q", names, want)
	}
	if main := pagetest.Text(a.All("main")[0]); !strings.Contains(main, "wiki running") || !strings.Contains(main, "The last reload failed and what ran before goes on: npm ci") {
		t.Errorf("a pod that runs after a failed reload is shown without the reason:\n%s", main)
	}
}

// Whoever has nothing yet is told what to do first, and first about clients that
// can reach this server.
func TestHomeBeginsWithWhatToDo(t *testing.T) {
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
	a := b.SignIn("ada@example.com")
	if got := heads(a); got != "Connect an assistant, red" {
		t.Errorf("at first: %s", got)
	}
	if first := pagetest.Text(a.All("summary")[0]); first != "Claude Code" {
		t.Errorf("the first steps on a server for this computer are those of %s", first)
	}
	s.Connect(u, "red", "Claude", "claude.ai", authz.ScopeRead)
	if got := heads(b.Get("/")); got != "red, Connect an assistant" {
		t.Errorf("then: %s", got)
	}
}

func TestHomeSaysWherePodsCannotRun(t *testing.T) {
	t.Parallel()
	s := pagetest.New(t)
	s.AddUser("ada@example.com", true, "red")
	broken := podstest.ServiceOver(t, s.DB, s.Fake, func(c *pods.Config) {
		c.Regions = []pods.Region{podstest.DownRegion("here", &pods.UnavailableError{
			Reason: "The kernel does not let podgate make <namespaces>", Fix: "Set user.max_user_namespaces above 0.", Err: errors.New("private cause"),
		})}
	})
	secret, _, err := s.Account.SignIn(t.Context(), "ada@example.com", password, account.Browser{Addr: pagetest.Here})
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
		server, err := ui.New(ui.Config{Pods: c.pods, Config: page.Config{Issuer: s.Issuer(), Account: s.Account, Now: s.Clock.Now}})
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
	s := pagetest.New(t)
	s.AddUser("ada@example.com", true, "red")
	const warning = "cannot reach"
	if a := s.Browser().SignIn("ada@example.com"); strings.Count(a.HTML, warning) != 2 {
		t.Errorf("on localhost %d guides warn, want Claude's and ChatGPT's", strings.Count(a.HTML, warning))
	}
	secret, _, err := s.Account.SignIn(t.Context(), "ada@example.com", password, account.Browser{Addr: pagetest.Here})
	if err != nil {
		t.Fatal(err)
	}
	server, err := ui.New(ui.Config{Pods: s.Pods, Config: page.Config{Issuer: "https://pods.example.com", Account: s.Account, Now: s.Clock.Now}})
	if err != nil {
		t.Fatal(err)
	}
	w := serve(t, server, http.MethodGet, "/", nil, nil, &http.Cookie{Name: "__Host-podgate", Value: secret})
	if body := w.Body.String(); strings.Contains(body, warning) || !strings.Contains(body, "https://pods.example.com/api/mcp") {
		t.Errorf("on a public address: %d", w.Code)
	}
}
