package errorpage

import (
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
)

func write(method string, p Page) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	p.Write(w, httptest.NewRequest(method, "/", nil))
	return w
}

// What is sent is what the policy allows: the one style, and nothing that loads,
// runs, sends or leads anywhere.
func TestPageNeedsNothing(t *testing.T) {
	t.Parallel()
	w := write("GET", Page{Status: 404, Title: "<b>Nothing</b>", Text: "Not <a>here</a>."})
	body := w.Body.String()
	if w.Code != 404 || !strings.Contains(body, "&lt;b&gt;Nothing&lt;/b&gt;</h1>") || strings.Contains(body, "<a>") {
		t.Errorf("%d\n%s", w.Code, body)
	}
	want := "default-src 'none'; style-src '" + styleHash(body) + "'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
	if got := w.Header().Get("Content-Security-Policy"); got != want {
		t.Errorf("policy %s, want %s", got, want)
	}
	if found := regexp.MustCompile(`(?i)<(script|link|img|form|iframe|base)|\b(href|src|style|on[a-z]+)=|url\(|@import|http-equiv`).FindAllString(body, -1); len(found) > 0 {
		t.Errorf("the page holds %q", found)
	}
	for key, want := range map[string]string{"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff", "Set-Cookie": "", "Retry-After": ""} {
		if got := w.Header().Get(key); got != want {
			t.Errorf("%s: %q, want %q", key, got, want)
		}
	}
}

func TestRetry(t *testing.T) {
	t.Parallel()
	w := write("GET", Page{Status: 503, Retry: 3, Refresh: true})
	if w.Header().Get("Retry-After") != "3" || !strings.Contains(w.Body.String(), `<meta http-equiv="refresh" content="3">`) {
		t.Errorf("%v\n%s", w.Header(), w.Body)
	}
	w = write("HEAD", Page{Status: 503, Retry: 5})
	if w.Code != 503 || w.Header().Get("Retry-After") != "5" || w.Body.Len() > 0 {
		t.Errorf("HEAD: %d %v %s", w.Code, w.Header(), w.Body)
	}
}

// Its icon and colours are those of the other pages, whose contrast is tested.
func TestLooksLikeTheOthers(t *testing.T) {
	t.Parallel()
	icon, err := os.ReadFile("../../ui/page/assets/icon.svg")
	if err != nil {
		t.Fatal(err)
	}
	if _, shapes, _ := strings.Cut(strings.TrimSpace(string(icon)), "<rect"); !strings.Contains(source, "<rect"+shapes) {
		t.Errorf("the icon has another form: %s", shapes)
	}
	raw, err := os.ReadFile("../../ui/page/assets/style/10-base.css")
	if err != nil {
		t.Fatal(err)
	}
	colour := regexp.MustCompile(`--[a-z-]+: #[0-9a-f]{6}`)
	light, dark, _ := strings.Cut(string(raw), "prefers-color-scheme: dark")
	ours, oursDark, _ := strings.Cut(source, "prefers-color-scheme: dark")
	for _, c := range []struct{ page, sheet string }{{ours, light}, {oursDark, dark}} {
		list := colour.FindAllString(c.page, -1)
		if len(list) != 3 {
			t.Errorf("%d colours, want 3: %q", len(list), list)
		}
		for _, x := range list {
			if !strings.Contains(c.sheet, x+";") {
				t.Errorf("%s is no colour of the stylesheet", x)
			}
		}
	}
}
