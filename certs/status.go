package certs

import (
	"context"
	"errors"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/mholt/acmez/v3/acme"
)

// NameStatus is how the certificate of one of podgate's own names is.
type NameStatus struct {
	Name    string
	Expires time.Time // zero: there is none yet
	Problem string    // the last failure in words that any stranger may read; empty: none since the last success
	At      time.Time // of that failure
}

// Status is how all certificates are. Names of pods are not in it.
type Status struct {
	Names []NameStatus
	// PodProblems is how many pods' names were refused by the authority last.
	PodProblems int
}

// Ready reports whether Host and all else that is podgate's own has a
// certificate in force.
func (s Status) Ready(now time.Time) bool {
	for _, n := range s.Names {
		if !now.Before(n.Expires) {
			return false
		}
	}
	return true
}

type problem struct {
	words string
	at    time.Time
}

// state is what went wrong last, by name.
type state struct {
	mu       sync.Mutex
	problems map[string]problem
}

// note remembers a failure and reports whether it is another than before.
func (m *Manager) note(name string, err error) bool {
	m.state.mu.Lock()
	defer m.state.mu.Unlock()
	before := m.state.problems[name]
	m.state.problems[name] = problem{words(err), m.cfg.Now()}
	return before.words != words(err)
}

// settle forgets a failure after a success.
func (m *Manager) settle(name string) {
	m.state.mu.Lock()
	defer m.state.mu.Unlock()
	delete(m.state.problems, name)
}

// Status returns how the certificates are.
func (m *Manager) Status() Status {
	leaves := m.source.leaves()
	m.state.mu.Lock()
	defer m.state.mu.Unlock()
	var s Status
	for _, name := range slices.Sorted(maps.Keys(leaves)) {
		n := NameStatus{Name: name, Problem: m.state.problems[name].words, At: m.state.problems[name].at}
		if leaf := leaves[name]; leaf != nil {
			n.Expires = leaf.NotAfter
		}
		s.Names = append(s.Names, n)
	}
	for name := range m.state.problems {
		if _, own := leaves[name]; !own {
			s.PodProblems++
		}
	}
	return s
}

// words says what kind of failure it was. The error itself, which may hold
// addresses, paths and what the authority chose to write, goes to the log only.
func words(err error) string {
	var p acme.Problem
	var network net.Error
	switch {
	case errors.As(err, &p):
		return problemWords(p.Type)
	case errors.Is(err, errTooMany):
		return "as many certificates as are allowed were asked for; the next comes later"
	case errors.As(err, &network), errors.Is(err, context.DeadlineExceeded):
		return "the certificate authority could not be reached"
	}
	return "failed; the server's log says why"
}

// problemWords explains the error types of RFC 8555 section 6.7 that people
// meet.
func problemWords(kind string) string {
	switch kind {
	case acme.ProblemTypeRateLimited:
		return "the certificate authority wants fewer requests; it is asked again later"
	case acme.ProblemTypeDNS:
		return "the certificate authority finds no address for the name; look at its DNS records"
	case acme.ProblemTypeConnection:
		return "the certificate authority could not reach this server under the name; look at firewall and DNS records"
	case acme.ProblemTypeUnauthorized, acme.ProblemTypeIncorrectResponse, acme.ProblemTypeTLS:
		return "the certificate authority asked under the name and this server's answer did not arrive; look where its DNS records lead, at firewall and proxies"
	case acme.ProblemTypeCAA:
		return "a CAA record of the name forbids this certificate authority"
	case acme.ProblemTypeRejectedIdentifier:
		return "the certificate authority issues nothing for this name"
	case acme.ProblemTypeExternalAccountRequired:
		return "the certificate authority wants an account key; set tls.eab_key_id and tls.eab_key_file"
	}
	return "the certificate authority refused; the server's log says why"
}
