package main

import (
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"podgate/internal/webtest"
)

// The whole program passes a terminal through, from a real pod to a browser's
// WebSocket, and ends it with the session.
func TestTerminalThroughTheServer(t *testing.T) {
	t.Parallel()
	srv := startServer(t)
	needSandbox(t, srv)
	ada := setUp(t, srv)
	connect(t, srv, ada, connectOptions{}).call(t, "create_pod", args{"name": "shell", "preset": "static"})
	transport := webtest.Transport()
	defer transport.CloseIdleConnections()
	conn, _, err := websocket.Dial(t.Context(), srv.pages()+"/pod/shell/terminal/socket?columns=80&rows=24", &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: transport, Jar: ada.Jar()}, HTTPHeader: http.Header{"Origin": {srv.pages()}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	if err := conn.Write(t.Context(), websocket.MessageBinary, []byte("tty; stty size; echo $HOME$((1))\r")); err != nil {
		t.Fatal(err)
	}
	shown := ""
	for !strings.Contains(shown, "/home/pod1") {
		_, b, err := conn.Read(t.Context())
		if err != nil {
			t.Fatalf("%v after %q", err, shown)
		}
		shown += string(b)
	}
	if !strings.Contains(shown, "/dev/pts/") || !strings.Contains(shown, "24 80") {
		t.Errorf("shown: %q", shown)
	}
	ada.Open(srv.Issuer).Press("Sign out", nil)
	for {
		if _, _, err = conn.Read(t.Context()); err != nil {
			break
		}
	}
	if !strings.Contains(err.Error(), "you are signed out") {
		t.Errorf("after signing out: %v", err)
	}
}
