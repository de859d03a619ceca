//go:build linux && (amd64 || arm64)

package sandbox

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"podgate/pods/egress"
)

// talkEnds are both ends of what a gateway and the server of a pod with this gate say.
func talkEnds(t *testing.T, g *egress.Gate) (n *podNetwork, server, gateway *net.UnixConn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]*net.UnixConn
	for i, fd := range fds {
		if ends[i], err = unixConn(fd); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { ends[i].Close() })
	}
	if err := ends[1].SetDeadline(time.Now().Add(40 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return &podNetwork{gate: g, log: slog.New(slog.DiscardHandler), heard: make(chan struct{}, 1)}, ends[0], ends[1]
}

// gatewayTalk is the gateway's end of a talk that the server serves until over is closed.
func gatewayTalk(t *testing.T, g *egress.Gate) (conn *net.UnixConn, over chan struct{}) {
	t.Helper()
	n, theirs, conn := talkEnds(t, g)
	ctx, cancel := context.WithCancel(context.Background())
	over = make(chan struct{})
	go func() {
		defer close(over)
		n.serve(ctx, theirs)
	}()
	t.Cleanup(func() { cancel(); conn.Close(); <-over })
	return conn, over
}

// gateBy is a gate whose connections are made like this.
func gateBy(dial func(ctx context.Context, network, address string) (net.Conn, error)) *egress.Gate {
	return egress.NewGate(egress.Config{Dial: dial, Own: func() ([]netip.Prefix, error) { return nil, nil }}, openToAll)
}

var someTarget = netip.MustParseAddrPort("8.8.8.8:443")

// say writes a message, which is JSON of what is no bytes.
func say(t *testing.T, conn net.Conn, what any) {
	t.Helper()
	b, ok := what.([]byte)
	if !ok {
		var err error
		if b, err = json.Marshal(what); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := conn.Write(b); err != nil {
		t.Fatal(err)
	}
}

// hear reads one reply, with its connection.
func hear(t *testing.T, conn *net.UnixConn) (a reply, out net.Conn) {
	t.Helper()
	b, oob := make([]byte, maxMessage), make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := conn.ReadMsgUnix(b, oob)
	if err != nil {
		t.Fatal(err)
	}
	if a, err = parseReply(b[:n]); err != nil {
		t.Fatal(err)
	}
	if oobn > 0 {
		out = givenConn(oob[:oobn], a.stream)
	}
	return a, out
}

// A gateway is answered in the form in which it asks: one that an earlier program started
// knows the long one only.
func TestTalkInBothForms(t *testing.T) {
	t.Parallel()
	conn, _ := gatewayTalk(t, gateTo(newElsewhere(t), openToAll))
	for name, c := range map[string]struct {
		question any
		short    bool
	}{
		"short": {appendShortAsk(nil, 7, someTarget), true},
		"long":  {ask{ID: 7, Op: opDial, Network: "tcp", To: someTarget}, false},
	} {
		say(t, conn, c.question)
		a, out := hear(t, conn)
		if a.ID != 7 || a.Conn == 0 || a.Fault != "" || a.stream != c.short || out == nil {
			t.Fatalf("%s: %+v, %v", name, a, out)
		}
		if _, err := out.Write([]byte("hello")); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		b := make([]byte, 5)
		if _, err := io.ReadFull(out, b); err != nil || string(b) != "hello" {
			t.Errorf("%s: %q, %v", name, b, err)
		}
		out.Close()
	}
	say(t, conn, appendShortAsk(nil, 9, netip.MustParseAddrPort("10.0.0.7:443")))
	if a, out := hear(t, conn); a.ID != 9 || a.Fault == "" || out != nil {
		t.Errorf("refused: %+v, %v", a, out)
	}
}

// Questions that take long do not keep others from being heard, up to a bound, and leave
// no more behind than are needed.
func TestTalkAnswersMany(t *testing.T) {
	t.Parallel()
	var now, most atomic.Int64
	begun, release := make(chan struct{}, 2*maxAsks), make(chan struct{})
	_, outside := net.Pipe()
	g := gateBy(func(context.Context, string, string) (net.Conn, error) {
		n := now.Add(1)
		defer now.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		begun <- struct{}{}
		<-release
		return outside, nil // without a descriptor: the reply is lost, and the place is free
	})
	conn, _ := gatewayTalk(t, g)
	for range maxAsks - 1 {
		say(t, conn, appendShortAsk(nil, 1, someTarget))
		<-begun
	}
	say(t, conn, ask{Op: opFull, Network: "tcp", To: someTarget, Limit: egress.HalfOpen})
	eventually(t, "what is no question is heard beside questions", func() bool { return len(g.Refusals()) == 1 })
	const more = 20
	for range more {
		say(t, conn, appendShortAsk(nil, 1, someTarget))
	}
	<-begun
	close(release)
	for range more - 1 {
		<-begun
	}
	if most.Load() != maxAsks {
		t.Errorf("%d were answered at once", most.Load())
	}
}

// Where one question follows the other, one goroutine reads, one waits to read next, and no
// question starts another.
func TestTalkKeepsFew(t *testing.T) {
	t.Parallel()
	n, theirs, conn := talkEnds(t, gateTo(newElsewhere(t), openToAll))
	tk := newTalk(t.Context(), n, theirs)
	tk.more()
	for range 99 {
		say(t, conn, appendShortAsk(nil, 1, someTarget))
		if a, out := hear(t, conn); out == nil {
			t.Fatalf("%+v", a)
		} else {
			out.Close()
		}
	}
	eventually(t, "two wait", func() bool {
		tk.mu.Lock()
		defer tk.mu.Unlock()
		return tk.many == 2 && tk.waiting == 2
	})
	conn.Close()
	<-tk.over
	tk.all.Wait()
}

// After a message that cannot be read nothing is heard any more.
func TestTalkEnds(t *testing.T) {
	t.Parallel()
	for name, message := range map[string][]byte{
		"no JSON":             []byte("{"),
		"a mark alone":        {shortMark},
		"too short":           appendShortAsk(nil, 1, someTarget)[:shortAsk-1],
		"too long":            append(appendShortAsk(nil, 1, someTarget), 0),
		"another mark":        append([]byte{2}, appendShortAsk(nil, 1, someTarget)[1:]...),
		"a network of no use": []byte(`{"op":"dial","network":"unix"}`),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var dials atomic.Int64
			conn, over := gatewayTalk(t, gateBy(func(context.Context, string, string) (net.Conn, error) {
				dials.Add(1)
				return nil, io.EOF
			}))
			say(t, conn, appendShortAsk(nil, 1, someTarget))
			if a, _ := hear(t, conn); a.Fault == "" {
				t.Errorf("%+v", a)
			}
			say(t, conn, message)
			_, _ = conn.Write(appendShortAsk(nil, 2, someTarget)) // may be closed already
			<-over
			if dials.Load() != 1 {
				t.Error("it was heard after that")
			}
		})
	}
}

// FuzzGatewayMessages reads what each side may be told by the other.
func FuzzGatewayMessages(f *testing.F) {
	f.Add(appendShortAsk(nil, 1<<63, someTarget))
	f.Add(appendShortReply(nil, 1<<63, 1<<62))
	f.Add([]byte(`{"id":1,"op":"dial","network":"tcp","to":"8.8.8.8:443"}`))
	f.Add([]byte{shortMark})
	f.Fuzz(func(t *testing.T, b []byte) {
		if q, err := parseAsk(b); err == nil && q.short {
			if again := appendShortAsk(nil, q.ID, q.To); string(again) != string(b) || q.Op != opDial || q.Network != "tcp" || !q.To.IsValid() {
				t.Errorf("%x: %+v", b, q)
			}
		}
		if a, err := parseReply(b); err == nil && a.stream {
			if again := appendShortReply(nil, a.ID, a.Conn); string(again) != string(b) || a.Fault != "" || a.Answer != nil {
				t.Errorf("%x: %+v", b, a)
			}
		}
	})
}
