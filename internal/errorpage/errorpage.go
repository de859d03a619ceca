// Package errorpage is one page in podgate's design that needs nothing else: no
// stylesheet, picture, script, cookie or link. It stands where podgate's own
// pages have no place: at the addresses of pods, whose apps are strangers to
// podgate, and under names that are not podgate's at all.
package errorpage

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"html/template"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

//go:embed page.html
var source string

var (
	page   = sync.OnceValue(func() *template.Template { return template.Must(template.New("page").Parse(source)) })
	policy = sync.OnceValue(func() string {
		return "default-src 'none'; style-src '" + styleHash(source) + "'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
	})
)

// styleHash is the CSP source of the page's one style element (CSP level 3
// section 2.3.1): nothing else gets styled by chance.
func styleHash(source string) string {
	_, rest, _ := strings.Cut(source, "<style>")
	style, _, _ := strings.Cut(rest, "</style>")
	sum := sha256.Sum256([]byte(style))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

// Page is what one answer says.
type Page struct {
	Status  int    // HTTP status
	Title   string // a few words
	Text    string // a sentence or two: what is wrong, and what to do
	Retry   int    // seconds; 0: do not say
	Refresh bool   // the page asks again by itself, after Retry
}

// Write answers with the page. Its policy lets it load nothing and run nothing.
func (p Page) Write(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", policy())
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	if p.Retry > 0 {
		h.Set("Retry-After", strconv.Itoa(p.Retry))
	}
	w.WriteHeader(p.Status)
	if r.Method == http.MethodHead {
		return
	}
	_ = page().Execute(w, p) // fails only when the visitor is gone
}
