// Package netstack is the other end of a pod's network: it takes the packets of
// one pod, is every address that the pod can think of, and asks its gate for
// each connection. TCP and UDP end here and go on as plain bytes, so nothing
// that a pod writes into a header leaves this machine.
//
// It works on packets from hostile code, and so runs in a process of its own
// for each pod.
package netstack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/time/rate"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/header/parse"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"

	"podgate/pods/egress"
)

// Gate is what decides and connects. [*egress.Gate] is one.
type Gate interface {
	Ask(ctx context.Context, name string, kind egress.Kind) egress.Answer
	Check(network string, to netip.AddrPort) error
	Dial(ctx context.Context, network string, to netip.AddrPort) (net.Conn, egress.ConnID, error)
	Full(network string, to netip.AddrPort, l egress.Limit)
	Moved(id egress.ConnID, sent, received int64)
	Closed(id egress.ConnID)
}

const (
	nic = 1

	// A pod's half-open connections; more are refused. Of what comes faster than that
	// can be said all is dropped, and the pod's kernel tries again.
	maxHalfOpen = 128
	maxBegun    = 4 * maxHalfOpen
	// What a connection may hold in each direction. A few have room for many
	// packets, which is what makes them fast; of 512 all have enough for two, and
	// together they fit.
	bufferLeast = 128 << 10
	bufferMost  = 1 << 20
	bufferShare = 32 << 20

	// Datagrams that are refused are answered so many a second, so that a flood of
	// them is no flood of answers.
	refusalsPerSec = 100

	udpIdle      = 60 * time.Second
	maxUDPFlows  = 512
	maxQuestions = 64 // answered at once
	dnsPort      = 53
	accounting   = 2 * time.Second // between two entries of what was carried
)

// server is one pod's network.
type server struct {
	ctx   context.Context
	gate  Gate
	stack *stack.Stack
	flows chan struct{} // a place each for UDP
	heard chan struct{} // and for the sockets that ask the resolver, which no flood elsewhere takes
	asks  chan struct{} // a place each for questions
	begun chan struct{} // a place each for half-open connections
	full  *rate.Limiter // of what is said about places that are taken
	rate  *rate.Limiter // of bytes, nil for none

	streams atomic.Int64 // that are open or begin

	mu    sync.Mutex
	moved map[*carried]struct{}
}

// Options of one network.
type Options struct {
	// BytesPerSecond bounds what connections carry in both directions together,
	// after a burst of a second; 0 does not.
	BytesPerSecond int64
	// Idle is how long nothing may be open before Serve returns; 0 is for ever.
	Idle time.Duration
	// Alive, when there is one, is called every few seconds as long as packets can be
	// taken.
	Alive func()
}

// Serve answers the pod at the other end of link until ctx ends, and all its
// connections are closed then, or until it was idle.
func Serve(ctx context.Context, link stack.LinkEndpoint, gate Gate, o Options) error {
	s := &server{ctx: ctx, gate: gate, flows: make(chan struct{}, maxUDPFlows), heard: make(chan struct{}, maxUDPFlows), asks: make(chan struct{}, maxQuestions), begun: make(chan struct{}, maxHalfOpen), full: rate.NewLimiter(1, 3), moved: map[*carried]struct{}{}}
	if o.BytesPerSecond > 0 {
		s.rate = rate.NewLimiter(rate.Limit(o.BytesPerSecond), int(max(o.BytesPerSecond, manyBytes)))
	}
	s.stack = stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol},
	})
	defer s.stack.Destroy()
	if err := s.configure(link); err != nil {
		return err
	}
	tick := time.NewTicker(accounting)
	defer tick.Stop()
	for idle := time.Duration(0); o.Idle == 0 || idle < o.Idle; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			s.account()
			s.stack.CheckNIC(nic) // waits for whoever holds the stack
			if o.Alive != nil {
				o.Alive()
			}
		}
		idle += accounting
		if s.streams.Load() > 0 || len(s.flows) > 0 || len(s.heard) > 0 {
			idle = 0
		}
	}
	return nil
}

func (s *server) configure(link stack.LinkEndpoint) error {
	sack := tcpip.TCPSACKEnabled(true)
	waiting := &late{LinkEndpoint: link}
	for _, err := range []tcpip.Error{
		s.stack.SetTransportProtocolOption(tcp.ProtocolNumber, &sack),
		s.stack.SetTransportProtocolOption(tcp.ProtocolNumber, &tcpip.TCPReceiveBufferSizeRangeOption{Min: 4 << 10, Default: bufferLeast, Max: bufferMost}),
		s.stack.SetTransportProtocolOption(tcp.ProtocolNumber, &tcpip.TCPSendBufferSizeRangeOption{Min: 4 << 10, Default: bufferLeast, Max: bufferMost}),
		s.stack.CreateNIC(nic, waiting),
		s.stack.SetPromiscuousMode(nic, true), // it is every address
		s.stack.SetSpoofing(nic, true),        // and answers as that
	} {
		if err != nil {
			return fmt.Errorf("network of a pod: %s", err)
		}
	}
	s.stack.SetRouteTable([]tcpip.Route{{Destination: header.IPv4EmptySubnet, NIC: nic}})
	s.stack.SetTransportProtocolHandler(tcp.ProtocolNumber, tcp.NewForwarder(s.stack, bufferLeast, maxBegun, s.acceptTCP).HandlePacket)
	s.stack.SetTransportProtocolHandler(udp.ProtocolNumber, s.acceptUDP)
	s.stack.SetICMPLimit(refusalsPerSec)
	s.stack.SetICMPBurst(refusalsPerSec)
	waiting.begin()
	return nil
}

// late takes no packet before the stack is ready for it: the first one is there
// already, and it would be lost.
type late struct {
	stack.LinkEndpoint
	to stack.NetworkDispatcher
}

// Attach implements stack.LinkEndpoint. The stack calls it with nil at the end.
func (l *late) Attach(to stack.NetworkDispatcher) {
	if l.to = to; to == nil {
		l.LinkEndpoint.Attach(nil)
	}
}

func (l *late) begin() { l.LinkEndpoint.Attach(l.to) }

// destination is where the pod wants to go.
func destination(id stack.TransportEndpointID) netip.AddrPort {
	a, _ := netip.AddrFromSlice(id.LocalAddress.AsSlice())
	return netip.AddrPortFrom(a, id.LocalPort)
}

// acceptTCP runs in a goroutine of its own. The pod's connection is accepted
// once the one outside exists, so that a program in the pod learns what the
// other side said.
func (s *server) acceptTCP(r *tcp.ForwarderRequest) {
	deep(0)
	s.streams.Add(1)
	defer s.streams.Add(-1)
	to := destination(r.ID())
	if to.Addr() == egress.ResolverAddr && to.Port() == dnsPort {
		if !s.place(s.heard, "tcp", to, egress.Flows) {
			r.Complete(true)
			return
		}
		defer func() { <-s.heard }()
		if conn := s.accept(r); conn != nil {
			s.answerTCP(conn)
		}
		return
	}
	if !s.place(s.begun, "tcp", to, egress.HalfOpen) {
		r.Complete(true)
		return
	}
	out, id, err := s.gate.Dial(s.ctx, "tcp", to)
	<-s.begun
	if err != nil {
		r.Complete(true)
		return
	}
	defer s.gate.Closed(id)
	defer out.Close()
	if in := s.accept(r); in != nil {
		s.splice(id, in, out)
	}
}

// deep has a goroutine's stack grow once to what a connection takes. It would be copied
// four times on the way there, the last times with much on it.
//
//go:noinline
func deep(i int) byte {
	var b [20 << 10]byte
	return b[i]
}

// place takes one of the places, or has the gate note that there was none.
func (s *server) place(of chan struct{}, network string, to netip.AddrPort, l egress.Limit) bool {
	select {
	case of <- struct{}{}:
		return true
	default:
	}
	if s.full.Allow() {
		s.gate.Full(network, to, l)
	}
	return false
}

func (s *server) accept(r *tcp.ForwarderRequest) *gonet.TCPConn {
	var wq waiter.Queue
	ep, err := r.CreateEndpoint(&wq)
	if err != nil {
		r.Complete(true)
		return nil
	}
	r.Complete(false)
	options, size := ep.SocketOptions(), s.buffer()
	options.SetKeepAlive(true)
	options.SetSendBufferSize(size, true)
	options.SetReceiveBufferSize(size, true)
	return gonet.NewTCPConn(&wq, ep)
}

// buffer is how much one more connection may hold in each direction.
func (s *server) buffer() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int64(max(bufferLeast, min(bufferMost, bufferShare/(len(s.moved)+1))))
}

// acceptUDP takes the first datagram of a flow. It returns false, upon which the
// pod's program is told that nothing listens there, when the pod may not send to
// that address.
func (s *server) acceptUDP(id stack.TransportEndpointID, first *stack.PacketBuffer) bool {
	to := destination(id)
	resolver := to.Addr() == egress.ResolverAddr && to.Port() == dnsPort
	if !resolver && s.gate.Check("udp", to) != nil {
		return false
	}
	places := s.flows
	if resolver {
		places = s.heard
	}
	if !s.place(places, "udp", to, egress.Flows) {
		return false
	}
	var wq waiter.Queue
	ep, err := udp.NewForwarderRequest(s.stack, id, first.Clone()).CreateEndpoint(&wq)
	if err != nil {
		<-places
		return false
	}
	refused := headOf(first)
	go func() {
		defer func() { <-places }()
		defer refused.DecRef()
		in := gonet.NewUDPConn(&wq, ep)
		defer in.Close()
		if resolver {
			s.answerUDP(in)
			return
		}
		if s.relay(in, to) != nil {
			in.Close() // so that the program's next try is a flow of its own
			s.refuse(refused)
		}
	}()
	return true
}

// headOf is as much of a datagram as an answer that it is refused has of it.
func headOf(datagram *stack.PacketBuffer) *stack.PacketBuffer {
	head := slices.Concat(datagram.NetworkHeader().Slice(), datagram.TransportHeader().Slice())
	p := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(head)})
	p.NICID = nic
	parse.IPv4(p) // which they are, or the stack had not got so far
	parse.UDP(p)
	return p
}

// refuse tells the program that sent a datagram that nothing listens where it went to,
// as the stack does for what is refused at once.
func (s *server) refuse(datagram *stack.PacketBuffer) {
	if ip, ok := s.stack.NetworkProtocolInstance(ipv4.ProtocolNumber).(stack.RejectIPv4WithHandler); ok {
		_ = ip.SendRejectionError(datagram, stack.RejectIPv4WithICMPPortUnreachable, true) // lost, as any packet may be
	}
}

// relay carries datagrams between the pod and one address until both are silent
// for a while. The error says that the datagrams were refused, by the gate or by the
// other side.
func (s *server) relay(in *gonet.UDPConn, to netip.AddrPort) error {
	out, id, err := s.gate.Dial(s.ctx, "udp", to)
	if err != nil {
		return err
	}
	defer s.gate.Closed(id)
	defer out.Close()
	c := s.begin(id)
	defer s.end(c)
	defer context.AfterFunc(s.ctx, func() { in.Close(); out.Close() })()
	alive := func() {
		until := time.Now().Add(udpIdle)
		_ = errors.Join(in.SetReadDeadline(until), out.SetReadDeadline(until)) // a closed one fails its read, too
	}
	alive()
	var both sync.WaitGroup
	var there, back error
	both.Go(func() { there = s.datagrams(out, in, &c.sent, alive); out.Close(); in.Close() })
	both.Go(func() { back = s.datagrams(in, out, &c.received, alive); out.Close(); in.Close() })
	both.Wait()
	if errors.Is(there, syscall.ECONNREFUSED) || errors.Is(back, syscall.ECONNREFUSED) {
		return syscall.ECONNREFUSED
	}
	return nil
}
