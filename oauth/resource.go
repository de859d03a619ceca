package oauth

import (
	"net/url"
	"strings"
)

// resourcePath is where the protected resource lives under the issuer.
const resourcePath = "/api/mcp"

// audience is the one resource that tokens of this server are for.
type audience struct{ issuer, resource string }

func newAudience(issuer string) audience {
	return audience{issuer: issuer, resource: issuer + resourcePath}
}

// names reports whether a resource parameter (RFC 8707) means our resource.
// Clients add a trailing slash or a query, or write scheme and host in capital
// letters. Everything else about it must be the same.
func (a audience) names(param string) bool {
	if param == a.resource {
		return true
	}
	scheme, rest, found := strings.Cut(param, "://")
	if !found || strings.Contains(param, "#") {
		return false
	}
	rest, _, _ = strings.Cut(rest, "?")
	host, path, _ := strings.Cut(rest, "/")
	return strings.EqualFold(scheme+"://"+host, a.issuer) && strings.TrimSuffix("/"+path, "/") == resourcePath
}

// originOf checks that s is a bare http or https origin and returns it parsed.
func originOf(s string) (*url.URL, bool) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Scheme+"://"+u.Host != s {
		return nil, false
	}
	return u, true
}
