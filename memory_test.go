package main

import (
	"strings"
	"testing"
)

func TestSmallMemory(t *testing.T) {
	t.Parallel()
	for limit, c := range map[int64]struct {
		hashes int
		words  string
	}{
		0: {0, ""}, 64 << 20: {1, "64 MiB of memory, and podgate itself needs 128 MiB"}, 128 << 20: {1, ""}, 256 << 20: {0, ""}, 1 << 34: {0, ""},
	} {
		if got := hashesAtOnce(limit); got != c.hashes {
			t.Errorf("under %d bytes: %d, want %d", limit, got, c.hashes)
		}
		if words := memoryWarning(limit); !strings.Contains(words, c.words) || c.words == "" && words != "" {
			t.Errorf("under %d bytes it says %q", limit, words)
		}
	}
}
