package netstack

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"podgate/pods/egress"
)

const (
	answerTTL   = 60   // seconds; the address stands for the name much longer
	maxDatagram = 1232 // of an answer over UDP, with EDNS (dnsflagday.net 2020)
	plainUDP    = 512  // and without, RFC 1035 section 4.2.1
	dnsIdle     = 10 * time.Second
)

// answerUDP answers the questions of one of the pod's sockets.
func (s *server) answerUDP(in net.Conn) {
	b := make([]byte, 4<<10)
	for {
		_ = in.SetReadDeadline(time.Now().Add(dnsIdle)) // a closed one fails its read, too
		n, err := in.Read(b)
		if err != nil {
			return
		}
		if answer := s.answer(b[:n], true); answer != nil {
			if _, err := in.Write(answer); err != nil {
				return
			}
		}
	}
}

// answerTCP does so over a stream (RFC 7766).
func (s *server) answerTCP(in net.Conn) {
	defer in.Close()
	b := make([]byte, 4<<10)
	for {
		_ = in.SetDeadline(time.Now().Add(dnsIdle)) // a closed one fails its read, too
		var length [2]byte
		if _, err := io.ReadFull(in, length[:]); err != nil {
			return
		}
		n := int(binary.BigEndian.Uint16(length[:]))
		if n > len(b) {
			return
		}
		if _, err := io.ReadFull(in, b[:n]); err != nil {
			return
		}
		answer := s.answer(b[:n], false)
		if answer == nil {
			return
		}
		if _, err := in.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...)); err != nil {
			return
		}
	}
}

// answer is the answer to a message, nil to what is no question.
func (s *server) answer(message []byte, datagram bool) []byte {
	q, err := parseQuestion(message)
	if err != nil {
		if q.id == nil {
			return nil
		}
		return q.build(egress.Answer{Code: egress.CodeFormat}, datagram)
	}
	network := "tcp"
	if datagram {
		network = "udp"
	}
	if !s.place(s.asks, network, netip.AddrPortFrom(egress.ResolverAddr, dnsPort), egress.Questions) {
		return q.build(egress.Answer{Code: egress.CodeRefused}, datagram)
	}
	defer func() { <-s.asks }()
	a := egress.Answer{}
	if q.question.Class == dnsmessage.ClassINET {
		a = s.gate.Ask(s.ctx, q.question.Name.String(), egress.Kind(q.question.Type))
	}
	return q.build(a, datagram)
}

// question is the one question of a message.
type question struct {
	id       *uint16 // nil while nothing of the message could be read
	recurse  bool
	question dnsmessage.Question
	asked    bool // question could be read
	edns     bool
}

var errQuestion = errors.New("not one question")

func parseQuestion(message []byte) (q question, err error) {
	var p dnsmessage.Parser
	h, err := p.Start(message)
	if err != nil || h.Response {
		return q, errQuestion
	}
	q.id, q.recurse = &h.ID, h.RecursionDesired
	if h.OpCode != 0 {
		return q, errQuestion
	}
	all, err := p.AllQuestions()
	if err != nil || len(all) != 1 {
		return q, errQuestion
	}
	q.question, q.asked = all[0], true
	if p.SkipAllAnswers() != nil || p.SkipAllAuthorities() != nil {
		return q, errQuestion
	}
	for {
		h, err := p.AdditionalHeader()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			return q, nil
		}
		if err != nil || p.SkipAdditional() != nil {
			return q, errQuestion
		}
		q.edns = q.edns || h.Type == dnsmessage.TypeOPT
	}
}

// build makes the message of an answer. One that does not fit says so, upon
// which the pod asks again over TCP.
func (q question) build(a egress.Answer, datagram bool) []byte {
	h := dnsmessage.Header{ID: *q.id, Response: true, RecursionDesired: q.recurse, RecursionAvailable: true, RCode: dnsmessage.RCode(a.Code)}
	message := q.message(h, a)
	most := 0xffff
	if datagram {
		if most = plainUDP; q.edns {
			most = maxDatagram
		}
	}
	if len(message) > most || message == nil {
		h.Truncated = message != nil
		if message == nil {
			h.RCode = dnsmessage.RCodeServerFailure
		}
		message = q.message(h, egress.Answer{})
	}
	return message
}

// message is nil when a record cannot be written.
func (q question) message(h dnsmessage.Header, a egress.Answer) []byte {
	b := dnsmessage.NewBuilder(nil, h)
	b.EnableCompression()
	err := b.StartQuestions()
	if q.asked {
		err = errors.Join(err, b.Question(q.question))
	}
	err = errors.Join(err, b.StartAnswers())
	if q.asked {
		err = errors.Join(err, q.records(&b, a))
	}
	if q.edns {
		var opt dnsmessage.ResourceHeader
		err = errors.Join(err, b.StartAdditionals(), opt.SetEDNS0(maxDatagram, dnsmessage.RCodeSuccess, false), b.OPTResource(opt, dnsmessage.OPTResource{}))
	}
	message, last := b.Finish()
	if err != nil || last != nil {
		return nil
	}
	return message
}

func (q question) records(b *dnsmessage.Builder, a egress.Answer) error {
	h := dnsmessage.ResourceHeader{Name: q.question.Name, Class: dnsmessage.ClassINET, TTL: answerTTL}
	var all []error
	if a.Addr.Is4() {
		all = append(all, b.AResource(h, dnsmessage.AResource{A: a.Addr.As4()}))
	}
	if a.Host != "" {
		name, err := dotted(a.Host)
		all = append(all, err, b.PTRResource(h, dnsmessage.PTRResource{PTR: name}))
	}
	for _, t := range a.Texts {
		all = append(all, b.TXTResource(h, dnsmessage.TXTResource{TXT: pieces(t)}))
	}
	for _, m := range a.Mails {
		name, err := dotted(m.Host)
		all = append(all, err, b.MXResource(h, dnsmessage.MXResource{Pref: m.Priority, MX: name}))
	}
	for _, f := range a.Found {
		name, err := dotted(f.Host)
		all = append(all, err, b.SRVResource(h, dnsmessage.SRVResource{Priority: f.Priority, Weight: f.Weight, Port: f.Port, Target: name}))
	}
	return errors.Join(all...)
}

func dotted(host string) (dnsmessage.Name, error) {
	return dnsmessage.NewName(strings.TrimSuffix(host, ".") + ".")
}

// pieces cuts a text into strings of at most 255 bytes (RFC 1035 section
// 3.3.14).
func pieces(s string) (all []string) {
	for len(s) > 255 {
		all, s = append(all, s[:255]), s[255:]
	}
	return append(all, s)
}
