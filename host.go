package main

import (
	"net/http"
	"net/netip"
	"strings"

	"podgate/internal/config"
	"podgate/internal/errorpage"
	"podgate/internal/web"
)

// hostRouter sends a request to podgate itself or to a pod by the Host that it
// names, and refuses every other Host. That is what keeps a page of a stranger,
// whose name was made to resolve to this machine (DNS rebinding), from talking
// to podgate through somebody's browser.
type hostRouter struct {
	publicHost string // of the public URL; without port
	localPages bool   // the pages are at web.LocalPages
	podsDomain string
	site       http.Handler
	// pods serves the pod of that name, which is one label (RFC 1035 section 2.3.1).
	pods   func(w http.ResponseWriter, r *http.Request, name string)
	refuse http.Handler // for a Host that is not ours
}

// ServeHTTP implements http.Handler.
func (h *hostRouter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	host, ok := hostName(r.Host)
	switch {
	case !ok:
		h.refuse.ServeHTTP(w, r)
	case host == h.publicHost, config.IsLoopback(host), host == web.LocalPages && h.localPages:
		h.site.ServeHTTP(w, r)
	case host == web.LocalPages:
		h.refuse.ServeHTTP(w, r) // never a pod's: another podgate of this computer has its pages there
	default:
		name, ours := strings.CutSuffix(host, "."+h.podsDomain)
		if !ours || strings.Contains(name, ".") || config.IsLocalDomain(h.podsDomain) && fromAfar(r) {
			h.refuse.ServeHTTP(w, r)
			return
		}
		h.pods(w, r, name)
	}
}

// fromAfar reports whether a request has come by the port for visitors or
// through a proxy that names another machine. Anybody can write demo.localhost
// into a Host header, but what this makes of a header is never in the sender's
// favour.
func fromAfar(r *http.Request) bool {
	hops := strings.Join(r.Header.Values("X-Forwarded-For"), ",")
	for hop := range strings.SplitSeq(hops, ",") {
		a, err := netip.ParseAddr(strings.TrimSpace(hop))
		if hops != "" && (err != nil || !a.Unmap().IsLoopback()) {
			return true
		}
	}
	return r.TLS != nil
}

// hostName returns the name or address in a Host header (RFC 9110 section 7.2)
// in the one form in which it is compared: without port, brackets and the dot
// of the root, in lower case. The port counts for nothing: proxies and tunnels
// change it, and a browser cannot be made to lie about the name alone.
func hostName(host string) (string, bool) {
	name := host
	if strings.HasPrefix(host, "[") {
		address, port, ok := strings.Cut(host[1:], "]")
		a, err := netip.ParseAddr(address)
		if !ok || err != nil || !a.Is6() || a.Zone() != "" || !validPort(port) {
			return "", false
		}
		return a.Unmap().String(), true
	}
	if i := strings.IndexByte(host, ':'); i >= 0 {
		if !validPort(host[i:]) {
			return "", false
		}
		name = host[:i]
	}
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	return name, config.ValidDomain(name)
}

// validPort accepts nothing, or a colon and digits, or a bare colon, all of
// which RFC 3986 section 3.2.3 allows.
func validPort(s string) bool {
	return s == "" || s[0] == ':' && strings.Trim(s[1:], "0123456789") == ""
}

// refuseHost answers for a name that is not ours. It says nothing of the name,
// which a stranger chose.
func refuseHost(issuer string) web.Handler {
	return func(http.ResponseWriter, *http.Request) error {
		return web.Fault(http.StatusMisdirectedRequest, "unknown_host",
			"This server does not answer under that name. It is at "+issuer+
				". If the name is meant to lead here, set public_url or pods.domain in podgate's configuration.", nil)
	}
}

// writeUnrouted is the form of errors of requests that reach no route: a page
// for who asks for one by name, as browsers do, and text for everybody else.
// Whoever can ask for the one can ask for the other, and nothing keeps an
// answer, so it gives nobody anything to choose between them.
func writeUnrouted(w http.ResponseWriter, r *http.Request, e *web.Error) {
	h := w.Header()
	h.Set("Vary", "Accept")
	if acceptsPages(r) {
		errorpage.Page{Status: e.Status, Title: e.Title(), Text: e.Message}.Write(w, r)
		return
	}
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(e.Status)
	_, _ = w.Write([]byte(e.Message + "\n")) // fails only when nobody is left to read it
}

// acceptsPages reports whether a request names HTML among what it takes (RFC 9110
// section 12.5.1). Programs that take anything do not.
func acceptsPages(r *http.Request) bool {
	for part := range strings.SplitSeq(strings.Join(r.Header.Values("Accept"), ","), ",") {
		kind, _, _ := strings.Cut(part, ";")
		if strings.EqualFold(strings.TrimSpace(kind), "text/html") {
			return true
		}
	}
	return false
}
