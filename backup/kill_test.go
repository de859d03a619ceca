package backup

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"podgate/store"
	"podgate/store/storetest"
)

var kills = flag.Int("kills", 5, "how many backups, daily backups and restores TestBackupKilled kills of each")

// TestMain lets the test binary stand in for a process that is killed: ROLE FROM TO.
func TestMain(m *testing.M) {
	if role := os.Getenv("PODGATE_TEST_ROLE"); role != "" {
		if err := victim(role, os.Args[1], os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func victim(role, from, to string) error {
	switch role {
	case "restore":
		f, err := os.Open(from)
		if err != nil {
			return err
		}
		_, err = Restore(context.Background(), f, to)
		return err
	case "restore kept":
		l, err := Backups(context.Background(), Folder{from}, time.Now())
		if err != nil {
			return err
		}
		_, err = Restorable{Folder{from}, l.Made[0], nil}.Restore(context.Background(), to)
		return err
	}
	db, err := store.Open(filepath.Join(from, nameDatabase))
	if err != nil {
		return err
	}
	src := Source{Dir: from, DB: db, Now: time.Now, Hold: func(context.Context, store.PodID) (func() bool, error) { return func() bool { return true }, nil }}
	if role == "keep" {
		r := &Repository{Storage: Folder{to}, Dir: from, Daily: 3, size: 64 << 10}
		_, _, err := r.Make(context.Background(), time.Now(), func(ctx context.Context, w io.Writer, p *Packs) (*Manifest, error) {
			return WriteTo(ctx, w, src, p)
		})
		if err != nil {
			return err
		}
		l, err := Backups(context.Background(), r.Storage, time.Now()) // and then as a Keeper
		if err != nil {
			return err
		}
		return r.prune(context.Background(), l)
	}
	src.Hold = nil
	return Create(to, false, func(w io.Writer) error {
		_, err := Write(context.Background(), w, src)
		return err
	})
}

// killed runs a victim for a while and reports whether it ended by itself.
func killed(t *testing.T, role, from, to string, after time.Duration) (done bool) {
	t.Helper()
	exe, err := os.Executable()
	must(t, err)
	cmd := exec.Command(exe, from, to)
	cmd.Env = []string{"PODGATE_TEST_ROLE=" + role}
	var errs strings.Builder
	cmd.Stderr = &errs
	must(t, cmd.Start())
	timer := time.AfterFunc(after, func() { _ = cmd.Process.Kill() }) // dead already
	defer timer.Stop()
	err = cmd.Wait()
	if errs.Len() > 0 {
		t.Errorf("%s: %v: %s", role, err, &errs)
	}
	return err == nil
}

// A kill at any moment of a backup leaves no file of its name or a whole one, of a daily
// backup those that were there and perhaps one more, and of a restore an empty folder or a
// whole server. The next try of each works, and after a daily one nothing is left that
// belongs to no backup.
func TestBackupKilled(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	files := map[string]string{}
	for i := range 150 {
		files[fmt.Sprintf("home/%d/%d", i%17, i)] = strings.Repeat(fmt.Sprint(i), 1000+i)
	}
	pod := s.pod("a", files)
	must(t, s.db.Close()) // the victims open it
	whole := func() map[string]string {
		state := stateOf(t, pod)
		delete(state, ".")
		return state
	}
	raw, kept := filepath.Join(t.TempDir(), "whole"), t.TempDir()
	rawHas := whole()
	keptHas := whole() // the newest of them
	took := map[string]time.Duration{}
	for _, role := range []string{"write", "keep", "restore", "restore kept"} {
		from, to := s.dir, kept
		switch role {
		case "write":
			to = raw
		case "restore":
			from, to = raw, filepath.Join(t.TempDir(), "data")
		case "restore kept":
			from, to = kept, filepath.Join(t.TempDir(), "data")
		}
		began := time.Now()
		if !killed(t, role, from, to, time.Minute) {
			t.Fatal(role, "does not work")
		}
		took[role] = time.Since(began)
	}
	cut := map[string]int{}
	for i := range *kills {
		kill := func(role, from, to string) (after time.Duration) {
			after = rand.N(took[role])
			began := time.Now()
			if killed(t, role, from, to, after) {
				took[role] = time.Since(began) // the machine is sometimes busy and sometimes not
			} else {
				took[role] += took[role] / 4
				cut[role]++
			}
			return after
		}
		dir := t.TempDir()
		to := filepath.Join(dir, "backup")
		after := kill("write", s.dir, to)
		if f, err := os.Open(to); err == nil {
			_, err := Verify(t.Context(), f)
			if err := errors.Join(err, f.Close()); err != nil {
				t.Errorf("a backup that was killed after %v: %v", after, err)
			}
		} else if !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
		must(t, Folder{Dir: dir}.Clean())
		if left, err := os.ReadDir(dir); err != nil || len(left) > 1 || len(left) == 1 && left[0].Name() != "backup" {
			t.Errorf("a backup that was killed after %v leaves %v, %v", after, left, err)
		}

		if i%4 == 0 { // what is remembered goes on to another backup, and without it one is whole
			_ = os.Remove(filepath.Join(s.dir, nameCache)) // it may not be there
		}
		name := fmt.Sprintf("home/%d/%d", i%17, i%150)
		must(t, os.WriteFile(filepath.Join(pod, name), noise(byte(i), 90_000), 0o600))
		before := newest(t, kept)
		after = kill("keep", s.dir, kept)
		l, err := Backups(t.Context(), Folder{kept}, time.Now())
		must(t, err)
		for _, m := range l.Made {
			if _, err := (Restorable{Folder{kept}, m, nil}).Verify(t.Context()); err != nil {
				t.Errorf("%s, after one was killed after %v: %v", m.Name, after, err)
			}
		}
		if l.Made[0].Name != before {
			keptHas = whole()
		}

		role, from, want := "restore", raw, rawHas
		if i%2 == 1 {
			role, from, want = "restore kept", kept, keptHas
		}
		data := filepath.Join(t.TempDir(), "data")
		if i%3 == 0 {
			must(t, os.Mkdir(data, 0o700))
		}
		after = kill(role, from, data)
		if entries, err := os.ReadDir(data); len(entries) == 0 {
			if !killed(t, role, from, data, time.Minute) {
				t.Errorf("after a restore that was killed after %v", after)
			}
		} else if err != nil {
			t.Error(err)
		}
		only(t, filepath.Dir(data), "data")
		got := stateOf(t, filepath.Join(data, "pods/a"))
		delete(got, ".")
		sameTree(t, got, want)
		must(t, storetest.Open(t, filepath.Join(data, nameDatabase)).Check())

		if i%5 == 0 || i == *kills-1 {
			if !killed(t, "keep", s.dir, kept, time.Minute) {
				t.Error("after all of that no backup is made")
			}
			must(t, Folder{kept}.Clean()) // as a server does when it starts
			keptHas = whole()
			nothingOfNobody(t, s.dir, kept)
		}
	}
	t.Logf("%d of each, killed before their end: %v", *kills, cut)
	if len(cut) == 0 {
		t.Error("none was killed before it ended")
	}
	leftIn(t, s.dir)
}

// newest is the name of the newest backup in a folder.
func newest(t *testing.T, dir string) string {
	t.Helper()
	l, err := Backups(t.Context(), Folder{dir}, time.Now())
	must(t, err)
	return l.Made[0].Name
}

// nothingOfNobody fails when there is something in the folder of backups that none of
// them refers to, after one was made from the data folder.
func nothingOfNobody(t *testing.T, data, dir string) {
	t.Helper()
	l, err := Backups(t.Context(), Folder{dir}, time.Now())
	must(t, err)
	c, err := openCache(data)
	must(t, err)
	defer c.file.Close()
	known := map[string]bool{nameOwner: true}
	for _, m := range l.Made {
		known[m.Name] = true
	}
	for name, g := range l.all {
		if g.backups == 0 {
			t.Errorf("packs of nobody are left in %s", name)
		}
		for n, pack := range g.packs {
			known[pack.Name] = name != c.Generation || int(n) < len(c.Packs)
		}
	}
	must(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if name, _ := filepath.Rel(dir, path); err == nil && !e.IsDir() && !known[filepath.ToSlash(name)] {
			t.Errorf("%s belongs to no backup", name)
		}
		return err
	}))
}

// leftIn fails when backups have left something in the data folder.
func leftIn(t *testing.T, dir string) {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(dir, ".backup-*"))
	if err != nil || len(left) > 2 { // where files have names at first, a kill may come before they are taken away
		t.Errorf("%v %v", left, err)
	}
}

// What was acknowledged before a backup began is in it, whatever is written meanwhile,
// and the database is whole.
func TestWritesGoOn(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	for i := range 5 {
		s.pod(store.PodID(fmt.Sprint("p", i)), map[string]string{"home/x": "y"})
	}
	var acknowledged []store.UserID
	ctx, cancel := context.WithCancel(t.Context())
	ledger, done := make(chan []store.UserID, 1), make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ctx.Err() == nil; i++ {
			u := store.User{ID: store.UserID(fmt.Sprint("u", i)), Email: fmt.Sprintf("u%d@example.com", i), Name: "U"}
			if err := s.db.CreateUser(u); err != nil {
				t.Error(err)
				return
			}
			acknowledged = append(acknowledged, u.ID)
			select {
			case <-ledger:
			default:
			}
			ledger <- acknowledged[:len(acknowledged):len(acknowledged)]
		}
	}()
	for range 3 {
		before := <-ledger
		raw, m := s.backup()
		if len(m.Pods) != 5 {
			t.Errorf("%+v", m.Pods)
		}
		db := storetest.Open(t, filepath.Join(restored(t, raw), nameDatabase))
		must(t, db.Check())
		for _, id := range before {
			if _, err := db.User(id); err != nil {
				t.Errorf("%s was acknowledged and is lost: %v", id, err)
			}
		}
	}
	cancel()
	<-done
}

// BenchmarkBackup is a pod of files as installs leave them, half of which compresses
// well. tar and zstd do the same beside it.
func BenchmarkBackup(b *testing.B) {
	s := newServer(b)
	dir := s.pod("a", nil)
	sizeOf, count := 16<<10, 640
	if os.Getenv("PODGATE_BENCH_LARGE") != "" { // 10,000 files, 1 GiB
		sizeOf, count = 107<<10, 10_000
	}
	text := bytes.Repeat([]byte("module.exports = function (x) { return x + 1 };\n"), sizeOf/48+1)
	random, noise := make([]byte, sizeOf), rand.NewChaCha8([32]byte{})
	for i := range count {
		path := filepath.Join(dir, "home", fmt.Sprint(i%97), fmt.Sprint(i))
		must(b, os.MkdirAll(filepath.Dir(path), 0o755))
		_, _ = noise.Read(random) // never fails
		must(b, os.WriteFile(path, append(bytes.Clone(text[:sizeOf/2]), random[:sizeOf/2]...), 0o644))
	}
	b.Run("podgate", func(b *testing.B) {
		b.SetBytes(int64(sizeOf * count))
		for b.Loop() {
			_, err := Write(b.Context(), io.Discard, s.source())
			must(b, err)
		}
	})
	s.hold = func(context.Context, store.PodID) (func() bool, error) { return func() bool { return true }, nil }
	kept := func(b *testing.B, anew bool) {
		k := keep(b, s, Folder{b.TempDir()}, false)
		k.now = k.now.Add(time.Duration(time.Now().UnixNano())) // no other run has been then
		k.settled()
		if !anew {
			k.must()
		}
		b.SetBytes(int64(sizeOf * count))
		for b.Loop() {
			if anew {
				must(b, os.RemoveAll(filepath.Join(s.dir, nameCache)))
			}
			k.must()
		}
	}
	b.Run("kept-first", func(b *testing.B) { kept(b, true) })
	b.Run("kept-unchanged", func(b *testing.B) { kept(b, false) })
	b.Run("verify", func(b *testing.B) {
		raw, _ := s.backup()
		b.SetBytes(int64(sizeOf * count))
		for b.Loop() {
			_, err := Verify(b.Context(), bytes.NewReader(raw))
			must(b, err)
		}
	})
	b.Run("tar-zstd", func(b *testing.B) {
		for _, tool := range []string{"tar", "zstd"} {
			if _, err := exec.LookPath(tool); err != nil {
				b.Skip("there is no " + tool + " here")
			}
		}
		b.SetBytes(int64(sizeOf * count))
		for b.Loop() {
			if out, err := exec.Command("sh", "-c", `tar -C "$1" -c . | zstd -q -c > /dev/null`, "sh", dir).CombinedOutput(); err != nil {
				b.Fatal(err, string(out))
			}
		}
	})
}
