package mail

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"mime"
	"mime/quotedprintable"
	"net"
	netmail "net/mail"
	"slices"
	"strings"
	"testing"
	"time"

	"podgate/internal/mailtest"
	"podgate/internal/webtest"
)

var noon = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

func sender(t *testing.T, server *mailtest.Server, cfg Config) *Sender {
	t.Helper()
	cfg.Host, cfg.Port, cfg.From, cfg.Own = "localhost", server.Port, "Pod «gate» <podgate@example.com>", "pods.example.com"
	cfg.Now = func() time.Time { return noon }
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// secured is a mail server with a certificate, and who vouches for that.
func secured(t *testing.T, o mailtest.Options) (*mailtest.Server, Config) {
	t.Helper()
	authority := webtest.NewAuthority(t)
	cert := authority.Sign("localhost", time.Unix(0, 0), time.Unix(1<<33, 0))
	o.Certificate = &cert
	return mailtest.Start(t, o), Config{Security: StartTLS, Roots: authority.Roots}
}

var hello = Message{To: "ada@example.com", Subject: "A pod failed", Text: "Grüße\n\n  indented\n.\nend"}

// What arrives is what was meant: the same text, and headers that say who wrote.
func TestMessage(t *testing.T) {
	t.Parallel()
	server := mailtest.Start(t, mailtest.Options{})
	if err := sender(t, server, Config{Security: Clear}).Send(t.Context(), hello); err != nil {
		t.Fatal(err)
	}
	got := server.Next(t)
	if got.From != "podgate@example.com" || got.To != "ada@example.com" {
		t.Errorf("envelope: %+v", got)
	}
	m, text := parse(t, got.Raw)
	if text != "Grüße\r\n\r\n  indented\r\n.\r\nend\r\n" {
		t.Errorf("text: %q", text)
	}
	from, err := m.Header.AddressList("From")
	if err != nil || len(from) != 1 || *from[0] != (netmail.Address{Name: "Pod «gate»", Address: "podgate@example.com"}) {
		t.Errorf("from: %v %v", from, err)
	}
	for header, want := range map[string]string{"To": "<ada@example.com>", "Subject": "A pod failed", "Auto-Submitted": "auto-generated", "Content-Type": "text/plain; charset=UTF-8", "Date": "Thu, 26 Nov 2026 12:00:00 +0000"} {
		if got := m.Header.Get(header); got != want {
			t.Errorf("%s: %q, want %q", header, got, want)
		}
	}
	if id := m.Header.Get("Message-Id"); !strings.HasPrefix(id, "<") || !strings.HasSuffix(id, "@pods.example.com>") || len(id) < 40 {
		t.Errorf("id %q", id)
	}
}

func parse(t *testing.T, raw string) (*netmail.Message, string) {
	t.Helper()
	m, err := netmail.ReadMessage(strings.NewReader(raw))
	if err != nil {
		t.Fatalf("%v in %q", err, raw)
	}
	text, err := io.ReadAll(quotedprintable.NewReader(m.Body))
	if err != nil {
		t.Fatal(err)
	}
	return m, string(text)
}

// Names of strangers stand in subjects and texts. None adds a header, a recipient, a
// command or a line, or turns the direction of what is around it.
func TestInjection(t *testing.T) {
	t.Parallel()
	server := mailtest.Start(t, mailtest.Options{})
	s := sender(t, server, Config{Security: Clear})
	for _, name := range []string{
		"x\r\nBcc: eve@example.com\r\n\r\nbody", "x\nBcc: eve@example.com", "x\rBcc: eve@example.com", "x\u2028Bcc: y", "a\u202egpj.exe", "\x00\x1b[2J",
		"=?utf-8?q?x=0d=0aBcc:_eve@example.com?=", strings.Repeat("long ", 500), "x\r\n.\r\nMAIL FROM:<eve@example.com>",
	} {
		if err := s.Send(t.Context(), Message{To: "ada@example.com", Subject: "Pod of " + name, Text: "Team " + name}); err != nil {
			t.Errorf("%q: %v", name, err)
			continue
		}
		got := server.Next(t)
		m, text := parse(t, got.Raw)
		for header := range m.Header {
			if !slices.Contains([]string{"Date", "Mime-Version", "Message-Id", "Subject", "From", "To", "Auto-Submitted", "Content-Type", "Content-Transfer-Encoding"}, header) {
				t.Errorf("%q: a header %s", name, header)
			}
		}
		subject, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
		if err != nil || strings.ContainsAny(subject, "\r\n\u202e\u2028\x00\x1b") || len(subject) > 4*maxSubject {
			t.Errorf("%q: subject %q %v", name, subject, err)
		}
		if strings.ContainsAny(text, "\u202e\u2028\x00\x1b") || got.To != "ada@example.com" {
			t.Errorf("%q: %q to %s", name, text, got.To)
		}
		for line := range strings.SplitSeq(got.Raw, "\r\n") {
			if len(line) > 998 || strings.ContainsAny(line, "\r\n") {
				t.Errorf("%q: line of %d bytes: %.100q", name, len(line), line)
			}
		}
	}
	if all, n := server.All(); len(all) != n {
		t.Errorf("%d mails in %d connections", len(all), n)
	}
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	server := mailtest.Start(t, mailtest.Options{})
	s := sender(t, server, Config{Security: Clear})
	for _, to := range []string{
		"", "ada", "a@b.example, c@d.example", "Ada <a@b.example>", "a@b.example\r\nRCPT TO:<c@d.example>", "<a@b.example>", "a@b.example>", "\"a b\"@c.example",
		"a\u202e@b.example", strings.Repeat("a", 300) + "@b.example", "a@b.example (x)",
	} {
		err := s.Send(t.Context(), Message{To: to, Subject: "x", Text: "x"})
		var e *Error
		if !errors.As(err, &e) || e.Step != Recipient || !e.Final {
			t.Errorf("%q: %v", to, err)
		}
	}
	if _, n := server.All(); n != 0 {
		t.Errorf("%d connections for addresses that are none", n)
	}
	if _, err := New(Config{From: "x"}); err == nil {
		t.Error("a sender that is none is accepted")
	}
}

// Each way to connect and to sign in, step by step.
func TestSteps(t *testing.T) {
	t.Parallel()
	users := map[string]string{"ada": "pass word"}
	for name, c := range map[string]struct {
		server mailtest.Options
		client Config
		want   string
	}{
		"clear":          {mailtest.Options{}, Config{Security: Clear}, "not asked for|not asked for"},
		"STARTTLS":       {mailtest.Options{Certificate: &tls.Certificate{}}, Config{}, "TLS 1.3|not asked for"},
		"TLS":            {mailtest.Options{Certificate: &tls.Certificate{}, TLS: true}, Config{Security: TLS}, "TLS 1.3|not asked for"},
		"PLAIN":          {mailtest.Options{Certificate: &tls.Certificate{}, Mechanisms: "CRAM-MD5 LOGIN PLAIN", Users: users}, Config{Username: "ada", Password: "pass word"}, "TLS 1.3|ada, PLAIN"},
		"LOGIN":          {mailtest.Options{Certificate: &tls.Certificate{}, TLS: true, Mechanisms: "LOGIN", Users: users}, Config{Security: TLS, Username: "ada", Password: "pass word"}, "TLS 1.3|ada, LOGIN"},
		"PLAIN in clear": {mailtest.Options{Mechanisms: "PLAIN", Users: users}, Config{Security: Clear, Username: "ada", Password: "pass word"}, "not asked for|ada, PLAIN"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var server *mailtest.Server
			if c.server.Certificate != nil {
				var trust Config
				server, trust = secured(t, c.server)
				c.client.Roots = trust.Roots
				if c.client.Security == "" {
					c.client.Security = StartTLS
				}
			} else {
				server = mailtest.Start(t, c.server)
			}
			said := map[Step]string{}
			var order []Step
			err := sender(t, server, c.client).SendWith(t.Context(), hello, func(step Step, what string) { said[step] = what; order = append(order, step) })
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(order, []Step{Connect, Encrypt, SignIn, SenderOK, Recipient, Text}) || said[Encrypt]+"|"+said[SignIn] != c.want || said[Text] != "taken: taken as 1" {
				t.Errorf("%v %v", order, said)
			}
			server.Next(t)
		})
	}
}

// An error says at which step it ended, why, and whether trying again helps.
func TestFailures(t *testing.T) {
	t.Parallel()
	cert := func() *tls.Certificate {
		c := webtest.NewAuthority(t).Sign("elsewhere.example", time.Unix(0, 0), time.Unix(1<<33, 0))
		return &c
	}
	for name, c := range map[string]struct {
		server mailtest.Options
		client Config
		step   Step
		final  bool
		words  string
	}{
		"busy":             {mailtest.Options{Answers: map[string]string{"": "421 too many"}}, Config{}, Connect, false, "421 too many"},
		"no STARTTLS":      {mailtest.Options{}, Config{Security: StartTLS}, Encrypt, false, "does not offer STARTTLS"},
		"untrusted":        {mailtest.Options{Certificate: cert()}, Config{Security: StartTLS}, Encrypt, false, "not to be trusted"},
		"untrusted TLS":    {mailtest.Options{Certificate: cert(), TLS: true}, Config{Security: TLS}, Encrypt, false, "not to be trusted"},
		"TLS to clear":     {mailtest.Options{}, Config{Security: TLS}, Encrypt, false, "does not begin with TLS"},
		"no passwords":     {mailtest.Options{}, Config{Username: "a", Password: "b"}, SignIn, false, "takes no password"},
		"mechanism":        {mailtest.Options{Mechanisms: "GSSAPI NTLM"}, Config{Username: "a", Password: "b"}, SignIn, false, "GSSAPI, NTLM"},
		"wrong password":   {mailtest.Options{Mechanisms: "PLAIN"}, Config{Username: "a", Password: "b"}, SignIn, true, "535 5.7.8 wrong"},
		"sender":           {mailtest.Options{Answers: map[string]string{"MAIL": "553 not yours"}}, Config{}, SenderOK, true, "553 not yours"},
		"recipient":        {mailtest.Options{Answers: map[string]string{"RCPT": "550 5.1.1 nobody\x1b[2J"}}, Config{}, Recipient, true, "550 5.1.1 nobody[2J"},
		"greylisting":      {mailtest.Options{Answers: map[string]string{"RCPT": "451 later"}}, Config{}, Recipient, false, "451 later"},
		"text":             {mailtest.Options{Answers: map[string]string{"DATA": "554 spam"}}, Config{}, Text, true, "554 spam"},
		"goes":             {mailtest.Options{Answers: map[string]string{"RCPT": "close"}}, Config{}, Recipient, false, "EOF"},
		"says too much":    {mailtest.Options{Answers: map[string]string{"": strings.Repeat("220-x\r\n", 20000) + "220 x"}}, Config{}, Connect, false, "says more"},
		"one endless line": {mailtest.Options{Answers: map[string]string{"MAIL": "250 " + strings.Repeat("x", 1<<20)}}, Config{}, Recipient, false, "says more"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c.client.Security == "" {
				c.client.Security = Clear
			}
			server := mailtest.Start(t, c.server)
			err := sender(t, server, c.client).Send(t.Context(), hello)
			var e *Error
			if !errors.As(err, &e) || e.Step != c.step || e.Final != c.final || !strings.Contains(e.Words, c.words) {
				t.Errorf("%+v", err)
			}
			if all, _ := server.All(); len(all) > 0 {
				t.Error("it arrived all the same")
			}
		})
	}
}

// Nothing is handed over, and no password, to a server that answers in clear where
// TLS is wanted.
func TestNothingInClear(t *testing.T) {
	t.Parallel()
	server := mailtest.Start(t, mailtest.Options{Mechanisms: "PLAIN", Users: map[string]string{"ada": "secret"}})
	err := sender(t, server, Config{Security: StartTLS, Username: "ada", Password: "secret"}).Send(t.Context(), hello)
	if !errors.Is(err, errNoTLS) {
		t.Error(err)
	}
	if all, _ := server.All(); len(all) > 0 {
		t.Error("sent in clear")
	}
}

// A server that says nothing holds up nobody for longer than ctx.
func TestSilence(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"", "EHLO", "MAIL", "RCPT", "DATA"} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			server := mailtest.Start(t, mailtest.Options{Answers: map[string]string{step: "hang"}})
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			err := sender(t, server, Config{Security: Clear}).Send(ctx, hello)
			var e *Error
			if !errors.As(err, &e) || e.Final || !strings.Contains(e.Words, "did not answer") {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestNobodyThere(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := ln.Addr().(*net.TCPAddr).Port
	ln.Close()
	s, err := New(Config{Host: "127.0.0.1", Port: port, Security: Clear, From: "a@example.com", Own: "x", Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	var e *Error
	if err := s.Send(t.Context(), hello); !errors.As(err, &e) || e.Step != Connect || !strings.Contains(e.Words, "refused") {
		t.Error(err)
	}
}
