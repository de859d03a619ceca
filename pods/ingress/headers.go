package ingress

import (
	"net/http"
	"slices"
	"strings"
)

// ownCookies are the beginnings of the names of podgate's own cookies.
var ownCookies = []string{"__host-podgate", "__secure-podgate", "podgate"}

// secretPrefixes begin podgate's own tokens. A client that sends one to a pod
// does so by mistake, and the pod must not learn it.
var secretPrefixes = []string{"pgat_", "pgrt_"}

// cleanRequest takes from h what a pod must not get: podgate's cookies and
// tokens, and claims about the visitor that only we may make.
func cleanRequest(h http.Header) {
	for name := range h {
		if isOurs(name) {
			delete(h, name)
		}
	}
	if cookies := keepCookies(h["Cookie"]); len(cookies) > 0 {
		h["Cookie"] = []string{strings.Join(cookies, "; ")}
	} else {
		delete(h, "Cookie")
	}
	if own := slices.DeleteFunc(slices.Clone(h["Authorization"]), holdsSecret); len(own) > 0 {
		h["Authorization"] = own
	} else {
		delete(h, "Authorization")
	}
}

// isOurs reports whether a header says what only we may say: where a request comes from,
// and where it ends. Some apps take an underscore for a hyphen, so both spellings count.
func isOurs(name string) bool {
	if name == "" || strings.IndexByte("cfhtxCFHTX", name[0]) < 0 { // as most
		return false
	}
	name = strings.ToLower(strings.ReplaceAll(name, "_", "-"))
	switch name {
	case "forwarded", "x-real-ip", "x-client-ip", "true-client-ip", "x-cluster-client-ip",
		"host", "content-length", "transfer-encoding", "trailer":
		return true
	}
	return strings.HasPrefix(name, "x-forwarded-")
}

func holdsSecret(value string) bool {
	return slices.ContainsFunc(secretPrefixes, func(p string) bool { return strings.Contains(value, p) })
}

// keepCookies returns the pairs of Cookie headers that are not podgate's. It
// cuts where any server might, so that no spelling hides one.
func keepCookies(values []string) (kept []string) {
	for _, value := range values {
		for _, pair := range strings.FieldsFunc(value, func(r rune) bool { return r == ';' || r == ',' }) {
			if pair = strings.TrimSpace(pair); pair != "" && !isOwnCookie(pair) {
				kept = append(kept, pair)
			}
		}
	}
	return kept
}

// isOwnCookie looks at the name of a pair, and at the value of one without a
// name, which some servers take for the name.
func isOwnCookie(pair string) bool {
	pair = strings.ToLower(strings.TrimLeft(pair, "= \t\"$"))
	return slices.ContainsFunc(ownCookies, func(p string) bool { return strings.HasPrefix(pair, p) })
}

// droppedAnswers are answers by which a pod would reach beyond its own address:
// Clear-Site-Data empties the cookies of the whole registrable domain, and with
// them the visitor's podgate session; Alt-Svc sends browsers to another port;
// the others are orders to a front proxy. All are in the form of http.Header.
var droppedAnswers = []string{
	"Clear-Site-Data", "Alt-Svc", "X-Accel-Redirect", "X-Accel-Charset", "X-Accel-Limit-Rate", "X-Accel-Expires",
	"X-Sendfile", "X-Lighttpd-Send-File", "X-Litespeed-Location", "X-Reproxy-Url", "Trailer",
}

// cleanAnswer takes from h what a pod must not say.
func cleanAnswer(h http.Header) {
	for _, name := range droppedAnswers {
		delete(h, name)
	}
	var cookies []string
	for _, c := range h["Set-Cookie"] {
		cookies = append(cookies, hostOnly(c))
	}
	if len(cookies) > 0 {
		h["Set-Cookie"] = cookies
	}
}

// hostOnly takes every Domain attribute (RFC 6265 section 5.2.3) out of a
// Set-Cookie value, so that the cookie stays with the pod's own host. Values
// with control characters, which browsers cut each in their own way, never get
// here: net/http takes such an answer for none.
func hostOnly(cookie string) string {
	parts := strings.Split(cookie, ";")
	kept := parts[:1]
	for _, part := range parts[1:] {
		name, _, _ := strings.Cut(part, "=")
		if !strings.EqualFold(strings.TrimSpace(name), "domain") {
			kept = append(kept, part)
		}
	}
	return strings.Join(kept, ";")
}
