package main

import (
	"fmt"
	"net/http"
	"strings"

	"podgate/internal/config"
	"podgate/internal/errorpage"
	"podgate/internal/web"
)

const (
	// maxHeader is how many bytes of a request's header anything here takes.
	maxHeader = 64 << 10
	// readHeader is how many are read, so that whoever sends more hears what is
	// wrong: browsers keep some 180 cookies of 4 KiB for a domain, and a pod's
	// page can set them for the domain of podgate.
	readHeader = 1 << 20
)

// headerBound refuses requests whose header is too large, before anything else
// looks at them.
type headerBound struct {
	publicHost string // of the public URL; without port
	next       http.Handler
	refuse     func(*web.Error) http.Handler
}

func boundHeaders(stack *web.Stack, publicHost string, next http.Handler) http.Handler {
	return &headerBound{publicHost: publicHost, next: next, refuse: func(e *web.Error) http.Handler {
		return stack.Handle(func(http.ResponseWriter, *http.Request) error { return e }, byPath(writeBarePage))
	}}
}

// writeBarePage answers with a page that needs no session and nothing else of ours.
func writeBarePage(w http.ResponseWriter, r *http.Request, e *web.Error) {
	errorpage.Page{Status: e.Status, Title: e.Title(), Text: e.Message}.Write(w, r)
}

// ServeHTTP implements http.Handler.
func (b *headerBound) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	all, cookies := headerSize(r)
	if all <= maxHeader {
		b.next.ServeHTTP(w, r)
		return
	}
	refusal := web.Fault(http.StatusRequestHeaderFieldsTooLarge, "header_too_large", fmt.Sprintf(
		"The request's header is larger than the %d KiB that are read here. If a browser sent it, delete the cookies of this site in its settings and reload the page.", maxHeader>>10), nil)
	if all-cookies <= maxHeader && b.mayClearCookies(r) {
		refusal = tooManyCookies(r.Host)
	}
	clear(r.Header) // what is so large must not wait for a slow reader of the answer
	b.refuse(refusal).ServeHTTP(w, r)
}

// tooManyCookies has the browser delete the cookies of the whole registrable
// domain (Clear Site Data, section 3.1), its only way to those that a neighbour
// set.
func tooManyCookies(host string) *web.Error {
	return web.Fault(http.StatusRequestHeaderFieldsTooLarge, "header_too_large",
		"Your browser sent more cookies for this address than podgate reads. A page at a neighbouring address can set such cookies. "+
			"Your browser was told just now to delete the cookies of this site: reload the page, and sign in again where you are asked to. "+
			"If this comes again, delete the cookies of "+host+" in your browser's settings.", nil).
		With("Clear-Site-Data", `"cookies"`)
}

// mayClearCookies reports whether a person is on the way to one of podgate's own
// pages. At a pod's address it would take podgate's session because of the pod's
// own cookies, and what a page loads in the background shows nobody any words.
func (b *headerBound) mayClearCookies(r *http.Request) bool {
	host, ok := hostName(r.Host)
	mode := r.Header.Get("Sec-Fetch-Mode")
	return ok && (host == b.publicHost || config.IsLoopback(host) || host == web.LocalPages) && (mode == "" || mode == "navigate") && !forPrograms(r.URL.Path)
}

// headerSize counts as HTTP/1.1 writes a header, the request line included, and
// in it the cookies.
func headerSize(r *http.Request) (all, cookies int) {
	all = len(r.Method) + len(r.RequestURI) + len(r.Host)
	for name, values := range r.Header {
		for _, value := range values {
			n := len(name) + len(": ") + len(value) + len("\r\n")
			all += n
			if strings.EqualFold(name, "Cookie") {
				cookies += n
			}
		}
	}
	return all, cookies
}
