package podpages

import (
	"io/fs"
	"path"
	"strings"
	"testing"
	"time"
)

// textOfLines is what the lines hold, without colours.
func textOfLines(lines []codeLine) string {
	var all []string
	for _, l := range lines {
		var b strings.Builder
		for _, s := range l.Spans {
			b.WriteString(s.Text)
		}
		all = append(all, b.String())
	}
	return strings.Join(all, "\n")
}

// Every lexer can be read, and none loses or adds a character.
func TestLexers(t *testing.T) {
	t.Parallel()
	s := &Pages{colouring: make(chan struct{}, maxColouring)}
	names, err := fs.Glob(lexerFiles, "lexers/*.xml")
	if err != nil || len(names) < 40 {
		t.Fatal(len(names), err)
	}
	content := "a = \"text\" # one\n\tif (x < 1) { return 'y' } // two\n<p class=\"z\">&amp;</p>\n/* three"
	for _, lexer := range lexers().Lexers {
		pattern := lexer.Config().Filenames
		if len(pattern) == 0 {
			continue
		}
		if got := textOfLines(s.codeLines(strings.ReplaceAll(path.Base(pattern[0]), "*", "x"), content)); got != content {
			t.Errorf("%s: %q", lexer.Config().Name, got)
		}
	}
	if got := textOfLines(s.codeLines("x.unknown", content)); got != content {
		t.Errorf("%q", got)
	}
}

// What a lexer makes of a hostile file costs colours and little time.
func TestColouringIsBounded(t *testing.T) {
	t.Parallel()
	s := &Pages{colouring: make(chan struct{}, maxColouring)}
	for name, content := range map[string]string{
		"x.js": strings.Repeat("`${", 80_000), "x.py": strings.Repeat("(", maxShown), "x.md": strings.Repeat("**a", 80_000), "x.html": strings.Repeat("<a ", 80_000),
		"x.json": strings.Repeat(`{"a":`, 50_000), "x.php": "<?php " + strings.Repeat("$a->", 60_000), "x.go": strings.Repeat("'", maxShown), "x.yaml": strings.Repeat("- ", 120_000),
	} {
		began := time.Now()
		lines := s.codeLines(name, content)
		if took := time.Since(began); took > 20*highlightTime { // the machine may be busy
			t.Errorf("%s: %s", name, took)
		}
		for _, l := range lines {
			if len(l.Spans) > maxSpans {
				t.Errorf("%s: %d spans", name, len(l.Spans))
			}
		}
	}
}

func TestMarkDifferent(t *testing.T) {
	t.Parallel()
	s := &Pages{colouring: make(chan struct{}, 1)}
	for _, c := range []struct{ theirs, mine, want string }{
		{"a\nb\nc\n", "a\nX\nc\n", "2"},
		{"a\nb\n", "a\nb\nc\n", ""},
		{"a\n", "b\n", "1"},
		{"a\nb\nc", "", "1 2 3"},
		{"a\na\na\n", "a\n", "2 3"},
	} {
		lines := s.codeLines("x", c.theirs)
		markDifferent(lines, c.theirs, c.mine)
		var got []string
		for _, l := range lines {
			if l.Differ {
				got = append(got, string(rune('0'+l.Number)))
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%q and %q: lines %v, want %s", c.theirs, c.mine, got, c.want)
		}
	}
}
