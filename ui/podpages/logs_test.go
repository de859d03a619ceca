package podpages_test

import (
	"bufio"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"podgate/internal/webtest"
	"podgate/ui/pagetest"
)

// hostile are lines with which an app would steer a terminal or a page.
var hostile = []string{
	"<script>alert(1)</script><img src=x onerror=alert(1)>",
	"\x1b]8;;https://evil.example/\x1b\\a link\x1b]8;;\x1b\\ and \x1b[2J\x1b[31mred\x1b[0m",
	"invoice-\u202efdp.exe",
	strings.Repeat("long ", 1600),
}

func TestLogPage(t *testing.T) {
	t.Parallel()
	s, log := withLog(t)
	s.CreatePod(s.AddUser("ada@example.com", false, "red"), "red", "blog", "static")
	for i := range 250 {
		log.add("app", "stdout", fmt.Sprintf("line %d.", i))
	}
	for _, line := range hostile {
		log.add("app", "stderr", line)
	}
	b := s.Browser()
	b.Enter("ada@example.com")
	a := b.Get("/pod/blog/logs")
	text := a.Text()
	if a.StatusCode != http.StatusOK || !strings.Contains(text, "line 249.") || strings.Contains(text, "line 53.") {
		t.Fatalf("%d %s", a.StatusCode, text)
	}
	for _, bad := range []string{"<script>alert", "<img src=x", "evil.example", "\x1b", "\u202e", "style="} {
		if strings.Contains(a.HTML, bad) {
			t.Errorf("the page has %q", bad)
		}
	}
	for _, want := range []string{`<i class="a-red">red</i>`, `<i class="a-name">U&#43;202E</i>`, "more characters", "&lt;script&gt;alert(1)"} {
		if !strings.Contains(a.HTML, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	older := ""
	for _, link := range a.All("a") {
		if pagetest.Text(link) == "Older lines" {
			older = pagetest.Attr(link, "href")
		}
	}
	a = b.Get(older)
	if text := a.Text(); !strings.Contains(text, "line 53.") || strings.Contains(text, "line 54.") || !strings.Contains(text, "line 0.") || !strings.Contains(text, "Newest lines") {
		t.Errorf("older: %s", text)
	}
	if text := b.Get("/pod/blog/logs?show=errors").Text(); strings.Contains(text, "line 249.") || !strings.Contains(text, "a link and red") {
		t.Errorf("errors only: %s", text)
	}
	day := s.Clock.Now().Format("2 January 2006")
	for path, want := range map[string][]string{ // lines with that, and of which day, with its zone
		"/pod/blog/logs":                    {"line 249.", day + ", UTC"},
		"/pod/blog/logs?q=line+24":          {"line 24.", "line 249."},
		"/pod/blog/logs?q=none+of+that":     {"No line has “none of that”."},
		"/pod/blog/logs/download?q=line+24": {"line 24.", "line 249."},
	} {
		a := b.Get(path)
		for _, w := range want {
			if !strings.Contains(a.Text(), w) {
				t.Errorf("%s lacks %q: %.600s", path, w, a.Text())
			}
		}
		if strings.Contains(path, "q=") && strings.Contains(a.Text(), "line 250.") || strings.Contains(path, "q=") && strings.Contains(a.Text(), "line 239.") {
			t.Errorf("%s has other lines", path)
		}
	}
	if a := b.Get("/pod/blog/logs?before=yesterday"); a.StatusCode != http.StatusBadRequest {
		t.Errorf("a time that is none: %d", a.StatusCode)
	}
	a = b.Get("/pod/blog/logs/download")
	if got := a.Header; got.Get("Content-Type") != "text/plain; charset=utf-8" || !strings.HasPrefix(got.Get("Content-Disposition"), "attachment;") || got.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("%v", got)
	}
	if n := strings.Count(a.HTML, "\n"); n != 254 || strings.ContainsAny(a.HTML, "\x1b\u202e") || !strings.Contains(a.HTML, "app stdout line 0.") || !strings.Contains(a.HTML, hostile[3]) {
		t.Errorf("%d lines: %.200q", n, a.HTML)
	}
}

// follow opens the log's stream as a script of podgate's own page does.
func follow(t *testing.T, b *pagetest.Browser, origin, address string, header http.Header) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, origin+address, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range header {
		req.Header[name] = values
	}
	res, err := b.Client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	return res
}

func TestLogStream(t *testing.T) {
	t.Parallel()
	s, log := withLog(t)
	ada := s.AddUser("ada@example.com", false, "red")
	s.CreatePod(ada, "red", "blog", "static")
	log.add("app", "stdout", "before")
	b := s.Browser()
	b.Enter("ada@example.com")
	events := "/pod/blog/logs/events?after=" + url.QueryEscape(s.Clock.Now().Add(-time.Second).Format(time.RFC3339Nano))
	res := follow(t, b, s.PageOrigin(), events, http.Header{"Sec-Fetch-Site": {"same-origin"}})
	if res.StatusCode != http.StatusOK || !strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream") {
		t.Fatalf("%d %v", res.StatusCode, res.Header)
	}
	lines := bufio.NewScanner(res.Body)
	next := func(want string) {
		t.Helper()
		for lines.Scan() {
			if strings.Contains(lines.Text(), want) {
				return
			}
		}
		t.Fatalf("the stream ended before %q", want)
	}
	next(`"t":"before"`)
	log.add("worker", "stderr", "<b>\u202e")
	next("id: ")
	next(`"t":"\u003cb\u003e"`)

	// What its session sees ends with the session.
	if a := b.Post("/sign-out", nil); a.StatusCode != http.StatusOK {
		t.Fatal(a.StatusCode)
	}
	for lines.Scan() {
	}
	<-log.left
}

func TestLogStreamRefused(t *testing.T) {
	t.Parallel()
	s, _ := withLog(t)
	s.CreatePod(s.AddUser("ada@example.com", false, "red"), "red", "blog", "static")
	s.AddUser("eve@example.com", false, "green")
	b, eve := s.Browser(), s.Browser()
	b.Enter("ada@example.com")
	eve.Enter("eve@example.com")
	for _, site := range []string{"same-site", "cross-site", "none"} {
		if res := follow(t, b, s.PageOrigin(), "/pod/blog/logs/events", http.Header{"Sec-Fetch-Site": {site}}); res.StatusCode != http.StatusForbidden {
			t.Errorf("from %s: %d", site, res.StatusCode)
		}
	}
	if res := follow(t, eve, s.PageOrigin(), "/pod/blog/logs/events", nil); res.StatusCode != http.StatusNotFound {
		t.Errorf("somebody else: %d", res.StatusCode)
	}
	again := s.Browser() // the bound is the person's, not the session's
	again.Enter("ada@example.com")
	for i := range 24 {
		b := []*pagetest.Browser{b, again}[i%2]
		if res := follow(t, b, s.PageOrigin(), "/pod/blog/logs/events", nil); res.StatusCode != http.StatusOK {
			t.Fatal(res.StatusCode)
		}
	}
	if res := follow(t, b, s.PageOrigin(), "/pod/blog/logs/events", nil); res.StatusCode != http.StatusTooManyRequests {
		t.Errorf("one too many: %d", res.StatusCode)
	}
}

// A browser follows the log, shows hostile lines as text, pauses and goes on.
func TestLogInBrowser(t *testing.T) {
	t.Parallel()
	browser := webtest.StartChromium(t)
	s, log := withLog(t)
	s.CreatePod(s.AddUser("ada@example.com", false, "red"), "red", "blog", "static")
	for i := range 30 {
		log.add("app", "stdout", fmt.Sprintf("GET /page/%d 200 in %d ms", i, 3+i%7))
	}
	log.add("agent", "stdout", "the app answers on port 8080")
	log.add("worker", "stdout", "\x1b[32m✓\x1b[0m sent \x1b[1m12\x1b[0m mails, \x1b[33m1 deferred\x1b[0m \x1b[90m(queue 3)\x1b[0m \x1b[41mdown\x1b[0m \x1b[34mblue\x1b[0m \x1b[35mviolet\x1b[0m")
	tab := pagetest.NewTab(t, browser, s.PageOrigin())
	tab.SignIn("ada@example.com")
	tab.Open("/pod/blog/logs")
	tab.Do(chromedp.WaitVisible(chromedp.CSS(".live-on")))
	for _, line := range hostile {
		log.add("app", "stderr", line)
	}
	tab.Do(chromedp.WaitVisible(chromedp.CSS(".log-bad:nth-last-child(1)")))
	if text := tab.Text("#log"); !strings.Contains(text, "<script>alert(1)") || !strings.Contains(text, "U+202E") || strings.Contains(text, "evil.example") {
		t.Errorf("%s", text)
	}
	if n := pagetest.Ask(tab, chromedp.Evaluate[int](`document.querySelectorAll("#log script, #log img, #log a").length`)); n != 0 {
		t.Errorf("%d elements out of lines", n)
	}
	tab.Do(chromedp.Click(chromedp.CSS("#pause")))
	log.add("app", "stdout", "while paused")
	tab.Wait(`document.getElementById("live").textContent.includes("1 new")`)
	if text := tab.Text("#log"); strings.Contains(text, "while paused") {
		t.Error("a paused log goes on")
	}
	tab.Do(chromedp.Click(chromedp.CSS("#pause")))
	tab.Wait(`document.getElementById("log").textContent.includes("while paused")`)
	tab.Inspect("pod-logs")
}
