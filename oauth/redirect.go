package oauth

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"podgate/internal/web"
)

// maxRedirectURI bounds a redirect URI in characters. With ten of them a
// client record stays small enough for a flood of registrations to do no harm.
const maxRedirectURI = 512

// target is a redirect URI that this server may send a browser to.
type target struct {
	host     string // what a person is shown; lower case
	local    bool   // leads to a program on the person's own computer
	portless string // of a loopback URI: the URI without its port; else empty
}

// parseRedirect checks a redirect URI: https with a host, http for loopback
// only (RFC 8252 section 7.3), or one of the private-use schemes in extra
// (section 7.1). It reads the text itself rather than through a general URL
// parser, because what counts is that no browser can understand it
// differently.
func parseRedirect(uri string, extra []string) (target, error) {
	if err := checkRedirectText(uri); err != nil {
		return target{}, err
	}
	scheme, rest, found := strings.Cut(uri, ":")
	if !found || !isScheme(scheme) {
		return target{}, errors.New("it has no scheme")
	}
	lower := strings.ToLower(scheme)
	switch {
	case lower == "https" || lower == "http":
		return parseWeb(scheme, rest)
	case slices.Contains(extra, lower):
		return parsePrivate(lower, rest)
	}
	return target{}, fmt.Errorf("the scheme %s is not allowed", lower)
}

// checkRedirectText holds for every scheme: printable ASCII of RFC 3986, no
// fragment, sound percent-encoding that hides no control character, and no
// parameter of our own answer in the query.
func checkRedirectText(uri string) error {
	if uri == "" || len(uri) > maxRedirectURI {
		return fmt.Errorf("it must have 1 to %d characters", maxRedirectURI)
	}
	if err := checkURICharacters(uri); err != nil {
		return err
	}
	_, query, _ := strings.Cut(uri, "?")
	values, err := url.ParseQuery(query)
	if err != nil {
		return errors.New("its query is not sound")
	}
	for _, name := range []string{"code", "state", "iss", "error"} {
		if values.Has(name) {
			return fmt.Errorf("its query already has the parameter %s", name)
		}
	}
	return nil
}

// checkURICharacters is the part of checkRedirectText that holds for any URI
// which this server stores.
func checkURICharacters(uri string) error {
	for i := range len(uri) {
		switch c := uri[i]; {
		case c <= ' ' || c >= 0x7f || strings.IndexByte("\"<>\\^`{|}", c) >= 0:
			return errors.New("it holds a character that a URI cannot hold")
		case c == '#':
			return errors.New("it has a fragment")
		case c == '%':
			hidden, err := strconv.ParseUint(hexPair(uri, i), 16, 8)
			if err != nil || hidden < ' ' || hidden == 0x7f {
				return errors.New("its percent-encoding is not sound")
			}
		}
	}
	return nil
}

// hexPair returns the two characters after the percent sign at i, or "", which
// does not parse as a number.
func hexPair(s string, i int) string {
	if i+3 > len(s) {
		return ""
	}
	return s[i+1 : i+3]
}

func isScheme(s string) bool {
	for i, c := range s {
		if !isAlphanumeric(c) && (i == 0 || !strings.ContainsRune("+-.", c)) || i == 0 && '0' <= c && c <= '9' {
			return false
		}
	}
	return s != ""
}

// parseWeb reads what follows «http:» or «https:».
func parseWeb(scheme, rest string) (target, error) {
	rest, found := strings.CutPrefix(rest, "//")
	if !found {
		return target{}, errors.New("it has no host")
	}
	authority, path := splitAuthority(rest)
	if strings.ContainsAny(authority, "@%") {
		return target{}, errors.New("its host part holds a user name or percent-encoding")
	}
	host, port, err := splitPort(authority)
	if err != nil {
		return target{}, err
	}
	lower := strings.ToLower(host)
	if lower == web.LocalPages {
		return target{}, errors.New("its host is that of podgate's own pages") // and would be sent their cookies
	}
	loopback, err := checkHost(lower)
	if err != nil {
		return target{}, err
	}
	if !loopback {
		if strings.EqualFold(scheme, "http") {
			return target{}, errors.New("http is allowed for loopback addresses only")
		}
		return target{host: lower + port}, nil
	}
	return target{host: lower, local: true, portless: scheme + "://" + host + path}, nil
}

func splitAuthority(s string) (authority, path string) {
	if i := strings.IndexAny(s, "/?"); i >= 0 {
		return s[:i], s[i:]
	}
	return s, ""
}

// splitPort returns the port with its colon.
func splitPort(authority string) (host, port string, err error) {
	i := strings.LastIndexByte(authority, ':')
	if i < 0 || strings.HasSuffix(authority, "]") {
		return authority, "", nil
	}
	host, port = authority[:i], authority[i+1:]
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", "", errors.New("its port is not a number from 1 to 65535")
	}
	return host, ":" + port, nil
}

// checkHost accepts a DNS name in ASCII, an IPv4 address in dotted decimal or
// an IPv6 address in brackets, in lower case, and says whether it is loopback.
func checkHost(host string) (loopback bool, err error) {
	if inner, found := strings.CutPrefix(host, "["); found {
		addr, err := netip.ParseAddr(strings.TrimSuffix(inner, "]"))
		if err != nil || !strings.HasSuffix(inner, "]") || !addr.Is6() {
			return false, errors.New("its host is not an IPv6 address")
		}
		return addr == netip.IPv6Loopback(), nil
	}
	labels := strings.Split(host, ".")
	if slices.ContainsFunc(labels, func(l string) bool { return !isLabel(l) }) || len(host) > 253 {
		return false, errors.New("its host is not a plain DNS name")
	}
	if looksNumeric(labels[len(labels)-1]) {
		// Browsers read 127.1, 0x7f.1 and 2130706433 as IPv4 addresses.
		addr, err := netip.ParseAddr(host)
		if err != nil {
			return false, errors.New("its host is not an IPv4 address in dotted decimal")
		}
		return addr.IsLoopback(), nil
	}
	return host == "localhost", nil
}

func isLabel(l string) bool {
	return l != "" && len(l) <= 63 && !strings.ContainsFunc(l, func(c rune) bool { return !isAlphanumeric(c) && c != '-' && c != '_' })
}

// looksNumeric is the «ends in a number» test of the URL standard of browsers.
func looksNumeric(label string) bool {
	if hex, found := strings.CutPrefix(label, "0x"); found {
		return !strings.ContainsFunc(hex, func(c rune) bool { return !strings.ContainsRune("0123456789abcdef", c) })
	}
	return !strings.ContainsFunc(label, func(c rune) bool { return c < '0' || c > '9' })
}

// parsePrivate reads what follows a private-use scheme. A person is shown the
// scheme alone: what stands in the place of a host is the client's to choose
// and could name somebody else.
func parsePrivate(scheme, rest string) (target, error) {
	if strings.Trim(rest, "/") == "" || strings.ContainsAny(rest, "@[]") {
		return target{}, errors.New("it is not complete, or holds a user name")
	}
	if rest, found := strings.CutPrefix(rest, "//"); found {
		authority, _ := splitAuthority(rest)
		if strings.ContainsFunc(authority, func(c rune) bool { return !isAlphanumeric(c) && !strings.ContainsRune(".-_", c) }) {
			return target{}, errors.New("its host part is not a plain name")
		}
	}
	return target{host: scheme + ":", local: true}, nil
}

// forbiddenScheme reports whether no configuration may allow the scheme,
// because browsers give it a meaning of their own.
func forbiddenScheme(scheme string) bool {
	return slices.Contains([]string{
		"about", "blob", "chrome", "data", "file", "filesystem", "ftp", "http", "https", "intent", "jar", "javascript",
		"mailto", "resource", "sms", "tel", "vbscript", "view-source", "ws", "wss",
	}, scheme)
}

// matchRedirect proves that uri is one of the registered redirect URIs: the
// same bytes, except that a loopback URI may have any port or none (RFC 8252
// section 7.3, RFC 9700 section 2.1).
func matchRedirect(registered []string, uri string, extra []string) (target, bool) {
	t, err := parseRedirect(uri, extra)
	if err != nil {
		return target{}, false
	}
	for _, known := range registered {
		if known == uri {
			return t, true
		}
		if k, err := parseRedirect(known, extra); err == nil && t.portless != "" && k.portless == t.portless {
			return t, true
		}
	}
	return target{}, false
}

// pair is one parameter of an authorization response.
type pair struct{ name, value string }

// respond adds the parameters to a proved redirect URI, which stays otherwise
// as the client wrote it. Parameters without a value are left out.
func respond(uri string, params ...pair) string {
	var b strings.Builder
	b.WriteString(uri)
	separator := "?"
	if _, query, found := strings.Cut(uri, "?"); found {
		separator = "&"
		if query == "" || strings.HasSuffix(query, "&") {
			separator = ""
		}
	}
	for _, p := range params {
		if p.value == "" {
			continue
		}
		b.WriteString(separator)
		separator = "&"
		// Some callbacks do not read «+» as a space.
		b.WriteString(p.name + "=" + strings.ReplaceAll(url.QueryEscape(p.value), "+", "%20"))
	}
	return b.String()
}
