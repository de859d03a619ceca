package config

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Machine is what «config check» asks this computer and its network.
type Machine struct {
	Lookup    func(ctx context.Context, host string) ([]netip.Addr, error)
	Addresses func() ([]netip.Addr, error) // of this machine
	MayListen func(port int) bool          // whether this user may listen there
}

// ThisMachine asks the real one.
func ThisMachine() *Machine {
	return &Machine{
		Lookup: func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		},
		Addresses: ownAddresses,
		MayListen: mayListen,
	}
}

func ownAddresses() ([]netip.Addr, error) {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	var all []netip.Addr
	for _, a := range list {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			all = append(all, p.Addr().Unmap())
		}
	}
	return all, nil
}

// mayListen reports whether this user may listen on a port: root, or one with
// the capability, or a port that the system gives to everybody.
func mayListen(port int) bool {
	first := 1024
	if raw, err := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start"); err == nil {
		if n, err := strconv.Atoi(strings.TrimSpace(string(raw))); err == nil {
			first = n
		}
	}
	if port == 0 || port >= first || os.Geteuid() == 0 {
		return true
	}
	raw, err := os.ReadFile("/proc/self/status")
	return err != nil || hasBindCapability(string(raw)) // not Linux: the system will say
}

// hasBindCapability looks for CAP_NET_BIND_SERVICE among the effective
// capabilities of /proc/PID/status.
func hasBindCapability(status string) bool {
	const bind = 10 // linux/capability.h
	_, rest, _ := strings.Cut(status, "CapEff:")
	line, _, _ := strings.Cut(rest, "\n")
	bits, err := strconv.ParseUint(strings.TrimSpace(line), 16, 64)
	return err == nil && bits&(1<<bind) != 0
}

// PortAdvice is how an ordinary user gets a port below 1024.
const PortAdvice = "Run «setcap cap_net_bind_service=+ep» on the podgate binary, or add AmbientCapabilities=CAP_NET_BIND_SERVICE to its systemd unit"

// lookupTime is how long one question to the resolver may take.
const lookupTime = 5 * time.Second

// shortAccess is how long access tokens should last at least. With about five
// minutes left Gemini CLI renews before every call, and mcporter registers anew
// whenever one has ended.
const shortAccess = 10 * minute

// adviseTokens warns of access tokens that clients cannot work well with.
func (s *Settings) adviseTokens() {
	if ttl := s.OAuth.AccessTokenTTL; ttl < shortAccess {
		s.Warnings = append(s.Warnings, fmt.Sprintf("oauth.access_token_ttl is %s: with less than %s some assistants renew before each call (Gemini CLI) or register anew again and again (mcporter)", ttl, shortAccess))
	}
}

// Advise returns what is likely to be in the way although the configuration
// itself is sound.
func (s *Settings) Advise(ctx context.Context, m *Machine) []string {
	u, err := url.Parse(s.PublicURL)
	if err != nil || u.Scheme != "https" {
		return nil // this machine only: there is nothing in between
	}
	notes := s.adviseServing(u)
	if s.TLS.On() {
		notes = append(notes, s.advisePorts(m)...)
	}
	if s.TLS.Mode == TLSAuto && s.TLS.CA == letsEncrypt && privateName(u.Hostname()) {
		notes = append(notes, fmt.Sprintf("no public authority gives out certificates for %s: set tls.ca and tls.ca_root_file to an authority of your own, or tls.mode to \"files\"", u.Hostname()))
	}
	return append(notes, s.adviseNames(ctx, m, u.Hostname())...)
}

// privateName reports whether a name means something in a home or an office
// only (RFC 6761, RFC 6762, RFC 8375, and what routers call their networks).
func privateName(host string) bool {
	if !strings.Contains(host, ".") {
		return true
	}
	return slices.ContainsFunc([]string{".local", ".internal", ".home.arpa", ".lan", ".home", ".corp", ".test", ".invalid", ".onion"}, func(suffix string) bool {
		return strings.HasSuffix(host, suffix)
	})
}

// adviseServing says who has to answer at the public URL, if that is not
// podgate for certain.
func (s *Settings) adviseServing(u *url.URL) []string {
	port := urlPort(u)
	switch {
	case s.TLS.On() && port != s.TLS.port():
		return []string{fmt.Sprintf("public_url leads to port %s, and podgate listens for https on %s: a router or proxy has to pass it on, or tls.listen should be \":%s\"", port, s.TLS.Listen, port)}
	case s.TLS.On(), s.Source("tls.mode") != "default":
		return nil
	case len(s.TrustedProxies) > 0, !loopbackListen(s.Listen):
		return []string{fmt.Sprintf("a proxy in front has to answer %s, as trusted_proxies or listen speak of one; if there is none, write mode = \"auto\" below [tls]", s.PublicURL)}
	}
	return []string{fmt.Sprintf("nobody answers %s: podgate itself would only on the port of tls.listen (%s), and only under a name. Change public_url or tls.listen; if a proxy answers there, write mode = \"off\" below [tls]", s.PublicURL, s.TLS.Listen)}
}

func (s *Settings) advisePorts(m *Machine) (notes []string) {
	for key, addr := range map[string]string{"tls.listen": s.TLS.Listen, "tls.http_listen": s.TLS.HTTPListen} {
		_, port, err := net.SplitHostPort(addr)
		if err != nil {
			continue // empty: no such port
		}
		if n, _ := strconv.Atoi(port); !m.MayListen(n) {
			notes = append(notes, fmt.Sprintf("the user who ran this check may not listen on port %s (%s). %s", port, key, PortAdvice))
		}
	}
	slices.Sort(notes)
	return notes
}

// adviseNames looks where the names lead.
func (s *Settings) adviseNames(ctx context.Context, m *Machine, host string) (notes []string) {
	ours := s.adviseHost(ctx, m, host, &notes)
	domain := s.Pods.CertDomain()
	if domain == "" {
		if isPublicName(host) {
			notes = append(notes, "pods.domain is localhost: pods can be seen on this machine only")
		}
		return notes
	}
	pods, err := find(ctx, m, "any-pod."+domain)
	switch {
	case err != nil:
		notes = append(notes, fmt.Sprintf("names below %s lead nowhere, so nobody reaches a pod: make a DNS record for *.%s that leads where %s does", domain, domain, host))
	case len(ours) > 0 && !overlaps(ours, pods):
		notes = append(notes, fmt.Sprintf("names below %s lead to %s, and %s to %s: look at the DNS record for *.%s", domain, join(pods), host, join(ours), domain))
	}
	return notes
}

// adviseHost looks where podgate's own name leads and returns that.
func (s *Settings) adviseHost(ctx context.Context, m *Machine, host string, notes *[]string) []netip.Addr {
	if !isPublicName(host) {
		return nil
	}
	found, err := find(ctx, m, host)
	if err != nil {
		*notes = append(*notes, fmt.Sprintf("%s has no address: make a DNS record (A, AAAA) that leads to this machine", host))
		return nil
	}
	here, err := m.Addresses()
	if err == nil && s.TLS.On() && !overlaps(found, here) {
		*notes = append(*notes, fmt.Sprintf("%s leads to %s, which is no address of this machine: right behind a router that forwards the ports, else mend the DNS record", host, join(found)))
	}
	return found
}

func find(ctx context.Context, m *Machine, host string) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	list, err := m.Lookup(ctx, host+".") // whole names: the search list of a network is not the world's
	for i := range list {
		list[i] = list[i].Unmap()
	}
	return list, err
}

func overlaps(a, b []netip.Addr) bool {
	return slices.ContainsFunc(a, func(x netip.Addr) bool { return slices.Contains(b, x) })
}

func join(list []netip.Addr) string {
	var words []string
	for _, a := range list[:min(3, len(list))] {
		words = append(words, a.String())
	}
	return strings.Join(words, ", ")
}
