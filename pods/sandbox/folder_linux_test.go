//go:build linux && (amd64 || arm64)

package sandbox

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"podgate/pods"
	"podgate/store"
)

// A bad folder costs its own pod only, and what files of earlier versions say of
// uids costs nobody.
func TestPodFolders(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, uid := range map[string]string{"empty": "", "twin-1": "700001", "twin-2": "700001", "words": "seven", "logless": "5", "homeless": "6"} {
		folder := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Join(folder, "home"), 0o700), os.WriteFile(filepath.Join(folder, "uid"), []byte(uid), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	home := filepath.Join(dir, "homeless", "home")
	err := errors.Join(os.Remove(home), os.Mkdir(filepath.Join(dir, "file"), 0o700), os.WriteFile(filepath.Join(dir, "file", "home"), nil, 0o600),
		os.WriteFile(filepath.Join(dir, "flat"), nil, 0o600), os.Mkdir(filepath.Join(dir, "link"), 0o700), os.Symlink("/etc", filepath.Join(dir, "link", "home")))
	if err != nil {
		t.Fatal(err)
	}
	r := open(t, Config{Dir: dir})
	owners := map[int]bool{}
	for i, name := range []string{"empty", "twin-1", "twin-2", "words", "logless"} {
		id := store.PodID(name)
		if err := r.Start(t.Context(), pods.Spec{ID: id, Number: i + 1, Name: name, Made: true, Limits: limits}, quiet); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		info, err := os.Stat(filepath.Join(dir, name, "home"))
		if err != nil {
			t.Fatal(err)
		}
		owners[int(info.Sys().(*syscall.Stat_t).Uid)] = true
		if got := command(t, r, id, "echo x > file && cat file"); got.stdout != "x\n" {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if want := map[bool]int{true: 5, false: 1}[r.root]; len(owners) != want {
		t.Errorf("homes belong to %v, want %d owners", owners, want)
	}
	for name, words := range map[string]string{"homeless": "gone from", "file": "is not a folder", "flat": "cannot be used", "link": "is not a folder", "absent": "gone from"} {
		var bad *pods.FilesError
		err := r.Start(t.Context(), pods.Spec{ID: store.PodID(name), Number: 9, Made: true, Limits: limits}, quiet)
		if !errors.As(err, &bad) || !strings.Contains(bad.Words, words) || !strings.Contains(bad.Words, filepath.Join(dir, name)) {
			t.Errorf("%s: %v, want %q", name, err, words)
		}
	}
	for _, path := range []string{home, filepath.Join(dir, "absent")} {
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s was put in place of what is gone: %v", path, err)
		}
	}
}

// A start that was cut off in the middle of making the folder is made up for.
func TestPodFolderIsCompleted(t *testing.T) {
	t.Parallel()
	r := open(t, Config{})
	for i, there := range [][]string{{}, {"."}, {"home"}, {"logs"}} {
		id := store.PodID(string(rune('a' + i)))
		for _, name := range there {
			if err := os.MkdirAll(filepath.Join(r.folder(id), name), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.Start(t.Context(), pods.Spec{ID: id, Number: i + 1, Limits: limits}, quiet); err != nil {
			t.Errorf("with %q: %v", there, err)
		} else if got := command(t, r, id, "echo x > file; cat file"); got.stdout != "x\n" {
			t.Errorf("with %q: %+v", there, got)
		}
	}
}

// Every number has a uid of its own, within the range.
func TestHostIDs(t *testing.T) {
	t.Parallel()
	for _, dir := range []string{"/a", "/var/lib/podgate/pods"} {
		r := &Runtime{root: true, cfg: Config{Dir: dir, FirstUID: 5000, UIDs: 50}}
		seen := map[int]bool{}
		for number := range 50 {
			id, err := r.hostID(number)
			if err != nil || id < 5000 || id >= 5050 || seen[id] {
				t.Errorf("%d: %d, %v", number, id, err)
			}
			seen[id] = true
		}
		for _, number := range []int{-1, 50} {
			if id, err := r.hostID(number); err == nil {
				t.Errorf("%d: %d", number, id)
			}
		}
	}
	if id, err := (&Runtime{}).hostID(7); err != nil || id != os.Geteuid() {
		t.Errorf("of an ordinary user: %d, %v", id, err)
	}
}
