//go:build linux && (amd64 || arm64)

package sandbox

import (
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"

	"podgate/internal/authz"
	"podgate/internal/packagetest"
	"podgate/pods"
	"podgate/pods/egress"
	"podgate/pods/podstest"
	"podgate/store"
	"podgate/store/storetest"
)

// An install that may not reach its registry fails soon, and the answer says what
// was refused and who can allow it: package managers wait a minute by themselves,
// and tell of a name that nobody knows.
func TestInstallWithoutNetwork(t *testing.T) {
	t.Parallel()
	r := open(t, Config{})
	db := storetest.New(t)
	w := storetest.Populate(t, db, "ann", time.Now())
	ann := authz.Person(w.User.ID, store.Membership{Team: w.Team, Role: store.RoleOwner})
	s := podstest.ServiceOver(t, db, r, func(c *pods.Config) {
		c.Regions[0].Network = egress.Policy{Layers: []egress.Layer{{Who: egress.WhoRegion, Mode: egress.ModeNone}}}
	})
	for preset, tool := range map[string]string{"nodejs": "npm", "python": "python3", "php": "composer", "go": "go"} {
		t.Run(preset, func(t *testing.T) {
			if _, err := exec.LookPath("composer"); tool == "composer" && err != nil {
				t.Skip("composer is not installed, which not every system has")
			}
			packagetest.Need(t, tool)
			if _, err := s.Create(t.Context(), ann, pods.CreateRequest{Name: preset, Preset: preset}, nil); err != nil {
				t.Fatal(err)
			}
			for name, text := range map[string]string{
				"package.json":     `{"dependencies": {"left-pad": "1.3.0"}}`,
				"requirements.txt": "flask==3.0.0\n",
				"composer.json":    `{"require": {"monolog/monolog": "^3"}}`,
				"go.mod":           "module example.com/shop\n\ngo 1.20\n",
				"main.go":          "package main\n\nimport _ \"rsc.io/quote\"\n\nfunc main() {}\n",
			} {
				if _, err := s.WriteFile(t.Context(), ann, preset, name, []byte(text), 0); err != nil {
					t.Fatal(err)
				}
			}
			_, err := s.Reload(t.Context(), ann, preset, nil)
			if !errors.Is(err, pods.ErrAppFailed) || !strings.Contains(err.Error(), "\nnetwork: the pod may not reach ") || !strings.Contains(err.Error(), "the region allows no network") {
				t.Errorf("%v", err)
			}
			// What the tool does before is its own, and takes as long as the machine lets
			// it. Then it tries for a second or so; npm's own patience is 70 s.
			network, err := s.Network(ann, preset)
			if err != nil {
				t.Fatal(err)
			}
			var first, last time.Time
			for _, e := range network.Ledger {
				if first.IsZero() || e.First.Before(first) {
					first = e.First
				}
				if e.Last.After(last) {
					last = e.Last
				}
			}
			if tried := last.Sub(first); first.IsZero() || tried > 5*time.Second {
				t.Errorf("it tried for %v: %+v", tried, network.Ledger)
			}
			t.Logf("it tried for %v", last.Sub(first))
		})
	}
}
