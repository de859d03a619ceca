package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/textproto"
	"os"
	"slices"
	"time"

	"podgate/internal/trace"
	"podgate/internal/web"
)

// openTraces begins to send traces where an endpoint is configured.
func (srv *server) openTraces(context.Context) error {
	t := srv.settings.Telemetry
	if t.Endpoint == "" {
		return nil
	}
	header, err := headersOf(t.HeadersFile)
	if err != nil {
		return fmt.Errorf("telemetry.headers_file: %w", err)
	}
	srv.traces = trace.New(trace.Config{Endpoint: t.Endpoint, Header: header, Sample: float64(t.Percent) / 100, Version: version(), Log: srv.log, Now: time.Now})
	srv.background(srv.traces.Run)
	return nil
}

// headersOf reads the lines «Name: value» of a file; "" has none.
func headersOf(path string) (http.Header, error) {
	if path == "" {
		return http.Header{}, nil
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	// The reader of HTTP wants the empty line that ends a header.
	header, err := textproto.NewReader(bufio.NewReader(io.MultiReader(bytes.NewReader(bytes.TrimSpace(raw)), bytes.NewReader([]byte("\n\n"))))).ReadMIMEHeader()
	if err != nil || len(header) == 0 { // whose words have the line, and so perhaps the key
		return nil, fmt.Errorf("%s should hold lines such as «Authorization: Bearer KEY»", path)
	}
	return http.Header(header), nil
}

// stacks returns what gives the stack of each class of addresses, which is counted and
// traced.
func (srv *server) stacks(class string) *web.Stack {
	return &web.Stack{Log: srv.log, Now: time.Now, Ended: srv.numbers.answered(class), Begun: srv.traced(class)}
}

// methods are those that a span names; a stranger may make up others.
var methods = []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions}

// traced begins a span for each request of a class. It has no path, since paths name pods
// and carry secrets.
func (srv *server) traced(class string) func(context.Context, *http.Request) (context.Context, func(status int)) {
	if srv.traces == nil {
		return nil
	}
	return func(ctx context.Context, r *http.Request) (context.Context, func(status int)) {
		method := "_OTHER"
		if slices.Contains(methods, r.Method) {
			method = r.Method
		}
		ctx, span := srv.traces.Root(ctx, method+" "+class, trace.Server, srv.parentOf(r))
		if span == nil {
			return ctx, nil
		}
		span.Set("http.request.method", method)
		span.Set("podgate.class", class)
		span.Set("podgate.request_id", web.RequestID(ctx))
		return ctx, func(status int) {
			span.SetInt("http.response.status_code", int64(status))
			if status >= http.StatusInternalServerError {
				span.Fail()
			}
			span.End(nil)
		}
	}
}

// parentOf is the trace that a request belongs to, if a trusted proxy says so and the
// settings say that it does: most pass on what a visitor says. Anybody else could have all
// of their requests kept, or make them look like parts of another's.
func (srv *server) parentOf(r *http.Request) *trace.Parent {
	if !srv.settings.Telemetry.Proxied {
		return nil
	}
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !slices.ContainsFunc(srv.settings.TrustedProxies, func(p netip.Prefix) bool { return p.Contains(peer.Addr().Unmap()) }) {
		return nil
	}
	if parent, ok := trace.ParseParent(r.Header.Get("Traceparent")); ok {
		return &parent
	}
	return nil
}
