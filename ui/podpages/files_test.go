package podpages_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"podgate/internal/authz"
	"podgate/internal/webtest"
	"podgate/pods/podstest"
	"podgate/store"
	"podgate/ui/pagetest"
)

func withFiles(t *testing.T) (s *pagetest.Site, app string) {
	t.Helper()
	return withPod(t, "static")
}

// withPod is a site with a pod called blog, whose agent is the real one, and an
// owner, a member and a viewer of its team. app is where the app's folder is.
func withPod(t *testing.T, preset string) (s *pagetest.Site, app string) {
	t.Helper()
	s = pagetest.New(t)
	s.Fake.SetAgent(podstest.RealAgent)
	ada := s.AddUser("ada@example.com", false, "red")
	s.AddUser("bob@example.com", false, "red")
	vic := s.AddUser("vic@example.com", false)
	s.AddUser("eve@example.com", false, "green")
	team, err := s.DB.TeamBySlug("red")
	if err != nil {
		t.Fatal(err)
	}
	for user, role := range map[store.UserID]store.Role{ada.ID: store.RoleOwner, vic.ID: store.RoleViewer} {
		if err := s.DB.PutMember(store.Member{Team: team.ID, User: user, Role: role, Created: s.Clock.Now()}); err != nil {
			t.Fatal(err)
		}
	}
	s.CreatePod(ada, "red", "blog", preset)
	return s, filepath.Join(s.Fake.Dir(s.Pods.IDIn(team.ID, "blog")), "home", "app")
}

func as(s *pagetest.Site, email string) *pagetest.Browser {
	b := s.Browser()
	b.Enter(email)
	return b
}

func write(t *testing.T, file, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func fileURL(below, path string) string {
	return "/pod/blog/files" + below + "?" + url.Values{"path": {path}}.Encode()
}

// Names of any kind are shown as text, and their links lead to them.
func TestFileNames(t *testing.T) {
	t.Parallel()
	s, app := withFiles(t)
	b := as(s, "ada@example.com")
	names := []string{`<img src=x onerror=alert(1)>`, "line\nbreak", "100% & more?a=b#c", `"quoted" 'name'`, "invoice\u202efdp.exe", "\x1b[31mred", " spaces ", "ünï 😀"}
	for i, name := range names {
		write(t, filepath.Join(app, name), fmt.Sprintf("content number %d", i))
	}
	write(t, filepath.Join(app, "bad\xffname"), "x")
	a := b.Get("/pod/blog/files")
	for _, bad := range []string{"<img src=x", "\u202e", "\x1b"} {
		if strings.Contains(a.HTML, bad) {
			t.Errorf("the page has %q", bad)
		}
	}
	if !strings.Contains(a.HTML, `<i class="a-name">U&#43;202E</i>`) || !strings.Contains(a.Text(), "its name is not text") {
		t.Errorf("%s", a.Text())
	}
	found := 0
	for _, link := range a.All("a") {
		href := pagetest.Attr(link, "href")
		if !strings.Contains(href, "/files/view?") {
			continue
		}
		page := b.Get(href)
		for i := range names {
			if strings.Contains(page.Text(), fmt.Sprintf("content number %d", i)) {
				found++
			}
		}
	}
	if found != len(names) {
		t.Errorf("%d of %d names lead to their files", found, len(names))
	}
	d := b.Get(fileURL("/download", "/home/pod/app/"+names[1]))
	if got := d.Header.Get("Content-Disposition"); got != `attachment; filename="line break"; filename*=UTF-8''line%20break` {
		t.Error(got)
	}
}

func TestFileViews(t *testing.T) {
	t.Parallel()
	s, app := withFiles(t)
	b := as(s, "ada@example.com")
	write(t, filepath.Join(app, "main.go"), "package main\n\n// a comment\nfunc main() { println(\"<b>hi</b>\") }\n")
	write(t, filepath.Join(app, "trojan.py"), "if user != 'admin\u202e':\n")
	write(t, filepath.Join(app, "pic.png"), "\x89PNG\x0d\x0a\x1a\x0a rest")
	write(t, filepath.Join(app, "pic.svg"), `<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>`)
	write(t, filepath.Join(app, "page.html"), "<script>alert(1)</script>")
	write(t, filepath.Join(app, "bin"), "a\x00b")
	write(t, filepath.Join(app, "large.js"), strings.Repeat("var a = 1;\n", 30_000))
	if err := os.Symlink("/etc/passwd", filepath.Join(app, "out")); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"main.go": `<i class="a-magenta">package</i>`, "trojan.py": "turn the text around them", "pic.png": `src="/pod/blog/files/raw?`,
		"pic.svg": "&lt;", "page.html": "&lt;", "bin": "not text", "large.js": "Only the beginning",
	} {
		a := b.Get(fileURL("/view", "/home/pod/app/"+name))
		if a.StatusCode != http.StatusOK || !strings.Contains(a.HTML, want) || strings.Contains(a.HTML, "<script>alert") || strings.Contains(a.HTML, "\u202e") {
			t.Errorf("%s: %d, without %q", name, a.StatusCode, want)
		}
	}
	for name, status := range map[string]int{"pic.png": 200, "pic.svg": 415, "page.html": 415, "main.go": 415, "none": 404, "out": 409, "../../../etc/passwd": 409} {
		a := b.Get(fileURL("/raw", "/home/pod/app/"+name))
		if a.StatusCode != status {
			t.Errorf("raw %s: %d, want %d", name, a.StatusCode, status)
		}
		if status == 200 && (a.Header.Get("Content-Type") != "image/png" || !strings.Contains(a.Header.Get("Content-Security-Policy"), "sandbox") || a.Header.Get("X-Content-Type-Options") != "nosniff") {
			t.Errorf("%v", a.Header)
		}
	}
	if a := b.Do(http.MethodGet, fileURL("/raw", "/home/pod/app/pic.png"), nil, http.Header{"Sec-Fetch-Dest": {"document"}}); a.StatusCode != http.StatusForbidden {
		t.Errorf("a picture as a page: %d", a.StatusCode)
	}
	a := b.Get(fileURL("/download", "/home/pod/app/page.html"))
	if h := a.Header; h.Get("Content-Type") != "application/octet-stream" || !strings.HasPrefix(h.Get("Content-Disposition"), "attachment;") || !strings.Contains(h.Get("Content-Security-Policy"), "sandbox") {
		t.Errorf("%v", h)
	}
}

// Of two people who edit one file the second sees both versions, and nothing is lost
// that they did not see.
func TestTwoEditOneFile(t *testing.T) {
	t.Parallel()
	s, app := withFiles(t)
	ada, bob := as(s, "ada@example.com"), as(s, "bob@example.com")
	file := filepath.Join(app, "notes.txt")
	write(t, file, "one\ntwo\nthree\n")
	edit := fileURL("/edit", "/home/pod/app/notes.txt")
	form := func(a pagetest.Answer, content string) url.Values {
		values := url.Values{"content": {content}}
		for _, input := range a.All("input") {
			values.Set(pagetest.Attr(input, "name"), pagetest.Attr(input, "value"))
		}
		return values
	}
	hers, his := ada.Get(edit), bob.Get(edit)
	if a := ada.Post(edit, form(hers, "one\r\nTWO\r\nthree\r\n")); a.StatusCode != http.StatusOK || !strings.Contains(a.Text(), "The file is saved") {
		t.Fatalf("%d %s", a.StatusCode, a.Text())
	}
	a := bob.Post(edit, form(his, "one\r\ntwo\r\nthree\r\nfour\r\n"))
	if a.StatusCode != http.StatusConflict || !strings.Contains(a.Text(), "Somebody changed this file") || !strings.Contains(a.Text(), "TWO") || !strings.Contains(a.HTML, "four") {
		t.Fatalf("%d %s", a.StatusCode, a.Text())
	}
	if b, _ := os.ReadFile(file); string(b) != "one\nTWO\nthree\n" {
		t.Fatalf("%q", b)
	}
	// A third change comes between, so what he saw is old again.
	write(t, file, "third\n")
	second := bob.Post(edit, form(a, "his"))
	if second.StatusCode != http.StatusConflict || !strings.Contains(second.Text(), "third") {
		t.Fatalf("%d %s", second.StatusCode, second.Text())
	}
	if a := bob.Post(edit, form(second, "his")); a.StatusCode != http.StatusOK {
		t.Fatalf("%d %s", a.StatusCode, a.Text())
	}
	if b, _ := os.ReadFile(file); string(b) != "his" {
		t.Errorf("%q", b)
	}
	// Deleted meanwhile.
	open := ada.Get(edit)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	gone := ada.Post(edit, form(open, "hers"))
	if gone.StatusCode != http.StatusConflict || !strings.Contains(gone.Text(), "Somebody deleted this file") {
		t.Fatalf("%d %s", gone.StatusCode, gone.Text())
	}
	ada.Post(edit, form(gone, "hers"))
	if b, _ := os.ReadFile(file); string(b) != "hers" {
		t.Errorf("%q", b)
	}
	// The ends of lines stay what they were.
	write(t, file, "a\r\nb\r\n")
	ada.Post(edit, form(ada.Get(edit), "a\r\nb\r\nc\r\n"))
	if b, _ := os.ReadFile(file); string(b) != "a\r\nb\r\nc\r\n" {
		t.Errorf("%q", b)
	}
	write(t, file, "a\r\nb\n")
	if a := ada.Get(edit); a.StatusCode != http.StatusConflict {
		t.Errorf("mixed ends of lines: %d", a.StatusCode)
	}
}

// upload sends files as a form does.
func upload(t *testing.T, b *pagetest.Browser, origin, folder string, replace bool, files ...string) *http.Response {
	t.Helper()
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	if replace {
		_ = form.WriteField("replace", "yes")
	}
	for i := 0; i < len(files); i += 2 {
		w, err := form.CreateFormFile("file", files[i])
		if err != nil {
			t.Fatal(err)
		}
		_, _ = w.Write([]byte(files[i+1]))
	}
	_ = form.Close()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, origin+fileURL("/upload", folder), &body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", form.FormDataContentType())
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	for name, values := range b.Header {
		req.Header[name] = values
	}
	res, err := b.Client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	return res
}

func TestFileChanges(t *testing.T) {
	t.Parallel()
	s, app := withFiles(t)
	b := as(s, "ada@example.com")
	read := func(name string) string {
		raw, err := os.ReadFile(filepath.Join(app, name))
		if err != nil {
			return err.Error()
		}
		return string(raw)
	}
	const folder = "/home/pod/app"
	large := strings.Repeat("x", 3<<20)
	if res := upload(t, b, s.PageOrigin(), folder, false, "a.txt", "first", "../../b.txt", "second", "large", large); res.StatusCode != http.StatusOK || read("a.txt") != "first" || read("b.txt") != "second" || read("large") != large {
		t.Errorf("upload: %d", res.StatusCode)
	}
	if res := upload(t, b, s.PageOrigin(), folder, false, "a.txt", "other"); res.StatusCode != http.StatusConflict || read("a.txt") != "first" {
		t.Errorf("over a file that is there: %d %s", res.StatusCode, read("a.txt"))
	}
	if res := upload(t, b, s.PageOrigin(), folder, true, "a.txt", "other"); res.StatusCode != http.StatusOK || read("a.txt") != "other" {
		t.Errorf("in its place: %d %s", res.StatusCode, read("a.txt"))
	}
	if a := b.Post(fileURL("/new", folder), url.Values{"name": {"sub/deep"}, "kind": {"folder"}}); a.StatusCode != http.StatusOK {
		t.Errorf("new folder: %d", a.StatusCode)
	}
	if a := b.Post(fileURL("/new", folder), url.Values{"name": {"sub/note"}, "kind": {"file"}}); a.StatusCode != http.StatusOK || read("sub/note") != "" {
		t.Errorf("new file: %d", a.StatusCode)
	}
	for _, name := range []string{"", "/etc/x", "../../x", "a.txt", ".."} {
		if a := b.Post(fileURL("/new", folder), url.Values{"name": {name}, "kind": {"file"}}); a.StatusCode != http.StatusConflict {
			t.Errorf("new %q: %d", name, a.StatusCode)
		}
	}
	if a := b.Post(fileURL("/move", folder+"/a.txt"), url.Values{"to": {folder + "/b.txt"}}); a.StatusCode != http.StatusConflict || !strings.Contains(a.Text(), "Replace what is there") {
		t.Errorf("onto a file: %d %s", a.StatusCode, a.Text())
	}
	if a := b.Post(fileURL("/move", folder+"/a.txt"), url.Values{"to": {"sub/moved"}}); a.StatusCode != http.StatusOK || read("sub/moved") != "other" {
		t.Errorf("move: %d", a.StatusCode)
	}
	a := b.Post(fileURL("/delete", folder+"/sub"), nil)
	if !strings.Contains(a.Text(), "everything that lies in it") || read("sub/moved") != "other" {
		t.Errorf("a folder is deleted without a word: %s", a.Text())
	}
	if a := b.Post(fileURL("/delete", folder+"/sub")+"&folder=1", nil); a.StatusCode != http.StatusOK || read("sub/moved") == "other" {
		t.Errorf("delete: %d", a.StatusCode)
	}
}

// Who only looks changes nothing, strangers find nothing, and no form of another site
// counts.
func TestFilesAreGuarded(t *testing.T) {
	t.Parallel()
	s, app := withFiles(t)
	write(t, filepath.Join(app, "a.txt"), "text")
	viewer, stranger, ada := as(s, "vic@example.com"), as(s, "eve@example.com"), as(s, "ada@example.com")
	const at = "/home/pod/app/a.txt"
	if a := viewer.Get("/pod/blog/files"); a.StatusCode != http.StatusOK || strings.Contains(a.HTML, "/files/upload") || strings.Contains(a.HTML, "/files/delete") {
		t.Errorf("a viewer: %d", a.StatusCode)
	}
	for _, below := range []string{"", "/view", "/download"} {
		if a := viewer.Get(fileURL(below, at)); a.StatusCode != http.StatusOK {
			t.Errorf("a viewer at %s: %d", below, a.StatusCode)
		}
		if a := stranger.Get(fileURL(below, at)); a.StatusCode != http.StatusNotFound {
			t.Errorf("a stranger at %s: %d", below, a.StatusCode)
		}
	}
	form := url.Values{"content": {"x"}, "version": {"absent"}, "name": {"x"}, "to": {"x"}}
	for _, below := range []string{"/edit", "/new", "/move", "/delete", "/upload"} {
		if a := viewer.Post(fileURL(below, at), form); a.StatusCode != http.StatusForbidden {
			t.Errorf("a viewer posts %s: %d", below, a.StatusCode)
		}
		if a := stranger.Post(fileURL(below, at), form); a.StatusCode != http.StatusNotFound {
			t.Errorf("a stranger posts %s: %d", below, a.StatusCode)
		}
		if a := ada.Do(http.MethodPost, fileURL(below, at), form, http.Header{"Origin": {"http://blog.localhost:8080"}, "Sec-Fetch-Site": {"same-site"}}); a.StatusCode != http.StatusForbidden {
			t.Errorf("a pod's page posts %s: %d", below, a.StatusCode)
		}
	}
	if b, _ := os.ReadFile(filepath.Join(app, "a.txt")); string(b) != "text" {
		t.Errorf("%q", b)
	}
}

func TestFilesInBrowser(t *testing.T) {
	t.Parallel()
	browser := webtest.StartChromium(t)
	s, app := withFiles(t)
	for i := range 60 {
		write(t, filepath.Join(app, fmt.Sprintf("img/photo-%02d.jpg", i)), "x")
	}
	write(t, filepath.Join(app, "main.go"), "// Package main answers.\npackage main\n\nimport \"net/http\"\n\nconst port = 8080\n\nfunc main() {\n\thttp.HandleFunc(\"/\", func(w http.ResponseWriter, r *http.Request) {\n\t\tif r.Method != \"GET\" {\n\t\t\treturn\n\t\t}\n\t\tw.Write([]byte(\"hello\")) // a long line that goes on and on and on and on and on and on and on and on and on and on to the right\n\t})\n\thttp.ListenAndServe(\":8080\", nil)\n}\n")
	write(t, filepath.Join(app, "invoice\u202efdp.exe"), "x")
	write(t, filepath.Join(app, "notes.md"), "# Notes\n\n- one\n- two `code`\n")
	tab := pagetest.NewTab(t, browser, s.PageOrigin())
	tab.SignIn("ada@example.com")
	tab.Open("/pod/blog/files")
	tab.Inspect("pod-files")
	tab.Open(fileURL("/view", "/home/pod/app/main.go"))
	tab.Inspect("pod-file")
	tab.Open(fileURL("/edit", "/home/pod/app/notes.md"))
	tab.Fill(map[string]string{"content": "# Notes\n\n- one\n- two\n- three\n"})
	write(t, filepath.Join(app, "notes.md"), "# Notes\n\n- one\n- zwei\n")
	tab.Submit("form.edit .primary")
	if text := tab.Text("main"); !strings.Contains(text, "Somebody changed this file") {
		t.Fatal(text)
	}
	tab.Inspect("pod-file-conflict")
	tab.Submit("form.edit .primary")
	if b, _ := os.ReadFile(filepath.Join(app, "notes.md")); string(b) != "# Notes\n\n- one\n- two\n- three\n" {
		t.Errorf("%q", b)
	}
	// Dropped files go where chosen ones do.
	tab.Open("/pod/blog/files")
	resp, err := chromedp.RunResponse(tab.Ctx, chromedp.Evaluate[chromedp.Void](`(() => {
		const data = new DataTransfer();
		data.items.add(new File(["dropped"], "dropped.txt"));
		document.querySelector("main").dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
	})()`))
	if err != nil || resp.Status != http.StatusOK {
		t.Fatal(resp, err)
	}
	if b, _ := os.ReadFile(filepath.Join(app, "dropped.txt")); string(b) != "dropped" {
		t.Errorf("%q", b)
	}
	tab.Open(fileURL("/move", "/home/pod/app/main.go"))
	tab.Inspect("pod-file-move")
}

// What lets people send files is taken from bob in each of these ways.
var losses = map[string]func(*pagetest.Site, *pagetest.Browser, store.Team, store.User) error{
	"out of the team": func(s *pagetest.Site, _ *pagetest.Browser, team store.Team, bob store.User) error {
		_, err := s.DB.RemoveMember(team.ID, bob.ID)
		return err
	},
	"a viewer": func(s *pagetest.Site, _ *pagetest.Browser, team store.Team, bob store.User) error {
		return s.DB.PutMember(store.Member{Team: team.ID, User: bob.ID, Role: store.RoleViewer, Created: s.Clock.Now()})
	},
	"signed out": func(_ *pagetest.Site, b *pagetest.Browser, _ store.Team, _ store.User) error {
		b.Post("/sign-out", nil)
		return nil
	},
}

// A file that comes slowly is given up with what let its person send it, and so is an
// app.
func TestUploadEndsWithTheRight(t *testing.T) {
	t.Parallel()
	for name, take := range losses {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, app := withFiles(t)
			bob, err := s.Account.UserByEmail("bob@example.com")
			if err != nil {
				t.Fatal(err)
			}
			team, err := s.DB.TeamBySlug("red")
			if err != nil {
				t.Fatal(err)
			}
			b := as(s, "bob@example.com")
			files := beginForm(t, s, b, fileURL("/upload", "/home/pod/app"))
			files.add("first.txt", "all of it")
			files.add("second.txt", "some of it")
			waitFor(t, filepath.Join(app, "first.txt")) // which is through when the second begins
			anApp := beginForm(t, s, b, "/pod/blog/deploys")
			anApp.add("index.html", strings.Repeat("x", 16<<20)) // more than fits on the way: the server reads
			if err := take(s, b, team, bob); err != nil {
				t.Fatal(err)
			}
			for _, form := range []*form{files, anApp} {
				if got := form.end(); got != http.StatusNotFound {
					t.Errorf("the answer is %d", got)
				}
			}
			if _, err := os.Stat(filepath.Join(app, "second.txt")); err == nil {
				t.Error("the file is there")
			}
			ada, err := s.Account.UserByEmail("ada@example.com")
			if err != nil {
				t.Fatal(err)
			}
			list, err := s.Pods.Deploys(authz.Of(ada, team, store.RoleOwner), "blog")
			if err != nil || len(list) != 0 {
				t.Errorf("deploys: %v, %v", list, err)
			}
		})
	}
}

// form is one with files, of which more can come.
type form struct {
	t      *testing.T
	parts  *multipart.Writer
	send   *io.PipeWriter
	answer chan int
}

func beginForm(t *testing.T, s *pagetest.Site, b *pagetest.Browser, address string) *form {
	t.Helper()
	body, send := io.Pipe()
	t.Cleanup(func() { _ = body.Close() })
	f := &form{t, multipart.NewWriter(send), send, make(chan int, 1)}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.PageOrigin()+address, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", f.parts.FormDataContentType())
	req.Header.Set("Origin", s.PageOrigin())
	go func() {
		defer close(f.answer)
		if res, err := b.Client.Do(req); err == nil {
			f.answer <- res.StatusCode
			_ = res.Body.Close()
		}
	}()
	return f
}

func (f *form) add(name, content string) {
	f.t.Helper()
	part, err := f.parts.CreateFormFile("file", name)
	if err == nil {
		_, err = io.WriteString(part, content)
	}
	if err != nil {
		f.t.Fatal(err)
	}
}

// end sends the end of the form and returns the status of the answer.
func (f *form) end() int {
	f.t.Helper()
	if err := errors.Join(f.parts.Close(), f.send.Close()); err != nil {
		f.t.Fatal(err)
	}
	return <-f.answer
}

// waitFor waits until there is such a file.
func waitFor(t *testing.T, file string) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(20 * time.Second); ; <-tick.C {
		if _, err := os.Stat(file); err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s is never there", file)
		}
	}
}

// held is a body of which nothing comes until the test ends.
type held struct {
	read chan<- struct{}
	end  <-chan struct{}
}

func (h held) Read([]byte) (int, error) {
	h.read <- struct{}{}
	<-h.end
	return 0, io.ErrUnexpectedEOF
}

// Nobody fills the memory with large forms: nothing is read of strangers, and so many
// of one person.
func TestLargeForms(t *testing.T) {
	t.Parallel()
	s, _ := withFiles(t)
	b := as(s, "ada@example.com")
	site, err := url.Parse(s.PageOrigin())
	if err != nil {
		t.Fatal(err)
	}
	read, end := make(chan struct{}, 10), make(chan struct{})
	post := func(path string, cookies []*http.Cookie) *httptest.ResponseRecorder {
		req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, s.PageOrigin()+path, held{read, end})
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Origin", s.PageOrigin())
		for _, c := range cookies {
			req.AddCookie(c)
		}
		w := httptest.NewRecorder()
		s.Config.Handler.ServeHTTP(w, req)
		return w
	}
	paths := []string{fileURL("/edit", "/home/pod/app/a.txt"), "/pod/blog/env"}
	for _, path := range paths {
		if w := post(path, nil); w.Code != http.StatusSeeOther || len(read) > 0 {
			t.Errorf("a stranger at %s: %d, and it was read %d times", path, w.Code, len(read))
		}
	}
	cookies := b.Client.Jar.Cookies(site)
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() { post(paths[i%2], cookies) })
		<-read
	}
	for _, path := range paths {
		if w := post(path, cookies); w.Code != http.StatusTooManyRequests || len(read) > 0 {
			t.Errorf("one too many at %s: %d", path, w.Code)
		}
	}
	close(end)
	all.Wait()
}
