package webtest

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

const page = `<title>A form</title><p>Some   text</p><a href="/away">Go</a>
<form method="post" action="/do"><input type="hidden" name="h" value="secret"><input name="mail" required>
<label><input type="radio" name="team" value="t1" required><span><b>Home</b> home</span></label>
<label><input type="radio" name="team" value="t2"><span>Work</span></label>
<label><input type="checkbox" name="scope" value="read" checked>Read</label>
<label><input type="checkbox" name="scope" value="write" checked>Write</label>
<button name="decision" value="yes">Approve</button><button name="decision" value="no" formnovalidate>Deny</button></form>`

func serve(t *testing.T) (*httptest.Server, *http.Request) {
	t.Helper()
	got := &http.Request{}
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Referrer-Policy", "no-referrer")
		http.SetCookie(w, &http.Cookie{Name: "session", Value: "1", Path: "/"})
		fmt.Fprint(w, page)
	})
	mux.HandleFunc("/do", func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		*got = *r
		http.Redirect(w, r, "http://callback.example/?code=7", http.StatusSeeOther)
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s, got
}

func TestPressSendsWhatABrowserSends(t *testing.T) {
	s, got := serve(t)
	b := New(t)
	b.Stop = func(u *url.URL) bool { return u.Host == "callback.example" }
	p := b.Open(s.URL)
	if p.Title() != "A form" || !strings.Contains(p.Text(), "Some text") || !p.HasButton("Deny") || p.HasButton("Sing") {
		t.Errorf("%q %q", p.Title(), p.Text())
	}
	end := p.Press("Approve", Fields{"mail": {"a@example.com"}, "team": {"Home"}, "scope": {"write"}})
	if end.Location == nil || end.Location.Query().Get("code") != "7" {
		t.Errorf("ended at %+v", end)
	}
	want := "decision=yes&h=secret&mail=a%40example.com&scope=write&team=t1"
	if got.PostForm.Encode() != want {
		t.Errorf("sent %s, want %s", got.PostForm.Encode(), want)
	}
	if got.Header.Get("Origin") != "null" || got.Header.Get("Sec-Fetch-Site") != "same-origin" || got.Header.Get("Cookie") != "session=1" {
		t.Errorf("headers %v", got.Header)
	}
}

func TestFillRefusesWhatABrowserRefuses(t *testing.T) {
	root, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	p := &Page{root: root}
	form, approve := p.button("Approve")
	_, deny := p.button("Deny")
	for name, c := range map[string]struct {
		button *html.Node
		fields Fields
		want   string // part of the error; empty: accepted
	}{
		"complete":         {approve, Fields{"mail": {"x"}, "team": {"t2"}}, ""},
		"no address":       {approve, Fields{"team": {"t2"}}, "required field mail"},
		"no team":          {approve, Fields{"mail": {"x"}}, "required field team"},
		"deny needs none":  {deny, nil, ""},
		"unknown field":    {approve, Fields{"mail": {"x"}, "team": {"t2"}, "admin": {"1"}}, "no field admin"},
		"hidden field":     {approve, Fields{"mail": {"x"}, "team": {"t2"}, "h": {"1"}}, "hidden field h"},
		"team not offered": {approve, Fields{"mail": {"x"}, "team": {"t3"}}, "does not offer"},
	} {
		_, err := fill(form, c.button, c.fields)
		if (c.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}
