//go:build linux && (amd64 || arm64)

package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"podgate/pods/egress"
)

// This file is the server's side of a pod's network: it starts the process that
// takes the pod's packets, and answers what that asks.

const (
	gatewayRetryLeast = time.Second
	gatewayRetryMost  = 30 * time.Second
	gatewayHealthy    = time.Minute            // one that lived so long starts anew at once
	gatewayFarewell   = 3 * time.Second        // for one whose connections are cut, on a machine that has much to do, until it is killed
	gatewayPatience   = 40 * time.Second       // with one that says nothing; longer than all its questions may take
	gatewayLeave      = 300 * time.Millisecond // for what it has asked, until the next server comes
	maxAsks           = 256                    // of one pod at once
	maxMessage        = 64 << 10
)

// podNetwork is the network of one run of a pod.
type podNetwork struct {
	rt     *Runtime
	gate   *egress.Gate
	group  *group // the pod's, nil without
	hostID int
	order  gatewayOrder
	fd     *os.File // our copy of the pod's packets
	log    *slog.Logger
	cancel context.CancelFunc
	done   chan struct{}

	earlier *gatewayProcess // that an earlier server has started, and this one is to take
	left    *gatewayProcess // that goes over to the next server
	was     egress.Handed   // of the gate of an earlier server
	leaving atomic.Bool     // the next server takes it

	pid   atomic.Int64  // of the gateway; 0 while there is none
	heard chan struct{} // has room for one sign of its life
}

// gatewayProcess is a gateway that runs.
type gatewayProcess struct {
	conn    *net.UnixConn
	process *os.Process
	output  *output
}

// receiveDevice reads what stage 1 has sent, which it does before its status.
func receiveDevice(conn *os.File) (device, *os.File, error) {
	var (
		d   device
		b   = make([]byte, maxMessage)
		oob = make([]byte, unix.CmsgSpace(4))
	)
	n, oobn, _, _, err := unix.Recvmsg(int(conn.Fd()), b, oob, unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return d, nil, fmt.Errorf("network of the pod: %w", err)
	}
	if err := json.Unmarshal(b[:n], &d); err != nil {
		return d, nil, fmt.Errorf("network of the pod: %w", err)
	}
	if d.Fault != "" {
		return d, nil, nil
	}
	fd, err := oneRight(oob[:oobn])
	if err != nil {
		return d, nil, fmt.Errorf("network of the pod: %w", err)
	}
	// So that Go's runtime does not look at it: it would wake this process for
	// each packet that the gateway takes.
	if err := unix.SetNonblock(fd, false); err != nil {
		unix.Close(fd)
		return d, nil, err
	}
	return d, os.NewFile(uintptr(fd), "packets"), nil
}

// oneRight is the one descriptor in a control message.
func oneRight(oob []byte) (int, error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil || len(messages) != 1 {
		return -1, errors.New("a message without its descriptor")
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		for _, fd := range fds { // there is room for two
			unix.Close(fd)
		}
		return -1, errors.New("a message without its descriptor")
	}
	return fds[0], nil
}

// begin keeps the pod's network going until end.
func (n *podNetwork) begin() {
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel, n.done, n.heard = cancel, make(chan struct{}), make(chan struct{}, 1)
	go func() {
		defer close(n.done)
		defer n.fd.Close()
		n.keep(ctx)
	}()
}

// end returns when nothing of the network is left.
func (n *podNetwork) end() {
	if n != nil {
		n.cancel()
		<-n.done
	}
}

// keep starts the gateway when the pod sends something, so that pods without
// use for a network cost none, and again when it has ended. One that fails, a
// defect of ours that a pod has found, costs that pod its connections and a
// moment.
func (n *podNetwork) keep(ctx context.Context) {
	wait := gatewayRetryLeast
	for n.earlier != nil || n.waitForPacket(ctx) == nil {
		began := time.Now()
		err := n.run(ctx)
		if n.left != nil {
			return
		}
		n.gate.CloseAll()
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			continue
		}
		if time.Since(began) > gatewayHealthy {
			wait = gatewayRetryLeast
		}
		n.log.Warn("a pod's network failed and is started anew", "error", err, "in", wait)
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		wait = min(2*wait, gatewayRetryMost)
	}
}

// waitForPacket leaves the packet where it is, and nothing behind with which the
// runtime would wait for the next one.
func (n *podNetwork) waitForPacket(ctx context.Context) error {
	fd, err := unix.FcntlInt(n.fd.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return err
	}
	f := os.NewFile(uintptr(fd), "packets")
	defer f.Close()
	defer context.AfterFunc(ctx, func() { _ = f.SetReadDeadline(time.Unix(1, 0)) })()
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Read(func(fd uintptr) bool {
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		_, err := unix.Poll(poll, 0)
		return err == nil && poll[0].Revents != 0
	})
}

// leave has the next server take the network, and returns when this one serves it no more.
// Packets wait meanwhile.
func (n *podNetwork) leave() {
	n.leaving.Store(true)
	n.cancel()
	<-n.done
}

// run starts one gateway, or takes that of an earlier server, and serves it until it ends;
// nil when that was wanted: it was idle, the policy changed, the pod ended, or the next
// server takes it.
func (n *podNetwork) run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	g := n.earlier
	n.earlier = nil
	if g == nil {
		var err error
		if g, err = n.spawn(); err != nil {
			return err
		}
	}
	conn, process, output := g.conn, g.process, g.output
	defer func() {
		if n.left == nil {
			conn.Close()
		}
	}()
	defer context.AfterFunc(ctx, func() {
		if n.leaving.Load() {
			_ = conn.SetReadDeadline(time.Unix(1, 0)) // it is closed already, and then nothing is read either
		}
	})()
	n.pid.Store(int64(process.Pid))
	defer n.pid.Store(0)
	var cut sync.WaitGroup
	wanted := false
	cut.Go(func() {
		if wanted = n.awaitCut(ctx); wanted {
			n.farewell(ctx, conn)
		}
		if wanted || !n.leaving.Load() {
			_ = process.Kill() // dead already
		}
	})
	hung := false
	cut.Go(func() {
		if hung = n.awaitSilence(ctx); hung {
			_ = process.Kill() // dead already
		}
	})
	n.serve(ctx, conn)
	if n.leaving.Load() && ctx.Err() != nil {
		if cut.Wait(); !wanted && !hung {
			n.left = g
			return nil
		}
	}
	state, err := process.Wait()
	output.wait()
	over := ctx.Err() != nil // before that is our own doing
	stop()
	cut.Wait()
	if err != nil {
		return err
	}
	if hung {
		return fmt.Errorf("it said nothing for %v", n.rt.patience)
	}
	if over || wanted || state.Success() {
		return nil
	}
	return fmt.Errorf("%s: %s", state, output.last())
}

// farewell lets the gateway tell the pod's programs that their connections are
// over: one that only waits for an answer would wait on.
func (n *podNetwork) farewell(ctx context.Context, conn *net.UnixConn) {
	if conn.CloseWrite() != nil {
		return
	}
	select {
	case <-ctx.Done(): // it has ended
	case <-time.After(gatewayFarewell):
	}
}

// awaitCut returns when everything that is open must end: true when the policy
// does not allow it any more, false when ctx ends. What policies take away,
// they take away from what is open too, and a process that is gone has nothing
// open.
func (n *podNetwork) awaitCut(ctx context.Context) bool {
	for {
		changed := n.gate.Changed()
		if n.gate.Stale() {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-changed:
		}
	}
}

// awaitSilence returns true when the gateway has said nothing for too long, which one
// that runs does every few seconds, and false when ctx ends. A hang is found like
// this and costs what a crash does.
func (n *podNetwork) awaitSilence(ctx context.Context) bool {
	for {
		select {
		case <-ctx.Done():
			return false
		case <-n.heard:
		case <-time.After(n.rt.patience):
			return true
		}
	}
}

// spawn starts the gateway, with nothing but the pod's packets, a socket to ask
// over and a way to say its last words.
func (n *podNetwork) spawn() (*gatewayProcess, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	theirs := os.NewFile(uintptr(fds[1]), "asks")
	defer theirs.Close()
	conn, err := unixConn(fds[0])
	if err != nil {
		return nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		conn.Close()
		return nil, err
	}
	defer w.Close()
	process, err := n.start(theirs, w)
	if err == nil && n.group != nil {
		// What it works and keeps is the pod's doing, and so the pod's share.
		if err = n.group.add(process.Pid); err != nil {
			_ = process.Kill() // dead already
			_, _ = process.Wait()
		}
	}
	if err != nil {
		conn.Close()
		r.Close()
		return nil, err
	}
	return &gatewayProcess{conn, process, newOutput(r, n.log)}, nil
}

func (n *podNetwork) start(asks, stderr *os.File) (*os.Process, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	argument, err := json.Marshal(n.order)
	if err != nil {
		return nil, err
	}
	attr := &os.ProcAttr{
		Dir: "/",
		Env: []string{"GOMAXPROCS=1", "GOMEMLIMIT=32MiB"},
		// Its descriptors are gatewayAsks, gatewayPackets and so on.
		Files: []*os.File{null, stderr, stderr, asks, n.fd},
		Sys:   isolation(n.hostID, n.rt.root, nil),
	}
	return n.rt.spawn.start(fmt.Sprintf("/proc/self/fd/%d", n.rt.self.Fd()), []string{gatewayName, string(argument)}, attr)
}

// serve answers the gateway until it hangs up.
func (n *podNetwork) serve(ctx context.Context, conn *net.UnixConn) {
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	t := newTalk(work, n, conn)
	defer cancel()
	defer t.all.Wait()
	defer context.AfterFunc(ctx, func() {
		if n.leaving.Load() {
			time.AfterFunc(gatewayLeave, cancel) // what was asked is answered before the next server comes
		} else {
			cancel()
		}
	})()
	defer func() {
		if !n.leaving.Load() {
			cancel()
		}
	}()
	t.more()
	<-t.over
}

// talk is what is said with one gateway. One goroutine at a time reads, and who has read a
// question answers it itself and leaves the reading to the next: so a question waits for no
// change of goroutines, and finds a stack that has grown.
type talk struct {
	*podNetwork
	conn *net.UnixConn
	work context.Context
	all  sync.WaitGroup
	over chan struct{} // closed when no more is read

	turn sync.Mutex // held by who reads
	b    []byte

	mu      sync.Mutex
	many    int // goroutines
	waiting int // of these: who reads, and who waits for that
}

func newTalk(work context.Context, n *podNetwork, conn *net.UnixConn) *talk {
	return &talk{podNetwork: n, conn: conn, work: work, b: make([]byte, maxMessage), over: make(chan struct{})}
}

// more has somebody read next, unless somebody waits for that or as many as there may be are
// answering; then it is the first of them that is done.
func (t *talk) more() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.waiting == 0 && t.many < maxAsks {
		t.waiting++
		t.many++
		t.all.Go(t.take)
	}
}

func (t *talk) take() {
	for {
		q, ok := t.listen()
		if !ok {
			return
		}
		t.answer(t.work, t.conn, q)
		if !t.stay() {
			return
		}
	}
}

// stay reports whether who has answered waits for another turn: one that waits while one
// reads is enough.
func (t *talk) stay() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.waiting > 1 {
		t.many--
		return false
	}
	t.waiting++
	return true
}

// listen waits for its turn and reads until there is a question to answer; false when no
// more comes.
func (t *talk) listen() (ask, bool) {
	t.turn.Lock()
	defer t.turn.Unlock()
	select {
	case <-t.over:
		return ask{}, false
	default:
	}
	q, ok := t.next()
	if !ok {
		close(t.over)
		return q, false
	}
	t.mu.Lock()
	t.waiting--
	t.mu.Unlock()
	t.more()
	return q, true
}

// next reads until there is a question, and notes what else is said.
func (t *talk) next() (q ask, ok bool) {
	n := t.podNetwork
	for {
		size, err := t.conn.Read(t.b)
		if err != nil || size == 0 {
			return q, false
		}
		q, err := parseAsk(t.b[:size])
		if err != nil {
			n.log.Warn("a pod's network asked what cannot be read", "error", err)
			return q, false
		}
		if q.Network != "" && q.Network != "tcp" && q.Network != "udp" || len(q.Limit) > 32 { // it would be kept
			n.log.Warn("a pod's network asked for what there is not")
			return q, false
		}
		select {
		case n.heard <- struct{}{}:
		default: // it was heard
		}
		switch q.Op {
		case opAlive:
		case opFull:
			n.gate.Full(q.Network, q.To, q.Limit)
		case opMoved:
			n.gate.Moved(q.Conn, q.Sent, q.Received)
		case opClosed:
			n.gate.Closed(q.Conn)
		default:
			return q, true
		}
	}
}

// answer answers one question that has an answer. When it cannot be sent the
// gateway is gone.
func (n *podNetwork) answer(ctx context.Context, conn *net.UnixConn, q ask) {
	a := reply{ID: q.ID}
	switch q.Op {
	case opAsk:
		answer := n.gate.Ask(ctx, q.Name, q.Kind)
		a.Answer = &answer
	case opCheck:
		a.Fault = faultText(n.gate.Check(q.Network, q.To))
	case opDial:
		n.dial(ctx, conn, q, a)
		return
	default:
		a.Fault = "there is no such question"
	}
	_ = send(conn, a, nil)
}

// dial gives the connection itself away: its bytes do not pass through the
// server.
func (n *podNetwork) dial(ctx context.Context, conn *net.UnixConn, q ask, a reply) {
	out, id, err := n.gate.Dial(ctx, q.Network, q.To)
	if err != nil {
		a.Fault = faultText(err)
		_ = send(conn, a, nil)
		return
	}
	defer out.Close()
	a.Conn, a.stream = id, q.short
	if err := send(conn, a, out); err != nil {
		n.gate.Closed(id)
	}
}

func faultText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// send writes one message, with the descriptor of out if there is one.
func send(conn *net.UnixConn, a reply, out net.Conn) error {
	var message []byte
	if a.stream {
		message = appendShortReply(make([]byte, 0, shortReply), a.ID, a.Conn)
	} else {
		var err error
		if message, err = json.Marshal(a); err != nil || len(message) > maxMessage {
			return fmt.Errorf("a message of %d bytes: %w", len(message), err)
		}
	}
	if out == nil {
		_, err := conn.Write(message)
		return err
	}
	s, ok := out.(syscall.Conn)
	if !ok {
		return errors.New("a connection without descriptor")
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	if err := raw.Control(func(fd uintptr) { _, _, sent = conn.WriteMsgUnix(message, unix.UnixRights(int(fd)), nil) }); err != nil {
		return err
	}
	return sent
}
