package agent

import (
	"testing"

	"podgate/pods/wire"
)

// Memory that processes share counts once, however many they are.
func TestSharedMemoryCountsOnce(t *testing.T) {
	t.Parallel()
	a := startAgent(t)
	a.run(`python3 -c '
import os, time
block = b"x" * (64 << 20)
for _ in range(6):
    if os.fork() == 0:
        break
open("up" + str(os.getpid()), "w")
time.sleep(1000)
' >/dev/null 2>&1 &`)
	eventually(t, "seven of them run", func() bool { return a.run("ls up* | wc -l").stdout == "7\n" })
	u := ask[wire.Usage](a, "GET", wire.PathUsage, nil)
	if u.Processes < 7 || u.Memory < 64<<20 || u.Memory > 128<<20 {
		t.Errorf("64 MiB that seven share: %d bytes of %d processes", u.Memory, u.Processes)
	}
}

func TestParseMemory(t *testing.T) {
	t.Parallel()
	const rollup = "5580c000-7ffe0000 ---p 00000000 00:00 0    [rollup]\nRss:     1000 kB\nPss:      500 kB\nPss_Dirty:  10 kB\nPss_Anon:       100 kB\nPss_File:  380 kB\nPss_Shmem:       20 kB\n"
	for text, want := range map[string]int64{rollup: 120 << 10, "Pss: 500 kB\n": -1, "": -1, "Pss_Anon:\n": -1, "Pss_Anon: x kB\n": 0} {
		got, ok := parseRollup([]byte(text))
		if !ok {
			got = -1
		}
		if got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
	for text, want := range map[string]int64{"700 500 300 1 0 2 0\n": 200, "700 100 300 1": 0, "": 0, "a b c": 0} {
		if got := parseStatm([]byte(text)); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}

func FuzzParseMemory(f *testing.F) {
	f.Add([]byte("Pss_Anon: 100 kB\nPss_Shmem: 1 kB\n"))
	f.Add([]byte("700 500 300 1 0 2 0\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		parseRollup(b)
		if n := parseStatm(b); n < 0 {
			t.Errorf("%d pages", n)
		}
	})
}
