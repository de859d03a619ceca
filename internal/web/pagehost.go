package web

import (
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// LocalPages is the name under which a server on loopback has its pages. No pod
// can have it.
const LocalPages = "podgate.localhost"

// PageHost is the host on which people's browsers find the pages of a server,
// and so the one that holds their session cookie.
//
// That is the issuer's, except for http on loopback. Cookies do not know ports: a
// cookie of localhost is sent to every program that listens on this computer, such
// as a client that waits for its answer at http://localhost:3000/callback. So the
// pages have a name there that no client's callback has.
type PageHost struct {
	issuer   string // scheme://host[:port]
	loopback bool   // the issuer is this computer
	own      bool   // the pages have a name of their own
}

// NewPageHost returns the page host of the server with that issuer.
func NewPageHost(issuer string) PageHost {
	u, err := url.Parse(issuer)
	if err != nil {
		return PageHost{issuer: issuer} // refused by whoever takes issuers
	}
	name := u.Hostname()
	a, err := netip.ParseAddr(name)
	return PageHost{
		issuer: issuer, loopback: name == "localhost" || err == nil && a.IsLoopback(),
		// Of the other addresses none is where the name leads.
		own: u.Scheme == "http" && slices.Contains([]string{"localhost", "127.0.0.1", "::1"}, name),
	}
}

// Own reports whether the pages are at LocalPages.
func (p PageHost) Own() bool { return p.own }

// Address returns the origin of the pages, for people.
func (p PageHost) Address() string {
	if !p.own {
		return p.issuer
	}
	return "http://" + LocalPages + portIn(strings.TrimPrefix(p.issuer, "http://"))
}

// Origin returns the origin that the pages have for the browser which sent r. A
// browser that comes through a tunnel finds them at the tunnel's port.
func (p PageHost) Origin(r *http.Request) string {
	switch {
	case !p.own:
		return p.issuer
	case p.Shared(r):
		return "http://localhost" + portIn(r.Host)
	}
	return "http://" + LocalPages + portIn(r.Host)
}

// Shared reports whether the browser which sent r has the pages on localhost and
// with that its session cookie where other programs of this computer see it.
// Browsers with the engine WebKit have: they look names below localhost up, and
// only the newest systems answer, which the User-Agent does not tell.
func (p PageHost) Shared(r *http.Request) bool {
	agent := r.UserAgent()
	return p.own && strings.Contains(agent, "AppleWebKit/") && !strings.Contains(agent, "Chrome/") // which says AppleWebKit too
}

// Elsewhere reports whether r came under another name than that of the pages. It
// is always false for a public name: a proxy may not have passed it on.
func (p PageHost) Elsewhere(r *http.Request) bool {
	_, there, _ := strings.Cut(p.Origin(r), "://")
	return p.loopback && !strings.EqualFold(strings.TrimSuffix(r.Host, portIn(r.Host)), strings.TrimSuffix(there, portIn(there)))
}

// SendOn answers a request of a page that came elsewhere: it is at the pages'
// origin, with that path and query.
func (p PageHost) SendOn(w http.ResponseWriter, r *http.Request, target string) {
	h := w.Header()
	h.Set("Location", p.Origin(r)+target)
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	w.WriteHeader(http.StatusFound)
}

// Only lets requests through to next that came to the pages' host, and sends the
// others on. It is for GET and HEAD.
func (p PageHost) Only(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p.Elsewhere(r) {
			p.SendOn(w, r, r.URL.RequestURI())
			return
		}
		next.ServeHTTP(w, r)
	})
}

// SameOrigin is [SameOrigin] for the pages, which must also be where the request
// came to.
func (p PageHost) SameOrigin(r *http.Request) error {
	if p.Elsewhere(r) {
		return crossOrigin()
	}
	return SameOrigin(r, p.Origin(r))
}

// portIn returns the port of a Host header with its colon; empty without one.
func portIn(host string) string {
	i := strings.LastIndexByte(host, ':')
	if i < 0 || i == len(host)-1 || strings.Trim(host[i+1:], "0123456789") != "" {
		return ""
	}
	return host[i:]
}
