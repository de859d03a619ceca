package agent

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"podgate/pods/wire"
)

const (
	dialTime    = 5 * time.Second
	maxDials    = 1024
	dialUpgrade = "podgate-tcp"
)

// serveDial is GET /v1/dial: after 101 the connection is the app's.
func (a *agent) serveDial(w http.ResponseWriter, r *http.Request) error {
	port, err := parsePort(r.URL.RawQuery)
	if err != nil {
		return err
	}
	if !upgradesTo(r, dialUpgrade) {
		return badRequest("send Connection: Upgrade and Upgrade: %s", dialUpgrade)
	}
	select {
	case a.dials <- struct{}{}:
		defer func() { <-a.dials }()
	default:
		return faultf(wire.FaultBusy, "%d connections to apps are open already", maxDials)
	}
	app, err := dialPort(r.Context(), port, dialTime)
	if err != nil {
		return faultf(wire.FaultNotListening, "nothing in the pod answers on port %d; start an app that listens on $PORT", port)
	}
	defer app.Close()
	server, buf, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return err
	}
	defer server.Close()
	server.SetDeadline(time.Time{})
	// The request's context has ended with the hijack; the agent's goes on.
	stop := context.AfterFunc(a.ctx, func() {
		server.Close()
		app.Close()
	})
	defer stop()
	if _, err := io.WriteString(server, switching(dialUpgrade)); err != nil {
		return nil
	}
	pipe(server, app, io.LimitReader(buf.Reader, int64(buf.Reader.Buffered())))
	return nil
}

// upgradesTo reports whether a request asks for that protocol on its connection.
func upgradesTo(r *http.Request, protocol string) bool {
	return strings.EqualFold(r.Header.Get("Upgrade"), protocol) && strings.EqualFold(r.Header.Get("Connection"), "upgrade")
}

// switching is the answer that gives a connection to a protocol.
func switching(protocol string) string {
	return "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " + protocol + "\r\n\r\n"
}

// pipe copies both ways until both are at their end, or one fails. early is
// what has been read of server already. The end of one way is passed on as the
// end of that way only, where the connection can tell it.
func pipe(server, app net.Conn, early io.Reader) {
	done := make(chan bool, 2)
	go func() {
		_, err := io.Copy(app, early)
		if err == nil {
			_, err = io.Copy(app, server)
		}
		done <- err == nil && closeWrite(app)
	}()
	go func() {
		_, err := io.Copy(server, app)
		done <- err == nil && closeWrite(server)
	}()
	for range 2 {
		if !<-done {
			server.Close()
			app.Close()
		}
	}
}

// closeWrite ends one direction; false when the connection cannot.
func closeWrite(c net.Conn) bool {
	h, ok := c.(interface{ CloseWrite() error })
	return ok && h.CloseWrite() == nil
}
