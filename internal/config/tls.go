package config

import (
	"errors"
	"fmt"
	"net"
	"net/mail"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"podgate/pods/egress"
)

// TLS says who answers https, and with what certificates.
type TLS struct {
	Mode       string   `toml:"mode"`        // auto, files, off; empty: see resolve
	Listen     string   `toml:"listen"`      // for https
	HTTPListen string   `toml:"http_listen"` // for challenges and redirects; empty: nowhere
	CertFiles  []string `toml:"cert_files"`
	KeyFiles   []string `toml:"key_files"`

	Email      string `toml:"email"`
	CA         string `toml:"ca"`
	CARootFile string `toml:"ca_root_file"`
	EABKeyID   string `toml:"eab_key_id"`
	EABKeyFile string `toml:"eab_key_file"`

	PodCertificatesPerHour int `toml:"pod_certificates_per_hour"`
	PodCertificates        int `toml:"pod_certificates"`

	DNSScript           string   `toml:"dns_script"`
	CloudflareTokenFile string   `toml:"cloudflare_token_file"`
	DNSResolvers        []string `toml:"dns_resolvers"`
}

// letsEncrypt is the directory of the authority that needs no account.
const letsEncrypt = "https://acme-v02.api.letsencrypt.org/directory"

// The modes of [tls].
const (
	TLSAuto  = "auto"
	TLSFiles = "files"
	TLSOff   = "off"
)

var tlsModes = []string{TLSAuto, TLSFiles, TLSOff}

func defaultTLS() TLS {
	return TLS{Listen: ":443", HTTPListen: ":80", CA: letsEncrypt, PodCertificatesPerHour: 10, PodCertificates: 50}
}

// resolve fills in what follows from other settings: who answers https, and
// where pods have their names. An empty value stays empty only where it is a
// fault, which check reports.
func (s *Settings) resolve() {
	u, err := url.Parse(s.PublicURL)
	if err != nil {
		u = &url.URL{}
	}
	if s.TLS.Mode == "" {
		s.TLS.Mode = TLSOff
		proxied := len(s.TrustedProxies) > 0 || !loopbackListen(s.Listen)
		if u.Scheme == "https" && isPublicName(u.Hostname()) && urlPort(u) == s.TLS.port() && !proxied {
			s.TLS.Mode = TLSAuto
		}
	}
	for i := range s.Regions {
		if s.Regions[i].Limits == "" {
			s.Regions[i].Limits = "auto"
		}
		if s.Regions[i].Network == "" {
			s.Regions[i].Network = string(egress.ModeInternet)
		}
	}
	if s.Pods.Domain == "" {
		s.Pods.Domain = "localhost"
		if isPublicName(u.Hostname()) {
			s.Pods.Domain = u.Hostname()
		}
	}
}

// port is the port of https, or "" when that is not to be had from the
// setting.
func (c TLS) port() string {
	_, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return ""
	}
	return port
}

// On reports whether podgate answers https itself.
func (c TLS) On() bool { return c.Mode == TLSAuto || c.Mode == TLSFiles }

func (s *Settings) checkTLS(report func(string, error)) {
	c := s.TLS
	report("tls.mode", oneOf(c.Mode, tlsModes))
	report("tls.listen", checkListen(c.Listen))
	if c.HTTPListen != "" {
		report("tls.http_listen", checkListen(c.HTTPListen))
	}
	report("tls.email", checkEmail(c.Email))
	report("tls.ca", checkCA(c.CA))
	report("tls.pod_certificates_per_hour", atLeast(c.PodCertificatesPerHour, 0, "0"))
	report("tls.pod_certificates", atLeast(c.PodCertificates, 0, "0"))
	for _, f := range []struct{ key, path string }{
		{"tls.ca_root_file", c.CARootFile}, {"tls.eab_key_file", c.EABKeyFile}, {"tls.cloudflare_token_file", c.CloudflareTokenFile}, {"tls.dns_script", c.DNSScript},
	} {
		report(f.key, checkPath(f.path))
	}
	if (c.EABKeyID == "") != (c.EABKeyFile == "") {
		report("tls.eab_key_id", errors.New("and tls.eab_key_file belong together; set both or neither"))
	}
	if c.DNSScript != "" && c.CloudflareTokenFile != "" {
		report("tls.dns_script", errors.New("and tls.cloudflare_token_file are both set; choose who changes the DNS records"))
	}
	for i, r := range c.DNSResolvers {
		if _, err := netip.ParseAddrPort(r); err != nil {
			report(fmt.Sprintf("tls.dns_resolvers[%d]", i), fmt.Errorf(`%q is not an address with a port; write for example "9.9.9.9:53"`, r))
		}
	}
	if c.On() {
		s.checkOwnTLS(report)
	}
}

// checkOwnTLS looks at what matters when podgate answers https itself.
func (s *Settings) checkOwnTLS(report func(string, error)) {
	u, err := url.Parse(s.PublicURL)
	switch {
	case err != nil || u.Scheme != "https":
		report("tls.mode", fmt.Errorf(`%q needs a public_url that begins with https://; set public_url, or write "off"`, s.TLS.Mode))
		return
	case s.TLS.Mode == TLSAuto && !isPublicName(u.Hostname()):
		report("tls.mode", fmt.Errorf(`"auto" gets certificates for names only, and %s is none; write "files" with a certificate of your own`, u.Hostname()))
	case s.TLS.Mode == TLSFiles:
		report("tls.cert_files", s.checkFiles())
	}
	if !loopbackListen(s.Listen) {
		report("listen", fmt.Errorf(`%q would answer unencrypted on the network beside https; write "localhost:8080": this is the address for this machine, tls.listen is the one for visitors`, s.Listen))
	}
}

func (s *Settings) checkFiles() error {
	if len(s.TLS.CertFiles) == 0 {
		return errors.New(`is empty, and tls.mode is "files"; write the certificate's file, and its key's into tls.key_files`)
	}
	if len(s.TLS.CertFiles) != len(s.TLS.KeyFiles) {
		return fmt.Errorf("has %d files and tls.key_files %d; write one key for each certificate, in the same order", len(s.TLS.CertFiles), len(s.TLS.KeyFiles))
	}
	return nil
}

func checkEmail(s string) error {
	if a, err := mail.ParseAddress(s); s != "" && (err != nil || a.Address != s) {
		return fmt.Errorf("%q is not an e-mail address; write for example \"ada@example.com\", or leave it out", s)
	}
	return nil
}

func checkCA(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		return fmt.Errorf("%q is not the https address of an authority's directory; write for example %q", s, letsEncrypt)
	}
	return nil
}

// checkPath accepts nothing, or a path that means the same wherever podgate is
// started.
func checkPath(path string) error {
	if path == "" || filepath.IsAbs(path) {
		return nil
	}
	return fmt.Errorf(`%q is not an absolute path; write for example "/etc/podgate/FILE"`, path)
}

// SecretFile reads a secret that has a file of its own.
func SecretFile(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read a secret: %w", err)
	}
	secret := strings.TrimSpace(string(raw))
	if secret == "" || len(secret) > 4096 || strings.ContainsAny(secret, "\r\n") {
		return "", fmt.Errorf("%s should hold one line, the secret", path)
	}
	return secret, nil
}
