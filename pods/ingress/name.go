package ingress

import (
	"net"
	"strings"
)

// NameOf returns the pod that a Host header means under domain, which is lower
// case and without port: for NAME.domain, NAME in lower case. It reports false
// for every other host, the domain itself and deeper names included. Whether a
// pod of that name exists is not asked.
func NameOf(host, domain string) (string, bool) {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	name, found := strings.CutSuffix(host, "."+domain)
	if !found || domain == "" || !isLabel(name) {
		return "", false
	}
	return name, true
}

// isLabel reports whether s is a lower-case DNS label.
func isLabel(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-') {
			return false
		}
	}
	return true
}
