package netstack

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"podgate/pods/egress"
)

// What a pod that makes its own packets tries with the stack that takes them. A
// pod has no right to raw sockets; this is for one that got it all the same.
func TestAttacksByPacket(t *testing.T) {
	t.Parallel()
	for name, attack := range map[string]func(*testing.T, *wire){
		"connections that are never completed":     attackSYNFlood,
		"datagrams from every port":                attackDatagramFlood,
		"fragments that overlap":                   attackFragments,
		"a source that is not the pod's":           attackSource,
		"packets that are cut off or lie":          attackLies,
		"a datagram for the resolver's other side": attackReflection,
		"questions without end":                    attackQuestions,
		"datagrams that are refused":               attackRefusals,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWire(t)
			attack(t, w)
			w.answers(t)
		})
	}
}

// wire is a stack whose packets the test makes.
type wire struct {
	link *channel.Endpoint
	gate *slowGate
}

// slowGate allows everything and connects to nothing until it is over, but for port 9,
// to which it says no. Nor does it answer questions for names below slow.
type slowGate struct {
	dials, asks atomic.Int64
	refuses     atomic.Bool
	full        sync.Map // by limit that was met
}

func (g *slowGate) Full(_ string, _ netip.AddrPort, l egress.Limit) { g.full.Store(l, true) }

// met waits until the gate hears of a limit.
func (g *slowGate) met(t *testing.T, l egress.Limit) {
	t.Helper()
	eventually(t, func() bool { _, ok := g.full.Load(l); return ok })
}

func (g *slowGate) Ask(ctx context.Context, name string, _ egress.Kind) egress.Answer {
	if strings.HasSuffix(name, "slow.") {
		g.asks.Add(1)
		<-ctx.Done()
	}
	return egress.Answer{Code: egress.CodeNotFound}
}

func (g *slowGate) Check(string, netip.AddrPort) error {
	if g.refuses.Load() {
		return errors.New("no")
	}
	return nil
}

func (*slowGate) Moved(egress.ConnID, int64, int64) {}
func (*slowGate) Closed(egress.ConnID)              {}
func (g *slowGate) Dial(ctx context.Context, _ string, to netip.AddrPort) (net.Conn, egress.ConnID, error) {
	g.dials.Add(1)
	if to.Port() == 9 {
		return nil, 0, errors.New("no")
	}
	<-ctx.Done()
	return nil, 0, errors.New("over")
}

func newWire(t *testing.T) *wire {
	t.Helper()
	w := &wire{channel.New(1<<14, 1500, ""), &slowGate{}}
	w.link.LinkEPCapabilities = stack.CapabilityRXChecksumOffload // as the real one: checksums are not looked at
	ctx, cancel := context.WithCancel(t.Context())
	var served sync.WaitGroup
	served.Go(func() {
		if err := Serve(ctx, w.link, w.gate, Options{}); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); served.Wait(); w.link.Drain() })
	eventually(t, w.link.IsAttached)
	return w
}

func (w *wire) send(packet []byte) {
	p := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(packet)})
	w.link.InjectInbound(ipv4.ProtocolNumber, p)
	p.DecRef()
}

var (
	podIP  = egress.PodAddr.Addr()
	public = netip.MustParseAddr("8.8.8.8")
)

// packet is an IPv4 packet. fragment is its offset in units of 8 bytes, with the
// flag for more.
func packet(protocol byte, from, to netip.Addr, fragment uint16, payload []byte) []byte {
	b := append([]byte{0x45, 0, 0, 0, 0, 7, 0, 0, 64, protocol, 0, 0}, append(from.AsSlice(), to.AsSlice()...)...)
	binary.BigEndian.PutUint16(b[2:], uint16(20+len(payload)))
	binary.BigEndian.PutUint16(b[6:], fragment)
	binary.BigEndian.PutUint16(b[10:], ^checksum.Checksum(b, 0))
	return append(b, payload...)
}

const moreFragments = 0x2000

// identified gives a packet the number that its fragments share.
func identified(number uint16, b []byte) []byte {
	binary.BigEndian.PutUint16(b[4:], number)
	b[10], b[11] = 0, 0
	binary.BigEndian.PutUint16(b[10:], ^checksum.Checksum(b[:20], 0))
	return b
}

func ports(from, to uint16, rest ...byte) []byte {
	return append(binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, from), to), rest...)
}

// datagram is UDP without a checksum, which IPv4 allows.
func datagram(from, to uint16, payload string) []byte {
	b := ports(from, to, 0, 0, 0, 0)
	binary.BigEndian.PutUint16(b[4:], uint16(8+len(payload)))
	return append(b, payload...)
}

func syn(from, to uint16) []byte {
	return ports(from, to, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0)
}

// answers reports whether the pod's resolver still does.
func (w *wire) answers(t *testing.T) {
	t.Helper()
	w.link.Drain()
	w.ask(9999, "a")
	w.answered(t, 9999)
}

// ask sends a question for a name of one label from a port of the pod's.
func (w *wire) ask(from uint16, name string) {
	question := "\x00\x07\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" + string(rune(len(name))) + name + "\x00\x00\x01\x00\x01"
	w.send(packet(17, podIP, egress.ResolverAddr, 0, datagram(from, dnsPort, question)))
}

// answered waits for the answer to a port and returns its code.
func (w *wire) answered(t *testing.T, port uint16) (code byte) {
	t.Helper()
	eventually(t, func() bool {
		p := w.link.Read()
		if p == nil {
			return false
		}
		defer p.DecRef()
		b := p.ToView().AsSlice()
		ok := len(b) > 31 && b[9] == 17 && binary.BigEndian.Uint16(b[22:]) == port && b[29] == 7
		if ok {
			code = b[31] & 0xf
		}
		return ok
	})
	return code
}

// Questions that nobody answers are so many at once; one more is refused at once, and
// costs no goroutine that waits.
func attackQuestions(t *testing.T, w *wire) {
	for port := range uint16(maxQuestions) {
		w.ask(1024+port, "slow")
	}
	eventually(t, func() bool { return w.gate.asks.Load() == maxQuestions })
	w.ask(9998, "slow")
	if code := w.answered(t, 9998); code != byte(egress.CodeRefused) || w.gate.asks.Load() != maxQuestions {
		t.Errorf("code %d, %d are asked", code, w.gate.asks.Load())
	}
	w.gate.met(t, egress.Questions)
}

// Streams to the resolver take the same places as sockets do.
func TestStreamsToTheResolver(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	for port := range uint16(maxUDPFlows) {
		w.ask(1024+port, "a")
		w.answered(t, 1024+port)
	}
	w.send(packet(6, podIP, egress.ResolverAddr, 0, syn(60_001, dnsPort)))
	w.reset(t, 60_001)
	w.gate.met(t, egress.Flows)
}

// reset waits for the answer that a connection from that port is refused.
func (w *wire) reset(t *testing.T, port uint16) {
	t.Helper()
	eventually(t, func() bool {
		p := w.link.Read()
		if p == nil {
			return false
		}
		defer p.DecRef()
		b := p.ToView().AsSlice()
		return len(b) >= 40 && b[9] == 6 && binary.BigEndian.Uint16(b[22:]) == port && b[33]&4 != 0
	})
}

func attackSYNFlood(t *testing.T, w *wire) {
	for port := range 20_000 {
		w.send(packet(6, podIP, public, 0, syn(uint16(1024+port), 443)))
	}
	eventually(t, func() bool { return w.gate.dials.Load() >= 128 })
	w.answers(t)
	if n := w.gate.dials.Load(); n != 128 {
		t.Errorf("%d connections are being made", n)
	}
	// One more is told at once, as long as they come no faster than that can be done.
	w.send(packet(6, podIP, public, 0, syn(60_001, 443)))
	w.reset(t, 60_001)
	w.gate.met(t, egress.HalfOpen)
}

func attackDatagramFlood(t *testing.T, w *wire) {
	for port := range 20_000 {
		w.send(packet(17, podIP, public, 0, datagram(uint16(1024+port), 443, "x")))
	}
	eventually(t, func() bool { return w.gate.dials.Load() >= 512 })
	w.answers(t)
	if n := w.gate.dials.Load(); n != 512 {
		t.Errorf("%d flows", n)
	}
	w.gate.met(t, egress.Flows)
}

// What overlaps is dropped as a whole (RFC 5722 section 3, which stacks apply to
// IPv4 as well), so that nobody reads it another way than somebody before.
func attackFragments(t *testing.T, w *wire) {
	whole := datagram(1024, 443, "aaaaaaaaaaaaaaaabbbbbbbb")
	w.send(packet(17, podIP, public, moreFragments, whole[:24]))
	w.send(packet(17, podIP, public, 2, whole[16:])) // from byte 16 on
	for i := range 5000 {                            // and many that are never whole
		w.send(identified(uint16(100+i), packet(17, podIP, public, moreFragments, whole[:24])))
	}
	w.answers(t) // after all of them
	if n := w.gate.dials.Load(); n != 0 {
		t.Errorf("%d datagrams came of fragments that overlap", n)
	}
	for i, part := range [][]byte{whole[:16], whole[16:]} { // those that fit are one
		w.send(identified(99, packet(17, podIP, public, []uint16{moreFragments, 2}[i], part)))
	}
	eventually(t, func() bool { return w.gate.dials.Load() == 1 })
}

// Answers go to whoever sent, which is the pod however it calls itself: nothing
// but the pod is at the other end.
func attackSource(t *testing.T, w *wire) {
	for _, from := range []string{"127.0.0.1", "0.0.0.0", "255.255.255.255", "224.0.0.1"} {
		w.send(packet(17, netip.MustParseAddr(from), public, 0, datagram(1024, 443, "x")))
		w.send(packet(6, netip.MustParseAddr(from), public, 0, syn(1024, 443)))
	}
}

func attackLies(t *testing.T, w *wire) {
	good := packet(6, podIP, public, 0, syn(1024, 443))
	for n := range len(good) {
		w.send(good[:n])
	}
	for i := range 40 {
		for _, value := range []byte{0, 0x0f, 0x7f, 0xff} {
			bad := append([]byte{}, good...)
			bad[i%len(bad)] = value
			w.send(bad)
		}
	}
}

func attackReflection(t *testing.T, w *wire) {
	for range 1000 {
		w.send(packet(17, egress.ResolverAddr, podIP, 0, datagram(dnsPort, dnsPort, "x")))
		w.send(packet(17, egress.ResolverAddr, egress.ResolverAddr, 0, datagram(dnsPort, dnsPort, "x")))
		w.send(packet(1, podIP, public, 0, header.ICMPv4{8, 0, 0, 0, 0, 0, 0, 0}))
	}
}

// A refusal is an answer, and a flood of what is refused, at once or after a look
// outside, is no flood of answers.
func attackRefusals(t *testing.T, w *wire) {
	const many = 3000
	began := time.Now()
	w.gate.refuses.Store(true)
	for i := range many {
		w.send(packet(17, podIP, public, 0, datagram(uint16(1024+i), 7, "x")))
	}
	w.gate.refuses.Store(false)
	for i := range maxUDPFlows {
		w.send(packet(17, podIP, public, 0, datagram(uint16(10_000+i), 9, "x")))
	}
	eventually(t, func() bool { return w.gate.dials.Load() == maxUDPFlows })
	answers := 0
	for p := w.link.Read(); p != nil; p = w.link.Read() {
		if b := p.ToView().AsSlice(); b[9] == 1 && b[20] == 3 && b[21] == 3 {
			answers++
		}
		p.DecRef()
	}
	if most := refusalsPerSec * (2 + int(time.Since(began)/time.Second)); answers == 0 || answers > most {
		t.Errorf("%d refusals of %d, at most %d are said", answers, many+maxUDPFlows, most)
	}
}
