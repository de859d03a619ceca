package podstest_test

import (
	"context"
	"sync"
	"testing"

	"podgate/pods"
	"podgate/pods/podstest"
	"podgate/store"
)

func TestFake(t *testing.T) {
	t.Parallel()
	podstest.Run(t, podstest.Subject{Open: fake, Kill: kill, NoNetwork: true})
}

func fake(t testing.TB) pods.Runtime {
	f := podstest.NewFake(t)
	f.SetNoNetwork("its pods are processes of this machine")
	return f
}

func kill(_ testing.TB, r pods.Runtime, id store.PodID) { r.(*podstest.Fake).Kill(id, "killed") }

func TestFakeReopened(t *testing.T) {
	t.Parallel()
	podstest.RunReopened(t, func(t testing.TB, dir string) pods.Runtime {
		f := podstest.OpenFake(dir)
		t.Cleanup(func() {
			if err := f.Close(context.Background()); err != nil {
				t.Error(err)
			}
		})
		return f
	})
}

// TestEngineReopened is a runtime whose pods outlive it.
func TestEngineReopened(t *testing.T) {
	t.Parallel()
	var engines sync.Map // by folder
	podstest.RunReopened(t, func(t testing.TB, dir string) pods.Runtime {
		e, known := engines.LoadOrStore(dir, podstest.NewEngine(dir))
		if !known {
			t.Cleanup(e.(*podstest.Engine).End)
		}
		return e.(*podstest.Engine).Open()
	})
}
