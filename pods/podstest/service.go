package podstest

import (
	"context"
	"fmt"
	"testing"

	"podgate/pods"
	"podgate/store"
)

// NewService returns a service with one region, called here, that is a Fake.
// Every preset counts as available. It is closed with the test.
func NewService(t testing.TB, db *store.DB) *pods.Service {
	t.Helper()
	s, _ := NewServiceFake(t, db)
	return s
}

// NewServiceFake is NewService for tests that need the switches of the fake.
func NewServiceFake(t testing.TB, db *store.DB) (*pods.Service, *Fake) {
	t.Helper()
	f := NewFake(t)
	return ServiceOver(t, db, f), f
}

// ServiceOver returns a service over one runtime, which it closes with the
// test. change may alter the configuration.
func ServiceOver(t testing.TB, db *store.DB, r pods.Runtime, change ...func(*pods.Config)) *pods.Service {
	t.Helper()
	cfg := pods.Config{
		DB:      db,
		Regions: []pods.Region{Region("here", r)},
		URL:     func(name string) string { return fmt.Sprintf("http://%s.localhost:8080", name) },
	}
	for _, c := range change {
		c(&cfg)
	}
	s, err := pods.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.Open(t.Context())
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close the service: %v", err)
		}
	})
	return s
}

// Region is a region that is opened at once.
func Region(name string, r pods.Runtime) pods.Region {
	return pods.Region{Name: name, Kind: "fake", Open: func(context.Context) (pods.Runtime, error) { return r, nil }}
}

// DownRegion is a region that cannot be opened.
func DownRegion(name string, err error) pods.Region {
	return pods.Region{Name: name, Kind: "fake", Open: func(context.Context) (pods.Runtime, error) { return nil, err }}
}
