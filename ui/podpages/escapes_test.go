package podpages

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// flat writes spans with their classes, for tests.
func flat(spans []span) string {
	var b strings.Builder
	for _, s := range spans {
		if s.Class == "" {
			b.WriteString(s.Text)
			continue
		}
		b.WriteString("[" + s.Class + ":" + s.Text + "]")
	}
	return b.String()
}

func TestEscapes(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"plain":                         "plain",
		"\x1b[31mred\x1b[0m end":        "[a-red:red] end",
		"\x1b[1;32mok\x1b[m":            "[a-b a-green:ok]",
		"\x1b[38;5;196mx\x1b[39my":      "[a-red:x]y",
		"\x1b[38;2;20;90;250mx":         "[a-blue:x]",
		"\x1b[38:2::20:90:250mx":        "[a-blue:x]", // fields that are empty do not count
		"\x1b[41;33mx\x1b[49my":         "[a-on-red:x][a-yellow:y]",
		"\x1b[90mdim\x1b[22m":           "[a-soft:dim]",
		"\x1b[2J\x1b[H\x1b[?25lcleared": "cleared",
		"50%\r100%":                     "50%[a-name:^M]100%",
		"a\x00b\x07c\x08d":              "a[a-name:^@]b[a-name:^G]c[a-name:^H]d",
		"\x1b]8;;https://evil.example/\x1b\\click\x1b]8;;\x1b\\ here": "click here",
		"\x1b]0;title\x07text":        "text",
		"\x1b]0;no end":               "[a-name:ESC]]0;no end",
		"\x1bPq#0\x1b\\after":         "after",
		"\x1b(Btext\x1b7\x1b8":        "text",
		"\x1b":                        "[a-name:ESC]",
		"\x1b[":                       "[a-name:ESC][",
		"\x1b[999999999999999999999m": "",
		"user\u202egnp.exe":           "user[a-name:U+202E]gnp.exe",
		"\u2066x\u2069\u200b\ufeff":   "[a-name:U+2066]x[a-name:U+2069][a-name:U+200B][a-name:U+FEFF]",
		"\u009b31mx":                  "[a-name:U+009B]31mx",
		"<script>alert(1)</script>":   "<script>alert(1)</script>", // the template escapes
		"👩\u200d👧 \u2764\ufe0f":       "👩👧 \u2764",
		"a\u0301\u0301\u0301\u0301b":  "a\u0301\u0301b",
		"bad\xff":                     "bad\ufffd",
		"\tindent":                    "\tindent",
		"\x1b[31<m\x1b[>4mx":          "x",
	} {
		spans, cut := spansOf(line)
		if got := flat(spans); got != want || cut != 0 {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
}

func TestEscapesAreBounded(t *testing.T) {
	t.Parallel()
	spans, cut := spansOf(strings.Repeat("x", 1<<20))
	if n := utf8.RuneCountInString(flat(spans)); n != maxLineRunes || cut != 1<<20-maxLineRunes {
		t.Errorf("%d shown, %d cut", n, cut)
	}
	spans, _ = spansOf(strings.Repeat("\x1b[31mx\x1b[32my", 10_000))
	if len(spans) > maxSpans {
		t.Errorf("%d spans", len(spans))
	}
	spans, _ = spansOf(strings.Repeat("\x00", 5000))
	if len(spans) > maxSpans {
		t.Errorf("%d spans", len(spans))
	}
	if spans, _ := spansOf(strings.Repeat("\x1b]", 1<<19)); len(spans) > maxSpans {
		t.Errorf("%d spans", len(spans))
	}
}

func TestPlainLine(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", 3*maxLineRunes+1)
	for line, want := range map[string]string{
		long:                           long,
		"\x1b[31mred\x1b[0m\x1b]0;x\a": "red",
		"a\rb\u202ec":                  "a^MbU+202Ec",
	} {
		if got := plainLine(line); got != want {
			t.Errorf("%.60q: %.60q", line, got)
		}
	}
}

func TestAttachment(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"a.txt":              `attachment; filename="a.txt"; filename*=UTF-8''a.txt`,
		`a"; filename=b.exe`: `attachment; filename="a__ filename=b.exe"; filename*=UTF-8''a%22%3B%20filename%3Db.exe`,
		"a\r\nSet-Cookie: x": `attachment; filename="a Set-Cookie: x"; filename*=UTF-8''a%20Set-Cookie%3A%20x`,
		"../../etc/x":        `attachment; filename=".._.._etc_x"; filename*=UTF-8''.._.._etc_x`,
		"gnp\u202efdp.exe":   `attachment; filename="gnpfdp.exe"; filename*=UTF-8''gnpfdp.exe`,
		"ü 100%.txt":         `attachment; filename="_ 100_.txt"; filename*=UTF-8''%C3%BC%20100%25.txt`,
		"..":                 `attachment; filename="file"; filename*=UTF-8''file`,
		"\xff":               `attachment; filename="file"; filename*=UTF-8''file`,
	} {
		if got := attachment(name); got != want {
			t.Errorf("%q:\n%s, want\n%s", name, got, want)
		}
	}
}
