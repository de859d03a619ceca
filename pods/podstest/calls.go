package podstest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"podgate/pods"
	"podgate/pods/wire"
)

func testExec(t *testing.T, r pods.Runtime) {
	b := newBench(t, r)
	b.create("shop", "static", nil)
	out := b.run("shop", "echo to out; echo to err >&2; exit 7")
	if out.Code != 7 || string(out.Stdout) != "to out\n" || string(out.Stderr) != "to err\n" || out.Signal != "" {
		t.Errorf("%+v", out)
	}
	out = b.run("shop", "kill -TERM $$")
	if out.Code != 128+15 || out.Signal != "SIGTERM" {
		t.Errorf("ended by a signal: %+v", out)
	}
	if out = b.run("shop", "no-such-program"); out.Code != 127 {
		t.Errorf("no such program: %+v", out)
	}
	in := pods.ExecRequest{Command: "wc -c; printf '\\377\\000'", Stdin: bytes.Repeat([]byte("x"), 200_000)}
	out, err := b.Exec(t.Context(), b.actor, "shop", in, nil)
	if err != nil || strings.TrimSpace(string(out.Stdout[:len(out.Stdout)-2])) != "200000" || !bytes.HasSuffix(out.Stdout, []byte{0xff, 0}) {
		t.Errorf("input: %q %v", out.Stdout, err)
	}
	out, err = b.Exec(t.Context(), b.actor, "shop", pods.ExecRequest{Command: "cat", Stdin: nil}, nil)
	if err != nil || len(out.Stdout) != 0 {
		t.Errorf("no input: %q %v", out.Stdout, err)
	}
	var heard int
	big := pods.ExecRequest{Command: "head -c 300000 /dev/zero | tr '\\0' x; echo end; echo err >&2", MaxOutput: 1000}
	out, err = b.Exec(t.Context(), b.actor, "shop", big, func(string, []byte) { heard++ })
	if err != nil || len(out.Stdout) != 1000 || !bytes.HasSuffix(out.Stdout, []byte("xend\n")) || out.DroppedStdout != 299_004 || out.LostStdout != 0 || string(out.Stderr) != "err\n" || out.Code != 0 || heard == 0 {
		t.Errorf("much output: kept %d, dropped %d, said %q, heard %d, %v", len(out.Stdout), out.DroppedStdout, out.Stderr, heard, err)
	}
	huge := pods.ExecRequest{Command: fmt.Sprintf("head -c %d /dev/zero", pods.MaxStream+5000), MaxOutput: 1000}
	if out, err = b.Exec(t.Context(), b.actor, "shop", huge, nil); err != nil || len(out.Stdout) != 1000 || out.DroppedStdout != pods.MaxStream-1000 || out.LostStdout != 5000 {
		t.Errorf("more than is read: kept %d, dropped %d, lost %d, %v", len(out.Stdout), out.DroppedStdout, out.LostStdout, err)
	}
	b.prints("shop", "mkdir -p sub/deep")
	out, err = b.Exec(t.Context(), b.actor, "shop", pods.ExecRequest{Command: "pwd", Dir: "sub/deep"}, nil)
	if err != nil || !strings.HasSuffix(strings.TrimSpace(string(out.Stdout)), "/app/sub/deep") {
		t.Errorf("in a folder: %q %v", out.Stdout, err)
	}
	for dir, want := range map[string]error{"nowhere": pods.ErrNoFile, "/etc": pods.ErrPath, "../../..": pods.ErrPath} {
		if _, err := b.Exec(t.Context(), b.actor, "shop", pods.ExecRequest{Command: "true", Dir: dir}, nil); !errors.Is(err, want) {
			t.Errorf("in %s: %v, want %v", dir, err, want)
		}
	}
}

func testExecKills(t *testing.T, r pods.Runtime) {
	b := newBench(t, r)
	b.create("shop", "static", nil)
	start := time.Now()
	out, err := b.Exec(t.Context(), b.actor, "shop", pods.ExecRequest{Command: beating("late") + "; echo so far; sleep 1000", Timeout: 500 * time.Millisecond}, nil)
	if !errors.Is(err, pods.ErrTimedOut) || string(out.Stdout) != "so far\n" {
		t.Errorf("out of time: %+v %v", out, err)
	}
	if took := time.Since(start); took > 9*time.Second {
		t.Errorf("the time limit of 500ms took %s", took)
	}
	if b.beats("shop", "late") {
		t.Error("what the command started outlived its time limit")
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, err = b.Exec(ctx, b.actor, "shop", pods.ExecRequest{Command: beating("gone") + "; while ! test -s beat.gone; do sleep 0.01; done; echo on; sleep 1000"}, func(string, []byte) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	b.until("what a cancelled command started is killed", func() bool { return !b.beats("shop", "gone") })
}

func testExecMany(t *testing.T, r pods.Runtime) {
	b := newBench(t, r)
	b.create("shop", "static", nil)
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			out, err := b.Exec(t.Context(), b.actor, "shop", pods.ExecRequest{Command: fmt.Sprintf("echo %d; sleep 0.05; exit %d", i, i)}, nil)
			if err != nil || string(out.Stdout) != fmt.Sprintln(i) || out.Code != i {
				t.Errorf("%d: %+v %v", i, out, err)
			}
		})
	}
	wg.Wait()
}

func testEnv(t *testing.T, r pods.Runtime) {
	b := newBench(t, r)
	b.create("shop", "static", map[string]string{"GREETING": "hello 'world'\nagain", "EMPTY": ""})
	if got := b.prints("shop", `printf '%s|%s' "$GREETING" "${EMPTY-unset}"`); got != "hello 'world'\nagain|" {
		t.Errorf("%q", got)
	}
	if got := b.prints("shop", `cd "$HOME/app" && pwd -P`); got != b.prints("shop", "pwd -P") {
		t.Errorf("commands do not begin in the app folder but %q", got)
	}
	seen := "\n" + b.prints("shop", "env")
	for _, kv := range os.Environ() {
		name, value, _ := strings.Cut(kv, "=")
		if slices.Contains([]string{"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TERM", "PWD", "SHLVL", "_"}, name) || value == "" {
			continue
		}
		if strings.Contains(seen, "\n"+kv+"\n") {
			t.Errorf("the server's %s is seen in the pod", name)
		}
	}
}

func testFiles(t *testing.T, r pods.Runtime) {
	b := newBench(t, r)
	b.create("shop", "static", nil)
	write := func(path string, content []byte, mode uint32) wire.FileInfo {
		t.Helper()
		info, err := b.WriteFile(t.Context(), b.actor, "shop", path, content, mode)
		if err != nil {
			t.Fatalf("write %s: %v", path, err)
		}
		return info
	}
	info := write("a/b/c.txt", []byte("hello"), 0)
	if info.Size != 5 || info.Name != "/home/pod/app/a/b/c.txt" || info.Mode != "0644" || info.Type != "file" {
		t.Errorf("%+v", info)
	}
	if got := b.prints("shop", "cat a/b/c.txt"); got != "hello" {
		t.Errorf("%q", got)
	}
	write("run.sh", []byte("#!/bin/sh\necho ran"), 0o750)
	if got := b.prints("shop", "./run.sh"); got != "ran\n" {
		t.Errorf("%q", got)
	}
	if info := write("run.sh", []byte("#!/bin/sh\necho again"), 0); info.Mode != "0750" {
		t.Errorf("the mode was not kept: %+v", info)
	}
	write("/home/pod/x", []byte("1"), 0)
	write("/tmp/y", []byte("2"), 0)
	if got := b.prints("shop", `cat "$HOME/x" "${TMPDIR:-/tmp}/y"`); got != "12" {
		t.Errorf("%q", got)
	}
	big := bytes.Repeat([]byte("0123456789abcde\n"), wire.MaxFile/16)
	write("big", big, 0)
	var got []byte
	for more := true; more; {
		part, err := b.ReadFile(t.Context(), b.actor, "shop", "big", int64(len(got)), 0)
		if err != nil || part.Info.Size != int64(len(big)) {
			t.Fatalf("%+v %v", part.Info, err)
		}
		got, more = append(got, part.Content...), part.More
	}
	if !bytes.Equal(got, big) {
		t.Errorf("%d bytes came back of %d", len(got), len(big))
	}
	if _, err := b.WriteFile(t.Context(), b.actor, "shop", "big", append(big, 'x'), 0); !errors.Is(err, pods.ErrTooLarge) {
		t.Errorf("too large: %v", err)
	}
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	write("binary", all, 0)
	if got := b.read("shop", "binary"); got != string(all) {
		t.Errorf("%q", got)
	}
	write("binary", nil, 0)
	if got := b.read("shop", "binary"); got != "" {
		t.Errorf("an empty file holds %q", got)
	}
	part, err := b.ReadFile(t.Context(), b.actor, "shop", "a/b/c.txt", 1, 3)
	if err != nil || string(part.Content) != "ell" || !part.More || part.Offset != 1 {
		t.Errorf("%+v %v", part, err)
	}
	if part, err = b.ReadFile(t.Context(), b.actor, "shop", "a/b/c.txt", 99, 3); err != nil || len(part.Content) != 0 || part.More {
		t.Errorf("beyond the end: %+v %v", part, err)
	}
}

func testPaths(t *testing.T, r pods.Runtime) {
	b := newBench(t, r)
	b.create("shop", "static", nil)
	b.write("shop", "inside", "fine")
	b.prints("shop", "ln -s /etc/passwd link; ln -s /etc out; ln -s ../../../../../../etc/passwd dots; ln -s inside ok; ln -s loop loop; mkdir -p a; ln -s ../.. a/up")
	if got := b.read("shop", "ok"); got != "fine" {
		t.Errorf("a link that stays inside: %q", got)
	}
	for _, path := range []string{"link", "out/passwd", "dots", "/etc/passwd", "../../../etc/passwd", "/home/pod/../../etc/passwd", "/home/podx/f", "/dev/zero", "/proc/self/environ", "a\x00b", "/"} {
		if part, err := b.ReadFile(t.Context(), b.actor, "shop", path, 0, 0); !errors.Is(err, pods.ErrPath) {
			t.Errorf("read %q: %q %v", path, part.Content, err)
		}
	}
	for _, path := range []string{"link", "out/new", "dots", "/etc/podgate-test", "../../../../podgate-test", "/proc/self/oom_score_adj"} {
		if info, err := b.WriteFile(t.Context(), b.actor, "shop", path, []byte("x"), 0); !errors.Is(err, pods.ErrPath) {
			t.Errorf("write %q: %+v %v", path, info, err)
		}
	}
	for _, path := range []string{"out", "/etc", "../../..", "/"} {
		if list, err := b.ListFiles(t.Context(), b.actor, "shop", pods.ListQuery{Path: path}); !errors.Is(err, pods.ErrPath) {
			t.Errorf("list %q: %+v %v", path, list, err)
		}
	}
	if _, err := b.ReadFile(t.Context(), b.actor, "shop", "loop", 0, 0); err == nil {
		t.Error("a link to itself was read")
	}
	if _, err := os.Lstat("/etc/podgate-test"); err == nil {
		t.Error("a file was written outside")
	}
}

func testSpecialFiles(t *testing.T, r pods.Runtime) {
	b := newBench(t, r)
	b.create("shop", "static", nil)
	b.prints("shop", "mkfifo pipe; mkdir dir; ln -s /dev/zero zero")
	for path, want := range map[string]error{"pipe": nil, "dir": pods.ErrBadInput, "zero": pods.ErrPath, "missing": pods.ErrNoFile, "missing/deep": pods.ErrNoFile} {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		_, err := b.ReadFile(ctx, b.actor, "shop", path, 0, 0)
		if err == nil || want != nil && !errors.Is(err, want) || ctx.Err() != nil {
			t.Errorf("read %s: %v, want %v", path, err, want)
		}
		cancel()
	}
	if _, err := b.WriteFile(t.Context(), b.actor, "shop", "dir", []byte("x"), 0); !errors.Is(err, pods.ErrBadInput) {
		t.Errorf("write over a folder: %v", err)
	}
	// A file that grows all the time is read up to where it was asked for.
	b.prints("shop", "head -c 100000 /dev/zero > chunk; (while test -e chunk; do cat chunk >> grows; test $(wc -c < grows) -gt 50000000 && : > grows; done) >/dev/null 2>&1 </dev/null &")
	defer b.prints("shop", "rm chunk")
	for range 20 {
		if part, err := b.ReadFile(t.Context(), b.actor, "shop", "chunk", 0, 70_000); err != nil || len(part.Content) != 70_000 || !part.More {
			t.Errorf("%d bytes, more %v, %v", len(part.Content), part.More, err)
		}
		part, err := b.ReadFile(t.Context(), b.actor, "shop", "grows", 0, 0)
		if err != nil && !errors.Is(err, pods.ErrNoFile) || len(part.Content) > wire.MaxRead {
			t.Errorf("%d bytes, %v", len(part.Content), err)
		}
	}
}

func testListFiles(t *testing.T, r pods.Runtime) {
	b := newBench(t, r)
	b.create("shop", "command", nil)
	b.prints("shop", "mkdir list; cd list; mkdir dir; printf abc > file; chmod 600 file; ln -s file link; mkfifo pipe; printf x > .hidden; touch \"$(printf 'odd\\nname')\"")
	l, err := b.ListFiles(t.Context(), b.actor, "shop", pods.ListQuery{Path: "list"})
	if err != nil || l.Path != "/home/pod/app/list" || l.Cut {
		t.Fatalf("%+v %v", l, err)
	}
	got := map[string]wire.FileInfo{}
	for _, e := range l.Entries {
		got[e.Name] = e
	}
	for name, kind := range map[string]string{"dir": "dir", "file": "file", "link": "symlink", "pipe": "other", ".hidden": "file", "odd\nname": "file"} {
		if got[name].Type != kind {
			t.Errorf("%q is %+v, want a %s", name, got[name], kind)
		}
	}
	if f := got["file"]; f.Size != 3 || f.Mode != "0600" || time.Since(f.Modified) > time.Hour || got["link"].Target != "file" || len(got) != 6 {
		t.Errorf("%+v", got)
	}
	b.prints("shop", "mkdir many; cd many; i=0; while test $i -lt 2100; do : > f$i; i=$((i+1)); done")
	if l, err = b.ListFiles(t.Context(), b.actor, "shop", pods.ListQuery{Path: "many"}); err != nil || !l.Cut || len(l.Entries) != wire.MaxEntries {
		t.Errorf("%d of 2100 entries, cut %v, %v", len(l.Entries), l.Cut, err)
	}
	if _, err := b.ListFiles(t.Context(), b.actor, "shop", pods.ListQuery{Path: "list/file"}); !errors.Is(err, pods.ErrBadInput) {
		t.Errorf("list a file: %v", err)
	}
	if _, err := b.ListFiles(t.Context(), b.actor, "shop", pods.ListQuery{Path: "nowhere"}); !errors.Is(err, pods.ErrNoFile) {
		t.Errorf("list nothing: %v", err)
	}
	if l, err = b.ListFiles(t.Context(), b.actor, "shop", pods.ListQuery{Path: ""}); err != nil || l.Path != "/home/pod/app" {
		t.Errorf("the app folder: %+v %v", l, err)
	}
}
