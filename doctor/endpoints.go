package doctor

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

func endpointChecks() []check {
	return []check{
		{"challenge", []string{"resource document"}, checkChallenge},
		{"first GET", []string{"challenge"}, checkGet},
		{"slash at the end", []string{"challenge"}, checkSlash},
		{"bearer token", []string{"challenge"}, checkBearer},
		{"user agents", []string{"challenge"}, checkUserAgents},
		{"browser clients", []string{"challenge", "server document"}, checkCORS},
		{"registration", []string{"endpoints", "challenge"}, checkRegistration},
		{"sign-in page", []string{"endpoints"}, checkAuthorize},
		{"token endpoint", []string{"endpoints", "challenge"}, checkToken},
		{"clock", []string{"challenge"}, checkClock},
	}
}

// initialize is the first message of most clients.
const initialize = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"podgate-doctor","version":"1"}}}`

// checkChallenge asks as a client does that has no token yet, and looks for
// the way to the documents (RFC 9728 section 5.1).
func checkChallenge(ctx context.Context, p *probe) outcome {
	got, err := p.post(ctx, endpointPath, initialize, nil)
	if err != nil {
		return fault("POST "+endpointPath+": "+words(err), "See that the proxy passes "+endpointPath+" on to podgate.")
	}
	p.challenged = got
	if got.status == http.StatusOK {
		return fault(got.describe()+" without a token", "podgate never answers that way: something else does, or a proxy adds a token of its own.")
	}
	return p.judgeChallenge(got)
}

// judgeChallenge looks at a 401.
func (p *probe) judgeChallenge(got *answer) outcome {
	challenge := got.header.Get("Www-Authenticate")
	metadata := parameter(challenge, "resource_metadata")
	// Whether the server has the right name is for another check to say.
	fitting := []string{p.Target.Origin, strings.TrimSuffix(p.resource.Resource, endpointPath)}
	switch {
	case got.status != http.StatusUnauthorized:
		return p.astray(got)
	case challenge == "" && got.is("unauthorized"):
		return fault(got.request+" is answered 401, but the header WWW-Authenticate is missing; clients then do not find the sign-in",
			"podgate sends it, so something in front takes it out. Let the proxy pass response headers unchanged.")
	case metadata == "":
		return p.astray(got)
	case !slices.Contains(fitting, strings.TrimSuffix(metadata, resourcePath+endpointPath)):
		return fault("the challenge leads to "+metadata, "Something in front changes headers. Let it pass them unchanged.")
	}
	return good("401 that leads to the resource document")
}

// parameter returns the value of a quoted parameter in a challenge; podgate's
// own hold no quoted pairs.
func parameter(challenge, name string) string {
	_, after, found := strings.Cut(challenge, name+`="`)
	value, _, closed := strings.Cut(after, `"`)
	if !found || !closed {
		return ""
	}
	return value
}

// checkGet: some clients begin with GET, and take the challenge from there.
func checkGet(ctx context.Context, p *probe) outcome {
	got, err := p.get(ctx, endpointPath)
	if err != nil {
		return fault("GET "+endpointPath+": "+words(err), "See that the proxy passes GET on to podgate.")
	}
	if result := p.judgeChallenge(got); result.level != OK {
		return result
	}
	return good("401, as for POST")
}

func checkSlash(ctx context.Context, p *probe) outcome {
	got, err := p.post(ctx, endpointPath+"/", initialize, nil)
	if err != nil {
		return warning("POST "+endpointPath+"/: "+words(err), "Only the address without the slash works.")
	}
	if got.status != http.StatusUnauthorized {
		return warning(got.describe(), "Only the address without the slash works. Let the proxy pass both on unchanged.")
	}
	return good("served, without a redirect")
}

// noToken has the form of an access token and is none: podgate's are random.
const noToken = "pgat_0000000000000000000000000000000000000000000"

// checkBearer sends a token that podgate must refuse as a token. A proxy that
// takes the Authorization header for itself shows by the answer.
func checkBearer(ctx context.Context, p *probe) outcome {
	got, err := p.post(ctx, endpointPath, initialize, http.Header{"Authorization": {"Bearer " + noToken}})
	if err != nil {
		return fault("POST with a token: "+words(err), "Let the proxy pass the header Authorization on to podgate.")
	}
	challenge := got.header.Get("Www-Authenticate")
	switch {
	case got.status == http.StatusUnauthorized && strings.Contains(challenge, `error="invalid_token"`):
		return good("reaches podgate, which refuses a made-up one")
	case got.status == http.StatusUnauthorized && parameter(challenge, "resource_metadata") != "":
		return fault("a token that is sent does not arrive: podgate answers as if there were none. Signing in works then, and nothing after it",
			"Let the proxy pass the header Authorization on to podgate, and switch off any sign-in of its own for this name.")
	case got.status == http.StatusUnauthorized:
		return fault("a token is refused by something other than podgate"+got.by(), p.adviceFor(got))
	}
	return p.astray(got)
}

// checkUserAgents asks under the names of clients. Filters against robots stop
// those, and then a sign-in works in the browser and nothing after it.
func checkUserAgents(ctx context.Context, p *probe) outcome {
	names := []string{"Claude-User", "openai-mcp/1.0.0", "node", "python-httpx/0.28.1", "Go-http-client/1.1"}
	for _, name := range names {
		// With our own behind it, so that nobody takes it for that client.
		got, err := p.post(ctx, endpointPath, initialize, http.Header{"User-Agent": {name + " " + userAgent}})
		if err != nil {
			return fault("as «"+name+"»: "+words(err), "Something in front stops clients by their User-Agent. Let /api/, /oauth/ and /.well-known/ pass whatever it is.")
		}
		if got.status == http.StatusTooManyRequests {
			return p.astray(got)
		}
		if got.status != p.challenged.status {
			return fault("as «"+name+"» "+got.describe(), "Something in front stops clients by their User-Agent. Let /api/, /oauth/ and /.well-known/ pass whatever it is.")
		}
	}
	return good("%d names of clients are treated alike", len(names))
}

// checkRegistration sends a registration that registers nobody.
func checkRegistration(ctx context.Context, p *probe) outcome {
	if p.server.Register == "" {
		return good("off, as configured")
	}
	got, err := p.post(ctx, pathOf(p.server.Register), `{"redirect_uris":[]}`, nil)
	if err != nil {
		return fault("POST "+pathOf(p.server.Register)+": "+words(err), "See that the proxy passes /api/ on to podgate.")
	}
	if got.status != http.StatusBadRequest || !got.is("invalid_redirect_uri") {
		return p.astray(got)
	}
	return good("answers; an empty registration is refused")
}

// checkToken sends a request that can give nothing.
func checkToken(ctx context.Context, p *probe) outcome {
	path := pathOf(p.server.Token)
	got, err := p.send(ctx, ask{
		method: http.MethodPost, url: path, body: strings.NewReader("grant_type=podgate-doctor&client_id=podgate-doctor"),
		header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Accept": {"application/json"}},
	})
	if err != nil {
		return fault("POST "+path+": "+words(err), "See that the proxy passes /api/ on to podgate.")
	}
	if got.status != http.StatusBadRequest || !got.is("unsupported_grant_type") {
		return p.astray(got)
	}
	if got.header.Get("Cache-Control") != "no-store" {
		return warning("answers lost their Cache-Control: no-store", "Something in front changes headers. Tokens must never be kept there: switch its caching off for /api/.")
	}
	return good("answers; a made-up grant is refused")
}

// checkAuthorize opens the page that a browser is sent to, without what makes
// it a request: podgate says what is missing.
func checkAuthorize(ctx context.Context, p *probe) outcome {
	path := pathOf(p.server.Authorize)
	page := ask{method: http.MethodGet, url: path, header: http.Header{"Accept": {"text/html"}}}
	got, err := p.send(ctx, page)
	if err == nil && p.pageMoved(got) {
		page.url = got.header.Get("Location")
		got, err = p.send(ctx, page)
	}
	if err != nil {
		return fault("GET "+path+": "+words(err), "See that the proxy passes /oauth/ on to podgate.")
	}
	policy := got.header.Get("Content-Security-Policy")
	switch {
	case got.status != http.StatusBadRequest:
		return p.astray(got)
	case strings.Contains(policy, "form-action"):
		return fault("the page's Content-Security-Policy holds form-action, with which browsers do not return to the client after Approve", "Something in front sets a policy of its own. Leave podgate's as it is.")
	case !strings.Contains(policy, "frame-ancestors"):
		return warning("the page lost its Content-Security-Policy", "Something in front changes headers. Without it pages of others can frame podgate's: let it pass unchanged.")
	}
	return good("answers; it says what is missing")
}

// pageMoved reports whether a browser that opens a page is sent on to another
// name of this machine: on loopback podgate has its pages under a name of theirs.
func (p *probe) pageMoved(a *answer) bool {
	u, err := url.Parse(a.header.Get("Location"))
	return err == nil && p.Target.loopback() && a.status/100 == 3 && u.Scheme == "http" &&
		(u.Hostname() == "localhost" || strings.HasSuffix(u.Hostname(), ".localhost")) && u.Path == pathIn(a.request)
}

// pathOf returns the path of an endpoint on the target's origin.
func pathOf(endpoint string) string {
	u, err := url.Parse(endpoint)
	if err != nil || !strings.HasPrefix(u.Path, "/") {
		return "/"
	}
	return u.Path
}
