package netstack

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/link/pipe"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"

	"podgate/pods/egress"
)

// resolver knows names and nothing else.
type resolver map[string]string

func (r resolver) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	if a, ok := r[strings.TrimSuffix(host, ".")]; ok {
		return []netip.Addr{netip.MustParseAddr(a)}, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

func (r resolver) LookupTXT(context.Context, string) ([]string, error) {
	return []string{strings.Repeat("x", 600), "short"}, nil
}

func (r resolver) LookupMX(context.Context, string) ([]*net.MX, error) {
	return []*net.MX{{Host: "mx.example.com.", Pref: 10}}, nil
}

func (r resolver) LookupSRV(context.Context, string, string, string) (string, []*net.SRV, error) {
	return "", []*net.SRV{{Target: "s.example.com.", Port: 5, Priority: 1, Weight: 2}}, nil
}

// pod is the pod's side of a network whose outside is listeners of this
// process: whatever public address is dialled leads to them.
type pod struct {
	*stack.Stack
	gate *egress.Gate
	over chan struct{} // closed when the other side is
}

// newPod connects 93.184.216.34, which is api.example.com, to echo servers.
func newPod(t *testing.T, policy egress.Policy) pod {
	t.Helper()
	return newPodWith(t, policy, Options{})
}

func newPodWith(t *testing.T, policy egress.Policy, o Options) pod {
	t.Helper()
	tcpEcho, udpEcho := echo(t)
	gate := egress.NewGate(egress.Config{
		Resolver: resolver{"api.example.com": "93.184.216.34", "inner.example.com": "10.0.0.7", "down.example.com": "93.184.216.99"},
		Own:      func() ([]netip.Prefix, error) { return nil, nil },
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			if !strings.HasPrefix(address, "93.184.216.34:") && !strings.HasPrefix(address, "8.8.8.8:") {
				return nil, errors.New("nobody is there")
			}
			if network == "udp" && strings.HasSuffix(address, ":9") {
				return (&net.Dialer{}).DialContext(ctx, network, nobody(t))
			}
			if network == "udp" {
				return (&net.Dialer{}).DialContext(ctx, network, udpEcho)
			}
			return (&net.Dialer{}).DialContext(ctx, network, tcpEcho)
		},
	}, policy)
	near, far := pipe.New("\x02\x00\x00\x00\x00\x01", "\x02\x00\x00\x00\x00\x02", 1500)
	ctx, cancel := context.WithCancel(t.Context())
	var served sync.WaitGroup
	over := make(chan struct{})
	served.Go(func() {
		defer close(over)
		if err := Serve(ctx, plain{far}, gate, o); err != nil {
			t.Error(err)
		}
	})
	s := stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol},
	})
	t.Cleanup(func() { cancel(); served.Wait(); s.Destroy() })
	for _, err := range []tcpip.Error{
		s.CreateNIC(nic, plain{near}),
		s.AddProtocolAddress(nic, tcpip.ProtocolAddress{Protocol: ipv4.ProtocolNumber, AddressWithPrefix: tcpip.AddressWithPrefix{Address: tcpip.AddrFrom4(egress.PodAddr.Addr().As4()), PrefixLen: egress.PodAddr.Bits()}}, stack.AddressProperties{}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	s.SetRouteTable([]tcpip.Route{{Destination: header.IPv4EmptySubnet, NIC: nic}})
	eventually(t, far.IsAttached) // a pipe has no queue, as a TUN has
	return pod{s, gate, over}
}

// plain is a link without addresses of its own, as a TUN is.
type plain struct{ *pipe.Endpoint }

func (plain) Capabilities() stack.LinkEndpointCapabilities { return stack.CapabilityRXChecksumOffload }
func (plain) ARPHardwareType() header.ARPHardwareType      { return header.ARPHardwareNone }

func echo(t *testing.T) (overTCP, overUDP string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	t.Cleanup(func() { l.Close(); p.Close(); all.Wait() })
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { defer c.Close(); _, _ = io.Copy(c, c); _, _ = io.WriteString(c, ".") })
		}
	})
	all.Go(func() {
		b := make([]byte, 64<<10)
		for {
			n, from, err := p.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = p.WriteTo(b[:n], from)
		}
	})
	return l.Addr().String(), p.LocalAddr().String()
}

// nobody is a port of this machine for datagrams on which nothing listens any more.
func nobody(t *testing.T) string {
	p, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Error(err)
		return "127.0.0.1:9"
	}
	defer p.Close()
	return p.LocalAddr().String()
}

func full(a netip.AddrPort) tcpip.FullAddress {
	return tcpip.FullAddress{NIC: nic, Addr: tcpip.AddrFrom4(a.Addr().As4()), Port: a.Port()}
}

func (p pod) dialTCP(t *testing.T, to netip.AddrPort) (*gonet.TCPConn, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	return gonet.DialContextTCP(ctx, p.Stack, full(to), ipv4.ProtocolNumber)
}

func (p pod) dialUDP(t *testing.T, to netip.AddrPort) *gonet.UDPConn {
	t.Helper()
	there := full(to)
	c, err := gonet.DialUDP(p.Stack, nil, &there, ipv4.ProtocolNumber)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(40 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

// ask sends one question to the pod's resolver.
func (p pod) ask(t *testing.T, name string, kind dnsmessage.Type, overTCP bool) dnsmessage.Message {
	t.Helper()
	q := dnsmessage.Message{Header: dnsmessage.Header{ID: 7, RecursionDesired: true}, Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name + "."), Type: kind, Class: dnsmessage.ClassINET}}}
	packed, err := q.Pack()
	if err != nil {
		t.Fatal(err)
	}
	answer := p.exchange(t, packed, overTCP)
	var m dnsmessage.Message
	if err := m.Unpack(answer); err != nil || m.ID != 7 || !m.Response || len(m.Questions) != 1 || m.Questions[0] != q.Questions[0] {
		t.Fatalf("%+v, %v", m, err)
	}
	return m
}

func (p pod) exchange(t *testing.T, packed []byte, overTCP bool) []byte {
	t.Helper()
	at := netip.AddrPortFrom(egress.ResolverAddr, dnsPort)
	b := make([]byte, 64<<10)
	if !overTCP {
		c := p.dialUDP(t, at)
		if _, err := c.Write(packed); err != nil {
			t.Fatal(err)
		}
		n, err := c.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return b[:n]
	}
	c, err := p.dialTCP(t, at)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(packed))), packed...)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, b[:2]); err != nil {
		t.Fatal(err)
	}
	n := binary.BigEndian.Uint16(b)
	if _, err := io.ReadFull(c, b[:n]); err != nil {
		t.Fatal(err)
	}
	return b[:n]
}

func (p pod) lookup(t *testing.T, name string) netip.Addr {
	t.Helper()
	m := p.ask(t, name, dnsmessage.TypeA, false)
	if m.RCode != dnsmessage.RCodeSuccess || len(m.Answers) != 1 {
		t.Fatalf("%s: %+v", name, m)
	}
	return netip.AddrFrom4(m.Answers[0].Body.(*dnsmessage.AResource).A)
}

var open = egress.Policy{Layers: []egress.Layer{{Who: egress.WhoRegion, Mode: egress.ModeInternet}}}

// A megabyte goes out by name and comes back, one direction ends before the
// other, and the ledger has counted it.
func TestTCP(t *testing.T) {
	t.Parallel()
	p := newPod(t, open)
	a := p.lookup(t, "api.example.com")
	c, err := p.dialTCP(t, netip.AddrPortFrom(a, 443))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	go func() {
		_, _ = c.Write(sent)
		_ = c.CloseWrite()
	}()
	got, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(got, append(sent, '.')) {
		t.Fatalf("%d of %d bytes, %v", len(got), len(sent), err)
	}
	c.Close()
	eventually(t, func() bool {
		l := p.gate.Ledger()
		return len(l) == 1 && l[0].Target == "api.example.com" && l[0].Sent == int64(len(sent)) && l[0].Received == int64(len(got)) && l[0].Open == 0
	})
	if _, err := p.dialTCP(t, netip.MustParseAddrPort("8.8.8.8:853")); err != nil {
		t.Errorf("a raw address: %v", err)
	}
}

func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(40 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it did not happen")
		}
	}
}

// A network that nothing is open in ends, and one with a silent connection does not.
func TestIdle(t *testing.T) {
	t.Parallel()
	p := newPodWith(t, open, Options{Idle: accounting})
	c, err := p.dialTCP(t, netip.MustParseAddrPort("8.8.8.8:443"))
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.over:
		t.Error("it ended with a connection")
	case <-time.After(3 * accounting):
	}
	c.Close()
	select {
	case <-p.over:
	case <-time.After(10 * accounting):
		t.Error("it goes on with nothing open")
	}
}

// A rate holds for both directions together, after a burst of one second.
func TestRate(t *testing.T) {
	t.Parallel()
	const perSecond = 1 << 20
	p := newPodWith(t, open, Options{BytesPerSecond: perSecond})
	c, err := p.dialTCP(t, netip.MustParseAddrPort("8.8.8.8:443"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	began := time.Now()
	go func() {
		_, _ = c.Write(make([]byte, perSecond))
		_ = c.CloseWrite()
	}()
	if got, err := io.ReadAll(c); err != nil || len(got) != perSecond+1 {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	if took := time.Since(began); took < 900*time.Millisecond { // two of one second's worth, of which the first is free
		t.Errorf("%d bytes there and back took %v", perSecond, took)
	}
	u := p.dialUDP(t, netip.MustParseAddrPort("8.8.8.8:4433"))
	for range 200 {
		if _, err := u.Write(make([]byte, 1400)); err != nil {
			t.Fatal(err)
		}
		if n, err := u.Read(make([]byte, 2000)); err != nil || n != 1400 {
			t.Fatalf("%d bytes, %v", n, err)
		}
	}
	if took, least := time.Since(began), time.Second+2*200*1400*time.Second/perSecond; took < least { // with the stream, all but the first second's worth
		t.Errorf("the stream and datagrams took %v, not %v", took, least)
	}
}

// What may not be reached, and what does not answer, is refused at once and
// never a time-out.
func TestRefused(t *testing.T) {
	t.Parallel()
	p := newPod(t, open)
	inner, down := p.lookup(t, "inner.example.com"), p.lookup(t, "down.example.com")
	for name, to := range map[string]netip.AddrPort{
		"a private address by name": netip.AddrPortFrom(inner, 80), "a private address": netip.MustParseAddrPort("192.168.1.1:80"), "metadata": netip.MustParseAddrPort("169.254.169.254:80"),
		"mail": netip.MustParseAddrPort("8.8.8.8:25"), "no name": netip.MustParseAddrPort("198.18.99.99:80"), "nobody": netip.AddrPortFrom(down, 80), "another port of the resolver": netip.AddrPortFrom(egress.ResolverAddr, 80),
	} {
		if _, err := p.dialTCP(t, to); err == nil || !strings.Contains(err.Error(), "refused") {
			t.Errorf("%s: %v", name, err)
		}
		c := p.dialUDP(t, to)
		for range 2 { // also the next one of the same socket
			refusedUDP(t, name, c)
		}
	}
}

// refusedUDP sends a datagram and waits for the word that it is refused. gonet does
// not wake who reads for it.
func refusedUDP(t *testing.T, name string, c *gonet.UDPConn) {
	t.Helper()
	if _, err := c.Write([]byte("x")); err != nil {
		t.Errorf("%s: %v", name, err)
	}
	end := time.Now().Add(20 * time.Second)
	for {
		if err := c.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		n, err := c.Read(make([]byte, 9))
		switch {
		case err == nil:
			t.Errorf("%s: an answer of %d bytes", name, n)
			return
		case strings.Contains(err.Error(), "refused"):
			return
		case time.Now().After(end):
			t.Fatalf("%s: nobody says that datagrams are refused: %v", name, err)
		}
	}
}

// What the other side says of a port that nothing listens on reaches the program, too.
func TestRefusedOutside(t *testing.T) {
	t.Parallel()
	p := newPod(t, open)
	c := p.dialUDP(t, netip.MustParseAddrPort("8.8.8.8:9"))
	refusedUDP(t, "a port of nobody", c)
}

func TestUDP(t *testing.T) {
	t.Parallel()
	p := newPod(t, open)
	a := p.lookup(t, "api.example.com")
	c := p.dialUDP(t, netip.AddrPortFrom(a, 4433))
	for _, sent := range []string{"one", "two", strings.Repeat("x", 1400)} {
		if _, err := c.Write([]byte(sent)); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 2000)
		if n, err := c.Read(b); err != nil || string(b[:n]) != sent {
			t.Fatalf("%q, %v", b[:n], err)
		}
	}
}

func TestResolver(t *testing.T) {
	t.Parallel()
	p := newPod(t, open)
	for _, overTCP := range []bool{false, true} {
		if m := p.ask(t, "absent.example.com", dnsmessage.TypeA, overTCP); m.RCode != dnsmessage.RCodeNameError || len(m.Answers) != 0 {
			t.Errorf("%+v", m)
		}
		if m := p.ask(t, "api.example.com", dnsmessage.TypeAAAA, overTCP); m.RCode != dnsmessage.RCodeSuccess || len(m.Answers) != 0 {
			t.Errorf("%+v", m)
		}
		if m := p.ask(t, "api.example.com", dnsmessage.TypeMX, overTCP); len(m.Answers) != 1 || m.Answers[0].Body.(*dnsmessage.MXResource).MX.String() != "mx.example.com." {
			t.Errorf("%+v", m)
		}
		if m := p.ask(t, "api.example.com", dnsmessage.TypeSRV, overTCP); len(m.Answers) != 1 || m.Answers[0].Body.(*dnsmessage.SRVResource).Port != 5 {
			t.Errorf("%+v", m)
		}
		m := p.ask(t, "api.example.com", dnsmessage.TypeTXT, overTCP)
		if overTCP {
			if len(m.Answers) != 2 || m.Truncated || len(m.Answers[0].Body.(*dnsmessage.TXTResource).TXT) != 3 {
				t.Errorf("%+v", m)
			}
		} else if !m.Truncated || len(m.Answers) != 0 {
			t.Errorf("a large answer over UDP: %+v", m)
		}
	}
	a := p.lookup(t, "api.example.com").As4()
	back := p.ask(t, netip.AddrFrom4([4]byte{a[3], a[2], a[1], a[0]}).String()+".in-addr.arpa", dnsmessage.TypePTR, false)
	if len(back.Answers) != 1 || back.Answers[0].Body.(*dnsmessage.PTRResource).PTR.String() != "api.example.com." {
		t.Errorf("%+v", back)
	}
}

func TestNoNetwork(t *testing.T) {
	t.Parallel()
	p := newPod(t, egress.Policy{Layers: []egress.Layer{{Who: egress.WhoTeam, Mode: egress.ModeNone}}})
	if m := p.ask(t, "api.example.com", dnsmessage.TypeA, false); m.RCode != dnsmessage.RCodeNameError {
		t.Errorf("%+v", m)
	}
	if _, err := p.dialTCP(t, netip.MustParseAddrPort("8.8.8.8:443")); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("%v", err)
	}
}

// A datagram that is no question gets an answer that says so, or none, and
// costs nobody else theirs.
func TestBadQuestions(t *testing.T) {
	t.Parallel()
	p := newPod(t, open)
	s := &server{ctx: t.Context(), gate: p.gate, asks: make(chan struct{}, 1)}
	for name, m := range map[string][]byte{"nothing": {}, "short": {1, 2, 3}, "an answer": append([]byte{0, 7, 0x80}, make([]byte, 9)...)} {
		if got := s.answer(m, true); got != nil {
			t.Errorf("%s: %v", name, got)
		}
	}
	for name, m := range map[string][]byte{
		"no question": append([]byte{0, 7, 1, 0}, make([]byte, 8)...), "another operation": append([]byte{0, 7, 0x28, 0}, make([]byte, 8)...),
		"cut off": {0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 9, 'a'}, "a loop": {0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xc0, 12, 0, 1, 0, 1},
	} {
		var h dnsmessage.Message
		if got := s.answer(m, true); h.Unpack(got) != nil || h.RCode != dnsmessage.RCodeFormatError || h.ID != 7 {
			t.Errorf("%s: %v %+v", name, got, h)
		}
	}
	p.lookup(t, "api.example.com")
}

func FuzzAnswer(f *testing.F) {
	f.Add([]byte{0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 'a', 0, 0, 1, 0, 1}, true)
	f.Add([]byte{0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1, 1, 'a', 0, 0, 16, 0, 1, 0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0}, true)
	gate := egress.NewGate(egress.Config{Resolver: resolver{"a": "93.184.216.34"}}, open)
	f.Fuzz(func(t *testing.T, message []byte, datagram bool) {
		s := &server{ctx: t.Context(), gate: gate, asks: make(chan struct{}, 1)}
		answer := s.answer(message, datagram)
		if answer == nil {
			return
		}
		var m dnsmessage.Message
		if err := m.Unpack(answer); err != nil || !m.Response || datagram && len(answer) > maxDatagram {
			t.Errorf("%x gives %x: %v", message, answer, err)
		}
	})
}

// Packets that no kernel would send change nothing for the next one.
func FuzzPackets(f *testing.F) {
	ip := func(protocol byte, rest ...byte) []byte {
		b := append([]byte{0x45, 0, 0, byte(20 + len(rest)), 0, 1, 0, 0, 64, protocol, 0, 0, 198, 18, 0, 2, 8, 8, 8, 8}, rest...)
		return b
	}
	syn := []byte{0, 80, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0}
	f.Add(ip(6, syn...), ip(17, 0, 80, 0, 53, 0, 9, 0, 0, 'x'))
	f.Add(ip(1, 8, 0, 0, 0, 0, 0, 0, 0), ip(6, 0, 80, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0xf0, 2, 0, 0, 0, 0, 0, 0))
	first, second := ip(17, 0, 80, 0, 53, 0, 99, 0, 0), ip(17, make([]byte, 16)...)
	first[6], second[6], second[7] = 0x20, 0, 1 // fragments that overlap
	f.Add(first, second)
	f.Add([]byte{}, []byte{0x46})
	f.Fuzz(func(t *testing.T, one, two []byte) {
		link := channel.New(64, 1500, "")
		ctx, cancel := context.WithCancel(t.Context())
		var served sync.WaitGroup
		gate := egress.NewGate(egress.Config{
			Resolver: resolver{}, Own: func() ([]netip.Prefix, error) { return nil, nil },
			Dial: func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("nobody is there") },
		}, open)
		served.Go(func() {
			if err := Serve(ctx, link, gate, Options{}); err != nil {
				t.Error(err)
			}
		})
		defer served.Wait()
		defer cancel()
		eventually(t, link.IsAttached)
		for _, p := range [][]byte{one, two, ip(17, 0, 99, 0, 53, 0, 8, 0, 0)} {
			packet := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(p)})
			link.InjectInbound(ipv4.ProtocolNumber, packet)
			packet.DecRef()
		}
	})
}
