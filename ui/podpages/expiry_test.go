package podpages_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/coder/websocket"

	"podgate/store"
)

// beats reads until so many beats have come from now on.
func (f *follower) beats(n int) {
	f.t.Helper()
	for len(f.lines) > 0 {
		<-f.lines
	}
	for range n {
		f.until(": \n")
	}
}

// What goes on after its page ends when the time of its session is up, of which nobody
// is told, and puts that time off by nothing.
func TestSessionRunsOut(t *testing.T) {
	t.Parallel()
	s := terminalSite(t)
	at := newStalls(t, s, time.Minute)
	at.pages.SetBeat(20 * time.Millisecond)
	states, log := at.lines("/events"), at.lines("/pod/blog/logs/events")
	states.until("retry:")
	log.until("retry:")
	conn, res, err := websocket.Dial(t.Context(), "ws://"+at.addr+socketPath, &websocket.DialOptions{
		Host: "podgate.localhost", HTTPHeader: http.Header{"Cookie": {at.cookie}, "Origin": {"http://podgate.localhost"}},
	})
	if err != nil {
		t.Fatalf("open: %v %v", res, err)
	}
	defer conn.CloseNow()
	terminal := &screen{Conn: conn, t: t}
	terminal.types("echo up$((1))\r")
	terminal.until("up1")

	s.Clock.Advance(store.SessionTTL - time.Minute)
	states.beats(3)
	log.beats(3)
	terminal.types("echo up$((2))\r")
	terminal.until("up2")

	s.Clock.Advance(time.Minute)
	if code, words := terminal.ended(); code != 4000 || words != "you are signed out" {
		t.Errorf("the terminal ended with %d %q", code, words)
	}
	states.until()
	log.until()
	at.untilStreams(0)
}
