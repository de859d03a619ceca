package podstest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"podgate/pods/agent"
	"podgate/pods/wire"
)

// An agent starts its own binary again for some of its work, and in a test that
// is the test's binary: without this it would run the tests again.
func init() {
	agent.Dispatch()
	// What a shell starts in the background begins with these ignored, and would pass
	// that on. A handler is not passed on; in a pod the agent has one for each signal.
	for _, s := range []os.Signal{syscall.SIGINT, syscall.SIGQUIT} {
		if signal.Ignored(s) {
			signal.Notify(make(chan os.Signal, 1), s)
		}
	}
}

// RealAgent serves the real agent. Without a network of its own every pod
// would listen on the same few ports, so a port that the server names is
// replaced by a free one of this machine on the way.
func RealAgent(ctx context.Context, dir string, l net.Listener) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	inner := newListener()
	front := &http.Server{Handler: translator(inner, port)}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	served := make(chan error, 1)
	go func() { served <- front.Serve(l) }()
	err = agent.Serve(ctx, agent.Config{
		Home:      filepath.Join(dir, "home"),
		Tmp:       filepath.Join(dir, "tmp"),
		LogDir:    filepath.Join(dir, "logs"),
		GraceStop: 3 * time.Second,
	}, inner)
	inner.shut()
	if cerr := front.Close(); err == nil && !errors.Is(cerr, net.ErrClosed) {
		err = cerr
	}
	<-served
	return err
}

// freePort is a port that no connection and no listener on port 0 is given by the
// system, so that it is still free when an app takes it.
func freePort() (int, error) {
	var err error
	for range 100 {
		var some [2]byte
		_, _ = rand.Read(some[:]) // never fails
		port := 10_000 + int(binary.NativeEndian.Uint16(some[:]))%20_000
		var l net.Listener
		if l, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			return port, l.Close()
		}
	}
	return 0, fmt.Errorf("podstest: no port is free: %w", err)
}

// translator passes the protocol on to the agent behind inner with its ports
// replaced.
func translator(inner *listener, port int) http.Handler {
	transport := &http.Transport{
		DialContext:        func(ctx context.Context, _, _ string) (net.Conn, error) { return inner.dial(ctx) },
		DisableCompression: true,
	}
	proxy := &httputil.ReverseProxy{
		Transport:     transport,
		FlushInterval: -1,
		Rewrite: func(pr *httputil.ProxyRequest) {
			pr.Out.URL.Scheme, pr.Out.URL.Host = "http", "agent"
			translate(pr.Out, port)
		},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }, // hang up, as an agent that died does
		ErrorLog:     slog.NewLogLogger(slog.DiscardHandler, 0),
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// An answer may begin before the end of the request is seen, and must
		// not be cut off for it.
		if err := http.NewResponseController(w).EnableFullDuplex(); err != nil {
			panic(http.ErrAbortHandler)
		}
		proxy.ServeHTTP(w, r)
	})
}

func translate(r *http.Request, port int) {
	switch r.URL.Path {
	case wire.PathDial:
		query := r.URL.Query()
		query.Set("port", strconv.Itoa(port))
		r.URL.RawQuery = query.Encode()
	case wire.PathApp:
		rewrite(r, func(req *wire.AppRequest) {
			if req.Spec != nil {
				req.Spec.Port = port
			}
		})
	case wire.PathDeploy:
		rewrite(r, func(req *wire.DeployRequest) { req.Spec.Port, req.Before.Port = port, port })
	}
}

// rewrite changes a request's body. One that is not of its kind the agent refuses.
func rewrite[T any](r *http.Request, change func(*T)) {
	var req T
	raw, err := io.ReadAll(r.Body)
	if err == nil && json.Unmarshal(raw, &req) == nil {
		change(&req)
		raw, err = json.Marshal(req)
	}
	if err != nil {
		raw = nil
	}
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(raw)), int64(len(raw))
}
