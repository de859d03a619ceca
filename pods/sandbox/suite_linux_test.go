//go:build linux && (amd64 || arm64)

package sandbox

import (
	"testing"

	"podgate/pods"
	"podgate/pods/podstest"
)

// TestPodSuite is the contract of all runtimes.
func TestPodSuite(t *testing.T) {
	t.Parallel()
	podstest.Run(t, func(t testing.TB) pods.Runtime { return open(t, Config{}) })
}

func TestPodSuiteReopened(t *testing.T) {
	t.Parallel()
	podstest.RunReopened(t, func(t testing.TB, dir string) pods.Runtime { return open(t, Config{Dir: dir}) })
}
