package wire

import (
	"strings"
	"testing"
)

func FuzzCursor(f *testing.F) {
	f.Add("a/b c#1%.js", 12)
	f.Add("\xff/:\n", 0)
	f.Add("a", -1)
	f.Fuzz(func(t *testing.T, path string, line int) {
		if _, _, err := ParseCursor(path); err != nil && err.Error() == "" { // any text is refused or read
			t.Error(err)
		}
		if path == "" || strings.ContainsRune(path, 0) {
			return
		}
		s := Cursor(path, line)
		got, at, err := ParseCursor(s)
		if len(s) > MaxCursor {
			if err == nil {
				t.Errorf("%d bytes are read", len(s))
			}
			return
		}
		if err != nil || got != path || at != max(0, line) {
			t.Errorf("%q, %d became %q and then %q, %d, %v", path, line, s, got, at, err)
		}
	})
}

func TestParseCursorRefuses(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"#1", "a#", "a#0", "a#-1", "a#1#2", "a#x", "%zz", "a%00", strings.Repeat("a", MaxCursor+1)} {
		if path, line, err := ParseCursor(s); err == nil {
			t.Errorf("%.50q: %.50q, %d", s, path, line)
		}
	}
	if path, line, err := ParseCursor(""); path != "" || line != 0 || err != nil {
		t.Errorf("none: %q, %d, %v", path, line, err)
	}
}
