package main

import (
	"os"
	"runtime"
	"runtime/metrics"
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

func TestSpareMemory(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		limit int64
		asked string
		want  bool
	}{{0, "", true}, {1 << 30, "", true}, {256 << 20, "", false}, {0, "100", false}, {0, "off", false}} {
		if got := roomy(c.limit, c.asked); got != c.want {
			t.Errorf("under %d bytes with %q: %t", c.limit, c.asked, got)
		}
	}
	heedMemory(0)
	runtime.GC()
	goal := []metrics.Sample{{Name: "/gc/heap/goal:bytes"}}
	metrics.Read(goal)
	if n := goal[0].Value.Uint64(); roomy(0, os.Getenv("GOGC")+os.Getenv("GOMEMLIMIT")) && n < 2*spareMemory {
		t.Errorf("the collector runs when the heap has %d MiB", n>>20)
	}
}
