package page

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"io/fs"
	"maps"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/julienschmidt/httprouter"

	"podgate/internal/web"
	"podgate/store"
)

//go:embed templates assets
var files embed.FS

// Kind decides the headers of a page.
type Kind int

const (
	// Plain is any other page.
	Plain Kind = iota
	// Flow is a page on the way between a client and its redirect URI.
	// Clients open it in a popup and wait for that window to come back, so it
	// must not cut the window off from its opener.
	Flow
	// Consent is a Flow whose form leads, by redirect, to another
	// host. Chromium applies form-action to the whole chain, so it has none.
	Consent
)

const (
	cspBase    = "default-src 'none'; style-src 'self'; img-src 'self'; frame-ancestors 'none'; base-uri 'none'"
	cspPlain   = cspBase + "; script-src 'self'; connect-src 'self'; form-action 'self'; manifest-src 'self'"
	permission = "accelerometer=(), browsing-topics=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), microphone=(), midi=(), payment=(), usb=()"
)

// SetHeaders sets the headers of a page of that kind.
func SetHeaders(w http.ResponseWriter, kind Kind) {
	h := w.Header()
	h.Set("Content-Security-Policy", cspPlain)
	if kind == Consent {
		h.Set("Content-Security-Policy", cspBase)
	}
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Permissions-Policy", permission)
	h.Set("Cache-Control", "no-store")
	if kind == Plain {
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
	}
}

// Frame is what every page shows around its own content.
type Frame struct {
	Title   string // says where one is
	Host    string
	User    *store.User // nil: nobody is signed in
	Here    string      // the place in the navigation, in lower case
	Page    any
	Wide    bool     // the page uses the width of the window
	Scripts []string // of the page itself, beside the one that all have
	Script  bool
	Install bool   // the page is one of the app that a phone can install
	Failed  int    // how many of the person's pods failed, for title, icon and badge
	Counted bool   // Failed is set by the page, which looked anyway
	name    string // of the template
	notice  waiting
	notices map[string]Notice
	now     time.Time
}

// Ago is how long ago t was, for the templates.
func (f Frame) Ago(t time.Time) string { return Ago(f.now, t) }

// Place is an entry of the navigation.
type Place struct {
	Name, Path string
	Here       bool
}

// Places are where somebody can go from any page.
func (f Frame) Places() []Place {
	all := []Place{{Name: "Pods", Path: "/"}, {Name: "Connections", Path: "/connections"}, {Name: "Activity", Path: "/activity"}, {Name: "Team", Path: "/team"}, {Name: "Account", Path: "/account"}}
	if f.User != nil && f.User.Admin {
		all = slices.Insert(all, len(all)-1, Place{Name: "Server", Path: "/server"})
	}
	for i := range all {
		all[i].Here = strings.EqualFold(all[i].Name, f.Here)
	}
	return all
}

// Area is a part of the pages: templates, one set a page.
type Area struct {
	shell  *Shell
	byName map[string]*template.Template
}

// NewArea returns the pages whose templates are in the folder «templates», each
// of which defines «content», and makes their notices known. What is in files
// whose name begins with «part_» is there for all of them.
func (s *Shell) NewArea(from fs.FS, notices map[string]Notice) (*Area, error) {
	base, err := template.New("base.html").Funcs(funcs(s.assets)).ParseFS(files, "templates/base.html", "templates/parts.html")
	if err != nil {
		return nil, fmt.Errorf("ui: %w", err)
	}
	names, err := fs.Glob(from, "templates/*.html")
	if err != nil {
		return nil, fmt.Errorf("ui: %w", err)
	}
	isPart := func(name string) bool { return strings.HasPrefix(path.Base(name), "part_") }
	for _, name := range names {
		if isPart(name) {
			if _, err := base.ParseFS(from, name); err != nil {
				return nil, fmt.Errorf("ui: %w", err)
			}
		}
	}
	a := &Area{shell: s, byName: map[string]*template.Template{}}
	for _, name := range names {
		short := strings.TrimSuffix(path.Base(name), ".html")
		if isPart(name) || short == "base" || short == "parts" {
			continue
		}
		t, err := template.Must(base.Clone()).ParseFS(from, name)
		if err != nil {
			return nil, fmt.Errorf("ui: %w", err)
		}
		a.byName[short] = t
	}
	for word, n := range notices {
		if _, taken := s.notices[word]; taken {
			return nil, fmt.Errorf("ui: two notices are called %q", word)
		}
		s.notices[word] = n
	}
	return a, nil
}

// Names are the names of the area's pages.
func (a *Area) Names() []string { return slices.Sorted(maps.Keys(a.byName)) }

// Render writes a whole page. Nothing is sent before the template is through,
// so a fault in it becomes a clean error.
func (a *Area) Render(w http.ResponseWriter, r *http.Request, kind Kind, status int, name string, f Frame) error {
	s := a.shell
	f.Host, f.now, f.name, f.notices = s.Host, s.Now(), name, s.notices
	f.Script, f.Install = kind != Consent, kind == Plain
	if f.User == nil {
		if p, ok := SignedInAs(r); ok {
			f.User = &p.User
		}
	}
	if f.Install && f.User != nil && !f.Counted && s.CountFailed != nil {
		f.Failed = s.CountFailed(r.Context(), f.User.ID)
	}
	if status == http.StatusOK {
		f.notice = s.takeNotice(w, r)
	}
	t, ok := a.byName[name]
	if !ok {
		return fmt.Errorf("ui: no page %q", name)
	}
	var b bytes.Buffer
	if err := t.ExecuteTemplate(&b, "base.html", f); err != nil {
		return fmt.Errorf("ui: page %s: %w", name, err)
	}
	SetHeaders(w, kind)
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
		if e.IsDir() {
			continue
		}
		raw, err := files.ReadFile("assets/" + e.Name())
		if err != nil {
			return nil, fmt.Errorf("ui: %w", err)
		}
		a.add(e.Name(), raw)
	}
	// What others wrote, byte for byte; see the README there.
	vendored, err := fs.Glob(files, "assets/vendor/*/*.*s") // js, mjs, css
	if err != nil {
		return nil, fmt.Errorf("ui: %w", err)
	}
	for _, name := range vendored {
		raw, err := files.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("ui: %w", err)
		}
		a.add(path.Base(name), raw)
	}
	style, err := Stylesheet()
	a.add("style.css", style)
	return a, err
}

func (a *assets) add(name string, raw []byte) {
	sum := sha256.Sum256(raw)
	ext := path.Ext(name)
	hashed := strings.TrimSuffix(name, ext) + "." + hex.EncodeToString(sum[:5]) + ext
	a.hashed[name], a.bytes[hashed] = hashed, raw
}

// Stylesheet is the one stylesheet of all pages: the files of assets/style, one
// after the other.
func Stylesheet() ([]byte, error) {
	list, err := files.ReadDir("assets/style")
	if err != nil {
		return nil, fmt.Errorf("ui: %w", err)
	}
	var all []byte
	for _, e := range list { // in the order of their names
		raw, err := files.ReadFile("assets/style/" + e.Name())
		if err != nil {
			return nil, fmt.Errorf("ui: %w", err)
		}
		all = append(all, raw...)
	}
	return all, nil
}

// serveAsset is GET /assets/:name.
func (s *Shell) serveAsset(w http.ResponseWriter, r *http.Request) error {
	name := httprouter.ParamsFromContext(r.Context()).ByName("name")
	if name == "" { // served without the router
		name = strings.TrimPrefix(r.URL.Path, "/assets/")
	}
	raw, ok := s.assets.bytes[name]
	if !ok {
		return web.Fault(http.StatusNotFound, "not_found", "There is no such file.", nil)
	}
	types := map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".mjs": "text/javascript; charset=utf-8", ".svg": "image/svg+xml", ".png": "image/png"}
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
