// Package mail hands one plain text mail at a time to a mail server.
//
// A Sender makes a connection for each mail and walks the steps of SMTP (RFC 5321)
// by itself, so that an error says at which of them it ended: to connect, to
// encrypt, to sign in, or what the server thinks of sender, recipient and text.
// Whoever calls may give it names of strangers: subject and text are cleaned here,
// and an address that is more than one address is refused. All of it has an end, and
// what a server says is bounded. Only this package knows go-mail.
package mail

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	netmail "net/mail"
	"net/textproto"
	"strconv"
	"strings"
	"time"

	gomail "github.com/wneessen/go-mail"
	"github.com/wneessen/go-mail/smtp"

	"podgate/internal/text"
)

const (
	sendTime    = 30 * time.Second // of one mail, from the connection on
	maxAnswers  = 64 << 10         // bytes that a server says during one mail
	maxSubject  = 200              // characters
	maxText     = 16 << 10         // bytes
	maxAddress  = 254              // bytes, RFC 5321 section 4.5.3.1.3
	maxServerIs = 300              // characters of a server's words that are repeated
)

// Config says to whom mail is handed and in whose name.
type Config struct {
	Host     string
	Port     int
	Security Security
	Username string // empty: the server wants no password
	Password string
	From     string // an address, with a name in front or without
	// Own is the name of this server, for the ids of messages and for the greeting.
	Own   string
	Roots *x509.CertPool // that vouch for the mail server; nil: those of the system
	Now   func() time.Time
}

// Security is what encrypts the connection.
type Security string

// The ways to connect.
const (
	StartTLS Security = "starttls"
	TLS      Security = "tls"
	Clear    Security = "none"
)

// Message is one mail to one person. Text is lines; what of it comes from people is
// to be passed through text.Line first, as it could look like more lines else.
type Message struct{ To, Subject, Text string }

// Sender sends mail. It is safe for concurrent use.
type Sender struct {
	cfg  Config
	from *netmail.Address
}

// New returns a Sender, or says what is wrong with the sender's address.
func New(cfg Config) (*Sender, error) {
	from, err := netmail.ParseAddress(cfg.From)
	if err != nil {
		return nil, fmt.Errorf("mail: the sender %q is not an address: %w", cfg.From, err)
	}
	from.Name = text.Line(from.Name, 100)
	if _, err := bare(from.Address); err != nil {
		return nil, fmt.Errorf("mail: the sender %w", err)
	}
	return &Sender{cfg: cfg, from: from}, nil
}

// Step is a part of sending a mail, in the order of the constants.
type Step string

// The steps.
const (
	Connect   Step = "connect"
	Encrypt   Step = "encrypt"
	SignIn    Step = "sign in"
	SenderOK  Step = "sender"
	Recipient Step = "recipient"
	Text      Step = "text"
)

// Error is a mail that was not sent: the step at which it ended and why, for a
// person.
type Error struct {
	Step  Step
	Words string
	// Final is true when another try would end the same way.
	Final bool
	cause error
}

func (e *Error) Error() string { return e.Words }

func (e *Error) Unwrap() error { return e.cause }

// Send hands a mail to the server. Its errors are of the type *Error.
func (s *Sender) Send(ctx context.Context, m Message) error {
	return s.SendWith(ctx, m, func(Step, string) {})
}

// SendWith is Send that tells of each step that is done, and what it showed.
func (s *Sender) SendWith(ctx context.Context, m Message, done func(step Step, what string)) error {
	to, err := bare(m.To)
	if err != nil {
		return &Error{Step: Recipient, Words: err.Error(), Final: true, cause: err}
	}
	raw, err := s.compose(to, m)
	if err != nil {
		return &Error{Step: Text, Words: "the message cannot be written: " + err.Error(), Final: true, cause: err}
	}
	ctx, cancel := context.WithTimeout(ctx, sendTime)
	defer cancel()
	c, err := s.connect(ctx, done)
	if err != nil {
		return err
	}
	defer c.end()
	for _, step := range []struct {
		name Step
		do   func() (string, error)
	}{
		{Encrypt, c.encrypt}, {SignIn, c.signIn},
		{SenderOK, func() (string, error) { return s.from.Address, c.smtp.Mail("<" + s.from.Address + ">") }},
		{Recipient, func() (string, error) { return to, c.smtp.Rcpt("<" + to + ">") }},
		{Text, func() (string, error) { return c.hand(raw) }},
	} {
		what, err := step.do()
		if err != nil {
			return c.failed(ctx, step.name, err)
		}
		done(step.name, what)
	}
	return nil
}

// bare accepts one address and nothing around it.
func bare(address string) (string, error) {
	a, err := netmail.ParseAddress(address)
	if err != nil || a.Address != address || len(address) > maxAddress || strings.ContainsAny(address, "<>\"\\ ") || text.Visible(address) != address {
		return "", fmt.Errorf("%q is not the address of one person", text.Short(address, 100))
	}
	return address, nil
}

// compose writes the message as it goes over the wire.
func (s *Sender) compose(to string, m Message) ([]byte, error) {
	msg := gomail.NewMsg(gomail.WithNoDefaultUserAgent(), gomail.WithEncoding(gomail.EncodingQP))
	msg.FromMailAddress(s.from)
	if err := msg.To(to); err != nil {
		return nil, err
	}
	// What is ASCII goes as it is, and readers would decode what looks encoded (RFC 2047).
	msg.Subject(strings.ReplaceAll(text.Line(m.Subject, maxSubject), "=?", "= ?"))
	msg.SetMessageIDWithValue(rand.Text() + "@" + s.cfg.Own)
	msg.SetDateWithValue(s.cfg.Now())
	msg.SetGenHeader("Auto-Submitted", "auto-generated") // RFC 3834: nobody's holiday answers it
	msg.SetBodyString(gomail.TypeTextPlain, body(m.Text))
	var b bytes.Buffer
	_, err := msg.WriteTo(&b)
	return b.Bytes(), err
}

// body cleans each line and keeps the lines.
func body(s string) string {
	var lines []string
	for line := range strings.SplitSeq(text.Cut(s, maxText), "\n") {
		indent := line[:len(line)-len(strings.TrimLeft(line, " "))]
		lines = append(lines, indent+text.Clean(line))
	}
	return strings.TrimRight(strings.Join(lines, "\r\n"), "\r\n") + "\r\n"
}

// conversation is one connection to the mail server.
type conversation struct {
	cfg  Config
	smtp *smtp.Client
	conn net.Conn
	stop func() bool
}

// connect dials and reads the greeting.
func (s *Sender) connect(ctx context.Context, done func(Step, string)) (*conversation, error) {
	c := &conversation{cfg: s.cfg}
	address := net.JoinHostPort(s.cfg.Host, strconv.Itoa(s.cfg.Port))
	raw, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, c.failed(ctx, Connect, err)
	}
	// A deadline in the past ends whatever read or write goes on.
	c.stop = context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })
	c.conn = &bounded{Conn: raw, left: maxAnswers}
	if s.cfg.Security == TLS {
		secured := tls.Client(c.conn, c.tls())
		if err := secured.HandshakeContext(ctx); err != nil {
			c.end()
			return nil, c.failed(ctx, Encrypt, err)
		}
		c.conn = secured
	}
	c.smtp, err = smtp.NewClient(c.conn, s.cfg.Host)
	if err == nil {
		err = c.smtp.Hello(s.cfg.Own)
	}
	if err != nil {
		c.end()
		return nil, c.failed(ctx, Connect, err)
	}
	done(Connect, raw.RemoteAddr().String())
	return c, nil
}

// end closes the connection, politely where that works at once.
func (c *conversation) end() {
	if c.stop() && c.smtp != nil {
		_ = c.conn.SetDeadline(time.Now().Add(time.Second))
		_ = c.smtp.Quit()
	}
	_ = c.conn.Close()
}

func (c *conversation) tls() *tls.Config {
	return &tls.Config{ServerName: c.cfg.Host, RootCAs: c.cfg.Roots, MinVersion: tls.VersionTLS12}
}

var errNoTLS = errors.New("the server does not offer STARTTLS, and without it nothing is sent")

func (c *conversation) encrypt() (string, error) {
	switch c.cfg.Security {
	case Clear:
		return "not asked for", nil
	case StartTLS:
		if ok, _ := c.smtp.Extension("STARTTLS"); !ok {
			return "", errNoTLS
		}
		if err := c.smtp.StartTLS(c.tls()); err != nil {
			return "", err
		}
	}
	state, ok := c.smtp.TLSConnectionState()
	if !ok {
		return "", errNoTLS
	}
	return tls.VersionName(state.Version), nil
}

func (c *conversation) signIn() (string, error) {
	if c.cfg.Username == "" {
		return "not asked for", nil
	}
	auth, name, err := c.mechanism()
	if err != nil {
		return "", err
	}
	return c.cfg.Username + ", " + name, c.smtp.Auth(auth)
}

// mechanism chooses among what the server offers, the one that tells it least first.
func (c *conversation) mechanism() (smtp.Auth, string, error) {
	_, offered := c.smtp.Extension("AUTH")
	words := strings.Fields(strings.ToUpper(offered))
	clear := c.cfg.Security == Clear // for a server on this machine, as the settings see to
	for _, word := range []string{"SCRAM-SHA-256", "PLAIN", "LOGIN"} {
		for _, w := range words {
			if w != word {
				continue
			}
			switch word {
			case "SCRAM-SHA-256":
				return smtp.ScramSHA256Auth(c.cfg.Username, c.cfg.Password), word, nil
			case "PLAIN":
				return smtp.PlainAuth("", c.cfg.Username, c.cfg.Password, c.cfg.Host, clear), word, nil
			}
			return smtp.LoginAuth(c.cfg.Username, c.cfg.Password, c.cfg.Host, clear), word, nil
		}
	}
	if len(words) == 0 {
		return nil, "", errors.New("the server takes no password on this port; leave username out, or use another port")
	}
	return nil, "", fmt.Errorf("the server wants one of %s, and podgate knows SCRAM-SHA-256, PLAIN and LOGIN", text.Line(strings.Join(words, ", "), 100))
}

// hand gives the message over and returns what the server says of it.
func (c *conversation) hand(raw []byte) (string, error) {
	w, err := c.smtp.Data()
	if err != nil {
		return "", err
	}
	if _, err := w.Write(raw); err != nil {
		return "", err
	}
	if err := w.Close(); err != nil {
		return "", err
	}
	said, ok := w.(*smtp.DataCloser)
	if !ok {
		return "taken", nil
	}
	return text.Line("taken: "+said.ServerResponse(), maxServerIs), nil
}

// failed words the error of a step.
func (c *conversation) failed(ctx context.Context, step Step, err error) error {
	server := fmt.Sprintf("%s port %d", c.cfg.Host, c.cfg.Port)
	var said *textproto.Error
	var unknown *net.DNSError
	var record tls.RecordHeaderError
	var certificate *tls.CertificateVerificationError
	out := &Error{Step: step, cause: err}
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		out.Words = fmt.Sprintf("%s did not answer in time (%s)", server, step)
	case errors.As(err, &said):
		// RFC 5321 section 4.2.1: 5yz is final, 4yz is worth another try.
		out.Final = said.Code >= 500
		out.Words = fmt.Sprintf("%s refused (%s): %d %s", server, step, said.Code, text.Line(said.Msg, maxServerIs))
	case errors.As(err, &unknown):
		out.Words = fmt.Sprintf("there is no address for %s", c.cfg.Host)
	case errors.As(err, &record):
		out.Words = fmt.Sprintf("%s does not begin with TLS; try tls = \"starttls\", or port 465", server)
	case errors.As(err, &certificate):
		out.Words = fmt.Sprintf("the certificate of %s is not to be trusted: %s", server, text.Line(certificate.Err.Error(), maxServerIs))
	default:
		out.Words = fmt.Sprintf("%s (%s): %s", server, step, text.Line(err.Error(), maxServerIs))
	}
	return out
}

// bounded ends a connection whose other side says too much.
type bounded struct {
	net.Conn
	left int
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errors.New("the server says more than a mail server should")
	}
	n, err := b.Conn.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}
