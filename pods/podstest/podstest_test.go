package podstest_test

import (
	"testing"

	"podgate/pods"
	"podgate/pods/podstest"
)

func TestFake(t *testing.T) {
	t.Parallel()
	podstest.Run(t, func(t testing.TB) pods.Runtime { return podstest.NewFake(t) })
}

func TestFakeReopened(t *testing.T) {
	t.Parallel()
	podstest.RunReopened(t, func(t testing.TB, dir string) pods.Runtime {
		f := podstest.OpenFake(dir)
		t.Cleanup(func() {
			if err := f.Close(); err != nil {
				t.Error(err)
			}
		})
		return f
	})
}
