package acmetest

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"
)

// DNS is a name server on loopback for which every name below test. is
// 127.0.0.1. Pebble's own stand-in does not know SOA, which a client of DNS-01
// asks for, and shares its state with every other one in the process.
type DNS struct {
	Addr string // host and port, UDP and TCP

	// Dir is a folder in which a program may set records too: the file
	// NAME/VALUE is a TXT record of NAME, which ends in a dot.
	Dir string

	mu  sync.Mutex
	txt map[string][]string
}

// SetTXT adds a TXT record.
func (d *DNS) SetTXT(name, value string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	name = dns.CanonicalName(name)
	d.txt[name] = append(d.txt[name], value)
}

// DeleteTXT takes one away.
func (d *DNS) DeleteTXT(name, value string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	name = dns.CanonicalName(name)
	d.txt[name] = slices.DeleteFunc(d.txt[name], func(v string) bool { return v == value })
}

// TXT returns the values of a name.
func (d *DNS) TXT(name string) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	values := slices.Clone(d.txt[dns.CanonicalName(name)])
	entries, err := os.ReadDir(filepath.Join(d.Dir, dns.CanonicalName(name)))
	if err != nil {
		return values // nobody has set one
	}
	for _, e := range entries {
		values = append(values, e.Name())
	}
	return values
}

func startDNS(t testing.TB) *DNS {
	t.Helper()
	d := &DNS{Dir: t.TempDir(), txt: map[string][]string{}}
	// A port that is free for UDP may be taken for TCP.
	for range 10 {
		packets, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		stream, err := net.Listen("tcp", packets.LocalAddr().String())
		if err != nil {
			packets.Close()
			continue
		}
		d.Addr = stream.Addr().String()
		for _, s := range []*dns.Server{{PacketConn: packets, Handler: d}, {Listener: stream, Handler: d}} {
			started := make(chan struct{})
			s.NotifyStartedFunc = func() { close(started) }
			go func() { _ = s.ActivateAndServe() }() // ends by Shutdown
			<-started
			t.Cleanup(func() { _ = s.Shutdown() })
		}
		return d
	}
	t.Fatal("no port is free for both UDP and TCP")
	return nil
}

// ServeDNS implements dns.Handler.
func (d *DNS) ServeDNS(w dns.ResponseWriter, r *dns.Msg) {
	m := new(dns.Msg)
	m.SetReply(r)
	m.Authoritative = true
	if q := r.Question[0]; dns.IsSubDomain("test.", q.Name) {
		m.Answer = d.answer(q)
	} else {
		m.Rcode = dns.RcodeNameError
	}
	_ = w.WriteMsg(m) // whoever asked has gone
}

func (d *DNS) answer(q dns.Question) (list []dns.RR) {
	header := dns.RR_Header{Name: q.Name, Rrtype: q.Qtype, Class: dns.ClassINET}
	switch q.Qtype {
	case dns.TypeA:
		list = append(list, &dns.A{Hdr: header, A: net.IPv4(127, 0, 0, 1)})
	case dns.TypeTXT:
		for _, value := range d.TXT(q.Name) {
			list = append(list, &dns.TXT{Hdr: header, Txt: []string{value}})
		}
	case dns.TypeSOA:
		if strings.EqualFold(q.Name, "test.") {
			list = append(list, &dns.SOA{Hdr: header, Ns: "ns.test.", Mbox: "root.test.", Serial: 1, Refresh: 1, Retry: 1, Expire: 1, Minttl: 1})
		}
	}
	return list
}
