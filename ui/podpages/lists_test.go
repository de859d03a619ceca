package podpages_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"podgate/pods"
	"podgate/pods/egress"
	"podgate/store"
	"podgate/ui/pagetest"
)

// The words that are looked for count on the log's page, in what comes while it is
// open, and in what is saved, and stay text.
func TestLogSearch(t *testing.T) {
	t.Parallel()
	s, log := withLog(t)
	s.CreatePod(s.AddUser("ada@example.com", false, "red"), "red", "blog", "static")
	const words, hostile = "a+b & c?", `"><script>alert(1)</script>`
	log.add("app", "stdout", "plain.")
	log.add("app", "stdout", "found: "+words)
	b := signedIn(s, "ada@example.com")
	asked := "?" + url.Values{"q": {words}}.Encode()
	a := b.Get("/pod/blog/logs" + asked)
	if text := a.Text(); !strings.Contains(text, "found: "+words) || strings.Contains(text, "plain.") {
		t.Errorf("the page: %s", text)
	}
	if saved := b.Get("/pod/blog/logs/download" + asked).HTML; !strings.Contains(saved, "found: "+words) || strings.Contains(saved, "plain.") {
		t.Errorf("the download: %s", saved)
	}
	for _, link := range []string{"/download", "/events"} {
		if !strings.Contains(a.HTML, "/pod/blog/logs"+link+"?") || !strings.Contains(a.HTML, "q=a%2Bb&#43;%26&#43;c%3F") && !strings.Contains(a.HTML, "q=a%2Bb+%26+c%3F") {
			t.Errorf("the page leads to %s without the words", link)
		}
	}
	res := follow(t, b, s.PageOrigin(), "/pod/blog/logs/events"+asked+"&after="+url.QueryEscape(s.Clock.Now().Add(-time.Second).Format(time.RFC3339Nano)), http.Header{"Sec-Fetch-Site": {"same-origin"}})
	lines := bufio.NewScanner(res.Body)
	for said := ""; !strings.Contains(said, "later"); said = lines.Text() {
		if strings.Contains(said, "found:") {
			log.add("app", "stdout", "plain again.")
			log.add("app", "stdout", "later: "+words)
		}
		if !lines.Scan() || strings.Contains(lines.Text(), "plain") {
			t.Fatalf("the stream: %s", lines.Text())
		}
	}
	if a := b.Get("/pod/blog/logs?" + url.Values{"q": {hostile}}.Encode()); strings.Contains(a.HTML, "<script>alert") || a.StatusCode != http.StatusOK {
		t.Errorf("hostile words: %d", a.StatusCode)
	}
}

// What a pod asked for is shown to its team, 50 a page and the newest first. Names that
// are none, of which markup and marks of direction could be made, never come in.
func TestLedgerOfAPod(t *testing.T) {
	t.Parallel()
	s := pagetest.New(t)
	var gate *egress.Gate
	s.Fake.OnStart(func(_ context.Context, spec pods.Spec, _ func(string)) error { gate = spec.Gate; return nil })
	ada := s.AddUser("ada@example.com", false, "red")
	s.CreatePod(ada, "red", "blog", "static")
	if err := s.DB.SetPodNetwork(s.Pods.IDIn(s.Actor(ada, "red").Team.ID, "blog"), store.Network{Mode: "none"}); err != nil {
		t.Fatal(err)
	}
	if err := s.Pods.NetworkChanged(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"<b>x</b>.example.com", "\u202emoc.example", "a\nb.example.com", `"><script>.example.com`} {
		if a := gate.Ask(t.Context(), name, egress.KindA); a.Code != egress.CodeFormat {
			t.Errorf("%q is taken for a name", name)
		}
	}
	for i := range 60 {
		gate.Ask(t.Context(), fmt.Sprintf("host-%02d.example.com", i), egress.KindA)
	}
	b := signedIn(s, "ada@example.com")
	first, second := b.Get("/pod/blog/settings"), b.Get("/pod/blog/settings?page=2")
	count := func(a pagetest.Answer) int { return strings.Count(a.HTML, ".example.com<span") }
	if count(first) != 50 || count(second) != 10 || !strings.Contains(first.Text(), "1 to 50 of 60") || !strings.Contains(first.HTML, "host-59.example.com") {
		t.Errorf("%d and %d rows: %s", count(first), count(second), first.Text())
	}
	if text := first.Text(); !strings.Contains(text, "may reach nothing") {
		t.Errorf("no reason is shown: %s", text)
	}
	for _, bad := range []string{"<b>x", "\u202e", "<script>."} {
		if strings.Contains(first.HTML+second.HTML, bad) {
			t.Errorf("the page has %q", bad)
		}
	}
}

// A folder has 50 rows a page, its names can be searched, and one that is too large for
// one list says so and leads on.
func TestLargeFolders(t *testing.T) {
	t.Parallel()
	s, app := withFiles(t)
	for i := range 60 {
		write(t, filepath.Join(app, fmt.Sprintf("img/photo-%02d.jpg", i)), "x")
	}
	for i := range 2010 {
		write(t, filepath.Join(app, fmt.Sprintf("much/%04d", i)), "")
	}
	b := as(s, "ada@example.com")
	shows := func(path, query string, rows int, first string, words ...string) {
		t.Helper()
		a := b.Get(fileURL("", "/home/pod/app/"+path) + query)
		names := 0
		for _, n := range a.All("a") {
			if href := pagetest.Attr(n, "href"); strings.HasPrefix(href, "/pod/blog/files/view?") {
				if names++; names == 1 && pagetest.Text(n) != first {
					t.Errorf("%s%s begins with %q, want %q", path, query, pagetest.Text(n), first)
				}
			}
		}
		if names != rows {
			t.Errorf("%s%s has %d rows, want %d", path, query, names, rows)
		}
		for _, want := range words {
			if !strings.Contains(a.Text(), want) {
				t.Errorf("%s%s lacks %q: %s", path, query, want, a.Text())
			}
		}
	}
	shows("img", "", 50, "photo-00.jpg", "1 to 50 of 60")
	shows("img", "&page=2", 10, "photo-50.jpg", "51 to 60 of 60")
	shows("img", "&q=O-5", 10, "photo-50.jpg")
	shows("img", "&q=none", 0, "", "No name has “none”.")
	shows("much", "", 50, "0000", "1 to 50 of 2000", "This folder is too large for one list. What follows by name")
	for _, n := range b.Get(fileURL("", "/home/pod/app/much")).All("a") {
		if pagetest.Text(n) == "What follows by name" {
			from, err := url.Parse(pagetest.Attr(n, "href"))
			if err != nil {
				t.Fatal(err)
			}
			shows("much", "&from="+url.QueryEscape(from.Query().Get("from")), 10, "2000", "Beginning")
		}
	}
}

// Where no script follows the states, a page that shows them has a way to see them anew.
func TestReloadWithoutScript(t *testing.T) {
	t.Parallel()
	s, _ := withLog(t)
	s.CreatePod(s.AddUser("ada@example.com", false, "red"), "red", "blog", "static")
	b := signedIn(s, "ada@example.com")
	for _, path := range []string{"/", "/pod/blog", "/pod/blog/deploys", "/pod/blog/logs"} {
		found := false
		a := b.Get(path)
		doc, err := html.ParseWithOptions(strings.NewReader(a.HTML), html.ParseOptionEnableScripting(false))
		if err != nil {
			t.Fatal(err)
		}
		a.Doc = doc
		for _, n := range a.All("a") {
			found = found || pagetest.Text(n) == "Reload" && !pagetest.HasAttr(n, "hidden") && strings.TrimPrefix(pagetest.Attr(n, "href"), path) == ""
		}
		if !found {
			t.Errorf("%s has no Reload", path)
		}
	}
}
