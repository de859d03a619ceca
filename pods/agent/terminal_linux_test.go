package agent

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"podgate/pods/wire"
)

// shown is an open terminal and what it has shown so far.
type shown struct {
	t    *testing.T
	conn net.Conn

	mu   sync.Mutex
	text []byte
	end  *wire.Event // its last frame
	over bool        // nothing more comes
}

var usual = wire.Size{Columns: 80, Rows: 24}

// terminal opens a terminal and ends it with the test.
func (a *testAgent) terminal(t *testing.T, req wire.TerminalRequest) *shown {
	t.Helper()
	conn, res := a.askTerminal(t, req)
	if res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("terminal: %s", res.Status)
	}
	return conn
}

func (a *testAgent) askTerminal(t *testing.T, req wire.TerminalRequest) (*shown, *http.Response) {
	t.Helper()
	conn, err := a.l.dial()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	body, _ := json.Marshal(req)
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: agent\r\nConnection: Upgrade\r\nUpgrade: %s\r\nContent-Length: %d\r\n\r\n%s", wire.PathTerminal, wire.UpgradeTerminal, len(body), body)
	r := bufio.NewReader(conn)
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := &shown{t: t, conn: conn}
	if res.StatusCode == http.StatusSwitchingProtocols {
		go s.read(r)
	}
	return s, res
}

func (s *shown) read(r *bufio.Reader) {
	buf := make([]byte, wire.MaxFrame)
	for {
		kind, content, err := wire.ReadFrame(r, buf)
		s.mu.Lock()
		switch {
		case err != nil:
			s.over = true
		case kind == wire.FrameData:
			s.text = append(s.text, content...)
		case kind == wire.FrameEnd:
			s.end = new(wire.Event)
			err = json.Unmarshal(content, s.end)
		}
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (s *shown) send(kind byte, content string) {
	s.t.Helper()
	if _, err := s.conn.Write(wire.AppendFrame(nil, kind, []byte(content))); err != nil {
		s.t.Fatal(err)
	}
}

func (s *shown) types(text string) { s.t.Helper(); s.send(wire.FrameData, text) }

// until waits until the terminal has shown text, and forgets what came up to it.
func (s *shown) until(text string) {
	s.t.Helper()
	for deadline := time.Now().Add(40 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		s.mu.Lock()
		at := bytes.Index(s.text, []byte(text))
		if at >= 0 {
			s.text = s.text[at+len(text):]
			s.mu.Unlock()
			return
		}
		have := string(s.text)
		s.mu.Unlock()
		if time.Now().After(deadline) {
			s.t.Fatalf("never shown: %q; but %q", text, have[max(0, len(have)-500):])
		}
	}
}

// ended waits for the end and returns what the last frame said; nil for none.
func (s *shown) ended() *wire.Event {
	s.t.Helper()
	var end *wire.Event
	eventually(s.t, "the terminal ends", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		end = s.end
		return s.over
	})
	return end
}

// What a shell shows of a line that is typed must differ from what the line does:
// $((1+1)) is typed and 2 is shown.
func TestTerminal(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	s := a.terminal(t, wire.TerminalRequest{Size: wire.Size{Columns: 91, Rows: 33}, Env: map[string]string{"GREETING": "moin"}})
	for _, c := range []struct{ types, shows string }{
		{"tty >/dev/null && echo is$((1))\r", "is1"},
		{"echo $TERM.$GREETING.$USER.$((2))\r", "xterm-256color.moin.pod.2"},
		{"pwd; echo $((3))\r", a.home("app") + "\r\n3"},
		{"stty size\r", "33 91"},
		{": </dev/tty && echo controlled$((4))\r", "controlled4"},
	} {
		s.types(c.types)
		s.until(c.shows)
	}
	s.types("exit 7\r")
	if end := s.ended(); end == nil || end.Exit == nil || end.Exit.Code != 7 {
		t.Errorf("ended with %+v", end)
	}
}

// A program hears of a new size, is interrupted by a key, reads bytes as they are
// typed, and erases characters of several bytes.
func TestTerminalKeys(t *testing.T) {
	t.Parallel()
	s := startAgent(t).terminal(t, wire.TerminalRequest{Size: usual})
	// In a shell that edits no line: one that does switches the terminal's mode before and
	// after each, and may sit on a trap until a key comes.
	s.types("PS1=p$((1))s exec sh\r")
	line := func(text string) { s.t.Helper(); s.until("p1s"); s.types(text + "\r") }
	line("sh -c 'trap \"stty size; exit\" WINCH; echo $((1))go; while :; do sleep 0.05; done'")
	s.until("1go")
	s.send(wire.FrameSize, `{"columns":120,"rows":50}`)
	s.until("50 120")
	line("sleep 1001")
	eventually(t, "the command runs", func() bool { return alive("sleep\x001001") })
	s.types("\x03")
	line("echo $((3))next")
	s.until("3next")
	line("echo $((6))cat; cat | od -An -tx1")
	s.until("6cat")
	s.types("aäb\x7f\x7fc\r\x04") // without b and ä
	s.until(" 61 63 0a")
	line("stty raw -echo; echo $((4))raw; head -c 7 | od -An -tx1; stty sane; echo $((5))cooked")
	s.until("4raw")
	s.types("\x1b[A\x03\x04\r\x7f")
	s.until(" 1b 5b 41 03 04 0d 7f")
	s.until("5cooked")
}

// Nothing is left of what a terminal started, however it ends.
func TestTerminalKillsAll(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*testAgent, *shown){
		"connection": func(_ *testAgent, s *shown) { s.conn.Close() },
		"shell":      func(_ *testAgent, s *shown) { s.types("exit\rexit\r") }, // a shell warns of jobs once
		"stop": func(a *testAgent, _ *shown) {
			ask[wire.State](a, "POST", wire.PathApp, wire.AppRequest{Action: "stop"})
		},
		"agent":    func(a *testAgent, _ *shown) { a.end() },
		"nonsense": func(_ *testAgent, s *shown) { s.send('?', "") },
		"bad size": func(_ *testAgent, s *shown) { s.send(wire.FrameSize, `{"columns":0,"rows":1}`) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := startAgent(t, func(c *Config) { c.GraceStop = 20 * time.Second })
			s := a.terminal(t, wire.TerminalRequest{Size: usual})
			id := fmt.Sprintf("8%d.%d", len(name), time.Now().UnixNano()%1e9)
			for i, script := range []string{"sleep %s &", "setsid sleep %s &", "(env -i setsid /bin/sh -c 'trap \"\" TERM HUP; sleep %s' &) ;"} {
				s.types(fmt.Sprintf(script, id) + fmt.Sprintf(" echo $((%d))on\r", i+1))
				s.until(fmt.Sprintf("%don", i+1))
			}
			eventually(t, "all run", func() bool { return alive("sleep\x00" + id) })
			began := time.Now()
			end(a, s)
			if name != "connection" {
				last := s.ended()
				if name == "stop" && (last == nil || last.Fault == nil || last.Fault.Code != wire.FaultEnded) {
					t.Errorf("the last frame: %+v", last)
				}
			}
			eventually(t, "nothing is left", func() bool { return !alive(id) })
			if took := time.Since(began); name == "stop" && took > a.cfg.GraceStop {
				t.Errorf("a terminal held the stop up for %v", took)
			}
		})
	}
}

// A reader who takes nothing and a program that reads nothing cost no memory, and
// the terminal lives on.
func TestTerminalStalls(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	s := a.terminal(t, wire.TerminalRequest{Size: usual})
	s.types("stty raw -echo; echo $((1))deaf; sleep 5; stty sane; echo $((2))hears\r")
	s.until("1deaf")
	for range 20 {
		s.types(strings.Repeat("x", wire.MaxFrame))
	}
	s.until("2hears")
}

func TestTerminalBounds(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	var open []*shown
	for range wire.MaxTerminals {
		open = append(open, a.terminal(t, wire.TerminalRequest{Size: usual}))
	}
	if _, res := a.askTerminal(t, wire.TerminalRequest{Size: usual}); res.StatusCode != http.StatusTooManyRequests {
		t.Errorf("one more than there may be: %s", res.Status)
	}
	open[0].conn.Close()
	eventually(t, "one may be opened again", func() bool {
		s, res := a.askTerminal(t, wire.TerminalRequest{Size: usual})
		s.conn.Close()
		return res.StatusCode == http.StatusSwitchingProtocols
	})
	for _, size := range []wire.Size{{}, {Columns: -1, Rows: 24}, {Columns: 80, Rows: wire.MaxSide + 1}} {
		if _, res := a.askTerminal(t, wire.TerminalRequest{Size: size}); res.StatusCode != http.StatusBadRequest {
			t.Errorf("%+v: %s", size, res.Status)
		}
	}
	a.refused(wire.FaultBadRequest, "POST", wire.PathTerminal, []byte(`{"columns":80,"rows":24}`)) // no upgrade
}

// A terminal is where somebody mends what is broken, such as an app folder that is
// gone.
func TestTerminalWithoutAppFolder(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	if err := os.RemoveAll(a.home("app")); err != nil {
		t.Fatal(err)
	}
	s := a.terminal(t, wire.TerminalRequest{Size: usual})
	s.types("pwd; echo $((1))\r")
	s.until(a.home("") + "\r\n1")
}
