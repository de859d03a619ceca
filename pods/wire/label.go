package wire

import "strings"

// MaxLabel is the longest DNS label in bytes (RFC 1035 section 2.3.4).
const MaxLabel = 63

// Label reports whether s is a DNS label in the one form that podgate uses for
// names of pods: the letters a to z in lower case, digits and hyphens, of which
// none stands at an end (RFC 1123 section 2.1).
func Label(s string) bool {
	if s == "" || len(s) > MaxLabel || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}
