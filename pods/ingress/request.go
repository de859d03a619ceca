package ingress

import (
	"errors"
	"maps"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
)

var errImproper = errors.New("ingress: this is no proper request")

// head returns the head of the request that the app gets. wanted is another protocol that
// the visitor asks for, or "". Whatever connection a request has come by, where it begins and
// ends on this one is decided here (RFC 9112 section 6), and nothing of the visitor's can
// add a line or a word to it.
func (in *Ingress) head(r *http.Request, visitor netip.Addr, wanted string) ([]byte, error) {
	h := maps.Clone(r.Header)
	dropHops(h)
	cleanRequest(h)
	if wanted != "" {
		h["Connection"], h["Upgrade"] = []string{"Upgrade"}, []string{wanted}
	}
	if visitor.IsValid() {
		h["X-Forwarded-For"] = []string{visitor.String()}
	}
	h["X-Forwarded-Host"], h["X-Forwarded-Proto"] = []string{r.Host}, []string{in.cfg.Scheme}
	target := strings.ReplaceAll(r.URL.RequestURI(), " ", "%20") // the app parses the rest, not we
	if !isToken(r.Method) || !strings.HasPrefix(target, "/") || !isText(target) || !isText(r.Host) || strings.Contains(r.Host, " ") {
		return nil, errImproper
	}
	b := make([]byte, 0, 1024)
	b = append(append(append(b, r.Method...), ' '), target...)
	b = append(append(b, " HTTP/1.1\r\nHost: "...), r.Host...)
	b = append(b, "\r\n"...)
	switch {
	case hasBody(r) && r.ContentLength < 0:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	case hasBody(r), r.Method == http.MethodPost, r.Method == http.MethodPut, r.Method == http.MethodPatch:
		b = strconv.AppendInt(append(b, "Content-Length: "...), r.ContentLength, 10)
		b = append(b, "\r\n"...)
	}
	for name, values := range h {
		for _, value := range values {
			if !isToken(name) || !isText(value) {
				return nil, errImproper
			}
			b = append(append(append(b, name...), ": "...), value...)
			b = append(b, "\r\n"...)
		}
	}
	return append(b, "\r\n"...), nil
}

func hasBody(r *http.Request) bool {
	return r.Body != nil && r.Body != http.NoBody && r.ContentLength != 0
}

func expectsContinue(r *http.Request) bool { return names(r.Header["Expect"], "100-continue") }

// upgradeWanted is the protocol that a request wants to go on with (RFC 9110 section 7.8); ""
// where there is none that could be passed on. Over HTTP/2 on a connection of its own a
// visitor would make requests that nobody has looked at.
func upgradeWanted(r *http.Request) string {
	wanted := r.Header.Get("Upgrade")
	if r.ProtoMajor != 1 || !names(r.Header["Connection"], "upgrade") || !isText(wanted) || strings.Contains(strings.ToLower(wanted), "h2c") {
		return ""
	}
	return wanted
}

// names reports whether a header that is a list has a word, in whatever case.
func names(list []string, word string) bool {
	for _, value := range list {
		for part := range strings.SplitSeq(value, ",") {
			if strings.EqualFold(strings.Trim(part, " \t"), word) {
				return true
			}
		}
	}
	return false
}

// hops are headers of a connection, not of what is sent over it (RFC 9110 section 7.6.1), as
// are those that Connection names.
var hops = []string{"Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer", "Transfer-Encoding", "Upgrade"}

func dropHops(h http.Header) {
	for _, value := range h["Connection"] {
		for name := range strings.SplitSeq(value, ",") {
			h.Del(strings.Trim(name, " \t"))
		}
	}
	for _, name := range hops {
		delete(h, name)
	}
}

// isToken reports whether s is one word of a head (RFC 9110 section 5.6.2).
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c|0x20 < 'a' || c|0x20 > 'z' {
			if (c < '0' || c > '9') && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
				return false
			}
		}
	}
	return s != ""
}

// isText reports whether s has no byte that could end a line of a head, or would be taken for
// something else (RFC 9110 section 5.5).
func isText(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}
