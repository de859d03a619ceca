package pods_test

import (
	"context"
	"errors"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"podgate/pods"
	"podgate/pods/wire"
	"podgate/store"
)

// A deploy that a server left going on has failed for the next one, and what ran
// before it is what should run.
func TestDeployThatWasCutOff(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	dir := filepath.Dir(h.fake.Dir("x"))
	p := h.create(t, "shop")
	if _, err := h.db.BeginDeploy(store.Deploy{Pod: p.ID, Action: "deploy", Source: "3 files", Release: -1}); err != nil {
		t.Fatal(err)
	}
	if list, err := h.Deploys(h.ann, "shop"); err != nil || len(list) != 1 || list[0].State != store.DeployBuilding {
		t.Fatalf("%+v, %v", list, err)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	h = h.restarted(t, dir)
	list, err := h.Deploys(h.ann, "shop")
	if err != nil || len(list) != 1 || list[0].State != store.DeployFailed || list[0].Reason != "it was cut off before it ended" || list[0].Live {
		t.Errorf("%+v, %v", list, err)
	}
	h.reconcile(t)
	asked := h.script.asked[len(h.script.asked)-1]
	if asked.Spec == nil || asked.Spec.Release != 0 {
		t.Errorf("the agent was told %+v", asked.Spec)
	}
}

// What a failure printed is in the words of the error and in the list, bounded.
func TestLinesOfAFailure(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.create(t, "shop")
	var lines []wire.LogLine
	for range 100 {
		lines = append(lines, wire.LogLine{Text: strings.Repeat("x", 5000) + "\xff"})
	}
	lines = append(lines, wire.LogLine{Text: "npm ERR! 404"})
	h.script.set(func(s *script) {
		s.fault = &wire.Fault{Code: wire.FaultFailed, Message: "npm ci ended with 1", Lines: lines}
	})
	_, err := h.Reload(t.Context(), h.ann, "shop", nil)
	wants(t, err, pods.ErrAppFailed, "reload: npm ci ended with 1")
	if words := err.Error(); !strings.HasSuffix(words, "npm ERR! 404") || len(words) > 10_000 {
		t.Errorf("%d bytes end in %q", len(words), words[len(words)-40:])
	}
	list, err := h.Deploys(h.ann, "shop")
	if err != nil || len(list) != 1 || list[0].Action != "reload" || len(list[0].Lines) != wire.TailLines || list[0].Lines[wire.TailLines-1] != "npm ERR! 404" {
		t.Errorf("%+v, %v", list, err)
	}
}

// A repository whose address has a secret in it is refused before anything of it is
// noted, which the team could read, and before a pod is made for it.
func TestSecretsInAnAddressAreNotNoted(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.create(t, "shop")
	for _, address := range []string{"https://ann:hush@git.example/x", "https://git.example/x?private_token=hush", "https://git.example/x#hush"} {
		for _, name := range []string{"shop", "fresh"} {
			_, err := h.Deploy(t.Context(), h.ann, pods.DeployRequest{Name: name, Git: &wire.Git{URL: address}}, nil)
			wants(t, err, pods.ErrBadInput, "apart")
			if strings.Contains(err.Error(), "hush") {
				t.Errorf("the error has the secret: %v", err)
			}
		}
	}
	if list, err := h.Deploys(h.ann, "shop"); err != nil || len(list) != 0 {
		t.Errorf("noted: %+v, %v", list, err)
	}
	if _, err := h.Get(t.Context(), h.ann, "fresh"); !errors.Is(err, pods.ErrNotFound) {
		t.Errorf("a pod was made: %v", err)
	}
}

// A disk that is half full costs a deploy's pod its older releases, and a rollback's
// none: it needs no room, and one of them is what it goes back to.
func TestRollbackOnATightDisk(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	p := h.create(t, "shop")
	for range 4 {
		d, err := h.db.BeginDeploy(store.Deploy{Pod: p.ID, Action: "deploy", Release: -1})
		if err != nil {
			t.Fatal(err)
		}
		d.State, d.Preset = store.DeploySucceeded, "static"
		if err := h.db.EndDeploy(d, &store.App{Release: d.Release, Preset: "static"}); err != nil {
			t.Fatal(err)
		}
	}
	h.script.set(func(s *script) { s.usage.Disk = 1 << 50 })
	given := func() []string {
		h.script.mu.Lock()
		defer h.script.mu.Unlock()
		return h.script.gone
	}
	second := 2
	if _, err := h.Rollback(t.Context(), h.ann, "shop", &second, nil); err == nil {
		t.Error("the scripted agent knows no deploys")
	}
	same(t, "a rollback gave up", given(), nil)
	if _, err := h.Deploy(t.Context(), h.ann, pods.DeployRequest{Name: "shop", Archive: "a.tar"}, nil); err == nil {
		t.Error("the scripted agent knows no deploys")
	}
	same(t, "a deploy gave up", given(), []string{"/home/pod/releases/2", "/home/pod/releases/1"})
}

// A deploy in the background that waits for its turn ends with its caller, whose right
// to it may be what was taken away.
func TestDeployLaterIsGivenUpBeforeItsTurn(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.create(t, "shop")
	hold := make(chan struct{})
	h.script.set(func(s *script) { s.hold = hold })
	reloaded := make(chan error, 1)
	go func() {
		_, err := h.Reload(t.Context(), h.ann, "shop", nil)
		reloaded <- err
	}()
	<-h.script.held
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := h.Deploy(ctx, h.ann, pods.DeployRequest{Name: "shop", Archive: "a.tar", Background: true}, nil)
	wants(t, err, context.Canceled)
	close(hold)
	if err := <-reloaded; err != nil {
		t.Fatal(err)
	}
	if list, err := h.Deploys(h.ann, "shop"); err != nil || len(list) != 1 || list[0].Action != "reload" {
		t.Errorf("%+v, %v", list, err)
	}
}

// What the files of a deploy hold is counted while its call lasts, so one in the
// background holds nothing of them after it.
func TestDeployLaterHoldsNoFiles(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.create(t, "shop")
	hold := make(chan struct{})
	defer close(hold)
	h.script.set(func(s *script) { s.hold = hold })
	freed := make(chan struct{})
	func() {
		content := new([1 << 20]byte)
		runtime.AddCleanup(content, func(c chan struct{}) { close(c) }, freed)
		req := pods.DeployRequest{Name: "shop", Files: []pods.SourceFile{{Path: "big", Content: content[:]}}, Background: true}
		if d, err := h.Deploy(t.Context(), h.ann, req, nil); err != nil || d.Deploy.State != store.DeployBuilding {
			t.Fatalf("%+v, %v", d.Deploy, err)
		}
	}()
	<-h.script.held
	for range 100 {
		runtime.GC()
		select {
		case <-freed:
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
	t.Error("the files are held while the deploy goes on")
}
