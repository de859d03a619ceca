package config

import (
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"podgate/pods/wire"
)

// Issuer returns the public URL; port is what the server listens on.
func (s *Settings) Issuer(port int) string {
	if s.PublicURL != "" {
		return s.PublicURL
	}
	if port == 80 {
		return "http://localhost"
	}
	return "http://localhost:" + strconv.Itoa(port)
}

// ConfiguredIssuer is the public URL of a server that does not run, as far as
// the configuration tells.
func (s *Settings) ConfiguredIssuer() string {
	_, port, _ := net.SplitHostPort(s.Listen) // checked with the configuration
	n, _ := strconv.Atoi(port)
	return s.Issuer(n)
}

// CertDomain is the domain below which pods need certificates: names below
// localhost are reached over plain http.
func (c Pods) CertDomain() string {
	if IsLocalDomain(c.Domain) {
		return ""
	}
	return c.Domain
}

// IsLocalDomain reports whether pods below the domain are for this machine
// alone: browsers look for such names nowhere else (RFC 6761 section 6.3).
func IsLocalDomain(domain string) bool {
	return domain == "localhost" || strings.HasSuffix(domain, ".localhost")
}

// IsLoopback reports whether a host, without port and brackets, is this
// machine.
func IsLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Zone() == "" && a.Unmap().IsLoopback()
}

// validHost accepts an address or a name of DNS labels in any case.
func validHost(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	return ValidDomain(strings.ToLower(host))
}

// ValidDomain reports whether s is a domain name of at most 253 bytes (RFC 1035
// section 2.3.4), in lower case and without a dot at its end.
func ValidDomain(s string) bool {
	for part := range strings.SplitSeq(s, ".") {
		if !wire.Label(part) {
			return false
		}
	}
	return len(s) <= 253
}

func loopbackListen(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	return err == nil && IsLoopback(host)
}

// isPublicName reports whether a host is a name, and not this machine's.
func isPublicName(host string) bool {
	_, err := netip.ParseAddr(host)
	return err != nil && ValidDomain(host) && host != "localhost" && !strings.HasSuffix(host, ".localhost")
}

// urlPort is the port that a URL leads to.
func urlPort(u *url.URL) string {
	if p := u.Port(); p != "" || u.Scheme != "https" {
		return p
	}
	return "443"
}
