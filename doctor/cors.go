package doctor

import (
	"context"
	"net/http"
	"strings"
)

// browserOrigin is that of the MCP Inspector, which runs in a browser.
const browserOrigin = "http://localhost:6274"

// browserHeaders are what clients of both protocol eras send.
var browserHeaders = []string{"authorization", "content-type", "mcp-protocol-version", "mcp-session-id", "mcp-method", "mcp-name", "last-event-id"}

const corsAdvice = "podgate sends the CORS headers itself. Let the proxy pass OPTIONS on and leave its answers and headers alone; do not add any there, since two are as bad as none."

// checkCORS asks as the browser does on behalf of a client that runs in it.
func checkCORS(ctx context.Context, p *probe) outcome {
	type target struct{ method, path string }
	targets := []target{{"POST", endpointPath}, {"GET", resourcePath + endpointPath}, {"GET", serverPath}, {"POST", pathOf(p.server.Token)}}
	if p.server.Register != "" {
		targets = append(targets, target{"POST", pathOf(p.server.Register)})
	}
	for _, t := range targets {
		if said := p.preflight(ctx, t.method, t.path); said != "" {
			return fault("the preflight of "+t.path+" "+said, corsAdvice)
		}
	}
	got, err := p.post(ctx, endpointPath, initialize, http.Header{"Origin": {browserOrigin}})
	if err != nil {
		return fault("POST from a page: "+words(err), corsAdvice)
	}
	if said := readable(got); said != "" {
		return fault("the answer of "+endpointPath+" "+said, corsAdvice)
	}
	return good("%d preflights, and pages may read the challenge", len(targets))
}

// preflight says what is wrong with the answer to a preflight.
func (p *probe) preflight(ctx context.Context, method, path string) string {
	got, err := p.send(ctx, ask{method: http.MethodOptions, url: path, header: http.Header{
		"Origin": {browserOrigin}, "Access-Control-Request-Method": {method}, "Access-Control-Request-Headers": {strings.Join(browserHeaders, ",")},
	}})
	switch {
	case err != nil:
		return "fails: " + words(err)
	case got.status < 200 || got.status > 299:
		return "fails: " + got.describe()
	case !allowsOrigin(got.header):
		return "does not allow it: Access-Control-Allow-Origin is " + quoted(got.header["Access-Control-Allow-Origin"])
	}
	allowed := tokens(got.header["Access-Control-Allow-Headers"])
	for _, name := range browserHeaders {
		if !allowed[name] {
			return "does not allow the header " + name
		}
	}
	return ""
}

// readable says what keeps a page from reading a challenge.
func readable(got *answer) string {
	switch {
	case !allowsOrigin(got.header):
		return "cannot be read: Access-Control-Allow-Origin is " + quoted(got.header["Access-Control-Allow-Origin"])
	case !tokens(got.header["Access-Control-Expose-Headers"])["www-authenticate"]:
		return "hides WWW-Authenticate: Access-Control-Expose-Headers does not name it"
	}
	return ""
}

// allowsOrigin is what a browser does: one value, and no other.
func allowsOrigin(h http.Header) bool {
	values := h["Access-Control-Allow-Origin"]
	return len(values) == 1 && (values[0] == "*" || values[0] == browserOrigin)
}

func quoted(values []string) string {
	if len(values) == 0 {
		return "missing"
	}
	return "«" + strings.Join(values, ", ") + "»"
}

// tokens returns the words of list headers, in lower case.
func tokens(values []string) map[string]bool {
	set := map[string]bool{}
	for word := range strings.SplitSeq(strings.Join(values, ","), ",") {
		set[strings.ToLower(strings.TrimSpace(word))] = true
	}
	return set
}
