package doctor

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"
)

// Level is how a check ended.
type Level string

// The levels. Only a fault makes a Report bad.
const (
	OK      Level = "ok"
	Warning Level = "warning" // works, but not for everybody or not as it should
	Fault   Level = "fault"   // some client cannot connect
	Skipped Level = "skipped" // what it builds on is at fault
)

// Options say what to look at and how.
type Options struct {
	Target     Target   // from ParseTarget
	Documents  []string // URLs of clients' metadata documents, to see whether they can be reached from here
	PodsDomain string   // whose subdomains are pods; empty when it is not known

	// Dial opens a TCP connection to an address and port; nil: a net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Lookup returns the addresses of a name; nil: the system's resolver. An
	// absent name is a *net.DNSError with IsNotFound.
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)
	Roots  *x509.CertPool // certificate authorities; nil: the system's
	Now    func() time.Time
}

// Finding is what one check found.
type Finding struct {
	Check  string `json:"check"`
	Level  Level  `json:"level"`
	Text   string `json:"text"`             // what is so
	Advice string `json:"advice,omitempty"` // what to do; empty when nothing
}

// Report is everything that was found, in the order of a client's steps.
type Report struct {
	URL      string    `json:"url"` // what to type into a client
	OK       bool      `json:"ok"`  // no fault
	Findings []Finding `json:"checks"`
}

// Count returns how many findings have the level.
func (r Report) Count(level Level) int {
	n := 0
	for _, f := range r.Findings {
		if f.Level == level {
			n++
		}
	}
	return n
}

// outcome is what a check says.
type outcome struct {
	level        Level
	text, advice string
}

func good(format string, args ...any) outcome {
	return outcome{level: OK, text: fmt.Sprintf(format, args...)}
}

func warning(text, advice string) outcome { return outcome{Warning, text, advice} }

func fault(text, advice string) outcome { return outcome{Fault, text, advice} }

// check is one thing that is looked at.
type check struct {
	name  string
	needs []string // checks without which this one says nothing
	look  func(context.Context, *probe) outcome
}

// checks are all of them, in the order of a client's steps.
func checks() []check {
	return slices.Concat(networkChecks(), documentChecks(), endpointChecks(), passageChecks(), outsideChecks())
}

// Run looks at everything. It ends early when ctx does; what was not looked at
// then is skipped.
func Run(ctx context.Context, o Options) Report {
	p := newProbe(o)
	defer p.client.CloseIdleConnections()
	r := Report{URL: o.Target.Endpoint(), OK: true}
	missing := map[string]bool{}
	for _, c := range checks() {
		result := skipOr(ctx, c, p, missing)
		missing[c.name] = result.level == Fault || result.level == Skipped
		r.OK = r.OK && result.level != Fault
		r.Findings = append(r.Findings, Finding{c.name, result.level, clean(result.text), result.advice})
	}
	return r
}

func skipOr(ctx context.Context, c check, p *probe, missing map[string]bool) outcome {
	if ctx.Err() != nil {
		return outcome{level: Skipped, text: "interrupted"}
	}
	for _, need := range c.needs {
		if missing[need] {
			return outcome{level: Skipped, text: "needs «" + need + "»"}
		}
	}
	return c.look(ctx, p)
}
