package pods_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"podgate/internal/authz"
	"podgate/pods"
)

// A pod whose files are gone says so and waits for a person, who restores them
// or deletes it. The others go on.
func TestPodWithoutItsFiles(t *testing.T) {
	t.Parallel()
	clock := newClock()
	h := newHouse(t, clock.config)
	shop, other := h.create(t, "shop"), h.create(t, "other")
	home, aside := filepath.Join(h.fake.Dir(shop.ID), "home"), filepath.Join(t.TempDir(), "home")
	h.fake.Kill(shop.ID, "")
	h.fake.Kill(other.ID, "")
	if err := errors.Join(os.WriteFile(filepath.Join(home, "kept"), []byte("x"), 0o600), os.Rename(home, aside)); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		clock.advance(time.Hour)
		h.reconcile(t)
	}
	if p := h.status(t, "shop"); p.Status != "failed" || !strings.Contains(p.Reason, "its files are gone from "+home+"; restore them and start it again, or delete the pod") {
		t.Errorf("%+v", p)
	}
	if p := h.status(t, "other"); p.Status != "running" {
		t.Errorf("the other: %+v", p)
	}
	if _, err := os.Stat(home); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a home in place of the lost one: %v", err)
	}
	if n := h.fake.Count("start"); n != 4 { // two creations, the other again, shop once
		t.Errorf("%d starts: %v", n, h.fake.Calls())
	}
	_, err := h.Start(t.Context(), h.ann, "shop", nil)
	wants(t, err, pods.ErrNotStarted, "gone from", "delete the pod")
	if err := os.Rename(aside, home); err != nil {
		t.Fatal(err)
	}
	if p, err := h.Start(t.Context(), h.ann, "shop", nil); err != nil || p.Status != "running" {
		t.Errorf("with its files again: %+v, %v", p, err)
	}
	if _, err := os.Stat(filepath.Join(home, "kept")); err != nil {
		t.Error(err)
	}
}

func TestPodWithoutItsFilesCanBeDeleted(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	id := h.create(t, "shop").ID
	h.fake.Kill(id, "")
	if err := os.RemoveAll(h.fake.Dir(id)); err != nil {
		t.Fatal(err)
	}
	h.reconcile(t)
	if err := h.Delete(t.Context(), h.ann, "shop", "shop"); err != nil {
		t.Error(err)
	}
	if all, err := h.List(t.Context(), h.ann); err != nil || len(all) != 0 {
		t.Errorf("%+v, %v", all, err)
	}
}

// A server that dies while it makes a pod leaves one that the next one makes.
func TestPodIsMadeAfterACrash(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.fake.FailStart(errors.New("killed"))
	if _, err := h.Create(t.Context(), h.ann, pods.CreateRequest{Name: "shop", Preset: "static"}, nil); err == nil {
		t.Fatal("it was made")
	}
	rec, err := h.db.PodByName("shop")
	if err != nil || rec.Made || rec.Number != 1 {
		t.Fatalf("%+v, %v", rec, err)
	}
	next := h.restarted(t, filepath.Dir(h.fake.Dir("x")))
	next.reconcile(t)
	if p := next.status(t, "shop"); p.Status != "running" {
		t.Errorf("%+v", p)
	}
	if rec, err := h.db.PodByName("shop"); err != nil || !rec.Made {
		t.Errorf("%+v, %v", rec, err)
	}
	for _, change := range []func(context.Context, authz.Actor, string, pods.Progress) (pods.Pod, error){next.Stop, next.Start} {
		if _, err := change(t.Context(), h.ann, "shop", nil); err != nil {
			t.Fatal(err)
		}
	}
	next.script.set(func(s *script) {
		if len(s.asked) != 2 || !s.asked[0].Welcome || s.asked[1].Welcome {
			t.Errorf("the first start has the first page made, and no other: %+v", s.asked)
		}
	})
}
