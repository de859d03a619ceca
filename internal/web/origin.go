package web

import (
	"net/http"
	"net/netip"
	"strings"
)

// SameOrigin returns nil when the browser says that the request comes from our
// own pages at origin (scheme://host[:port]). Sibling subdomains do not count:
// pods live there. A browser that says nothing at all is refused, because every
// browser that podgate's pages work in sends one of the two headers with a
// form.
func SameOrigin(r *http.Request, origin string) error {
	if got := r.Header.Get("Origin"); got != "" && got != "null" {
		if strings.EqualFold(got, origin) {
			return nil
		}
	} else if r.Header.Get("Sec-Fetch-Site") == "same-origin" {
		// Under Referrer-Policy: no-referrer a form of our own page sends
		// «Origin: null», but the browser still vouches for where it came from.
		return nil
	}
	return crossOrigin()
}

func crossOrigin() *Error {
	return Fault(http.StatusForbidden, "cross_origin", "This form was not sent from podgate's own page. Open the page again and repeat what you did.", nil)
}

// CORS answers preflights and lets scripts of any origin read the answer. It is
// only for routes whose authority is in a header or body, never in a cookie.
func CORS(methods string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("Access-Control-Expose-Headers", "WWW-Authenticate, Mcp-Session-Id, Mcp-Protocol-Version, Retry-After")
		if r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" {
			h.Set("Access-Control-Allow-Methods", methods)
			h.Set("Access-Control-Allow-Headers", allowedHeaders(r))
			h.Set("Access-Control-Max-Age", "7200")
			w.WriteHeader(http.StatusNoContent)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// allowedHeaders names the headers of both protocol eras and adds whatever the
// browser asks for: «*» would leave out Authorization, and 2026-07-28 lets a
// tool define header names of its own.
func allowedHeaders(r *http.Request) string {
	const known = "Authorization, Content-Type, Accept, Last-Event-ID, Mcp-Protocol-Version, Mcp-Session-Id, Mcp-Method, Mcp-Name"
	asked := r.Header.Get("Access-Control-Request-Headers")
	if asked == "" || len(asked) > 1024 || strings.ContainsFunc(asked, func(c rune) bool { return c < ' ' || c > '~' }) {
		return known
	}
	return known + ", " + asked
}

// ClientAddr returns the address that a request came from. When the peer is a
// trusted proxy it is the last address in X-Forwarded-For that is not itself
// one; the header counts for nothing else.
func ClientAddr(r *http.Request, trusted []netip.Prefix) netip.Addr {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	addr := peer.Addr().Unmap()
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && contains(trusted, addr); i-- {
		hop, ok := parseHop(hops[i])
		if !ok {
			break
		}
		addr = hop
	}
	return addr
}

// parseHop reads one address of X-Forwarded-For. Some proxies write the port
// too, and IPv6 addresses in brackets.
func parseHop(s string) (netip.Addr, bool) {
	s = strings.TrimSpace(s)
	if withPort, err := netip.ParseAddrPort(s); err == nil {
		return withPort.Addr().Unmap(), true
	}
	addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"))
	return addr.Unmap(), err == nil
}

func contains(prefixes []netip.Prefix, addr netip.Addr) bool {
	for _, p := range prefixes {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}
