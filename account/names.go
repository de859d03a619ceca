package account

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"podgate/internal/text"
)

const (
	maxEmail = 254 // RFC 5321 section 4.5.3.1.3
	maxLocal = 64  // RFC 5321 section 4.5.3.1.1
	maxName  = 80  // characters of a person's or a team's name
	maxSlug  = 40
	maxEcho  = 60 // characters of a rejected input in its error message
)

// NormalizeEmail returns the form in which addresses are stored and compared:
// trimmed and in lower case. It accepts name@host with the unquoted characters
// of RFC 5322, also beyond ASCII (RFC 6531); podgate on a private network may
// have a host without a dot. ErrInvalid otherwise.
func NormalizeEmail(s string) (string, error) {
	s = strings.ToLower(strings.TrimSpace(s))
	local, host, ok := strings.Cut(s, "@")
	switch {
	case s == "":
		return "", invalid("email", "An e-mail address is missing.")
	case len(s) > maxEmail || len(local) > maxLocal:
		return "", invalid("email", "The e-mail address is too long.")
	case !ok || !validLocal(local) || !validHost(host):
		return "", invalid("email", "That is not an e-mail address. Write it like name@example.com.")
	}
	return s, nil
}

func validLocal(s string) bool {
	return validDots(s, func(r rune) bool {
		return r < 0x80 && strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-/=?^_`{|}~", r) || foreignLetter(r)
	})
}

func validHost(s string) bool {
	for label := range strings.SplitSeq(s, ".") {
		if strings.HasPrefix(label, "-") || strings.HasSuffix(label, "-") || len(label) > 63 {
			return false
		}
	}
	return validDots(s, func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || foreignLetter(r)
	})
}

// validDots reports whether s is one or more non-empty atoms with dots between.
func validDots(s string, valid func(rune) bool) bool {
	for atom := range strings.SplitSeq(s, ".") {
		if atom == "" || !utf8.ValidString(atom) || strings.ContainsFunc(atom, func(r rune) bool { return !valid(r) }) {
			return false
		}
	}
	return true
}

// foreignLetter leaves out spaces, controls and everything that does not show,
// with which one address could be made to look like another.
func foreignLetter(r rune) bool {
	return r >= 0x80 && r != utf8.RuneError && (unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.Is(unicode.M, r))
}

// CleanName returns a person's or a team's name as it is stored: one
// line, no character that controls or does not show. ErrInvalid, for the
// field, when nothing is left or it is longer than 80 characters.
func CleanName(field, s string) (string, error) {
	if !utf8.ValidString(s) {
		return "", invalid(field, "The name is not valid text. Type it again.")
	}
	s = text.Clean(s)
	switch n := utf8.RuneCountInString(s); {
	case n == 0:
		return "", invalid(field, "A name is missing.")
	case n > maxName:
		return "", invalid(field, "The name is too long. Use at most %d characters.", maxName)
	}
	return s, nil
}

// CheckSlug returns nil for a team's short name: lower-case letters, digits and
// single hyphens inside, at most 40. ErrInvalid otherwise.
func CheckSlug(s string) error {
	if len(s) == 0 || len(s) > maxSlug || s != SlugOf(s) {
		return invalid("slug", "%q is not a short name for a team. Use lower-case letters, digits and single hyphens, such as web-shop, at most %d characters.", text.Short(s, maxEcho), maxSlug)
	}
	return nil
}

// SlugOf makes a team's short name of any text; «team» when nothing usable is
// in it.
func SlugOf(s string) string {
	words := strings.FieldsFunc(strings.ToLower(s), func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') })
	slug := strings.Join(words, "-")
	if len(slug) > maxSlug {
		slug = strings.TrimRight(slug[:maxSlug], "-")
	}
	if slug == "" {
		return "team"
	}
	return slug
}
