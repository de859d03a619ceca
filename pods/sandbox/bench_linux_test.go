//go:build linux && (amd64 || arm64)

package sandbox

import (
	"testing"

	"podgate/pods"
	"podgate/store"
)

// BenchmarkStart is from the call until the agent has answered, and the end.
// The part that a person waits for, Start, is reported as ms/start.
func BenchmarkStart(b *testing.B) {
	r := mustOpen(b, Config{})
	for b.Loop() {
		if err := r.Start(b.Context(), store.Pod{ID: "a", Name: "a"}, pods.Limits{Memory: 256 << 20, CPUs: 1, Processes: 64}); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := r.Stop(b.Context(), "a"); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

func mustOpen(t testing.TB, cfg Config) *Runtime {
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	r, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}
