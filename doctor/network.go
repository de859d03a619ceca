package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// maxAddresses bounds how many addresses of a name are tried.
const maxAddresses = 8

func networkChecks() []check {
	return []check{
		{"address", nil, checkAddress},
		{"name", nil, checkName},
		{"connection", []string{"name"}, checkConnection},
		{"certificate", []string{"connection"}, checkCertificate},
		{"plain http", []string{"certificate"}, checkPlainHTTP},
	}
}

// checkAddress looks at the form in which the address was typed. Clients
// compare it byte for byte with what the server says it is (RFC 9728
// section 3.3).
func checkAddress(_ context.Context, p *probe) outcome {
	t := p.Target
	if t.Scheme == "http" && !t.loopback() {
		return fault("http:// sends passwords and tokens in clear over the network, and clients refuse it",
			"Put a certificate in front of podgate and use https://"+t.Host+".")
	}
	if len(t.remarks) > 0 {
		return warning("as typed, "+strings.Join(t.remarks, ", and "), "Clients compare this address byte for byte. Give them "+t.Endpoint()+".")
	}
	return good("%s", t.Endpoint())
}

// checkName looks the name up.
func checkName(ctx context.Context, p *probe) outcome {
	host := p.Target.Host
	addrs, err := p.addresses(ctx, host)
	if err == nil && len(addrs) == 0 {
		err = &net.DNSError{Err: "no address", Name: host, IsNotFound: true}
	}
	if err != nil {
		return fault(host+": "+words(err), "Make a DNS record for it: A for the IPv4 address of the server, AAAA for its IPv6 address. A new record can take a while to be seen.")
	}
	p.addrs = addrs[:min(len(addrs), maxAddresses)]
	if _, err := netip.ParseAddr(host); err == nil {
		return good("%s is an address; nothing to look up", host)
	}
	text := host + " is " + list(p.addrs)
	if private := p.private(); private != "" {
		return warning(text, private)
	}
	if p.addrs[0].Is6() && !p.Target.loopback() { // IPv4 comes first
		return warning(text+", and has no IPv4 address", "Many networks and some assistants' servers have no IPv6. Add an A record if the server has IPv4.")
	}
	return good("%s", text)
}

// private says who cannot reach the addresses. A name that means this machine
// by itself is meant that way.
func (p *probe) private() string {
	if p.Target.loopback() {
		return ""
	}
	for _, a := range p.addrs {
		switch {
		case a.IsLoopback():
			return a.String() + " leads every machine to itself. Give the name the server's address, unless only this machine is to connect."
		case a.IsPrivate(), a.IsLinkLocalUnicast(), cgnat.Contains(a):
			return a.String() + " is reached from its own network only: assistants that connect from their makers' servers (Claude on the web, ChatGPT) cannot. Programs on your computers can."
		}
	}
	return ""
}

var cgnat = netip.MustParsePrefix("100.64.0.0/10")

func list(addrs []netip.Addr) string {
	var texts []string
	for _, a := range addrs {
		texts = append(texts, a.String())
	}
	return strings.Join(texts, ", ")
}

// checkConnection connects to each address: a name with one dead address works
// for some clients and not for others.
func checkConnection(ctx context.Context, p *probe) outcome {
	var alive, dead, untried []netip.Addr
	var last error
	for _, a := range p.addrs {
		conn, err := p.Dial(ctx, "tcp", net.JoinHostPort(a.String(), p.Target.Port))
		switch {
		case err == nil:
			_ = conn.Close() // it was only to see whether somebody is there
			alive = append(alive, a)
		case a.Is6() && unreachable(err):
			untried = append(untried, a)
		default:
			dead, last = append(dead, a), err
		}
	}
	switch {
	case len(alive) == 0 && last == nil:
		return fault("this machine has no way to "+list(untried), "Run this on a machine with IPv6, or give the name an IPv4 address too.")
	case len(alive) == 0:
		return fault(fmt.Sprintf("port %s of %s: %s", p.Target.Port, list(dead), words(last)),
			"See that podgate or its proxy runs and listens on that port, and that the firewall (also the one in the control panel of a rented server) lets it in.")
	}
	p.addrs = alive
	if len(dead) > 0 && !p.Target.loopback() {
		return warning(fmt.Sprintf("port %s answers at %s, but not at %s: %s", p.Target.Port, list(alive), list(dead), words(last)),
			"Clients that take the other address wait or fail. Make it work, or take its DNS record away.")
	}
	return good("port %s answers at %s", p.Target.Port, list(alive))
}

// checkCertificate makes a handshake of its own, to be able to say what is
// wrong with it.
func checkCertificate(ctx context.Context, p *probe) outcome {
	if p.Target.Scheme != "https" {
		return good("http on this machine needs none")
	}
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	raw, err := p.dialHost(ctx, "tcp", p.Target.hostPort())
	if err != nil {
		return fault(words(err), "It answered a moment ago: run this again.")
	}
	config := p.tlsConfig()
	config.ServerName = p.Target.Host
	conn := tls.Client(raw, config)
	defer conn.Close()
	if err := conn.HandshakeContext(ctx); err != nil {
		return p.brokenTLS(err)
	}
	return p.judgeTLS(conn.ConnectionState())
}

// brokenTLS says why a handshake failed.
func (p *probe) brokenTLS(err error) outcome {
	host := p.Target.Host
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var unknown x509.UnknownAuthorityError
	var notTLS tls.RecordHeaderError
	switch {
	case errors.As(err, &name):
		return fault("the certificate is for another name: "+namesOf(name.Certificate), "Get one for "+host+"; or let the proxy choose the one for this name.")
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return p.outOfDate(invalid.Cert)
	case errors.As(err, &unknown) && unknown.Cert != nil && unknown.Cert.Issuer.String() == unknown.Cert.Subject.String():
		return fault("the certificate is signed by itself, so nobody trusts it", "Get one from a certificate authority, such as Let's Encrypt. Assistants cannot be told to trust this one.")
	case errors.As(err, &unknown):
		return fault("the certificate's issuer is not known here", "If it is a public authority, the server leaves out the intermediate certificate: let it send the full chain (fullchain.pem). If it is your own, only programs that trust it can connect.")
	case errors.As(err, &notTLS):
		return fault("what answers there does not speak TLS", "Let the proxy serve https on this port, or use the port where it does.")
	}
	return fault("the TLS handshake fails: "+words(err), "The proxy's log says why. Often it has no certificate for this name.")
}

// namesOf lists the names that a certificate is for, or else whom it calls
// itself.
func namesOf(c *x509.Certificate) string {
	if len(c.DNSNames) == 0 {
		return c.Subject.CommonName
	}
	return strings.Join(c.DNSNames, ", ")
}

func (p *probe) outOfDate(c *x509.Certificate) outcome {
	now := p.Now()
	if now.Before(c.NotBefore) {
		return fault("the certificate is valid only from "+date(c.NotBefore)+"; this machine believes that it is "+date(now), "Set the clock of this machine, or get a new certificate if the clock is right.")
	}
	return fault("the certificate has expired on "+date(c.NotAfter), "Renew it, and see why that did not happen by itself. (This machine believes that it is "+date(now)+".)")
}

func date(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

// judgeTLS looks at a handshake that worked.
func (p *probe) judgeTLS(s tls.ConnectionState) outcome {
	leaf := s.PeerCertificates[0]
	left, life := leaf.NotAfter.Sub(p.Now()), leaf.NotAfter.Sub(leaf.NotBefore)
	text := fmt.Sprintf("%s, valid until %s", tls.VersionName(s.Version), date(leaf.NotAfter))
	switch {
	case s.Version < tls.VersionTLS12:
		return fault("only "+tls.VersionName(s.Version)+" is spoken, which clients refuse", "Allow TLS 1.2 and 1.3 in the proxy.")
	case left < life/6: // what renews itself does so when a third is left
		return warning(text+", which is soon", "See whether it is being renewed.")
	}
	return good("%s", text)
}

// checkPlainHTTP looks at what people get who type http:// or nothing in front
// of the name.
func checkPlainHTTP(ctx context.Context, p *probe) outcome {
	t := p.Target
	if t.Scheme != "https" || t.Port != "443" {
		return outcome{level: Skipped, text: "only next to https on its usual port"}
	}
	plain := "http" + strings.TrimPrefix(t.Endpoint(), "https")
	got, err := p.send(ctx, ask{method: http.MethodGet, url: plain})
	if err != nil {
		return good("port 80: %s; who types http:// gets nowhere", words(err))
	}
	if !strings.HasPrefix(got.header.Get("Location"), t.Origin+"/") {
		return warning(got.describe(), "Let port 80 redirect GET to "+t.Origin+", so that nothing is ever sent in clear.")
	}
	posted, err := p.send(ctx, ask{method: http.MethodPost, url: plain, body: strings.NewReader("{}")})
	if err == nil && posted.status >= 300 && posted.status < 400 {
		return warning(posted.describe()+", which loses the body, or sends it in clear first",
			"Only https:// works in a client. To say so clearly, answer methods other than GET on port 80 with 400 instead of a redirect.")
	}
	return good("leads to https")
}
