package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"podgate/control"
)

// passwordSource is how a command comes by a new password.
type passwordSource struct{ fromStdin bool }

// newPassword is a password and whether podgate made it.
type newPassword struct {
	text string
	made bool
}

func passwordFlags(cmd *cobra.Command) *passwordSource {
	var s passwordSource
	cmd.Flags().BoolVar(&s.fromStdin, "password-stdin", false, "read the password from the first line of standard input")
	return &s
}

// get reads the password from standard input, asks for it on a terminal, or
// makes one.
func (s *passwordSource) get(ctx context.Context, inv *invocation) (newPassword, error) {
	if s.fromStdin {
		return passwordLine(inv.Stdin)
	}
	if tty := inv.terminal(); tty != nil {
		return askPassword(ctx, tty, inv.Stderr)
	}
	return makePassword(), nil
}

// terminal returns standard input if somebody can be asked there, else nil.
func (inv *invocation) terminal() *os.File {
	if f, ok := inv.Stdin.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return f
	}
	return nil
}

// confirm asks somebody at a terminal; anything but yes is errDeclined.
func confirm(ctx context.Context, tty io.Reader, prompt io.Writer, question string) error {
	if _, err := io.WriteString(prompt, question+" [y/N] "); err != nil {
		return err
	}
	read := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(tty).ReadString('\n') // an end without a line is no yes
		read <- line
	}()
	select {
	case line := <-read:
		if answer := strings.ToLower(strings.TrimSpace(line)); answer != "y" && answer != "yes" {
			return errDeclined
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

var errDeclined = errors.New("nothing was changed")

// maxPasswordLine bounds what is read, in bytes; package account has the rule.
const maxPasswordLine = 4 << 10

func passwordLine(r io.Reader) (newPassword, error) {
	line, err := bufio.NewReader(io.LimitReader(r, maxPasswordLine)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return newPassword{}, fmt.Errorf("read the password: %w", err)
	}
	line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
	if line == "" {
		return newPassword{}, errors.New("standard input holds no password; write it there as one line")
	}
	return newPassword{text: line}, nil
}

// makePassword makes one of 26 letters and digits (130 bits), in groups that
// can be read aloud.
func makePassword() newPassword {
	raw := strings.ToLower(rand.Text())
	return newPassword{text: strings.Join([]string{raw[:6], raw[6:13], raw[13:20], raw[20:]}, "-"), made: true}
}

// reveal says what was done to an account, and the password if podgate made it: it is
// shown once, and a person who chose one need not see it again.
func (p newPassword) reveal(inv *invocation, asJSON bool, u control.User, words string) error {
	shown := struct {
		control.User
		Password string `json:"password,omitempty"`
	}{User: u}
	if p.made {
		shown.Password = p.text
		words += "\nTheir password, shown only now: " + p.text
	}
	return inv.done(asJSON, shown, "%s", words)
}

// askPassword asks twice without echo. An empty answer makes a password.
func askPassword(ctx context.Context, tty *os.File, prompt io.Writer) (newPassword, error) {
	first, err := readHidden(ctx, tty, prompt, "New password (empty: make one): ")
	if err != nil {
		return newPassword{}, err
	}
	if first == "" {
		return makePassword(), nil
	}
	second, err := readHidden(ctx, tty, prompt, "The same again: ")
	if err != nil {
		return newPassword{}, err
	}
	if first != second {
		return newPassword{}, errors.New("the two passwords differ; nothing was changed")
	}
	return newPassword{text: first}, nil
}

// readHidden reads a line without echo. When ctx ends, which is what Ctrl-C
// does, the terminal gets its echo back; the read itself cannot be called off
// and ends with the process.
func readHidden(ctx context.Context, tty *os.File, prompt io.Writer, text string) (string, error) {
	fd := int(tty.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return "", err
	}
	if _, err := io.WriteString(prompt, text); err != nil {
		return "", err
	}
	type line struct {
		text []byte
		err  error
	}
	read := make(chan line, 1)
	go func() {
		text, err := term.ReadPassword(fd)
		read <- line{text, err}
	}()
	select {
	case l := <-read:
		_, _ = io.WriteString(prompt, "\n") // the Enter that was not echoed
		return string(l.text), l.err
	case <-ctx.Done():
		return "", errors.Join(ctx.Err(), term.Restore(fd, before))
	}
}
