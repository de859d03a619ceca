package podpages_test

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"podgate/pods/podstest"
	"podgate/store"
	"podgate/ui/pagetest"
)

// sendApp sends files as a browser sends a folder or an archive.
func sendApp(t *testing.T, s *pagetest.Site, b *pagetest.Browser, field string, files ...string) pagetest.Answer {
	t.Helper()
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	for i := 0; i+1 < len(files); i += 2 {
		part, err := form.CreatePart(textproto.MIMEHeader{"Content-Disposition": {fmt.Sprintf(`form-data; name=%q; filename=%q`, field, files[i])}})
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(part, files[i+1])
	}
	if err := form.Close(); err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest(http.MethodPost, s.PageOrigin()+"/pod/blog/deploys", &body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = http.Header{"Content-Type": {form.FormDataContentType()}, "Origin": {"null"}, "Sec-Fetch-Site": {"same-origin"}}
	return b.Read(req)
}

func zipped(t *testing.T, files ...string) string {
	t.Helper()
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	for i := 0; i+1 < len(files); i += 2 {
		w, err := z.Create(files[i])
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(w, files[i+1])
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// untilNothingIsBuilt waits until no deploy of the pod blog goes on.
func untilNothingIsBuilt(b *pagetest.Browser) {
	for end := time.Now().Add(40 * time.Second); time.Now().Before(end) && strings.Contains(b.Get("/pod/blog/deploys").Text(), "building"); time.Sleep(20 * time.Millisecond) {
	}
}

// A folder, a zip and nothing at all, by a form.
func TestDeployByForm(t *testing.T) {
	t.Parallel()
	s := pagetest.New(t)
	ada := s.AddUser("ada@example.com", false, "red")
	s.Fake.SetAgent(podstest.RealAgent)
	s.CreatePod(ada, "red", "blog", "static")
	b := s.Browser()
	b.Enter("ada@example.com")
	// live is what runs once no deploy goes on any more.
	live := func() int {
		untilNothingIsBuilt(b)
		list, err := s.Pods.Deploys(s.Actor(ada, "red"), "blog")
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range list {
			if d.Live {
				return d.Number
			}
		}
		return 0
	}
	a := sendApp(t, s, b, "folder", "site/index.html", "<h1>one</h1>", "site/.git/config", "secret", "site/a/b.txt", "b")
	if a.H1() != "blog" || live() != 1 || !strings.Contains(a.Text(), "deploy of 2 files") {
		t.Errorf("a folder: %d %s", live(), a.Text())
	}
	a = sendApp(t, s, b, "archive", "site.zip", zipped(t, "site/index.html", "<h1>two</h1>"))
	if live() != 2 || !strings.Contains(b.Get("/pod/blog/deploys").Text(), "Roll back") {
		t.Errorf("a zip: %d %s", live(), a.Text())
	}
	for name, a := range map[string]pagetest.Answer{
		"nothing":  sendApp(t, s, b, "folder"),
		"no zip":   sendApp(t, s, b, "archive", "site.zip", "no zip at all"),
		"outside":  sendApp(t, s, b, "folder", "../../etc/passwd", "root"),
		"in a zip": sendApp(t, s, b, "archive", "x.zip", zipped(t, "../../evil", "x")),
	} {
		if a.StatusCode < 400 || a.StatusCode >= 500 || live() != 2 {
			t.Errorf("%s: %d %s", name, a.StatusCode, a.Text())
		}
	}
	rollsBack(t, s, b, ada)
}

// rollsBack goes back to the first deploy by the button of each page that has it.
func rollsBack(t *testing.T, s *pagetest.Site, b *pagetest.Browser, ada store.User) {
	t.Helper()
	const button = `href="/pod/blog/rollback?to=1" aria-label="Roll back to deploy 1"`
	for _, path := range []string{"/pod/blog", "/pod/blog/deploys"} {
		if a := b.Get(path); strings.Count(a.HTML, "/rollback?to=") != 1 || !strings.Contains(a.HTML, button) {
			t.Errorf("%s: not one button that goes back to deploy 1:\n%s", path, a.Text())
		}
	}
	if a := b.Get("/pod/blog/rollback?to=1"); a.H1() != "Roll back?" {
		t.Errorf("the button leads to %s", a.Text())
	}
	b.Post("/pod/blog/rollback?to=1", nil)
	untilNothingIsBuilt(b)
	list, err := s.Pods.Deploys(s.Actor(ada, "red"), "blog")
	if err != nil || len(list) != 3 || list[0].Action != "rollback" || !list[0].Live {
		t.Fatalf("after going back: %+v %v", list, err)
	}
	f, err := s.Pods.ReadFile(t.Context(), s.Actor(ada, "red"), "blog", "index.html", 0, 0)
	if err != nil || string(f.Content) != "<h1>one</h1>" {
		t.Errorf("the app is %q %v", f.Content, err)
	}
	if got := b.Get("/pod/blog").HTML; !strings.Contains(got, "/rollback?to=2") || strings.Contains(got, "/rollback?to=1\"") {
		t.Error("there is no way from deploy 1 to deploy 2")
	}
}
