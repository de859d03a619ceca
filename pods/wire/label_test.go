package wire

import (
	"strings"
	"testing"
)

func TestLabel(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]bool{
		"a": true, "0": true, "my-app": true, "xn--a": true, "a--b": true, strings.Repeat("x", MaxLabel): true,
		"": false, "-": false, "-a": false, "a-": false, "A": false, "a.b": false, "a_b": false, "ü": false, "\u212a": false, "a\x00": false,
		strings.Repeat("x", MaxLabel+1): false,
	} {
		if Label(s) != want {
			t.Errorf("%q: %v", s, !want)
		}
	}
}

func FuzzLabel(f *testing.F) {
	for _, s := range []string{"", "a", "a-b", "-a", "a-", "ü", "a.b", "*", strings.Repeat("x", 64), "A", "a\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !Label(s) {
			return
		}
		if len(s) > 63 || s != strings.ToLower(s) || strings.ContainsAny(s, "./\\*:% \x00") || s[0] == '-' || s[len(s)-1] == '-' {
			t.Errorf("%q", s)
		}
	})
}
