// Package mailtest is a mail server for tests, on loopback and in this process: it
// keeps what it is handed, speaks STARTTLS or TLS and AUTH when a test wants that,
// and refuses, hangs up or says nothing at the step that a test names.
package mailtest

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// Options say how a server behaves. The zero value takes everything, in clear.
type Options struct {
	Certificate *tls.Certificate  // with it STARTTLS is offered
	TLS         bool              // begins with TLS instead
	Mechanisms  string            // of AUTH, such as "PLAIN LOGIN"; empty: offers none
	Users       map[string]string // who may sign in, and with what password
	// Answers are what commands get in place of the usual, such as "MAIL" → "550 no".
	// «hang» says nothing until the other side goes, «close» goes.
	Answers map[string]string
}

// Mail is what was handed over.
type Mail struct{ From, To, Raw string }

// Server is a running mail server.
type Server struct {
	Port int

	o       Options
	ln      net.Listener
	mu      sync.Mutex
	answers map[string]string
	conns   map[net.Conn]struct{}
	asked   int
	got     chan Mail
	all     []Mail
}

// Start runs a server until the end of the test.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Port: ln.Addr().(*net.TCPAddr).Port, o: o, ln: ln, answers: o.Answers, conns: map[net.Conn]struct{}{}, got: make(chan Mail, 1000)}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns[conn] = struct{}{}
			s.asked++
			s.mu.Unlock()
			all.Go(func() { s.serve(conn) })
		}
	})
	t.Cleanup(func() {
		ln.Close()
		s.mu.Lock()
		for c := range s.conns {
			c.Close()
		}
		s.mu.Unlock()
		all.Wait()
	})
	return s
}

// Answer changes what a command gets; an empty answer is the usual one.
func (s *Server) Answer(command, answer string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := map[string]string{command: answer}
	for c, a := range s.answers {
		if c != command {
			next[c] = a
		}
	}
	s.answers = next
}

// Next waits for a mail.
func (s *Server) Next(t testing.TB) Mail {
	t.Helper()
	select {
	case m := <-s.got:
		return m
	case <-time.After(20 * time.Second):
		t.Fatal("no mail came")
		return Mail{}
	}
}

// All returns every mail so far, and how often somebody connected.
func (s *Server) All() ([]Mail, int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Mail(nil), s.all...), s.asked
}

// session is one connection.
type session struct {
	*Server
	conn net.Conn
	in   *bufio.Reader
	m    Mail
}

func (s *Server) serve(conn net.Conn) {
	defer func() {
		conn.Close()
		s.mu.Lock()
		delete(s.conns, conn)
		s.mu.Unlock()
	}()
	c := &session{Server: s, conn: conn}
	if s.o.TLS {
		c.secure()
	}
	c.in = bufio.NewReader(c.conn)
	if !c.answer("", "220 mail.test ready") {
		return
	}
	for {
		line, err := c.in.ReadString('\n')
		if err != nil || !c.command(strings.TrimRight(line, "\r\n")) {
			return
		}
	}
}

func (c *session) secure() {
	c.conn = tls.Server(c.conn, &tls.Config{Certificates: []tls.Certificate{*c.o.Certificate}})
	c.in = bufio.NewReader(c.conn)
}

func (c *session) say(line string) bool {
	_, err := io.WriteString(c.conn, line+"\r\n")
	return err == nil
}

// answer gives the answer to a command, or what the test wants in its place.
func (c *session) answer(command, usual string) bool {
	c.mu.Lock()
	set, ok := c.answers[command]
	c.mu.Unlock()
	switch {
	case set == "hang":
		_, _ = io.Copy(io.Discard, c.conn)
		return false
	case set == "close":
		return false
	case ok && set != "":
		return c.say(set)
	}
	return c.say(usual)
}

func (c *session) command(line string) bool {
	word, rest, _ := strings.Cut(line, " ")
	switch word = strings.ToUpper(word); word {
	case "EHLO":
		return c.answer(word, c.greeting())
	case "STARTTLS":
		if !c.answer(word, "220 go ahead") {
			return false
		}
		c.secure()
		return true
	case "AUTH":
		return c.auth(rest)
	case "MAIL":
		c.m = Mail{From: between(rest)}
	case "RCPT":
		c.m.To = between(rest)
	case "DATA":
		return c.data()
	case "QUIT":
		c.say("221 bye")
		return false
	}
	return c.answer(word, "250 ok")
}

func (c *session) greeting() string {
	lines := []string{"mail.test", "8BITMIME"}
	if _, secured := c.conn.(*tls.Conn); c.o.Certificate != nil && !secured {
		lines = append(lines, "STARTTLS")
	}
	if c.o.Mechanisms != "" {
		lines = append(lines, "AUTH "+c.o.Mechanisms)
	}
	return "250-" + strings.Join(lines[:len(lines)-1], "\r\n250-") + "\r\n250 " + lines[len(lines)-1]
}

// auth is PLAIN and LOGIN (RFC 4616 and a draft that never ended).
func (c *session) auth(rest string) bool {
	mechanism, initial, _ := strings.Cut(rest, " ")
	name, password := "", ""
	switch mechanism {
	case "PLAIN":
		parts := strings.Split(decoded(initial), "\x00")
		if len(parts) == 3 {
			name, password = parts[1], parts[2]
		}
	case "LOGIN":
		name, password = c.ask("Username:"), c.ask("Password:")
	}
	if want, ok := c.o.Users[name]; !ok || want != password {
		return c.answer("AUTH", "535 5.7.8 wrong name or password")
	}
	return c.answer("AUTH", "235 welcome")
}

func (c *session) ask(prompt string) string {
	c.say("334 " + base64.StdEncoding.EncodeToString([]byte(prompt)))
	line, _ := c.in.ReadString('\n')
	return decoded(strings.TrimSpace(line))
}

func decoded(s string) string {
	raw, _ := base64.StdEncoding.DecodeString(s)
	return string(raw)
}

func between(s string) string {
	_, s, _ = strings.Cut(s, "<")
	s, _, _ = strings.Cut(s, ">")
	return s
}

func (c *session) data() bool {
	if !c.say("354 go on") {
		return false
	}
	var raw strings.Builder
	for {
		line, err := c.in.ReadString('\n')
		if err != nil {
			return false
		}
		if line == ".\r\n" {
			break
		}
		raw.WriteString(strings.TrimPrefix(line, "."))
	}
	c.mu.Lock()
	refused := c.answers["DATA"] != ""
	if !refused {
		c.m.Raw = raw.String()
		c.all = append(c.all, c.m)
		c.got <- c.m
	}
	n := len(c.all)
	c.mu.Unlock()
	return c.answer("DATA", fmt.Sprintf("250 taken as %d", n))
}
