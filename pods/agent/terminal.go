package agent

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"

	"podgate/pods/wire"
)

const (
	// hangUpGrace is how long a shell whose terminal is gone may take to write its
	// history down and to leave.
	hangUpGrace = 300 * time.Millisecond
	// inputTime is how long what is typed waits for a program that does not read.
	// After it that is lost, and more of it at once, until the program reads again:
	// the keys behind it, such as a new size, are not to wait for ever.
	inputTime   = 3 * time.Second
	stalledTime = 50 * time.Millisecond
)

// shells are those that people want, the first that is there.
var shells = []string{"/bin/bash", "/usr/bin/bash", "/usr/local/bin/bash"}

// serveTerminal is POST /v1/terminal.
func (a *agent) serveTerminal(w http.ResponseWriter, r *http.Request) error {
	if !upgradesTo(r, wire.UpgradeTerminal) {
		return badRequest("send Connection: Upgrade and Upgrade: %s", wire.UpgradeTerminal)
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxAppBody))
	if err != nil {
		return err
	}
	req, err := parseTerminal(body)
	if err != nil {
		return err
	}
	select {
	case a.shells <- struct{}{}:
		defer func() { <-a.shells }()
	default:
		return faultf(wire.FaultBusy, "%d terminals are open already; close one first", wire.MaxTerminals)
	}
	t, err := a.openTerminal(req)
	if err != nil {
		return faultf(wire.FaultFailed, "the terminal cannot be opened: %v", err)
	}
	server, buf, err := http.NewResponseController(w).Hijack()
	if err != nil {
		t.hangUp()
		return err
	}
	defer server.Close()
	server.SetDeadline(time.Time{})
	// The request's context has ended with the hijack; the agent's goes on.
	stop := context.AfterFunc(a.ctx, func() { server.Close() })
	defer stop()
	t.serve(server, buf.Reader)
	return nil
}

// terminal is a shell with the other side of its terminal.
type terminal struct {
	agent   *agent
	pty     *os.File
	shell   *proc
	began   time.Time
	stalled bool // the program did not read what was typed last
}

func (a *agent) openTerminal(req wire.TerminalRequest) (*terminal, error) {
	dir, err := a.folders.dir(podApp)
	if err != nil { // who could mend that, if not a person at a terminal
		if dir, err = a.folders.dir(podHome); err != nil {
			return nil, err
		}
	}
	pty, tty, err := openPTY(req.Size)
	if err != nil {
		return nil, err
	}
	defer tty.Close()
	c := command{path: a.cfg.Shell, shell: true, tty: true, argv: []string{"sh"}, dir: dir.real(), files: [3]*os.File{tty, tty, tty}}
	env := newEnviron(a.commandEnv(req.Env))
	for _, path := range shells {
		if _, err := os.Stat(path); err == nil {
			c.path, c.argv = path, []string{"bash"}
			env.setDefault("PS1", `\u@\h:\w\$ `)
			break
		}
	}
	env.set("SHELL", c.path)
	env.set("TERM", "xterm-256color")
	env.set("COLORTERM", "truecolor")
	c.env = env.list()
	shell, err := a.procs.start(c)
	if err != nil {
		pty.Close()
		return nil, err
	}
	return &terminal{agent: a, pty: pty, shell: shell, began: time.Now()}, nil
}

// serve passes bytes until the shell or the connection ends. Nothing that the
// shell started is left on return.
func (t *terminal) serve(conn net.Conn, in io.Reader) {
	if _, err := io.WriteString(conn, switching(wire.UpgradeTerminal)); err != nil {
		t.hangUp()
		return
	}
	left, shown := make(chan struct{}), make(chan struct{})
	go func() { defer close(left); t.take(in) }()
	go func() { defer close(shown); t.show(conn) }()
	select {
	case <-t.shell.done:
		conn.SetWriteDeadline(time.Now().Add(writePatience))
		t.end()
		t.pty.SetReadDeadline(time.Now().Add(lastWords))
		<-shown
		t.sayEnd(conn)
		t.pty.Close()
	case <-t.shell.ending: // with all else; a shell that a person uses would not hear of it
		conn.SetWriteDeadline(time.Now().Add(writePatience))
		t.hangUp()
		<-shown
		t.sayEnd(conn)
	case <-left:
		t.hangUp()
		<-shown
	}
	conn.Close()
	<-left
}

// end kills what the shell left behind.
func (t *terminal) end() {
	if err := t.shell.killTree(); err != nil {
		t.agent.log.Printf("terminal: %v", err)
	}
}

// hangUp ends a shell whose terminal is gone.
func (t *terminal) hangUp() {
	t.pty.Close() // of which the kernel tells those in front
	t.shell.signalGroup(syscall.SIGHUP)
	late := time.NewTimer(hangUpGrace)
	defer late.Stop()
	select {
	case <-t.shell.done:
	case <-late.C:
	}
	t.end()
}

// show sends what the terminal shows, until its end or that of the connection. A
// reader that stalls stops the program: what the terminal holds is bounded.
func (t *terminal) show(conn net.Conn) {
	buf := make([]byte, wire.MaxFrame)
	frame := make([]byte, 0, wire.MaxFrame+8)
	for {
		n, err := t.pty.Read(buf)
		if n > 0 {
			frame = wire.AppendFrame(frame[:0], wire.FrameData, buf[:n])
			if _, err := conn.Write(frame); err != nil {
				conn.Close() // and with that it is over for take
				return
			}
		}
		if err != nil {
			return // EIO when the last that had it open is gone
		}
	}
}

// take does what comes from the other side, until that ends.
func (t *terminal) take(in io.Reader) {
	buf := make([]byte, wire.MaxFrame)
	for {
		kind, content, err := wire.ReadFrame(in, buf)
		if err != nil {
			return
		}
		switch kind {
		case wire.FrameData:
			t.enter(content)
		case wire.FrameSize:
			var size wire.Size
			if json.Unmarshal(content, &size) != nil || !size.Valid() {
				return
			}
			setSize(t.pty, size) // fails when the terminal has ended
		default:
			return
		}
	}
}

// enter types bytes into the terminal.
func (t *terminal) enter(b []byte) {
	patience := inputTime
	if t.stalled {
		patience = stalledTime
	}
	t.pty.SetWriteDeadline(time.Now().Add(patience))
	_, err := t.pty.Write(b)
	t.stalled = errors.Is(err, os.ErrDeadlineExceeded)
}

// sayEnd tells how the shell ended.
func (t *terminal) sayEnd(conn net.Conn) {
	var e wire.Event
	if t.shell.mustEnd() {
		e.Fault = errEnded
	} else {
		e.Exit = &wire.Exit{Millis: time.Since(t.began).Milliseconds()}
		e.Exit.Code, e.Exit.Signal = exitCode(t.shell.status)
	}
	b, err := json.Marshal(e)
	if err != nil {
		return
	}
	conn.Write(wire.AppendFrame(nil, wire.FrameEnd, b)) // who is gone needs no answer
}
