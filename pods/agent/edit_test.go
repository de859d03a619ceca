package agent

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"podgate/pods/wire"
)

func TestReplacePiece(t *testing.T) {
	t.Parallel()
	many := strings.Repeat("x = 1\n", 30)
	for name, c := range map[string]struct {
		text, old, new string
		all            bool
		grow           int64
		want           string // the new text, or what the refusal says
		lines          []int
		refused        string // the code
	}{
		"once":          {text: "a\nb\nc\n", old: "b", new: "B\nB", grow: 2, want: "a\nB\nB\nc\n", lines: []int{2}},
		"several lines": {text: "a\nb\nc\n", old: "a\nb\n", new: "", want: "c\n", lines: []int{1}},
		"all":           {text: "a\nb\na\n", old: "a", new: "x\ny", all: true, grow: 4, want: "x\ny\nb\nx\ny\n", lines: []int{1, 4}},
		"all of one":    {text: "a\n", old: "a", new: "b", all: true, want: "b\n", lines: []int{1}},
		"absent":        {text: "a\n", old: "b", refused: wire.FaultBadRequest, want: "found 0 times in f"},
		"absent, all":   {text: "a\n", old: "b", all: true, refused: wire.FaultBadRequest, want: "found 0 times in f"},
		"line ends":     {text: "a\r\nb\r\n", old: "a\nb", refused: wire.FaultBadRequest, want: "CR LF"},
		"ambiguous":     {text: "a\nb\na a\n", old: "a", refused: wire.FaultBadRequest, want: "found 3 times in f, on lines 1, 3, 3;"},
		"overlapping":   {text: "aaa\n", old: "aa", refused: wire.FaultBadRequest, want: "found 2 times in f, on lines 1, 1;"},
		"very often":    {text: many, old: "x", refused: wire.FaultBadRequest, want: "found 30 times in f, on lines 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, …;"},
		"no room":       {text: "a\n", old: "a", new: "abc", grow: 1, refused: wire.FaultTooLarge, want: "longer by 2 bytes, and there is room for 1"},
		"a bomb":        {text: strings.Repeat("a", 1<<20), old: "a", new: strings.Repeat("b", wire.MaxPiece), all: true, grow: 1 << 60, refused: wire.FaultTooLarge, want: "at most 10485760"},
	} {
		out, now, err := replacePiece("f", c.text, wire.EditRequest{Old: c.old, New: c.new, All: c.all, Grow: c.grow})
		var f *wire.Fault
		switch {
		case errors.As(err, &f) != (c.refused != "") || f != nil && (f.Code != c.refused || !strings.Contains(f.Message, c.want)):
			t.Errorf("%s: %v", name, err)
		case f == nil && (now != c.want || !slices.Equal(out.Lines, c.lines) || out.Replaced != len(c.lines)):
			t.Errorf("%s: %q %+v", name, now, out)
		}
	}
}

// FuzzEdit compares with what is done by hand.
func FuzzEdit(f *testing.F) {
	f.Add("a\nb\r\na", "a", "bb", true)
	f.Add("aaa", "aa", "", false)
	f.Fuzz(func(t *testing.T, text, old, new string, all bool) {
		if old == "" {
			return
		}
		out, now, err := replacePiece("f", text, wire.EditRequest{Old: old, New: new, All: all, Grow: 1 << 20})
		if err != nil {
			return
		}
		if n := strings.Count(text, old); out.Replaced != n || n == 0 || n > 1 && !all || now != strings.Join(strings.Split(text, old), new) {
			t.Errorf("%+v %q", out, now)
		}
		lines := strings.Split(now, "\n")
		for _, line := range out.Lines {
			if first, _, _ := strings.Cut(new, "\n"); line < 1 || line > len(lines) || !strings.Contains(lines[line-1], first) {
				t.Errorf("line %d of %q has no %q", line, now, new)
			}
		}
	})
}

// The file keeps its mode, links are followed within the pod, and what is no text
// or too large stays as it is.
func TestEdit(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	put := func(name string, content []byte, mode os.FileMode) string {
		t.Helper()
		name = a.home("app/" + name)
		if err := errors.Join(os.WriteFile(name, content, 0o600), os.Chmod(name, mode)); err != nil {
			t.Fatal(err)
		}
		return name
	}
	script := put("run.sh", []byte("echo one\necho two\n"), 0o750)
	if err := os.Symlink("run.sh", a.home("app/link")); err != nil {
		t.Fatal(err)
	}
	got := ask[wire.Edited](a, "POST", wire.PathEdit, wire.EditRequest{Path: "link", Old: "two", New: "three", Grow: 10})
	if got.Name != podApp+"/link" || got.Mode != "0750" || got.Size != 20 || got.Replaced != 1 || !slices.Equal(got.Lines, []int{2}) {
		t.Errorf("%+v", got)
	}
	if b, err := os.ReadFile(script); err != nil || string(b) != "echo one\necho three\n" {
		t.Errorf("%q %v", b, err)
	}
	binary := []byte("a\x00b")
	put("binary", binary, 0o644)
	put("latin", []byte("caf\xe9"), 0o644)
	put("large", bytes.Repeat([]byte("a"), wire.MaxFile+1), 0o644)
	if err := os.Symlink("/etc/passwd", a.home("app/out")); err != nil {
		t.Fatal(err)
	}
	for path, code := range map[string]string{
		"binary": wire.FaultBadRequest, "latin": wire.FaultBadRequest, "large": wire.FaultTooLarge, "absent": wire.FaultNotFound,
		".": wire.FaultIsDir, "out": wire.FaultPath, "/etc/passwd": wire.FaultPath, "../../../etc/passwd": wire.FaultPath,
	} {
		a.refusedJSON(code, wire.PathEdit, wire.EditRequest{Path: path, Old: "a", New: "b", All: true, Grow: 10})
	}
	for _, r := range []wire.EditRequest{
		{Path: "run.sh", Old: "", New: "b"}, {Path: "run.sh", Old: "one", New: "one"}, {Path: "run.sh", Old: "one", New: "\x00"},
		{Path: "run.sh", Old: "one", New: "two", Grow: -1}, {Old: "one", New: "two"}, {Path: "a\x00", Old: "one", New: "two"},
	} {
		a.refusedJSON(wire.FaultBadRequest, wire.PathEdit, r)
	}
	a.refusedJSON(wire.FaultTooLarge, wire.PathEdit, wire.EditRequest{Path: "run.sh", Old: "one", New: strings.Repeat("<", wire.MaxPiece+1), Grow: 1 << 30})
	if b, err := os.ReadFile(a.home("app/binary")); err != nil || !bytes.Equal(b, binary) {
		t.Errorf("%q %v", b, err)
	}
}

// What somebody else writes between the reading and the end of an edit is not
// lost.
func TestEditRace(t *testing.T) {
	t.Parallel()
	for name, meddle := range map[string]func(file string) error{
		"written to": func(file string) error { return os.WriteFile(file, []byte("mine, longer"), 0o644) },
		"replaced": func(file string) error {
			return errors.Join(os.WriteFile(file+".new", []byte("mine"), 0o644), os.Rename(file+".new", file))
		},
		"deleted": os.Remove,
	} {
		a := startAgent(t)
		file := a.home("app/f")
		if err := os.WriteFile(file, []byte("text"), 0o644); err != nil {
			t.Fatal(err)
		}
		f, err := openFolders(a.cfg.Home, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		s, err := f.resolve("f")
		if err != nil {
			t.Fatal(err)
		}
		_, before, err := readText(s)
		if err != nil {
			t.Fatal(err)
		}
		body := io.MultiReader(strings.NewReader("their text"), readerFunc(func([]byte) (int, error) {
			if err := meddle(file); err != nil {
				return 0, err
			}
			return 0, io.EOF
		}))
		_, err = replaceFile(s, 0o644, body, func() error { return unchanged(s, before) })
		if f := asFault(err); err == nil || f.Code != wire.FaultChanged {
			t.Errorf("%s: %v", name, err)
		}
		if b, _ := os.ReadFile(file); bytes.Contains(b, []byte("their")) {
			t.Errorf("%s: %q", name, b)
		}
		if left, _ := filepath.Glob(a.home("app/.podgate*")); len(left) > 0 {
			t.Errorf("%s: left behind: %v", name, left)
		}
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// Of many who replace the same version of a file one does, and the others hear that
// it is something else now.
func TestReplaceVersion(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	version := func(content string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(content))) }
	a.put("new", "first", "was", wire.Absent)
	a.refused(wire.FaultStale, "PUT", wire.PathFile+pathQuery("new", "was", wire.Absent), []byte("x"))
	a.refused(wire.FaultStale, "PUT", wire.PathFile+pathQuery("none", "was", version("")), []byte("x"))
	a.refused(wire.FaultBadRequest, "PUT", wire.PathFile+pathQuery("new", "was", "abc"), []byte("x"))
	var won atomic.Int64
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() {
			resp, _ := a.do("PUT", wire.PathFile+pathQuery("new", "was", version("first")), []byte("second"))
			if resp.StatusCode == http.StatusOK {
				won.Add(1)
			}
		})
	}
	all.Wait()
	if won.Load() != 1 {
		t.Errorf("%d replaced the same version", won.Load())
	}
	if b, _ := os.ReadFile(a.home("app/new")); string(b) != "second" {
		t.Errorf("%q", b)
	}
	if left, _ := filepath.Glob(a.home("app/.podgate*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestMakeDir(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	resp, b := a.do("PUT", wire.PathDir+pathQuery("one/two"), nil)
	if info, err := os.Stat(a.home("app/one/two")); err != nil || !info.IsDir() || resp.StatusCode != http.StatusOK {
		t.Errorf("%s %v", b, err)
	}
	a.refused(wire.FaultExists, "PUT", wire.PathDir+pathQuery("one/two"), nil)
	a.refused(wire.FaultPath, "PUT", wire.PathDir+pathQuery("/etc/x"), nil)
	a.put("file", "x")
	a.refused(wire.FaultExists, "PUT", wire.PathDir+pathQuery("file"), nil)
}
