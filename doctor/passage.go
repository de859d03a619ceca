package doctor

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// doctorPath is the endpoint of package echo.
const doctorPath = "/api/doctor"

// The usual limits are 1 MiB, to the byte, and 10 MB.
func passageChecks() []check {
	return []check{
		{"body of 1 MiB", []string{"challenge"}, func(ctx context.Context, p *probe) outcome { return p.upload(ctx, 1<<20+1, Fault) }},
		{"body of 12 MiB", []string{"body of 1 MiB"}, func(ctx context.Context, p *probe) outcome { return p.upload(ctx, 12<<20, Warning) }},
		{"streaming", []string{"challenge"}, checkStreaming},
		{"forwarding", []string{"challenge"}, checkForwarding},
		{"answers unchanged", []string{"challenge"}, checkUnchanged},
	}
}

// passage is what the server says of a request's way to it.
type passage struct {
	Host      bool `json:"host"`      // the Host header is the public URL's
	Forwarded bool `json:"forwarded"` // X-Forwarded-For came along
	Trusted   bool `json:"trusted"`   // and is believed
}

const noDoctor = "this server has no endpoint to try that with"

// upload sends a body that podgate counts and throws away. bad is how bad it
// is when it does not arrive.
func (p *probe) upload(ctx context.Context, size int64, bad Level) outcome {
	got, err := p.send(ctx, ask{
		method: http.MethodPost, url: doctorPath, body: io.LimitReader(zeros{}, size), length: size, within: uploadTime,
		// Whoever refuses it can say so before all of it was sent.
		header: http.Header{"Content-Type": {"application/octet-stream"}, "Expect": {"100-continue"}},
	})
	advice := "Let the proxy take bodies of 16 MiB: nginx has client_max_body_size 16m, others a limit of a similar name. Assistants send files this way."
	if err != nil && isTimeout(err) {
		return warning(fmt.Sprintf("did not arrive within %v", uploadTime), "From a slow line that says nothing. Try it from a faster one.")
	}
	if err != nil {
		return outcome{bad, "it does not get through: " + words(err), advice}
	}
	var said struct {
		Received int64 `json:"received"`
	}
	switch {
	case got.status == http.StatusRequestEntityTooLarge:
		return outcome{bad, "refused on its way with 413" + got.by(), advice}
	case got.status == http.StatusNotFound:
		return outcome{level: Skipped, text: noDoctor}
	case got.status != http.StatusOK || json.Unmarshal(got.body, &said) != nil:
		return p.astray(got)
	case said.Received != size:
		return outcome{bad, fmt.Sprintf("only %d of %d bytes arrived", said.Received, size), advice}
	}
	return good("arrives whole")
}

type zeros struct{}

// Read implements io.Reader.
func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// checkForwarding looks at what the proxy tells podgate of the client.
func checkForwarding(_ context.Context, p *probe) outcome {
	switch {
	case p.passed == nil:
		return outcome{level: Skipped, text: noDoctor}
	case !p.passed.Host:
		return warning("the proxy does not pass the name on that was asked for (the Host header)", "Pods need it to be told apart. Let the proxy set Host to that of the request (nginx: proxy_set_header Host $host).")
	case p.passed.Trusted && !p.passed.Forwarded && !p.Target.loopback():
		return warning("the proxy does not name the client, so all share one rate limit", "Let the proxy set X-Forwarded-For to the client's address (nginx: proxy_set_header X-Forwarded-For $remote_addr).")
	case p.passed.Forwarded && !p.passed.Trusted:
		return warning("podgate takes everybody for the proxy, so all share one rate limit", "Add the proxy's address to trusted_proxies in podgate's configuration.")
	case p.passed.Forwarded:
		return good("the proxy names the client, and is believed")
	}
	return good("no proxy names another client")
}

// checkUnchanged looks for what is in front by its traces in all answers so
// far.
func checkUnchanged(ctx context.Context, p *probe) outcome {
	for _, a := range p.seen {
		switch {
		case len(a.header["Set-Cookie"]) > 0 && strings.HasPrefix(a.request, "POST /api/"):
			return warning(a.request+" sets a cookie", "podgate never does that there: something in front adds it. It is of no use to clients; switch it off for /api/.")
		case a.header.Get("Content-Encoding") != "":
			return warning(a.request+" is compressed though nobody asked for it", "Switch that off in the proxy: some clients cannot read it.")
		case a.proto == "HTTP/1.0":
			return warning(a.request+" is answered in HTTP/1.0", "Streams need HTTP/1.1 or 2. Update or configure what stands in front.")
		}
	}
	return p.compressed(ctx)
}

// compressed asks for a document in gzip, which a proxy may do, and compares.
func (p *probe) compressed(ctx context.Context) outcome {
	got, err := p.send(ctx, ask{method: http.MethodGet, url: serverPath, header: http.Header{"Accept-Encoding": {"gzip"}}})
	if err != nil || got.header.Get("Content-Encoding") == "" {
		return good("no cookies, no compression, %s", p.seen[0].proto)
	}
	var issuer document
	raw, err := gzip.NewReader(bytes.NewReader(got.body))
	if err == nil {
		err = json.NewDecoder(io.LimitReader(raw, maxAnswer)).Decode(&issuer)
	}
	if err != nil || got.header.Get("Content-Encoding") != "gzip" || issuer.Issuer != p.server.Issuer {
		return warning("documents that are asked for in gzip come back broken", "Switch compression off in the proxy.")
	}
	return good("no cookies, %s; gzip for those who ask", p.seen[0].proto)
}

// checkCaching sees whether something keeps answers that it must not keep, or
// changes how long others may be kept.
func checkCaching(ctx context.Context, p *probe) outcome {
	first, err := p.get(ctx, endpointPath)
	if err != nil {
		return warning("GET "+endpointPath+": "+words(err), "")
	}
	second, err := p.get(ctx, endpointPath)
	if err != nil {
		return warning("GET "+endpointPath+": "+words(err), "")
	}
	if id := first.header.Get("X-Request-Id"); id != "" && id == second.header.Get("X-Request-Id") || second.header.Get("Age") != "" {
		return fault("something in front keeps answers of "+endpointPath+", which podgate forbids (Cache-Control: no-store)", "Switch caching off in the proxy for /api/ and /oauth/.")
	}
	for _, a := range p.seen {
		if strings.HasPrefix(a.request, "GET /.well-known/oauth-") && a.header.Get("Cache-Control") != "public, max-age=300" {
			return warning("the discovery documents' Cache-Control is changed on the way to "+quoted(a.header["Cache-Control"]), "Let it pass: with a long one, clients do not hear of changes.")
		}
	}
	return good("only what may be kept, for five minutes")
}

// clock differences that are remarked on.
const (
	clockOff   = 30 * time.Second
	clockWrong = 5 * time.Minute
)

// checkClock compares the clocks of both machines. Codes live ten minutes, and
// certificates are judged by it.
func checkClock(_ context.Context, p *probe) outcome {
	theirs, err := http.ParseTime(p.challenged.header.Get("Date"))
	if err != nil {
		return warning("answers have no Date header", "")
	}
	off := p.challenged.arrived.Sub(theirs).Abs().Round(time.Second)
	text := fmt.Sprintf("the server's clock and this machine's differ by %s", off)
	switch {
	case off > clockWrong:
		return fault(text+"; the server's says "+date(theirs), "Set both clocks (timedatectl set-ntp true). Certificates and expiry times are judged by them.")
	case off > clockOff:
		return warning(text, "Set both clocks (timedatectl set-ntp true).")
	}
	return good("%s", text)
}
