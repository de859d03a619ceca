package podpages_test

import (
	"path/filepath"
	"testing"
	"time"

	"podgate/internal/authz"
	"podgate/pods"
	"podgate/store"
)

// What goes on after its page was answered ends with what let its person begin it.
// Signing out takes nothing of that.
func TestWhatGoesOnEndsWithTheRight(t *testing.T) {
	t.Parallel()
	for name, take := range losses {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, app := withPod(t, "command")
			bob, err := s.Account.UserByEmail("bob@example.com")
			if err != nil {
				t.Fatal(err)
			}
			team, err := s.DB.TeamBySlug("red")
			if err != nil {
				t.Fatal(err)
			}
			b := as(s, bob.Email)
			begun, done := filepath.Join(filepath.Dir(app), "begun"), filepath.Join(filepath.Dir(app), "done")
			sendApp(t, s, b, "folder", "site/Procfile", "release: touch "+begun+"; while [ ! -e "+done+" ]; do sleep 0.05; done\nweb: exec sleep 1000\n")
			waitFor(t, begun)
			if err := take(s, b, team, bob); err != nil {
				t.Fatal(err)
			}
			state := func() pods.Deploy {
				list, err := s.Pods.Deploys(authz.Of(bob, team, store.RoleOwner), "blog")
				if err != nil || len(list) != 1 {
					t.Fatalf("deploys: %+v, %v", list, err)
				}
				return list[0]
			}
			if name == "signed out" {
				if got := state(); got.State != store.DeployBuilding {
					t.Errorf("the deploy is %+v", got)
				}
				write(t, done, "")
				return
			}
			for began := time.Now(); state().State == store.DeployBuilding; time.Sleep(10 * time.Millisecond) {
				if time.Since(began) > 20*time.Second {
					t.Fatalf("it goes on: %+v", state())
				}
			}
			if got := state(); got.State != store.DeployFailed {
				t.Errorf("the deploy is %+v", got)
			}
		})
	}
}
