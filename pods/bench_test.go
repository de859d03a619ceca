package pods_test

import (
	"os/exec"
	"testing"
	"time"

	"podgate/internal/authz"
	"podgate/pods"
	"podgate/pods/podstest"
	"podgate/store"
	"podgate/store/storetest"
)

// BenchmarkExec is a command through service, client and agent, without the
// cost of isolation, beside what starting the same command costs by itself.
func BenchmarkExec(b *testing.B) {
	b.Run("bare", func(b *testing.B) {
		for b.Loop() {
			if err := exec.Command("/bin/sh", "-c", ":").Run(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("service", benchmarkExec)
}

func benchmarkExec(b *testing.B) {
	db := storetest.New(b)
	s := podstest.NewService(b, db)
	w := storetest.Populate(b, db, "ann", time.Now())
	a := authz.Person(w.User.ID, store.Membership{Team: w.Team, Role: store.RoleOwner})
	if _, err := s.Create(b.Context(), a, pods.CreateRequest{Name: "shop", Preset: "static"}, nil); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := s.Exec(b.Context(), a, "shop", pods.ExecRequest{Command: ":"}, nil); err != nil {
			b.Fatal(err)
		}
	}
}
