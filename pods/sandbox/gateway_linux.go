//go:build linux && (amd64 || arm64)

package sandbox

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"podgate/pods/egress"
	"podgate/pods/egress/netstack"
	"podgate/pods/sandbox/seccomp"
)

// The gateway is the process that takes a pod's packets apart. It has the
// rights of nobody and no network of its own: each connection is made by the
// server, after asking the pod's policy, and handed to it.

// gatewayName is what it is called.
const gatewayName = "podgate-network"

// Its descriptors.
const (
	gatewayAsks    = firstDonated
	gatewayPackets = firstDonated + 1
)

const (
	gatewayFiles = 2 * egress.MaxOpen // connections, and what else it has
	gatewayIdle  = time.Minute        // with nothing open, until it ends; the next packet starts another
	gatewayData  = 512 << 20          // RLIMIT_DATA, bytes: all buffers of all connections, and the runtime's own
)

// gatewayOrder is what a gateway is told at its start.
type gatewayOrder struct {
	Device device `json:"device"`
	Rate   int64  `json:"rate,omitempty"` // bytes a second; 0: no bound
}

// ask is a message of the gateway.
type ask struct {
	ID       uint64         `json:"id,omitempty"`
	Op       string         `json:"op"`
	Name     string         `json:"name,omitempty"`
	Kind     egress.Kind    `json:"kind,omitempty"`
	Network  string         `json:"network,omitempty"`
	To       netip.AddrPort `json:"to,omitzero"`
	Limit    egress.Limit   `json:"limit,omitempty"`
	Conn     egress.ConnID  `json:"conn,omitempty"`
	Sent     int64          `json:"sent,omitempty"`
	Received int64          `json:"received,omitempty"`

	short bool // it came as a shortAsk
}

// The operations. Of full, moved, closed and alive there is no answer.
const (
	opAsk    = "ask"
	opCheck  = "check"
	opDial   = "dial"
	opFull   = "full"
	opMoved  = "moved"
	opClosed = "closed"
	opAlive  = "alive"
)

// reply answers the ask of the same ID. A connection comes with it.
type reply struct {
	ID     uint64         `json:"id"`
	Answer *egress.Answer `json:"answer,omitempty"`
	Conn   egress.ConnID  `json:"conn,omitempty"`
	Fault  string         `json:"fault,omitempty"`

	stream bool // it came as a shortReply: the connection is one of TCP that does not block
}

// A pod's program waits for the question for a connection and for its answer, so these two
// have a short form: a first byte with which no JSON begins, the ID, and the address and
// port or the connection. All numbers are big endian.
const (
	shortMark  = 1
	shortAsk   = 1 + 8 + 4 + 2
	shortReply = 1 + 8 + 8
)

func appendShortAsk(b []byte, id uint64, to netip.AddrPort) []byte {
	four := to.Addr().As4()
	return binary.BigEndian.AppendUint16(append(binary.BigEndian.AppendUint64(append(b, shortMark), id), four[:]...), to.Port())
}

func appendShortReply(b []byte, id uint64, conn egress.ConnID) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(append(b, shortMark), id), uint64(conn))
}

// parseAsk reads a message of the gateway in either form.
func parseAsk(b []byte) (q ask, err error) {
	if len(b) == shortAsk && b[0] == shortMark {
		to := netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[9:])), binary.BigEndian.Uint16(b[13:]))
		return ask{ID: binary.BigEndian.Uint64(b[1:]), Op: opDial, Network: "tcp", To: to, short: true}, nil
	}
	err = json.Unmarshal(b, &q)
	return q, err
}

// parseReply reads a message of the server in either form.
func parseReply(b []byte) (a reply, err error) {
	if len(b) == shortReply && b[0] == shortMark {
		return reply{ID: binary.BigEndian.Uint64(b[1:]), Conn: egress.ConnID(binary.BigEndian.Uint64(b[9:])), stream: true}, nil
	}
	err = json.Unmarshal(b, &a)
	return a, err
}

// runGateway never returns.
func runGateway() {
	runtime.LockOSThread() // no_new_privs is set on one thread, which then gives the filter to all
	if err := gateway(); err != nil {
		fmt.Fprintln(os.Stderr, "network:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func gateway() error {
	if len(os.Args) != 2 {
		return errors.New("this is started by podgate itself, not by hand")
	}
	var order gatewayOrder
	if err := json.Unmarshal([]byte(os.Args[1]), &order); err != nil {
		return err
	}
	if err := confineGateway(); err != nil {
		return err
	}
	conn, err := unixConn(gatewayAsks)
	if err != nil {
		return err
	}
	link, err := netstack.Link(order.Device.Kind, gatewayPackets, order.Device.MAC)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	g := &remoteGate{conn: conn, waiting: map[uint64]chan answered{}}
	go func() {
		defer cancel()
		g.listen()
	}()
	return netstack.Serve(ctx, link, g, netstack.Options{BytesPerSecond: order.Rate, Idle: gatewayIdle, Alive: func() { _ = g.tell(ask{Op: opAlive}) }}) // the server is gone when this fails
}

// confineGateway gives up everything but the descriptors. It was started
// without capabilities, in namespaces of its own.
func confineGateway() error {
	program, err := seccomp.Sealed(runtime.GOARCH)
	if err != nil {
		return err
	}
	var faults []error
	for _, l := range []rlimit{{unix.RLIMIT_CORE, 0}, {unix.RLIMIT_NOFILE, gatewayFiles}, {unix.RLIMIT_DATA, gatewayData}} {
		faults = append(faults, setRlimit(l))
	}
	return errors.Join(append(faults,
		unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0),
		unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0),
		unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
		program.InstallAll(),
	)...)
}

// remoteGate asks the server.
type remoteGate struct {
	conn *net.UnixConn

	mu      sync.Mutex
	last    uint64
	waiting map[uint64]chan answered
	over    bool
}

type answered struct {
	reply reply
	conn  net.Conn // of a dial
}

var errGone = errors.New("the server is gone")

// listen hands answers to who waits for them until the server hangs up.
func (g *remoteGate) listen() {
	b, oob := make([]byte, maxMessage), make([]byte, unix.CmsgSpace(4))
	for {
		n, oobn, _, _, err := g.conn.ReadMsgUnix(b, oob)
		if err != nil || n == 0 {
			break
		}
		a := answered{}
		a.reply, err = parseReply(b[:n])
		if oobn > 0 {
			a.conn = givenConn(oob[:oobn], a.reply.stream)
		}
		if err != nil || !g.deliver(a) {
			if a.conn != nil {
				a.conn.Close()
			}
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.over = true
	for id, w := range g.waiting {
		close(w)
		delete(g.waiting, id)
	}
}

func givenConn(oob []byte, stream bool) net.Conn {
	fd, err := oneRight(oob)
	if err != nil {
		return nil
	}
	if stream {
		return egress.NewStream(fd)
	}
	f := os.NewFile(uintptr(fd), "connection")
	defer f.Close()
	conn, err := net.FileConn(f)
	if err != nil {
		return nil
	}
	return conn
}

func (g *remoteGate) deliver(a answered) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	w := g.waiting[a.reply.ID]
	delete(g.waiting, a.reply.ID)
	if w != nil {
		w <- a // has room for it
	}
	return w != nil
}

// ask sends a question and waits for the answer.
func (g *remoteGate) ask(ctx context.Context, q ask) (answered, error) {
	w := make(chan answered, 1)
	g.mu.Lock()
	if g.over {
		g.mu.Unlock()
		return answered{}, errGone
	}
	g.last++
	q.ID = g.last
	g.waiting[q.ID] = w
	g.mu.Unlock()
	tell := g.tell
	if q.Op == opDial && q.Network == "tcp" && q.To.Addr().Is4() {
		tell = g.tellShort
	}
	if err := tell(q); err != nil {
		return answered{}, err
	}
	select {
	case a, ok := <-w:
		if !ok {
			return a, errGone
		}
		if a.reply.Fault != "" {
			return a, errors.New(a.reply.Fault)
		}
		return a, nil
	case <-ctx.Done():
		return answered{}, ctx.Err() // and the process ends with it
	}
}

func (g *remoteGate) tell(q ask) error {
	b, err := json.Marshal(q)
	if err != nil {
		return err
	}
	_, err = g.conn.Write(b)
	return err
}

func (g *remoteGate) tellShort(q ask) error {
	_, err := g.conn.Write(appendShortAsk(make([]byte, 0, shortAsk), q.ID, q.To))
	return err
}

// Ask implements netstack.Gate.
func (g *remoteGate) Ask(ctx context.Context, name string, kind egress.Kind) egress.Answer {
	a, err := g.ask(ctx, ask{Op: opAsk, Name: name, Kind: kind})
	if err != nil || a.reply.Answer == nil {
		return egress.Answer{Code: egress.CodeFailed}
	}
	return *a.reply.Answer
}

// Check implements netstack.Gate.
func (g *remoteGate) Check(network string, to netip.AddrPort) error {
	_, err := g.ask(context.Background(), ask{Op: opCheck, Network: network, To: to})
	return err
}

// Dial implements netstack.Gate.
func (g *remoteGate) Dial(ctx context.Context, network string, to netip.AddrPort) (net.Conn, egress.ConnID, error) {
	a, err := g.ask(ctx, ask{Op: opDial, Network: network, To: to})
	if err != nil {
		return nil, 0, err
	}
	if a.conn == nil {
		g.Closed(a.reply.Conn)
		return nil, 0, errors.New("the connection could not be taken over")
	}
	return a.conn, a.reply.Conn, nil
}

// Full implements netstack.Gate.
func (g *remoteGate) Full(network string, to netip.AddrPort, l egress.Limit) {
	_ = g.tell(ask{Op: opFull, Network: network, To: to, Limit: l}) // the server is gone when this fails
}

// Moved implements netstack.Gate.
func (g *remoteGate) Moved(id egress.ConnID, sent, received int64) {
	_ = g.tell(ask{Op: opMoved, Conn: id, Sent: sent, Received: received}) // the server is gone when this fails
}

// Closed implements netstack.Gate.
func (g *remoteGate) Closed(id egress.ConnID) {
	_ = g.tell(ask{Op: opClosed, Conn: id}) // the server is gone when this fails
}
