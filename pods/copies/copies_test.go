package copies_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"podgate/pods"
	"podgate/pods/copies"
	"podgate/store"
)

const large = 1 << 40

func newShelf(dir string) *copies.Shelf {
	return &copies.Shelf{Dir: dir, Remove: removeAll, Measure: func(string) (int64, error) { return 7, nil }}
}

// removeAll is os.RemoveAll for folders that may not be written to.
func removeAll(path string) error {
	_ = filepath.WalkDir(path, func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			_ = os.Chmod(name, 0o700)
		}
		return nil
	})
	return os.RemoveAll(path)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// home makes the home of a pod with files: paths and texts in turns.
func home(t *testing.T, dir, pod string, pairs ...string) string {
	t.Helper()
	top := filepath.Join(dir, pod, "home")
	must(t, os.MkdirAll(top, 0o700))
	for i := 0; i+1 < len(pairs); i += 2 {
		path := filepath.Join(top, pairs[i])
		must(t, os.MkdirAll(filepath.Dir(path), 0o700))
		must(t, os.WriteFile(path, []byte(pairs[i+1]), 0o640))
	}
	return top
}

// look lists a tree: paths, modes, sizes, where links lead, and what small files hold.
func look(t *testing.T, top string) (lines []string) {
	t.Helper()
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == top {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		line := fmt.Sprintf("%q %v", strings.TrimPrefix(path, top), info.Mode())
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			to, _ := os.Readlink(path)
			line += " to " + to
		case info.Mode().IsRegular():
			line += fmt.Sprintf(" %d of %d names", info.Size(), info.Sys().(*syscall.Stat_t).Nlink)
			if info.Size() < 1000 {
				raw, err := os.ReadFile(path)
				if err != nil {
					return err
				}
				line += " " + string(raw)
			}
		}
		lines = append(lines, line)
		return nil
	})
	must(t, err)
	return lines
}

// A home can hold anything. A copy of it has what it has, but for what is no file,
// folder or link; it takes no more room, and nothing out of it is read.
func TestHostileHomes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	secret := filepath.Join(t.TempDir(), "secret")
	must(t, os.WriteFile(secret, []byte("of the host"), 0o600))
	top := home(t, dir, "a", "one", "1", "deep/er/file", "in it", "line\nbreak", "x", "-rf", "y", "\xff", "z", "shut/in", "s")
	must(t, os.Symlink(secret, filepath.Join(top, "out")))
	must(t, os.Symlink(filepath.Dir(secret), filepath.Join(top, "outfolder")))
	must(t, os.Symlink("../..", filepath.Join(top, "deep/up")))
	must(t, os.Symlink(".", filepath.Join(top, "round")))
	must(t, os.Link(filepath.Join(top, "one"), filepath.Join(top, "deep/same")))
	must(t, syscall.Mkfifo(filepath.Join(top, "pipe"), 0o600))
	if os.Geteuid() == 0 {
		must(t, syscall.Mknod(filepath.Join(top, "null"), syscall.S_IFCHR|0o666, 1<<8|3))
		must(t, os.Chmod(filepath.Join(top, "one"), 0o640|fs.ModeSetuid))
	}
	f, err := os.Create(filepath.Join(top, "sparse"))
	must(t, err)
	must(t, f.Truncate(4<<40))
	_, err = f.WriteAt([]byte("end"), 4<<40-3)
	must(t, errors.Join(err, f.Close()))
	must(t, os.Chmod(filepath.Join(top, "shut"), 0o500))
	t.Cleanup(func() { _ = removeAll(dir) })

	s := newShelf(dir)
	made, err := s.Snapshot(t.Context(), "a", "first", 1<<20, nil)
	must(t, err)
	copied := filepath.Join(dir, ".snapshots/a/first/home")
	want := slices.DeleteFunc(look(t, top), func(line string) bool {
		return strings.HasPrefix(line, `"/pipe"`) || strings.HasPrefix(line, `"/null"`)
	})
	for i := range want {
		want[i] = strings.Replace(want[i], "urw-r-----", "-rw-r-----", 1) // nobody's program runs as another by a copy
	}
	if got := look(t, copied); !slices.Equal(got, want) {
		t.Errorf("the copy has\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if special := 1 + min(1, 1-min(1, os.Geteuid())); made.LeftOut != special || made.Moving || made.Bytes > 1<<20 {
		t.Errorf("%+v, want %d left out", made, special)
	}
	// And back, over something else.
	home(t, dir, "b", "other", "o")
	filled, err := s.Fill(t.Context(), pods.Fill{Pod: "b", From: pods.Place{Pod: "a", Snapshot: "first"}, Old: "before", Most: 1 << 20}, 0, nil, func() error { return nil })
	if err != nil || !filled.Had || filled.Bytes != 7 {
		t.Fatalf("%+v, %v", filled, err)
	}
	if got := look(t, filepath.Join(dir, "b/home")); !slices.Equal(got, want) {
		t.Errorf("restored:\n%s", strings.Join(got, "\n"))
	}
	if got := look(t, filepath.Join(dir, ".snapshots/b/before/home")); len(got) != 1 || !strings.Contains(got[0], "other") {
		t.Errorf("what was there before: %q", got)
	}
}

// A copy that may not be is refused in words, and nothing of it is left.
func TestCopiesAreBounded(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	home(t, dir, "a", "one", strings.Repeat("x", 100_000), "two", "2")
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		ctx   context.Context
		pod   store.PodID
		most  int64
		spare int64
		says  string
	}{
		"too large": {t.Context(), "a", 100_000, 0, "more than the 0 MiB"},
		"no room":   {t.Context(), "a", large, 1 << 60, "no room"},
		"absent":    {t.Context(), "b", large, 0, "not there any more"},
		"cancelled": {gone, "a", large, 0, ""},
		"no id":     {t.Context(), "../a", large, 0, "is no id"},
	} {
		s := newShelf(dir)
		s.Spare = c.spare
		_, err := s.Snapshot(c.ctx, c.pod, "one", c.most, nil)
		var words *pods.FilesError
		if err == nil || !strings.Contains(err.Error(), c.says) || c.ctx == t.Context() && c.pod != "../a" && !errors.As(err, &words) {
			t.Errorf("%s: %v", name, err)
		}
		_, err = s.Fill(c.ctx, pods.Fill{Pod: "new", From: pods.Place{Pod: c.pod}, Most: c.most}, 0, nil, func() error { t.Errorf("%s: stopped", name); return nil })
		if err == nil {
			t.Errorf("%s: filled", name)
		}
		if found, err := s.List(); err != nil || len(found["a"]) != 0 {
			t.Errorf("%s leaves %v, %v", name, found, err)
		}
		if _, err := os.Stat(filepath.Join(dir, "new/home")); err == nil {
			t.Errorf("%s makes a home", name)
		}
	}
	if _, err := newShelf(dir).Snapshot(t.Context(), "a", "../x", large, nil); err == nil {
		t.Error("a snapshot out of the folder")
	}
	if _, err := newShelf(dir).Fill(t.Context(), pods.Fill{Pod: "a", From: pods.Place{Pod: "a"}, Most: large}, 0, nil, func() error { return nil }); err == nil {
		t.Error("a home is filled without a place for the old one")
	}
}

// A restore that was cut off between any two of its steps is finished by the same call,
// with the home of before as a snapshot, and never a third thing.
func TestFillIsFinished(t *testing.T) {
	t.Parallel()
	for _, cut := range []string{"", "copying", "copied", "shelved", "done"} {
		t.Run(cut, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s := newShelf(dir)
			home(t, dir, "a", "file", "new")
			_, err := s.Snapshot(t.Context(), "a", "from", large, nil)
			must(t, err)
			must(t, os.RemoveAll(filepath.Join(dir, "a")))
			top := home(t, dir, "a", "file", "old")
			next, shelved := filepath.Join(dir, "a/.fill/home"), filepath.Join(dir, ".snapshots/a/old")
			if cut == "copying" {
				must(t, os.MkdirAll(filepath.Join(next, "half"), 0o700))
			}
			if cut == "copied" || cut == "shelved" {
				must(t, os.CopyFS(next, os.DirFS(filepath.Join(dir, ".snapshots/a/from/home"))))
				must(t, os.Mkdir(shelved, 0o700))
			}
			if cut == "shelved" {
				must(t, os.Rename(top, filepath.Join(shelved, "home")))
			}
			fill := pods.Fill{Pod: "a", From: pods.Place{Pod: "a", Snapshot: "from"}, Old: "old", Most: large}
			if cut == "done" {
				_, err := s.Fill(t.Context(), fill, 0, nil, func() error { return nil })
				must(t, err)
			}
			filled, err := s.Fill(t.Context(), fill, 0, nil, func() error { return nil })
			if err != nil || !filled.Had {
				t.Fatalf("%+v, %v", filled, err)
			}
			for path, want := range map[string]string{top: "new", filepath.Join(shelved, "home"): "old", filepath.Join(dir, ".snapshots/a/from/home"): "new"} {
				if raw, err := os.ReadFile(filepath.Join(path, "file")); err != nil || string(raw) != want {
					t.Errorf("%s: %q, %v; want %q", path, raw, err, want)
				}
				if entries, err := os.ReadDir(path); err != nil || len(entries) != 1 {
					t.Errorf("%s has %v, %v", path, entries, err)
				}
			}
			if _, err := os.Stat(filepath.Join(dir, "a/.fill")); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("something is left: %v", err)
			}
		})
	}
}

// Of what changes while it is copied the last state counts, of which the pod is held
// still; where that is not to be had, the copy says so.
func TestCopyOfWhatChanges(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	top := home(t, dir, "a", "stays", "1", "changes", "first", "goes/file", "x", "becomes", "file", "moved/a", "a", "moved/b", "b")
	change := func() {
		must(t, os.WriteFile(filepath.Join(top, "changes"), []byte("last"), 0o600))
		must(t, os.RemoveAll(filepath.Join(top, "goes")))
		must(t, os.Remove(filepath.Join(top, "becomes")))
		must(t, os.MkdirAll(filepath.Join(top, "becomes/a/folder"), 0o700))
		must(t, os.Rename(filepath.Join(top, "moved/a"), filepath.Join(top, "moved/c")))
		must(t, os.Rename(filepath.Join(top, "moved/b"), filepath.Join(top, "moved/a")))
		must(t, syscall.Mkfifo(filepath.Join(top, "pipe"), 0o600))
	}
	held := 0
	hold := func(context.Context) (func() bool, error) {
		held++
		change()
		return func() bool { return true }, nil
	}
	s := newShelf(dir)
	made, err := s.Snapshot(t.Context(), "a", "first", large, hold)
	if err != nil || made.Moving || held != 1 || made.LeftOut != 1 {
		t.Fatalf("%+v, %v, held %d times", made, err, held)
	}
	want := slices.DeleteFunc(look(t, top), func(line string) bool { return strings.Contains(line, "pipe") })
	if got := look(t, filepath.Join(dir, ".snapshots/a/first/home")); !slices.Equal(got, want) {
		t.Errorf("the copy has\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	made, err = s.Snapshot(t.Context(), "a", "second", large, func(context.Context) (func() bool, error) { return func() bool { return false }, nil })
	if err != nil || !made.Moving || made.LeftOut != 1 {
		t.Errorf("%+v, %v", made, err)
	}
	if got := look(t, filepath.Join(dir, ".snapshots/a/second/home")); !slices.Equal(got, want) {
		t.Errorf("the copy of a pod that could not be held has\n%s", strings.Join(got, "\n"))
	}
	must(t, s.Keep("a", []store.SnapshotID{"second"}))
	if found, err := s.List(); err != nil || !slices.Equal(found["a"], []store.SnapshotID{"second"}) {
		t.Errorf("%v, %v", found, err)
	}
	must(t, s.Keep("a", nil))
	if found, err := s.List(); err != nil || len(found) != 0 {
		t.Errorf("%v, %v", found, err)
	}
}
