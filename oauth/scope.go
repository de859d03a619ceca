package oauth

import (
	"slices"
	"strings"

	"podgate/internal/authz"
	"podgate/store"
)

// knownScopes reads a space-separated scope parameter (RFC 6749 section 3.3).
// Unknown scopes are left out; a request without one that we know gets the
// default set, because clients that have nothing better ask for the scopes of
// OpenID Connect. The result is in the order of authz.Scopes.
func knownScopes(param string) []store.Scope {
	asked := strings.Fields(param)
	var known []store.Scope
	for _, s := range authz.Scopes() {
		if slices.Contains(asked, string(s)) {
			known = append(known, s)
		}
	}
	if len(known) == 0 {
		return authz.Scopes()
	}
	return known
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
func (f filling) consentScopes(checked []store.Scope) []ConsentScope {
	list := make([]ConsentScope, len(f.scopes))
	for i, s := range f.scopes {
		list[i] = ConsentScope{Scope: s, Text: ScopeText(s), Checked: slices.Contains(checked, s), New: f.team != "" && !slices.Contains(f.held, s)}
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
