package oauth

import (
	"slices"
	"strings"

	"podgate/internal/authz"
	"podgate/store"
)

// scopeOffline asks for a refresh token (OpenID Connect Core section 11). It
// opens nothing, so it is no permission: nobody is asked about it, and no token
// or challenge names it.
const scopeOffline = "offline_access"

// asksOffline reports whether a scope parameter asks for a refresh token.
func asksOffline(param string) bool { return slices.Contains(strings.Fields(param), scopeOffline) }

// narrowedScopes reads the scope parameter of a refresh request (RFC 6749
// section 6). Unknown scopes are left out as they were at authorization; nil
// when none is left, which asks for all that was granted.
func narrowedScopes(param string) []store.Scope {
	asked := strings.Fields(param)
	var known []store.Scope
	for _, s := range authz.Scopes() {
		if slices.Contains(asked, string(s)) {
			known = append(known, s)
		}
	}
	return known
}

// knownScopes reads a space-separated scope parameter (RFC 6749 section 3.3).
// Unknown scopes are left out; a request without one that we know gets the
// default set, because clients that have nothing better ask for the scopes of
// OpenID Connect. The result is in the order of authz.Scopes.
func knownScopes(param string) []store.Scope {
	if known := narrowedScopes(param); known != nil {
		return known
	}
	return authz.Scopes()
}

// joinScopes writes scopes as a scope parameter.
func joinScopes(scopes []store.Scope) string {
	return strings.Join(scopeStrings(scopes), " ")
}

func scopeStrings(scopes []store.Scope) []string {
	list := make([]string, len(scopes))
	for i, s := range scopes {
		list[i] = string(s)
	}
	return list
}

// consentScopes puts what is offered in words, with the scopes in checked
// ticked.
func (o offer) consentScopes(checked []store.Scope) []ConsentScope {
	list := make([]ConsentScope, len(o.scopes))
	for i, s := range o.scopes {
		list[i] = ConsentScope{
			Scope: s, Text: ScopeText(s), Checked: slices.Contains(checked, s),
			New: o.team != "" && !slices.Contains(o.held, s), Unasked: !slices.Contains(o.asked, s),
		}
	}
	return list
}

// ScopeText says to a person what a scope allows.
func ScopeText(s store.Scope) string {
	switch s {
	case authz.ScopeRead:
		return "See the team's pods, their files and their logs"
	case authz.ScopeWrite:
		return "Create, start, stop and delete pods, and write their files"
	case authz.ScopeExec:
		return "Run commands inside pods"
	}
	return string(s)
}
