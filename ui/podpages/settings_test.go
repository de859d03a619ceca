package podpages_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"podgate/internal/webtest"
	"podgate/ui/pagetest"
)

func TestPodSettings(t *testing.T) {
	t.Parallel()
	s, _ := withFiles(t)
	b := as(s, "ada@example.com")
	viewer := as(s, "vic@example.com")
	post := func(path string, status int, want string, form ...string) {
		t.Helper()
		values := url.Values{}
		for i := 0; i < len(form); i += 2 {
			values.Set(form[i], form[i+1])
		}
		a := b.Post("/pod/blog"+path, values)
		if a.StatusCode != status || !strings.Contains(a.Text(), want) || strings.Contains(a.HTML, "hunter2") || strings.Contains(a.HTML, "<script>") {
			t.Errorf("%s %v: %d without %q\n%s", path, form, a.StatusCode, want, a.Text())
		}
	}
	post("/env", http.StatusOK, "API_KEY", "name", "API_KEY", "value", "hunter2")
	post("/env", http.StatusUnprocessableEntity, "not a variable name", "name", "1 <script>", "value", "hunter2")
	post("/env", http.StatusUnprocessableEntity, "set by podgate itself", "name", "PORT", "value", "hunter2")
	for _, look := range []*pagetest.Browser{b, viewer} {
		if a := look.Get("/pod/blog/settings"); !strings.Contains(a.Text(), "API_KEY") || !strings.Contains(a.Text(), "Run commands: owners, members Delete the pod: owners") || strings.Contains(a.HTML, "hunter2") {
			t.Errorf("%d %s", a.StatusCode, a.Text())
		}
	}
	post("/env", http.StatusOK, "No variable is set", "unset", "API_KEY")
	if a := viewer.Get("/pod/blog/settings"); strings.Contains(a.HTML, `action="/pod/blog/env"`) || strings.Contains(a.HTML, `action="/pod/blog/network"`) {
		t.Error("a viewer is offered to change something")
	}
	post("/network", http.StatusUnprocessableEntity, "Write the names", "mode", "names")
	post("/network", http.StatusUnprocessableEntity, "script", "mode", "names", "names", "<script>")
}

// The list of a pod has what was done to it, for its team, and nothing of variables'
// values or other pods.
func TestPodAudit(t *testing.T) {
	t.Parallel()
	s, _ := withFiles(t)
	b := as(s, "ada@example.com")
	b.Post("/pod/blog/env", url.Values{"name": {"TOKEN"}, "value": {"hunter2"}})
	b.Post(fileURL("/new", "/home/pod/app"), url.Values{"name": {"note<b>"}, "kind": {"file"}})
	as(s, "eve@example.com").Post("/pod/blog/env", url.Values{"name": {"EVIL"}, "value": {"x"}})
	a := as(s, "vic@example.com").Get("/pod/blog/audit")
	text := a.Text()
	if !strings.Contains(text, "ada@example.com") || !strings.Contains(text, "set TOKEN") || !strings.Contains(text, "note<b>") {
		t.Errorf("%s", text)
	}
	for _, bad := range []string{"hunter2", "EVIL", "eve@", "127.0.0.1", "note<b>"} {
		if strings.Contains(a.HTML, bad) {
			t.Errorf("the list has %q", bad)
		}
	}
}

func TestPodJobs(t *testing.T) {
	t.Parallel()
	s, _ := withFiles(t)
	b := as(s, "ada@example.com")
	a := b.Post("/pod/blog/jobs", url.Values{"command": {`printf '\033[31mred\033[0m <b>\342\200\256\n'; exec sleep 600`}})
	job := a.Request.URL.String()
	if a.StatusCode != http.StatusOK || !strings.Contains(job, "/pod/blog/job?id=") {
		t.Fatalf("%d %s", a.StatusCode, a.Text())
	}
	job = a.Request.URL.RequestURI()
	var stop url.Values
	// The command is on the page from the beginning, what it prints is not.
	for a = b.Get(job); !strings.Contains(a.HTML, ">red<"); a = b.Get(job) {
		time.Sleep(10 * time.Millisecond)
	}
	if !strings.Contains(a.HTML, `<i class="a-red">red</i>`) || strings.Contains(a.HTML, "<b>") || strings.Contains(a.HTML, "\u202e") {
		t.Errorf("%s", a.HTML)
	}
	for _, input := range a.All("input") {
		if pagetest.Attr(input, "name") == "id" {
			stop = url.Values{"id": {pagetest.Attr(input, "value")}}
		}
	}
	if a := as(s, "vic@example.com").Get(job); strings.Contains(a.HTML, "/job/stop") {
		t.Error("a viewer is offered to stop it")
	}
	if a := b.Post("/pod/blog/job/stop", stop); a.StatusCode != http.StatusOK || strings.Contains(a.HTML, "data-live") {
		t.Errorf("%d %s", a.StatusCode, a.Text())
	}
	if a := b.Get("/pod/blog/jobs"); !strings.Contains(a.Text(), "sleep 600") || !strings.Contains(a.Text(), "stopped") {
		t.Errorf("%s", a.Text())
	}
	if a := b.Get("/pod/blog/job?id=none"); a.StatusCode != http.StatusNotFound {
		t.Errorf("a job that never was: %d", a.StatusCode)
	}
}

func TestSettingsInBrowser(t *testing.T) {
	t.Parallel()
	browser := webtest.StartChromium(t)
	s, _ := withFiles(t)
	tab := pagetest.NewTab(t, browser, s.PageOrigin())
	tab.SignIn("ada@example.com")
	tab.Open("/pod/blog/settings")
	tab.Fill(map[string]string{"env-name": "DATABASE_URL", "env-value": "postgres://hunter2"})
	tab.Submit(".env-form button")
	tab.Inspect("pod-settings")
	tab.Open("/pod/blog/jobs")
	tab.Fill(map[string]string{"command": `echo one; printf '\033[32mtwo\033[0m\n'`})
	tab.Submit(".run button")
	tab.Inspect("pod-job")
	tab.Open("/pod/blog/jobs")
	tab.Inspect("pod-jobs")
	tab.Open("/pod/blog/audit")
	tab.Inspect("pod-audit")
}
