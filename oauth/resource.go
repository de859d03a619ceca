package oauth

import (
	"net/http"
	"strings"
)

// resourcePath is where the protected resource lives under the issuer.
const resourcePath = "/api/mcp"

// identity is one name of this server: the issuer (RFC 8414 section 2), the
// protected resource there, and what a client is told that asks under it. All of
// it is built at the start, and never from a request.
type identity struct {
	issuer, resource string

	resourceMetadata []byte
	serverMetadata   []byte
	challenges       challenges
}

// audience is the one resource that tokens of this server are for, under each of
// the server's names. The first is its public URL. There are others on loopback
// only: who types 127.0.0.1 where the server is called localhost means the same
// server, but clients compare what they read with what was typed (RFC 9728
// section 3.3, RFC 8414 section 3.3).
type audience []*identity

func newAudience(issuers ...string) audience {
	var a audience
	for _, issuer := range issuers {
		a = append(a, &identity{issuer: issuer, resource: issuer + resourcePath})
	}
	return a
}

// at returns the identity that a request asked for by its Host, and the public
// one for a Host that is none of ours.
func (a audience) at(r *http.Request) *identity {
	if id := a.called(r.Host); id != nil {
		return id
	}
	return a[0]
}

// called returns the identity with that host and port, or nil.
func (a audience) called(host string) *identity {
	for _, id := range a {
		if _, own, _ := strings.Cut(id.issuer, "://"); strings.EqualFold(host, own) {
			return id
		}
	}
	return nil
}

// named returns the identity that a resource parameter (RFC 8707) means, or nil.
func (a audience) named(param string) *identity {
	for _, id := range a {
		if id.isMeantBy(param) {
			return id
		}
	}
	return nil
}

// meant is named for a parameter that may be absent or wrong: then it is the
// public identity.
func (a audience) meant(param string) *identity {
	if id := a.named(param); id != nil {
		return id
	}
	return a[0]
}

// holds reports whether a token for exactly that resource opens ours.
func (a audience) holds(resource string) bool {
	for _, id := range a {
		if id.resource == resource {
			return true
		}
	}
	return false
}

// resources returns every name of the resource, for the store to compare with
// the one that an authorization was asked for under.
func (a audience) resources() []string {
	var list []string
	for _, id := range a {
		list = append(list, id.resource)
	}
	return list
}

// isMeantBy reports whether a resource parameter (RFC 8707) means the resource
// under this name. Clients add a trailing slash or a query, or write scheme and host in
// capital letters. Everything else about it must be the same.
func (id *identity) isMeantBy(param string) bool {
	if param == id.resource {
		return true
	}
	scheme, rest, found := strings.Cut(param, "://")
	if !found || strings.Contains(param, "#") {
		return false
	}
	rest, _, _ = strings.Cut(rest, "?")
	host, path, _ := strings.Cut(rest, "/")
	return strings.EqualFold(scheme+"://"+host, id.issuer) && strings.TrimSuffix("/"+path, "/") == resourcePath
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
