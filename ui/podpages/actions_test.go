package podpages_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"podgate/store"
	"podgate/ui/pagetest"
)

// state is how a pod is wanted.
func state(t *testing.T, s *pagetest.Site, name string) store.Want {
	t.Helper()
	p, err := s.DB.PodByName(name)
	if err != nil {
		return store.WantGone
	}
	return p.Want
}

func TestActions(t *testing.T) {
	t.Parallel()
	s := pagetest.New(t)
	ada := s.AddUser("ada@example.com", false, "red")
	s.CreatePod(ada, "red", "blog", "static")
	b := s.Browser()
	b.Enter("ada@example.com")
	a := b.Post("/pod/blog/stop", nil)
	if a.H1() != "blog" || !strings.Contains(a.Text(), "The pod is stopped.") || state(t, s, "blog") != store.WantStopped {
		t.Errorf("stop: %s", a.Text())
	}
	for _, verb := range []string{"start", "restart"} {
		if a := b.Post("/pod/blog/"+verb, nil); a.StatusCode != http.StatusOK || state(t, s, "blog") != store.WantRunning {
			t.Errorf("%s: %d %s", verb, a.StatusCode, a.Text())
		}
	}
	if a := b.Post("/pod/blog/stop", url.Values{"from": {"list"}}); a.H1() != "Pods" || !strings.Contains(a.Text(), "The pod is stopped.") {
		t.Errorf("from the list: %s", a.Text())
	}
	if a := b.Post("/pod/blog/plan", url.Values{"plan": {"medium"}}); !strings.Contains(a.Text(), "The plan is changed.") || !strings.Contains(a.Text(), "512 MB") {
		t.Errorf("plan: %s", a.Text())
	}
	if a := b.Post("/pod/blog/plan", url.Values{"plan": {"huge"}}); a.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(a.Text(), "Unknown plan") {
		t.Errorf("no such plan: %d %s", a.StatusCode, a.Text())
	}
}

func TestDeleteWantsTheName(t *testing.T) {
	t.Parallel()
	s := pagetest.New(t)
	ada := s.AddUser("ada@example.com", false, "red")
	s.CreatePod(ada, "red", "blog", "static")
	b := s.Browser()
	b.Enter("ada@example.com")
	if a := b.Get("/pod/blog/delete"); !strings.Contains(a.Text(), "Lost for good") {
		t.Errorf("what is lost is not said: %s", a.Text())
	}
	for _, typed := range []string{"", "blog2", "BLOG"} {
		if a := b.Post("/pod/blog/delete", url.Values{"confirm": {typed}}); a.StatusCode != http.StatusUnprocessableEntity || state(t, s, "blog") == store.WantGone {
			t.Errorf("%q: %d", typed, a.StatusCode)
		}
	}
	if a := b.Post("/pod/blog/delete", url.Values{"confirm": {"blog"}}); a.H1() != "Pods" || state(t, s, "blog") != store.WantGone {
		t.Errorf("the name: %s", a.Text())
	}
}

// Who only looks sees no button, and is refused what a button would have sent.
func TestViewersChangeNothing(t *testing.T) {
	t.Parallel()
	s := pagetest.New(t)
	ada := s.AddUser("ada@example.com", false, "red")
	vic := s.AddUser("vic@example.com", false, "red")
	team := s.Actor(ada, "red").Team.ID
	if err := s.DB.SetRole(team, vic.ID, store.RoleViewer); err != nil {
		t.Fatal(err)
	}
	s.CreatePod(ada, "red", "blog", "static")
	b := s.Browser()
	if a := b.Enter("vic@example.com").Get("/"); strings.Contains(a.HTML, "/pods/new") || strings.Contains(a.HTML, `method="post" action="/pod`) {
		t.Error("the front page offers a viewer what they may not do")
	}
	a := b.Get("/pod/blog")
	for _, n := range a.All("form") {
		if action := pagetest.Attr(n, "action"); strings.HasPrefix(action, "/pod/") {
			t.Errorf("a viewer is offered %s", action)
		}
	}
	before, err := s.DB.PodByName("blog")
	if err != nil {
		t.Fatal(err)
	}
	for path, form := range map[string]url.Values{
		"/pod/blog/stop": nil, "/pod/blog/start": nil, "/pod/blog/restart": nil, "/pod/blog/reload": nil, "/pod/blog/plan": {"plan": {"medium"}},
		"/pod/blog/delete": {"confirm": {"blog"}}, "/pod/blog/deploys": nil, "/pod/blog/rollback?to=0": nil,
		"/pods/new": {"name": {"other"}, "preset": {"static"}, "team": {"red"}}, "/pods/first": {"team": {"red"}},
	} {
		if a := b.Post(path, form); a.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %d", path, a.StatusCode)
		}
	}
	after, err := s.DB.PodByName("blog")
	if err != nil || after.Want != before.Want || after.Plan != before.Plan || after.Deploys != before.Deploys {
		t.Errorf("a viewer changed the pod to %+v (%v)", after, err)
	}
}

// A page of another site, and a pod's own page, press no button here.
func TestForeignFormsAreRefused(t *testing.T) {
	t.Parallel()
	s := pagetest.New(t)
	ada := s.AddUser("ada@example.com", false, "red")
	s.CreatePod(ada, "red", "blog", "static")
	b := s.Browser()
	b.Enter("ada@example.com")
	for _, header := range []http.Header{
		{"Origin": {"https://evil.example"}, "Sec-Fetch-Site": {"cross-site"}},
		{"Origin": {"http://blog.localhost:8080"}, "Sec-Fetch-Site": {"same-site"}},
		{"Origin": {"null"}, "Sec-Fetch-Site": {"same-site"}},
		{},
	} {
		for _, path := range []string{"/pod/blog/stop", "/pod/blog/delete", "/pod/blog/plan", "/pod/blog/deploys", "/pod/blog/rollback?to=0", "/pods/new", "/pods/first"} {
			if a := b.Do(http.MethodPost, path, url.Values{"confirm": {"blog"}, "plan": {"medium"}, "name": {"x"}, "preset": {"static"}}, header); a.StatusCode != http.StatusForbidden {
				t.Errorf("%s with %v: %d", path, header, a.StatusCode)
			}
		}
		if len(header) == 0 {
			continue // a program may follow: no other site's page can send nothing
		}
		if a := b.Do(http.MethodGet, "/events", nil, header); a.StatusCode != http.StatusForbidden {
			t.Errorf("/events with %v: %d", header, a.StatusCode)
		}
	}
	if state(t, s, "blog") != store.WantRunning {
		t.Error("the pod was changed")
	}
}

func TestCreate(t *testing.T) {
	t.Parallel()
	s := pagetest.New(t)
	s.AddUser("ada@example.com", false, "red", "blue")
	b := s.Browser()
	b.Enter("ada@example.com")
	a := b.Get("/pods/new")
	if a.H1() != "New pod" || !strings.Contains(a.Text(), "http://NAME.localhost:8080") {
		t.Errorf("the form: %s", a.Text())
	}
	for name, want := range map[string]string{"": "Invalid name", "My App": "try my-app", "admin": "kept for the server"} {
		a := b.Post("/pods/new", url.Values{"name": {name}, "preset": {"static"}, "team": {"red"}})
		if a.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(a.Text(), want) {
			t.Errorf("%q: %d %s", name, a.StatusCode, a.Text())
		}
	}
	a = b.Post("/pods/new", url.Values{"name": {"shop"}, "preset": {"static"}, "team": {"blue"}, "plan": {"medium"}})
	if a.H1() != "shop" || !strings.Contains(a.Text(), "512 MB memory") || !strings.Contains(a.Text(), "Deploy an app") {
		t.Errorf("made: %s", a.Text())
	}
	if p, err := s.DB.PodByName("shop"); err != nil || p.Plan != "medium" {
		t.Errorf("%+v %v", p, err)
	}
	if a := b.Post("/pods/new", url.Values{"name": {"shop"}, "preset": {"static"}, "team": {"red"}}); a.StatusCode != http.StatusConflict {
		t.Errorf("the same name: %d", a.StatusCode)
	}
	if a := b.Post("/pods/new", url.Values{"name": {"other"}, "preset": {"static"}, "team": {"green"}}); a.StatusCode != http.StatusForbidden {
		t.Errorf("another team: %d", a.StatusCode)
	}
	for _, want := range []string{"hello", "hello-"} {
		if a := b.Post("/pods/first", url.Values{"team": {"red"}}); !strings.HasPrefix(a.H1(), want) {
			t.Errorf("a first pod: %s", a.Text())
		}
	}
}
