package oauth

import "strings"

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

// isOrigin reports whether s is a bare http or https origin, such as can stand
// in a header and a document as it is.
func isOrigin(s string) bool {
	scheme, authority, found := strings.Cut(s, "://")
	if !found || scheme != "http" && scheme != "https" {
		return false
	}
	host, _, err := splitPort(authority)
	if err != nil {
		return false
	}
	_, err = checkHost(strings.ToLower(host))
	return err == nil
}
