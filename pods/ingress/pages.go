package ingress

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"errors"
	"html/template"
	"net/http"
	"strconv"
	"strings"

	"podgate/pods"
)

//go:embed page.html
var pageSource string

var (
	pageTemplate = template.Must(template.New("page").Parse(pageSource))
	pagePolicy   = "default-src 'none'; style-src '" + styleHash(pageSource) + "'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)

// styleHash is the CSP source of the page's one style element (CSP level 3
// section 2.3.1): nothing else gets styled by chance.
func styleHash(source string) string {
	_, rest, _ := strings.Cut(source, "<style>")
	style, _, _ := strings.Cut(rest, "</style>")
	sum := sha256.Sum256([]byte(style))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

// page is what a visitor sees when there is no app to answer. It says nothing
// of the pod but its state: anybody may visit.
type page struct {
	Status  int
	Title   string
	Text    string
	Retry   int // seconds; 0: do not say
	Refresh bool
}

var (
	pageAbsent   = page{Status: http.StatusNotFound, Title: "No pod here", Text: "There is no pod at this address. Check the name, or ask whoever gave you the link."}
	pageStopped  = page{Status: http.StatusServiceUnavailable, Title: "This pod is stopped", Text: "Its owner can start it again."}
	pageStarting = page{Status: http.StatusServiceUnavailable, Title: "This pod is starting", Text: "It should be there in a few seconds. This page tries again by itself.", Retry: 3, Refresh: true}
	pageFailed   = page{Status: http.StatusBadGateway, Title: "The app does not answer", Text: "The pod is there, but nothing answers on its port. Its owner finds the reason in its logs."}
	pageSilent   = page{Status: http.StatusGatewayTimeout, Title: "The app took too long", Text: "The app took the request and did not answer in time. Its owner finds the reason in its logs."}
	pageBroken   = page{Status: http.StatusBadGateway, Title: "The app gave no proper answer", Text: "What the app answered is not HTTP as it should be, or it ended before it was through. Its owner finds the reason in its logs."}
	pageBusy     = page{Status: http.StatusServiceUnavailable, Title: "This pod is busy", Text: "It has as many requests open as it can have. Try again in a moment.", Retry: 5}
	pageTooLarge = page{Status: http.StatusRequestEntityTooLarge, Title: "The request is too large", Text: "The app or this server does not take a request of that size."}
	pageDown     = page{Status: http.StatusServiceUnavailable, Title: "Pods cannot run right now", Text: "The person who runs this server finds the reason in its log."}
)

// pageFor chooses the page for an error of Service.DialApp.
func pageFor(err error, status string) page {
	switch {
	case errors.Is(err, pods.ErrNotFound):
		return pageAbsent
	case errors.Is(err, pods.ErrUnavailable):
		return pageDown
	case status == "stopped", status == "stopping":
		return pageStopped
	case status == "starting", status == "creating":
		return pageStarting
	}
	return pageFailed
}

// write sends the page. The policy lets it load nothing and run nothing.
func (p page) write(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	clear(h)
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", pagePolicy)
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
	_ = pageTemplate.Execute(w, p) // fails only when the visitor is gone
}
