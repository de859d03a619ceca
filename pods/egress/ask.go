package egress

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
)

// Kind is a type of DNS record (RFC 1035 section 3.2.2 and later).
type Kind uint16

// The kinds of questions that are answered with more than "there is none".
const (
	KindA    Kind = 1
	KindPTR  Kind = 12
	KindMX   Kind = 15
	KindTXT  Kind = 16
	KindAAAA Kind = 28
	KindSRV  Kind = 33
)

// Code is a DNS response code (RFC 1035 section 4.1.1).
type Code uint8

// The codes that pods get. A name that the policy does not allow does not exist
// for the pod, so that programs give up at once and say which name it was.
const (
	CodeOK       Code = 0
	CodeFormat   Code = 1
	CodeFailed   Code = 2
	CodeNotFound Code = 3
	CodeRefused  Code = 5
)

// Answer is what a pod learns of a name. All fields but Code are empty where
// there is no record of the kind.
type Answer struct {
	Code  Code       `json:"code"`
	Addr  netip.Addr `json:"addr,omitzero"` // stands for the name
	Host  string     `json:"host,omitempty"`
	Texts []string   `json:"texts,omitempty"`
	Mails []Service  `json:"mails,omitempty"`
	Found []Service  `json:"found,omitempty"` // of SRV
}

// Service is a host that an MX or SRV record names.
type Service struct {
	Host     string `json:"host"`
	Port     uint16 `json:"port,omitempty"`
	Priority uint16 `json:"priority"` // of MX: preference
	Weight   uint16 `json:"weight,omitempty"`
}

// maxRecords of one answer: what fits into a message with room to spare.
const maxRecords = 32

// Ask answers a pod's question for a name. Nothing leaves this machine for a
// name that the policy does not allow: a question that is forwarded carries
// what it asks for to whoever answers for that name.
func (g *Gate) Ask(ctx context.Context, question string, kind Kind) Answer {
	name, err := cleanName(question)
	if err != nil {
		return Answer{Code: CodeFormat}
	}
	if kind == KindPTR {
		return g.askAddress(name)
	}
	if name == "localhost" || strings.HasSuffix(name, ".localhost") || endsInNumber(name) {
		return Answer{Code: CodeNotFound} // RFC 6761 section 6.3; and addresses are not names
	}
	p := g.Policy()
	t := target{name: name}
	if err := p.allows(t); err != nil {
		_ = g.refused("dns", t, err) // noted
		return Answer{Code: CodeNotFound}
	}
	if !p.forwards() && !p.lists(name) && !g.mayChoose(name) {
		_ = g.refused("dns", t, &Refusal{Target: t.String(), Reason: "it asks for too many names that are allowed by * only; list those that it needs"}) // noted
		return Answer{Code: CodeRefused}
	}
	switch kind {
	case KindA, KindAAAA:
		return g.askName(ctx, t, kind)
	case KindTXT, KindMX, KindSRV:
		if p.forwards() {
			return g.askOther(ctx, t, kind)
		}
	}
	return Answer{}
}

// askName gives the name an address if it exists. To know that, and to be
// ready for the connection, it is resolved.
func (g *Gate) askName(ctx context.Context, t target, kind Kind) Answer {
	if g.names.known(t.name, g.cfg.Now()) == nil {
		if code := g.mayAsk(t); code != CodeOK {
			return Answer{Code: code}
		}
	}
	now := g.cfg.Now()
	addrs, err := g.resolve(ctx, t.name)
	if err != nil {
		return Answer{Code: g.askFailed(t, err)}
	}
	if kind == KindAAAA {
		return Answer{} // the address of IPv4 leads there, too
	}
	a := g.names.give(t.name, now)
	if !a.IsValid() {
		return Answer{Code: CodeFailed}
	}
	g.names.learn(t.name, addrs, now)
	return Answer{Addr: a}
}

// mayChoose bounds how many different names a pod makes up, where it may not
// talk to everybody anyway: each carries out what it is called.
func (g *Gate) mayChoose(name string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.chosen[name] {
		return true
	}
	if !g.made.AllowN(g.cfg.Now(), 1) {
		return false
	}
	if len(g.chosen) >= maxNames {
		clear(g.chosen)
	}
	g.chosen[name] = true
	return true
}

// mayAsk bounds what is asked outside.
func (g *Gate) mayAsk(t target) Code {
	if g.asks.AllowN(g.cfg.Now(), 1) {
		return CodeOK
	}
	_ = g.refused("dns", t, &Refusal{Target: t.String(), Reason: "it asks for too many names"}) // noted
	return CodeRefused
}

func (g *Gate) askFailed(t target, err error) Code {
	if dns, ok := errors.AsType[*net.DNSError](err); ok && dns.IsNotFound {
		return CodeNotFound
	}
	g.log.fail("dns", t, err, g.cfg.Now())
	return CodeFailed
}

func (g *Gate) askOther(ctx context.Context, t target, kind Kind) (a Answer) {
	if code := g.mayAsk(t); code != CodeOK {
		return Answer{Code: code}
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var err error
	switch kind {
	case KindTXT:
		a.Texts, err = g.cfg.Resolver.LookupTXT(ctx, t.name+".")
		a.Texts = a.Texts[:min(len(a.Texts), maxRecords)]
	case KindMX:
		var all []*net.MX
		all, err = g.cfg.Resolver.LookupMX(ctx, t.name+".")
		for _, m := range all[:min(len(all), maxRecords)] {
			a.Mails = append(a.Mails, Service{Host: m.Host, Priority: m.Pref})
		}
	case KindSRV:
		var all []*net.SRV
		_, all, err = g.cfg.Resolver.LookupSRV(ctx, "", "", t.name+".")
		for _, s := range all[:min(len(all), maxRecords)] {
			a.Found = append(a.Found, Service{Host: s.Target, Port: s.Port, Priority: s.Priority, Weight: s.Weight})
		}
	}
	if err != nil {
		return Answer{Code: g.askFailed(t, err)}
	}
	return a
}

// askAddress answers a question for the name of an address, of those that stand
// for names. All others have none: the question would tell a stranger's server
// what the pod asks.
func (g *Gate) askAddress(name string) Answer {
	reversed, ok := strings.CutSuffix(name, ".in-addr.arpa")
	if !ok {
		return Answer{Code: CodeNotFound}
	}
	parts := strings.Split(reversed, ".")
	if len(parts) != 4 {
		return Answer{Code: CodeNotFound}
	}
	a, err := netip.ParseAddr(parts[3] + "." + parts[2] + "." + parts[1] + "." + parts[0])
	if err != nil {
		return Answer{Code: CodeNotFound}
	}
	host := g.names.of(a, g.cfg.Now())
	if host == "" {
		return Answer{Code: CodeNotFound}
	}
	return Answer{Host: host}
}
