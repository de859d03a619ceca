package copies_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"podgate/pods"
	"podgate/store"
)

var kills = flag.Int("kills", 6, "how often TestKilledCopies kills who copies")

// TestMain lets the test binary stand in for a server that is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv("PODGATE_TEST_VICTIM"); dir != "" {
		if err := victim(dir, os.Args[1]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// victim takes a snapshot of the pod a, and puts that of b in the place of b's files.
func victim(dir, id string) error {
	if id == "share" {
		return shares(dir)
	}
	s := newShelf(dir)
	if _, err := s.Snapshot(context.Background(), "a", store.SnapshotID(id), large, nil); err != nil {
		return err
	}
	_, err := s.Fill(context.Background(), fillOf(id), 0, nil, func() error { return nil })
	return err
}

func fillOf(id string) pods.Fill {
	return pods.Fill{Pod: "b", From: pods.Place{Pod: "b", Snapshot: "from"}, Old: store.SnapshotID("old" + id), Most: large}
}

// A kill at any moment leaves whole snapshots, names of such as are not, which go with
// the next Keep, and a restore that is finished by the same call.
func TestKilledCopies(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var files []string
	for i := range 120 {
		files = append(files, fmt.Sprintf("%d/%d", i%7, i), strings.Repeat(strconv.Itoa(i), 700+i))
	}
	want := look(t, home(t, dir, "a", files...))
	home(t, dir, "b", files...)
	s := newShelf(dir)
	_, err := s.Snapshot(t.Context(), "b", "from", large, nil)
	must(t, err)
	began := time.Now()
	if !outlives(t, dir, "warm", time.Minute) {
		t.Fatal("no snapshot was taken")
	}
	took := time.Since(began)
	cut := 0
	for i := range *kills {
		id := "s" + strconv.Itoa(i)
		began := time.Now()
		if outlives(t, dir, id, rand.N(took)) {
			took = time.Since(began) // the machine is sometimes busy and sometimes not
		} else {
			took += took / 4
			cut++
		}
		found, err := s.List()
		must(t, err)
		for _, pod := range []store.PodID{"a", "b"} {
			var whole []store.SnapshotID
			for _, snap := range found[pod] {
				if top := filepath.Join(dir, ".snapshots", string(pod), string(snap), "home"); !strings.HasPrefix(string(snap), ".") && there(top) {
					whole = append(whole, snap)
					if got := look(t, top); !slices.Equal(got, want) {
						t.Fatalf("%s of %s is not whole after %s: %d of %d", snap, pod, id, len(got), len(want))
					}
				}
			}
			if pod == "a" {
				must(t, s.Keep(pod, whole))
			}
		}
		if now, err := s.List(); err != nil || slices.ContainsFunc(now["a"], func(id store.SnapshotID) bool { return strings.HasPrefix(string(id), ".") }) {
			t.Errorf("after Keep: %v, %v", now, err)
		}
		if _, err := s.Fill(t.Context(), fillOf(id), 0, nil, func() error { return nil }); err != nil {
			t.Fatalf("finish %s: %v", id, err)
		}
		for _, top := range []string{filepath.Join(dir, "b/home"), filepath.Join(dir, ".snapshots/b/old"+id+"/home")} {
			if got := look(t, top); !slices.Equal(got, want) {
				t.Fatalf("%s is not whole after %s: %d of %d", top, id, len(got), len(want))
			}
		}
	}
	t.Logf("%d of %d were killed before their end", cut, *kills)
}

func there(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// outlives runs a victim and kills it after a while; it reports whether it had ended.
func outlives(t *testing.T, dir, id string, after time.Duration) bool {
	t.Helper()
	exe, err := os.Executable()
	must(t, err)
	cmd := exec.Command(exe, id)
	cmd.Env = []string{"PODGATE_TEST_VICTIM=" + dir}
	var errs strings.Builder
	cmd.Stderr = &errs
	must(t, cmd.Start())
	timer := time.AfterFunc(after, func() { _ = cmd.Process.Kill() }) // dead already
	defer timer.Stop()
	err = cmd.Wait()
	if errs.Len() > 0 {
		t.Errorf("%s: %v: %s", id, err, &errs)
	}
	return err == nil
}
