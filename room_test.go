package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"podgate/pods"
	"podgate/store/storetest"
)

// A database that is not where it was is red, also when another one is there.
func TestReadyWithoutTheDataFolder(t *testing.T) {
	t.Parallel()
	srv := startServer(t)
	path := filepath.Join(srv.DataDir, "podgate.db")
	if srv.lacks("data_folder") {
		t.Error("it is missed and is there")
	}
	if err := os.Rename(path, path+".aside"); err != nil {
		t.Fatal(err)
	}
	if !srv.lacks("data_folder") {
		t.Error("it is not missed")
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if !srv.lacks("data_folder") {
		t.Error("another file is taken for it")
	}
	if err := os.Rename(path+".aside", path); err != nil {
		t.Fatal(err)
	}
	if status, answer := srv.readiness(); srv.canRunPods() && (status != http.StatusOK || !answer.Ready || len(answer.Problems) > 0) {
		t.Errorf("with it again: %d %+v", status, answer)
	}
}

// Pods must be able to run in one region at least.
func TestReadyNeedsARegion(t *testing.T) {
	t.Parallel()
	works := func(context.Context) (pods.Runtime, error) { return pods.Runtime(nil), nil }
	fails := func(context.Context) (pods.Runtime, error) { return nil, errors.New("no kernel") }
	for name, c := range map[string]struct {
		regions []func(context.Context) (pods.Runtime, error)
		want    bool
	}{
		"none":       {[]func(context.Context) (pods.Runtime, error){fails, fails}, false},
		"the second": {[]func(context.Context) (pods.Runtime, error){fails, works}, true},
	} {
		var regions []pods.Region
		for i, open := range c.regions {
			regions = append(regions, pods.Region{Name: string(rune('a' + i)), Open: open})
		}
		service, err := pods.New(pods.Config{DB: storetest.New(t), Regions: regions, Log: slog.New(slog.DiscardHandler), Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		service.Open(t.Context())
		if got := (&server{pods: service}).podsCanRun(); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
