package page

import (
	"encoding/json"
	"net/http"
)

// manifest is the web app manifest, by which a phone can install the pages.
type manifest struct {
	ID         string         `json:"id"`
	Name       string         `json:"name"`
	ShortName  string         `json:"short_name"`
	Start      string         `json:"start_url"`
	Scope      string         `json:"scope"`
	Display    string         `json:"display"`
	Theme      string         `json:"theme_color"`
	Background string         `json:"background_color"`
	Icons      []manifestIcon `json:"icons"`
}

type manifestIcon struct {
	Src     string `json:"src"`
	Sizes   string `json:"sizes"`
	Type    string `json:"type"`
	Purpose string `json:"purpose"`
}

// paper is --page of the stylesheet in light windows.
const paper = "#f7f5f1"

// serveManifest is GET /manifest.webmanifest. It says nothing of who asks: browsers
// fetch it without cookies.
func (s *Shell) serveManifest(w http.ResponseWriter, _ *http.Request) error {
	m := manifest{
		ID: "/", Name: "podgate · " + s.Host, ShortName: "podgate", Start: "/", Scope: "/", Display: "standalone", Theme: paper, Background: paper,
	}
	for _, i := range []struct{ file, kind, sizes, purpose string }{
		{"icon.svg", "image/svg+xml", "any", "any"}, {"icon-192.png", "image/png", "192x192", "any"},
		{"icon-512.png", "image/png", "512x512", "any"}, {"icon-mask.png", "image/png", "512x512", "maskable"},
	} {
		m.Icons = append(m.Icons, manifestIcon{"/assets/" + s.assets.hashed[i.file], i.sizes, i.kind, i.purpose})
	}
	raw, err := json.Marshal(m)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "application/manifest+json")
	h.Set("Cache-Control", "public, max-age=3600")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; sandbox")
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(raw) // a failed write means that the browser is gone
	return nil
}
