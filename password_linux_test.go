package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// terminal is the two ends of a pseudo-terminal.
type terminal struct{ keyboard, tty *os.File }

func newTerminal(t *testing.T) terminal {
	t.Helper()
	keyboard, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip("there is no /dev/ptmx here: " + err.Error())
	}
	t.Cleanup(func() { keyboard.Close() })
	if err := unix.IoctlSetPointerInt(int(keyboard.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(keyboard.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tty.Close() })
	return terminal{keyboard, tty}
}

func (term terminal) echoes(t *testing.T) bool {
	t.Helper()
	state, err := unix.IoctlGetTermios(int(term.tty.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return state.Lflag&unix.ECHO != 0
}

// typing runs a command at a terminal, types each answer after its prompt, when
// the terminal no longer echoes if it is for a password, and returns code and
// output.
func (term terminal) typing(t *testing.T, args []string, prompts, answers []string) (int, string, string) {
	t.Helper()
	var out bytes.Buffer
	errs := &syncBuffer{}
	done := make(chan int)
	go func() {
		done <- run(context.Background(), process{Args: args, Stdin: term.tty, Stdout: &out, Stderr: errs})
	}()
	for i, prompt := range prompts {
		hidden := !strings.HasSuffix(prompt, "[y/N] ")
		eventually(t, func() bool {
			select {
			case code := <-done:
				t.Fatalf("ended with %d before the prompt %q: %s%s", code, prompt, out.String(), errs)
			default:
			}
			return strings.HasSuffix(errs.String(), prompt) && term.echoes(t) != hidden
		})
		if _, err := io.WriteString(term.keyboard, answers[i]+"\n"); err != nil {
			t.Fatal(err)
		}
	}
	code := <-done
	if !term.echoes(t) {
		t.Error("the terminal was left without echo")
	}
	return code, out.String(), errs.String()
}

const (
	firstPrompt  = "New password (empty: make one): "
	secondPrompt = "The same again: "
)

func TestPasswordPrompt(t *testing.T) {
	t.Parallel()
	term, dir := newTerminal(t), t.TempDir()
	add := []string{"user", "add", "ada@example.com", "--data", dir}
	code, out, errs := term.typing(t, add, []string{firstPrompt, secondPrompt}, []string{"correct horse", "correct hose"})
	if code != exitFailed || !strings.Contains(errs, "the two passwords differ") || out != "" {
		t.Errorf("%d %s%s", code, out, errs)
	}
	if _, err := os.Stat(filepath.Join(dir, "podgate.db")); err == nil {
		t.Error("a database was begun for nothing")
	}
	code, out, errs = term.typing(t, add, []string{firstPrompt, secondPrompt}, []string{"correct horse battery", "correct horse battery"})
	if code != exitDone || !strings.Contains(out, "Added ada@example.com.") || strings.Contains(out+errs, "horse") {
		t.Errorf("%d %s%s", code, out, errs)
	}
	passwd := []string{"user", "passwd", "ada@example.com", "--data", dir}
	code, out, errs = term.typing(t, passwd, []string{firstPrompt}, []string{""})
	if code != exitDone || !strings.Contains(out, "shown only now: ") {
		t.Errorf("%d %s%s", code, out, errs)
	}
}

// Who removes somebody at a terminal is told who goes and what ends, and asked.
func TestRemovalIsConfirmed(t *testing.T) {
	t.Parallel()
	term, dir := newTerminal(t), t.TempDir()
	ok := func(args ...string) {
		t.Helper()
		if code, out, errs := runCommand(append(args, "--data", dir)...); code != exitDone {
			t.Fatalf("%v: %d %s%s", args, code, out, errs)
		}
	}
	ok("user", "add", "ada@example.com", "--admin")
	ok("user", "add", "bob@example.com", "--name", "Bob")
	ok("user", "add", "eve@example.com")
	remove := func(email string, flags ...string) []string {
		return append([]string{"user", "remove", email, "--data", dir}, flags...)
	}
	const question = "Remove bob@example.com (Bob)? Sessions that end: 0, connections: 0. Teams and pods stay. [y/N] "
	for _, answer := range []string{"", "no", "yes please"} {
		code, out, errs := term.typing(t, remove("Bob@Example.com"), []string{question}, []string{answer})
		if code != exitFailed || out != "" || !strings.Contains(errs, "nothing was changed") {
			t.Errorf("%q: %d %s%s", answer, code, out, errs)
		}
	}
	if code, _, errs := term.typing(t, remove("nobody@example.com"), nil, nil); code != exitFailed || !strings.Contains(errs, "There is no account") {
		t.Errorf("somebody who is not there: %d %s", code, errs)
	}
	if code, out, errs := term.typing(t, remove("bob@example.com"), []string{question}, []string{"Y"}); code != exitDone || out != "Removed bob@example.com.\n" {
		t.Errorf("after a yes: %d %s%s", code, out, errs)
	}
	if code, out, errs := term.typing(t, remove("eve@example.com", "--yes"), nil, nil); code != exitDone || errs != "" {
		t.Errorf("with --yes: %d %s%s", code, out, errs)
	}
}

// While somebody thinks about a removal, others may use the database.
func TestRemovalWaitsWithoutTheDatabase(t *testing.T) {
	t.Parallel()
	term, dir := newTerminal(t), t.TempDir()
	if code, out, errs := runCommand("user", "add", "bob@example.com", "--data", dir); code != exitDone {
		t.Fatal(code, out, errs)
	}
	errs, done := &syncBuffer{}, make(chan int)
	go func() {
		done <- run(context.Background(), process{Args: []string{"user", "remove", "bob@example.com", "--data", dir}, Stdin: term.tty, Stdout: io.Discard, Stderr: errs})
	}()
	eventually(t, func() bool { return strings.HasSuffix(errs.String(), "[y/N] ") })
	if code, out, errs := runCommand("user", "list", "--data", dir); code != exitDone {
		t.Errorf("%d %s%s", code, out, errs)
	}
	if _, err := io.WriteString(term.keyboard, "n\n"); err != nil {
		t.Fatal(err)
	}
	if code := <-done; code != exitFailed {
		t.Errorf("ended with %d: %s", code, errs)
	}
}

// Ctrl-C at the prompt gives the terminal its echo back.
func TestPasswordPromptInterrupted(t *testing.T) {
	t.Parallel()
	term, dir := newTerminal(t), t.TempDir()
	ctx, interrupt := context.WithCancel(context.Background())
	errs := &syncBuffer{}
	done := make(chan int)
	go func() {
		done <- run(ctx, process{Args: []string{"user", "add", "ada@example.com", "--data", dir}, Stdin: term.tty, Stdout: io.Discard, Stderr: errs})
	}()
	eventually(t, func() bool { return strings.HasSuffix(errs.String(), firstPrompt) && !term.echoes(t) })
	interrupt()
	if code := <-done; code != exitFailed || !strings.Contains(errs.String(), "interrupted") {
		t.Errorf("%d %s", code, errs)
	}
	if !term.echoes(t) {
		t.Error("the terminal was left without echo")
	}
	term.endRead(t)
}

// endRead lets an abandoned read end and waits until it has put the echo back,
// which would else happen to whatever has the number of its descriptor then.
func (term terminal) endRead(t *testing.T) {
	t.Helper()
	fd := int(term.tty.Fd())
	state, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	state.Lflag &^= unix.ECHO
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, state); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(term.keyboard, "\n"); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return term.echoes(t) })
}
