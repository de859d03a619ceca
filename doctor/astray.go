package doctor

import (
	"fmt"
	"net/http"
	"strings"
)

// describe says what an answer is, for an answer that should be another.
func (a *answer) describe() string {
	var kind string
	switch {
	case a.header.Get("Location") != "" && a.status >= 300 && a.status < 400:
		kind = " to " + a.header.Get("Location")
	case a.isPage():
		kind = " with a page"
	case a.status == http.StatusOK && !a.isJSON():
		kind = " as «" + a.header.Get("Content-Type") + "»"
	}
	return fmt.Sprintf("%s is answered %d %s%s%s", a.request, a.status, http.StatusText(a.status), kind, a.by())
}

// pathIn returns the path of «GET /path».
func pathIn(request string) string {
	_, path, _ := strings.Cut(request, " ")
	return path
}

// by names who answered, when that is not hidden.
func (a *answer) by() string {
	if name := a.header.Get("Server"); name != "" {
		return " (by " + name + ")"
	}
	return ""
}

// astray says of an answer that cannot be podgate's own, or that podgate gives
// to a request that went wrong on its way, what it is and what to do.
func (p *probe) astray(a *answer) outcome {
	if a.status == http.StatusTooManyRequests {
		return outcome{Skipped, "too much was asked in a short time (429)", "Wait a minute and run this again."}
	}
	return fault(a.describe(), p.adviceFor(a))
}

func (p *probe) adviceFor(a *answer) string {
	switch {
	case a.status == http.StatusMisdirectedRequest:
		return "podgate does not answer under this name. Set public_url = \"" + p.Target.Origin + "\" in its configuration, or use the name that is there."
	case a.status >= 300 && a.status < 400 && a.header.Get("Location") == p.Target.Origin+pathIn(a.request):
		return "It leads to itself. podgate sends browsers to its own name when a request comes under another: let the proxy pass on the name that was asked for (nginx: proxy_set_header Host $host)."
	case a.status >= 300 && a.status < 400:
		return "Let what stands in front pass the request on instead of redirecting it: clients lose the body or the Authorization header on the way. If the other address is the right one, give that to your assistant."
	case a.status == http.StatusUnauthorized && !strings.HasPrefix(a.header.Get("Www-Authenticate"), "Bearer"):
		return "Something in front asks for a sign-in of its own (such as basic authentication or a single sign-on). Let /api/, /oauth/ and /.well-known/ pass without it: podgate has its own."
	case a.status == http.StatusForbidden || a.status == http.StatusServiceUnavailable && a.isPage() || a.header.Get("Cf-Mitigated") != "":
		return "A firewall or bot protection answers in podgate's place. Let /api/, /oauth/ and /.well-known/ pass without a challenge, whatever the User-Agent."
	case a.status == http.StatusBadGateway, a.status == http.StatusServiceUnavailable, a.status == http.StatusGatewayTimeout:
		return "The proxy cannot reach podgate. See that podgate runs, and that the proxy passes on to the address and port that it prints at its start."
	case a.status >= 500:
		return "podgate's log, or the proxy's, says what went wrong."
	}
	return "Something else answers here. Let the proxy pass every path of this name on to podgate, unchanged."
}
