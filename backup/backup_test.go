package backup

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"podgate/store"
	"podgate/store/storetest"
)

// server is a data folder with a database, to be backed up.
type server struct {
	t    testing.TB
	dir  string
	db   *store.DB
	team store.TeamID
	hold func(context.Context, store.PodID) (func() bool, error)

	clock func() time.Time // nil: the machine's
}

func newServer(t testing.TB) *server {
	t.Helper()
	dir := t.TempDir()
	s := &server{t: t, dir: dir, db: storetest.Open(t, filepath.Join(dir, nameDatabase))}
	s.team = storetest.Populate(t, s.db, "ada", time.Now()).Team.ID
	return s
}

// pod makes one, with these files, and returns its folder.
func (s *server) pod(id store.PodID, files map[string]string) string {
	s.t.Helper()
	p := store.Pod{ID: id, Name: strings.ToLower(string(id)), Team: s.team, Preset: "static", Plan: "small", Region: "local", Want: store.WantRunning, Created: time.Now()}
	must(s.t, s.db.CreatePod(p, time.Now(), func([]store.Pod) error { return nil }))
	dir := filepath.Join(s.dir, treePods, string(id))
	must(s.t, os.MkdirAll(filepath.Join(dir, "home"), 0o700))
	must(s.t, os.MkdirAll(filepath.Join(dir, "logs"), 0o700))
	s.fill(dir, files)
	return dir
}

func (s *server) fill(dir string, files map[string]string) {
	s.t.Helper()
	for name, content := range files {
		path := filepath.Join(dir, name)
		must(s.t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(s.t, os.WriteFile(path, []byte(content), 0o644))
	}
}

func (s *server) source() Source {
	now := time.Now
	if s.clock != nil {
		now = s.clock
	}
	return Source{Dir: s.dir, DB: s.db, Version: "v1.2.3", Now: now, Hold: s.hold}
}

func (s *server) backup() ([]byte, *Manifest) {
	s.t.Helper()
	var b bytes.Buffer
	m, err := Write(s.t.Context(), &b, s.source())
	must(s.t, err)
	left, err := filepath.Glob(filepath.Join(s.dir, ".backup-*"))
	if err != nil || len(left) > 0 {
		s.t.Errorf("left behind: %q %v", left, err)
	}
	return b.Bytes(), m
}

// restored is the folder that a backup becomes.
func restored(t testing.TB, raw []byte, identities ...Identity) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "elsewhere", "data")
	_, err := Restore(t.Context(), asFile(t, raw), dir, identities...)
	must(t, err)
	only(t, filepath.Dir(dir), "data")
	return dir
}

func asFile(t testing.TB, raw []byte) *os.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "backup")
	must(t, os.WriteFile(path, raw, 0o600))
	f, err := os.Open(path)
	must(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

// only fails when a folder holds anything but names.
func only(t testing.TB, dir string, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	var found []string
	for _, e := range entries {
		found = append(found, e.Name())
	}
	if err != nil || !slices.Equal(found, names) {
		t.Errorf("in %s there are %q, want %q; %v", dir, found, names, err)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// stateOf is all that is to be the same of a tree elsewhere, by path.
func stateOf(t testing.TB, dir string) map[string]string {
	t.Helper()
	all, names := map[string]string{}, map[uint64][]string{}
	must(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		line := fmt.Sprint(info.Mode())
		switch {
		case info.Mode().IsRegular():
			raw, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" %d %v %x", info.Size(), info.ModTime().UnixNano(), sha256.Sum256(raw))
			if f := factsOf(info); f.links > 1 {
				names[f.inode] = append(names[f.inode], name)
			}
		case info.IsDir():
			line += fmt.Sprint(" ", info.ModTime().UnixNano())
		default:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			line += " " + target
		}
		all[name] = line
		return nil
	}))
	for _, same := range names {
		for _, name := range same {
			all[name] += fmt.Sprint(" is ", same)
		}
	}
	return all
}

func sameTree(t testing.TB, got, want map[string]string) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if got[name] != want[name] {
			t.Errorf("%q is %q, want %q", name, got[name], want[name])
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("%q should not be there", name)
		}
	}
}

// oddFiles is a pod's home as people and programs leave one.
func oddFiles(t testing.TB, home string) {
	t.Helper()
	long := strings.Repeat("n", 255)
	for name, content := range map[string]string{
		"app/index.js": "x", "app/a-b": "1", "app/a/b": "2", "app/a.b": "3", "empty": "", long + "/" + long: "long",
		"new\nline": "n", "spaces and «quotes»\"'": "q", "\xff\xfe not UTF-8": "raw", "-rf": "dash", "back\\slash": "b", "..data": "dots", "trailing.": "t", " ": "blank",
		"big": strings.Repeat("0123456789abcdef", 40_000),
	} {
		path := filepath.Join(home, name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, []byte(content), 0o644))
	}
	must(t, os.Mkdir(filepath.Join(home, "nothing in it"), 0o700))
	must(t, os.Symlink("/etc/passwd", filepath.Join(home, "out")))
	must(t, os.Symlink("absent\nthing", filepath.Join(home, "dangling")))
	must(t, os.Symlink("app", filepath.Join(home, "current")))
	must(t, os.Link(filepath.Join(home, "big"), filepath.Join(home, "app", "also big")))
	must(t, os.Link(filepath.Join(home, "big"), filepath.Join(home, "z big")))
	must(t, os.Chmod(filepath.Join(home, "app", "index.js"), 0o751))
	must(t, os.Chtimes(filepath.Join(home, "empty"), time.Time{}, time.Date(1999, 1, 2, 3, 4, 5, 678, time.UTC)))
	f, err := os.Create(filepath.Join(home, "holes"))
	must(t, err)
	for _, at := range []int64{1 << 20, 5 << 30} {
		_, err = f.WriteAt([]byte("data"), at)
		must(t, err)
	}
	must(t, errors.Join(f.Truncate(6<<30), f.Close()))
	must(t, os.WriteFile(filepath.Join(home, "nothing but a hole"), nil, 0o600))
	must(t, os.Truncate(filepath.Join(home, "nothing but a hole"), 1<<20))
	must(t, os.Chmod(filepath.Join(home, long), 0o555))
	t.Cleanup(func() { _ = os.Chmod(filepath.Join(home, long), 0o755) }) // so that the test's folder can go
}

// holesOf takes the content of the file with holes out: reading it takes a while.
func holesOf(t testing.TB, home string) string {
	t.Helper()
	f, err := os.Open(filepath.Join(home, "holes"))
	must(t, err)
	defer f.Close()
	info, err := f.Stat()
	must(t, err)
	parts, err := extentsOf(f, info.Size())
	must(t, err)
	if used := factsOf(info).blocks; used > 1<<20 {
		t.Errorf("a file with holes takes %d bytes", used)
	}
	all, err := io.ReadAll(partsOf(f, parts))
	must(t, err)
	return fmt.Sprintf("%d %v %v %x", info.Size(), info.ModTime(), parts, sha256.Sum256(all))
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	one := s.pod("one", nil)
	two := s.pod("two", map[string]string{"home/x": "y", "logs/app.log": "hello\n"})
	oddFiles(t, filepath.Join(one, "home"))
	s.fill(s.dir, map[string]string{"certificates/ca/example.com/example.com.key": "secret", "certificates/acme/account.json": "{}"})
	must(t, s.db.CreatePod(store.Pod{ID: "three", Name: "three", Team: s.team, Region: "local", Want: store.WantStopped}, time.Now(), func([]store.Pod) error { return nil }))
	settings := filepath.Join(t.TempDir(), "other.toml")
	must(t, os.WriteFile(settings, []byte("listen = \":1\"\n"), 0o600))
	src := s.source()
	src.Settings = settings
	var b bytes.Buffer
	made, err := Write(t.Context(), &b, src)
	must(t, err)
	checked, err := Verify(t.Context(), bytes.NewReader(b.Bytes()))
	must(t, err)
	saidThen, err := json.Marshal(made)
	must(t, err)
	saidNow, err := json.Marshal(checked)
	must(t, err)
	if !bytes.Equal(saidNow, saidThen) || len(made.Pods) != 3 || made.Pods[0].State != PodStill || made.Pods[1].State != PodAbsent || made.Pods[0].LeftOut != 0 {
		t.Errorf("%+v\n%+v", made, checked)
	}
	dir := restored(t, b.Bytes())
	only(t, dir, "certificates", "podgate.db", "podgate.toml", "pods")
	only(t, filepath.Join(dir, "pods"), "one", "two")
	if got, want := holesOf(t, filepath.Join(dir, "pods/one/home")), holesOf(t, filepath.Join(one, "home")); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	for _, home := range []string{filepath.Join(dir, "pods/one/home"), filepath.Join(one, "home")} {
		info, err := os.Stat(home)
		must(t, err)
		must(t, os.Remove(filepath.Join(home, "holes")))
		must(t, os.Chtimes(home, time.Time{}, info.ModTime()))
	}
	for from, to := range map[string]string{one: "pods/one", two: "pods/two", filepath.Join(s.dir, "certificates"): "certificates"} {
		want, got := stateOf(t, from), stateOf(t, filepath.Join(dir, to))
		delete(want, ".") // is no part of it
		delete(got, ".")
		if to == "certificates" {
			want, got = stateOf(t, from), stateOf(t, filepath.Join(dir, to))
		}
		sameTree(t, got, want)
	}
	sameRecords(t, s.db, storetest.Open(t, filepath.Join(dir, nameDatabase)))
}

// sameRecords holds two databases against each other.
func sameRecords(t testing.TB, a, b *store.DB) {
	t.Helper()
	must(t, b.Check())
	one, err := a.Counts()
	must(t, err)
	two, err := b.Counts()
	must(t, err)
	if !slices.Equal(one, two) {
		t.Errorf("%v\n%v", one, two)
	}
}

// What a pod does between the first look at its files and the moment at which it is
// held is in the backup, and nothing that it does after that.
func TestPodThatRuns(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	dir := s.pod("busy", map[string]string{
		"home/stays": "s", "home/a/deep/er/file": "1", "home/a/other": "2", "home/a-b": "3", "home/gone": "g", "home/tree/one/two": "t", "home/tree/three": "t",
		"home/file to folder": "f", "home/folder to file/x": "x", "home/folder to link/keep": "x", "home/target/keep": "must stay", "home/renamed/inside/x": "r", "home/z": "z",
	})
	home := filepath.Join(dir, "home")
	must(t, os.Link(filepath.Join(home, "z"), filepath.Join(home, "y")))
	must(t, os.Mkdir(filepath.Join(home, "shut"), 0o755))
	must(t, os.WriteFile(filepath.Join(home, "shut", "x"), nil, 0o600))
	must(t, os.WriteFile(filepath.Join(home, "shut", "w"), nil, 0o600))
	must(t, os.Chmod(filepath.Join(home, "shut"), 0o555))
	var then map[string]string
	held := 0
	s.hold = func(context.Context, store.PodID) (func() bool, error) {
		held++
		must(t, os.Chmod(filepath.Join(home, "shut"), 0o755))
		for _, name := range []string{"gone", "tree", "file to folder", "folder to file", "folder to link", "shut/x"} {
			must(t, os.RemoveAll(filepath.Join(home, name)))
		}
		must(t, os.Chmod(filepath.Join(home, "shut"), 0o555))
		s.fill(home, map[string]string{"a/deep/er/file": "changed", "a/deep/new": "n", "file to folder/x": "y", "folder to file": "z", "tree/three/four": "a folder now"})
		must(t, os.Symlink("target", filepath.Join(home, "folder to link")))
		must(t, os.Rename(filepath.Join(home, "renamed"), filepath.Join(home, "moved")))
		must(t, os.WriteFile(filepath.Join(home, "y"), []byte("both names"), 0o600))
		must(t, os.Link(filepath.Join(home, "z"), filepath.Join(home, "x")))
		then = stateOf(t, dir)
		return func() bool {
			s.fill(home, map[string]string{"stays": "changed too late", "new": "too late"})
			return true
		}, nil
	}
	must(t, os.Chtimes(filepath.Join(home, "stays"), time.Time{}, time.Now()))
	raw, m := s.backup()
	if held != 1 || m.Pods[0].State != PodStill || m.Pods[0].Why != "" {
		t.Errorf("held %d times: %+v", held, m.Pods)
	}
	got := stateOf(t, filepath.Join(restored(t, raw), "pods/busy"))
	delete(got, ".")
	delete(then, ".")
	sameTree(t, got, then)
}

// A pod that cannot be held still is in the backup all the same, and the backup says
// what that means.
func TestPodThatCannotBeHeld(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.pod("busy", map[string]string{"home/a": "1"})
	for why, hold := range map[string]func(context.Context, store.PodID) (func() bool, error){
		"cannot":   func(context.Context, store.PodID) (func() bool, error) { return nil, errors.New("cannot") },
		"too much": func(context.Context, store.PodID) (func() bool, error) { return func() bool { return false }, nil },
	} {
		s.hold = hold
		raw, m := s.backup()
		if p := m.Pods[0]; p.State != PodRunning || !strings.Contains(p.Why, why) {
			t.Errorf("%s: %+v", why, p)
		}
		if got, err := os.ReadFile(filepath.Join(restored(t, raw), "pods/busy/home/a")); string(got) != "1" {
			t.Errorf("%s: %q %v", why, got, err)
		}
	}
}

// What a pod puts in the way of its backup is left out, and said; the rest is there.
func TestHostileHome(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	home := filepath.Join(s.pod("bad", map[string]string{"home/good": "1"}), "home")
	secret := filepath.Join(t.TempDir(), "secret")
	must(t, os.WriteFile(secret, []byte("of the server"), 0o600))
	must(t, syscall.Mkfifo(filepath.Join(home, "fifo"), 0o600))
	must(t, os.Symlink(secret, filepath.Join(home, "link")))
	must(t, os.Symlink(filepath.Dir(secret), filepath.Join(home, "folder")))
	f, err := os.Create(filepath.Join(home, "scattered"))
	must(t, err)
	for i := range int64(maxExtents + 10) {
		_, err := f.WriteAt([]byte{1}, i<<16)
		must(t, err)
	}
	must(t, errors.Join(f.Truncate(1<<42), f.Close()))
	deep, err := os.OpenRoot(home)
	must(t, err)
	for range 2 * maxDepth {
		must(t, deep.Mkdir("d", 0o700))
		below, err := deep.OpenRoot("d")
		must(t, errors.Join(err, deep.Close()))
		deep = below
	}
	must(t, deep.Close())
	raw, m := s.backup()
	if p := m.Pods[0]; p.LeftOut != 3 || len(p.Such) != 3 || !strings.Contains(strings.Join(p.Such, " "), "256 folders") {
		t.Errorf("%+v", p)
	}
	dir := filepath.Join(restored(t, raw), "pods/bad/home")
	only(t, dir, "d", "folder", "good", "link")
	if bytes.Contains(raw, []byte("of the server")) {
		t.Error("a link was followed")
	}
	if to, err := os.Readlink(filepath.Join(dir, "link")); to != secret {
		t.Error(to, err)
	}
}

// A pod exchanges its files all the time while they are read. Nothing from outside its
// home gets into the backup, which can be restored.
func TestHomeThatChanges(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	home := filepath.Join(s.pod("bad", nil), "home")
	outside := t.TempDir()
	const secret = "SECRET-of-the-server"
	s.fill(outside, map[string]string{"x/key": secret, "key": secret})
	for i := range 20 {
		s.fill(home, map[string]string{fmt.Sprintf("d%d/key", i): strings.Repeat("own", 1000)})
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ctx.Err() == nil; i++ {
			d := filepath.Join(home, fmt.Sprintf("d%d", i%20))
			// Each of these may fail: they only are to happen in between.
			_ = os.Rename(d, d+".aside")
			_ = os.Symlink(outside, d)
			_ = os.Remove(d)
			_ = os.Rename(d+".aside", d)
			_ = os.Remove(filepath.Join(d, "key"))
			_ = os.Symlink(filepath.Join(outside, "key"), filepath.Join(d, "key"))
			_ = os.Remove(filepath.Join(d, "key"))
			_ = os.WriteFile(filepath.Join(d, "key"), bytes.Repeat([]byte("own"), i%2000), 0o600)
			_ = os.Truncate(filepath.Join(d, "key"), int64(i%100))
		}
	}()
	s.hold = func(context.Context, store.PodID) (func() bool, error) { return func() bool { return true }, nil }
	for range 20 {
		raw, _ := s.backup()
		var kept keeper
		_, err := scan(t.Context(), bytes.NewReader(raw), nil, nil, &kept)
		must(t, err)
		if strings.Contains(kept.String(), secret) {
			t.Fatal("a file from outside the home is in the backup")
		}
	}
	cancel()
	<-done
	raw, _ := s.backup()
	restored(t, raw)
}

// What a pod can have the server remember is bounded, and what is over the bound is left
// out and said.
func TestBoundsOfAPod(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	dir := s.pod("a", map[string]string{"home/1": "", "home/2": "", "home/3": "", "home/d/x": "", "home/d/y": ""})
	root, err := os.OpenRoot(dir)
	must(t, err)
	defer root.Close()
	for name, c := range map[string]struct {
		start tree
		left  string
		files int
	}{
		"files":        {tree{files: maxFiles - 3}, "home/3: more files", 3},
		"paths":        {tree{names: maxNames - len("homehome/1home/2")}, "home/3: more files", 3},
		"open folders": {tree{open: maxOpen - 4*(1+nameCost)}, "home/d/: more files in folders", 6},
	} {
		walk, report := c.start, &Pod{}
		walk.ctx, walk.out, walk.report = t.Context(), newSink(t.Context(), io.Discard, nil), report
		must(t, walk.walk(root, podTrees))
		if report.LeftOut != 1 || !strings.HasPrefix(report.Such[0], c.left) || report.Files != c.files {
			t.Errorf("%s: %+v", name, report)
		}
	}
	walk, report := tree{ctx: t.Context(), out: newSink(t.Context(), io.Discard, nil)}, &Pod{said: 2*maxNames - len("home/home/1home/2")}
	walk.report = report
	must(t, walk.walk(root, podTrees))
	if report.Files != 3 || report.LeftOut < 4 || !strings.HasPrefix(report.Such[0], "home/3: the pod changes") {
		t.Errorf("%+v", report)
	}
	info, err := root.Lstat("logs")
	must(t, err)
	if sub, _, _, err := openFolder(root, "home", info, maxOpen); !errors.Is(err, errExchanged) || sub != nil {
		t.Errorf("a folder that was exchanged: %v", err)
	}
	var p Pod
	p.leave(strings.Repeat("\xff", 4000), strings.Repeat("because ", 100))
	if len(p.Such[0]) > maxSuch+10 {
		t.Errorf("%d bytes are said of a file", len(p.Such[0]))
	}
}

// Who gives a backup up does not wait for the end of a large file.
func TestGivenUp(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	s := newSink(ctx, writerFunc(func(p []byte) (int, error) { cancel(); return len(p), nil }), nil)
	if err := s.put(&tar.Header{Typeflag: tar.TypeReg, Name: "x", Size: 1 << 60}, zeros{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// keeper keeps the contents of pods' files.
type keeper struct{ strings.Builder }

func (k *keeper) take(e *entry, content io.Reader) error {
	if e.pod == "" {
		return nil
	}
	_, err := io.Copy(k, content)
	return err
}

func ownerOf(info fs.FileInfo) (uid, gid int) {
	st := info.Sys().(*syscall.Stat_t)
	return int(st.Uid), int(st.Gid)
}
