package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/julienschmidt/httprouter"

	"podgate/internal/web"
	"podgate/ui/page"
)

// mcpPaths are where the MCP endpoint answers, the second because people type
// it; there is no redirect, which some clients do not follow with a POST.
var mcpPaths = []string{"/api/mcp", "/api/mcp/"}

// mcpMethods are passed on to the MCP endpoint, which itself says which of them
// it does not have: without a token it must answer 401 to each of them, as
// clients look for the challenge with any.
var mcpMethods = []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions}

// mcpRoutes puts the guarded endpoint on the router.
func mcpRoutes(guarded http.Handler) []web.Route {
	serve := func(w http.ResponseWriter, r *http.Request) error { guarded.ServeHTTP(w, r); return nil }
	var routes []web.Route
	for _, path := range mcpPaths {
		for _, method := range mcpMethods {
			routes = append(routes, web.Route{Method: method, Path: path, Handler: serve, Errors: web.WriteJSONError, CORS: true})
		}
	}
	return routes
}

// newSite puts the routes of all packages on one router, each on the stack of its
// class. pageError writes the errors of paths that people rather than programs ask for.
func newSite(stack func(class string) *web.Stack, pageHost web.PageHost, routes []web.Route, pageError web.ErrorWriter) http.Handler {
	router := httprouter.New()
	router.RedirectTrailingSlash, router.RedirectFixedPath = false, false
	nowhere := stack("unknown")
	router.NotFound = readableBelow(nowhere.Handle(notFound, byPath(pageError)), "/.well-known/", "/api/mcp/")
	router.MethodNotAllowed = nowhere.Handle(methodNotAllowed, byPath(pageError))
	methods := methodsByPath(routes)
	for _, route := range routes {
		handler := stack(classOf(route.Path)).Handle(route.Handler, route.Errors)
		if route.CORS {
			handler = web.CORS(strings.Join(methods[route.Path], ", "), handler)
		} else if route.Page && (route.Method == http.MethodGet || route.Method == http.MethodHead) {
			handler = pageHost.Only(handler)
		}
		router.Handler(route.Method, route.Path, handler)
		if route.Method == http.MethodGet && !slices.Contains(methods[route.Path], http.MethodHead) {
			router.Handler(http.MethodHead, route.Path, handler) // net/http leaves the body out
		}
		if route.CORS && route.Method == methods[route.Path][0] && !slices.Contains(methods[route.Path], http.MethodOptions) {
			router.Handler(http.MethodOptions, route.Path, handler)
		}
	}
	return limitBodyTime(router)
}

func methodsByPath(routes []web.Route) map[string][]string {
	methods := map[string][]string{}
	for _, r := range routes {
		methods[r.Path] = append(methods[r.Path], r.Method)
	}
	return methods
}

func notFound(http.ResponseWriter, *http.Request) error {
	return page.Absent()
}

// readableBelow lets pages of any origin read the answers below the prefixes. A
// client in a browser that looks for a document there is to see that there is
// none, and not a failure of the network.
func readableBelow(next http.Handler, prefixes ...string) http.Handler {
	open := web.CORS("GET", next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(r.URL.Path, prefix) }) {
			open.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// methodNotAllowed runs after httprouter has set Allow.
func methodNotAllowed(w http.ResponseWriter, r *http.Request) error {
	return web.Fault(http.StatusMethodNotAllowed, "method_not_allowed", "This address does not take "+r.Method+"; it takes "+w.Header().Get("Allow")+".", nil)
}

// byPath answers programs in JSON: a discovery that gets a page for an unknown
// path takes it for an answer.
func byPath(page web.ErrorWriter) web.ErrorWriter {
	return func(w http.ResponseWriter, r *http.Request, e *web.Error) {
		if forPrograms(r.URL.Path) {
			web.WriteJSONError(w, r, e)
			return
		}
		page(w, r, e)
	}
}

// forPrograms reports whether a path is below those that programs ask for.
func forPrograms(path string) bool {
	return strings.HasPrefix(path, "/api/") || strings.HasPrefix(path, "/.well-known/")
}

// bodyTime is how long a client may take to send a body to podgate itself. All
// of these are small; a pod's app sets limits of its own.
const bodyTime = time.Minute

// limitBodyTime keeps a client from holding a connection by sending a body a
// byte at a time. The answer may take longer: net/http lifts the deadline once
// the body has arrived.
func limitBodyTime(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body != nil && r.Body != http.NoBody {
			// What cannot set a deadline is no connection, so nothing is held.
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTime))
			r.Body = timedBody{r.Body, r.Context()}
		}
		next.ServeHTTP(w, r)
	})
}

// timedBody gives what ends a body early words: it is the client's doing, and no
// fault of ours.
type timedBody struct {
	io.ReadCloser
	request context.Context // ends when the client leaves
}

// Read implements io.Reader.
func (b timedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = web.Fault(http.StatusRequestTimeout, "timeout", "The request body took too long to arrive. Send it again.", err)
	case err == nil || err == io.EOF:
	case b.request.Err() != nil:
		err = web.Cancelled(err)
	default:
		err = web.Fault(http.StatusBadRequest, "invalid_request", "The request body could not be read to its end.", err)
	}
	return n, err
}
