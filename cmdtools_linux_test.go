package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// hostile is what pods print and servers say who would steer a terminal.
const hostile = "a\x1b]0;owned\x07\x1b[2J\u009b31m\u202eb\ttab\r\nnext\x00"

// What pods print reaches a terminal as text alone, and a file or a program as it is.
func TestHostileOutput(t *testing.T) {
	t.Parallel()
	term := newTerminal(t)
	got := make(chan string, 1)
	go func() {
		var all []byte
		for raw := make([]byte, 4096); !bytes.Contains(all, []byte("next")); { // it comes in pieces
			n, err := term.keyboard.Read(raw)
			if all = append(all, raw[:n]...); err != nil {
				break
			}
		}
		got <- string(all)
	}()
	if err := output(term.tty, hostile); err != nil {
		t.Fatal(err)
	}
	if shown := <-got; strings.ContainsAny(strings.ReplaceAll(shown, "\r\n", "\n"), "\x1b\x07\x00\r\u009b\u202e") || !strings.Contains(shown, "next") {
		t.Errorf("the terminal gets %q", shown)
	}
	var file bytes.Buffer
	if err := output(&file, hostile); err != nil || file.String() != hostile {
		t.Errorf("a file gets %q, %v", file.String(), err)
	}
	f := &toolFlags{inv: &invocation{process: process{Stdout: &file}}}
	file.Reset()
	raw, err := json.Marshal(map[string]string{"x": hostile + "\U000e0041"})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.printData(raw); err != nil || visibleLines(file.String()) != file.String() {
		t.Errorf("JSON is %q, %v", file.String(), err)
	}
	var back map[string]string
	if err := json.Unmarshal(file.Bytes(), &back); err != nil || back["x"] != hostile+"\U000e0041" {
		t.Errorf("and says %q, %v", back["x"], err)
	}
	if code, errs := runWith(term.tty, "nonsense\x1b[2J"); code != exitUsage || strings.Contains(errs, "\x1b") {
		t.Errorf("a message has %q", errs)
	}
}

func runWith(stdin *os.File, args ...string) (int, string) {
	var errs bytes.Buffer
	return run(context.Background(), process{Args: args, Stdin: stdin, Stdout: &bytes.Buffer{}, Stderr: &errs}), errs.String()
}

// Lines that two looks have in common are shown once, and equal ones as often as they
// were printed.
func TestSeenLines(t *testing.T) {
	t.Parallel()
	at := func(second int, text string) podLine {
		return podLine{Time: time.Unix(int64(second), 0).UTC(), Text: text}
	}
	var s seenLines
	for i, c := range []struct {
		list []podLine
		want int
	}{
		{[]podLine{at(1, "a"), at(1, "a"), at(2, "b")}, 3},
		{[]podLine{at(1, "a"), at(1, "a"), at(2, "b")}, 0},
		{[]podLine{at(1, "a"), at(1, "a"), at(1, "a"), at(2, "b"), at(1, "late")}, 2},
		{nil, 0},
		{[]podLine{at(3, "c")}, 1},
	} {
		if got := s.fresh(c.list); len(got) != c.want {
			t.Errorf("look %d: %v", i, got)
		}
	}
	if !s.newest.Equal(time.Unix(3, 0)) {
		t.Errorf("the newest is of %v", s.newest)
	}
}

// A pod is deleted at a terminal only by who types its name, having read what is lost,
// and its logs are followed until that is interrupted.
func TestPodAtTerminal(t *testing.T) {
	t.Parallel()
	srv := startServer(t)
	needSandbox(t, srv)
	setUp(t, srv)
	g := onMachine(t, srv)
	g.must("pod create site --preset static")
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	out, ended := &syncBuffer{}, make(chan int, 1)
	go func() {
		ended <- run(ctx, process{Args: []string{"pod", "logs", "-f", "site", "--data", srv.DataDir}, Stdin: strings.NewReader(""), Stdout: out, Stderr: out})
	}()
	eventually(t, func() bool { return strings.Contains(out.String(), "agent/") })
	before := strings.Count(out.String(), "\n")
	g.must("pod restart site")
	eventually(t, func() bool { return strings.Count(out.String(), "\n") > before })
	interrupt()
	if code := <-ended; code != exitDone {
		t.Errorf("following ends with %d: %s", code, out)
	}
	lines := strings.Split(out.String(), "\n")
	for i, line := range lines {
		if i > 0 && line != "" && line == lines[i-1] {
			t.Errorf("shown twice: %s", line)
		}
	}

	args := []string{"pod", "delete", "site", "--data", srv.DataDir}
	question := []string{"Type its name to delete it: "}
	if code, _, errs := newTerminal(t).answering(t, args, question, []string{"yes"}); code != exitFailed || !strings.Contains(errs, "nothing was changed") || !strings.Contains(errs, "then it is lost: all its files") {
		t.Errorf("another word: %d %s", code, errs)
	}
	if code, out, errs := newTerminal(t).answering(t, args, question, []string{"site"}); code != exitDone || !strings.Contains(out, "deleted") {
		t.Errorf("its name: %d %s%s", code, out, errs)
	}
}

// answering is typing for prompts whose answers are echoed.
func (term terminal) answering(t *testing.T, args, prompts, answers []string) (int, string, string) {
	t.Helper()
	var out bytes.Buffer
	errs := &syncBuffer{}
	done := make(chan int, 1)
	go func() {
		done <- run(context.Background(), process{Args: args, Stdin: term.tty, Stdout: &out, Stderr: errs})
	}()
	for i, prompt := range prompts {
		eventually(t, func() bool { return strings.HasSuffix(errs.String(), prompt) || len(done) > 0 })
		if _, err := term.keyboard.WriteString(answers[i] + "\n"); err != nil {
			t.Fatal(err)
		}
	}
	return <-done, out.String(), errs.String()
}

// A folder with what can be run, or much of it, goes as an archive, into a pod that is
// made for it; one that fails says why.
func TestPodDeployByArchive(t *testing.T) {
	t.Parallel()
	srv := startServer(t)
	needSandbox(t, srv)
	setUp(t, srv)
	g := onMachine(t, srv)
	dir := t.TempDir()
	write(t, dir, map[string]string{"Procfile": "web: ./serve.sh\n", "serve.sh": "#!/bin/sh\nexec perl app.pl\n", "app.pl": upgrader})
	if err := os.Chmod(filepath.Join(dir, "serve.sh"), 0o755); err != nil {
		t.Fatal(err)
	}
	g.says("Making the pod tools", "pod deploy "+dir+" --name tools")
	g.says("./serve.sh", "pod show tools")
	write(t, dir, map[string]string{"serve.sh": "#!/bin/sh\necho it is broken; exit 1\n"})
	g.refuses("it is broken", "pod deploy "+dir+" --name tools")
	g.says("what ran before is back", "pod deploys tools")
}
