package config

import (
	"errors"
	"fmt"
	"net/mail"
	"net/netip"
	"net/url"
	"strings"
	"unicode"
)

// Mail is the section [mail]: the server that podgate hands its mail to. Without a
// host it sends none.
type Mail struct {
	Host         string `toml:"host"`
	Port         int    `toml:"port"` // 0: the usual one of TLS
	TLS          string `toml:"tls"`  // starttls, tls, none
	Username     string `toml:"username"`
	PasswordFile string `toml:"password_file"`
	From         string `toml:"from"`
}

// Notify is the section [notify]: what is told without anybody asking, and where
// besides by mail.
type Notify struct {
	Events            []string `toml:"events"` // Event…
	WebhookURL        string   `toml:"webhook_url"`
	WebhookSecretFile string   `toml:"webhook_secret_file"`
}

// What encrypts the way to the mail server.
const (
	MailStartTLS = "starttls"
	MailTLS      = "tls"
	MailClear    = "none"
)

// The facts that can be told.
const (
	EventFailed    = "pod.failed"
	EventRecovered = "pod.recovered"

	EventBackupFailed = "backup.failed"
)

var (
	mailModes = []string{MailStartTLS, MailTLS, MailClear}
	events    = []string{EventFailed, EventRecovered, EventBackupFailed}
)

// On reports whether podgate can send mail.
func (m Mail) On() bool { return m.Host != "" }

// MailHost is the name of this server as mail servers want to hear it, where an
// address stands in brackets (RFC 5321 section 4.1.3).
func (s *Settings) MailHost() string {
	u, err := url.Parse(s.ConfiguredIssuer())
	if err != nil {
		return "localhost" // not so: the setting was checked
	}
	switch a, err := netip.ParseAddr(u.Hostname()); {
	case err != nil:
		return u.Hostname()
	case a.Is4():
		return "[" + a.String() + "]"
	default:
		return "[IPv6:" + a.String() + "]"
	}
}

// EffectivePort is the port to connect to.
func (m Mail) EffectivePort() int {
	if m.Port != 0 {
		return m.Port
	}
	return map[string]int{MailStartTLS: 587, MailTLS: 465, MailClear: 25}[m.TLS]
}

// checkMail looks at [mail], of which nothing may be set without a host.
func (s *Settings) checkMail(report func(string, error)) {
	m := s.Mail
	report("mail.tls", oneOf(m.TLS, mailModes))
	if m.Port < 0 || m.Port > 65535 {
		report("mail.port", fmt.Errorf("%d is not a port; write a number up to 65535, or 0 for the usual one", m.Port))
	}
	report("mail.password_file", checkPath(m.PasswordFile))
	if (m.Username == "") != (m.PasswordFile == "") {
		report("mail.username", errors.New("and mail.password_file belong together; set both, or neither for a server that wants no password"))
	}
	if !m.On() {
		if m.Username != "" || m.PasswordFile != "" || m.From != "" {
			report("mail.host", errors.New("is empty, so there is no mail, and other settings of [mail] are set; write the name of the server that takes your mail, or leave them out"))
		}
		return
	}
	report("mail.host", checkMailHost(m.Host))
	report("mail.from", checkFrom(m.From))
	if m.TLS == MailClear && !IsLoopback(m.Host) {
		report("mail.tls", fmt.Errorf("%q would send the password and the links of invitations in clear to %s; write %q, or %q for a server that begins with TLS", MailClear, m.Host, MailStartTLS, MailTLS))
	}
}

func checkMailHost(host string) error {
	if _, err := netip.ParseAddr(host); err == nil || ValidDomain(host) {
		return nil
	}
	return fmt.Errorf("%q is not the name of a server; write for example \"smtp.example.com\", and the port into mail.port", host)
}

// checkFrom accepts an address, with a name in front or without.
func checkFrom(from string) error {
	a, err := mail.ParseAddress(from)
	if err != nil || !plainASCII(a.Address) || strings.ContainsFunc(from, unicode.IsControl) {
		return fmt.Errorf("%q is not a sender; write an address that the mail server lets you use, such as \"podgate <podgate@example.com>\"", from)
	}
	return nil
}

func (s *Settings) checkNotify(report func(string, error)) {
	n := s.Notify
	for i, event := range n.Events {
		report(fmt.Sprintf("notify.events[%d]", i), oneOf(event, events))
	}
	report("notify.webhook_url", checkWebhook(n.WebhookURL))
	report("notify.webhook_secret_file", checkPath(n.WebhookSecretFile))
	if n.WebhookSecretFile != "" && n.WebhookURL == "" {
		report("notify.webhook_url", errors.New("is empty, and notify.webhook_secret_file is set; write the address that is to be told, or leave the secret out"))
	}
}

// checkWebhook accepts https anywhere, and http to this machine.
func checkWebhook(address string) error {
	if address == "" {
		return nil
	}
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Host == "" || u.Opaque != "" || !plainASCII(address) || u.Scheme != "https" && u.Scheme != "http":
		return fmt.Errorf("%q is not a web address; write for example \"https://example.com/podgate\"", address)
	case u.User != nil:
		return errors.New("has a name or a password in it; leave them out, notify.webhook_secret_file proves who posts")
	case u.Scheme == "http" && !IsLoopback(u.Hostname()):
		return fmt.Errorf("would tell what goes on here in clear over the network to %s; write https://", u.Host)
	}
	return nil
}
