//go:build linux && (amd64 || arm64)

package sandbox

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"podgate/pods"
	"podgate/store"
)

// Nothing of a pod that is held runs: neither what was started before nor what forks
// all the time. Then all of it goes on, and what had been stopped stays stopped.
func TestHold(t *testing.T) {
	t.Parallel()
	r := open(t, Config{})
	start(t, r, "a", limits)
	command(t, r, "a", `setsid sh -c 'while :; do date +%N >> forks; done' </dev/null >/dev/null 2>&1 &
		setsid sh -c 'while :; do echo x >> builtin; done' </dev/null >/dev/null 2>&1 &
		setsid sh -c 'kill -STOP $$; echo > went-on' </dev/null >/dev/null 2>&1 &
		while [ ! -s forks ] || [ ! -s builtin ]; do :; done`)
	sizes := func() (sum int64) {
		for _, name := range []string{"forks", "builtin"} {
			info, err := os.Stat(filepath.Join(r.folder("a"), "home", name))
			if err != nil {
				t.Fatal(err)
			}
			sum += info.Size()
		}
		return sum
	}
	before := sizes()
	eventually(t, "the programs write", func() bool { return sizes() > before })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for range 20 {
		release, err := r.Hold(ctx, "a")
		if err != nil {
			t.Fatal(err)
		}
		held := sizes()
		for range 2000 { // in which time it would write, if it could
			if now := sizes(); now != held {
				t.Fatalf("while it was held it wrote %d bytes", now-held)
			}
		}
		if !release() {
			t.Error("it was not held to the end")
		}
		eventually(t, "the programs write again", func() bool { return sizes() > held })
	}
	if _, err := os.Stat(filepath.Join(r.folder("a"), "home", "went-on")); err == nil {
		t.Error("what the pod had stopped went on")
	}
	if got := command(t, r, "a", "echo alive"); got.stdout != "alive\n" {
		t.Errorf("%+v", got)
	}
}

// While a pod is held nothing is done with it, and one that does not run is not
// started.
func TestHoldKeepsOthersOut(t *testing.T) {
	t.Parallel()
	r := open(t, Config{})
	start(t, r, "a", limits)
	for _, id := range []string{"a", "new"} {
		release, err := r.Hold(t.Context(), store.PodID(id))
		if err != nil {
			t.Fatal(err)
		}
		short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		for what, err := range map[string]error{
			"stop": r.Stop(short, store.PodID(id)), "remove": r.Remove(short, store.PodID(id)), "start": r.Start(short, pods.Spec{ID: store.PodID(id), Number: 9, Limits: limits}, quiet),
		} {
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s of %s while it is held: %v", what, id, err)
			}
		}
		cancel()
		if !release() || release() {
			t.Error("it is not released once")
		}
	}
	if err := r.Remove(t.Context(), "a"); err != nil {
		t.Error(err)
	}
}

// By cgroups of version 2 a pod is frozen, and thawed when it is done or given up.
func TestFreezer(t *testing.T) {
	t.Parallel()
	f := machineV2("/")
	h, err := findHierarchy(f, "key")
	if err != nil {
		t.Fatal(err)
	}
	g, err := h.create("a", limits)
	if err != nil {
		t.Fatal(err)
	}
	file := g.dirs()[0] + "/cgroup.freeze"
	thaw, err := g.freeze(t.Context())
	if err != nil || f.files[file] != "1" {
		t.Fatal(err, f.files[file])
	}
	if err := thaw(); err != nil || f.files[file] != "0" {
		t.Error(err, f.files[file])
	}
	h.fs = neverFrozen{f}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := g.freeze(ctx); !errors.Is(err, context.DeadlineExceeded) || f.files[file] != "0" {
		t.Errorf("one that does not freeze: %v, %q", err, f.files[file])
	}
	if err := g.remove(); err != nil || thaw() != nil {
		t.Error("a pod that has ended cannot be thawed", err)
	}
}

// neverFrozen is a kernel in which a process waits for what does not come.
type neverFrozen struct{ cgroupFS }

func (n neverFrozen) read(path string) (string, error) {
	if filepath.Base(path) == "cgroup.events" {
		return "populated 1\nfrozen 0", nil
	}
	return n.cgroupFS.read(path)
}
