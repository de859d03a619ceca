package text

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestLine(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in   string
		max  int
		want string
	}{
		{"Claude", 60, "Claude"},
		{"  two \t\r\n  words  ", 60, "two words"},
		{"a\u2028b\u2029c\u00a0d\u3000e\u2800f\U0001D159g", 60, "a b c d e f g"},
		{"\u202eedualC\u202c", 60, "edualC"},
		{"\u2066x\u2069\u200e\u200f\u061c", 60, "x"},
		{"Cl\u200baude\u200d\u2060\ufeff\u00ad", 60, "Claude"},
		{"\x00\x1b[31mred\x7f\u0085", 60, "[31mred"},
		{"bad\xff\xfeutf8", 60, "badutf8"},
		{"\U000e0041\U000e0042tag\ue000\u0378", 60, "tag"},
		{"Z\u0301\u0302\u0303\u0304\u0305algo", 60, "Z\u0301\u0302algo"},
		{"\u0301\u0302lone", 60, "lone"},
		{"a \u0301b", 60, "a b"},
		{"\u115f\u1160\u3164\uffa0filler", 60, "filler"},
		{"heart\u2764\ufe0f\U000e0100", 60, "heart\u2764"},
		{"Trợ lý", 60, "Trợ lý"},
		{"<script>alert(1)</script>", 60, "<script>alert(1)</script>"},
		{"", 60, ""},
		{" \u200b ", 60, ""},
		{strings.Repeat("x", 60), 60, strings.Repeat("x", 60)},
		{strings.Repeat("x", 61), 60, strings.Repeat("x", 59) + "…"},
		{strings.Repeat("é", 300), 60, strings.Repeat("é", 59) + "…"},
		{strings.Repeat("ab ", 60), 60, strings.TrimSpace(strings.Repeat("ab ", 20)[:59]) + "…"},
		{strings.Repeat("𐍈", 60), 60, strings.Repeat("𐍈", 60)},
		{"long", 1, "…"},
		{strings.Repeat("\u200b", 10000) + "late", 5, ""},
	} {
		if got := Line(c.in, c.max); got != c.want {
			t.Errorf("Line(%.40q, %d) = %q, want %q", c.in, c.max, got, c.want)
		}
	}
}

func TestCut(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in   string
		max  int
		want string
	}{
		{"", 0, ""}, {"abc", 3, "abc"}, {"abc", 2, "ab"}, {"abc", 0, ""}, {"aé", 2, "a"}, {"aé", 3, "aé"}, {"𐍈𐍈", 7, "𐍈"}, {"𐍈", 3, ""},
	} {
		if got := Cut(c.in, c.max); got != c.want {
			t.Errorf("Cut(%q, %d) = %q, want %q", c.in, c.max, got, c.want)
		}
	}
}

func TestField(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in   string
		max  int
		want string
	}{
		{"curl/8.5.0", 20, "curl/8.5.0"}, {strings.Repeat("é", 20), 5, "éé"}, {"ab cd", 3, "ab"}, {"a\r\n\u202eb", 9, "a b"}, {"", 3, ""},
	} {
		if got := Field(c.in, c.max); got != c.want {
			t.Errorf("Field(%q, %d) = %q, want %q", c.in, c.max, got, c.want)
		}
	}
}

func TestShort(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in   string
		max  int
		want string
	}{
		{"a\u202eb", 3, "a\u202eb"}, {"éééé", 4, "éééé"}, {"ééééé", 4, "ééé…"}, {"ab cde", 4, "ab…"}, {"a\xffbc", 3, "a\xff…"},
	} {
		if got := Short(c.in, c.max); got != c.want {
			t.Errorf("Short(%q, %d) = %q, want %q", c.in, c.max, got, c.want)
		}
	}
}

func TestStartAndEnd(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in         string
		n          int
		start, end string
		cut        int
	}{
		{"abc", 3, "abc", "abc", 0}, {"aé𐍈b", 2, "aé", "𐍈b", 2}, {"abc", 0, "", "", 3}, {"", 2, "", "", 0},
	} {
		start, after := Start(c.in, c.n)
		end, before := End(c.in, c.n)
		if start != c.start || end != c.end || after != c.cut || before != c.cut {
			t.Errorf("%d of %q: %q (%d cut), %q (%d cut)", c.n, c.in, start, after, end, before)
		}
	}
}

func TestVisible(t *testing.T) {
	t.Parallel()
	if got := Visible("a\x1b[2J\u202eb\nç"); got != "a\uFFFD[2J\uFFFDb\uFFFDç" {
		t.Errorf("%q", got)
	}
}

func TestValid(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"two\nlines\tand\r\x1b[1mcolour": "two\nlines\tand\r\x1b[1mcolour", "a\x00b\x07\x7f": "a\uFFFDb\uFFFD\uFFFD", "a\xffb": "a\uFFFDb", "": "",
	} {
		if got := Valid(in); got != want {
			t.Errorf("Valid(%q) = %q, want %q", in, got, want)
		}
	}
}

// Whatever goes in, what comes out is bounded, in one line, seen as itself, and
// stays as it is when it is cleaned again.
func FuzzLine(f *testing.F) {
	for _, s := range []string{"Claude", " a \n\t b ", "\u202eevil\u2066", "Z\u0301\u0302\u0303", "a \u0301b", "\u2800\u3164", "a\xff\xfeb", "\U0001D159", "heart\u2764\ufe0f"} {
		f.Add(s, 5)
	}
	f.Fuzz(func(t *testing.T, s string, max int) {
		max = 1 + (max&0x7fffffff)%100
		line, field := Line(s, max), Field(s, max)
		if utf8.RuneCountInString(line) > max || len(field) > max {
			t.Fatalf("%q in %d: line %q, field %q", s, max, line, field)
		}
		for _, out := range []string{Clean(s), line, field} {
			checkClean(t, out)
		}
		if valid := Valid(s); !utf8.ValidString(valid) || strings.ContainsAny(valid, "\x00\x07\x7f") {
			t.Fatalf("%q is kept as %q", s, valid)
		}
	})
}

func checkClean(t *testing.T, s string) {
	t.Helper()
	if Clean(s) != s || strings.TrimSpace(s) != s || strings.Contains(s, "  ") || !utf8.ValidString(s) {
		t.Fatalf("%q is not clean", s)
	}
	for _, c := range s {
		if !unicode.IsPrint(c) || unicode.Is(unicode.Bidi_Control, c) {
			t.Fatalf("%q holds %U", s, c)
		}
	}
}
