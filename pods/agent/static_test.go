package agent

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func site(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "app")
	os.MkdirAll(dir, 0o755)
	for name, content := range files {
		p := filepath.Join(dir, name)
		os.MkdirAll(filepath.Dir(p), 0o755)
		if err := os.WriteFile(p, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func visit(app, method, target string, header ...string) *httptest.ResponseRecorder {
	return (&fileServer{app: app, log: io.Discard}).visit(method, target, header...)
}

func (s *fileServer) visit(method, target string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://pod/", nil)
	path, query, _ := strings.Cut(target, "?")
	r.URL.Path, r.URL.RawQuery = path, query
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

func TestFileServer(t *testing.T) {
	t.Parallel()
	app := site(t, map[string]string{
		"index.html": "home", "about.html": "about", "docs/index.html": "docs", "s.css": "css", "m.mjs": "js", "x.unknownext": "?",
		"404.html": "lost", ".env": "SECRET", ".git/config": "SECRET", "docs/.hidden/f": "SECRET", ".well-known/a.txt": "known",
		"empty/.keep": "", "public/only.txt": "not the root",
	})
	for _, c := range []struct {
		path, ctype, body string
		status            int
	}{
		{"/", "text/html; charset=utf-8", "home", 200},
		{"/index.html", "text/html; charset=utf-8", "home", 200},
		{"/about", "text/html; charset=utf-8", "about", 200},
		{"/about.html", "text/html; charset=utf-8", "about", 200},
		{"/docs/", "text/html; charset=utf-8", "docs", 200},
		{"/docs", "", "", 301},
		{"/s.css", "text/css; charset=utf-8", "css", 200},
		{"/m.mjs", "text/javascript; charset=utf-8", "js", 200},
		{"/x.unknownext", "application/octet-stream", "?", 200},
		{"/.well-known/a.txt", "text/plain; charset=utf-8", "known", 200},
		{"/.env", "text/html; charset=utf-8", "lost", 404},
		{"/.git/config", "text/html; charset=utf-8", "lost", 404},
		{"/docs/.hidden/f", "text/html; charset=utf-8", "lost", 404},
		{"/docs/../.env", "text/html; charset=utf-8", "lost", 404},
		{"/.well-known/../.env", "text/html; charset=utf-8", "lost", 404},
		{"/empty/", "text/html; charset=utf-8", "lost", 404},
		{"/absent", "text/html; charset=utf-8", "lost", 404},
		{"/s.css/", "text/html; charset=utf-8", "lost", 404},
		{"/a\x00b", "text/html; charset=utf-8", "lost", 404},
		{"/..\\x", "text/html; charset=utf-8", "lost", 404},
	} {
		w := visit(app, "GET", c.path)
		if c.status == 301 {
			if w.Code != 301 {
				t.Errorf("%s: %d", c.path, w.Code)
			}
			continue
		}
		if w.Code != c.status || w.Body.String() != c.body || w.Header().Get("Content-Type") != c.ctype {
			t.Errorf("%s: %d %q %q", c.path, w.Code, w.Header().Get("Content-Type"), w.Body)
		}
		if w.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: no nosniff", c.path)
		}
	}
}

func TestFileServerConditionsAndRanges(t *testing.T) {
	t.Parallel()
	app := site(t, map[string]string{"f.txt": "0123456789"})
	first := visit(app, "GET", "/f.txt")
	tag := first.Header().Get("ETag")
	if tag == "" || first.Header().Get("Last-Modified") == "" || first.Header().Get("Cache-Control") != "no-cache" {
		t.Errorf("%v", first.Header())
	}
	if w := visit(app, "GET", "/f.txt", "If-None-Match", tag); w.Code != 304 || w.Body.Len() != 0 {
		t.Errorf("unchanged: %d", w.Code)
	}
	if w := visit(app, "GET", "/f.txt", "Range", "bytes=2-4"); w.Code != 206 || w.Body.String() != "234" {
		t.Errorf("range: %d %q", w.Code, w.Body)
	}
	if w := visit(app, "GET", "/f.txt", "Range", "bytes=99-"); w.Code != 416 {
		t.Errorf("range beyond: %d", w.Code)
	}
	if w := visit(app, "HEAD", "/f.txt"); w.Code != 200 || w.Body.Len() != 0 || w.Header().Get("Content-Length") != "10" {
		t.Errorf("head: %d %v", w.Code, w.Header())
	}
	if w := visit(app, "POST", "/f.txt"); w.Code != 405 || w.Header().Get("Allow") == "" {
		t.Errorf("post: %d", w.Code)
	}
	os.WriteFile(filepath.Join(app, "f.txt"), []byte("changed"), 0o644)
	if w := visit(app, "GET", "/f.txt", "If-None-Match", tag); w.Code != 200 {
		t.Errorf("changed: %d", w.Code)
	}
}

func TestFileServerFolders(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"app first":   {map[string]string{"index.html": "app", "public/index.html": "public"}, "app"},
		"public":      {map[string]string{"public/index.html": "public", "dist/index.html": "dist"}, "public"},
		"dist":        {map[string]string{"dist/index.html": "dist", "package.json": "{}"}, "dist"},
		"no page yet": {map[string]string{"x": ""}, "not found\n"},
	} {
		if got := visit(site(t, c.files), "GET", "/").Body.String(); got != c.want {
			t.Errorf("%s: %q", name, got)
		}
	}
	app := site(t, map[string]string{"dist/index.html": "dist", "secret.txt": "s"})
	if w := visit(app, "GET", "/../secret.txt"); w.Code != 404 {
		t.Errorf("above dist: %d", w.Code)
	}
}

// What a build has written is the site, whatever lies beside it. Its index.html
// answers for paths that name no file, unless a 404.html does.
func TestBuiltSite(t *testing.T) {
	t.Parallel()
	files := map[string]string{"index.html": "source", "secret.txt": "s", "dist/index.html": "built", "dist/a.js": "js", "dist/docs/index.html": "docs"}
	single := &fileServer{app: site(t, files), built: "dist", log: io.Discard}
	files["dist/404.html"] = "lost"
	pages := &fileServer{app: site(t, files), built: "dist", log: io.Discard}
	for path, want := range map[string][2]string{
		"/":               {"200 built", "200 built"},
		"/a.js":           {"200 js", "200 js"},
		"/docs/":          {"200 docs", "200 docs"},
		"/users/7":        {"200 built", "404 lost"},
		"/users/":         {"200 built", "404 lost"},
		"/b.js":           {"404 not found\n", "404 lost"},
		"/.env":           {"404 not found\n", "404 lost"},
		"/secret.txt":     {"404 not found\n", "404 lost"},
		"/../secret":      {"404 not found\n", "404 lost"},
		"/../secret.txt":  {"404 not found\n", "404 lost"},
		"/.well-known/no": {"200 built", "404 lost"},
	} {
		for i, s := range []*fileServer{single, pages} {
			w := s.visit("GET", path)
			if got := fmt.Sprint(w.Code, " ", w.Body); got != want[i] {
				t.Errorf("%s, 404.html %v: %q, want %q", path, s == pages, got, want[i])
			}
		}
	}
	os.Symlink("..", filepath.Join(single.app, "out"))
	single.built = "out"
	if w := single.visit("GET", "/outside"); w.Code != 500 {
		t.Errorf("a folder that leads outside: %d %s", w.Code, w.Body)
	}
}

func TestFileServerStaysInside(t *testing.T) {
	t.Parallel()
	app := site(t, map[string]string{"index.html": "home", "real.txt": "real", "d/x.txt": "x"})
	outside := filepath.Join(filepath.Dir(app), "outside.txt")
	os.WriteFile(outside, []byte("SECRET"), 0o644)
	os.Symlink(outside, filepath.Join(app, "abs.txt"))
	os.Symlink("../outside.txt", filepath.Join(app, "rel.txt"))
	os.Symlink("..", filepath.Join(app, "up"))
	os.Symlink("real.txt", filepath.Join(app, "ok.txt"))
	syscall.Mkfifo(filepath.Join(app, "pipe"), 0o644)
	for _, p := range []string{"/abs.txt", "/rel.txt", "/up/outside.txt", "/pipe", "/pipe/", "/d"} {
		if w := visit(app, "GET", p); w.Code != 404 || strings.Contains(w.Body.String(), "SECRET") {
			t.Errorf("%s: %d %q", p, w.Code, w.Body)
		}
	}
	if w := visit(app, "GET", "/ok.txt"); w.Body.String() != "real" {
		t.Errorf("a link inside: %d %q", w.Code, w.Body)
	}
}

// No path may turn the redirect to a folder into one to another host.
func TestFileServerRedirect(t *testing.T) {
	t.Parallel()
	app := site(t, map[string]string{"index.html": "home", "evil.example/index.html": "x", "a/b/index.html": "y"})
	for path, want := range map[string]string{
		"/a/b?q=1": "./b/?q=1", "//evil.example": "./evil.example/", "/a//b": "./b/",
	} {
		w := visit(app, "GET", path)
		if got := w.Header().Get("Location"); w.Code != http.StatusMovedPermanently || got != want {
			t.Errorf("%s: %d to %q", path, w.Code, got)
		}
	}
}

func TestFileServerLog(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	r := httptest.NewRequest("GET", "http://pod/a%0aGET%20forged?token=secret", nil)
	(&fileServer{app: site(t, nil), log: &log}).ServeHTTP(httptest.NewRecorder(), r)
	if got := log.String(); got != "GET \"/a%0aGET%20forged\" 404\n" {
		t.Errorf("%q", got)
	}
}
