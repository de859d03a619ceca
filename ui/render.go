package ui

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/julienschmidt/httprouter"

	"podgate/internal/web"
	"podgate/store"
)

//go:embed templates assets
var files embed.FS

// pageKind decides the headers of a page.
type pageKind int

const (
	plainPage pageKind = iota
	// flowPage is a page on the way between a client and its redirect URI.
	// Clients open it in a popup and wait for that window to come back, so it
	// must not cut the window off from its opener.
	flowPage
	// consentPage is a flowPage whose form leads, by redirect, to another
	// host. Chromium applies form-action to the whole chain, so it has none.
	consentPage
)

const (
	cspBase    = "default-src 'none'; style-src 'self'; img-src 'self'; frame-ancestors 'none'; base-uri 'none'"
	cspPlain   = cspBase + "; script-src 'self'; form-action 'self'"
	permission = "accelerometer=(), browsing-topics=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), microphone=(), midi=(), payment=(), usb=()"
)

func setHeaders(w http.ResponseWriter, kind pageKind) {
	h := w.Header()
	h.Set("Content-Security-Policy", cspPlain)
	if kind == consentPage {
		h.Set("Content-Security-Policy", cspBase)
	}
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Permissions-Policy", permission)
	h.Set("Cache-Control", "no-store")
	if kind == plainPage {
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
	}
}

// frame is what every page shows around its own content.
type frame struct {
	Title  string // says where one is
	Host   string
	User   *store.User // nil: nobody is signed in
	Here   string      // home, activity, account: the place in the navigation
	Page   any
	Script bool
	name   string // of the template
	notice notice
	now    time.Time
}

// Ago is how long ago t was, for the templates.
func (f frame) Ago(t time.Time) string { return ago(f.now, t) }

// pages are the parsed templates, one set a page.
type pages struct{ byName map[string]*template.Template }

func parsePages(a *assets) (*pages, error) {
	p := &pages{byName: map[string]*template.Template{}}
	base, err := template.New("base.html").Funcs(funcs(a)).ParseFS(files, "templates/base.html", "templates/parts.html")
	if err != nil {
		return nil, fmt.Errorf("ui: %w", err)
	}
	names, err := fs.Glob(files, "templates/*.html")
	if err != nil {
		return nil, fmt.Errorf("ui: %w", err)
	}
	for _, name := range names {
		short := strings.TrimSuffix(path.Base(name), ".html")
		if short == "base" || short == "parts" {
			continue
		}
		t, err := template.Must(base.Clone()).ParseFS(files, name)
		if err != nil {
			return nil, fmt.Errorf("ui: %w", err)
		}
		p.byName[short] = t
	}
	return p, nil
}

// render writes a whole page. Nothing is sent before the template is through,
// so a fault in it becomes a clean error.
func (s *Server) render(w http.ResponseWriter, r *http.Request, kind pageKind, status int, name string, f frame) error {
	f.Host, f.now, f.name = s.host, s.now(), name
	f.Script = kind != consentPage
	if f.User == nil {
		if p, ok := signedInAs(r); ok {
			f.User = &p.user
		}
	}
	if status == http.StatusOK {
		f.notice = s.takeNotice(w, r)
	}
	t, ok := s.pages.byName[name]
	if !ok {
		return fmt.Errorf("ui: no page %q", name)
	}
	var b bytes.Buffer
	if err := t.ExecuteTemplate(&b, "base.html", f); err != nil {
		return fmt.Errorf("ui: page %s: %w", name, err)
	}
	setHeaders(w, kind)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	// A failed write means that the browser is gone; there is nobody to tell.
	_, _ = w.Write(b.Bytes())
	return nil
}

// assets are the embedded files under names that hold their hash, so that a
// browser may keep them for ever and never has an old one.
type assets struct {
	hashed map[string]string // style.css → style.1a2b3c4d.css
	bytes  map[string][]byte // by hashed name
}

func loadAssets() (*assets, error) {
	a := &assets{hashed: map[string]string{}, bytes: map[string][]byte{}}
	list, err := files.ReadDir("assets")
	if err != nil {
		return nil, fmt.Errorf("ui: %w", err)
	}
	for _, e := range list {
		raw, err := files.ReadFile("assets/" + e.Name())
		if err != nil {
			return nil, fmt.Errorf("ui: %w", err)
		}
		sum := sha256.Sum256(raw)
		ext := path.Ext(e.Name())
		name := strings.TrimSuffix(e.Name(), ext) + "." + hex.EncodeToString(sum[:5]) + ext
		a.hashed[e.Name()], a.bytes[name] = name, raw
	}
	return a, nil
}

// serveAsset is GET /assets/:name.
func (s *Server) serveAsset(w http.ResponseWriter, r *http.Request) error {
	name := httprouter.ParamsFromContext(r.Context()).ByName("name")
	if name == "" { // served without the router
		name = strings.TrimPrefix(r.URL.Path, "/assets/")
	}
	raw, ok := s.assets.bytes[name]
	if !ok {
		return web.Fault(http.StatusNotFound, "not_found", "There is no such file.", nil)
	}
	types := map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
	h := w.Header()
	h.Set("Content-Type", types[path.Ext(name)])
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; sandbox")
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(raw)
	return nil
}
