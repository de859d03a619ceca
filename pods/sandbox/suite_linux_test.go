//go:build linux && (amd64 || arm64)

package sandbox

import (
	"testing"

	"podgate/pods"
	"podgate/pods/podstest"
	"podgate/store"
)

// TestPodSuite is the contract of all runtimes.
func TestPodSuite(t *testing.T) {
	t.Parallel()
	kill := func(t testing.TB, r pods.Runtime, id store.PodID) {
		if err := r.(*Runtime).running(id).process.Kill(); err != nil {
			t.Error(err)
		}
	}
	podstest.Run(t, podstest.Subject{Open: func(t testing.TB) pods.Runtime { return open(t, Config{}) }, Kill: kill, Limits: held})
}

// held are the limits that hold on this machine.
func held(r pods.Runtime) []string {
	limits := []string{podstest.LimitMemory, podstest.LimitProcesses, podstest.LimitDisk}
	if r.(*Runtime).groups.has("cpu") {
		limits = append(limits, podstest.LimitCPUs)
	}
	return limits
}

func TestPodSuiteReopened(t *testing.T) {
	t.Parallel()
	podstest.RunReopened(t, func(t testing.TB, dir string) pods.Runtime { return open(t, Config{Dir: dir}) })
}
